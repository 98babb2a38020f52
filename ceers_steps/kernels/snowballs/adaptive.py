"""Snowballs found among the jumps of each group, each followed as far as it is seen.

How far an event reaches is measured in the difference of the two groups between which it fell
and in the differences after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.discs import dilate, disc_filled, grown_box
from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.differences import Noise, Ramp, measure_noise
from ceers_steps.kernels.parts import Slices, find_parts
from ceers_steps.kernels.snowballs.before_saturation import (
    contaminated_before_saturation,
    measure_darkness,
)
from ceers_steps.kernels.snowballs.event import Event, measure_early_event, measure_event
from ceers_steps.kernels.snowballs.persistence import follow_released_charge
from ceers_steps.kernels.snowballs.settings import EVENTS

__all__ = ["MeasuredSnowballs", "Snowball", "measure_snowballs"]


@dataclass(frozen=True)
class Snowball:
    """One event.

    Attributes
    ----------
    integration, group : int
        0-based; the event shows in the difference between this group and the one before, or came
        before the first group (0).
    y, x : float
        Centre of the core, 0-based pixels.
    core_radius, halo_radius : float
        Radii of the discs with the area of the core and of the flagged region, pixels.
    ellipticity, angle : float
        1 - b/a of the flagged region, and direction of a in degrees from +x towards +y.
    saturated : bool
        True if pixels of the core saturated in this group.
    """

    integration: int
    group: int
    y: float
    x: float
    core_radius: float
    halo_radius: float
    ellipticity: float
    angle: float
    saturated: bool


@dataclass(frozen=True)
class MeasuredSnowballs:
    """What `measure_snowballs` found.

    Attributes
    ----------
    flags : NDArray
        Shape ``(nints, ngroups, ny, nx)``; True = the difference that ends in this group is
        contaminated (to be flagged as a jump).
    events : tuple of Snowball
    capped : tuple of (int, int)
        Integrations and groups left as they were, because more than the allowed fraction of
        their pixels would have been flagged.
    n_lost : int
        Pixels that lose their last usable difference of all integrations, and with it their rate.
    """

    flags: NDArray[np.bool_]
    events: tuple[Snowball, ...]
    capped: tuple[tuple[int, int], ...]
    n_lost: int


def measure_snowballs(
    data: NDArray[np.float32],
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    *,
    group_time: float,
    n_outputs: int = 1,
    min_core_radius: int = 4,
    halo_threshold: float = 0.55,
    after_core_time: float = 2000.0,
    carry_to_next_integration: bool = True,
    max_flagged_fraction: float = 0.5,
) -> MeasuredSnowballs:
    """Find snowballs and flag what they contaminate, as far as it is seen.

    A core is a region of jumps and newly saturated pixels that fills a disc, with an excess that
    the rate of its pixels in the other groups does not explain.  The excess around it, averaged
    locally, is followed outwards down to `halo_threshold`.  The same is done in the next
    difference (an event between the frames of an averaged group falls into two) and, for
    saturated cores, close to the core in all differences up to `after_core_time`.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal, any unit.
    groupdq
        Same shape, after jump detection.
    bad
        Shape ``(ny, nx)``; True = do not use (dead, hot, reference pixels).
    group_time
        Time between groups, s.
    n_outputs
        Number of outputs, each of which reads a band of columns, row by row.
    min_core_radius
        Radius of the smallest core, pixels.
    halo_threshold
        Mean excess down to which a halo is flagged, in sigma of a group difference.
    after_core_time
        Time after the event during which the surroundings of a saturated core are flagged, s.
    carry_to_next_integration
        Flag what was saturated by an event in the following integrations, too, for as long as the
        charge that it releases there is above 0.2 sigma of the rate (that time where the exposure
        has too few such pixels to measure it).
    max_flagged_fraction
        A group of which a larger fraction is flagged as jumps is left as it is. Where it would be,
        `halo_threshold` is raised for this group until it is not.

    Returns
    -------
    MeasuredSnowballs
        Events, and the flags to be set.
    """
    nints, ngroups = groupdq.shape[:2]
    after_groups = int(after_core_time / group_time + 1e-6)
    flags = np.zeros(groupdq.shape, dtype=bool)
    events: list[Snowball] = []
    capped: set[tuple[int, int]] = set()
    active = _active(bad)
    for i in range(nints):
        cores: dict[int, list[tuple[Slices, NDArray[np.bool_]]]] = {}
        for g in range(1, ngroups):
            jumps = (groupdq[i, g] & JUMP_DET) != 0
            fraction = np.count_nonzero(jumps) / jumps.size
            if fraction > max_flagged_fraction:
                capped.add((i, g))
            elif fraction > 0:
                saturated = (groupdq[i, g] & SATURATED) != 0
                cores[g] = _cores(jumps, saturated, active, min_core_radius)
        cores = {0: _early_cores(groupdq[i], active, min_core_radius), **cores}
        places = [(g, box) for g, found in cores.items() for box, _ in found]
        if places:
            ramp = Ramp(data[i], groupdq[i], bad, flags[i])
            noise = measure_noise(ramp, places, n_outputs)
        if places:
            others = [Ramp(data[j], groupdq[j], bad, flags[j]) for j in range(nints) if j != i]
            flag = partial(
                _flag_events,
                ramp,
                noise,
                cores,
                carried=flags[i].copy(),
                after_groups=after_groups,
                others=others,
            )
            flags[i], found = flag(halo_threshold)
            events += [_record(i, g, event) for g, event in found]
            too_many = _over(flags[i], groupdq[i], max_flagged_fraction)
            for factor in EVENTS.raised if too_many else ():
                # of a crowded group, what is brightest: nothing would leave all events in it
                fewer = flag(factor * halo_threshold)[0]
                for g in too_many:
                    flags[i, g] = fewer[g]
                too_many = _over(flags[i], groupdq[i], max_flagged_fraction)
                if not too_many:
                    break
        if carry_to_next_integration:
            # before the events of the next integration, which these pixels are not to look like
            for later in follow_released_charge(
                data, groupdq, bad, i, group_time=group_time, unmeasured_time=after_core_time
            ):
                flags[later.integration, 1 : later.last_group + 1, *later.box] |= later.pixels
        capped.update((i, g) for g in _cap(flags[i], groupdq[i], max_flagged_fraction))
    n_lost = _count_lost(flags, groupdq)
    return MeasuredSnowballs(flags, tuple(events), tuple(sorted(capped)), n_lost)


def _active(bad: NDArray[np.bool_]) -> Slices:
    """Return the box within the reference pixels: an event that they cut is one at the edge."""
    rows, cols = (np.flatnonzero(~bad.all(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)  # no pixel works
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _cores(
    jumps: NDArray[np.bool_], saturated: NDArray[np.bool_], active: Slices, radius: int
) -> list[tuple[Slices, NDArray[np.bool_]]]:
    """Return box and pixels of the regions that fill a disc, tracks that touch them cut off.

    What saturated in an earlier group fills the disc too: an event in the middle of the first
    group leaves only a ring of jumps.  But without jumps it is a star.
    """
    mask = jumps | saturated
    centres = np.zeros(mask.shape, dtype=bool)
    centres[active] = disc_filled(mask[active], radius, EVENTS.core_filled)
    if not centres.any():
        return []
    solid = dilate(centres, radius) & mask
    cores = []
    for part in find_parts(solid):
        core = ndimage.binary_fill_holes(part.pixels)
        if (centres[part.box] & core).any() and (jumps[part.box] & core).any():
            cores.append((part.box, core))
    return cores


def _early_cores(
    groupdq: NDArray[np.uint8], active: Slices, radius: int
) -> list[tuple[Slices, NDArray[np.bool_]]]:
    """Return what saturates in the first group and fills a disc, without jumps beside it."""
    saturated = (groupdq[0] & SATURATED) != 0
    if len(groupdq) < 2 or not saturated.any():
        return []
    jumps = (groupdq[1] & JUMP_DET) != 0
    found = _cores(saturated, saturated, active, radius)
    near = ((box, core, grown_box(box, EVENTS.beside, saturated.shape)) for box, core in found)
    return [
        (box, core)
        for box, core, outer in near
        if np.count_nonzero(jumps[outer]) < EVENTS.early_jumps * np.count_nonzero(core)
    ]


def _flag_events(
    ramp: Ramp,
    noise: Noise,
    cores: dict[int, list[tuple[Slices, NDArray[np.bool_]]]],
    threshold: float,
    *,
    carried: NDArray[np.bool_],
    after_groups: int,
    others: Sequence[Ramp],
) -> tuple[NDArray[np.bool_], list[tuple[int, Event]]]:
    """Return the flags of an integration, `carried` and new ones, and the events with groups."""
    ramp = replace(ramp, flags=carried.copy())
    dark = measure_darkness(ramp)
    measure = partial(measure_event, threshold=threshold, after_groups=after_groups, dark=dark)
    events = []
    earlier = np.zeros(ramp.bad.shape, dtype=bool)  # cores of events
    early = partial(measure_early_event, threshold=threshold, after_groups=after_groups)
    for g, candidates in cores.items():
        measured = [
            (measure(ramp, noise, g, box, core) if g else early(ramp, noise, box, core), box, core)
            for box, core in candidates
            if not _is_known(core, earlier[box], ramp.groupdq[g][box], ramp.flags[g][box])
        ]
        # flagged only now, so that the events of a group do not depend on their order
        for event, box, core in measured:
            if event is None:
                continue
            earlier[box] |= core
            for mark in event.marks:
                ramp.flags[mark.group][mark.box] |= mark.pixels
            events.append((g, event))
    ramp.flags[contaminated_before_saturation(ramp, noise, dark, others)] = True
    return ramp.flags, events


def _is_known(
    core: NDArray[np.bool_],
    earlier: NDArray[np.bool_],
    groupdq: NDArray[np.uint8],
    flags: NDArray[np.bool_],
) -> bool:
    """Tell if the jumps of a core are those of an event of an earlier group."""
    if np.count_nonzero(core & earlier) < EVENTS.known_core * np.count_nonzero(core):
        return False
    jumps = core & ((groupdq & JUMP_DET) != 0)
    return bool(np.count_nonzero(jumps & flags) >= EVENTS.known_part * np.count_nonzero(jumps))


def _record(integration: int, group: int, event: Event) -> Snowball:
    return Snowball(
        integration=integration,
        group=group,
        y=event.core.y,
        x=event.core.x,
        core_radius=event.core.radius,
        halo_radius=event.halo.radius,
        ellipticity=event.halo.ellipticity,
        angle=event.halo.angle,
        saturated=event.saturated,
    )


def _over(flags: NDArray[np.bool_], groupdq: NDArray[np.uint8], fraction: float) -> list[int]:
    """Return the groups of an integration in which flags leave too little."""
    over = []
    for g, (plane, dq) in enumerate(zip(flags, groupdq, strict=True)):
        if plane.any():
            used = (dq & (SATURATED | DO_NOT_USE)) == 0  # the others are not used anyway
            if np.count_nonzero((plane & used) | ((dq & JUMP_DET) != 0)) > fraction * plane.size:
                over.append(g)
    return over


def _cap(flags: NDArray[np.bool_], groupdq: NDArray[np.uint8], fraction: float) -> list[int]:
    """Take the flags back in groups of which they would leave too little; return these groups."""
    for plane, dq in zip(flags, groupdq, strict=True):
        if plane.any():
            plane &= (dq & (SATURATED | DO_NOT_USE)) == 0  # they are not used anyway
    capped = _over(flags, groupdq, fraction)
    flags[capped] = False
    return capped


def _count_lost(flags: NDArray[np.bool_], groupdq: NDArray[np.uint8]) -> int:
    """Return the pixels that lose their last usable difference of all integrations.

    None is given back: beside a core that saturates, the last difference is the one in which the
    event arrived, and charge goes on spilling.
    """
    y, x = np.nonzero(flags.any(axis=(0, 1)))
    dq = groupdq[..., y, x]
    broken = (dq & (SATURATED | DO_NOT_USE)) != 0
    usable = ~(broken[:, 1:] | broken[:, :-1] | ((dq[:, 1:] & JUMP_DET) != 0))
    kept = usable & ~flags[:, 1:, y, x]
    return int(np.count_nonzero(usable.any(axis=(0, 1)) & ~kept.any(axis=(0, 1))))
