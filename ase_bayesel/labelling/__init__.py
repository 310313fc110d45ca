"""Labels: engines, one calculation, the labeller, the store, and labels made by hand."""
