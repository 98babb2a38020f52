"""Sorting of a few arrays, pixel by pixel: the same comparisons for all pixels, many at a time."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["PLANES", "median_of_planes", "sort_inplace"]


@dataclass(frozen=True)
class PlaneSettings:
    """How medians along a few planes are taken."""

    most: int = 12
    """Planes up to which the network of `sort_inplace` is faster."""
    strip: int = 8192
    """Pixels that are sorted at a time: all planes of them stay in the cache."""


PLANES = PlaneSettings()


def sort_inplace(planes: NDArray) -> None:
    """Sort along the first axis, if it is short; several times faster than `numpy.sort`.

    With Batcher's network (1968, Proc. AFIPS 32, 307): which two planes are compared does not
    depend on what is in them.

    Parameters
    ----------
    planes : ndarray, shape (n, ...)
        Changed: the lowest values in the first plane. Where one value is NaN the last one is NaN,
        and what the others are is not defined.
    """
    low = np.empty_like(planes[0]) if len(planes) else None
    for first, second in _comparisons(len(planes)):
        one, other = planes[first], planes[second]
        np.minimum(one, other, out=low)
        np.maximum(one, other, out=other)
        one[...] = low


def median_of_planes(values: NDArray, *, lower: bool = False) -> NDArray:
    """Return the medians along the first axis of what is not NaN.

    Parameters
    ----------
    values : ndarray of float, shape (n, ...)
        A few planes; NaN are left out.
    lower : bool
        Of an even number of values take the lower one in the middle, not the mean of both.

    Returns
    -------
    ndarray, of the type of the values
        One axis less; NaN where there is nothing else.
    """
    n, shape = len(values), values.shape[1:]
    flat = values.reshape(n, -1)
    median = np.empty(flat.shape[1], values.dtype)
    for first in range(0, median.size, PLANES.strip):
        planes = flat[:, first : first + PLANES.strip].copy()
        unknown = np.isnan(planes)
        np.copyto(planes, np.inf, where=unknown)  # last, as NaN in `numpy.sort`
        sort_inplace(planes)
        here = median[first : first + PLANES.strip]
        some = np.flatnonzero(unknown.any(axis=0))
        count = n - np.count_nonzero(unknown[:, some], axis=0)
        below, above = planes[(n - 1) // 2], planes[n // 2]
        middle = planes[np.maximum(count - 1, 0) // 2, some]
        if not lower:
            with np.errstate(invalid="ignore"):  # of opposite infinities
                below = (below + above) / 2
            middle = (middle + planes[np.minimum(count // 2, n - 1), some]) / 2
        here[:] = below
        here[some] = np.where(count > 0, middle, np.nan)
    return median.reshape(shape)


@cache
def _comparisons(n: int) -> tuple[tuple[int, int], ...]:
    """Return which planes are compared, in turn: merges of sorted runs of 1, 2, 4, ..."""
    pairs = []
    run = 1
    while run < n:
        apart = run
        while apart >= 1:
            for start in range(apart % run, n - apart, 2 * apart):
                for i in range(start, min(start + apart, n - apart)):
                    if i // (2 * run) == (i + apart) // (2 * run):
                        pairs.append((i, i + apart))
            apart //= 2
        run *= 2
    return tuple(pairs)
