"""Many exposures: what belongs together, what is to do, doing it; no pixel arithmetic."""
