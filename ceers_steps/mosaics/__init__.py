"""Mosaics as steps see them: files, grids, masks and regions; no drizzling and no statistics."""
