"""The exponential in which a profile of light ends."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["faded_at", "last_exponential"]

_EDGE = 0.03
"""Light that is too faint to be masked, in units of the noise of a pixel."""


def faded_at(level: NDArray | float, length: NDArray | float) -> NDArray | float:
    """Return the distance at which ``exp(level - distance / length)`` is `_EDGE`.

    Parameters
    ----------
    level : float or ndarray
        Logarithm of the profile at its start, in units of the noise.
    length : float or ndarray
        Scale length, bins.

    Returns
    -------
    float or ndarray
        Bins from the start.
    """
    return length * (level - np.log(_EDGE))


def last_exponential(
    distance: NDArray, profile: NDArray, limit: NDArray, known: NDArray[np.bool_]
) -> tuple[float, float]:
    """Fit ``exp(level - distance / length)`` to where a profile fades below a limit.

    Parameters
    ----------
    distance, profile, limit : ndarray, shape (n,)
        From the edge of the sources outwards.
    known : ndarray of bool, shape (n,)
        True where there is a profile.

    Returns
    -------
    level, length : float
        Length 0 when there is no light at all.
    """
    distance, profile, limit = distance[known], profile[known], limit[known]
    if len(profile) < 4:
        return 0.0, 0.0
    # structure of the sky that is wider than the source
    profile = profile - np.mean(profile[-max(2, len(profile) // 5) :])
    faded = np.flatnonzero(profile < limit)
    last = faded[0] if faded.size else len(profile)
    if last == 0:
        return 0.0, 0.0
    # over the last factor of five or so, at least three points
    first = min(np.flatnonzero(profile[:last] >= 5.0 * profile[last - 1])[-1:].tolist() or [0])
    first = max(0, min(first, last - 3))
    if last - first < 2:
        return float(np.log(profile[last - 1]) + 1.0), float(distance[last - 1])
    logs = np.log(profile[first:last])
    slope = np.polyfit(distance[first:last], logs, 1)[0]
    if slope >= 0.0:
        return 0.0, 0.0  # what does not fall is the light of something else
    length = min(-1.0 / slope, distance[last - 1])
    return float(logs[-1] + distance[last - 1] / length), float(length)
