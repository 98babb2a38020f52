"""Differences before a pixel saturates: an event that arrives in an averaged group is in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.differences import Noise, Ramp
from ceers_steps.kernels.snowballs.settings import HALO, LAST
from ceers_steps.kernels.stats import finite_median

__all__ = ["Darkness", "contaminated_before_saturation", "measure_darkness"]


@dataclass(frozen=True)
class Darkness:
    """What the pixels of an integration have where there are no sources.

    Attributes
    ----------
    charge : float
        Charge of the first group up to which a pixel is dark in it, units of the data.
    rate : float
        Median of the differences, units of the data.
    """

    charge: float
    rate: float


def contaminated_before_saturation(
    ramp: Ramp, noise: Noise, dark: Darkness, others: Sequence[Ramp] = ()
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Find differences that hold the first charge of what then saturates their pixel.

    An event in the last frames of an averaged group leaves a small part of its charge in it, and
    the next group is saturated. If that is the last difference of a pixel, nothing in its ramp
    tells that it is too high, and all pixels around it are alike. What tells is the first group,
    which is dark, where a star that saturates has its light from the start.

    Parameters
    ----------
    ramp
        The integration, with the flags of its events.
    noise
        Of this integration.
    dark
        What it has where there are no sources.
    others
        The other integrations: the light that a pixel has there is steady.

    Returns
    -------
    tuple of ndarray of int
        Group, row and column of each: the difference that ends in this group is not that of a
        steady source.
    """
    saturates = ((np.bitwise_or.reduce(ramp.groupdq, axis=0) & SATURATED) != 0) & ~ramp.bad
    y, x = np.nonzero(saturates & (noise.sigma > 0))
    found = np.zeros((len(ramp.data), y.size), bool)
    if y.size == 0:
        return y, y, x
    differences, usable = _steady_differences(ramp, y, x)
    sample = slice(None, None, LAST.level_step)
    window = ramp.window((sample, sample))
    steady = np.where(window.steady, window.differences, np.float32(np.nan))
    level = np.array([finite_median(each) for each in steady])[:, None]
    light = np.maximum(ramp.data[0][y, x] - dark.charge, 0.0)
    bound = np.where(np.isfinite(level), level, 0.0) + LAST.excess_sigma * noise.sigma
    bound = bound + HALO.first_group_ratio * light
    # what another difference of the pixel agrees with is steady light
    known = np.where(usable, differences, np.float32(np.inf))
    smallest = np.full((2, y.size), np.float32(np.inf))
    smallest[: len(known)] = np.partition(known, min(1, len(known) - 1), axis=0)[:2]
    for k, difference in enumerate(differences):
        least = np.where(known[k] == smallest[0], smallest[1], smallest[0])
        steady_too = np.isfinite(least) & (difference <= LAST.steady_ratio * least)
        found[k + 1] = usable[k] & (difference > bound[k]) & ~steady_too
    pixels = np.flatnonzero(found.any(axis=0))
    if others and pixels.size:
        light = _least_light(others, y[pixels], x[pixels])
        bound = np.fmax(LAST.steady_ratio * light, light + LAST.excess_sigma * noise.sigma)
        found[1:, pixels] &= ~(differences[:, pixels] <= bound)
    group, pixel = np.nonzero(found)
    return group, y[pixel], x[pixel]


def _steady_differences(
    ramp: Ramp, y: NDArray[np.intp], x: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the differences of some pixels, and which of them are neither broken nor flagged."""
    groupdq = ramp.groupdq[:, y, x]
    differences = np.diff(ramp.data[:, y, x].astype(np.float32, copy=False), axis=0)
    broken = (groupdq & (DO_NOT_USE | SATURATED)) != 0
    usable = ~(broken[1:] | broken[:-1] | ((groupdq[1:] & JUMP_DET) != 0) | ramp.flags[1:, y, x])
    return differences, usable & np.isfinite(differences)


def _least_light(
    ramps: Sequence[Ramp], y: NDArray[np.intp], x: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the least difference that pixels have in some integrations; NaN if none is steady.

    The least, because a pixel that was full releases charge in the next integrations.
    """
    least = np.full(y.size, np.inf, np.float32)
    for ramp in ramps:
        differences, usable = _steady_differences(ramp, y, x)
        each = np.where(usable, differences, np.float32(np.inf))
        least = np.minimum(least, each.min(axis=0, initial=np.inf))
    return np.where(np.isfinite(least), least, np.float32(np.nan))


def measure_darkness(ramp: Ramp) -> Darkness:
    """Measure what pixels without sources have.

    Parameters
    ----------
    ramp
        The integration.

    Returns
    -------
    Darkness
        NaN if no pixel works.
    """
    sample = slice(None, None, LAST.level_step)
    dark = finite_median(ramp.data[0][sample, sample][~ramp.bad[sample, sample]])
    window = ramp.window((sample, sample))
    rate = finite_median(window.differences[window.steady])
    return Darkness(dark + LAST.dark_sigma * _scatter_of_dark(ramp), rate)


def _scatter_of_dark(ramp: Ramp) -> float:
    """Return the scatter of the first group where it is dark.

    From pixels two columns apart, which have the same light in most places; in a field of bright
    stars in the quarter with the least difference. The scatter over the frame would be that of
    their light, and all would seem dark.
    """
    left, right = (slice(None, -2, LAST.level_step), slice(2, None, LAST.level_step))
    rows = slice(None, None, LAST.level_step)
    apart = np.abs(ramp.data[0][rows, left] - ramp.data[0][rows, right])
    apart = apart[~(ramp.bad[rows, left] | ramp.bad[rows, right]) & np.isfinite(apart)]
    if apart.size == 0:
        return np.nan
    quarter = float(np.percentile(apart, 25))
    return quarter / (NormalDist().inv_cdf(0.625) * np.sqrt(2.0))
