"""Images in square blocks of pixels (bins): sums, medians, and back to pixels."""

from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ceers_steps.kernels.stats import nan_median

__all__ = [
    "as_blocks",
    "block_median",
    "block_rows",
    "block_sum",
    "enlarged",
    "enlarged_rows",
]

Beyond = float | Literal["cut", "edge"]
"""What lies beyond the image in blocks that it does not fill: a value, ``'edge'`` (its outermost
pixels, repeated), or ``'cut'`` for no such blocks."""


FEW = 8
"""Numbers that numpy adds one after the other; more it adds in several parts."""


def as_blocks(image: NDArray, side: int | tuple[int, int], beyond: Beyond = "cut") -> NDArray:
    """Return an image as blocks, for a reduction over the last two axes.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Of any type.
    side : int or tuple of int
        Side of a block, or its height and width, pixels.
    beyond : float, 'edge' or 'cut'
        See `Beyond`.

    Returns
    -------
    ndarray, shape (n rows of blocks, n columns of blocks, height, width)
        A view where possible.
    """
    height, width = (side, side) if isinstance(side, int) else side
    image = _whole_blocks(image, height, width, beyond)
    ny, nx = image.shape
    return image.reshape(ny // height, height, nx // width, width).swapaxes(1, 2)


def block_sum(
    values: NDArray, side: int, beyond: Beyond = "cut", dtype: DTypeLike = np.float64
) -> NDArray:
    """Return the sums over blocks.

    Whole rows are added in single precision first, which is several times faster than to add both
    axes at once.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
        Numbers or bool.
    side : int
        Side of a block, pixels.
    beyond : float, 'edge' or 'cut'
        See `Beyond`.
    dtype : dtype
        Of the sums.

    Returns
    -------
    ndarray of `dtype`, shape (n rows of blocks, n columns of blocks)
        The sums.
    """
    values = _whole_blocks(values, side, side, beyond)
    ny, nx = (size // side for size in values.shape)
    strips = values.reshape(ny, side, nx * side).sum(axis=1, dtype=np.float32)
    if side >= FEW:
        return strips.reshape(ny, nx, side).sum(axis=2, dtype=dtype)
    # the same additions in the same order; numpy takes ten times as long for short sums
    total = strips[:, ::side].astype(dtype)
    for column in range(1, side):
        total += strips[:, column::side]
    return total


def block_median(image: NDArray, side: int, beyond: Beyond = "cut") -> NDArray:
    """Return the medians over blocks, without NaN.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit.
    side : int
        Side of a block, pixels.
    beyond : float, 'edge' or 'cut'
        See `Beyond`.

    Returns
    -------
    ndarray, shape (n rows of blocks, n columns of blocks)
        NaN where a block holds nothing else.
    """
    blocks = as_blocks(image, side, beyond)
    return nan_median(blocks.reshape(*blocks.shape[:2], side**2), axis=-1)


def enlarged(blocks: NDArray, side: int, shape: tuple[int, ...]) -> NDArray:
    """Return blocks as pixels of an image of some shape.

    Parameters
    ----------
    blocks : ndarray, shape (n rows of blocks, n columns of blocks)
        One value a block.
    side : int
        Side of a block, pixels.
    shape : tuple of int
        Of the image, ``(ny, nx)``.

    Returns
    -------
    ndarray, shape (ny, nx)
        The value of its block for each pixel.
    """
    full = np.repeat(np.repeat(blocks, side, axis=0), side, axis=1)
    return full[: shape[0], : shape[1]]


def block_rows(rows: slice, side: int) -> slice:
    """Return the rows of blocks that cover some rows of pixels.

    Parameters
    ----------
    rows : slice
        Rows of pixels.
    side : int
        Side of a block, pixels.

    Returns
    -------
    slice
        Rows of blocks.
    """
    return slice(rows.start // side, -(-rows.stop // side))


def enlarged_rows(blocks: NDArray, side: int, rows: slice, n_columns: int) -> NDArray:
    """Return blocks as pixels, of some rows of an image ``n_columns`` wide.

    Parameters
    ----------
    blocks : ndarray, shape (n rows of blocks, n columns of blocks)
        One value a block.
    side : int
        Side of a block, pixels.
    rows : slice
        Rows of pixels.
    n_columns : int
        Width of the image.

    Returns
    -------
    ndarray, shape (rows, n_columns)
        The value of its block for each pixel.
    """
    first = rows.start % side
    shape = first + rows.stop - rows.start, n_columns
    return enlarged(blocks[block_rows(rows, side)], side, shape)[first:]


def _whole_blocks(image: NDArray, height: int, width: int, beyond: Beyond) -> NDArray:
    """Return an image that blocks fill: cut, or completed."""
    ny, nx = image.shape
    if beyond == "cut":
        return image[: ny // height * height, : nx // width * width]
    pad = (0, -ny % height), (0, -nx % width)
    if not any(after for _, after in pad):
        return image
    if beyond == "edge":
        return np.pad(image, pad, mode="edge")
    return np.pad(image, pad, constant_values=beyond)
