"""What a fit of stripes takes of light that no mask holds, and what it leaves under masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.linalg import toeplitz
from scipy.ndimage import convolve1d

from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.series import StripeSeries
from ceers_steps.kernels.stripes.settings import LEFT_OVER
from ceers_steps.kernels.stripes.smooth_light import SmoothLight

__all__ = ["LearntStripes", "own_part"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class LearntStripes:
    """What a fit has learnt of the stripes of an image.

    Attributes
    ----------
    series : StripeSeries
        Of the samples that were fitted.
    covariance : ndarray
        Of the modes of the stripes of all outputs.
    share : ndarray of float32
        Part of each mode that is stripes.
    """

    series: StripeSeries
    covariance: NDArray[np.float64]
    share: NDArray[np.float32]

    def of_stripes(self) -> NDArray[np.float64]:
        """Return the covariance of the part that is stripes."""
        return self.covariance * self.series.mean_in_bins(self.share[1:])[:, None, None]

    def own_taps(self) -> tuple[Float, float]:
        """Return the filter of `own_part`, and the variance of what it gives.

        Stripes that follow from other samples leave sources that no mask holds their light, but
        also 1/f noise of short waves.  What samples and those beside them in the row add to their
        own stripes is known, as in cross-validation, from what the fit has left.  A part of it is
        returned, the less the stronger stripes are, as light costs the more noise then.  It follows
        from the spectrum alone: other sources in the image do not change it.

        Returns
        -------
        ndarray of float32
            The filter, odd in length, samples along a row.
        float
            Variance of what it gives, squared unit of the image.
        """
        samples = self.series.samples
        taken = self.series.part_taken(self.covariance, self.share)
        if not taken.any():
            return np.zeros(1, np.float32), 0.0
        n, reach = 2 * (len(taken) - 1), int(LEFT_OVER.own_reach / samples.binning)
        response = toeplitz(irfft(taken, n)[: 2 * reach + 1])
        taps = LEFT_OVER.returned * (response - response @ response)[reach]
        own = np.zeros(n)
        own[np.arange(-reach, reach + 1)] = taps
        left = irfft((1 - taken) * rfft(own).real ** 2, n)[0]
        return taps.astype(np.float32), float(left * samples.white_sigma**2 / samples.binning)

    def masked_variance(self, light: SmoothLight, taps: Float) -> Float:
        """Return by how much more masked pixels scatter than used ones, for stripes that are left.

        Stripes with the spectrum that was learnt and white noise are drawn, and fitted as the image
        was.  What is left of them is larger where they follow from other samples alone, the more
        the farther these are, and in used samples it goes against the noise of these.

        Parameters
        ----------
        light : SmoothLight
            As it was fitted.
        taps : ndarray of float32
            From `LearntStripes.own_taps`.

        Returns
        -------
        ndarray of float32, shape (ny, nx)
            Squared unit of the image; 0 in used pixels.
        """
        series, covariance, samples = self.series, self.covariance, self.series.samples
        there = samples.weight > 0
        used = samples.used & np.repeat(there, samples.binning, axis=1)
        if used.all() or not (covariance.any() and self.share.any()):
            return np.zeros(used.shape, np.float32)
        rng = np.random.default_rng(0)  # the same image always has the same errors
        stripes = series.drawn(self.of_stripes(), rng)
        noise = rng.standard_normal(there.shape, dtype=np.float32)
        noise *= 1 / np.sqrt(np.where(there, samples.weight, np.inf))
        drawn = replace(samples, value=np.where(there, stripes + noise, np.float32(0)))
        modes, _ = StripeSeries(drawn).solve(covariance, light, None, LEFT_OVER.drawn_tolerance)
        fitted = series.to_image(modes * self.share)
        rest = drawn.value - fitted - light.image(*light.fit(drawn.weight * (drawn.value - fitted)))
        error = stripes - fitted + own_part(drawn, taps, rest)
        error -= error[there].mean()
        of_used = np.mean((error * (error + 2 * noise))[there], dtype=np.float64)
        rings = _rings(there, samples.layout.n_outputs)
        n = np.maximum(np.bincount(rings.ravel()), 1)
        power = np.bincount(rings.ravel(), np.square(error).ravel()) / n
        more = np.maximum(power - of_used, 0).astype(np.float32)[rings]
        return np.where(used, np.float32(0), np.repeat(more, samples.binning, axis=1))


def own_part(samples: Samples, taps: Float, rest: Float) -> Float:
    """Return what stripes have taken of samples because of these alone.

    Parameters
    ----------
    samples : Samples
        That were fitted.
    taps : ndarray of float32
        From `LearntStripes.own_taps`.
    rest : ndarray of float32, shape (ny, nx / binning)
        What the fit has left of the samples.

    Returns
    -------
    ndarray of float32, shape (ny, nx / binning)
        To be subtracted from the stripes.
    """
    rest = np.where(samples.weight > 0, rest, 0).reshape(len(rest), samples.layout.n_outputs, -1)
    return convolve1d(rest, taps, axis=2, mode="constant").reshape(len(rest), -1)


def _rings(there: NDArray[np.bool_], n_outputs: int) -> NDArray[np.intp]:
    """Number the samples by how far the next one that is `there` is in the row of their output.

    0 = there; each further number has twice the distance; all beyond the last one that enough
    samples have belong to it.
    """
    rows = there.reshape(len(there), n_outputs, -1)
    place = np.arange(rows.shape[2])
    far = len(place)
    before = np.maximum.accumulate(np.where(rows, place, -far), axis=2)
    after = np.minimum.accumulate(np.where(rows, place, 2 * far)[:, :, ::-1], axis=2)[:, :, ::-1]
    distance = np.minimum(np.minimum(place - before, after - place), far)
    beyond = np.cumsum(np.bincount(distance.ravel(), minlength=far + 1)[::-1])[::-1]
    last = max(int(np.count_nonzero(beyond[1:] >= LEFT_OVER.least_ring)), 1)
    numbers = np.ceil(np.log2(np.maximum(np.arange(far + 1), 0.5))).astype(int) + 1
    return numbers[np.minimum(distance, last)].reshape(there.shape)
