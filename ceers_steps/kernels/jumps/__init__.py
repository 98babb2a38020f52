"""Differences between the groups of a ramp: their noise and which of them hold a hit; no shapes of events."""
