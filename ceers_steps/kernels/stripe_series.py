"""A rate image in read-out order: samples, Fourier modes, and stripes as Gaussian series.

The working parts of `ceers_steps.kernels.flicker`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from ceers_steps.kernels.readout import ReadoutLayout
from ceers_steps.kernels.robust import mad_sigma, subsample
from ceers_steps.kernels.smooth_light import SmoothLight

__all__ = ["Samples", "StripeSeries"]

Float = NDArray[np.float32]

_BINNINGS = (4, 2, 1)  # columns per sample; stripes hold no power on scales this short
_PADDING = 1.05  # length of the periodic series relative to the read-out
_TOLERANCE = 1e-3  # of the conjugate gradients
_MAX_ITERATIONS = 60
_LEAST_PAIRS = 1000  # of samples, to measure the noise
_LEAST_ROWS = 16  # pairs of rows, to measure the stripes
_LEAST_COVERAGE = 0.25  # of a row of an output, to take part in that
_LEAST_EXCESS = 0.02  # of stripes over white noise in differences of rows
_SHRINKAGE = 4.0  # weight of the power law in the estimated spectrum, in Fourier modes
_TREND_BLOCKS = 128  # blocks of rows that the errors of trends are computed from
_TREND_CYCLES = 4  # of stripes per read-out, up to which trends look the same
_TREND_PERIODS = 8  # drifts as slow as this many read-outs count


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
        binning = next(
            n for n in _BINNINGS if layout.output_width % n == 0 and layout.row_overhead % n == 0
        )

        def summed(array: Float) -> Float:
            ny, nx = layout.shape
            return array.reshape(ny, nx // binning, binning).sum(axis=2)

        def where_used(array: NDArray, factor: Float) -> Float:
            return np.multiply(array, factor, out=np.zeros(layout.shape, np.float32), where=used)

        pixel_weight = where_used(np.float32(1) / sigma**2, np.float32(1))
        weight = summed(pixel_weight)
        there = weight > 0
        inverse = np.divide(1, weight, out=np.zeros_like(weight), where=there)
        value = summed(where_used(image, pixel_weight)) * inverse
        response = None
        if flat is not None:
            response = summed(where_used(flat, pixel_weight)) * inverse
        sky = value if response is None else value / np.where(there, response, 1)
        level = float(np.median(subsample(sky[there], 100_000)))
        value -= np.float32(level) * (there if response is None else response)

        # Neighbouring samples share light and stripes: their differences are white noise.
        pairs = there[:, 1:] & there[:, :-1]
        noise_scale = 1.0
        if pairs.sum() > _LEAST_PAIRS:
            difference = np.diff(value, axis=1)[pairs]
            noise = np.sqrt(inverse[:, 1:] + inverse[:, :-1])[pairs]
            noise_scale = mad_sigma(subsample(difference / noise, 200_000)) or 1.0
        weight /= np.float32(noise_scale**2)
        typical = np.median(subsample(np.broadcast_to(sigma, layout.shape)[used], 100_000))
        return cls(
            layout, binning, used, value, weight, response, level,
            float(typical) * noise_scale, noise_scale,
        )  # fmt: skip

    def without(self, bad: NDArray[np.bool_]) -> Samples:
        """Leave samples out."""
        return replace(self, weight=np.where(bad, np.float32(0), self.weight))


class StripeSeries:
    """Stripes as time series of all outputs: prior, likelihood, posterior.

    A state is held as Fourier modes ``(n_outputs, nf)``: along the first axis an orthonormal
    transform over outputs, whose first row is the mean of all and takes the common part;
    along the second the half spectrum of a real series, in a unitary normalisation.
    """

    def __init__(self, samples: Samples) -> None:
        layout = samples.layout
        self._samples = samples
        n = layout.shape[0] * layout.row_ticks // samples.binning
        self._length = scipy.fft.next_fast_len(int(_PADDING * n), real=True)
        self._series = np.zeros((layout.n_outputs, self._length), np.float32)
        eye = np.eye(layout.n_outputs, dtype=np.float32)
        self._outputs = scipy.fft.dct(eye, axis=0, norm="ortho")
        self._precision = float(samples.weight.sum(dtype=np.float64)) / self._series.size
        n_frequencies = self._length // 2 + 1
        edges = np.geomspace(1, n_frequencies, 1 + round(3 * np.log2(n_frequencies)))
        self._edges = np.unique(np.round(edges).astype(int))
        middle = np.sqrt(self._edges[:-1] * (self._edges[1:] - 1))
        self.frequency = middle / self._length
        self._log_index = np.log(np.arange(1, n_frequencies))

    def to_image(self, modes: NDArray[np.complex64]) -> Float:
        """Stripes ``(ny, nx / binning)`` of Fourier modes."""
        series = scipy.fft.irfft(
            self._outputs.T @ modes, self._length, norm="ortho", overwrite_x=True
        )
        return self._samples.layout.to_image(series, binning=self._samples.binning)

    def to_modes(self, image: Float) -> NDArray[np.complex64]:
        """Fourier modes of an image ``(ny, nx / binning)``: the adjoint of `to_image`."""
        self._samples.layout.to_series(image, binning=self._samples.binning, out=self._series)
        return self._outputs @ scipy.fft.rfft(self._series, norm="ortho")

    def solve(
        self,
        spectrum: NDArray[np.float64],
        light: SmoothLight,
        start: NDArray[np.complex64] | None,
    ) -> tuple[NDArray[np.complex64], int]:
        """Most probable stripes, light marginalised: modes and number of iterations.

        Preconditioned conjugate gradients for modes divided by the root of their prior
        variance: ``(1 + root A root) x = root A value`` with `A` the inverse covariance of
        light and white noise.
        """
        root = self._root(spectrum)

        def normal(x: NDArray[np.complex64]) -> NDArray[np.complex64]:
            image = self.to_image(root * x)
            image *= self._samples.weight
            result = self.to_modes(light.residual(image))
            result *= root
            result += x
            return result

        preconditioner = 1 / (1 + root**2 * np.float32(self._precision))
        residual = root * self.to_modes(light.residual(self._samples.weight * self._samples.value))
        goal = _TOLERANCE**2 * _dot(residual, preconditioner * residual)
        if start is None:
            x = np.zeros_like(residual)
        else:
            x = np.divide(start, root, out=np.zeros_like(start), where=root > 0)
            residual -= normal(x)
        direction = preconditioner * residual
        norm = _dot(residual, direction)
        iterations = 0
        while norm > goal and iterations < _MAX_ITERATIONS:
            image = normal(direction)
            step = np.float32(norm / _dot(direction, image))
            x += step * direction
            image *= step
            residual -= image
            image = preconditioner * residual
            previous, norm = norm, _dot(residual, image)
            direction *= np.float32(norm / previous)
            direction += image
            iterations += 1
        x *= root
        return x, iterations

    def first_spectrum(self) -> NDArray[np.float64]:
        """Rough spectrum ``(2, n_bins)``: 1/f, from differences of neighbouring rows.

        Light hardly differs from one row to the next, so sources do not disturb.
        """
        samples, layout = self._samples, self._samples.layout
        ny = layout.shape[0]
        weight = samples.weight.reshape(ny, layout.n_outputs, -1)
        total = weight.sum(axis=2)
        good = (total > _LEAST_COVERAGE * total.max()).all(axis=1)
        good = good[1:] & good[:-1]
        inverse = 1 / np.maximum(total, np.finfo(np.float32).tiny)
        mean = (weight * samples.value.reshape(weight.shape)).sum(axis=2) * inverse
        noise = (inverse[1:] + inverse[:-1])[good].mean(axis=1)
        difference = np.diff(mean, axis=0)[good] @ self._outputs.T
        typical = np.median(noise) if good.any() else 2 / total.max()
        excess = np.full(2, typical)
        if good.sum() >= _LEAST_ROWS:
            excess[0] = mad_sigma(difference[:, 0]) ** 2 - typical
            excess[1] = mad_sigma(difference[:, -(layout.n_outputs - 1) :]) ** 2 - typical
        excess = np.maximum(excess, _LEAST_EXCESS * typical)
        return np.outer(excess / self._row_difference(), 1 / self.frequency)

    def updated_spectrum(
        self, spectrum: NDArray[np.float64], modes: NDArray[np.complex64]
    ) -> NDArray[np.float64]:
        """Spectrum that agrees with the stripes found, held to the previous one by a few modes."""
        power = np.add.reduceat(np.abs(modes[:, : self._edges[-1]]) ** 2, self._edges[:-1], axis=1)
        count = np.diff(self._edges)
        posterior = spectrum / (1 + spectrum * self._precision)
        updated = spectrum.copy()
        for row, members in enumerate((power[:1], power[1 - len(power) :])):
            total = members.sum(axis=0) + len(members) * count * posterior[row]
            total += _SHRINKAGE * spectrum[row]
            updated[row] = total / (len(members) * count + _SHRINKAGE)
        return updated

    def trend_errors(
        self, spectrum: NDArray[np.float64], light: SmoothLight
    ) -> NDArray[np.float64]:
        """Standard errors of the polynomials of the light, given the spectrum of the stripes.

        Within rows stripes are taken as white noise of the strength that they have at one cycle
        per row.  From row to row their covariance is taken, over blocks of rows of each output.
        """
        samples, n_outputs = self._samples, self._samples.layout.n_outputs
        ny = len(samples.weight)
        rows = -(-ny // _TREND_BLOCKS)
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
        stripes = np.interp(1 / ticks, self.frequency, spectrum.max(axis=0))
        within /= 1 + stripes * samples.binning / samples.white_sigma**2
        frequency = np.geomspace(self.frequency[0] / _TREND_PERIODS, 0.5 / (rows * ticks), 500)
        lags = np.arange(len(edges)) * rows * ticks
        waves = np.cos(2 * np.pi * np.outer(lags, frequency)) * np.gradient(frequency)
        common, own = (
            scipy.linalg.toeplitz(2 * waves @ self._extrapolated(row, frequency))
            for row in spectrum
        )
        covariance = np.kron(own, np.eye(n_outputs))
        covariance += np.kron(common - own, np.full((n_outputs, n_outputs), 1 / n_outputs))
        covariance = covariance[np.ix_(seen.ravel(), seen.ravel())]
        covariance[np.diag_indices_from(covariance)] += 1 / weight[seen]
        precision = within + means.T @ np.linalg.solve(covariance, means)
        scale = np.sqrt(np.diag(precision))
        values, vectors = np.linalg.eigh(precision / np.outer(scale, scale))
        # A trend that the samples hardly tell from others has an error that is large but finite.
        return np.sqrt(vectors**2 @ (1 / np.maximum(values, 1e-9))) / scale

    def _extrapolated(
        self, spectrum: NDArray[np.float64], frequency: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Spectrum of one kind, a power law where trends may have taken a part of it."""
        first = _TREND_CYCLES / self._length
        row = self._samples.binning / self._samples.layout.row_ticks
        fair = (self.frequency > first) & (self.frequency < max(row, 4 * first))
        law = np.polyfit(np.log(self.frequency[fair]), np.log(spectrum[fair]), 1)
        return np.where(
            frequency < first,
            np.exp(np.polyval(law, np.log(frequency))),
            np.interp(frequency, self.frequency, spectrum),
        )

    def predicted_error(self, spectrum: NDArray[np.float64]) -> float:
        """Rms error of the stripes of a sample where every pixel is used."""
        precision = self._samples.binning / self._samples.white_sigma**2
        error = spectrum / (1 + spectrum * precision)
        n_outputs = self._samples.layout.n_outputs
        variance = (error[0] + (n_outputs - 1) * error[1]) / n_outputs
        return float(np.sqrt(2 * np.sum(variance * np.diff(self._edges)) / self._length))

    def _root(self, spectrum: NDArray[np.float64]) -> Float:
        """Root of the prior variance of every mode, from the binned spectrum."""
        log_bins = np.log(self.frequency * self._length)
        root = np.empty((len(self._outputs), self._length // 2 + 1), np.float32)
        for row, binned in enumerate(spectrum[: len(root)]):
            root[row, 1:] = np.exp(0.5 * np.interp(self._log_index, log_bins, np.log(binned)))
            # What never changes during the read-out is an offset of the output.
            root[row, 0] = 2 * root[row, 1]
        root[2:] = root[1:2]
        # A common offset is sky.
        root[0, 0] = 0
        return root

    def _row_difference(self) -> float:
        """Variance of the difference of neighbouring row means, for a spectrum 1/f."""
        layout, binning = self._samples.layout, self._samples.binning
        width, ticks = layout.output_width // binning, layout.row_ticks // binning
        f = np.geomspace(1e-4 / ticks, 0.5, 20_000)
        power = 4 * np.sin(np.pi * f * ticks) ** 2 * np.sinc(f * width) ** 2
        return 2 * float(np.trapezoid(power, np.log(f)))


def _dot(a: NDArray[np.complex64], b: NDArray[np.complex64]) -> float:
    """Inner product of the series of which only half the spectrum is held."""
    return float(2 * np.vdot(a, b).real - np.vdot(a[:, 0], b[:, 0]).real)
