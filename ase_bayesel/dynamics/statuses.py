"""How walkers are stopped."""

CALCULATOR = "calculator_error"
"""Status of a walker whose calculator has failed."""
