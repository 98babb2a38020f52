"""What is measured on truth-known products: one pure function and one small record per question.

Every function takes plain arrays ``[y, x]`` and returns a frozen dataclass whose ``as_row`` gives
the numbers under the names used in tables.  Masks are True where a pixel must *not* be used;
arrays that select something (a galaxy's aperture, contaminated pixels) are True inside it.
Nothing here reads a file or knows how a product was made, so benchmarks and reports share it.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ceers_steps.validate.records import (
    AbsorbedFlux,
    BlockNoise,
    HaloBias,
    PedestalChange,
    SnowballFlags,
    SourceFlux,
    TemplateResidual,
    WispScale,
)

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


def block_noise(
    image: NDArray,
    truth: ArrayLike,
    white_sigma: ArrayLike,
    *,
    mask: NDArray | None = None,
    block: int = 16,
    max_masked: float = 0.25,
) -> BlockNoise:
    """Compare the scatter of block means with the white-noise limit.

    Averaging `block` x `block` pixels beats white noise down to ``sigma / block`` but leaves
    stripes and other correlated noise standing, so the ratio of the two is the metric of
    a stripe removal.  With blocks of 1 to 16 pixels it also tells whether an error array predicts
    the noise of apertures.

    Parameters
    ----------
    image, truth : array, shape (ny, nx)
        Measured and noiseless image, same units; `truth` may be a scalar.
    white_sigma : float or array, shape (ny, nx)
        Standard deviation of the white noise of each pixel (the error array, or
        `pixel_noise`), same units.
    mask : bool array, shape (ny, nx), optional
        True = do not use (sources, bad pixels).  Pixels that are not finite are left out too.
    block : int
        Side of the blocks, pixels; incomplete blocks at the far edges are dropped.
    max_masked : float
        Blocks with a larger fraction of masked pixels are dropped.

    Raises
    ------
    ValueError
        If fewer than two blocks are left.
    """
    sigma = np.broadcast_to(np.asarray(white_sigma), image.shape)
    residual = np.asarray(image) - np.asarray(truth)
    use = np.isfinite(residual) & np.isfinite(sigma)
    if mask is not None:
        use &= ~mask
    count = _block_sum(use, block)
    keep = count >= max((1.0 - max_masked) * block * block, 1)
    n_blocks = int(keep.sum())
    if n_blocks < 2:
        raise ValueError(
            f"block_noise: {n_blocks} blocks of {block} x {block} pixels with at most "
            f"max_masked = {max_masked} masked in an image of shape {image.shape}; "
            "use smaller blocks or a larger max_masked"
        )
    count = count[keep]
    means = _block_sum(np.where(use, residual, 0), block)[keep] / count
    white_var = _block_sum(np.where(use, sigma, 0).astype(np.float64) ** 2, block)[keep] / count**2
    scatter = float(means.std(ddof=1))
    white = float(np.sqrt(white_var.mean()))
    ratio = scatter / white if white > 0 else float("nan")
    return BlockNoise(
        block=block,
        n_blocks=n_blocks,
        scatter=scatter,
        white=white,
        ratio=ratio,
        ratio_err=ratio / float(np.sqrt(2.0 * (n_blocks - 1))),
    )


def pixel_noise(residual: NDArray, *, mask: NDArray | None = None) -> float:
    """White noise per pixel from differences of pixels next to each other in a row.

    Neighbours along a row are read 10 microseconds apart, so 1/f noise and everything smooth
    cancels and only the white part is left, whatever the error array says.

    Parameters
    ----------
    residual : array, shape (ny, nx)
        Image less its truth.
    mask : bool array, shape (ny, nx), optional
        True = do not use.

    Returns
    -------
    float
        Standard deviation in units of `residual`; NaN without two neighbouring good pixels.
    """
    difference = np.diff(np.asarray(residual), axis=1)
    use = np.isfinite(difference)
    if mask is not None:
        use &= ~(mask[:, 1:] | mask[:, :-1])
    if not use.any():
        return float("nan")
    return float(MAD_TO_SIGMA * np.median(np.abs(difference[use])) / np.sqrt(2.0))


def source_flux(
    image: NDArray,
    truth: NDArray,
    sources: NDArray,
    *,
    sky: ArrayLike = 0.0,
    err: NDArray | None = None,
    mask: NDArray | None = None,
    blank: NDArray | None = None,
) -> SourceFlux:
    """Total flux recovered in source pixels.

    Parameters
    ----------
    image, truth : array, shape (ny, nx)
        Measured and noiseless image, sky included in both, same units.
    sources : bool array, shape (ny, nx)
        True = pixel of a source (taken from the truth, so that noise does not choose it).
    sky : float or array, shape (ny, nx)
        Sky contained in `truth`, same units: the true flux is counted above it.
    err : array, shape (ny, nx), optional
        Standard deviation of each pixel, for `ratio_err`.
    mask : bool array, shape (ny, nx), optional
        True = do not use.
    blank : bool array, shape (ny, nx), optional
        True = blank sky; the mean error there, an offset of the whole image, does not count.

    Raises
    ------
    ValueError
        If no source pixel can be used, their true flux is not positive, or no sky is blank.
    """
    finite = np.isfinite(image) & np.isfinite(truth)
    use = sources & finite
    if mask is not None:
        use &= ~mask
    n_pixels = int(use.sum())
    flux_true = float((truth - np.asarray(sky))[use].sum(dtype=np.float64))
    if n_pixels == 0 or flux_true <= 0:
        raise ValueError(
            f"source_flux: {n_pixels} usable source pixels with a true flux of {flux_true:g}; "
            "check the polarity of `sources` and `mask` and the value of `sky`"
        )
    flux_error = float((image - truth)[use].sum(dtype=np.float64))
    if blank is not None:
        if not (blank & finite).any():
            raise ValueError("source_flux: no finite pixel of `blank`; check its polarity")
        flux_error -= n_pixels * float((image - truth)[blank & finite].mean(dtype=np.float64))
    ratio_err = float("nan")
    if err is not None:
        ratio_err = float(np.sqrt(np.square(err[use], dtype=np.float64).sum())) / flux_true
    return SourceFlux(
        n_pixels=n_pixels,
        flux_true=flux_true,
        flux_error=flux_error,
        ratio=1.0 + flux_error / flux_true,
        ratio_err=ratio_err,
    )


def absorbed_flux(
    removed: NDArray,
    source: NDArray,
    *,
    removed_without: NDArray | None = None,
    aperture: NDArray | None = None,
    enclosed: float = 0.8,
) -> AbsorbedFlux:
    """Fraction of a smooth source that a correction removed.

    Parameters
    ----------
    removed : array, shape (ny, nx)
        Pattern subtracted from the exposure that holds the source.
    source : array, shape (ny, nx)
        Noiseless image of the source alone, same units.
    removed_without : array, shape (ny, nx), optional
        Pattern subtracted from the same exposure (same noise) without the source: the difference
        of the two is free of noise.  Without it, give the true pattern.
    aperture : bool array, shape (ny, nx), optional
        True = count this pixel.  Default: the brightest pixels of `source` that together hold
        the fraction `enclosed` of its light (about two half-light radii of an exponential disc).
    enclosed : float
        See `aperture`; 0 to 1.

    Raises
    ------
    ValueError
        If the source has no flux in the aperture.
    """
    if aperture is None:
        aperture = _brightest(source, enclosed)
    flux_true = float(source[aperture].sum(dtype=np.float64))
    if flux_true <= 0:
        raise ValueError(f"absorbed_flux: the source has a flux of {flux_true:g} in the aperture")
    taken = removed if removed_without is None else removed - removed_without
    return AbsorbedFlux(
        n_pixels=int(aperture.sum()),
        flux_true=flux_true,
        fraction=float(taken[aperture].sum(dtype=np.float64)) / flux_true,
    )


def pedestal_change(
    before: NDArray, after: NDArray, *, mask: NDArray | None = None
) -> PedestalChange:
    """Change of the blank-sky level by a correction.

    The noise of the two images is the same and cancels, so this is good to far better than the
    noise of either level.

    Parameters
    ----------
    before, after : array, shape (ny, nx)
        Image before and after the correction, same units.
    mask : bool array, shape (ny, nx), optional
        True = do not use (sources, bad pixels).

    Raises
    ------
    ValueError
        If no pixel is left.
    """
    use = np.isfinite(before) & np.isfinite(after)
    if mask is not None:
        use &= ~mask
    if not use.any():
        raise ValueError("pedestal_change: no unmasked finite pixel is left")
    level = float(np.median(before[use]))
    change = float((after[use].astype(np.float64) - before[use]).mean())
    return PedestalChange(level, change, change / abs(level) if level else float("nan"))


def wisp_scale(true: float, fitted: float, fitted_err: float) -> WispScale:
    """Compare a fitted wisp scale (0 when nothing was subtracted) with the true one."""
    error = fitted - true
    return WispScale(
        true=true,
        fitted=fitted,
        fitted_err=fitted_err,
        error=error,
        relative=error / true if true else float("nan"),
        pull=error / fitted_err if fitted_err > 0 else float("nan"),
    )


def template_residual(
    image: NDArray, truth: ArrayLike, template: NDArray, *, mask: NDArray | None = None
) -> TemplateResidual:
    """Correlation of what is left in an image with a template.

    Parameters
    ----------
    image, truth : array, shape (ny, nx)
        Measured image and what it should be (without wisps); `truth` may be a scalar.
    template : array, shape (ny, nx)
        Wisp template, in the frame of the image (multiplied by the flat for a rate image).
    mask : bool array, shape (ny, nx), optional
        True = do not use (bad pixels, sources, pixels outside the wisp).

    Raises
    ------
    ValueError
        If fewer than three pixels are left or the template is constant on them.
    """
    residual = np.asarray(image) - np.asarray(truth)
    use = np.isfinite(residual) & np.isfinite(template)
    if mask is not None:
        use &= ~mask
    n_pixels = int(use.sum())
    r = residual[use].astype(np.float64)
    t = template[use].astype(np.float64)
    if n_pixels < 3 or np.ptp(t) == 0:
        raise ValueError(
            f"template_residual: {n_pixels} pixels left, on which the template must vary"
        )
    r -= r.mean()
    t -= t.mean()
    rt, tt, rr = float(r @ t), float(t @ t), float(r @ r)
    return TemplateResidual(
        n_pixels=n_pixels,
        correlation=rt / float(np.sqrt(tt * rr)) if rr > 0 else 0.0,
        correlation_err=1.0 / float(np.sqrt(n_pixels - 1)),
        scale=rt / tt,
    )


def snowball_flags(
    flagged: NDArray, contaminated: NDArray, *, excused: NDArray | None = None
) -> SnowballFlags:
    """Recall and extra area of snowball flags.

    Parameters
    ----------
    flagged : bool array, shape (..., ny, nx)
        True = flagged after the correction, by whatever step.
    contaminated : bool array, same shape
        True = snowballs add more than one sigma to this pixel's group difference.
    excused : bool array, same shape, optional
        True = does not count as extra when flagged (flags that were there before the snowball
        step, cosmic rays, dead pixels).
    """
    n_contaminated = int(np.count_nonzero(contaminated))
    n_found = int(np.count_nonzero(flagged & contaminated))
    extra = flagged & ~contaminated
    if excused is not None:
        extra &= ~excused
    n_extra = int(np.count_nonzero(extra))
    return SnowballFlags(
        n_contaminated=n_contaminated,
        recall=n_found / n_contaminated if n_contaminated else float("nan"),
        n_extra=n_extra,
        extra_area=n_extra / n_contaminated if n_contaminated else float("nan"),
    )


def halo_bias(
    image: NDArray,
    truth: ArrayLike,
    err: NDArray,
    halo: NDArray,
    *,
    mask: NDArray | None = None,
    blank: NDArray | None = None,
) -> HaloBias:
    """Bias of the rate in snowball halos, in units of the noise per pixel.

    Parameters
    ----------
    image, truth : array, shape (ny, nx)
        Measured and noiseless rate, same units; `truth` may be a scalar.
    err : array, shape (ny, nx)
        Standard deviation of each pixel, same units.
    halo : bool array, shape (ny, nx)
        True = in a halo annulus.
    mask : bool array, shape (ny, nx), optional
        True = do not use.
    blank : bool array, shape (ny, nx), optional
        True = far from every event; the bias there is subtracted, so that a pedestal or a dark
        error common to all pixels is not counted.  Default: nothing is subtracted.

    Raises
    ------
    ValueError
        If no halo pixel (or no blank one) is left.
    """
    pull = (np.asarray(image) - np.asarray(truth)) / np.where(err > 0, err, np.nan)
    use = np.isfinite(pull)
    if mask is not None:
        use &= ~mask
    inside = pull[use & halo].astype(np.float64)
    if inside.size == 0:
        raise ValueError("halo_bias: no unmasked halo pixel is left")
    bias, variance = float(inside.mean()), 1.0 / inside.size
    if blank is not None:
        outside = pull[use & blank].astype(np.float64)
        if outside.size == 0:
            raise ValueError("halo_bias: no unmasked blank pixel is left")
        bias -= float(outside.mean())
        variance += 1.0 / outside.size
    return HaloBias(n_pixels=inside.size, bias=bias, bias_err=float(np.sqrt(variance)))


def _block_sum(values: NDArray, block: int) -> NDArray:
    """Sum over complete `block` x `block` tiles, in double precision."""
    ny, nx = (n // block for n in values.shape)
    tiles = values[: ny * block, : nx * block].reshape(ny, block, nx, block)
    return tiles.sum(axis=(1, 3), dtype=np.float64)


def _brightest(source: NDArray, enclosed: float) -> NDArray:
    """Return the brightest pixels that hold the fraction `enclosed` of the positive light."""
    light = np.sort(np.clip(source, 0, None), axis=None)[::-1].astype(np.float64)
    total = light.sum()
    if not total > 0:
        return np.zeros(source.shape, dtype=bool)
    last = int(np.searchsorted(np.cumsum(light), enclosed * total))
    return source >= light[min(last, light.size - 1)].astype(source.dtype)
