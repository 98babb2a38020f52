"""The charge that goes on to spill out of a saturated core: measured, and subtracted.

What a difference gets of it is flagged around the core, as far as it is seen. Further out it is too
faint to be seen in a difference, but it comes in all that follow: together they lift the rate by
half of its noise, and by more around an early event.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import isotonic_regression

from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.dq import JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.differences import Noise, Ramp
from ceers_steps.kernels.parts import Slices
from ceers_steps.kernels.snowballs.adaptive import Snowball
from ceers_steps.kernels.snowballs.settings import FAINT, HALO, SPILLED
from ceers_steps.kernels.stats import mad_sigma

__all__ = ["EventCharge", "measure_spilled_charge"]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class EventCharge:
    """Charge of an event that some differences hold, with the same profile.

    Attributes
    ----------
    box : tuple of slice
        Rows and columns.
    level, error : NDArray
        Shape of the box: charge and its error, sigma of a difference, for a part of 1.
    parts : dict
        Part that each difference holds, by its index; empty if none is there.
    """

    box: Slices
    level: Float
    error: Float
    parts: dict[int, float]

    def take_from(self, differences: Float, box: Slices, sigma: float) -> None:
        """Subtract it from the differences in another box.

        Parameters
        ----------
        differences
            Of the box, all of the integration; changed.
        box
            Rows and columns.
        sigma
            Noise of a difference.
        """
        inner = [
            slice(max(mine.start, other.start), min(mine.stop, other.stop))
            for mine, other in zip(self.box, box, strict=True)
        ]
        if any(side.stop <= side.start for side in inner):
            return
        here, there = (
            tuple(
                slice(side.start - outer.start, side.stop - outer.start)
                for side, outer in zip(inner, outers, strict=True)
            )
            for outers in (self.box, box)
        )
        for k, part in self.parts.items():
            differences[k][there] -= np.float32(part * sigma) * self.level[here]


def measure_spilled_charge(ramp: Ramp, noise: Noise, event: Snowball) -> EventCharge | None:
    """Measure what spills out of the core of an event in the differences after its own.

    It has the same profile in all of them, falls with the distance from what is saturated and
    with time; nothing else is known of it. The rate under it is that of the surroundings: early
    events leave no difference that tells it in the pixel itself. Light, which was there before,
    is on one side, or does not fade, is none.

    Parameters
    ----------
    ramp
        The integration, halos already subtracted.
    noise
        Of this integration.
    event
        Of `measure_snowballs`.

    Returns
    -------
    EventCharge or None
        The largest part is 1. None if nothing is seen.
    """
    later = np.arange(event.group, len(ramp.data) - 1)
    if not event.saturated or not later.size:
        return None
    flagged_to = HALO.ring_reach + HALO.ring_slope * event.core_radius
    reach = SPILLED.reach * flagged_to
    box = _box(event, event.core_radius + reach + SPILLED.around, ramp.bad.shape)
    distance = _distance(ramp, event, box)
    if distance is None:
        return None
    window = ramp.window(box, noise)
    good = window.usable & ((ramp.groupdq[1:, *box] & JUMP_DET) == 0)
    calm = good.copy()  # and not of the event itself
    calm[max(event.group - 1, 0) : event.group + 1] = False
    sky = _plane(window.differences, calm, distance > reach)
    if sky is None:
        return None
    excess = (window.differences - sky) / np.float32(noise.sigma)
    if _holds_light(excess, calm & (distance > flagged_to) & (distance < reach)):
        return None
    good &= (distance > 0) & (distance < reach)
    good &= _no_source(excess[later], good[later], distance)
    means = _Means.of(excess[later], good[later], distance, SPILLED.clip)
    found = means.falling(flagged_to)
    if found is None:
        return None
    parts, profile, error = found
    level, level_error = (means.image(values, distance) for values in (profile, error))
    before = slice(0, max(event.group - 1, 0))
    expected = parts[:, None, None].astype(np.float32) * level
    if not _is_confirmed(expected, excess[later], good[later]):
        return None
    ratio, ratio_error = _ratio(level[None], excess[before], good[before])
    if ratio > SPILLED.light_before + FAINT.ratio_sigma * ratio_error:
        return None
    if ratio_error > SPILLED.known_before:
        # what is flagged because of it tells how it fades; of the event itself it does not
        seen, first = good[later], 1 if event.group else 0
        seen[first:] |= window.usable[later[first:]] & (distance > 0) & (distance < flagged_to)
        if not _Means.of(excess[later], seen, distance, FAINT.bright).fades(flagged_to):
            return None
    held = {int(k): float(part) for k, part in zip(later, parts, strict=True) if part > 0}
    return EventCharge(box, level, level_error, held)


def _box(event: Snowball, reach: float, shape: tuple[int, ...]) -> Slices:
    """Return the box within some pixels of the centre of an event."""
    y, x = (
        min(max(int(at), 0), length - 1)
        for at, length in zip((event.y, event.x), shape, strict=True)
    )
    return grown_box((slice(y, y + 1), slice(x, x + 1)), int(reach) + 1, shape)


def _distance(ramp: Ramp, event: Snowball, box: Slices) -> Values | None:
    """Return how far pixels are from what is saturated of the core; None if nothing is."""
    saturated = (ramp.groupdq[event.group : event.group + 2, *box] & SATURATED).any(axis=0)
    y, x = (np.arange(side.start, side.stop) for side in box)
    saturated &= np.hypot(y[:, None] - event.y, x - event.x) < SPILLED.core * event.core_radius
    return ndimage.distance_transform_edt(~saturated) if saturated.any() else None


def _plane(differences: Float, good: Bool, outside: Bool) -> Float | None:
    """Return the plane through the mean outside, without sources; None where too little is."""
    count = good.sum(axis=0)
    total = np.sum(differences, axis=0, where=good)
    y, x = np.nonzero(outside & (count > 0))
    if y.size < SPILLED.fewest_around:
        return None
    some = slice(None, None, max(y.size // SPILLED.most_around, 1))
    y, x = y[some], x[some]
    rate = total[y, x] / count[y, x]
    terms = np.stack([np.ones(y.size), y, x], axis=1)
    values = np.array([np.median(rate), 0.0, 0.0])
    for _ in range(3):  # without sources: at first what stands out from the median
        left = rate - terms @ values
        clear = np.abs(left) <= SPILLED.source * mad_sigma(left)
        of_clear = terms[clear].T
        values = np.linalg.solve(of_clear @ terms[clear], of_clear @ rate[clear])
    ny, nx = count.shape
    plane = values[0] + values[1] * np.arange(ny)[:, None] + values[2] * np.arange(nx)
    return plane.astype(np.float32)


def _holds_light(excess: Float, outer: Bool) -> bool:
    """Tell if there is more beyond what spills than around: a galaxy reaches further."""
    seen = np.clip(excess[outer], -SPILLED.clip, SPILLED.clip)
    error = 1 / np.sqrt(max(seen.size, 1))
    return bool(seen.sum() / max(seen.size, 1) > SPILLED.light + FAINT.ratio_sigma * error)


def _no_source(excess: Float, good: Bool, distance: Values) -> Bool:
    """Return the pixels whose mean is that of others at their distance."""
    count = good.sum(axis=0)
    height = np.sum(excess, axis=0, where=good) / np.sqrt(np.maximum(count, 1))
    clear = np.zeros(count.shape, bool)
    ring = (distance / SPILLED.ring).astype(np.intp)
    for n in np.unique(ring[count > 0]):
        here = (ring == n) & (count > 0)
        clear |= here & (np.abs(height - np.median(height[here])) < SPILLED.source)
    return clear


def _is_confirmed(expected: Float, excess: Float, good: Bool) -> bool:
    """Tell if what is expected is there on all sides of a core."""
    ny, nx = good.shape[1:]
    for rows in (slice(None, ny // 2), slice(ny // 2, None)):
        for cols in (slice(None, nx // 2), slice(nx // 2, None)):
            side = np.s_[:, rows, cols]
            ratio, error = _ratio(expected[side], excess[side], good[side])
            if abs(ratio - 1) > FAINT.ratio_error + FAINT.ratio_sigma * error:
                return False
    return True


def _ratio(expected: Float, excess: Float, good: Bool) -> tuple[float, float]:
    """Return how much is seen of what is expected, and the error of that."""
    scaled = np.where(good, expected, np.float32(0))
    square = max(float(np.square(scaled).sum()), 1e-12)
    seen = np.where(good, np.clip(excess, -SPILLED.clip, SPILLED.clip), 0)  # NaN is in no sum
    return float((scaled * seen).sum()) / square, 1 / np.sqrt(square)


@dataclass(frozen=True)
class _Means:
    """Mean excess in rings about a core, shapes ``(n_differences, n_rings)``, sigma.

    `weight` is the number of pixels.
    """

    mean: Values
    weight: Values

    @classmethod
    def of(cls, excess: Float, good: Bool, distance: Values, clip: float) -> "_Means":
        """Average the pixels that are good."""
        inside = good.any(axis=0)
        ring = (distance[inside] / SPILLED.ring).astype(np.intp)
        shape = len(excess), int(ring.max(initial=0)) + 1
        place = ring + np.arange(len(excess))[:, None] * shape[1]
        known = good[:, inside]
        value = np.clip(excess[:, inside][known], -clip, clip)
        weight, total = (
            np.bincount(place[known], values, np.prod(shape)).reshape(shape)
            for values in (None, value)
        )
        return cls(total / np.maximum(weight, 1), weight.astype(float))

    def falling(self, flagged_to: float) -> tuple[Values, Values, Values] | None:
        """Return parts, and a profile with its error, both falling, that are nearest to it."""
        parts = np.ones(len(self.mean))
        for _ in range(SPILLED.turns):
            profile, trust = self._profile(parts)
            of_parts = (self.weight * profile**2).sum(axis=1)
            parts = (self.weight * profile * self.mean).sum(axis=1) / np.maximum(of_parts, 1e-9)
            # the first difference may hold less: the event fell late in the one before
            parts[1:] = _decreasing(parts[1:], of_parts[1:] + 1e-9)
            parts = np.maximum(parts, 0)
            if not parts.any():
                return None
            parts /= parts.max()
        profile, trust = self._profile(parts)
        if self._gain(parts, profile) < SPILLED.significance**2:
            return None
        error = self._noise(flagged_to) / np.sqrt(np.maximum(trust, 1e-9))
        lost = (trust > SPILLED.fewest_pixels) & (profile < SPILLED.ring_significance * error)
        if lost.any():
            profile[np.argmax(lost) :] = 0
        if not profile.any():
            return None
        return parts, profile, np.where(profile > 0, error, 0)

    def fades(self, flagged_to: float) -> bool:
        """Tell if what falls with the distance is seen to fall with time."""
        steady = np.ones(len(self.mean))
        found = self.falling(flagged_to)
        gain = 0.0 if found is None else self._gain(*found[:2])
        return gain - self._gain(steady, self._profile(steady)[0]) > SPILLED.fading**2

    def _noise(self, nearest: float) -> float:
        """Return the noise of rings beyond some distance over white noise: stripes are in it."""
        outer = np.arange(self.mean.shape[1]) * SPILLED.ring > nearest
        known = (self.weight > SPILLED.fewest_pixels) & outer
        scaled = self.weight[known] * np.square(self.mean[known])
        return float(np.sqrt(max(scaled.mean(), 1.0))) if scaled.size else 1.0

    def image(self, values: Values, distance: Values) -> Float:
        """Return what is given for rings in pixels; 0 in the core and beyond the rings."""
        radii = (np.arange(values.size + 1) + 0.5) * SPILLED.ring
        found = np.interp(distance, radii, np.append(values, 0.0), right=0.0)
        return np.where(distance > 0, found, 0).astype(np.float32)

    def _profile(self, parts: Values) -> tuple[Values, Values]:
        """Return the nearest profile for given parts, 0 where it is not known, and its weight."""
        trust = (self.weight * parts[:, None] ** 2).sum(axis=0)
        found = (self.weight * self.mean * parts[:, None]).sum(axis=0) / np.maximum(trust, 1e-9)
        known = trust > SPILLED.fewest_pixels
        profile = np.zeros_like(found)
        if known.any():
            profile[known] = _decreasing(found[known], trust[known])
        return profile, trust

    def _gain(self, parts: Values, profile: Values) -> float:
        """Return by how much a model lowers the sum of the squares of what is left."""
        model = parts[:, None] * profile
        return float((self.weight * (2 * self.mean - model) * model).sum())


def _decreasing(values: Values, weights: Values) -> Values:
    """Return the nearest values that fall, none below 0."""
    if not values.size:
        return values
    found = isotonic_regression(values, weights=weights, increasing=False)
    return np.maximum(np.asarray(found.x), 0)
