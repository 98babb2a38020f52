"""An image cut into tiles: where they are, and which pixels of an exposure fall on one."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Footprint", "Tile", "cut_grid", "may_fall_on"]


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; the upper limits are exclusive, as in slices.

    Attributes
    ----------
    y0, y1, x0, x1
        Limits, pixels from 0.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pixels ``(ny, nx)``."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of an array ``(ny, nx)``."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def overlap(self, other: "Box") -> "Box | None":
        """Return what two boxes have in common, or None."""
        y0, y1 = max(self.y0, other.y0), min(self.y1, other.y1)
        x0, x1 = max(self.x0, other.x0), min(self.x1, other.x1)
        return Box(y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None

    def within(self, other: "Box") -> tuple[slice, slice]:
        """Return the index of this box in an array that holds ``other``."""
        return (
            slice(self.y0 - other.y0, self.y1 - other.y0),
            slice(self.x0 - other.x0, self.x1 - other.x0),
        )


@dataclass(frozen=True)
class Tile:
    """One tile of a grid.

    Attributes
    ----------
    row, column
        Place among the tiles, from 0 at the origin of the image.
    box
        Pixels of the image that it holds.
    """

    row: int
    column: int
    box: Box


def cut_grid(shape: tuple[int, int], tile_size: int) -> list[Tile]:
    """Cut an image into tiles of nearly equal size.

    Parameters
    ----------
    shape
        Shape of the image ``(ny, nx)``.
    tile_size
        Largest height and width of a tile, pixels.

    Returns
    -------
    list of Tile
        Row by row. Together they hold every pixel once.

    Raises
    ------
    ValueError
        When the image or the tiles have no pixels.
    """
    if tile_size < 1 or min(shape) < 1:
        raise ValueError(f"cannot cut an image of {shape} pixels into tiles of {tile_size}")
    rows, columns = (
        [length * i // count for i in range(count + 1)]
        for length, count in ((length, -(-length // tile_size)) for length in shape)
    )
    return [
        Tile(row, column, Box(y0, y1, x0, x1))
        for row, (y0, y1) in enumerate(pairwise(rows))
        for column, (x0, x1) in enumerate(pairwise(columns))
    ]


@dataclass(frozen=True)
class Footprint:
    """Where the pixels of an exposure fall in the output image, at the nodes of a coarse grid.

    Attributes
    ----------
    rows, columns
        Pixel coordinates of the nodes in the exposure, shapes ``(n,)`` and ``(m,)``, increasing.
    x, y
        Output pixel coordinates of the nodes, shape ``(n, m)``; NaN where they have none.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def whole(self) -> Box:
        """All pixels between the outermost nodes."""
        return Box(
            int(self.rows[0]),
            int(self.rows[-1]) + 1,
            int(self.columns[0]),
            int(self.columns[-1]) + 1,
        )

    def on(self, box: Box, margin: float) -> Box | None:
        """Find the pixels of the exposure that may fall on a box of the output image.

        Parameters
        ----------
        box
            Pixels of the output image.
        margin
            Width by which the box is grown, output pixels: how far a pixel spreads.

        Returns
        -------
        Box or None
            The smallest rectangle of cells between nodes that holds all pixels that fall on the
            box; None when there are none. Cells of which some nodes are NaN fall on every box.
        """
        x_low, x_high = _cell_limits(self.x)
        y_low, y_high = _cell_limits(self.y)
        hit = (
            (x_low <= box.x1 - 0.5 + margin)
            & (x_high >= box.x0 - 0.5 - margin)
            & (y_low <= box.y1 - 0.5 + margin)
            & (y_high >= box.y0 - 0.5 - margin)
        )
        if not hit.any():
            return None
        rows = np.flatnonzero(hit.any(axis=1))
        columns = np.flatnonzero(hit.any(axis=0))
        return Box(
            int(self.rows[rows[0]]),
            int(self.rows[rows[-1] + 1]) + 1,
            int(self.columns[columns[0]]),
            int(self.columns[columns[-1] + 1]) + 1,
        )

    def reach(self, cut: Box, margin: float) -> Box | None:
        """Return the box of the output image on which some pixels of the exposure fall.

        Parameters
        ----------
        cut
            Pixels of the exposure, from node to node.
        margin
            Width by which the box is grown, output pixels.

        Returns
        -------
        Box or None
            It may lie beyond the image, in part or as a whole. None when no position is known.
        """
        rows = (self.rows >= cut.y0) & (self.rows < cut.y1)
        columns = (self.columns >= cut.x0) & (self.columns < cut.x1)
        x, y = (nodes[np.ix_(rows, columns)] for nodes in (self.x, self.y))
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            return None
        x, y = x[known], y[known]
        return Box(
            int(np.floor(y.min() - margin)),
            int(np.ceil(y.max() + margin)) + 1,
            int(np.floor(x.min() - margin)),
            int(np.ceil(x.max() + margin)) + 1,
        )


def may_fall_on(x: NDArray[np.float64], y: NDArray[np.float64], box: Box, margin: float) -> bool:
    """Say whether an exposure may fall on a box of the output image, of which corners are known.

    Parameters
    ----------
    x, y
        Output pixel coordinates of its corners, shape ``(n,)``.
    box
        Pixels of the output image.
    margin
        How far a pixel spreads, output pixels. A tenth of the exposure is added: distortion bends
        its sides, and the corners may be those of an earlier WCS.

    Returns
    -------
    bool
        True also where the position of a corner is not known.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return True
    margin += 0.1 * max(np.ptp(x), np.ptp(y))
    return bool(
        x.min() <= box.x1 + margin
        and x.max() >= box.x0 - margin
        and y.min() <= box.y1 + margin
        and y.max() >= box.y0 - margin
    )


def _cell_limits(nodes: NDArray) -> tuple[NDArray, NDArray]:
    """Return the smallest and largest value at the corners of every cell."""
    corners = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:]])
    unknown = np.isnan(corners)
    low = np.where(unknown, -np.inf, corners).min(axis=0)
    high = np.where(unknown, np.inf, corners).max(axis=0)
    nowhere = unknown.all(axis=0)
    return np.where(nowhere, np.inf, low), np.where(nowhere, -np.inf, high)
