"""The entry to this room: snowballs flagged in the groups of a ramp, by either method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.snowballs.adaptive import Snowball, measure_snowballs
from ceers_steps.kernels.snowballs.published import published_flags

__all__ = ["SnowballFlags", "close_lost_ramps_inplace", "flag_snowballs"]

Parameters = dict[str, float | bool | Sequence[int]]


@dataclass(frozen=True)
class SnowballFlags:
    """What `flag_snowballs` found.

    Attributes
    ----------
    flags : NDArray
        Shape ``(nints, ngroups, ny, nx)``; True = the difference that ends in this group is
        contaminated (to be flagged as a jump).
    events : tuple of Snowball or None
        None if the method measures no events.
    capped : tuple of (int, int)
        Integrations and groups left as they were, because more than the allowed fraction of
        their pixels would have been flagged.
    parameters : dict
        The parameters that the method used.
    metrics : dict
        Numbers of events and pixels.
    """

    flags: NDArray[np.bool_]
    events: tuple[Snowball, ...] | None
    capped: tuple[tuple[int, int], ...]
    parameters: Parameters
    metrics: dict[str, float]


def flag_snowballs(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    method: str,
    parameters: Parameters,
    *,
    group_time: float | None = None,
    n_outputs: int = 1,
) -> SnowballFlags:
    """Flag snowballs.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal, any unit.
    groupdq
        Same shape, after jump detection.
    bad
        Shape ``(ny, nx)``; True = do not use (dead, hot, reference pixels).
    method : {'adaptive', 'ceers'}
        `measure_snowballs` or `published_flags`.
    parameters
        Keywords of that function, without `group_time` and `n_outputs`.
    group_time
        Time between groups, s; 'adaptive' needs it.
    n_outputs
        Number of outputs, each of which reads a band of columns, row by row.

    Returns
    -------
    SnowballFlags

    Raises
    ------
    ValueError
        If a parameter cannot be used.
    """
    if method == "ceers":
        flags = published_flags(groupdq, **parameters)  # type: ignore[arg-type]
        metrics = _extent(flags, groupdq)
        return SnowballFlags(flags, None, (), parameters, metrics)
    if not group_time:
        raise ValueError(
            "no group time (TGROUP) in the header. Start from the *_uncal.fits file, or use "
            "method='ceers', which needs none"
        )
    found = measure_snowballs(
        data,
        groupdq,
        bad,
        group_time=group_time,
        n_outputs=n_outputs,
        **parameters,  # type: ignore[arg-type]
    )
    metrics = {
        "n_events": len(found.events),
        "n_saturated": sum(event.saturated for event in found.events),
        "n_capped_groups": len(found.capped),
        "n_lost_pixels": found.n_lost,
        **_extent(found.flags, groupdq),
    }
    return SnowballFlags(found.flags, found.events, found.capped, parameters, metrics)


def close_lost_ramps_inplace(groupdq: NDArray[np.uint8], flags: NDArray[np.bool_]) -> int:
    """Mark ramps that have lost all their differences to flags as not usable.

    A ramp fit gives a ramp whose first group is DO_NOT_USE, and all others jumps, the rate 0 with
    the error 0.

    Parameters
    ----------
    groupdq
        Shape ``(nints, ngroups, ny, nx)``, with the flags in it; all groups of such a ramp get
        DO_NOT_USE.
    flags
        Same shape; ramps without a flag (True) are left as they are.

    Returns
    -------
    int
        Number of such ramps.
    """
    n_lost = 0
    for dq, new in zip(groupdq, flags, strict=True):
        y, x = np.nonzero(new.any(axis=0))
        ramps = dq[:, y, x]
        broken = (ramps & (DO_NOT_USE | SATURATED)) != 0
        usable = ~(broken[1:] | broken[:-1] | ((ramps[1:] & JUMP_DET) != 0))
        lost = ~usable.any(axis=0)
        dq[:, y[lost], x[lost]] |= np.uint8(DO_NOT_USE)
        n_lost += int(np.count_nonzero(lost))
    return n_lost


def _extent(flags: NDArray[np.bool_], groupdq: NDArray[np.uint8]) -> dict[str, float]:
    """Return the pixels flagged in any group, and the new flags over all pixels and groups."""
    new = np.count_nonzero(flags & ((groupdq & JUMP_DET) == 0))
    return {
        "n_flagged_pixels": int(np.count_nonzero(flags.any(axis=(0, 1)))),
        "added_fraction": new / flags.size,
    }
