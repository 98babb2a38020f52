"""The exponential in which a profile of light ends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.sources.settings import OUTER

__all__ = [
    "NO_LIGHT",
    "OuterExponential",
    "fit_outer_exponential",
    "radius_at_level",
]


@dataclass(frozen=True)
class OuterExponential:
    """``exp(level - distance / length)`` beside a constant.

    Attributes
    ----------
    level : float
        Logarithm of the profile at distance 0, in units of the noise.
    length : float
        Scale length, bins; 0 when there is no light at all.
    constant : float
        What does not fall with the distance: sky.
    """

    level: float
    length: float
    constant: float = 0.0


NO_LIGHT = OuterExponential(0.0, 0.0)


def radius_at_level(
    level: NDArray | float, length: NDArray | float, faintest: float
) -> NDArray | float:
    """Return the distance at which ``exp(level - distance / length)`` is so faint.

    Parameters
    ----------
    level : float or ndarray
        Logarithm of the profile at its start, in units of the noise.
    length : float or ndarray
        Scale length, bins.
    faintest : float
        In units of the noise.

    Returns
    -------
    float or ndarray
        Bins from the start.
    """
    return length * (level - np.log(faintest))


def fit_outer_exponential(
    distance: NDArray,
    profile: NDArray,
    error: NDArray,
    faintest: float,
    known: NDArray[np.bool_] | None = None,
) -> OuterExponential:
    """Fit ``exp(level - distance / length) + constant`` to the end of a profile.

    Length and constant are fitted together, with all points from where the profile has its last
    shape to the end: a mean of the last points, taken for the sky, has light in it, and makes the
    length too short.

    Parameters
    ----------
    distance, profile, error : ndarray, shape (n,)
        From the edge of the sources outwards, bins; mean light, and its standard error, in units
        of the noise of a pixel.
    faintest : float
        Light below which a profile is no longer followed; three errors are needed besides.
    known : ndarray of bool, shape (n,), optional
        True where there is a profile; default: everywhere.

    Returns
    -------
    OuterExponential
        `NO_LIGHT` when there is none, or what there is does not fall.
    """
    if known is not None:
        distance, profile, error = distance[known], profile[known], error[known]
    if len(profile) < OUTER.fewest_points:
        return NO_LIGHT
    limit = np.maximum(faintest, 3.0 * error)
    variance = error**2 + OUTER.sky_error**2
    variance += (OUTER.shape_error * np.maximum(profile, 0.0)) ** 2
    weight = 1.0 / variance
    found, first = NO_LIGHT, 0
    for _ in range(OUTER.passes):
        part = slice(first, None)
        found = _fit(distance[part], profile[part], weight[part])
        light = profile - found.constant
        lost = np.flatnonzero(light < limit)
        last = int(lost[0]) if lost.size else len(profile)
        if last == 0 or found.length == 0.0:
            return NO_LIGHT
        bright = np.flatnonzero(light[:last] >= OUTER.last_factor * light[last - 1])
        first = int(bright[-1]) if bright.size else 0
        first = min(first, last - OUTER.fewest_above, len(profile) - OUTER.fewest_points)
        first = max(first, 0)
        if first == (part.start or 0):
            break
    return found


def _fit(distance: NDArray, profile: NDArray, weight: NDArray) -> OuterExponential:
    """Return the best of many scale lengths; to each, height and constant are linear."""
    longest = OUTER.longest * distance[-1]
    lengths = np.geomspace(OUTER.shortest, longest, OUTER.n_lengths)
    shape = np.exp(-distance / lengths[:, np.newaxis])
    prior = OUTER.constant_error**-2
    robust = np.ones_like(weight)
    for _ in range(OUTER.passes):
        w = weight * robust
        ones, total = w.sum() + prior, w @ profile
        cross, square, moment = shape @ w, shape**2 @ w, shape @ (w * profile)
        height = (moment * ones - cross * total) / (square * ones - cross**2)
        constant = (total - height * cross) / ones
        residual = profile - height[:, np.newaxis] * shape - constant[:, np.newaxis]
        chi2 = residual**2 @ w + prior * constant**2
        # light is positive: what rises outwards is that of something else
        chi2[height <= 0.0] = np.inf
        best = int(np.argmin(chi2))
        if not height[best] > 0.0:
            return NO_LIGHT
        pull = np.abs(residual[best]) * np.sqrt(weight)
        robust = OUTER.clip / np.maximum(pull, OUTER.clip)
    shift = 0.0
    if 0 < best < len(lengths) - 1 and np.isfinite(chi2[best - 1 : best + 2]).all():
        before, here, after = chi2[best - 1 : best + 2]
        curvature = before - 2.0 * here + after
        shift = 0.5 * (before - after) / curvature if curvature > 0.0 else 0.0
    place = best + shift
    index = np.arange(len(lengths))
    length = float(np.exp(np.interp(place, index, np.log(lengths))))
    # height and constant change little from one length to the next
    level = float(np.log(np.interp(place, index, np.maximum(height, 1e-300))))
    return OuterExponential(level, length, float(np.interp(place, index, constant)))
