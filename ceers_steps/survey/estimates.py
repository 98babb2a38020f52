"""What a task needs: memory and time, estimated from the data before anything is run."""

import os
from pathlib import Path

__all__ = ["align", "background", "exposure", "mosaic", "outlier", "tile"]

FULL_FRAME = 2048 * 2048
"""Pixels of an exposure."""


def exposure(path: str | os.PathLike) -> tuple[int, float]:
    """Estimate stages 1 and 2 of an exposure.

    Parameters
    ----------
    path
        Raw file; a full frame of nine groups is assumed when it is not there yet.

    Returns
    -------
    memory : int
        MB.
    seconds : float
        On one core.
    """
    size = Path(path).stat().st_size if Path(path).is_file() else 2 * 9 * FULL_FRAME
    return int(600 + 28 * size / 1e6), 8 + 0.3 * size / 1e6


def align(n_exposures: int) -> tuple[int, float]:
    """Estimate the alignment of a visit and filter: memory (MB) and time (s)."""
    return 1500, 10 + 4.0 * n_exposures


def outlier(n_exposures: int) -> tuple[int, float]:
    """Estimate outlier rejection, sky and variance of exposures: memory (MB) and time (s)."""
    return 2500, 10 + 8.0 * n_exposures


def tile(size: int, n_exposures: int) -> tuple[int, float]:
    """Estimate one tile of a mosaic: memory (MB) and time (s)."""
    return int(1200 + 90e-6 * size**2), 10 + 3.0 * min(n_exposures, 8)


def mosaic(shape: tuple[int, int], n_exposures: int, tile_size: int) -> tuple[int, float]:
    """Estimate a mosaic, or putting its tiles together: memory (MB) and time (s)."""
    pixels = shape[0] * shape[1]
    if tile_size and max(shape) > tile_size:
        return 1500, 10 + 2e-7 * pixels
    return int(1200 + 90e-6 * pixels), 10 + 3.0 * n_exposures + 2e-7 * pixels


def background(shape: tuple[int, int], n_filters: int) -> tuple[int, float]:
    """Estimate the background of the mosaics of a group: memory (MB) and time (s)."""
    pixels = shape[0] * shape[1]
    return int(1000 + 100e-6 * pixels), n_filters * (5 + 2e-6 * pixels)
