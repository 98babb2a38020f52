"""Images of which a few rows at a time are in memory: in a file, or worked out from others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["LazyRows", "RowImage", "crossing", "flagged", "row_blocks"]

_BLOCK_SIZE, _ALIGNMENT = 4_000_000, 64
"""Pixels of a block of rows, and what its first row is a multiple of: bins and the nets of
positions are those of the whole image."""


class RowImage(Protocol):
    """What gives its rows as an array: an array itself, or anything that has a shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (ny, nx)."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the pixels of a slice of rows, shape (rows, nx)."""


@dataclass(frozen=True)
class LazyRows:
    """An image whose rows are worked out when they are asked for.

    Attributes
    ----------
    shape : tuple of int
        Shape (ny, nx).
    work : callable
        Takes a slice of rows with first and last row, returns their pixels.
    """

    shape: tuple[int, ...]
    work: Callable[[slice], NDArray]

    def __getitem__(self, rows: slice, /) -> NDArray:
        """Return the pixels of some rows."""
        start, stop, _ = rows.indices(self.shape[0])
        return self.work(slice(start, stop))


def flagged(bits: NDArray[np.uint8], which: int) -> LazyRows:
    """Return the pixels that have any of some bits, as an image of bool.

    Parameters
    ----------
    bits : ndarray of uint8, shape (ny, nx)
    which : int
        The bits, as a number.

    Returns
    -------
    LazyRows of bool, shape (ny, nx)
        True where a bit is set.
    """
    return LazyRows(bits.shape, lambda rows: (bits[rows] & np.uint8(which)) > 0)


def crossing(image: RowImage, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray:
    """Return the pixels where some rows and columns cross, shape (rows, columns).

    Parameters
    ----------
    image : RowImage, shape (ny, nx)
        Of which rows are read one at a time.
    rows, columns : ndarray of int
        From 0.

    Returns
    -------
    ndarray, shape (rows, columns)
        The pixels.
    """
    return np.stack([image[row : row + 1][0, columns] for row in rows.tolist()])


def row_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Cut an image into blocks of rows that are small in memory.

    Parameters
    ----------
    shape : tuple of int
        Of the image, ``(ny, nx)``.

    Returns
    -------
    list of slice
        Rows from the first to the last.
    """
    height = max(_BLOCK_SIZE // (max(shape[1], 1) * _ALIGNMENT), 1) * _ALIGNMENT
    return [slice(start, min(start + height, shape[0])) for start in range(0, shape[0], height)]
