"""Bins of square blocks of pixels, cut off at the edges of an image."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["bin_rows", "bin_sum", "enlarged", "pixels_of_bins"]


def bin_sum(array: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the sums over blocks of ``factor`` by ``factor`` pixels, cut off at the edges.

    Parameters
    ----------
    array : ndarray of float32, shape (ny, nx)
        Image.
    factor : int
        Side of a block, pixels.

    Returns
    -------
    ndarray of float32, shape (ny // factor, nx // factor)
        Sums.
    """
    pad = [(0, -size % factor) for size in array.shape]
    if any(after for _, after in pad):
        array = np.pad(array, pad)
    ny, nx = array.shape
    # along columns first: whole rows are added at a time
    down = array.reshape(ny // factor, factor, nx).sum(axis=1)
    return down.reshape(ny // factor, nx // factor, factor).sum(axis=2)


def enlarged(binned: NDArray, factor: int, shape: tuple[int, ...]) -> NDArray:
    """Return bins as pixels of an image of some shape.

    Parameters
    ----------
    binned : ndarray
        One value a bin.
    factor : int
        Side of a bin, pixels.
    shape : tuple of int
        Of the image, ``(ny, nx)``.

    Returns
    -------
    ndarray, shape (ny, nx)
        The value of its bin for each pixel.
    """
    full = np.repeat(np.repeat(binned, factor, axis=0), factor, axis=1)
    return full[: shape[0], : shape[1]]


def bin_rows(rows: slice, factor: int) -> slice:
    """Return the rows of bins that cover some rows of pixels.

    Parameters
    ----------
    rows : slice
        Rows of pixels.
    factor : int
        Side of a bin, pixels.

    Returns
    -------
    slice
        Rows of bins.
    """
    return slice(rows.start // factor, -(-rows.stop // factor))


def pixels_of_bins(binned: NDArray, factor: int, rows: slice, n_columns: int) -> NDArray:
    """Return bins as pixels, of some rows of an image ``n_columns`` wide.

    Parameters
    ----------
    binned : ndarray
        One value a bin.
    factor : int
        Side of a bin, pixels.
    rows : slice
        Rows of pixels.
    n_columns : int
        Width of the image.

    Returns
    -------
    ndarray, shape (rows, n_columns)
        The value of its bin for each pixel.
    """
    first = rows.start % factor
    shape = first + rows.stop - rows.start, n_columns
    return enlarged(binned[bin_rows(rows, factor)], factor, shape)[first:]
