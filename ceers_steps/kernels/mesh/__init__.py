"""Values of boxes of a background: what fills those without one, and how all are smoothed."""
