"""Features of foundation models: an adapter for each package, for those who have it."""
