"""Sums over square blocks of pixels."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["block_sum"]


def block_sum(values: NDArray, side: int) -> NDArray[np.float64]:
    """Sum over the blocks that lie fully inside an image.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
        Numbers or bool.
    side : int
        Side of a block, pixels.

    Returns
    -------
    ndarray of float64, shape (ny // side, nx // side)
    """
    ny, nx = (size // side for size in values.shape)
    # rows first: adding whole rows in single precision is several times faster than both at once
    rows = values[: ny * side, : nx * side].reshape(ny, side, nx * side)
    strips = rows.sum(axis=1, dtype=np.float32)
    return strips.reshape(ny, nx, side).sum(axis=2, dtype=np.float64)
