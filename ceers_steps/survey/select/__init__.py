"""Which exposures there are, what belongs together, on which pixels; no pixel is read here."""
