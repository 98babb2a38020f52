"""One large event: where it is, what it contaminates in its own group and in those that follow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.dq import JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.differences import Noise, Ramp
from ceers_steps.kernels.parts import Slices, moments_of, placed
from ceers_steps.kernels.snowballs.before_saturation import Darkness
from ceers_steps.kernels.snowballs.halo import halo_region, radial_region, smooth_rate
from ceers_steps.kernels.snowballs.settings import EVENTS, HALO, LAST
from ceers_steps.kernels.stats import finite_median

__all__ = ["Event", "Mark", "Shape", "measure_early_event", "measure_event", "shape_of"]


@dataclass(frozen=True)
class Shape:
    """Position (pixels), radius of the disc of equal area, ellipticity 1 - b/a, angle of a.

    The angle is in degrees from +x towards +y, 0 to 180.
    """

    y: float
    x: float
    radius: float
    ellipticity: float
    angle: float


@dataclass(frozen=True)
class Mark:
    """Pixels (True) of a box that are contaminated in the difference that ends in a group."""

    group: int
    box: Slices
    pixels: NDArray[np.bool_]


@dataclass(frozen=True)
class Event:
    """A measured event.

    Attributes
    ----------
    core, halo : Shape
        Shapes of the core and of the region contaminated in the event's own group.
    saturated : bool
        True if pixels of the core saturated in this group or the next.
    marks : tuple of Mark
        What is contaminated, in this group and the following ones.
    """

    core: Shape
    halo: Shape
    saturated: bool
    marks: tuple[Mark, ...]


def measure_event(
    ramp: Ramp,
    noise: Noise,
    group: int,
    box: Slices,
    core: NDArray[np.bool_],
    *,
    threshold: float,
    after_groups: int,
    dark: Darkness,
) -> Event | None:
    """Measure what an event contaminates; None if it is a steady source or nothing surrounds it.

    Parameters
    ----------
    ramp
        The integration.
    noise
        Of this integration.
    group
        Group in which the event shows first, at least 1.
    box, core
        Where the core is: True in this box, of the same shape.
    threshold
        Mean excess down to which the surroundings are flagged, sigma of a group difference.
    after_groups
        Number of groups after this one in which a saturated core is still discharging.
    dark
        What the integration has where there are no sources.

    Returns
    -------
    Event or None
        What it contaminates.
    """
    if not noise.sigma > 0:
        return None
    this, n_differences = group - 1, len(ramp.data) - 1
    # an event between two frames of an averaged group falls into two differences: the ones
    # before and after are searched too, and left out of the rate if another one remains: its noise
    # averages out, the charge in a neighbour does not
    near = [k for k in (this, this - 1, this + 1) if 0 <= k < n_differences]
    left_out = near if len(near) < n_differences else [this]
    core_shape = shape_of(core, box)
    before, after = ramp.groupdq[group - 1][box], ramp.groupdq[group][box]
    appeared = core & (((after & JUMP_DET) | (after & ~before & SATURATED)) != 0)
    saturated = (ramp.groupdq[group : group + 2, *box] & SATURATED).any(axis=0) & core
    spills = bool(saturated.any()) and after_groups > 0
    reach = int(HALO.margin + 4 * core_shape.radius)
    while True:
        outer = grown_box(box, reach, ramp.bad.shape)
        window = ramp.window(outer, noise)
        seed = placed(core, box, outer)
        rate = window.rate(without=left_out)
        # a pixel that is never steady is bright at most as the charge of its first group allows
        unknown, level = ~np.isfinite(rate), finite_median(rate)
        if not np.isfinite(level):
            level = dark.rate
        above_dark = ramp.data[0][outer] - dark.charge
        bound = HALO.first_group_ratio * above_dark[unknown]
        rate[unknown] = np.fmax(bound, level)
        new = placed(appeared, box, outer)
        excess = (window.differences[this][new] - rate[new]) / noise.sigma
        if not _is_sudden(excess, (rate[new] - level) / noise.sigma):
            return None
        if spills and group <= 2:
            rate = _without_spill(rate, placed(saturated, box, outer))
        excess = (window.differences[near] - rate) / noise.sigma
        # among many events the dark ones have the rate of what is around them
        usable = window.usable[near] & (~unknown | (above_dark <= 0))
        halo = seed | halo_region(excess[0], usable[0], seed, threshold, core_shape.radius)
        if reach >= HALO.largest_reach or not _is_cut(halo, outer, ramp.bad.shape):
            break
        reach = int(1.6 * reach)
    marks = [Mark(group, outer, halo)]
    for k in range(1, len(near)):
        first_charge = (window.differences[near[k]] - level) / noise.sigma
        if near[k] < this and not _holds_part(first_charge[seed & window.usable[near[k]]]):
            continue
        rest = halo_region(excess[k], usable[k], seed, threshold, core_shape.radius)
        marks.append(Mark(near[k] + 1, outer, rest))
    surrounded = _exceeds(halo, seed)
    if spills:
        near_core, rings = _rings(ramp, noise, group, box, saturated, threshold, after_groups)
        surrounded |= any(_exceeds(ring.pixels, near_core) for ring in rings)
        marks += rings
    if not surrounded:
        return None
    saturates = bool(saturated.any())
    return Event(core_shape, shape_of(halo, outer), saturates, tuple(marks))


def measure_early_event(
    ramp: Ramp,
    noise: Noise,
    box: Slices,
    core: NDArray[np.bool_],
    *,
    threshold: float,
    after_groups: int,
) -> Event | None:
    """Measure what an event before the first group contaminates; None if it may be a star.

    Nothing jumps, but what spills out of its saturated core is in all differences. A star that
    saturates as early is bright around its core, and more of it saturates in the later groups.

    Parameters
    ----------
    ramp
        The integration.
    noise
        Of this integration.
    box, core
        What saturates in the first group: True in this box, of the same shape.
    threshold
        Mean excess down to which the surroundings are flagged, sigma of a group difference.
    after_groups
        Number of groups in which a saturated core is still discharging.

    Returns
    -------
    Event or None
        What it contaminates; of group 0.
    """
    if not noise.sigma > 0 or after_groups < 1:
        return None
    outer = grown_box(box, int(HALO.flank) + 1, ramp.bad.shape)
    distance = ndimage.distance_transform_edt(~placed(core, box, outer))
    saturated = (ramp.groupdq[:, *outer] & SATURATED) != 0
    grown = saturated[-1] & (distance <= HALO.flank)
    if np.count_nonzero(grown) > HALO.early_growth * np.count_nonzero(core):
        return None
    first = ramp.data[0][outer]
    flank = (distance > HALO.ring_minimum) & (distance <= HALO.flank)
    flank &= ~(saturated[0] | ramp.bad[outer])
    sample = slice(None, None, LAST.level_step)
    dark = finite_median(ramp.data[0][sample, sample])
    full = finite_median(first[distance == 0])
    light = finite_median(first[flank])
    if not light - dark < HALO.early_light * (full - dark):
        return None
    near_core, rings = _rings(ramp, noise, 0, box, core, threshold, after_groups)
    if not any(_exceeds(ring.pixels, near_core) for ring in rings):
        return None
    largest = max(rings, key=lambda ring: np.count_nonzero(ring.pixels))
    return Event(shape_of(core, box), shape_of(largest.pixels, largest.box), True, tuple(rings))


def _without_spill(rate: NDArray[np.float32], core: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a rate around a saturated core that holds no charge that spills out of it.

    For an event in the first differences, all others of a pixel come later.
    """
    margin = HALO.ring_reach + HALO.ring_slope * np.sqrt(np.count_nonzero(core) / np.pi)
    distance = ndimage.distance_transform_edt(~core)
    smooth = smooth_rate(rate, distance, margin)
    return np.where((distance <= margin) & np.isfinite(rate), smooth, rate)


def _exceeds(region: NDArray[np.bool_], core: NDArray[np.bool_]) -> bool:
    """Tell if a region is more than the core that it surrounds."""
    return bool(np.count_nonzero(region) >= EVENTS.halo_area * np.count_nonzero(core))


def _rings(
    ramp: Ramp,
    noise: Noise,
    group: int,
    box: Slices,
    core: NDArray[np.bool_],
    threshold: float,
    after_groups: int,
) -> tuple[NDArray[np.bool_], list[Mark]]:
    """Follow the charge that spills out of a saturated core into the groups after the event.

    Returns the core with the ring that is never trusted, and what is contaminated in every group.
    """
    margin = HALO.ring_reach + HALO.ring_slope * np.sqrt(np.count_nonzero(core) / np.pi)
    outer = grown_box(box, int(margin + HALO.annulus_width) + 1, ramp.bad.shape)
    window = ramp.window(outer, noise)
    seed = placed(core, box, outer)
    distance = ndimage.distance_transform_edt(~seed)
    minimum = distance <= HALO.ring_minimum
    n_differences = len(window.differences)
    if group > 2:
        # the charge may spill in all groups that follow: only those before tell the rate
        rate = window.rate(without=list(range(group - 1, n_differences)))
    else:
        own = [group - 1] if group else []
        rate = smooth_rate(window.rate(without=own), distance, margin)
    rings = []
    for later in range(group + 1, min(group + after_groups, n_differences) + 1):
        excess = (window.differences[later - 1] - rate) / noise.sigma
        usable = window.usable[later - 1] & (distance <= margin) & np.isfinite(rate)
        rings.append(
            Mark(
                later,
                outer,
                radial_region(excess, usable, seed, HALO.ring_part * threshold) | minimum,
            )
        )
    return minimum, rings


def _is_sudden(excess: NDArray[np.float32], rate: NDArray[np.float32]) -> bool:
    """Tell an event, which appears, from a source, which was there.

    The excess and the rate over that of the surroundings are given in sigma.
    """
    middle_excess = finite_median(excess)
    return middle_excess > max(EVENTS.sudden_sigma, EVENTS.sudden_rate * finite_median(rate))


def _holds_part(excess: NDArray[np.float32]) -> bool:
    """Tell if the difference before an event has a part of its charge, from that of its core.

    The brightest pixels of a core hold hundreds of sigma in a single frame of an averaged group.
    Beside it, a few pixels may be above the threshold by their noise, and would be the last that
    the event leaves.
    """
    if excess.size == 0:
        return True
    return float(np.percentile(excess, EVENTS.bright_percentile)) > EVENTS.sudden_sigma


def _is_cut(region: NDArray[np.bool_], box: Slices, shape: tuple[int, ...]) -> bool:
    """Tell if a region reaches a side of its box that is not an edge of the array."""
    (rows, cols), (ny, nx) = box, shape
    return bool(
        (rows.start > 0 and region[0].any())
        or (rows.stop < ny and region[-1].any())
        or (cols.start > 0 and region[:, 0].any())
        or (cols.stop < nx and region[:, -1].any())
    )


def shape_of(region: NDArray[np.bool_], box: Slices) -> Shape:
    """Measure position and shape of a region in a box from its moments; it must hold a pixel.

    Parameters
    ----------
    region
        True = part of the region, of the shape of the box.
    box
        Rows and columns.

    Returns
    -------
    Shape
        Position in the whole array, axes and angle.
    """
    y, x = np.nonzero(region)
    y0, x0, yy, xx, xy = moments_of(y, x)
    mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return Shape(
        y=y0 + box[0].start,
        x=x0 + box[1].start,
        radius=float(np.sqrt(y.size / np.pi)),
        ellipticity=float(1 - np.sqrt((mean - half) / (mean + half))),
        angle=float(np.degrees(np.arctan2(2 * xy, xx - yy) / 2) % 180),
    )
