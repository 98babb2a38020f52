"""Large events in single differences: how far they reach, and the levels of the rows there.

The halo of a large event may fill most of a row, whose level then takes it for a stripe. Halo and
levels are found together: rings about the core tell the one, what is left of the rows the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.optimize import isotonic_regression

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.jumps.settings import EVENTS, EventSettings
from ceers_steps.kernels.parts import find_parts
from ceers_steps.kernels.stats import mad_sigma

__all__ = [
    "EventHalos",
    "LargeEvent",
    "find_large_events",
    "held_by_events",
    "levels_beside_events",
]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass
class LargeEvent:
    """A large event in one difference.

    Attributes
    ----------
    group : int
        The difference, from 0.
    y, x : float
        Centre of its core, pixels.
    radius : float
        Of a disc of the area of the core, pixels.
    reach : float
        Radius beyond which nothing of it is seen, pixels.
    radii, profile : ndarray
        Its halo, sigma, at radii (pixels), those beyond `reach` included; empty if not known.
    """

    group: int
    y: float
    x: float
    radius: float
    reach: float
    radii: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    profile: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def box(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return the rows and columns that it reaches."""
        rows, cols = (
            slice(max(int(at - self.reach), 0), min(int(at + self.reach) + 1, length))
            for at, length in zip((self.y, self.x), shape, strict=True)
        )
        return rows, cols

    def distance(self, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how far pixels are from its centre, shape ``(n_rows, n_cols)``."""
        return np.hypot(rows[:, None] - self.y, cols - self.x)


class EventHalos:
    """The halos of all large events of a frame: where they are seen, and what is beyond that."""

    def __init__(self) -> None:
        self._events: list[LargeEvent] = []
        self._faint: list[tuple[int, tuple[slice, slice], Float]] = []

    def add(self, event: LargeEvent, shape: tuple[int, int], sigma: float) -> None:
        """Add an event whose profile is known.

        Parameters
        ----------
        event
            Of `levels_beside_events`.
        shape
            Of the frame.
        sigma
            Noise of a difference, the unit of profiles.
        """
        self._events.append(event)
        end = float(event.radii[-1])
        box = replace(event, reach=end).box(shape)
        distance = _distance(event, box)
        halo = np.zeros(distance.shape, np.float32)
        here = (distance > event.reach) & (distance < end)
        halo[here] = np.interp(np.log(distance[here]), np.log(event.radii), sigma * event.profile)
        if halo.any():
            self._faint.append((event.group, box, halo))

    def near(self, shape: tuple[int, int]) -> Bool:
        """Return where they are seen in any difference: that is no stripe."""
        near = np.zeros(shape, bool)
        for event in self._events:
            box = event.box(shape)
            near[box] |= _inside(event, box)
        return near

    def take_from(self, difference: Float, group: int, rows: slice) -> None:
        """Subtract what they have beyond their reach from some rows of a difference; changed.

        Parameters
        ----------
        difference
            Shape ``(n_rows, nx)``.
        group
            Which difference.
        rows
            Which rows of the frame.
        """
        for g, (ys, xs), halo in self._faint:
            first, last = max(ys.start, rows.start), min(ys.stop, rows.stop)
            if g == group and first < last:
                inside = slice(first - rows.start, last - rows.start)
                difference[inside, xs] -= halo[first - ys.start : last - ys.start]


def _distance(event: LargeEvent, box: tuple[slice, slice]) -> NDArray[np.float64]:
    """Return how far the pixels of a box are from the centre of an event."""
    rows, cols = (np.arange(side.start, side.stop) for side in box)
    return event.distance(rows, cols)


def _inside(event: LargeEvent, box: tuple[slice, slice]) -> Bool:
    """Return the pixels of a box within the reach of an event."""
    return _distance(event, box) <= event.reach


def find_large_events(
    hits: Bool, usable: Callable[[int], Bool], bad: Bool, settings: EventSettings = EVENTS
) -> list[LargeEvent]:
    """Find the cores of large events in the differences of a ramp.

    Parameters
    ----------
    hits
        Shape ``(ngroups - 1, ny, nx)``; True = holds a hit.
    usable
        Returns which pixels of a difference (from 0) can be used, shape ``(1, ny, nx)``.
    bad
        Shape ``(ny, nx)``; True = do not use in any difference.
    settings
        Constants of the method.

    Returns
    -------
    list of LargeEvent
        With the largest reach that they may have. Frames are averaged: a large one may fall into
        the difference after, and is there, too.
    """
    size = settings.core_block
    found: list[LargeEvent] = []
    before = ~bad
    for g, here in enumerate(hits):
        (now,) = usable(g)
        # what was lost before is no new event
        count = block_sum(here | (before & ~now), size, dtype=np.float32)
        filled = count > settings.core_filled * size**2
        # in the square of blocks around there is the rest of the smallest core
        side = settings.core_square
        square = side**2 * uniform_filter(count, side, mode="constant")
        filled &= square > settings.core_filled * np.pi * size**2
        before = now
        for core in find_parts(filled, corners=False):
            y, x = (size * (side.start + side.stop) / 2 for side in core.box)
            radius = size * np.sqrt(np.count_nonzero(core.pixels) / np.pi)
            reach = settings.halo_margin + settings.halo_slope * radius
            event = LargeEvent(g, y, x, float(radius), float(reach))
            found.append(event)
            if radius > size and g + 1 < len(hits):
                found.append(replace(event, group=g + 1))
    return found


def held_by_events(
    events: list[LargeEvent], shape: tuple[int, int, int], settings: EventSettings = EVENTS
) -> Bool:
    """Return which differences of pixels may hold something of large events.

    Parameters
    ----------
    events
        Of `find_large_events`.
    shape
        ``(ngroups - 1, ny, nx)``.
    settings
        Constants of the method: smaller cores, of which rows of noise have many, do not count.

    Returns
    -------
    ndarray of bool
        Of that shape; True = within the reach of one in that difference or the next.
    """
    held = np.zeros(shape, bool)
    for event in events:
        if event.radius <= settings.core_block:
            continue
        box = event.box(shape[1:])
        held[max(event.group - 1, 0) : event.group + 1, *box] |= _inside(event, box)
    return held


def levels_beside_events(
    excess: Float,
    rows: NDArray[np.intp],
    cols: NDArray[np.intp],
    outputs: NDArray[np.intp],
    levels: Float,
    events: list[LargeEvent],
    settings: EventSettings = EVENTS,
) -> Bool:
    """Find the levels of rows and the halos of large events in a difference together.

    Parameters
    ----------
    excess
        Shape ``(n_rows, n_cols)``: the difference less the rate of each pixel, sigma; NaN = do not
        use, hits among them.
    rows, cols
        Which of the frame.
    outputs
        Output of each of `cols`, from 0, rising.
    levels
        Shape ``(ny, n_outputs)``, sigma, of all rows of the frame; changed where events reach.
    events
        In this difference; their reach is lowered to where their halo is seen.
    settings
        Constants of the method.

    Returns
    -------
    ndarray
        Same shape as `levels`, True = changed.
    """
    n_outputs = levels.shape[1]
    known = np.isfinite(excess)
    excess = np.where(known, excess, np.float32(0))
    halos = [_Halo(event, rows, cols, outputs, settings) for event in events]
    middle = np.median(levels)
    trust = np.float32(1 / max(float(mad_sigma(levels)) ** 2, 1e-6))
    found = levels[rows]
    touched = np.zeros(found.shape, bool)
    for halo in halos:
        touched[halo.box[0], np.unique(outputs[halo.box[1]])] = True
    edges = np.searchsorted(outputs, np.arange(n_outputs))
    limit = np.float32(np.inf)
    for _ in range(settings.turns):
        model = np.zeros_like(excess)
        for halo in halos:
            model[halo.box] += halo.image()
        good = known & (model < limit)
        rest = np.subtract(excess, model, out=model)
        for k, (first, last) in enumerate(pairwise([*edges, len(outputs)])):
            above = np.abs(rest[:, first:last] - found[:, k, None])
            good[:, first:last] &= above < settings.clip
        np.copyto(rest, 0, where=~good)
        weight = np.add.reduceat(good, edges, axis=1, dtype=np.float32) + trust
        total = np.add.reduceat(rest, edges, axis=1) + trust * middle
        for halo in halos:
            halo.improve(rest, good, total, weight)
        found[touched] = (total / weight)[touched]
        limit = np.float32(settings.brightest)
    for halo in halos:
        halo.end()
    changed = np.zeros(levels.shape, bool)
    changed[rows] = touched
    levels[rows] = np.where(touched, found, levels[rows])
    return changed


class _Halo:
    """The profile of an event: lines between nodes, whose radii grow by the same factor."""

    def __init__(
        self,
        event: LargeEvent,
        rows: NDArray[np.intp],
        cols: NDArray[np.intp],
        outputs: NDArray[np.intp],
        settings: EventSettings,
    ) -> None:
        self.event, self._settings, self._n_outputs = event, settings, outputs[-1] + 1
        self.box = tuple(
            slice(*np.searchsorted(at, (middle - event.reach, middle + event.reach)))
            for at, middle in ((rows, event.y), (cols, event.x))
        )
        distance = event.distance(rows[self.box[0]], cols[self.box[1]])
        self._growth = np.log(event.reach / event.radius) / settings.rings
        place = np.log(np.maximum(distance, 1e-3) / event.radius) / self._growth
        self._core = place < 0
        self._inside = ~self._core & (place < settings.rings)
        place = place[self._inside]
        self._node = place.astype(np.intp)
        self._part = (place - self._node).astype(np.float32)
        row = np.arange(len(distance))[:, None] * self._n_outputs + outputs[self.box[1]]
        # of each pixel: the nodes before and behind it, their share in it, and where they are in
        # the matrix of rows and nodes
        self._nodes = np.stack([self._node, self._node + 1])
        self._shares = np.stack([1 - self._part, self._part]).astype(float)
        self._places = row[self._inside] * (settings.rings + 1) + self._nodes
        self._profile = np.zeros(settings.rings + 1)
        self._free, self._weights = self._profile, np.ones(settings.rings)

    def image(self) -> Float:
        """Return the halo in its box, infinite in the core."""
        image = np.where(self._core, np.float32(np.inf), np.float32(0))
        image[self._inside] = self._values(self._profile)
        return image

    def end(self) -> None:
        """Give the event the radius to which it is seen, and its profile.

        Of noise, the largest that follows is too high: what is faint is the falling profile nearest
        to what was found.
        """
        event, n = self.event, len(self._profile)
        seen = int(np.count_nonzero(self._profile > self._settings.faintest))
        event.radii = event.radius * np.exp(self._growth * np.arange(n))
        event.reach = float(event.radii[seen])  # the last is never seen
        event.profile = np.zeros(n)
        found = isotonic_regression(self._free[:-1], weights=self._weights, increasing=False)
        event.profile[:-1] = np.maximum(np.asarray(found.x), 0)

    def _values(self, profile: NDArray[np.float64]) -> Float:
        """Return a profile in the pixels inside."""
        values = profile.astype(np.float32)
        return values[self._node] + self._part * np.diff(values)[self._node]

    def improve(self, rest: Float, good: Bool, total: Float, weight: Float) -> None:
        """Improve the profile, the levels of rows as they then are.

        Parameters
        ----------
        rest
            Excess less all halos, 0 where not good; changed.
        good
            True = pixels that count.
        total, weight
            Shape ``(n_rows, n_outputs)``: level of each row times its weight; changed.
        """
        shares = self._shares * good[self.box][self._inside]
        value = rest[self.box][self._inside]
        n, n_rows = len(self._profile), weight[self.box[0]].size

        def summed(values: NDArray, places: NDArray[np.intp], size: int) -> NDArray[np.float64]:
            return np.asarray(np.bincount(places.ravel(), values.ravel(), size), float)

        seen = summed(shares, self._places, n_rows * n).reshape(n_rows, n)
        right = summed(shares * value, self._nodes, n)
        matrix = np.diag(summed(shares * shares, self._nodes, n))
        both = summed(shares[0] * shares[1], self._node, n)[:-1]
        matrix.flat[1 :: n + 1] += both
        matrix.flat[n :: n + 1] += both
        of_rows = weight[self.box[0]].ravel()
        matrix -= seen.T @ (seen / of_rows[:, None])
        right -= seen.T @ (total[self.box[0]].ravel() / of_rows)
        matrix += np.eye(n) / self._settings.brightest_prior**2
        self._weights = np.diag(matrix)[:-1].copy()
        change = np.zeros(n)
        change[:-1] = np.linalg.solve(matrix[:-1, :-1], right[:-1])  # nothing at the end
        before = self._profile
        self._free = before + change
        falling = np.maximum.accumulate(self._free[::-1])[::-1]
        self._profile = np.maximum(falling, 0)
        change = self._profile - before
        image = np.zeros(self._inside.shape, np.float32)
        image[self._inside] = self._values(change)
        image *= good[self.box]
        rest[self.box] -= image
        total[self.box[0]] -= (seen @ change).reshape(-1, self._n_outputs)
