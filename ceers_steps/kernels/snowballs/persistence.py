"""Charge that saturated pixels trap, and release in the integrations and exposures that follow."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ceers_steps.kernels.discs import dilate, grown_box
from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.parts import Part, Slices, find_parts, label_parts, placed
from ceers_steps.kernels.snowballs.settings import HALO, PERSISTENCE
from ceers_steps.kernels.stats import finite_median, mad_sigma, nan_median

__all__ = ["Released", "follow_charge", "follow_charge_of_earlier", "follow_released_charge"]


@dataclass(frozen=True)
class Released:
    """Pixels that are not usable until a group of a later integration.

    Attributes
    ----------
    integration : int
        The later integration, 0-based.
    last_group : int
        The differences that end in this group or an earlier one are contaminated.
    box : tuple of slice
        Rows and columns.
    pixels : NDArray
        True = contaminated, in the box.
    """

    integration: int
    last_group: int
    box: Slices
    pixels: NDArray[np.bool_]


@dataclass(frozen=True)
class _Trace:
    """What the pixels of one event gain in the differences of all later integrations.

    `gain` and `values` are over the surroundings, shapes (n,) and (n, pixels); `sigma` is the
    noise of a difference of one pixel.
    """

    part: Part
    gain: NDArray[np.float64]
    values: NDArray[np.float32]
    sigma: float


def follow_released_charge(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    integration: int,
    *,
    group_time: float,
    unmeasured_time: float,
) -> list[Released]:
    """Tell for how long what saturated in an integration is not usable in those after it.

    A pixel that saturates, and is dark in another integration, was hit: no star does that. Charge
    that it traps leaks out over the next integrations. How fast is measured on all these pixels
    together, as a sum of falling exponentials; how much, for each event, which is expected to be
    like the others.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal, any unit.
    groupdq
        Same shape, after jump detection.
    bad
        Shape ``(ny, nx)``; True = do not use.
    integration
        The one whose events are followed, 0-based.
    group_time
        Time between groups, s.
    unmeasured_time
        Time after an event for which its pixels are not usable at least, where there are too few
        to measure it, s.

    Returns
    -------
    list of Released
        Empty if there is no later integration, or nothing was hit.
    """
    nints, ngroups = groupdq.shape[:2]
    if integration + 1 >= nints or ngroups < 2:
        return []
    hit = _hit(data, groupdq, bad, integration)
    saturated = (groupdq[integration] & SATURATED) != 0
    later = slice(integration + 1, None)
    return [
        replace(mark, integration=integration + 1 + mark.integration)
        for mark in follow_charge(
            data[later],
            groupdq[later],
            bad,
            hit,
            group_time=group_time,
            at_least=lambda part: (
                int((saturated[:, *part.box] & part.pixels).any(axis=(1, 2)).argmax())
                + int(unmeasured_time / group_time + 1e-6)
                - ngroups
            ),
        )
    ]


def follow_charge(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    *,
    group_time: float,
    at_least: Callable[[Part], int] = lambda _: 0,
    moved: bool = False,
) -> list[Released]:
    """Tell for how long pixels that were hit before these integrations are not usable.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal, any unit.
    groupdq
        Same shape, after jump detection.
    bad
        Shape ``(ny, nx)``; True = do not use.
    hit
        Shape ``(ny, nx)``; True = full of charge before the first integration.
    group_time
        Time between groups, s.
    at_least
        Number of groups, from the first one on, which are left out for a part of `hit` where there
        are too few pixels to measure it.
    moved
        The telescope may have moved since, or the filter changed: parts that clearly do not fade
        are light, and left alone.

    Returns
    -------
    list of Released
        Integrations are counted from the first one of `data`.
    """
    nints, ngroups = groupdq.shape[:2]
    parts = find_parts(hit)
    if not parts:
        return []
    traces = [_trace(data, groupdq, bad, hit, part) for part in parts]
    if moved:
        traces = [trace for trace in traces if not _is_light(trace)]
    # in groups since the end of the integration
    ends = (np.arange(nints)[:, None] * ngroups + np.arange(1, ngroups)).ravel()
    basis = np.exp(-np.outer(ends * group_time, 1 / np.array(PERSISTENCE.times)))
    shape, n_measured = _common_shape(traces, basis)
    released = []
    for trace in traces:
        expected = _expected(trace, shape).reshape(nints, ngroups - 1)
        limit = PERSISTENCE.limit / np.sqrt(nints) * trace.sigma
        for k in range(nints):
            last = _last_group(expected[k], limit)
            if n_measured < PERSISTENCE.enough_pixels:
                last = max(last, min(at_least(trace.part) - k * ngroups, ngroups - 1))
            if last > 0:
                released.append(Released(k, last, trace.part.box, trace.part.pixels))
    return released


def _hit(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    integration: int,
) -> NDArray[np.bool_]:
    """Return the pixels that are full in an integration and far from it in another.

    The saturation step grows what saturates by a pixel. What is only next to it traps nothing.
    """
    saturated = ((groupdq[integration] & SATURATED) != 0).any(axis=0)
    candidates = dilate(saturated, HALO.ring_minimum)
    hit = candidates & ~bad
    y, x = np.nonzero(candidates)
    level = np.zeros(hit.shape, np.float32)
    level[y, x] = np.nan_to_num(np.fmax.reduce(data[integration][:, y, x], axis=0))
    # a single ray fills one pixel of nine, which may be a bad one
    labels = label_parts(candidates)
    full = ndimage.maximum(level, labels, np.arange(labels.max() + 1))
    hit[y, x] &= level[y, x] >= PERSISTENCE.filled * full[labels[y, x]]
    y, x = np.nonzero(hit)
    level = level[y, x]
    dark = np.zeros(y.size, bool)
    for other in range(len(groupdq)):
        if other == integration:
            continue
        full = (groupdq[other][:, y, x] & SATURATED) != 0
        signal = np.where(full, np.float32(np.inf), data[other][:, y, x])
        dark |= ~full.any(axis=0) & (signal.max(axis=0) < PERSISTENCE.dark_part * level)
    hit[y[~dark], x[~dark]] = False
    return hit


def _trace(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    part: Part,
) -> _Trace:
    """Measure the gain of the pixels of an event over their surroundings."""
    box = grown_box(part.box, PERSISTENCE.margin, bad.shape)
    inside = placed(part.pixels, part.box, box)
    far = ndimage.distance_transform_edt(~hit[box]) > PERSISTENCE.gap
    around = far & ~bad[box]
    gains, values, spreads = [], [], []
    for later, flags in zip(data, groupdq, strict=True):
        dq = flags[:, *box]
        differences = np.diff(later[:, *box].astype(np.float32, copy=False), axis=0)
        broken = (dq & (SATURATED | DO_NOT_USE)) != 0
        broken = broken[1:] | broken[:-1] | ~np.isfinite(differences)
        # jumps of the event are what is measured: the jump step may see the charge as one
        steady = np.where(broken | ((dq[1:] & JUMP_DET) != 0), np.float32(np.nan), differences)
        beside = steady[:, around]
        level = nan_median(beside, axis=1)[:, None]
        own = np.where(broken, np.float32(np.nan), differences)[:, inside] - level
        spreads.append(mad_sigma((beside - level).ravel()))
        values.append(own)
        gains.append(nan_median(own, axis=1))
    return _Trace(
        part,
        np.concatenate(gains).astype(float),
        np.concatenate(values),
        finite_median(np.array(spreads)),
    )


def _is_light(trace: _Trace) -> bool:
    """Tell whether the second half of all differences clearly gains as much as the first."""
    half = len(trace.gain) // 2
    if half == 0 or not np.isfinite(trace.gain).all():
        return False
    # medians: a hit in a few pixels is no light
    first, second = np.median(trace.gain[:half]), np.median(trace.gain[-half:])
    error = trace.sigma * np.sqrt(PERSISTENCE.median_variance / (half * trace.values.shape[1]))
    return bool(second - PERSISTENCE.steady * first > PERSISTENCE.seen * error)


def _common_shape(
    traces: list[_Trace], basis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int]:
    """Fit the gain of all pixels together; return it, and the number of pixels that tell it."""
    usable = [trace for trace in traces if trace.sigma > 0 and np.isfinite(trace.gain).all()]
    if not usable:
        return np.zeros(len(basis)), 0
    values = np.concatenate([trace.values for trace in usable], axis=1)
    parameters, _ = optimize.nnls(basis, nan_median(values, axis=1).astype(float))
    shape, n_pixels = basis @ parameters, values.shape[1]
    sigma = finite_median(np.array([trace.sigma for trace in usable]))
    error = sigma * np.sqrt(PERSISTENCE.median_variance / n_pixels)
    if n_pixels < PERSISTENCE.enough_pixels and np.linalg.norm(shape) < PERSISTENCE.seen * error:
        shape = np.zeros(len(basis))
    return shape, n_pixels


def _expected(trace: _Trace, shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the charge that an event may release in each difference, one error above the best.

    It is the common shape times a factor, which is expected to be 1 within a spread.
    """
    known = np.isfinite(trace.gain)
    n_pixels = trace.values.shape[1]
    factor, weight = 1.0, 1 / PERSISTENCE.spread**2
    total = float(np.square(shape[known]).sum())
    if trace.sigma > 0 and total > 0:
        variance = PERSISTENCE.median_variance * trace.sigma**2 / n_pixels
        own = float((shape * trace.gain)[known].sum()) / variance
        factor = (own + weight) / (total / variance + weight)
        weight += total / variance
    factor = float(np.clip(factor, 0.0, PERSISTENCE.most))
    return shape * (factor + 1 / np.sqrt(weight))


def _last_group(expected: NDArray[np.float64], limit: float) -> int:
    """Return the last group to leave out, so that the rate of the rest is right to the limit.

    `limit` is the part of the noise of a difference that the error of a rate may have in its own
    noise, which is that of a line through groups with read noise: the lowest it can be.
    """
    n = len(expected)
    if not limit > 0:
        return n
    for first in range(n):
        groups = n - first + 1
        noise = np.sqrt(6.0 / (groups * (groups**2 - 1)))
        if expected[first:].mean() <= limit * noise:
            return first
    return n


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

    As `follow_released_charge` does for integrations,
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
