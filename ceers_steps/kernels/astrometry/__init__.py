"""Source lists matched and fitted: centroids, matches, linear corrections; no WCS objects."""
