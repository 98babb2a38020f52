"""Exposures drizzled onto one grid over files, tile by tile; the arithmetic is in ``kernels.mosaic``."""
