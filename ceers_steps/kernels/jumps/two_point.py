"""The iterative two-point difference method of the jump step of jwst, with the same flags sooner.

That step takes medians, in double precision, of all differences of all pixels, and again of the
whole frame for each pixel that holds several jumps. Here single precision tells first which pixels
may hold a jump at all; the method itself is applied to these.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.jumps.settings import SCREEN
from ceers_steps.kernels.networks import sort_inplace
from ceers_steps.kernels.parts import with_neighbours
from ceers_steps.kernels.stats import nan_median

__all__ = ["TwoPointJumps", "TwoPointSettings", "find_jumps"]


@dataclass(frozen=True)
class TwoPointSettings:
    """Thresholds, as jwst's step takes them, in units of the noise of a difference.

    Attributes
    ----------
    threshold, threshold_three, threshold_two : float
        Of pixels with four or more usable differences, with three and with two.
    neighbours : bool
        Flag the four neighbours of a jump ...
    neighbours_from, neighbours_to : float
        ... that is larger than the one and smaller than the other.
    """

    threshold: float
    threshold_three: float
    threshold_two: float
    neighbours: bool
    neighbours_from: float
    neighbours_to: float


@dataclass(frozen=True)
class TwoPointJumps:
    """What `find_jumps` finds.

    Attributes
    ----------
    jumps : NDArray
        Shape ``(ngroups, ny, nx)``; True = a jump before this group, or beside one.
    n_primary : int
        Jumps, their neighbours not counted.
    """

    jumps: NDArray[np.bool_]
    n_primary: int


def find_jumps(
    data: NDArray[np.float32],
    gain: NDArray[np.float32],
    unusable: NDArray[np.bool_],
    read_variance: NDArray,
    settings: TwoPointSettings,
) -> TwoPointJumps:
    """Find the jumps of an integration.

    Parameters
    ----------
    data
        Shape ``(ngroups, ny, nx)``; DN.
    gain
        Shape ``(ny, nx)``; electrons per DN.
    unusable
        Shape of `data`; True = saturated or not to be used.
    read_variance
        Shape ``(ny, nx)``: of a difference, electrons squared, double precision.
    settings
        Thresholds.

    Returns
    -------
    TwoPointJumps
        Those of jwst's step to the bit.
    """
    jumps = np.zeros(data.shape, bool)
    wide = np.zeros(data.shape, bool)
    for start in range(0, data.shape[1], SCREEN.rows):
        rows = np.s_[start : start + SCREEN.rows]
        signal = data[:, rows] * gain[rows]
        signal[unusable[:, rows]] = np.nan
        differences = np.diff(signal, axis=0)
        chosen = _may_hold_jumps(np.abs(differences), read_variance[rows], settings.threshold)
        pixels = differences[:, chosen].astype(np.float64)
        variance = read_variance[rows][chosen]
        found = _flag_in_turn(np.abs(pixels), variance, settings)
        jumps[1:, rows][:, chosen] = found
        if settings.neighbours:
            hit = found.any(axis=0)
            strong = np.zeros_like(found)
            strong[:, hit] = found[:, hit] & _reaches_neighbours(
                pixels[:, hit], variance[hit], settings
            )
            wide[1:, rows][:, chosen] = strong
    n_primary = int(np.count_nonzero(jumps))
    if settings.neighbours:
        jumps |= with_neighbours(wide)
    jumps &= ~unusable
    return TwoPointJumps(jumps, n_primary)


def _may_hold_jumps(
    sizes: NDArray[np.float32], read_variance: NDArray, threshold: float
) -> NDArray[np.bool_]:
    """Return the pixels that may have a difference beyond the threshold; sorts `sizes`.

    Those with a difference that is not usable are among them, and those in which two differences
    are the largest.
    """
    n = len(sizes)
    if n < SCREEN.fewest_clipped:
        return np.ones(sizes.shape[1:], bool)
    sort_inplace(sizes)
    middle = 0.5 * (sizes[(n - 2) // 2] + sizes[(n - 1) // 2])
    excess = np.maximum(sizes[-1] - middle, middle - sizes[0])
    limit = np.float32(SCREEN.nearly * threshold) ** 2 * (middle + read_variance.astype(np.float32))
    # what is not a number compares as False
    return ~(np.square(excess) <= limit) | (sizes[-1] == sizes[-2])


def _flag_in_turn(
    sizes: NDArray[np.float64], read_variance: NDArray, settings: TwoPointSettings
) -> NDArray[np.bool_]:
    """Flag the largest difference of each pixel, then the largest of the others, and so on.

    Parameters
    ----------
    sizes
        Shape ``(n, n_pixels)``: absolute differences, NaN where not usable.
    read_variance
        Shape ``(n_pixels,)``.
    settings
        Thresholds.

    Returns
    -------
    NDArray
        Shape of `sizes`; True = jump.
    """
    found = np.zeros(sizes.shape, bool)
    left = np.arange(sizes.shape[1])
    for turn in range(len(sizes)):
        median = _clipped_median(sizes)
        if turn:  # jwst's step keeps the median of the first turn only in double precision
            median = median.astype(np.float32).astype(np.float64)
        sigma = _sigma(median, read_variance)
        ratio = np.abs((sizes - median).astype(np.float32)) / sigma
        largest = np.fmax.reduce(ratio, axis=0)
        usable = np.count_nonzero(~np.isnan(sizes), axis=0)
        hit = (usable >= SCREEN.fewest_clipped) & (largest > settings.threshold)
        hit |= (usable == 3) & (largest > settings.threshold_three)
        hit |= (usable == 2) & (largest > settings.threshold_two)
        if not hit.any():
            break
        left, read_variance = left[hit], read_variance[hit]
        new = ratio[:, hit] == largest[hit]
        found[:, left] |= new
        sizes = np.where(new, np.nan, sizes[:, hit])
    return found


def _reaches_neighbours(
    differences: NDArray[np.float64], read_variance: NDArray, settings: TwoPointSettings
) -> NDArray[np.bool_]:
    """Say which differences are such that the neighbours of a jump are flagged, too."""
    median = nan_median(differences, axis=0)
    ratio = np.abs(differences - median) / _sigma(median, read_variance)
    return (ratio < settings.neighbours_to) & (ratio > settings.neighbours_from)


def _sigma(median: NDArray[np.float64], read_variance: NDArray) -> NDArray[np.float64]:
    """Return the noise of a difference; NaN where it would be 0."""
    sigma = np.sqrt(np.abs(median) + read_variance)
    sigma[sigma == 0] = np.nan
    return sigma


def _clipped_median(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median without the largest, of four or more; of two the smaller, of one NaN."""
    usable = np.count_nonzero(~np.isnan(sizes), axis=0)
    largest = np.fmax.reduce(sizes, axis=0)
    clipped = np.where((usable >= SCREEN.fewest_clipped) & (sizes == largest), np.nan, sizes)
    median = nan_median(clipped, axis=0)
    return np.where(
        usable > 2, median, np.where(usable == 2, np.fmin.reduce(sizes, axis=0), np.nan)
    )
