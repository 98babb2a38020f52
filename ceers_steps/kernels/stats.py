"""Robust statistics on plain arrays: one implementation of each, fast on single precision.

Clipping works on sorted rows: what survives is then one window of each row, so that an
iteration costs two look-ups of cumulative sums instead of a pass over masked arrays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.networks import PLANES, median_of_planes

__all__ = [
    "MAD_TO_SIGMA",
    "ClippedStats",
    "biweight_location",
    "biweight_scale",
    "clipped_row_biweights",
    "clipped_row_medians",
    "clipped_stats",
    "finite_median",
    "finite_values",
    "mad_sigma",
    "nan_median",
    "subsample",
]

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


@dataclass(frozen=True)
class ClippedStats:
    """Statistics of the values that survive sigma clipping.

    Attributes
    ----------
    mean, median, std : float
        In the units of the values; NaN when there was no finite value.
    n : int
        Number of values that survived.
    """

    mean: float
    median: float
    std: float
    n: int


def subsample(values: NDArray, size: int) -> NDArray:
    """Return about ``size`` of the values, evenly spread: enough for statistics of a large image.

    Parameters
    ----------
    values : ndarray
        Any shape.
    size : int
        Number of values wanted; at least that many come back if there are as many.

    Returns
    -------
    ndarray, shape (m,)
        A view where possible.
    """
    flat = np.ravel(values)
    step = max(1, flat.size // size)
    # an odd step does not lock on to the same columns of an image whose width is even
    return flat[:: step - 1 + step % 2] if step > 1 else flat


def finite_values(values: NDArray) -> NDArray:
    """Return the finite values, flat.

    Parameters
    ----------
    values : ndarray
        Any shape.

    Returns
    -------
    ndarray, shape (m,)
        A view if all are finite.
    """
    values = np.ravel(values)
    good = np.isfinite(values)
    return values if good.all() else values[good]


def finite_median(values: NDArray) -> float:
    """Return the median of the finite values.

    Parameters
    ----------
    values : ndarray
        Any shape; NaN and infinities are left out.

    Returns
    -------
    float
        NaN without a finite value.
    """
    values = finite_values(values)
    return float(np.median(values)) if values.size else float("nan")


def nan_median(values: NDArray, axis: int, *, lower: bool = False) -> NDArray:
    """Return the medians along an axis of what is not NaN.

    By sorting, which is several times faster than `numpy.nanmedian` along a short axis, and
    without its warning; faster still along a first axis of a few planes.

    Parameters
    ----------
    values : ndarray of float
        Any shape; NaN are left out.
    axis : int
        Along which.
    lower : bool
        Of an even number of values take the lower one in the middle, not the mean of both.

    Returns
    -------
    ndarray, of the type of the values
        One axis less; NaN where there is nothing else.
    """
    if values.shape[axis] == 0:
        return np.full(np.delete(values.shape, axis), np.nan, values.dtype)
    if axis == 0 and values.ndim > 1 and len(values) <= PLANES.most:
        return median_of_planes(values, lower=lower)
    ordered = np.sort(values, axis=axis)  # NaN goes last
    count = np.count_nonzero(~np.isnan(ordered), axis=axis, keepdims=True)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=axis)
    if not lower:
        upper = np.minimum(count // 2, values.shape[axis] - 1)
        middle = (middle + np.take_along_axis(ordered, upper, axis=axis)) / 2
    return middle.squeeze(axis)


def mad_sigma(values: NDArray) -> float:
    """Return the standard deviation from the median absolute deviation of the finite values.

    Parameters
    ----------
    values : ndarray
        Any shape; NaN and infinities are left out.

    Returns
    -------
    float
        NaN without a finite value.
    """
    values = finite_values(values)
    if values.size == 0:
        return np.nan
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def biweight_location(values: NDArray, c: float = 6.0) -> float:
    """Return Tukey's biweight location of the finite values.

    Parameters
    ----------
    values : ndarray
        Any shape; NaN and infinities are left out.
    c : float
        Distance from the median, in median absolute deviations, beyond which a value has no weight.

    Returns
    -------
    float
        NaN without a finite value.
    """
    values = finite_values(values)
    if values.size == 0:
        return np.nan
    centre, deviation, weight = _biweights(values, c)
    total = weight.sum(dtype=np.float64)
    if total == 0.0:
        return centre
    return centre + float(np.sum(deviation * weight, dtype=np.float64) / total)


def biweight_scale(values: NDArray, c: float = 9.0) -> float:
    """Return the biweight scale (square root of the midvariance) of the finite values.

    Parameters
    ----------
    values : ndarray
        Any shape; NaN and infinities are left out.
    c : float
        Distance from the median, in median absolute deviations, beyond which a value has no weight.

    Returns
    -------
    float
        Estimates the standard deviation of normal values; NaN without a finite value.
    """
    values = finite_values(values)
    if values.size == 0:
        return np.nan
    _, deviation, weight = _biweights(values, c)
    if not weight.any():
        return 0.0
    one_minus_u2 = np.sqrt(weight)
    top = np.sum((deviation * weight) ** 2, dtype=np.float64)
    bottom = np.sum(one_minus_u2 * (5.0 * one_minus_u2 - 4.0), dtype=np.float64)
    return float(np.sqrt(values.size * top) / abs(bottom))


def clipped_stats(values: NDArray, sigma: float = 3.0, max_iterations: int = 10) -> ClippedStats:
    """Return mean, median and standard deviation after clipping around the median.

    Parameters
    ----------
    values : ndarray
        Any shape; NaN and infinities are left out.
    sigma : float
        Values further than this from the median, in standard deviations, are clipped.
    max_iterations : int
        Clipping stops when nothing changes any more, or after this many passes.

    Returns
    -------
    ClippedStats
    """
    values = finite_values(values)
    if values.size == 0:
        return ClippedStats(np.nan, np.nan, np.nan, 0)
    window = _ClipWindow(np.sort(values)[np.newaxis], np.array([values.size]))
    window.clip(sigma, max_iterations)
    mean, std = window.mean_std()
    n = int(window.stop[0] - window.start[0])
    return ClippedStats(float(mean[0]), float(window.median()[0]), float(std[0]), n)


def clipped_row_medians(
    image: NDArray, mask: NDArray[np.bool_], sigma: float = 2.0, max_iterations: int = 5
) -> NDArray[np.float32]:
    """Return the sigma-clipped median of every row.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        NaN and infinities are left out.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    sigma : float
        Values further than this from the row's median, in standard deviations, are clipped.
    max_iterations : int
        As in `clipped_stats`.

    Returns
    -------
    ndarray of float32, shape (ny,)
        NaN for a row without a usable pixel.
    """
    good = np.isfinite(image)
    good &= ~mask
    ordered = np.where(good, image, np.inf).astype(np.float32, copy=False)
    ordered.sort(axis=1)
    window = _ClipWindow(ordered, np.count_nonzero(good, axis=1))
    window.clip(sigma, max_iterations)
    return window.median().astype(np.float32)


def clipped_row_biweights(
    values: NDArray, sigma: float = 3.0, max_iterations: int = 10, c: float = 6.0
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the biweight location of what sigma clipping leaves of every row.

    Parameters
    ----------
    values : ndarray, shape (n, m)
        NaN and infinities are left out.
    sigma : float
        Values further than this from the row's median, in standard deviations, are clipped.
    max_iterations : int
        As in `clipped_stats`.
    c : float
        As in `biweight_location`.

    Returns
    -------
    location : ndarray of float64, shape (n,)
        NaN for a row without a value.
    count : ndarray of int, shape (n,)
        Values that survived.
    """
    good = np.isfinite(values)
    ordered = np.where(good, values, np.inf)
    ordered.sort(axis=1)
    window = _ClipWindow(ordered, np.count_nonzero(good, axis=1))
    window.clip(sigma, max_iterations)
    count = window.stop - window.start
    centre = window.median()
    column = np.arange(values.shape[1])
    outside = (column < window.start[:, np.newaxis]) | (column >= window.stop[:, np.newaxis])
    deviation = np.where(outside, np.inf, ordered - centre[:, np.newaxis].astype(ordered.dtype))
    mad = _ClipWindow.median_of_first(np.sort(np.abs(deviation), axis=1), count)
    scale = np.where(mad > 0.0, c * mad, np.inf)[:, np.newaxis].astype(ordered.dtype)
    deviation[outside] = 0.0
    weight = np.square(1.0 - np.minimum(np.square(deviation / scale), 1.0))
    weight[outside] = 0.0
    # without a deviation the median is the answer
    total = np.where(mad > 0.0, weight.sum(axis=1, dtype=np.float64), np.inf)
    shift = np.sum(weight * deviation, axis=1, dtype=np.float64) / total
    return centre + shift, count


def _biweights(values: NDArray, c: float) -> tuple[float, NDArray, NDArray]:
    """Return the median, the deviations from it and ``(1 - u**2)**2``, 0 beyond ``|u| = 1``."""
    centre = np.median(values)
    deviation = values - centre
    mad = float(np.median(np.abs(deviation)))
    if mad == 0.0:
        return float(centre), deviation, np.zeros_like(deviation)
    weight = deviation / (c * mad)
    np.square(weight, out=weight)
    np.subtract(1.0, weight, out=weight)
    np.maximum(weight, 0.0, out=weight)
    np.square(weight, out=weight)
    return float(centre), deviation, weight


class _ClipWindow:
    """What is left of each sorted row: elements ``start`` to ``stop``, the latter not included."""

    def __init__(self, ordered: NDArray, count: NDArray) -> None:
        self._ordered = ordered
        self.start = np.zeros(len(ordered), dtype=np.intp)
        self.stop = count.astype(np.intp)
        # deviations from a value near the centre keep the cumulative sums exact
        self._origin = np.where(self.stop > 0, self.median(), 0.0)
        shape = (len(ordered), ordered.shape[1] + 1)
        self._sum, self._squares = np.zeros(shape), np.zeros(shape)
        deviation = ordered.astype(np.float64) - self._origin[:, np.newaxis]
        deviation[np.isinf(deviation)] = 0.0
        np.cumsum(deviation, axis=1, out=self._sum[:, 1:])
        np.square(deviation, out=deviation)
        np.cumsum(deviation, axis=1, out=self._squares[:, 1:])

    @staticmethod
    def median_of_first(ordered: NDArray, count: NDArray) -> NDArray[np.float64]:
        """Return the median of the first ``count`` of every sorted row, NaN for none."""
        low = np.maximum(count - 1, 0) // 2
        high = np.maximum(np.minimum(count // 2, count - 1), 0)
        pair = np.take_along_axis(ordered, np.stack([low, high], axis=1), axis=1)
        return np.where(count > 0, pair.astype(np.float64).mean(axis=1), np.nan)

    def median(self) -> NDArray[np.float64]:
        """Return the median of every row, NaN for an empty one."""
        low = np.maximum((self.start + self.stop - 1) // 2, 0)
        high = np.minimum((self.start + self.stop) // 2, self._ordered.shape[1] - 1)
        pair = np.take_along_axis(self._ordered, np.stack([low, high], axis=1), axis=1)
        return np.where(self.stop > self.start, pair.astype(np.float64).mean(axis=1), np.nan)

    def mean_std(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of every row, NaN for an empty one."""
        n = np.where(self.stop > self.start, self.stop - self.start, np.nan)
        rows = np.arange(len(n))
        mean = (self._sum[rows, self.stop] - self._sum[rows, self.start]) / n
        square = (self._squares[rows, self.stop] - self._squares[rows, self.start]) / n
        return mean + self._origin, np.sqrt(np.maximum(square - mean**2, 0.0))

    def clip(self, sigma: float, max_iterations: int) -> None:
        """Narrow the windows until nothing changes."""
        for _ in range(max_iterations):
            centre = self.median()
            reach = sigma * self.mean_std()[1]
            # comparing with NaN is False: an empty row stays empty
            below = np.sum(self._ordered < (centre - reach)[:, np.newaxis], axis=1)
            not_above = np.sum(self._ordered <= (centre + reach)[:, np.newaxis], axis=1)
            start = np.maximum(self.start, below)
            stop = np.minimum(self.stop, np.maximum(not_above, start))
            if np.array_equal(start, self.start) and np.array_equal(stop, self.stop):
                return
            self.start, self.stop = start, stop
