"""The samples of a rate image that tell its stripes: used pixels, averaged over a few columns.

The working parts of `ceers_steps.kernels.stripes.posterior`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gammainccinv

from ceers_steps.kernels.rows import RowImage
from ceers_steps.kernels.stats import mad_sigma, subsample
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.settings import SERIES

__all__ = ["Samples"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """The image, averaged over a few columns at a time."""

    layout: ReadoutLayout
    binning: int
    used: NDArray[np.bool_]  # (ny, nx)
    value: Float  # (ny, nx / binning), `level` times `response` subtracted
    weight: Float  # inverse variance, 0 without a used pixel
    response: Float | None  # to light
    level: float  # of the sky
    white_sigma: float  # of a pixel, median
    noise_scale: float
    pixel_weight: Float  # of the pixels, before rescaling

    @classmethod
    def of(
        cls,
        image: NDArray,
        mask: NDArray[np.bool_],
        white_sigma: ArrayLike,
        layout: ReadoutLayout,
        flat: NDArray | None,
    ) -> Samples:
        """Average the used pixels, weighted by their inverse variance."""
        sigma = np.asarray(white_sigma, np.float32)
        arrays = {"image": image, "mask": mask, "white_sigma": sigma, "flat": flat}
        for name, array in arrays.items():
            if array is not None and array.ndim and array.shape != layout.shape:
                raise ValueError(
                    f"{name} has the shape {array.shape}, the read-out layout {layout.shape}"
                )
        used = ~mask & np.isfinite(image) & np.isfinite(sigma) & (sigma > 0)
        if flat is not None:
            used &= np.isfinite(flat) & (flat > 0)
        if not used.any():
            raise ValueError(
                "no pixel is left to find stripes in: all are masked or not finite; "
                "use a smaller source mask or leave the exposure out"
            )
        lengths = layout.output_width, layout.row_overhead
        binning = next(n for n in SERIES.binnings if not any(length % n for length in lengths))

        pixel_weight = np.divide(1, sigma**2, out=np.zeros(layout.shape, np.float32), where=used)
        weight = _summed(pixel_weight, binning)
        response = None
        if flat is not None:
            inverse = np.divide(1, weight, out=np.zeros_like(weight), where=weight > 0)
            seen = np.multiply(
                flat, pixel_weight, out=np.zeros(layout.shape, np.float32), where=used
            )
            response = _summed(seen, binning) * inverse
        of_used = np.broadcast_to(sigma, layout.shape)[used]
        typical = float(np.median(subsample(of_used, SERIES.level_sample)))
        bare = cls(
            layout, binning, used, np.zeros_like(weight), weight, response, 0.0, typical, 1.0,
            pixel_weight,
        )  # fmt: skip
        return bare.of_image(image)

    def of_image(self, image: RowImage) -> Samples:
        """Average the same pixels of another image; their noise is measured again."""
        weight = self.weight * np.float32(self.noise_scale**2)
        there = weight > 0
        inverse = np.divide(1, weight, out=np.zeros_like(weight), where=there)
        value = np.empty_like(weight)
        for first in range(0, len(value), SERIES.strip_rows):
            rows = slice(first, first + SERIES.strip_rows)
            weighted = np.empty_like(self.pixel_weight[rows])
            with np.errstate(invalid="ignore", over="ignore"):
                np.multiply(image[rows], self.pixel_weight[rows], out=weighted)
            np.copyto(weighted, 0, where=~self.used[rows])  # among them what is not finite
            value[rows] = _summed(weighted, self.binning)
        value *= inverse
        some, n_pairs, pairs = self._sampled
        response = self.response
        sky = value.ravel()[some] / (1 if response is None else response.ravel()[some])
        level = float(np.median(sky))
        value -= np.float32(level) * (there if response is None else response)

        # Neighbouring samples share light and stripes: their differences are white noise.
        scale = 1.0
        if n_pairs > SERIES.least_pairs:
            difference = value.ravel()[pairs + 1] - value.ravel()[pairs]
            variance = inverse.ravel()[pairs + 1] + inverse.ravel()[pairs]
            scale = mad_sigma(difference / np.sqrt(variance)) or 1.0
        weight /= np.float32(scale**2)
        sigma = self.white_sigma / self.noise_scale * scale
        return replace(
            self, value=value, weight=weight, level=level, white_sigma=sigma, noise_scale=scale
        )

    @cached_property
    def _sampled(self) -> tuple[NDArray[np.intp], int, NDArray[np.intp]]:
        """Samples that tell the level of any image, number of pairs, pairs that tell its noise."""
        there = self.weight > 0
        pairs = there & np.roll(there, -1, axis=1)
        pairs[:, -1] = False
        some, pair = np.flatnonzero(there), np.flatnonzero(pairs)
        return subsample(some, SERIES.level_sample), pair.size, subsample(pair, SERIES.noise_sample)

    def with_levels(self, levels: Float) -> Samples:
        """Add a level to each row of each output, shape ``(ny, n_outputs)``."""
        added = np.repeat(levels, self.value.shape[1] // levels.shape[1], axis=1)
        return replace(self, value=self.value + added)

    def without_light(self, light: Float) -> Samples:
        """Subtract light, ``(ny, nx / binning)``, as it is before the flat."""
        seen = light if self.response is None else light * self.response
        return replace(self, value=self.value - seen)

    def without_row_levels(self, rest: Float) -> Float:
        """Subtract the mean of each row of each output from values of the samples."""
        parts = len(rest), self.layout.n_outputs, -1
        weight = self.weight.reshape(parts)
        total = np.maximum(weight.sum(axis=2, keepdims=True), np.finfo(np.float32).tiny)
        values = rest.reshape(parts)
        level = (weight * values).sum(axis=2, keepdims=True) / total
        return (values - level).reshape(rest.shape)

    def part_above_rows(self, rest: Float, limit: float) -> float:
        """Part of the samples that are far above the level of their row: in light.

        `limit` is in units of the scatter from one row to the next: stripes within a row have no
        part in it, light that reaches over several rows has.
        """
        rest = self.without_row_levels(rest) * np.sqrt(self.weight)
        there = self.weight > 0
        pairs = there[1:] & there[:-1]
        if not pairs.any():
            return 0.0
        pair = subsample(np.flatnonzero(pairs), SERIES.noise_sample)
        change = rest.ravel()[pair + rest.shape[1]] - rest.ravel()[pair]
        scatter = mad_sigma(change) / np.sqrt(2)
        return float(np.mean(rest[there] > limit * scatter))

    def that_stand_out(
        self, rest: Float, width: float, limits: tuple[float, float]
    ) -> NDArray[np.bool_]:
        """Return the samples with other light than the model has, in what is left of the image.

        Sources make their rows too dark, and dark spots that the flat field does not hold make
        them too bright.  `width` is that of the Gaussian which smooths the image, pixels; `limits`
        are of dark spots and of light, in units of the noise of a pixel.
        """
        there = self.weight > 0
        widths = width, width / self.binning
        seen = gaussian_filter(there.astype(np.float32), widths)
        smooth = gaussian_filter(np.where(there, rest, np.float32(0)), widths)
        dark, light = (np.float32(limit * self.white_sigma) * seen for limit in limits)
        return there & ((smooth < dark) | (smooth > light))

    def power_of_light(
        self, rest: Float, frequency: NDArray[np.float64], strength: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Power of light at some wave numbers, cycles per sample; variance of a sample.

        From squares of each output, the waves along rows and columns left out, in which there are
        stripes of this `strength` per sample at this `frequency`.  Zero where chance would show as
        much, and in frames too small to hold such waves.
        """
        layout, n_outputs = self.layout, self.layout.n_outputs
        ny, width = len(rest), layout.output_width // self.binning
        height = min(layout.output_width, ny)
        weight = self.weight
        # beside a mask, levels of rows would be seen in all directions
        score = weight * self.without_row_levels(rest)
        squares = -1, height, n_outputs, width
        weight, score = (a[: ny // height * height].reshape(squares) for a in (weight, score))
        mean = weight.mean(axis=(1, 3), dtype=np.float64)
        modes = scipy.fft.rfft2(score, axes=(1, 3), norm="ortho")[:, 1:, :, 1:]
        power = np.sum(np.abs(modes) ** 2, axis=(0, 2), dtype=np.float64) / np.sum(mean**2)
        n_squares = mean.sum() ** 2 / np.sum(mean**2)
        along = np.arange(1, 1 + power.shape[1]) / width
        waves = np.hypot(scipy.fft.fftfreq(height)[1:, None] * self.binning, along)
        stripes = np.broadcast_to(np.interp(along, frequency, strength), power.shape)
        excess = power - stripes
        longest, shortest = SERIES.light_waves
        beyond = (waves > longest) & (waves < shortest)
        if not beyond.any():
            return np.zeros(1), np.zeros(1)
        white = excess[beyond].mean()
        n_rings = max(1, round(SERIES.bins_per_octave * np.log2(longest * width)))
        edges = np.geomspace(1 / width, longest, n_rings + 1)
        places, light = [], []
        for ring in ((waves >= a) & (waves < b) for a, b in pairwise(edges)):
            n_modes = n_squares * np.count_nonzero(ring)
            if n_modes == 0:
                continue
            chance = gammainccinv(n_modes, SERIES.light_chance) / n_modes - 1
            found = excess[ring].mean() - white
            places.append(waves[ring].mean())
            light.append(found if found > chance * (white + stripes[ring].mean()) else 0.0)
        return np.array(places or [0.0]), np.array(light or [0.0])

    def without(self, bad: NDArray[np.bool_]) -> Samples:
        """Leave samples out."""
        return replace(self, weight=np.where(bad, np.float32(0), self.weight))


def _summed(array: Float, binning: int) -> Float:
    """Sum every few columns."""
    total = array[:, ::binning].copy()
    for first in range(1, binning):
        total += array[:, first::binning]
    return total
