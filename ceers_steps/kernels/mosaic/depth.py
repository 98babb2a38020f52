"""Depth of a mosaic from the scatter of its own sky, with the correlations that drizzling makes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.blocks import as_blocks, block_sum
from ceers_steps.kernels.stats import MAD_TO_SIGMA

__all__ = [
    "DEPTH",
    "DepthMapSettings",
    "depth_map",
    "limiting_magnitude",
    "sky_scatter",
    "square_side",
    "square_sums",
]

ZERO_POINT = 8.90
"""AB magnitude of 1 Jy."""


@dataclass(frozen=True)
class DepthMapSettings:
    """What a depth is, and where it is measured."""

    aperture: float = 0.2
    """Diameter, arcsec (that of the depths of Bagley et al. 2023) ..."""
    wider: tuple[float, float] = (0.3, 0.5)
    """... and those that other surveys state their depths for."""
    significance: float = 5.0
    """Of a source that is as bright as the depth says."""
    cell: int = 10
    """Squares along the side of a cell of the map ..."""
    window: int = 3
    """... and cells along the side of the window around a cell that its depth is measured in: 900
    squares, the scatter of which is known to 4%."""


DEPTH = DepthMapSettings()


def square_side(pixel_scale: float, aperture: float = DEPTH.aperture) -> int:
    """Return the side of squares with about the area of the aperture.

    Parameters
    ----------
    pixel_scale
        Side of a pixel, arcsec.
    aperture
        Diameter, arcsec.

    Returns
    -------
    int
        Pixels, at least 1.
    """
    return max(1, round(math.sqrt(math.pi / 4) * aperture / pixel_scale))


def square_sums(image: NDArray, side: int) -> NDArray:
    """Return the sums over squares; NaN where any pixel has no data.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        NaN where there are no data.
    side
        Of a square, pixels.

    Returns
    -------
    ndarray, shape (ny // side, nx // side)
        Leftover edges are dropped.
    """
    return block_sum(image, side, dtype=np.float32)


def sky_scatter(values: NDArray) -> float:
    """Return the scatter of the sky, from what is below its level: sources are above.

    Parameters
    ----------
    values : ndarray
        NaN where there are no data; at least one is finite.

    Returns
    -------
    float
        Standard deviation, in the unit of the values.
    """
    values = values[np.isfinite(values)]
    level = np.median(values)
    return float(MAD_TO_SIGMA * np.median(level - values[values <= level]))


def limiting_magnitude(
    scatter: NDArray | float, pixel_area: float, aperture: float = DEPTH.aperture
) -> NDArray:
    """Return the depth that belongs to the scatter of sums over squares.

    Parameters
    ----------
    scatter
        Standard deviation of sums over squares of `square_side`, MJy/sr times pixels.
    pixel_area
        Of a pixel, sr.
    aperture
        Diameter, arcsec.

    Returns
    -------
    ndarray
        AB magnitude of a source of 5 sigma in the aperture; NaN where the scatter is not positive.
    """
    pixel_scale = math.degrees(math.sqrt(pixel_area)) * 3600
    n_pixels = math.pi / 4 * aperture**2 / pixel_scale**2
    in_aperture = math.sqrt(n_pixels / square_side(pixel_scale, aperture) ** 2)
    flux = DEPTH.significance * np.asarray(scatter) * in_aperture * pixel_area * 1e6  # Jy
    positive = np.isfinite(flux) & (flux > 0)
    magnitude = np.full(flux.shape, np.nan)
    np.log10(flux, out=magnitude, where=positive)
    return ZERO_POINT - 2.5 * magnitude


def depth_map(sums: NDArray, pixel_area: float) -> NDArray:
    """Return the depth in every cell of a mosaic.

    Parameters
    ----------
    sums : ndarray, shape (ny, nx)
        Of `square_sums` over the whole mosaic.
    pixel_area
        Of a pixel of the mosaic, sr.

    Returns
    -------
    ndarray, shape (ny // DEPTH.cell, nx // DEPTH.cell)
        AB magnitude; NaN where half of the squares of a cell have no data.
    """
    side = DEPTH.cell
    cells = as_blocks(sums, side).reshape(sums.shape[0] // side, sums.shape[1] // side, -1)
    ny, nx, each = cells.shape
    known = 2 * np.isfinite(cells).sum(axis=2) >= each
    reach = DEPTH.window // 2
    around = np.pad(cells, ((reach, reach), (reach, reach), (0, 0)), constant_values=np.nan)
    scatter = np.full((ny, nx), np.nan)
    for y in range(ny):
        columns = np.flatnonzero(known[y])
        rows = around[y : y + DEPTH.window]
        windows = [rows[:, x : x + DEPTH.window].ravel() for x in columns]
        if windows:
            scatter[y, columns] = _scatters(np.sort(windows, axis=1))
    return limiting_magnitude(scatter, pixel_area)


def _scatters(ordered: NDArray) -> NDArray:
    """Return what `sky_scatter` returns of each row; rows are sorted, NaN last."""
    number = np.isfinite(ordered).sum(axis=1)
    below = (number + 1) // 2
    level, quarter = (
        (_pick(ordered, (n - 1) // 2) + _pick(ordered, n // 2)) / 2 for n in (number, below)
    )
    return MAD_TO_SIGMA * (level - quarter)


def _pick(rows: NDArray, places: NDArray) -> NDArray:
    """Return one value of each row."""
    return np.take_along_axis(rows, places[:, np.newaxis], axis=1)[:, 0].astype(np.float64)
