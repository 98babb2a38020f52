"""Charge that pixels trapped in an earlier exposure, and release in this one."""

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import SATURATED
from ceers_steps.kernels.snowballs.persistence import Released, follow_charge
from ceers_steps.kernels.snowballs.settings import PERSISTENCE
from ceers_steps.kernels.stats import finite_median, mad_sigma

__all__ = ["follow_charge_of_earlier"]


def follow_charge_of_earlier(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    level: NDArray[np.float32],
    full: NDArray[np.float32],
    *,
    group_time: float,
) -> list[Released]:
    """Tell for how long what was full of charge in an earlier exposure is not usable in this one.

    As `ceers_steps.kernels.snowballs.persistence.follow_released_charge` does for integrations,
    from pixels that were saturated, and from those that were filled less as far down as such
    pixels are brighter than others now. The telescope may have moved, or the filter changed: pixels
    that are bright now, and those whose light does not fade, are left alone.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal.
    groupdq
        Same shape, after jump detection.
    bad
        Shape ``(ny, nx)``; True = do not use.
    level
        Shape ``(ny, nx)``; signal at the end of the earlier exposure over that of a full pixel.
    full
        Shape ``(ny, nx)``; signal at which a pixel is full, in the unit of `data`.
    group_time
        Time between groups, s.

    Returns
    -------
    list of Released
        Empty if nothing was full, or no charge is seen.
    """
    if data.shape[1] < 2:
        return []
    candidates = (level >= PERSISTENCE.levels[-1]) & ~bad
    y, x = np.nonzero(candidates)
    signal = data[:, :, y, x].max(axis=(0, 1))  # NaN is not dark
    dark = signal < PERSISTENCE.dark_now * full[y, x]
    dark &= ((groupdq[:, :, y, x] & SATURATED) == 0).all(axis=(0, 1))
    candidates[y[~dark], x[~dark]] = False
    hit = candidates & (level >= _lowest_level(data, bad, level, candidates))
    return follow_charge(data, groupdq, bad, hit, group_time=group_time, moved=True)


def _lowest_level(
    data: NDArray[np.float32],
    bad: NDArray[np.bool_],
    level: NDArray[np.float32],
    candidates: NDArray[np.bool_],
) -> float:
    """Return the level down to which pixels are brighter now than the others of the frame."""
    gain = data[:, -1].mean(axis=0) - data[:, 0].mean(axis=0)
    some = np.s_[::4, ::4]  # enough for the noise of a frame
    of_frame = gain[some][~bad[some]]
    middle, sigma = finite_median(of_frame), mad_sigma(of_frame)
    lowest = PERSISTENCE.levels[0]
    for lower in PERSISTENCE.levels[1:]:
        inside = gain[candidates & (level >= lower) & (level < lowest)]
        error = sigma * np.sqrt(PERSISTENCE.median_variance / max(inside.size, 1))
        if finite_median(inside) - middle > max(PERSISTENCE.limit * sigma, 2 * error):
            lowest = lower
        elif 2 * error < PERSISTENCE.limit * sigma:
            break
    return lowest
