"""1/f stripes of one rate image: read-out geometry, models and fits; no wisps and no sky level."""
