"""Exposures drizzled onto one grid, tile by tile; the arithmetic is in ``kernels.mosaic``."""
