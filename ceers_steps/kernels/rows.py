"""Images of which a few rows at a time are in memory: in a file, or worked out from others."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ROWS",
    "LazyRows",
    "RowImage",
    "RowSettings",
    "Strip",
    "crossing",
    "flagged",
    "for_each_strip",
    "row_blocks",
]


@dataclass(frozen=True)
class RowSettings:
    """How images are cut."""

    block_size: int = 4_000_000
    """Pixels of a block of rows: small beside a mosaic, and the work on it takes longer than the
    calls ..."""
    strip_size: int = 8_000_000
    """... and of a strip, without its overlap."""
    alignment: int = 64
    """The first row of a strip is a multiple of this many rows: blocks and the nets of positions
    are those of the whole image."""


ROWS = RowSettings()


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


@dataclass(frozen=True)
class Strip:
    """Rows ``start`` to ``stop`` of an image, and as much around them as is needed.

    Attributes
    ----------
    start, stop : int
        Rows that this strip answers for.
    outer : slice
        Rows that it looks at.
    """

    start: int
    stop: int
    outer: slice

    @property
    def rows(self) -> slice:
        """Rows that it answers for, in the image."""
        return slice(self.start, self.stop)

    @property
    def inner(self) -> slice:
        """The same rows, counted from the first that it looks at."""
        return slice(self.start - self.outer.start, self.stop - self.outer.start)


def for_each_strip(
    work: Callable[[Strip], Any],
    shape: tuple[int, ...],
    overlap: int = 0,
    n_threads: int = 1,
    *,
    size: int | None = None,
    alignment: int | None = None,
) -> list:
    """Do some work on all strips of an image, and return what it returns, in their order.

    Parameters
    ----------
    work : callable
        Takes a `Strip`.
    shape : tuple of int
        Of the image, (ny, nx).
    overlap : int
        Rows looked at above and below those that the strip answers for, at least.
    n_threads : int
        Strips worked on at a time.
    size : int, optional
        Pixels of a strip, about; it has at least `alignment` rows. Default: of `ROWS`.
    alignment : int, optional
        Strips start at multiples of so many rows. Default: of `ROWS`.

    Returns
    -------
    list
        One result a strip.
    """
    strips = _strips(shape, overlap, size or ROWS.strip_size, alignment or ROWS.alignment)
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, strips))


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
    return [strip.rows for strip in _strips(shape, 0, ROWS.block_size, ROWS.alignment)]


def _strips(shape: tuple[int, ...], overlap: int, size: int, alignment: int) -> Iterator[Strip]:
    """Cut an image into strips; first rows, with and without overlap, are multiples."""
    ny, nx = shape
    outside = -(-overlap // alignment) * alignment
    height = max(size // (max(nx, 1) * alignment) * alignment, 2 * outside, alignment)
    for start in range(0, ny, height):
        stop = min(start + height, ny)
        yield Strip(start, stop, slice(max(start - outside, 0), min(stop + outside, ny)))
