"""How far a large event reaches: its excess over the local rate, followed down to the noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.discs import Box, grown_box
from ceers_steps.kernels.jumps.differences import (
    JUMP_DET,
    SATURATED,
    Noise,
    Ramp,
    finite_median,
)

__all__ = [
    "Event",
    "Mark",
    "Shape",
    "excess_region",
    "measure_event",
    "radial_region",
    "shape_of",
]

_ENOUGH = 3  # differences that are enough to know a rate
_SUDDEN_SIGMA = 4.0  # excess over the rate, in sigma and ...
_SUDDEN_RATE = 0.25  # ... relative to the rate, that makes a core an event and not a star
_FIRST_GROUP = 15.0  # bound on the time between groups over the time to the first group
_HALO_AREA = 1.1  # least area of halo or ring over the core; a mere cosmic ray has less
_MARGIN = 16  # pixels around a core in which the halo is searched for at first
_RING_REACH = 8.0  # pixels around a core in which spilled charge is searched for ...
_RING_SLOPE = 0.4  # ... and its growth with the radius of the core
_ANNULUS = 12  # pixels; width of the annulus that tells the rate under the spilled charge
_OUTLIER = 4.0  # median deviations of the rate in that annulus that a pixel may have
_RING_MINIMUM = 1.5  # pixels around a saturated core that are not trusted while it discharges
_MAX_REACH = 320  # pixels; no halo is followed further
_FEW = 6  # pixels; fewer do not tell the excess at a distance
_LARGE = 12.0  # pixels; radius of a core from which on the halo need not have its shape
_CLIP = 3.0  # sigma; a stray cosmic ray counts as this much when the excess is smoothed
_SMOOTHING = (2.0, 8.0)  # smallest and largest sigma of the Gaussian, pixels ...
_SMOOTHING_SLOPE = 0.1  # ... and its growth with the radius of the region
_SEEN = 0.02  # weight of usable pixels under the Gaussian, below which nothing is seen


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
    box: Box
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
    discharging : Mark or None
        The core, if it is still discharging at the end of the integration.
    """

    core: Shape
    halo: Shape
    saturated: bool
    marks: tuple[Mark, ...]
    discharging: Mark | None


def measure_event(
    ramp: Ramp,
    noise: Noise,
    group: int,
    box: Box,
    core: NDArray[np.bool_],
    *,
    threshold: float,
    after_groups: int,
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
    """
    if not noise.sigma > 0:
        return None
    this, n_differences = group - 1, len(ramp.data) - 1
    # an event between two frames of an averaged group falls into two differences: the ones
    # before and after are searched too, and left out of the rate if enough others remain
    near = [k for k in (this, this - 1, this + 1) if 0 <= k < n_differences]
    left_out = near if n_differences - len(near) >= _ENOUGH else [this]
    core_shape = shape_of(core, box)
    before, after = ramp.groupdq[group - 1][box], ramp.groupdq[group][box]
    appeared = core & (((after & JUMP_DET) | (after & ~before & SATURATED)) != 0)
    reach = int(_MARGIN + 4 * core_shape.radius)
    while True:
        outer = grown_box(box, reach, ramp.bad.shape)
        window = ramp.window(outer, noise)
        seed = _placed(core, box, outer)
        rate = window.rate(without=left_out)
        # a pixel that is never steady is bright at most as the charge of its first group allows
        unknown, level = ~np.isfinite(rate), finite_median(rate)
        bound = _FIRST_GROUP * ramp.data[0][outer][unknown]
        rate[unknown] = np.fmax(bound, level)
        excess = (window.differences[near] - rate) / noise.sigma
        new = _placed(appeared, box, outer)
        if not _is_sudden(excess[0][new], (rate[new] - level) / noise.sigma):
            return None
        usable = window.usable[near] & ~unknown
        halo = seed | _contaminated(excess[0], usable[0], seed, threshold, core_shape.radius)
        if reach >= _MAX_REACH or not _is_cut(halo, outer, ramp.bad.shape):
            break
        reach = int(1.6 * reach)
    marks = [Mark(group, outer, halo)]
    for k in range(1, len(near)):
        rest = _contaminated(excess[k], usable[k], seed, threshold, core_shape.radius)
        marks.append(Mark(near[k] + 1, outer, rest))
    saturated = (ramp.groupdq[group : group + 2, *box] & SATURATED).any(axis=0) & core
    surrounded = _exceeds(halo, seed)
    discharging = None
    if saturated.any() and after_groups > 0:
        discharging, rings = _rings(ramp, noise, group, box, saturated, threshold, after_groups)
        surrounded |= any(_exceeds(ring.pixels, discharging.pixels) for ring in rings)
        marks += rings
    if not surrounded:
        return None
    saturates = bool(saturated.any())
    return Event(core_shape, shape_of(halo, outer), saturates, tuple(marks), discharging)


def _exceeds(region: NDArray[np.bool_], core: NDArray[np.bool_]) -> bool:
    """Tell if a region is more than the core that it surrounds."""
    return bool(np.count_nonzero(region) >= _HALO_AREA * np.count_nonzero(core))


def _contaminated(
    excess: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    threshold: float,
    core_radius: float,
) -> NDArray[np.bool_]:
    """Choose the way to follow the excess: small events are steep, large ones need not be round."""
    if core_radius < _LARGE:
        return radial_region(excess, usable, seed, threshold)
    return excess_region(excess, usable, seed, threshold)


def _rings(
    ramp: Ramp,
    noise: Noise,
    group: int,
    box: Box,
    core: NDArray[np.bool_],
    threshold: float,
    after_groups: int,
) -> tuple[Mark, list[Mark]]:
    """Follow the charge that spills out of a saturated core into the groups after the event.

    Returns the core with the ring that is never trusted, and what is contaminated in every group.
    """
    margin = _RING_REACH + _RING_SLOPE * np.sqrt(np.count_nonzero(core) / np.pi)
    outer = grown_box(box, int(margin + _ANNULUS) + 1, ramp.bad.shape)
    window = ramp.window(outer, noise)
    seed = _placed(core, box, outer)
    distance = ndimage.distance_transform_edt(~seed)
    minimum = distance <= _RING_MINIMUM
    n_differences = len(window.differences)
    if group > 2:
        # the charge may spill in all groups that follow: only those before tell the rate
        rate = window.rate(without=list(range(group - 1, n_differences)))
    else:
        rate = _smooth_rate(window.rate(without=[group - 1]), distance, margin)
    rings = []
    for later in range(group + 1, min(group + after_groups, n_differences) + 1):
        excess = (window.differences[later - 1] - rate) / noise.sigma
        usable = window.usable[later - 1] & (distance <= margin) & np.isfinite(rate)
        rings.append(Mark(later, outer, radial_region(excess, usable, seed, threshold) | minimum))
    return Mark(group, outer, minimum), rings


def _smooth_rate(
    rate: NDArray[np.float32], distance: NDArray[np.float64], margin: float
) -> NDArray[np.float32]:
    """Continue the rate beyond `margin` to the core: with a slope across it and one towards it."""
    y, x = np.indices(rate.shape, dtype=np.float32)
    terms = np.stack([np.ones_like(rate), y, x, distance.astype(np.float32)], axis=-1)
    outside = (distance > margin) & np.isfinite(rate)
    smooth = np.full_like(rate, finite_median(rate[outside]))
    if np.count_nonzero(outside) < 10 * terms.shape[-1]:
        return smooth
    for _ in range(3):  # without sources: at first what stands out from the median
        residual = np.abs(rate - smooth)
        use = outside & (residual <= _OUTLIER * finite_median(residual[outside]))
        coefficients, *_ = np.linalg.lstsq(terms[use], rate[use], rcond=None)
        smooth = terms @ coefficients
    return smooth


def _is_sudden(excess: NDArray[np.float32], rate: NDArray[np.float32]) -> bool:
    """Tell an event, which appears, from a source, which was there.

    The excess and the rate over that of the surroundings are given in sigma.
    """
    middle_excess = finite_median(excess)
    return middle_excess > max(_SUDDEN_SIGMA, _SUDDEN_RATE * finite_median(rate))


def _is_cut(region: NDArray[np.bool_], box: Box, shape: tuple[int, ...]) -> bool:
    """Tell if a region reaches a side of its box that is not an edge of the array."""
    (rows, cols), (ny, nx) = box, shape
    return bool(
        (rows.start > 0 and region[0].any())
        or (rows.stop < ny and region[-1].any())
        or (cols.start > 0 and region[:, 0].any())
        or (cols.stop < nx and region[:, -1].any())
    )


def _placed(pixels: NDArray[np.bool_], box: Box, outer: Box) -> NDArray[np.bool_]:
    """Put the pixels of a box into a larger box."""
    out = np.zeros([side.stop - side.start for side in outer], dtype=bool)
    y, x = (inner.start - side.start for inner, side in zip(box, outer, strict=True))
    out[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return out


def radial_region(
    excess: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return the region around an event out to the distance at which its excess is lost.

    The distance is that from the outline of the event (negative inside), so that the region
    has its shape.  The excess at a distance is the median over all pixels there.

    Parameters
    ----------
    excess
        Shape ``(ny, nx)``, in sigma of a group difference.
    usable
        Shape ``(ny, nx)``; True = this pixel's excess counts (**not** a mask of bad pixels).
    seed
        Shape ``(ny, nx)``; True = the event.
    threshold
        In sigma of a group difference.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; empty if there is no excess.
    """
    if seed.all() or not seed.any():
        return seed.copy()
    distance = ndimage.distance_transform_edt(~seed)
    # beyond an edge the event is taken to go on, so that the edge is no outline
    distance -= ndimage.distance_transform_edt(np.pad(seed, 1, mode="edge"))[1:-1, 1:-1]
    distances, values = distance[usable], excess[usable]
    order = np.argsort(distances)
    distances, values = distances[order], values[order]
    begins = np.arange(np.floor(distance.min()), np.ceil(distance.max()))
    edges = np.searchsorted(distances, (begins, begins + 2))
    limit, before = -np.inf, threshold
    for middle_distance, begin, end in zip(begins + 1, *edges, strict=True):
        if end - begin < _FEW:
            continue
        here = float(np.median(values[begin:end]))
        if here < threshold:
            part = (before - threshold) / (before - here)
            limit += part * (middle_distance - limit) if part > 0 else 0
            break
        limit, before = middle_distance, here
    return distance <= limit


def excess_region(
    excess: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return the region around an event in which the mean excess is above a threshold.

    The excess is averaged locally (a normalised Gaussian over the usable pixels), so that the
    region follows events that are elliptical, lopsided, merged or cut by the edge.  The
    Gaussian grows with the region: wide halos are shallow, they need and bear more smoothing.

    Parameters
    ----------
    excess
        Shape ``(ny, nx)``, in sigma of a group difference.
    usable
        Shape ``(ny, nx)``; True = this pixel's excess counts (**not** a mask of bad pixels).
    seed
        Shape ``(ny, nx)``; True = the event. The region must touch it.
    threshold
        In sigma of a group difference.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; holes are filled.  The seed is in it as far as its own excess is.
    """
    clipped = np.where(usable, np.clip(excess, -_CLIP, _CLIP), 0).astype(np.float32, copy=False)
    weight = usable.astype(np.float32)
    region = seed
    for _ in range(2):  # the second time with the smoothing for the size that was found
        smoothing = _SMOOTHING_SLOPE * np.sqrt(np.count_nonzero(region) / np.pi)
        smoothing = float(np.clip(smoothing, *_SMOOTHING))
        signal = ndimage.gaussian_filter(clipped, smoothing, mode="constant", truncate=3.0)
        seen = ndimage.gaussian_filter(weight, smoothing, mode="constant", truncate=3.0)
        above = signal > threshold * np.maximum(seen, _SEEN)
        labels, _ = ndimage.label(above | seed)
        touching = np.unique(labels[seed])
        region = np.isin(labels, touching[touching > 0])
    return ndimage.binary_fill_holes(region) & (above | ~seed)


def shape_of(region: NDArray[np.bool_], box: Box) -> Shape:
    """Measure position and shape of a region in a box from its moments; it must hold a pixel."""
    y, x = np.nonzero(region)
    y0, x0 = float(y.mean()), float(x.mean())
    dy, dx = y - y0, x - x0
    # a pixel is not a point: its own second moment is 1/12
    yy, xx, xy = (dy * dy).mean() + 1 / 12, (dx * dx).mean() + 1 / 12, (dx * dy).mean()
    mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return Shape(
        y=y0 + box[0].start,
        x=x0 + box[1].start,
        radius=float(np.sqrt(y.size / np.pi)),
        ellipticity=float(1 - np.sqrt((mean - half) / (mean + half))),
        angle=float(np.degrees(np.arctan2(2 * xy, xx - yy) / 2) % 180),
    )
