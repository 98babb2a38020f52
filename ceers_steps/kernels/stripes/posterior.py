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

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from ceers_steps.kernels.stripes.large_sources import (
    SourceBlocks,
    find_large_sources,
    outskirts_light,
    outskirts_mask,
)
from ceers_steps.kernels.stripes.left_over import LearntStripes, own_part
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
    masked_variance : callable
        Fits stripes that are drawn, and returns ``(ny, nx)`` float32, by how much the variance of
        what is left of stripes is larger than in used pixels, squared unit of the image; 0 in
        these, and where nothing is subtracted.
    hidden : bool
        Whether light is too strong for any stripes to be subtracted.
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
    masked_variance: Callable[[], Float]
    hidden: bool
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
    known = np.zeros_like(samples.value)
    modes = None
    drifts: list[Float] = []  # that could be trends of the sky
    n_iter = 0
    for i in range(POSTERIOR.passes):
        light.set_amplitude(amplitude, trend)
        modes, iterations = series.solve(covariance, light, modes, drifts=drifts)
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
                strength = _common_spread(polynomials[members], errors[members])
                trend[members] = strength
                if strength > errors[members].min():
                    drifts.append(light.trend_along_y(degree))
        if i < POSTERIOR.clipped_passes:
            rest -= light.image(field, polynomials)
            bad = rest**2 * everything.weight > POSTERIOR.clip**2
            if blocks is not None and i == POSTERIOR.clipped_passes - 1:
                sky = light.samples(np.zeros_like(field), polynomials) + np.float32(samples.level)
                outskirts, known = _outskirts(blocks, pattern, sky, samples)
                bad |= outskirts
            samples = everything.without(bad).without_light(known)
            light = _smooth_light(samples)
            series = StripeSeries(samples)
        elif blocks is not None and known.any():
            sky = light.samples(np.zeros_like(field), polynomials) + np.float32(samples.level)
            _, known = _outskirts(blocks, pattern, sky, samples)
            samples = everything.without(bad).without_light(known)
            series = StripeSeries(samples)
    assert modes is not None
    if series.evidence(covariance, light, modes) < POSTERIOR.stripe_evidence:
        covariance = np.zeros_like(covariance)
    rest = samples.value - light.image(field, polynomials)
    share = series.share_of_stripes(covariance, rest)
    part_of_light = series.part_of_light(covariance, share)
    far = samples.part_above_rows(rest, POSTERIOR.far) > POSTERIOR.most_far
    if far or part_of_light > POSTERIOR.most_light:
        share[:] = 0
    hidden = bool(covariance.any() and not share.any())
    if share.min() < 1:
        pattern = series.to_image(modes * share)
        field, polynomials = light.fit(samples.weight * (samples.value - pattern))
    rest = samples.value - pattern - light.image(field, polynomials)
    learnt = LearntStripes(series, covariance, share)
    taps, own_variance = learnt.own_taps()
    pattern -= own_part(samples, taps, rest)
    faint = np.zeros_like(outskirts)
    if not far and 0 < part_of_light < POSTERIOR.most_light_to_find:
        rest = samples.value - pattern - light.image(field, polynomials)
        limits = -POSTERIOR.faint_shadow, POSTERIOR.faint_light
        faint = samples.that_stand_out(rest, POSTERIOR.faint_width, limits)
    error = float(np.hypot(series.predicted_error(covariance, share), np.sqrt(own_variance)))
    covariance = learnt.of_stripes()
    stripes = np.repeat(pattern, samples.binning, axis=1)
    stripes -= stripes.mean(where=samples.used, dtype=np.float64)
    polynomials[0] += samples.level
    power = covariance.trace(axis1=1, axis2=2) / layout.n_outputs * samples.binning
    pairs = layout.n_outputs * (layout.n_outputs - 1)
    shared = covariance.sum(axis=(1, 2)) * samples.binning - layout.n_outputs * power
    common = np.maximum(shared, 0) / max(pairs, 1)
    fit = StripeFit(
        stripes=stripes,
        light=light.pixels(field, polynomials) + np.repeat(known, samples.binning, axis=1),
        outskirts=np.repeat(outskirts, samples.binning, axis=1),
        sky=float(polynomials[0]),
        frequency=series.frequency / samples.binning,
        common_spectrum=common,
        output_spectrum=power - common,
        white_sigma=samples.white_sigma,
        noise_scale=samples.noise_scale,
        predicted_error=np.nan if hidden else error,
        masked_variance=partial(learnt.masked_variance, light, taps),
        hidden=hidden,
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


def _outskirts(
    blocks: SourceBlocks, stripes: Float, sky: Float, samples: Samples
) -> tuple[NDArray[np.bool_], Float]:
    """Return where large sources are seen beyond their mask, and the light of those that stay."""
    light = blocks.light(stripes, sky) / np.float32(samples.white_sigma)
    sources = find_large_sources(light, blocks.seen)
    found = blocks.to_samples(outskirts_mask(sources, light.shape), stripes.shape)
    known = blocks.to_samples(outskirts_light(sources, light.shape), stripes.shape)
    left = samples.weight.sum(where=~found, dtype=np.float64)
    if left < LARGE_SOURCES.least_left * samples.weight.sum(dtype=np.float64):
        found[:] = False
    return found, np.float32(samples.white_sigma) * known


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
