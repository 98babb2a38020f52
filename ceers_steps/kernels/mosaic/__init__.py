"""Tiles, sums of drizzled exposures and masks on other grids; no sources and no background."""
