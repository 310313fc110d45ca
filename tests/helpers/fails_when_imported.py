"""A module that cannot be imported."""

EMT = 1 / 0
