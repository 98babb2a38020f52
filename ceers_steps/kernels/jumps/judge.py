"""The differences of one integration, a few rows at a time: rates, stripes, hits."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.jumps.differences import (
    line_weights,
    mean_without_largest,
    usable_differences,
)
from ceers_steps.kernels.jumps.joint import (
    Covariance,
    GroupNoise,
    JointNoise,
    find_steps,
    last_before_event,
    step_heights,
)
from ceers_steps.kernels.jumps.large_events import (
    EventHalos,
    find_large_events,
    held_by_events,
    levels_beside_events,
)
from ceers_steps.kernels.jumps.settings import JumpSettings
from ceers_steps.kernels.jumps.surroundings import expect_rate, odd_step, row_levels
from ceers_steps.kernels.parts import with_neighbours
from ceers_steps.kernels.rows import LazyRows
from ceers_steps.kernels.stats import mad_sigma
from ceers_steps.kernels.stripes.groups import GroupStripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout

__all__ = ["Judge"]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]


class Judge:
    """Judges the differences of one integration, step by step.

    The differences are worked out from the groups a few rows at a time whenever they are asked
    for: all of them at once take as much memory as the ramp.

    Parameters
    ----------
    data, groupdq : ndarray
        Shape ``(ngroups, ny, nx)``, read only.
    bad : ndarray of bool
        Shape ``(ny, nx)``; True = do not use.
    noise : GroupNoise
        Of the references.
    layout : ReadoutLayout
        Read-out order of an image.
    settings : JumpSettings
        Constants of the method.

    Attributes
    ----------
    hits : ndarray of bool
        Shape ``(ngroups - 1, ny, nx)``; True = holds a hit, as far as is known.

    Raises
    ------
    ValueError
        If no difference can be used.
    """

    def __init__(
        self,
        data: Float,
        groupdq: NDArray[np.uint8],
        bad: Bool,
        noise: GroupNoise,
        layout: ReadoutLayout,
        settings: JumpSettings,
    ) -> None:
        self._data, self._groupdq, self._bad = data, groupdq, bad
        self._noise, self._layout, self._settings = noise, layout, settings
        n, (ny, nx) = len(data) - 1, layout.shape
        self.hits = np.zeros((n, ny, nx), bool)
        self._levels = np.zeros((n, ny, layout.n_outputs), np.float32)
        self._patterns: Float | None = None
        self._rate = np.zeros((ny, nx), np.float32)
        self._events = EventHalos()
        self._left_out = np.zeros((ny, nx), bool)  # of the stripes, which then fit it less well
        self._usable_bits = np.empty((n, ny, -(-nx // 8)), np.uint8)  # 8 columns in a byte
        for rows in self._strips():
            usable = usable_differences(data[:, rows], groupdq[:, rows], bad[rows])
            self._usable_bits[:, rows] = np.packbits(usable, axis=2)
        if not self._usable_bits.any():
            raise ValueError("no pixel has a usable difference, so that no jump can be judged")

    def _strips(self) -> Iterator[slice]:
        """Yield all rows, so few at a time that what is worked out stays in the cache."""
        height = max(self._settings.strip_pixels // self._layout.shape[1], 1)
        for first in range(0, self._layout.shape[0], height):
            yield slice(first, min(first + height, self._layout.shape[0]))

    def _usable(self, rows: slice | NDArray, first: int = 0, n: int | None = None) -> Bool:
        """Return which of `n` differences (all without) of some rows can be used."""
        bits = self._usable_bits[first : None if n is None else first + n, rows]
        return np.unpackbits(bits, axis=2, count=self._layout.shape[1]).view(bool)

    def _differences(self, rows: slice) -> tuple[Float, Bool]:
        """Return the differences of some rows, less what stripes are known; 0 if not usable."""
        usable = self._usable(rows)
        data = self._data[:, rows].astype(np.float32, copy=False)
        with np.errstate(invalid="ignore"):
            differences = data[1:] - data[:-1]
            strips = differences.reshape(*differences.shape[:2], self._layout.n_outputs, -1)
            strips -= self._levels[:, rows, :, None]
        if self._patterns is not None:
            patterns = self._patterns[:, rows]
            binned = differences.reshape(*patterns.shape, -1)
            for k in range(binned.shape[3]):  # few columns: quicker than a short inner loop
                binned[..., k] -= patterns
        np.copyto(differences, 0, where=~usable)
        return differences, usable

    def _inverse_noise(self, rows: slice) -> Float:
        """Return one over the noise of a difference, of the references."""
        return np.reciprocal(np.sqrt(self._noise.variance(rows, self._rate[rows])))

    def _sample_rows(self) -> slice:
        """Return rows all over the frame that tell its noise."""
        return slice(None, None, max(self._rate.size // self._settings.noise_sample, 1))

    def _scales(self, left_out: bool, *, first: bool = False, hits: bool = True) -> list[float]:
        """Measure the noise of each difference over that of the references."""
        some = self._sample_rows()
        differences, usable = self._differences(some)
        excess = (differences - self._rate[some]) * self._inverse_noise(some)
        usable &= self._of_kind(np.all(usable, axis=0), some, left_out)
        if not hits:  # nor what their neighbours got
            usable &= ~with_neighbours(self.hits)[:, some]
        if first and len(excess) == 2:  # the rate is still the lower of the two
            excess[:] = excess[1] - excess[0]
        return [float(mad_sigma(of[good]) or 1.0) for of, good in zip(excess, usable, strict=True)]

    def _of_kind(self, known: Bool, rows: slice, left_out: bool) -> Bool:
        """Return the pixels that took part in the stripes or not; all where those are too few."""
        kind = self._left_out[rows] == left_out
        enough = np.count_nonzero(kind & known) >= self._settings.fewest_of_kind
        return kind | np.bool_(not enough)

    def take_out_levels(self, held: Bool | None = None) -> None:
        """Find the level of each row of each output in the differences.

        The rate is at first the mean without the largest difference of each pixel, which may hold
        a hit. Beside large events these always do, and the largest of noise stays: it is too high.

        Parameters
        ----------
        held
            Shape ``(ngroups - 1, ny, nx)``, True = may hold something of a large event. If given,
            rates in rows of events are the mean of the others without hits.
        """
        for rows in self._strips():
            if held is not None and not held[:, rows].any():
                continue
            differences, usable = self._differences(rows)
            if held is not None:
                steady = usable & ~self.hits[:, rows]
                usable = steady & ~held[:, rows]
                used = usable | (steady & (np.count_nonzero(usable, axis=0) < 2))
                rate = np.sum(differences, axis=0, where=used)
                rate /= np.maximum(np.count_nonzero(used, axis=0), 1)
            else:
                rate = mean_without_largest(differences, usable)
            self._rate[rows] = rate
            differences -= rate
            differences[~usable] = np.nan
            strips = differences.reshape(-1, self._layout.n_outputs, self._layout.output_width)
            found = row_levels(strips, self._settings.level_sample)
            self._levels[:, rows] += found.reshape(len(differences), -1, found.shape[1])

    def find_hits(self, threshold: float) -> None:
        """Find the differences that are above the expected rate by themselves.

        Parameters
        ----------
        threshold
            Excess of a hit, sigma of a difference.
        """
        limits = threshold * np.array(self._scales(False, first=True))[:, None, None]
        for rows in self._strips():
            differences, usable = self._differences(rows)
            differences -= self._rate[rows]
            differences *= self._inverse_noise(rows)
            self.hits[:, rows] = (differences > limits) & usable

    def take_out_stripes(self) -> None:
        """Find the stripes of each difference, but those that the rate has.

        Weighted as a straight line through all groups weights the differences, their sum is 0.
        """
        # what of a hit its neighbours got would be taken for a stripe in its group, and for less
        # than none in all others: the rate of a ramp cut there would come out too high
        cut = self._events.near(self._layout.shape) | with_neighbours(np.any(self.hits, axis=0))
        weights = line_weights(len(self._data))
        # rates that were found in another way, beside events, are no step from row to row
        self._levels -= np.tensordot(weights, self._levels, axes=1)
        mean, sigma = self._rate, np.empty_like(self._rate)  # rates are found anew afterwards
        for rows in self._strips():
            differences, usable = self._differences(rows)
            for g, difference in enumerate(differences):
                self._events.take_from(difference, g, rows)
            cut[rows] |= ~usable.all(axis=0)
            mean[rows] = np.einsum("g,gyx->yx", weights, differences)
            sigma[rows] = np.sqrt(self._noise.variance(rows, mean[rows]))
        if cut.all():  # so many events that nothing is far from all of them
            return
        self._left_out = cut
        finder = GroupStripes(cut, sigma, self._layout)
        del sigma
        patterns: Float | None = None

        def residual(g: int, rows: slice) -> Float:
            with np.errstate(invalid="ignore"):
                left = self._data[g + 1, rows] - self._data[g, rows]
                strips = left.reshape(len(left), self._layout.n_outputs, -1)
                strips -= self._levels[g, rows, :, None]
                left -= mean[rows]
            self._events.take_from(left, g, rows)
            return left

        for g, levels in enumerate(self._levels):
            found = finder.find(LazyRows(mean.shape, partial(residual, g)), levels)
            if patterns is None:
                patterns = np.empty((len(weights), *found.shape), np.float32)
            patterns[g] = found
        assert patterns is not None
        patterns -= np.tensordot(weights, patterns, axes=1)
        self._patterns = patterns

    def release_stripes(self) -> Float | None:
        """Return the stripes that were found, levels included; they are no longer held.

        Returns
        -------
        ndarray or None
            Shape ``(ngroups - 1, ny, nx / binning)``; None if they were not looked for.
        """
        patterns, self._patterns = self._patterns, None
        if patterns is not None:
            width = patterns.shape[2] // self._layout.n_outputs
            for pattern, level in zip(patterns, self._levels, strict=True):
                pattern += np.repeat(level, width, axis=1)
        return patterns

    def take_out_events(self) -> None:
        """Find large events, and anew the levels of the rows that their halos reach."""
        shape = self._layout.shape
        events = find_large_events(self.hits, partial(self._usable, slice(None), n=1), self._bad)
        self.take_out_levels(held_by_events(events, self.hits.shape))
        step = odd_step(self._layout.output_width, self._settings.level_sample)
        cols = np.arange(0, shape[1], step)
        outputs = cols // self._layout.output_width
        sigma = 1 / np.median(self._inverse_noise(self._sample_rows()))
        cut: Bool = np.any(self.hits[..., ::step], axis=0)
        for g in sorted({event.group for event in events}):
            here = [event for event in events if event.group == g]
            rows = np.unique(np.concatenate([np.r_[one.box(shape)[0]] for one in here]))
            with np.errstate(invalid="ignore"):
                excess = self._data[g + 1, rows, ::step] - self._data[g, rows, ::step]
                excess -= self._rate[rows, ::step]
            excess /= sigma
            excess[cut[rows] | ~self._usable(rows, g, 1)[0, :, ::step]] = np.nan
            levels = self._levels[g] / sigma
            changed = levels_beside_events(excess, rows, cols, outputs, levels, here)
            self._levels[g][changed] = levels[changed] * sigma
            for one in here:
                self._events.add(one, shape, float(sigma))

    def find_rate(self) -> None:
        """Expect the rate of each pixel: its own on sources, that around it elsewhere."""
        own, known = self._rate, np.empty(self._rate.shape, bool)
        # a hit while the frames of the middle group of three are read is in both differences: the
        # one that is left would make a source of it
        in_both = len(self.hits) == 2 and self._noise.n_frames > 1
        for rows in self._strips():
            differences, usable = self._differences(rows)
            hits = self.hits[:, rows]
            np.copyto(differences, 0, where=hits)
            count = np.sum(usable & ~hits, axis=0, dtype=np.uint16)
            own[rows] = differences.sum(axis=0) / np.maximum(count, np.float32(1))
            known[rows] = (count > 0) & ~(in_both & hits.any(axis=0))
        self._around = expect_rate(own, known, self._layout, self._settings)
        self._rate = self._around.rate

    def judge_together(self, threshold: float, jumps: Bool) -> tuple[float, float]:
        """Judge all differences of a pixel together.

        Parameters
        ----------
        threshold
            Height of the step of a hit, sigma.
        jumps
            Shape ``(ngroups, ny, nx)``: flags before, changed to those that stand: hits, the
            neighbours of strong ones, flags of pixels that cannot be judged, and flags in the
            groups directly after a strong hit (that the jump step may be asked to set).

        Returns
        -------
        float, float
            Noise of the differences over that of the references, and what stripes leave in pixels
            that took no part in them: variance over that of the read noise of the references.
        """
        kinds = [False, True] if self._left_out.any() else [False]
        scales = np.array([self._scales(kind) for kind in kinds], np.float32)
        medians = [float(scale) for scale in np.median(scales, axis=1)]
        models = [self._joint_noise(*each) for each in zip(medians, kinds, strict=True)]
        # of the noise of pixels that took part they fit as much
        left = np.square(self._scales(True, hits=False)) - np.square(scales[0])
        left *= self._noise.over_read(some := self._sample_rows(), self._rate[some]) / 2
        least = threshold - self._settings.candidate_margin
        height_scales = np.array([model.height_scale for model in models], np.float32)
        for rows in self._strips():
            # neighbours of hits in the rows beside count, too
            grown = slice(max(rows.start - 1, 0), rows.stop + 1)
            inside = slice(rows.start - grown.start, rows.stop - grown.start)
            differences, usable = self._differences(grown)
            inverse_noise = self._inverse_noise(grown)
            excess = (differences - self._rate[grown]) * inverse_noise
            excess[~usable] = 0
            # few differences are high for any kind of pixel: only those are looked at closer
            strong = np.zeros(usable.shape, bool)
            high = (excess > least * scales.min(axis=0)[:, None, None]).any(axis=0)
            y, x = np.nonzero(high)
            limits = scales.T[:, self._left_out[grown][y, x].view(np.uint8)]
            strong[:, y, x] = excess[:, y, x] > self._settings.neighbour_sigma * limits
            high[y, x] = (excess[:, y, x] > least * limits).any(axis=0)
            usable, excess, high = usable[:, inside], excess[:, inside], high[inside]
            heights = (models[0].typical @ excess.reshape(len(excess), -1)).reshape(excess.shape)
            y, x = np.nonzero((heights.max(axis=0) > least) | high)
            above = differences[:, inside][:, y, x] - self._around.smooth[rows][y, x]
            covariance = self._covariance(rows.start + y, x, models)
            known = usable[:, y, x].T
            limit = threshold * height_scales[self._left_out[rows][y, x].view(np.uint8)]
            self.hits[:, rows] = False
            self.hits[:, rows.start + y, x] = find_steps(above.T, known, covariance, limit).T
            parts = self._data[:, rows], differences[:, inside], usable, self.hits[:, rows]
            around = self._around.smooth[rows], inverse_noise[inside]
            self.hits[:, rows] |= last_before_event(*parts, *around)
            near = self.hits[:, rows] | with_neighbours(strong)[:, inside]
            follow = np.zeros_like(high)
            alone = usable.sum(axis=0) == 1  # nothing of the pixel tells hits from a source
            for g, flags in enumerate(jumps[1:, rows]):
                follow &= flags
                kept = follow | (flags & (alone | ~usable[g]))
                np.bitwise_or(kept, near[g] & usable[g], out=flags)
                follow |= strong[g, inside]
        return medians[0], max(float(np.median(left)), 0.0)

    def _joint_noise(self, scale: float, left_out: bool) -> JointNoise:
        """Measure the noise of all differences together, given that of one."""
        rows = self._sample_rows()
        differences, usable = self._differences(rows)
        whole: Bool = np.all(usable & ~self.hits[:, rows], axis=0)
        y, x = np.nonzero(whole & self._of_kind(whole, rows, left_out))
        step = max(len(y) // self._settings.height_sample, 1)
        y, x = y[::step], x[::step]
        n = len(self.hits)
        plain = JointNoise(np.eye(n, dtype=np.float32) / np.float32(scale))
        if not len(y):
            return plain
        above = (differences[:, y, x] - self._around.smooth[rows][y, x]).T
        y = y * (rows.step or 1)
        reference = self._covariance(y, x, [plain, plain])
        averaged = reference.averaged
        read, photons = (float(np.median(part)) for part in (reference.read, reference.photons))
        # what is more than in the references comes from the read-out
        variance = read + photons * averaged
        factor = max((scale**2 * variance - photons * averaged) / read, self._settings.least_read)
        of_mean = mad_sigma(above.mean(axis=1)) ** 2 - factor * read / n**2 - photons / n
        model = replace(plain, read_factor=factor, rate_variance=max(of_mean, 0))
        covariance = self._covariance(y, x, [model, model])
        height_scale = float(mad_sigma(step_heights(above, covariance)) or 1.0)
        precision = covariance.typical().precision(n)[..., 0]
        typical = precision * np.sqrt(variance / np.diag(precision)[:, None]) / height_scale
        return replace(model, height_scale=height_scale, typical=typical.astype(np.float32))

    def _covariance(
        self, y: NDArray[np.intp], x: NDArray[np.intp], models: list[JointNoise]
    ) -> Covariance:
        """Return what the differences of some pixels have in common."""
        kind = self._left_out[y, x].view(np.uint8)
        factor = np.array([model.read_factor for model in models], np.float32)[kind]
        variance = np.array([model.rate_variance for model in models], np.float32)[kind]
        gain = self._noise.gain[y, x]
        read = np.square(self._noise.read[y, x]) * factor / np.float32(self._noise.n_frames)
        photons: Float = np.divide(np.maximum(self._rate[y, x], 0), gain, dtype=np.float32)
        smooth = np.float32(self._around.typical / self._settings.smooth_box**2) + variance
        rate = self._around.structure[y, x] + smooth
        return Covariance(read, photons, rate, gain, self._noise.photon_factor())
