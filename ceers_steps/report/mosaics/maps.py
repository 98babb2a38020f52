"""Maps of a mosaic in cells of some 2 arcsec: its depth, and the time it was exposed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.kernels.mosaic.depth import DEPTH, square_side
from ceers_steps.report.mosaics.reading import Frame

__all__ = ["Region", "cell_side", "exposure_map", "has_context", "write_map"]

ROWS = 3
"""Rows of a cell of which the context is read."""

UNKNOWN_CELL = 60
"""Side of a cell where the size of the pixels is not known, pixels."""


@dataclass(frozen=True)
class Region:
    """The footprint of an exposure: its name, filter, time (s), and corners (RA, Dec)."""

    name: str
    filter: str
    seconds: float
    corners: tuple[tuple[float, float], ...]


def cell_side(pixel_area: float) -> int:
    """Return the side of the cells of maps, pixels.

    Parameters
    ----------
    pixel_area
        Of a pixel of the mosaic, sr; NaN if it is unknown.

    Returns
    -------
    int
    """
    if not (math.isfinite(pixel_area) and pixel_area > 0):
        return UNKNOWN_CELL
    return DEPTH.cell * square_side(math.degrees(math.sqrt(pixel_area)) * 3600)


def has_context(path: Path) -> bool:
    """Say whether a mosaic knows which exposures its pixels are made of, and their times.

    Parameters
    ----------
    path
        ``*_i2d.fits``.

    Returns
    -------
    bool
        False also where the file cannot be read.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            return "CON" in hdus and "EFFEXPTM" in hdus["HDRTAB"].columns.names
    except (OSError, KeyError, ValueError, TypeError):
        return False


def exposure_map(
    path: Path, frame: Frame, side: int, regions: Sequence[Region]
) -> tuple[NDArray, str] | None:
    """Return the time for which each cell of a mosaic was exposed.

    Parameters
    ----------
    path
        ``*_i2d.fits``: its context says which exposures a pixel is made of, its table HDRTAB how
        long they are.
    frame
        Of the mosaic.
    side
        Of a cell, pixels.
    regions
        Footprints of the exposures of its filter, for mosaics without context.

    Returns
    -------
    (ndarray of shape (ny // side, nx // side), str) or None
        Seconds, NaN where there are none, and what they are from; None where neither is known.
    """
    found = _of_context(path, side)
    if found is not None:
        return found, "context of the mosaic"
    if frame.crval is None or not regions:
        return None
    return _of_footprints(frame, side, regions), "footprints of the exposures"


def _of_context(path: Path, side: int) -> NDArray | None:
    """Return the medians of the times of the pixels; None without context or times."""
    try:
        with fits.open(path, memmap=False) as hdus:
            seconds = np.asarray(hdus["HDRTAB"].data["EFFEXPTM"], dtype=np.float64)
            shape, section = hdus["CON"].shape, hdus["CON"].section
            if len(shape) != 3 or not np.isfinite(seconds).all():
                return None
            n_planes, ny, nx = shape
            if not 0 < len(seconds) <= 32 * n_planes:
                return None
            seconds = np.append(seconds, np.zeros(32 * n_planes - len(seconds)))
            cells = np.empty((ny // side, nx // side))
            for row in range(ny // side):
                rows = row * side + side * np.arange(1, 2 * ROWS, 2) // (2 * ROWS)
                time = np.zeros((ROWS, nx))
                for plane in range(n_planes):
                    context = np.array([section[plane, int(y), :] for y in rows])
                    time += _seconds_of(context, seconds[32 * plane : 32 * plane + 32])
                time = time[:, : cells.shape[1] * side].reshape(ROWS, -1, side)
                cells[row] = np.median(time, axis=(0, 2))
    except (OSError, KeyError, ValueError, TypeError):
        return None
    return np.where(cells > 0, cells, np.nan)


def _seconds_of(context: NDArray, seconds: NDArray) -> NDArray:
    """Return the sum of the times of the exposures whose bits are set."""
    known, place = np.unique(context.astype(np.int64) & 0xFFFFFFFF, return_inverse=True)
    bits = (known[:, np.newaxis] >> np.arange(32)) & 1
    return (bits @ seconds)[place.reshape(context.shape)]


def _of_footprints(frame: Frame, side: int, regions: Sequence[Region]) -> NDArray:
    """Return the sum of the times of the exposures that cover the middle of a cell."""
    with optional_import("Maps need Pillow", extra="report"):
        from PIL import Image, ImageDraw
    wcs = frame.wcs()
    ny, nx = frame.ny // side, frame.nx // side
    cells = np.zeros((ny, nx))
    for region in regions:
        pixels = wcs.all_world2pix(np.array(region.corners), 0)
        if not np.isfinite(pixels).all():
            continue
        inside = Image.new("1", (nx, ny))
        corners = [(x, y) for x, y in (pixels + 0.5) / side - 0.5]
        ImageDraw.Draw(inside).polygon(corners, fill=1)
        cells += np.asarray(inside) * region.seconds
    return np.where(cells > 0, cells, np.nan)


def write_map(path: Path, cells: NDArray, side: int) -> dict[str, Any] | None:
    """Draw a map, a pixel a cell.

    Parameters
    ----------
    path
        PNG file; what is unknown is transparent.
    cells : ndarray, shape (ny, nx)
        NaN where nothing is known.
    side
        Of a cell, pixels of the mosaic.

    Returns
    -------
    dict or None
        ``w`` and ``h``: extent in pixels of the mosaic; ``low``, ``median``, ``high``: values of
        which 1, 50 and 99% are lower; the first and the last are the ends of the colours. None
        where nothing is known.
    """
    known = np.isfinite(cells)
    if not known.any():
        return None
    with optional_import("Maps need matplotlib and Pillow", extra="report"):
        from matplotlib import colormaps
        from PIL import Image
    low, median, high = (float(x) for x in np.percentile(cells[known], (1, 50, 99)))
    scaled = (np.where(known, cells, low) - low) / (high - low) if high > low else 0.5 * known
    colours = colormaps["viridis"](scaled, bytes=True)
    colours[~known] = 0
    Image.fromarray(colours[::-1]).save(path, format="png", optimize=True)
    ny, nx = cells.shape
    return {"w": nx * side, "h": ny * side, "low": low, "median": median, "high": high}
