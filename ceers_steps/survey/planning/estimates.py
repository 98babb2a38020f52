"""What a task needs: memory and time, estimated from the data before anything is run.

Memory is what was measured and a margin: a task that needs more than it was
given may be killed, one that is given twice what it needs keeps another from running.
"""

import math
import os
from pathlib import Path

from ceers_steps.names import whole_number

__all__ = [
    "align",
    "background",
    "exposure",
    "image_background",
    "magnification",
    "mosaic",
    "outlier",
    "tile",
]

FULL_FRAME = 2048 * 2048
"""Pixels of an exposure."""

KEPT = 1100
"""MB of drizzled exposures that a tiled mosaic keeps at most."""

STREAMED = 100e6
"""Pixels of a mosaic above which its background is subtracted in strips."""

FEW_GROUPS = 10
"""Groups up to which the jumps of an integration are found in one pass (jwst's default)."""

NATIVE = {"short": 0.0311, "long": 0.0629}
"""Pixels of NIRCam's channels, arcsec."""


def exposure(
    path: str | os.PathLike,
    *,
    instrument: str = "NIRCAM",
    n_integrations: int = 0,
    n_groups: int = 0,
) -> tuple[int, float]:
    """Estimate stages 1 and 2 of an exposure.

    Parameters
    ----------
    path
        Raw file; a full frame of nine groups is assumed when it is not there yet.
    instrument
        Of the exposure.
    n_integrations, n_groups
        Of the exposure; 0 if unknown.

    Returns
    -------
    memory : int
        MB. Measured, both stages in one process: 883 for a NIRCam raw file of 7.4 MB (9 groups)
        and 1134 for 75.6 (9 groups of a full frame). With more groups or integrations jwst looks
        for the jumps, in copies of the ramp: 1021 for 9.9 MB (12 groups), 1040 for 16.4 (5 groups,
        4 integrations), 2505 for 75.5. Of that, a fifth more.
    seconds : float
        On one core.
    """
    few = n_integrations == 1 and 0 < n_groups <= FEW_GROUPS
    if Path(path).is_file():
        size = Path(path).stat().st_size
    else:
        size, few = 2 * 9 * FULL_FRAME, True
    each = 6 if few and instrument == "NIRCAM" else 31
    return int(1000 + each * size / 1e6), 8 + 0.3 * size / 1e6


def align(n_exposures: int) -> tuple[int, float]:
    """Estimate the alignment of a visit and filter: memory (MB) and time (s)."""
    return 1500, 10 + 4.0 * n_exposures


def outlier(n_exposures: int) -> tuple[int, float]:
    """Estimate outlier rejection, sky and variance of exposures: memory (MB) and time (s)."""
    return 2500, 10 + 8.0 * n_exposures


def image_background(n_exposures: int) -> tuple[int, float]:
    """Estimate the image background of exposures and their stage 2: memory (MB) and time (s).

    Image, variance and mask of all are in memory, 9 bytes a pixel.
    """
    return int(2000 + 9e-6 * FULL_FRAME * n_exposures), 10 + 10.0 * n_exposures


def magnification(filter_name: str, pixel_scale: float) -> float:
    """Return how many pixels of a mosaic are as large as one of an exposure.

    Parameters
    ----------
    filter_name
        Of NIRCam, ``F277W``.
    pixel_scale
        Of the mosaic, arcsec.
    """
    channel = "long" if (whole_number(filter_name[1:4]) or 0) > 240 else "short"
    return (NATIVE[channel] / pixel_scale) ** 2


def tile(size: int, n_exposures: int, magnified: float = 1.0) -> tuple[int, float]:
    """Estimate one tile of a mosaic.

    Parameters
    ----------
    size
        Side of the tile, pixels.
    n_exposures
        Of the whole mosaic.
    magnified
        See `magnification`.

    Returns
    -------
    memory : int
        MB. Measured: 1070 for 1024 pixels and 4 exposures, 1930 for 4096 and 4, 2820 for 4096 and
        40.
    seconds : float
        On one core.
    """
    pixels = size**2
    window = FULL_FRAME * magnified * 1.1  # of one exposure, turned a little
    kept = min(KEPT, n_exposures * window * 30e-6)
    planes = pixels * (40 + 4 * _context(n_exposures)) * 1e-6
    memory = 1.2 * (400 + planes + window * 100e-6 + kept)
    return int(memory), 10 + 3.0 * min(n_exposures, 8)


def mosaic(shape: tuple[int, int], n_exposures: int, tile_size: int) -> tuple[int, float]:
    """Estimate a mosaic, or putting its tiles together.

    Parameters
    ----------
    shape
        Pixels along both axes.
    n_exposures, tile_size
        Number of exposures, and side of the tiles (0: none).

    Returns
    -------
    memory : int
        MB. Measured: 3530 for 10600 x 4800 pixels and 4 exposures in one piece.
    seconds : float
        On one core.
    """
    pixels = shape[0] * shape[1]
    if tile_size and max(shape) > tile_size:
        planes = tile_size**2 * (40 + 4 * _context(n_exposures)) * 1e-6
        return int(1000 + planes), 10 + 2e-7 * pixels + 0.3 * n_exposures
    planes = pixels * (70 + 4 * _context(n_exposures)) * 1e-6
    return int(1000 + planes), 10 + 3.0 * n_exposures + 2e-7 * pixels


def background(shape: tuple[int, int], n_filters: int) -> tuple[int, float]:
    """Estimate the background of the mosaics of a group.

    Parameters
    ----------
    shape
        Pixels along both axes.
    n_filters
        Number of mosaics; one at a time is in memory.

    Returns
    -------
    memory : int
        MB. Measured: 2900 for 10600 x 4800 pixels.
    seconds : float
        On one core.
    """
    pixels = shape[0] * shape[1]
    whole, masks = min(pixels, STREAMED), n_filters * pixels
    return int(800 + 55e-6 * whole + 1e-6 * masks), n_filters * (5 + 2e-6 * pixels)


def _context(n_exposures: int) -> int:
    """Return the number of planes of a context image, which has a bit for each exposure."""
    return math.ceil(n_exposures / 32)
