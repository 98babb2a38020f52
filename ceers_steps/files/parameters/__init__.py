"""Parameter files and parameters that a user gives: what they say, and whether a step takes it."""
