"""A mask on the pixels of another grid: nearest neighbour, through a map that is smooth.

Bits cannot be averaged, so there is nothing to interpolate but positions. Those of a coarse net of
pixels are transformed exactly and interpolated linearly between, since a mosaic is a tangent plane:
over 64 pixels of 30 mas two of them part from a linear map by less than 1e-4 pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelMap", "sample_nearest"]

PixelMap = Callable[[NDArray, NDArray], tuple[NDArray, NDArray]]
"""Takes x and y of pixels of one grid, returns x and y on another (NaN where it has none)."""


@dataclass(frozen=True)
class NetSettings:
    """How positions are interpolated."""

    step: int = 64
    """Pixels from one position that is transformed exactly to the next: two tangent planes part
    from a linear map by less than 1e-4 pixels over it."""


NET = NetSettings()


def sample_nearest(
    source: NDArray, to_source: PixelMap, rows: slice, n_columns: int, fill: int = 0
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Take the values of the nearest pixels of another grid.

    Parameters
    ----------
    source : ndarray, shape (ny, nx)
        On its own grid.
    to_source : PixelMap
        From 0-based pixels of the wanted grid to those of the source.
    rows : slice
        Rows of the wanted grid.
    n_columns : int
        Its width.
    fill : int
        Value outside the source.

    Returns
    -------
    values : ndarray, shape (rows, n_columns), of the type of the source
    covered : ndarray of bool, same shape
        True where the source has a pixel.
    """
    y = np.arange(rows.start, rows.stop)
    net_x, net_y = _net(0, n_columns), _net(rows.start, rows.stop)
    xs, ys = to_source(*np.meshgrid(net_x.astype(float), net_y.astype(float)))
    values = np.full((len(y), n_columns), fill, source.dtype)
    covered = np.zeros(values.shape, bool)
    x = np.arange(n_columns)
    column = np.clip((x - net_x[0]) // NET.step, 0, len(net_x) - 2)
    across = (x - net_x[column]) / NET.step
    for line, row in enumerate(y):
        k = min((row - net_y[0]) // NET.step, len(net_y) - 2)
        down = (row - net_y[k]) / NET.step
        place = []
        for net in (ys, xs):
            between = (1.0 - down) * net[k] + down * net[k + 1]
            place.append((1.0 - across) * between[column] + across * between[column + 1])
        with np.errstate(invalid="ignore"):
            inside = np.all(
                [(p >= -0.5) & (p < n - 0.5) for p, n in zip(place, source.shape, strict=True)],
                axis=0,
            )
        nearest = [np.floor(p[inside] + 0.5).astype(np.intp) for p in place]
        values[line, inside] = source[tuple(nearest)]
        covered[line] = inside
    return values, covered


def _net(start: int, stop: int) -> NDArray[np.intp]:
    """Return pixels `NET.step` apart, from the first to the last or beyond."""
    return start + NET.step * np.arange(-(-max(stop - start - 1, 1) // NET.step) + 1)
