"""A rate image in read-out order: Fourier modes, and stripes as Gaussian series.

The working parts of `ceers_steps.kernels.stripes.posterior`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

from ceers_steps.kernels.stats import mad_sigma
from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.settings import SERIES
from ceers_steps.kernels.stripes.smooth_light import SmoothLight

__all__ = ["StripeSeries"]

Float = NDArray[np.float32]
Modes = NDArray[np.complex64]


class StripeSeries:
    """Stripes as time series of all outputs: prior, likelihood, posterior.

    A state is held as Fourier modes ``(n_outputs, nf)``, the half spectra of real series in a
    unitary normalisation.  The prior is the covariance between outputs at every frequency,
    ``(n_bins, n_outputs, n_outputs)``: the outputs share a part of their noise, and the reference
    pixels of the outermost two, once subtracted, link all outputs with those.
    """

    def __init__(self, samples: Samples) -> None:
        layout = samples.layout
        self.samples = samples
        n = layout.shape[0] * layout.row_ticks // samples.binning
        self._length = scipy.fft.next_fast_len(int(SERIES.padding * n), real=True)
        self._series = np.zeros((layout.n_outputs, self._length), np.float32)
        self._precision = float(samples.weight.sum(dtype=np.float64)) / self._series.size
        n_frequencies = self._length // 2 + 1
        n_bins = round(SERIES.bins_per_octave * np.log2(n_frequencies))
        self._edges = np.unique(np.round(np.geomspace(1, n_frequencies, 1 + n_bins)).astype(int))
        self._counts = np.diff(self._edges)
        self.frequency = np.sqrt(self._edges[:-1] * (self._edges[1:] - 1)) / self._length

    def to_image(self, modes: Modes) -> Float:
        """Stripes ``(ny, nx / binning)`` of Fourier modes."""
        series = scipy.fft.irfft(modes, self._length, norm="ortho", overwrite_x=True)
        return self.samples.layout.to_image(series, binning=self.samples.binning)

    def to_modes(self, image: Float) -> Modes:
        """Fourier modes of an image ``(ny, nx / binning)``: the adjoint of `to_image`."""
        return scipy.fft.rfft(self._to_series(image), norm="ortho")

    def _to_series(self, image: Float) -> Float:
        """Time series of an image, zero where nothing is read; they are overwritten next time."""
        layout, binning = self.samples.layout, self.samples.binning
        return layout.to_series(image, binning=binning, out=self._series)

    def _modes_of_rows(self, rows: Float) -> Modes:
        """Fourier modes of stripes that are the same in all pixels of a row, values ``(ny,)``."""
        layout = self.samples.layout
        series = layout.rows_to_series(rows, self._length, binning=self.samples.binning)
        return np.tile(scipy.fft.rfft(series, norm="ortho"), (layout.n_outputs, 1))

    def solve(
        self,
        covariance: NDArray[np.float64],
        light: SmoothLight | None,
        start: Modes | None,
        tolerance: float = SERIES.tolerance,
        drifts: Sequence[Float] = (),
    ) -> tuple[Modes, int]:
        """Most probable stripes, light marginalised, if any: modes and number of iterations.

        Preconditioned conjugate gradients for modes divided by the root of their prior
        covariance: ``(1 + root' A root) x = root' A value`` with `A` the inverse covariance
        of light and white noise.  Stripes that are one of `drifts`, values of rows ``(ny,)``,
        come first: where light could be the same, the iterations would end before they have moved.
        """
        prior = _Prior(covariance, self._edges)

        value = self.samples.weight * self.samples.value
        value = value if light is None else light.residual(value)
        residual = prior.colour_adjoint(self.to_modes(value))
        weight = self._to_series(self.samples.weight).copy()
        # memory that is used again: to ask for it anew in each iteration takes as long as the work
        coloured, image = np.empty_like(residual), np.empty_like(residual)

        def normal(x: Modes) -> Modes:
            modes = prior.colour(x, coloured)
            series = scipy.fft.irfft(modes, self._length, norm="ortho", overwrite_x=True)
            series *= weight
            if light is None:
                modes = scipy.fft.rfft(series, norm="ortho")
            else:
                sample = self.samples.layout.to_image(series, binning=self.samples.binning)
                modes = self.to_modes(light.residual(sample))
            return np.add(prior.colour_adjoint(modes, image), x, out=image)

        preconditioner = 1 / (1 + prior.root**2 * np.float32(self._precision))
        goal = tolerance**2 * _dot(residual, preconditioner * residual)
        if start is None:
            x = np.zeros_like(residual)
        else:
            x = prior.whiten(start)
            residual -= normal(x)
        if drifts:
            basis = np.stack([prior.whiten(self._modes_of_rows(rows)) for rows in drifts])
            products = np.stack([normal(modes).copy() for modes in basis])
            matrix = [[_dot(a, b) for b in products] for a in basis]
            steps = np.linalg.lstsq(matrix, [_dot(a, residual) for a in basis])[0].astype(
                np.float32
            )
            x += np.tensordot(steps, basis, 1)
            residual -= np.tensordot(steps, products, 1)
        direction = preconditioner * residual
        norm = _dot(residual, direction)
        iterations = 0
        while norm > goal and iterations < SERIES.max_iterations:
            normal(direction)
            step = np.float32(norm / _dot(direction, image))
            x += np.multiply(direction, step, out=coloured)
            image *= step
            residual -= image
            np.multiply(residual, preconditioner, out=image)
            previous, norm = norm, _dot(residual, image)
            direction *= np.float32(norm / previous)
            direction += image
            iterations += 1
        return prior.colour(x), iterations

    def drawn(self, covariance: NDArray[np.float64], rng: np.random.Generator) -> Float:
        """Stripes ``(ny, nx / binning)`` of this covariance, at random."""
        white = rng.standard_normal(self._series.shape, dtype=np.float32)
        modes = scipy.fft.rfft(white, norm="ortho")
        return self.to_image(_Prior(covariance, self._edges).colour(modes))

    def evidence(self, covariance: NDArray[np.float64], light: SmoothLight, modes: Modes) -> float:
        """How much likelier the image is with stripes than without, natural logarithm.

        `modes` are the solution for this covariance.  The samples are taken as spread evenly over
        the read-out.
        """
        seen = self.to_modes(light.residual(self.samples.weight * self.samples.value))
        strength = np.linalg.eigvalsh(covariance) * self._precision
        return _dot(seen, modes) / 2 - float(np.log1p(strength).sum(axis=1) @ self._counts)

    def share_of_stripes(self, covariance: NDArray[np.float64], rest: Float) -> NDArray[np.float32]:
        """Part of each Fourier mode that stripes have made, the rest being light, ``(nf,)``.

        Light knows no direction: what waves of a length show in all others, it adds to the rows,
        too.  `rest` is the image without the light of the model, stripes included.
        """
        layout, binning = self.samples.layout, self.samples.binning
        if not covariance.any():
            return np.zeros(self._length // 2 + 1, np.float32)
        strength = np.trace(covariance, axis1=1, axis2=2) / layout.n_outputs
        places, power = self.samples.power_of_light(rest, self.frequency, strength)
        frequency = np.arange(self._length // 2 + 1) / self._length
        cycles = frequency * layout.row_ticks / binning  # per row
        waves = np.hypot(frequency, (cycles - np.round(cycles)) * binning)
        light = np.interp(waves, places, power, right=0.0)
        light[1:] /= np.repeat(strength, self._counts)
        slow = self._slow()
        # beside 1/f noise, light of sources that an output does not hold is no weaker
        largest = 0.0
        for i in slow[::-1]:
            some = slice(self._edges[i], self._edges[i + 1])
            largest = max(largest, float(light[some].mean()))
            light[some] = np.maximum(light[some], largest)
        light[0] = largest  # offsets
        return (1 - np.clip(light, 0, 1)).astype(np.float32)

    def part_of_light(self, covariance: NDArray[np.float64], share: NDArray[np.float32]) -> float:
        """Part of the variance of slow stripes that light has made; `share` is that of stripes."""
        slow = self._slow()
        variance = (np.trace(covariance, axis1=1, axis2=2) * self._counts)[slow]
        light = variance @ self.mean_in_bins(1 - share[1:])[slow]
        return float(light / variance.sum()) if light > 0 else 0.0

    def _slow(self) -> NDArray[np.intp]:
        """Bins of the spectrum with less than half a cycle per row."""
        ticks = self.samples.layout.row_ticks / self.samples.binning
        return np.flatnonzero(self._edges[:-1] / self._length * ticks < 0.5)

    def first_covariance(self) -> NDArray[np.float64]:
        """Rough covariance: 1/f, a part of it common, from differences of neighbouring rows.

        Light hardly differs from one row to the next, so sources do not disturb.
        """
        samples, n_outputs = self.samples, self.samples.layout.n_outputs
        ny = len(samples.weight)
        weight = samples.weight.reshape(ny, n_outputs, -1)
        total = weight.sum(axis=2)
        good = (total > SERIES.least_coverage * total.max()).all(axis=1)
        good = good[1:] & good[:-1]
        inverse = 1 / np.maximum(total, np.finfo(np.float32).tiny)
        mean = (weight * samples.value.reshape(weight.shape)).sum(axis=2) * inverse
        noise = (inverse[1:] + inverse[:-1])[good].mean(axis=1)
        outputs = scipy.fft.dct(np.eye(n_outputs), axis=0, norm="ortho")  # the first: their mean
        difference = np.diff(mean, axis=0)[good] @ outputs.T
        typical = np.median(noise) if good.any() else 2 / total.max()
        excess = np.full(2, typical)
        if good.sum() >= SERIES.least_rows:
            excess[0] = mad_sigma(difference[:, 0]) ** 2 - typical
            excess[1] = mad_sigma(difference[:, -(n_outputs - 1) :]) ** 2 - typical
        common, own = np.maximum(excess, SERIES.least_excess * typical) / self._row_difference()
        between = own * np.eye(n_outputs) + (common - own) / n_outputs
        return between / self.frequency[:, None, None]

    def updated_covariance(
        self, covariance: NDArray[np.float64], modes: Modes
    ) -> NDArray[np.float64]:
        """Covariance that agrees with the stripes found, held to the previous one."""
        updated = np.empty_like(covariance)
        for i, (first, last) in enumerate(pairwise(self._edges)):
            some = modes[:, first:last]
            values, vectors = np.linalg.eigh(covariance[i])
            posterior = (vectors * (values / (1 + values * self._precision))) @ vectors.T
            found = (some @ some.conj().T).real + (last - first) * posterior
            held = SERIES.shrinkage
            updated[i] = (found + held * covariance[i]) / (last - first + held)
        return updated

    def mean_in_bins(self, of_modes: NDArray) -> NDArray:
        """Mean of what Fourier modes have in each bin of the spectrum, the offset left out."""
        return np.add.reduceat(of_modes, self._edges[:-1] - 1) / self._counts

    def trend_errors(
        self, covariance: NDArray[np.float64], light: SmoothLight
    ) -> NDArray[np.float64]:
        """Standard errors of the polynomials of the light, given the covariance of the stripes.

        Within rows stripes are taken as white noise of the strength that they have at one cycle
        per row.  From row to row their covariance is taken, over blocks of rows of each output.
        """
        samples, n_outputs = self.samples, self.samples.layout.n_outputs
        ny = len(samples.weight)
        rows = -(-ny // SERIES.trend_blocks)
        edges = np.arange(0, ny, rows)

        def blocks(image: Float) -> NDArray[np.float64]:
            strips = image.reshape(ny, n_outputs, -1).sum(axis=2, dtype=np.float64)
            return np.add.reduceat(strips, edges, axis=0)

        trends = [light.trend_image(i) for i in range(len(light.degrees))]
        weight = blocks(samples.weight)
        seen = weight > 0
        means = np.stack([blocks(samples.weight * trend)[seen] for trend in trends], axis=1)
        means /= weight[seen][:, None]
        within = np.array(
            [[np.sum(samples.weight * a * b, dtype=np.float64) for b in trends] for a in trends]
        )
        within -= means.T @ (weight[seen][:, None] * means)
        ticks = samples.layout.row_ticks // samples.binning
        power = np.trace(covariance, axis1=1, axis2=2) / n_outputs
        stripes = np.interp(1 / ticks, self.frequency, power)
        within /= 1 + stripes * samples.binning / samples.white_sigma**2

        slowest = self.frequency[0] / SERIES.trend_periods
        frequency = np.geomspace(slowest, 0.5 / (rows * ticks), 500)
        lags = np.arange(len(edges)) * rows * ticks
        waves = 2 * np.cos(2 * np.pi * np.outer(lags, frequency)) * np.gradient(frequency)
        size = len(edges)
        total = np.empty((size, n_outputs, size, n_outputs))
        between = self._extrapolated(covariance, frequency)
        for a, b in np.ndindex(n_outputs, n_outputs):
            total[:, a, :, b] = scipy.linalg.toeplitz(waves @ between[:, a, b])
        total = total.reshape(size * n_outputs, -1)[np.ix_(seen.ravel(), seen.ravel())]
        total[np.diag_indices_from(total)] += 1 / weight[seen]
        precision = within + means.T @ np.linalg.solve(total, means)
        scale = np.sqrt(np.diag(precision))
        scale = np.maximum(scale, 1e-6 * scale.max())  # none sees the trend: in a single column
        values, vectors = np.linalg.eigh(precision / np.outer(scale, scale))
        # A trend that the samples hardly tell from others has an error that is large but finite.
        return np.sqrt(vectors**2 @ (1 / np.maximum(values, 1e-9))) / scale

    def predicted_error(self, covariance: NDArray[np.float64], share: NDArray[np.float32]) -> float:
        """Rms error of the stripes of a sample where every pixel is used.

        `share` is that of stripes in the covariance at each Fourier mode.
        """
        precision = self.samples.binning / self.samples.white_sigma**2
        values = np.linalg.eigvalsh(covariance)
        stripes = values * self.mean_in_bins(share[1:])[:, None]
        # of two signals in noise that look alike, one has this error
        error = (stripes * (1 - stripes * precision / (1 + values * precision))).mean(axis=1)
        return float(np.sqrt(2 * np.sum(error * self._counts) / self._length))

    def part_taken(
        self, covariance: NDArray[np.float64], share: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Part of each Fourier mode of an output that stripes take, where all pixels are used."""
        white = self.samples.white_sigma**2 / self.samples.binning
        values = np.linalg.eigvalsh(covariance)
        taken = np.zeros(len(share))
        taken[1:] = np.repeat((values / (values + white)).mean(axis=1), self._counts)
        return taken * share

    def _extrapolated(
        self, covariance: NDArray[np.float64], frequency: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Covariance at other frequencies, a power law below those that trends may have a part of.

        As steep as it is above, less the error of that, and 1/f at least: drifts look like trends.
        """
        first, last = SERIES.trend_cycles / self._length, SERIES.slope_cycles / self._length
        at = np.searchsorted(self.frequency, frequency).clip(max=len(covariance) - 1)
        some = (self.frequency > first) & (self.frequency <= last)
        seen, waves = covariance[some], np.log(self.frequency[some] / first)
        power, weight = np.trace(seen, axis1=1, axis2=2), self._counts[some]
        if not power.all():
            return covariance[at]
        centred = waves - np.average(waves, weights=weight)
        error = (weight @ centred**2) ** -0.5
        slope = min((weight * centred) @ np.log(power) * error**2 + error, -1.0)
        near = waves <= np.log(8)
        level = np.mean(seen[near] * np.exp(-slope * waves[near])[:, None, None], axis=0)
        below = level * (frequency / first)[:, None, None] ** slope
        return np.where((frequency < first)[:, None, None], below, covariance[at])

    def _row_difference(self) -> float:
        """Variance of the difference of neighbouring row means, for a spectrum 1/f."""
        layout, binning = self.samples.layout, self.samples.binning
        width, ticks = layout.output_width // binning, layout.row_ticks // binning
        f = np.geomspace(1e-4 / ticks, 0.5, 20_000)
        power = 4 * np.sin(np.pi * f * ticks) ** 2 * np.sinc(f * width) ** 2
        return 2 * float(np.trapezoid(power, np.log(f)))


class _Prior:
    """Root of a covariance between outputs at every frequency: ``vectors x root``."""

    def __init__(self, covariance: NDArray[np.float64], edges: NDArray[np.int_]) -> None:
        n_outputs = covariance.shape[1]
        # What never changes during the read-out is an offset of the output; one that all outputs
        # share is sky.
        differences = np.eye(n_outputs) - 1 / n_outputs
        offset = 4 * differences @ covariance[0] @ differences
        values, vectors = np.linalg.eigh(np.concatenate([offset[None], covariance]))
        self._edges = np.concatenate([[0], edges])
        root = np.sqrt(np.maximum(values, 0)).astype(np.float32)
        root[0, values[0] < 1e-6 * values[0].max()] = 0
        self.root = np.repeat(root, np.diff(self._edges), axis=0).T
        inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
        vectors = vectors.astype(np.float32)
        self._colour = vectors * root[:, None, :]
        self._whiten = (vectors * inverse[:, None, :]).transpose(0, 2, 1)

    def colour(self, x: Modes, out: Modes | None = None) -> Modes:
        """Give white modes the covariance."""
        return self._rotated(x, self._colour, out)

    def colour_adjoint(self, modes: Modes, out: Modes | None = None) -> Modes:
        """Apply the transpose of `colour`."""
        return self._rotated(modes, self._colour.transpose(0, 2, 1), out)

    def whiten(self, modes: Modes) -> Modes:
        """Undo `colour`."""
        return self._rotated(modes, self._whiten, None)

    def _rotated(self, modes: Modes, matrices: Float, out: Modes | None) -> Modes:
        """Multiply the outputs by a matrix, one for each bin of frequency."""
        result = np.empty_like(modes) if out is None else out
        # the matrices are real: so are the products of real and imaginary parts
        parts, products = modes.view(np.float32), result.view(np.float32)
        for matrix, (first, last) in zip(matrices, pairwise(2 * self._edges), strict=True):
            np.matmul(matrix, parts[:, first:last], out=products[:, first:last])
        return result


def _dot(a: Modes, b: Modes) -> float:
    """Inner product of the series of which only half the spectrum is held."""
    return float(2 * np.vdot(a, b).real - np.vdot(a[:, 0], b[:, 0]).real)
