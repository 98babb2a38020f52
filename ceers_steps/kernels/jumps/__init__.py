"""Differences between the groups of a ramp, and which of them hold a hit; no shapes."""
