"""Many exposures: what is there, what belongs together, on which pixels it is combined."""
