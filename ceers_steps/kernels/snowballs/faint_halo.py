"""The faint halo of a snowball beyond its flags: measured, and subtracted where it is there.

A halo falls steeply, but covers the more pixels the fainter it is: what is too faint to be flagged
in any pixel still lifts the rate of ten thousands of them. Over many pixels it can be measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.jumps.differences import (
    Noise,
    Ramp,
    Window,
    line_weights,
    measure_noise,
)
from ceers_steps.kernels.parts import Slices
from ceers_steps.kernels.snowballs.adaptive import Snowball
from ceers_steps.kernels.snowballs.halo import log_radius, stretch_of
from ceers_steps.kernels.snowballs.profile import Blocks
from ceers_steps.kernels.snowballs.settings import FAINT, HALO
from ceers_steps.kernels.snowballs.spilled import EventCharge, measure_spilled_charge
from ceers_steps.kernels.stats import mad_sigma

__all__ = ["FaintHalos", "subtract_faint_halos_inplace"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class FaintHalos:
    """What `subtract_faint_halos_inplace` did.

    Attributes
    ----------
    n_subtracted : int
        Events with a halo that was subtracted.
    n_refused : int
        Events with too little around them to measure it.
    charge : float
        Mean of what was subtracted over the pixels concerned, sigma of a difference.
    n_spills : int
        Events of which charge that went on to spill was subtracted.
    variance : NDArray or None
        Shape ``(nints, ny, nx)``: variance of the slope of a ramp, (units of the data per group)
        squared, from the errors of the profiles; None where nothing was subtracted.
    """

    n_subtracted: int
    n_refused: int
    charge: float
    n_spills: int = 0
    variance: Float | None = field(default=None, compare=False)


def subtract_faint_halos_inplace(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    events: Sequence[Snowball],
    *,
    n_outputs: int = 1,
) -> FaintHalos:
    """Subtract from a ramp what snowballs leave beyond their flags.

    An event may fall into two differences, in which its halo has the same profile. How much each
    holds is measured where it is bright. The excess of these differences together, over the mean
    of the other differences of each pixel, is followed by an elliptical profile whose logarithm
    is a parabola in that of the radius, and that is corrected by the means of elliptical rings,
    which need no formula. It is subtracted out to where it is lost in its own error, where
    nothing is flagged. Events that touch are measured with the halos of the others taken out.
    What goes on to spill out of saturated cores is subtracted then, of events before the first
    group too: they have no difference in which their halo came.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal, any unit; changed.
    groupdq
        Same shape, with the flags of the events.
    bad
        Shape ``(ny, nx)``; True = do not use.
    events
        Of `measure_snowballs`.
    n_outputs
        Number of outputs, each of which reads a band of columns, row by row.

    Returns
    -------
    FaintHalos
        What was subtracted.
    """
    n_subtracted = n_refused = n_spills = 0
    total, n_pixels = 0.0, 0
    variance = np.zeros((len(data), *bad.shape), np.float32)
    nothing = np.zeros(groupdq.shape[1:], bool)
    for i in sorted({event.integration for event in events}):
        ramp = Ramp(data[i], groupdq[i], bad, nothing)
        here = [event for event in events if event.integration == i]
        with_halo = [event for event in here if event.group > 0]
        places = [(event.group, _box(event, bad.shape, 1.0)) for event in with_halo]
        noise = measure_noise(ramp, places, n_outputs)
        if not noise.sigma > 0:
            continue
        for halo in _measured_together(ramp, noise, with_halo):
            if halo is None:
                n_refused += 1
                continue
            n_subtracted += bool(halo.parts)
            taken = _take_out_inplace(data[i], variance[i], groupdq[i], halo, noise.sigma)
            total, n_pixels = total + taken[0], n_pixels + taken[1]
        for event in here:
            if (spilled := measure_spilled_charge(ramp, noise, event)) is not None:
                n_spills += 1
                _take_out_inplace(data[i], variance[i], groupdq[i], spilled, noise.sigma)
    mean = total / max(n_pixels, 1)
    found = variance if n_subtracted or n_spills else None
    return FaintHalos(n_subtracted, n_refused, mean, n_spills, found)


def _take_out_inplace(
    data: Float, variance: Float, groupdq: NDArray[np.uint8], found: EventCharge, sigma: float
) -> tuple[float, int]:
    """Subtract charge from the unflagged pixels of an integration, and add to its variance.

    Returns the sum of what was subtracted, sigma, and of how many pixels.
    """
    line = line_weights(len(data))
    total, n_pixels = 0.0, 0
    share = np.zeros_like(found.level)  # the differences share the error of their profile
    for k, part in found.parts.items():
        charge = np.float32(part) * found.level
        charge[(charge > FAINT.brightest) | (groupdq[k + 1][found.box] != 0)] = 0
        data[k + 1 :, *found.box] -= charge * np.float32(sigma)
        total += float(charge.sum())
        n_pixels += int(np.count_nonzero(charge))
        share += np.float32(line[k] * part * sigma) * (charge > 0)
    variance[found.box] += np.square(FAINT.left_over * share * found.error)
    return total, n_pixels


def _measured_together(
    ramp: Ramp, noise: Noise, events: Sequence[Snowball]
) -> list[EventCharge | None]:
    """Return the halo of each event, the largest first; None if it cannot be measured.

    The halos of all others are taken out of the differences before one is measured, and those
    that touch another in the same differences are measured again when all are known.
    """
    events = sorted(events, key=lambda each: -each.halo_radius)
    halos: dict[int, EventCharge | None] = {}
    for again in range(FAINT.passes):
        for n, event in enumerate(events):
            touching = [other for other in events if other is not event and _touch(event, other)]
            if again and not touching:
                continue
            known = [halo for m, halo in halos.items() if m != n and halo is not None]
            halos[n] = _halo_of(ramp, noise, event, known, touching)
    return [halos[n] for n in range(len(events))]


def _touch(one: Snowball, other: Snowball) -> bool:
    """Tell if two events share a difference, and a halo reaches what is bright of the other."""
    apart = float(np.hypot(one.y - other.y, one.x - other.x))
    reach = np.exp(FAINT.range[1]) * max(one.halo_radius, other.halo_radius)
    reach += min(one.halo_radius, other.halo_radius)
    return abs(one.group - other.group) <= 2 and apart < reach


def _box(event: Snowball, shape: tuple[int, ...], radii: float) -> Slices:
    """Return the box of some radii around an event."""
    reach = int(min(radii * event.halo_radius, HALO.largest_reach)) + 1
    y, x = (
        min(max(int(side), 0), length - 1)
        for side, length in zip((event.y, event.x), shape, strict=True)
    )
    return grown_box((slice(y, y + 1), slice(x, x + 1)), reach, shape)


def _near(event: Snowball, n_differences: int) -> list[int]:
    """Return the differences that may hold charge of an event, its own first."""
    this = event.group - 1
    return [k for k in (this, this + 1, this - 1) if 0 <= k < n_differences]


def _halo_of(
    ramp: Ramp,
    noise: Noise,
    event: Snowball,
    known: Sequence[EventCharge],
    touching: Sequence[Snowball],
) -> EventCharge | None:
    """Return the halo of an event, without parts if none is there; None if it cannot be measured.

    `known` are the halos of others, `touching` the events whose bright part must not be taken
    for a part of this one.
    """
    n_differences = len(ramp.data) - 1
    near = _near(event, n_differences)
    # over many pixels one difference is enough for the rate, and it must hold no charge
    left_out = near if n_differences > len(near) else near[:1]
    box = _box(event, ramp.bad.shape, float(np.exp(FAINT.range[1])))
    window = ramp.window(box, noise)
    for halo in known:
        halo.take_from(window.differences, box, noise.sigma)
    y, x = np.meshgrid(
        *(np.arange(side.start, side.stop, dtype=np.float32) for side in box),
        indexing="ij",
        sparse=True,
    )
    for other in touching:
        place = (other.y, other.x, *stretch_of(other.ellipticity, other.angle))
        bright = log_radius(y, x, place, other.halo_radius) < 0
        window.usable[_near(other, n_differences)] &= ~bright
    rate, count = _rate(window, left_out)
    known_rate = (count > 0) & _no_source(rate, noise.sigma)
    centre = event.y - box[0].start, event.x - box[1].start
    y, x = y - y[0], x - x[:, :1]
    distance = log_radius(
        y, x, (*centre, *stretch_of(event.ellipticity, event.angle)), event.halo_radius
    )
    inner = distance < 0
    own = distance < FAINT.own
    others = ((ramp.groupdq[1:, *box] & JUMP_DET) != 0) & ~own
    taken = np.count_nonzero(others, axis=(1, 2)) / max(np.count_nonzero(~own), 1)
    if (taken[near] > FAINT.crowded).any():
        return None
    bright = known_rate & inner & (distance > FAINT.range[0])
    parts = _parts(window, rate, noise.sigma, near, bright)
    if n_differences - len(left_out) < FAINT.fewest_others:
        # one before the event that holds none of it tells the rate too; after it, charge spills
        left_out = [k for k in left_out if k in parts or k >= near[0]]
        rate, count = _rate(window, left_out)
        known_rate = (count > 0) & _no_source(rate, noise.sigma)
    # together, since the differences share the reads between them, and the halo its profile
    held = sorted(parts)
    excess = (window.differences[held].sum(axis=0) - len(held) * rate) / np.float32(noise.sigma)
    # in the flagged region there are no other hits to be separated
    good = known_rate & (window.steady[held] | (window.usable[held] & inner)).all(axis=0)
    error = np.sqrt(1 + len(held) ** 2 / np.maximum(count, 1)).astype(np.float32)
    outer = good & ~inner
    if np.count_nonzero(outer) > FAINT.fewest_blocks:
        error *= np.float32(mad_sigma(excess[outer] / error[outer]))
    blocks = Blocks.of(excess / error, error, good, centre, event)
    shape = blocks.fit_shape(centre, event)
    if shape is None:
        return None
    blocks = blocks.with_rows(shape, event.halo_radius)
    profile = blocks.fit_profile(shape, event.halo_radius)
    if profile is None:
        return EventCharge(box, np.zeros_like(rate), np.zeros_like(rate), {})
    if (rows := blocks.row_noise(profile)) is not None:
        of_pixels = np.repeat(np.repeat(rows, blocks.size, axis=0), blocks.size, axis=1)
        excess[: of_pixels.shape[0], : of_pixels.shape[1]] -= of_pixels
    level, error_of_level = profile.significant(y, x)
    # what is brighter is flagged around an event that was measured well
    level[ramp.bad[box] | (level > len(held) * FAINT.brightest)] = 0
    flagged = np.any([ramp.groupdq[k + 1][box] != 0 for k in held], axis=0)
    unflagged = np.where(flagged, np.float32(0), level)
    if not _is_confirmed(unflagged, (excess - profile.sky) / error, error, good):
        parts = {}
    return EventCharge(box, level, error_of_level, parts)


def _parts(
    window: Window, rate: Float, sigma: float, near: list[int], here: NDArray[np.bool_]
) -> dict[int, float]:
    """Return the part of the charge that each difference holds, of those that hold some.

    It is measured where the event is bright, in pixels that all differences can use.
    """
    excess = (window.differences[near] - rate) / np.float32(sigma)
    # a hit is brighter than what is left of an event beyond its core
    here = here & (window.usable[near] & (np.abs(excess) < FAINT.bright)).all(axis=0)
    charge = excess[:, here].sum(axis=1, dtype=float)
    noise = float(np.sqrt(np.count_nonzero(here)))
    kept = charge > max(FAINT.least_part * float(charge.sum()), FAINT.part_significance * noise)
    if not kept.any():
        return {near[0]: 1.0}
    charge = np.where(kept, charge, 0)
    return {k: float(part) for k, part in zip(near, charge / charge.sum(), strict=True) if part}


def _is_confirmed(halo: Float, excess: Float, error: Float, good: NDArray[np.bool_]) -> bool:
    """Tell if what is to be subtracted is there, near the flags and further out alike.

    The excess is given over its error.
    """
    brightest = float(halo.max(initial=0))
    if not brightest > 0:
        return False
    scaled = halo / error
    ratio, ratio_error = _ratio(scaled, excess, good & (halo > 0))
    # where too few pixels are left to see it, what is known of the profile holds
    if ratio < min(FAINT.seen_significance * ratio_error, 1 - FAINT.missing_sigma * ratio_error):
        return False
    for part in (halo >= brightest / 3, (halo > 0) & (halo < brightest / 3)):
        ratio, ratio_error = _ratio(scaled, excess, good & part)
        if abs(ratio - 1) > FAINT.ratio_error + FAINT.ratio_sigma * ratio_error:
            return False
    return True


def _ratio(halo: Float, excess: Float, here: NDArray[np.bool_]) -> tuple[float, float]:
    """Return how much of a halo is seen, and the error of that."""
    expected, seen = halo[here], np.clip(excess[here], -FAINT.clip, FAINT.clip)
    square = max(float(np.square(expected).sum()), 1e-12)
    return float((expected * seen).sum()) / square, 1 / np.sqrt(square)


def _rate(window: Window, left_out: list[int]) -> tuple[Float, NDArray[np.int_]]:
    """Return the mean of the steady differences without some, and their number."""
    steady = window.steady.copy()
    steady[left_out] = False
    count = steady.sum(axis=0)
    total = np.where(steady, window.differences, np.float32(0)).sum(axis=0)
    return (total / np.maximum(count, 1)).astype(np.float32), count


def _no_source(rate: Float, sigma: float) -> NDArray[np.bool_]:
    """Return where the rate is that of the sky, whose noise is that of the frame."""
    return np.abs(rate - np.median(rate)) < FAINT.source_sigma * sigma
