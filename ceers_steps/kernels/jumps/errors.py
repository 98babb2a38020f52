"""Photon noise of the rates that jwst fits to ramps, those that were cut included.

The fit of jwst gives every segment of a ramp between two jumps the photon noise of its two ends,
with the median rate of the pixel, and the average of segments the least that it could have. But
in faint light a segment is fitted with equal weights, and segments are averaged by their read
noise alone; and the median of a few noisy differences is often far from the rate, or below zero.
What 1/f noise is left in single pixels is not in the references at all.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.settings import FIT, LOST, UNKNOWN
from ceers_steps.kernels.jumps.surroundings import Surroundings
from ceers_steps.kernels.stats import mad_sigma

__all__ = [
    "GroupState",
    "combined_variance",
    "lost_variance",
    "photon_variance",
    "read_variance",
    "segment_lengths",
    "unknown_variance",
]


Float = NDArray[np.float32]
Pixels = NDArray[np.bool_] | tuple[NDArray, NDArray]


class GroupState(IntEnum):
    """What the fit takes a group for."""

    GOOD = 0
    JUMP = 1
    """A jump, and nothing else."""
    BROKEN = 2
    """Not to be used."""


def photon_variance(
    states: NDArray[np.uint8], rate: Float, noise: GroupNoise
) -> tuple[Float, Float]:
    """Return the photon noise of the rate of one integration.

    Parameters
    ----------
    states
        Shape ``(ngroups, ny, nx)``: `GroupState` of each.
    rate
        Shape ``(ny, nx)``: expected, units of the data from one group to the next.
    noise
        Of the references.

    Returns
    -------
    variance : NDArray
        Shape ``(ny, nx)``, of the rate; 0 without light or without a segment of two groups.
    weight : NDArray
        Shape ``(ny, nx)``, inverse variance of the read noise in units of that of one group: what
        integrations are averaged with.
    """
    n = len(states)
    photons: Float = np.maximum(rate, np.float32(0))
    photons /= noise.gain
    electrons = photons * noise.gain**2
    read = np.square(noise.read * noise.gain) / (2 * noise.n_frames)
    factor, weight = np.zeros(rate.shape, np.float32), np.zeros(rate.shape, np.float32)
    cut = (states != GroupState.GOOD).any(axis=0)
    averaged = noise.photon_factor()

    def fill(where: Pixels, pattern: tuple[int, ...]) -> None:
        total, found = 0.0, np.zeros(1, np.float32)
        for length in segment_lengths(pattern):
            own = float(length**3 - length) / 12
            light = electrons[where] * (length - 1)
            power = np.searchsorted(
                FIT.signal_to_noise, light / np.sqrt(read[where] + light), "right"
            )
            found = found + np.float32(own**2) * _variances(length, averaged)[power]
            total += own
        if total:
            factor[where], weight[where] = found / np.float32(total**2), total

    fill(~cut, (GroupState.GOOD,) * n)
    y, x = np.nonzero(cut)
    codes = np.zeros(len(y), np.int64)
    for plane in states:
        codes *= 3
        codes += plane[y, x]
    order = np.argsort(codes, kind="stable")
    edges = np.flatnonzero(np.diff(codes[order])) + 1
    for part in np.split(order, edges) if len(order) else ():
        fill((y[part], x[part]), tuple(int(state) for state in states[:, y[part[0]], x[part[0]]]))
    factor *= photons
    return factor, weight


def combined_variance(parts: Iterable[tuple[Float, Float]]) -> tuple[Float, Float]:
    """Return the photon noise of the average of integrations.

    Parameters
    ----------
    parts
        Variance and weight of each, of `photon_variance`.

    Returns
    -------
    variance, weight : NDArray
        Shape ``(ny, nx)``, of the average.
    """
    total = weights = np.zeros(1, np.float32)
    for variance, weight in parts:
        total = total + variance * np.square(weight)
        weights = weights + weight
    total /= np.maximum(np.square(weights), np.finfo(np.float32).tiny)
    return total, weights


def read_variance(weight: Float, of_read: float, stripes: float) -> Float:
    """Return the variance of a rate from noise that reads have beside that of the references.

    What is left of the stripes of each read adds nothing to a whole ramp: the slope of the line
    through all groups has its stripes back. That of a cut ramp differs from it by an error that
    shares nothing with it, since no slope has a smaller one: variances are subtracted.

    Parameters
    ----------
    weight
        Shape ``(ny, nx)``, of `photon_variance`, for one integration.
    of_read
        Variance in each read of each pixel, units of the rate, for a weight of 1.
    stripes
        The same, of what is left of stripes.

    Returns
    -------
    NDArray
        Same shape, 0 where nothing was fitted.
    """
    inverse = np.divide(1, weight, out=np.zeros_like(weight), where=weight > 0)
    whole = inverse[weight > 0].min(initial=np.inf)
    return inverse * np.float32(of_read) + np.maximum(inverse - whole, 0) * np.float32(stripes)


def lost_variance(rate: Float, read: Float, time: Float, gain: Float | float) -> Float:
    """Return the photon noise of rates that are too bright to have none.

    Parameters
    ----------
    rate
        Of any shape: DN/s.
    read
        Variance of the read noise, (DN/s)^2.
    time
        In which the light was gathered, s; without any there is no noise.
    gain
        Electrons per DN.

    Returns
    -------
    ndarray
        Variance, (DN/s)^2; 0 where a rate may be read noise, or is small beside it.
    """
    seconds = np.maximum(time, np.float32(1e-6)) * np.float32(gain)
    found = np.where(time > 0, rate / seconds, np.float32(0))
    return np.where(found > LOST.over_read * read, found, np.float32(0)).astype(np.float32)


def unknown_variance(
    rate: Float, variance: Float, whole: NDArray[np.bool_], around: Surroundings
) -> float:
    """Return the variance that whole ramps have over the one given, of neighbouring pixels.

    Stripes hardly differ from a pixel to the next in its row. What does differ, and is not known
    from the references, is 1/f noise too fast for any pattern.

    Parameters
    ----------
    rate
        Shape ``(ny, nx)``, stripes included.
    variance
        Same shape: what is known of its noise.
    whole
        Same shape; True = fitted to all groups.
    around
        Of the rate: pixels count where it is smooth.

    Returns
    -------
    float
        Of a pixel like most; below 0 if there is less than the one given, and NaN where too few
        pixels tell.
    """
    rows = slice(None, None, max(rate.size // UNKNOWN.sample, 1))
    rate, variance = rate[rows], variance[rows]
    smooth = whole[rows] & (around.structure[rows] < UNKNOWN.smooth * around.typical)
    smooth &= np.isfinite(rate) & (variance > 0)
    pairs = smooth[:, 1:] & smooth[:, :-1]
    if np.count_nonzero(pairs) < UNKNOWN.fewest_pairs:
        return float("nan")
    change = np.diff(rate, axis=1)[pairs] / np.sqrt((variance[:, 1:] + variance[:, :-1])[pairs])
    excess = float(mad_sigma(change)) ** 2 - 1
    return excess * float(np.median(variance[smooth]))


def segment_lengths(pattern: tuple[int, ...]) -> Iterator[int]:
    """Yield the lengths of the segments of a ramp that have two groups or more.

    Parameters
    ----------
    pattern
        State of each group, as in `photon_variance`.

    Yields
    ------
    int
        Groups of a segment: good ones, and the one before them if it has a jump.
    """
    length = 0
    before: int = GroupState.GOOD
    for state in (*pattern, GroupState.BROKEN):
        if state == GroupState.GOOD:
            length = length + 1 if length else 1 + (before == GroupState.JUMP)
        else:
            if length > 1:
                yield length
            length = 0
        before = state


@lru_cache(maxsize=256)
def _variances(length: int, averaged: float) -> Float:
    """Return the photon noise of a segment over the photons between two groups."""
    found = []
    middle = (length - 1) / 2
    x = np.arange(length) - middle
    for power in FIT.powers:
        weights = np.abs(x / middle) ** power
        weights *= x
        weights /= np.sum(weights * x)
        of_differences = np.cumsum(weights[::-1])[::-1][1:]
        beside = np.sum(of_differences[1:] * of_differences[:-1])
        found.append(averaged * np.sum(of_differences**2) + (1 - averaged) * beside)
    return np.array(found, np.float32)
