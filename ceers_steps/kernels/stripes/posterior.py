"""Stripes of 1/f noise: their most probable pattern, given everything else in the image.

The image is modelled as ``flat * light + stripes + white noise``.  The stripes are, in
read-out order, stationary time series with a power spectrum close to 1/f, partly common to
all outputs and partly their own.  The light is smooth (`SmoothLight`), the same across
outputs.  Sources and bad pixels are left out.  Light is marginalised exactly, and the
stripes follow from conjugate gradients in Fourier space, where their prior is diagonal.
Both priors are learnt from the image: the spectrum of the stripes and where there is light
are updated between passes.  Smooth light that a row average would take for a stripe is thus
recognised by its shape along the row and across outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, rfft
from scipy.linalg import toeplitz
from scipy.ndimage import convolve1d, gaussian_filter

from ceers_steps.kernels.blocks import as_blocks
from ceers_steps.kernels.stats import mad_sigma
from ceers_steps.kernels.stripes.large_sources import (
    SourceBlocks,
    find_large_sources,
    outskirts_mask,
)
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.series import StripeSeries
from ceers_steps.kernels.stripes.settings import LARGE_SOURCES, LIGHT, POSTERIOR
from ceers_steps.kernels.stripes.smooth_light import SmoothLight

__all__ = ["StripeFit", "fit_stripes"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class StripeFit:
    """What `fit_stripes` finds.

    Attributes
    ----------
    stripes : ndarray
        ``(ny, nx)`` float32 pattern to subtract from the image.  Its mean over the pixels
        used is zero, so that the level of the sky stays.
    light : ndarray
        ``(ny, nx)`` float32 model of smooth light, sky level included, before the flat.
    outskirts : ndarray of bool
        ``(ny, nx)``, True = outskirts of a large source, or light of a crowded field, left out.
    sky : float
        Constant part of `light`, its level away from sources.
    frequency : ndarray
        ``(nf,)`` frequencies of the spectra, cycles per clock tick.
    common_spectrum, output_spectrum : ndarray
        ``(nf,)`` power spectral density (variance per tick, two-sided) of the part that all
        outputs share and of the part that each has alone.
    white_sigma : float
        Median white noise of a used pixel after rescaling.
    noise_scale : float
        Factor by which the white noise given was multiplied to agree with the image.
    predicted_error : float
        Expected standard deviation of the error of `stripes` where all pixels are used; NaN if
        `hidden`.
    masked_variance : ndarray
        ``(ny, nx)`` float32, by how much the variance of what is left of stripes is larger than in
        used pixels, squared unit of the image; 0 in these, and where nothing is subtracted.
    hidden : bool
        Whether light is too strong for any stripes to be subtracted.
    used_fraction : float
        Fraction of pixels used.
    n_iter : int
        Iterations of the conjugate gradients, all passes together.
    """

    stripes: Float
    light: Float
    outskirts: NDArray[np.bool_]
    sky: float
    frequency: NDArray[np.float64]
    common_spectrum: NDArray[np.float64]
    output_spectrum: NDArray[np.float64]
    white_sigma: float
    noise_scale: float
    predicted_error: float
    masked_variance: Float
    hidden: bool
    used_fraction: float
    n_iter: int


def fit_stripes(
    image: NDArray,
    mask: NDArray[np.bool_],
    white_sigma: ArrayLike,
    layout: ReadoutLayout,
    *,
    flat: NDArray | None = None,
    sources: NDArray[np.bool_] | None = None,
) -> StripeFit:
    """Estimate the stripes of 1/f noise in a rate image.

    Parameters
    ----------
    image : ndarray
        ``(ny, nx)`` rate image, not flat-fielded; any unit.
    mask : ndarray
        ``(ny, nx)``, True = do not use: sources, bad and reference pixels.  Pixels that
        are not finite in `image`, `flat` or `white_sigma` are left out too.
    white_sigma : float or ndarray
        White (read and photon) noise of a pixel, unit of `image`; a number or
        ``(ny, nx)``.  Only its pattern matters: its level is measured in the image.
    layout : ReadoutLayout
        Read-out order of the image.
    flat : ndarray, optional
        ``(ny, nx)`` flat field; None if light falls on a perfectly even detector or
        `image` is already flat-fielded.
    sources : ndarray, optional
        ``(ny, nx)``, True = masked as a source, and nothing else is wrong with the pixel.
        Outskirts of large ones are then left out beyond the mask (`large_sources`).

    Returns
    -------
    StripeFit
        The stripes and what was learnt on the way.

    Raises
    ------
    ValueError
        If the shapes disagree or no pixel can be used.
    """
    samples = Samples.of(image, mask, white_sigma, layout, flat)
    blocks = None
    if sources is not None and sources.any():
        blocks = SourceBlocks(image, samples.used | sources, flat, samples.binning)
    least = POSTERIOR.least_used * np.count_nonzero(samples.weight)
    fit, faint = _fit(samples, blocks)
    left_out = np.zeros_like(faint)
    for _ in range(POSTERIOR.crowded_fits):
        clean = samples.without(faint)
        if not faint.any() or np.count_nonzero(clean.weight) < least:
            break
        samples = clean
        left_out |= faint
        fit, faint = _fit(samples, blocks)
    return replace(fit, outskirts=fit.outskirts | np.repeat(left_out, samples.binning, axis=1))


def _fit(everything: Samples, blocks: SourceBlocks | None) -> tuple[StripeFit, NDArray[np.bool_]]:
    """Fit stripes and smooth light; return also the samples in which there is other light."""
    samples, layout = everything, everything.layout
    light = _smooth_light(samples)
    series = StripeSeries(samples)
    covariance = series.first_covariance()
    amplitude = np.full(light.shape, POSTERIOR.first_amplitude * samples.white_sigma)
    trend = np.where(light.degrees == 0, np.inf, samples.white_sigma)
    least = POSTERIOR.least_amplitude * samples.white_sigma
    outskirts = np.zeros(samples.value.shape, bool)
    modes = None
    n_iter = 0
    for i in range(POSTERIOR.passes):
        light.set_amplitude(amplitude, trend)
        modes, iterations = series.solve(covariance, light, modes)
        n_iter += iterations
        pattern = series.to_image(modes)
        rest = samples.value - pattern
        field, polynomials = light.fit(samples.weight * rest)
        if i == POSTERIOR.passes - 1:
            break
        spread = gaussian_filter(light.sources(field) ** 2, 1.0, mode="nearest")
        amplitude = np.maximum(np.sqrt(spread), least)
        if i > 0:
            covariance = series.updated_covariance(covariance, modes)
        if i == POSTERIOR.free_passes - 1:
            errors = series.trend_errors(covariance, light)
            for degree in range(1, light.degrees[-1] + 1):
                members = light.degrees == degree
                trend[members] = _common_spread(polynomials[members], errors[members])
        if i < POSTERIOR.clipped_passes:
            rest -= light.image(field, polynomials)
            bad = rest**2 * everything.weight > POSTERIOR.clip**2
            if blocks is not None and i == POSTERIOR.clipped_passes - 1:
                sky = light.samples(np.zeros_like(field), polynomials) + np.float32(samples.level)
                outskirts = _outskirts(blocks, pattern, sky, samples)
                bad |= outskirts
            samples = everything.without(bad)
            light = _smooth_light(samples)
            series = StripeSeries(samples)
    assert modes is not None
    if series.evidence(covariance, light, modes) < POSTERIOR.stripe_evidence:
        covariance = np.zeros_like(covariance)
    rest = samples.value - light.image(field, polynomials)
    share = series.share_of_stripes(covariance, rest)
    part_of_light = series.part_of_light(covariance, share)
    far = samples.part_far_from_rows(rest, POSTERIOR.far) > POSTERIOR.most_far
    if far or part_of_light > POSTERIOR.most_light:
        share[:] = 0
    hidden = bool(covariance.any() and not share.any())
    if share.min() < 1:
        pattern = series.to_image(modes * share)
        field, polynomials = light.fit(samples.weight * (samples.value - pattern))
    rest = samples.value - pattern - light.image(field, polynomials)
    taps, own_variance = _own_taps(series, covariance, share, rest)
    pattern -= _own_part(samples, taps, rest)
    faint = np.zeros_like(outskirts)
    if not far and 0 < part_of_light < POSTERIOR.most_light_to_find:
        rest = samples.value - pattern - light.image(field, polynomials)
        limits = -POSTERIOR.faint_shadow, POSTERIOR.faint_light
        faint = samples.that_stand_out(rest, POSTERIOR.faint_width, limits)
    error = float(np.hypot(series.predicted_error(covariance, share), np.sqrt(own_variance)))
    masked_variance = _masked_variance(series, covariance, share, light, taps)
    covariance *= series.mean_in_bins(share[1:])[:, None, None]
    stripes = np.repeat(pattern, samples.binning, axis=1)
    stripes -= stripes.mean(where=samples.used, dtype=np.float64)
    polynomials[0] += samples.level
    power = covariance.trace(axis1=1, axis2=2) / layout.n_outputs * samples.binning
    pairs = layout.n_outputs * (layout.n_outputs - 1)
    shared = covariance.sum(axis=(1, 2)) * samples.binning - layout.n_outputs * power
    common = np.maximum(shared, 0) / max(pairs, 1)
    fit = StripeFit(
        stripes=stripes,
        light=light.pixels(field, polynomials),
        outskirts=np.repeat(outskirts, samples.binning, axis=1),
        sky=float(polynomials[0]),
        frequency=series.frequency / samples.binning,
        common_spectrum=common,
        output_spectrum=power - common,
        white_sigma=samples.white_sigma,
        noise_scale=samples.noise_scale,
        predicted_error=np.nan if hidden else error,
        masked_variance=masked_variance,
        hidden=hidden,
        used_fraction=float(samples.used.mean()),
        n_iter=n_iter,
    )
    return fit, faint


def _smooth_light(samples: Samples) -> SmoothLight:
    """Set up the model of light for the samples."""
    return SmoothLight(
        samples.weight,
        samples.response,
        binning=samples.binning,
        spacing=LIGHT.spacing,
        kernel_length=LIGHT.kernel_length,
    )


def _own_taps(
    series: StripeSeries, covariance: NDArray[np.float64], share: NDArray[np.float32], rest: Float
) -> tuple[Float, float]:
    """Return the filter of `_own_part`, and the variance of what it gives.

    Stripes that follow from other samples leave sources that no mask holds their light, but also
    1/f noise of short waves.  What samples and those beside them in the row add to their own
    stripes is known, as in cross-validation, from `rest`, which the fit has left.  So much of it is
    returned as noise in blocks allows: where it is below white noise, light has shrunk as it has.
    """
    samples = series.samples
    layout, binning = samples.layout, samples.binning
    taken = series.part_taken(covariance, share)
    if not taken.any():
        return np.zeros(1, np.float32), 0.0
    n, reach = 2 * (len(taken) - 1), int(POSTERIOR.own_reach / binning)
    response = toeplitz(irfft(taken, n)[: 2 * reach + 1])
    taps = np.linalg.solve(np.eye(len(response)) - response, response)[reach]
    own = np.zeros(n)
    own[np.arange(-reach, reach + 1)] = taps
    waves = rfft(own).real
    left = [irfft((1 - taken) * waves**power, n) for power in range(3)]
    row = layout.row_ticks // binning
    none, mixed, full = (_in_blocks(correlation, row, binning) for correlation in left)
    limit = POSTERIOR.most_noise**2 * samples.white_part()
    none = max(none, _seen_in_blocks(samples, rest))  # stripes are never known as well as expected
    part = (np.sqrt(max(mixed**2 + full * (limit - none), 0)) - mixed) / full
    part = np.clip(part, 0, 1)
    variance = part**2 * left[2][0] * samples.white_sigma**2 / binning
    return (part * taps).astype(np.float32), float(variance)


def _own_part(samples: Samples, taps: Float, rest: Float) -> Float:
    """Return what stripes have taken of samples because of these alone."""
    rest = np.where(samples.weight > 0, rest, 0).reshape(len(rest), samples.layout.n_outputs, -1)
    return convolve1d(rest, taps, axis=2, mode="constant").reshape(len(rest), -1)


def _masked_variance(
    series: StripeSeries,
    covariance: NDArray[np.float64],
    share: NDArray[np.float32],
    light: SmoothLight,
    taps: Float,
) -> Float:
    """Return by how much more masked pixels scatter than used ones, for what is left of stripes.

    Stripes with the spectrum that was learnt and white noise are drawn, and fitted as the image
    was.  What is left of them is larger where they follow from other samples alone, the more the
    farther these are, and in used samples it goes against the noise of these.
    """
    samples = series.samples
    there = samples.weight > 0
    used = samples.used & np.repeat(there, samples.binning, axis=1)
    if used.all() or not (covariance.any() and share.any()):
        return np.zeros(used.shape, np.float32)
    rng = np.random.default_rng(0)  # the same image always has the same errors
    stripes = series.drawn(covariance * series.mean_in_bins(share[1:])[:, None, None], rng)
    noise = rng.standard_normal(there.shape, dtype=np.float32)
    noise *= 1 / np.sqrt(np.where(there, samples.weight, np.inf))
    drawn = replace(samples, value=np.where(there, stripes + noise, np.float32(0)))
    modes, _ = StripeSeries(drawn).solve(covariance, light, None, POSTERIOR.drawn_tolerance)
    fitted = series.to_image(modes * share)
    rest = drawn.value - fitted - light.image(*light.fit(drawn.weight * (drawn.value - fitted)))
    error = stripes - fitted + _own_part(drawn, taps, rest)
    error -= error[there].mean()
    of_used = np.mean((error * (error + 2 * noise))[there], dtype=np.float64)
    rings = _rings(there, samples.layout.n_outputs)
    n = np.maximum(np.bincount(rings.ravel()), 1)
    power = np.bincount(rings.ravel(), np.square(error).ravel()) / n
    more = np.maximum(power - of_used, 0).astype(np.float32)[rings]
    return np.where(used, np.float32(0), np.repeat(more, samples.binning, axis=1))


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
    last = max(int(np.count_nonzero(beyond[1:] >= POSTERIOR.least_ring)), 1)
    numbers = np.ceil(np.log2(np.maximum(np.arange(far + 1), 0.5))).astype(int) + 1
    return numbers[np.minimum(distance, last)].reshape(there.shape)


def _in_blocks(correlation: NDArray[np.float64], row: int, binning: int) -> float:
    """Variance of means of square blocks, over that of white noise, for a correlation in time."""
    rows, columns = POSTERIOR.white_block, POSTERIOR.white_block // binning
    down, along = np.arange(1 - rows, rows), np.arange(1 - columns, columns)
    pairs = np.multiply.outer(rows - np.abs(down), columns - np.abs(along))
    lags = np.abs(np.add.outer(down * row, along)) % len(correlation)
    return float((pairs * correlation[lags]).sum() / (rows * columns))


def _seen_in_blocks(samples: Samples, rest: Float) -> float:
    """Return the same as `_in_blocks`, as it is in the image."""
    there = samples.weight > 0
    block = POSTERIOR.white_block, POSTERIOR.white_block // samples.binning
    count = as_blocks(there, block).sum(axis=(2, 3))
    full = 2 * count >= block[0] * block[1]
    if not full.any():
        return np.inf
    total = as_blocks(np.where(there, rest, 0), block).sum(axis=(2, 3))
    mean = total[full] / np.sqrt(count[full])
    return float(mad_sigma(mean) ** 2 * samples.binning / samples.white_sigma**2)


def _outskirts(
    blocks: SourceBlocks, stripes: Float, sky: Float, samples: Samples
) -> NDArray[np.bool_]:
    """Return the samples in which large sources are seen beyond their mask."""
    light = blocks.light(stripes, sky) / np.float32(samples.white_sigma)
    sources = find_large_sources(light, blocks.seen)
    found = blocks.to_samples(outskirts_mask(sources, light.shape), stripes.shape)
    left = samples.weight.sum(where=~found, dtype=np.float64)
    if left < LARGE_SOURCES.least_left * samples.weight.sum(dtype=np.float64):
        return np.zeros_like(found)
    return found


def _common_spread(values: NDArray, errors: NDArray) -> float:
    """Most likely standard deviation of the truth behind values with different errors.

    Light knows no direction.  A trend along y, which stripes could make too, is therefore as
    strong as those along x, which they cannot make, unless it stands out by itself.
    """
    first, last, n_trials = POSTERIOR.spread_limits
    largest = np.abs(values).max() + errors.max()
    spread = np.geomspace(first * errors.min(), last * largest, n_trials)
    sure = errors < 3 * errors.min()
    along_y = slice(1)
    for terms, evidence in ((sure, POSTERIOR.evidence), (along_y, POSTERIOR.evidence_along_y)):
        variance = spread[:, None] ** 2 + errors[terms] ** 2
        misfit = np.sum(np.log(variance) + values[terms] ** 2 / variance, axis=1)
        best = np.argmin(misfit)
        if misfit[0] - misfit[best] > evidence:
            return float(spread[best])
    return float(spread[0])
