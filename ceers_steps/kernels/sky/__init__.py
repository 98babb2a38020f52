"""The level of the empty sky and its variance in one exposure; no two-dimensional background."""
