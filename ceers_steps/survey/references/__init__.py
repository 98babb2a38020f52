"""Which reference files exposures need, and whether they are there; none is fetched here."""
