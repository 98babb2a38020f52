"""Stripes of one exposure: sources masked once, each integration destriped by either method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import DO_NOT_USE, REFERENCE_PIXEL
from ceers_steps.kernels.sources.tiers import RATE_TIERS, mask_sources
from ceers_steps.kernels.stripes.frame import (
    RowNoise,
    Stripes,
    add_levels,
    add_tilted,
    find_by_median,
    find_by_wiener,
    row_noise,
    with_zero_mean,
)
from ceers_steps.kernels.stripes.median import flatten, rough_stripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.settings import TILTED
from ceers_steps.kernels.stripes.tilted import rough_tilted_stripes, strong_columns

__all__ = ["Destriping", "StripeSettings", "destripe_inplace"]

WIDEST_TIER = 0b10
"""Bit of the source mask that 'wiener' does without: wide faint light is in its model, and where
such light is masked nothing tells it from stripes."""


@dataclass(frozen=True)
class StripeSettings:
    """How stripes are found.

    Attributes
    ----------
    method : {'wiener', 'median'}
        Most probable read-out time series beside smooth light, or clipped medians as published.
    mask_threshold : float or None
        median: masked fraction of an output's row above which the whole row is used; None takes
        what has the smaller predicted error.
    published_pedestal : bool
        median: measure stripes from the peak of a Gaussian fitted to the histogram.
    tilted_angles : tuple of float
        Directions of further stripes, degrees from +x towards +y.
    search_destriped : bool
        Search for sources after a rough removal of stripes.
    keep_patterns, keep_first : bool
        Keep what is subtracted from each integration; the first image as it was.
    """

    method: str = "wiener"
    mask_threshold: float | None = None
    published_pedestal: bool = False
    tilted_angles: tuple[float, ...] = ()
    search_destriped: bool = True
    keep_patterns: bool = False
    keep_first: bool = False


@dataclass(frozen=True)
class Destriping:
    """What was found in an exposure.

    Attributes
    ----------
    bits : ndarray of uint8, shape (ny, nx)
        Source mask: bit 0 bad pixel, bit k source of tier k.
    metrics : dict of str to float
        Means over the integrations.
    patterns : tuple of Stripes
        What was subtracted from each integration, if it was to be kept, without `rest` and `light`.
    first : tuple of ndarray, shape (ny, nx), or None
        The first integration before, and what was subtracted from it, if to be kept.
    hidden : bool
        Light hides the stripes of an integration.
    masked_variances : tuple of ndarray, shape (ny, nx), or None
        By how much more masked pixels of each integration scatter than sky, for what is left of its
        stripes, (DN/s)**2; None where the method does not tell.
    """

    bits: NDArray[np.uint8]
    metrics: dict[str, float]
    patterns: tuple[Stripes, ...]
    first: tuple[NDArray, NDArray] | None
    hidden: bool
    masked_variances: tuple[NDArray[np.float32] | None, ...]


@dataclass(frozen=True)
class _Plane:
    """One integration: views of the arrays, and what follows from them."""

    image: NDArray
    dq: NDArray
    sees_sky: NDArray[np.bool_]
    white_sigma: NDArray


def destripe_inplace(
    images: NDArray,
    dq: NDArray,
    var_rnoise: NDArray,
    var_poisson: NDArray,
    layout: ReadoutLayout,
    *,
    flat: NDArray | None = None,
    source_bits: NDArray[np.uint8] | None = None,
    settings: StripeSettings | None = None,
) -> Destriping:
    """Find the stripes of each integration and subtract them.

    Parameters
    ----------
    images : ndarray, shape (n, ny, nx)
        Count rates, not flattened, DN/s; changed.
    dq : ndarray of uint32, shape (n, ny, nx)
        Data quality; pixels without a value get bit 0 (do not use).
    var_rnoise, var_poisson : ndarray, shape (n, ny, nx)
        Variances of read noise and photons, (DN/s)**2.
    layout : ReadoutLayout
        Read-out order.
    flat : ndarray, shape (ny, nx), optional
        Flat field, NaN where unusable.
    source_bits : ndarray of uint8, shape (ny, nx), optional
        Source mask, not 0 = do not use, in place of the search for sources.
    settings : StripeSettings, optional
        Default: the best.

    Returns
    -------
    Destriping
        Mask, metrics and what was to be kept.

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    settings = settings or StripeSettings()
    planes = _planes(images, dq, var_rnoise, var_poisson)
    if not any(plane.sees_sky.any() for plane in planes):
        raise ValueError("no pixel is usable: all are NaN, flagged or without a read noise")
    rough = _rough_tilted(planes, flat, source_bits, layout.n_outputs, settings.tilted_angles)
    if settings.method == "wiener" and not settings.tilted_angles:
        rough = _strong_columns(planes, flat, source_bits, layout.n_outputs)
    bits = source_bits
    if bits is None:
        bits = _search_sources(planes, rough, flat, layout.n_outputs, settings.search_destriped)
    patterns, metrics, first, hidden = [], [], None, False
    variances: list[NDArray[np.float32] | None] = []
    for plane, tilted in zip(planes, rough, strict=True):
        if not plane.sees_sky.any():
            # an integration that is lost, among others
            plane.dq[...] |= DO_NOT_USE
            variances.append(None)
            if settings.keep_patterns:
                patterns.append(_no_stripes(plane.image.shape, settings))
            continue
        sky = plane.sees_sky & (bits == 0)
        if not sky.any():
            sky = plane.sees_sky
        stripes = _find(plane, tilted, bits, source_bits is not None, flat, layout, settings)
        if stripes.hidden and not settings.tilted_angles:
            stripes = add_levels(stripes, plane.image, ~sky, layout.n_outputs, flat)
        if settings.method == "wiener" or not settings.published_pedestal:
            stripes = with_zero_mean(stripes, sky)
        if settings.keep_first and first is None:
            first = plane.image.copy(), stripes.total
        hidden |= stripes.hidden
        variances.append(stripes.masked_variance() if stripes.masked_variance else None)
        total = stripes.total
        rows = sky, plane.white_sigma, layout.n_outputs
        before = row_noise(plane.image, *rows)
        _subtract_inplace(plane, total, zeros_stay=settings.method == "median")
        after = row_noise(plane.image, *rows)
        metrics.append(_metrics(stripes, total, sky) | _of_rows(before, after))
        if settings.keep_patterns:
            kept = replace(stripes, rest=stripes.rest[:0], light=None, masked_variance=None)
            patterns.append(kept)
    means = {key: float(np.mean([each[key] for each in metrics])) for key in metrics[0]}
    return Destriping(bits, means, tuple(patterns), first, hidden, tuple(variances))


def _planes(
    images: NDArray, dq: NDArray, var_rnoise: NDArray, var_poisson: NDArray
) -> list[_Plane]:
    """Return the integrations with their noise."""
    planes = []
    for image, flags, read, poisson in zip(images, dq, var_rnoise, var_poisson, strict=True):
        sees_sky = np.isfinite(image) & (flags & np.uint32(DO_NOT_USE | REFERENCE_PIXEL) == 0)
        sees_sky &= np.isfinite(read)
        # the photon noise of single pixels follows their values: it must not weight them
        photon = poisson[sees_sky]
        photon = photon[np.isfinite(photon)]
        typical = np.median(photon) if photon.size else 0.0
        planes.append(_Plane(image, flags, sees_sky, np.sqrt(read + typical)))
    return planes


def _rough_tilted(
    planes: Sequence[_Plane],
    flat: NDArray | None,
    source_bits: NDArray[np.uint8] | None,
    n_outputs: int,
    angles: tuple[float, ...],
) -> list[NDArray[np.float32] | None]:
    """Return a first estimate of the tilted stripes of each integration, None without angles.

    Where they are strong they are taken for sources, and rows cannot be fitted.
    """
    if not angles:
        return [None] * len(planes)
    rough: list[NDArray[np.float32] | None] = []
    for plane in planes:
        if not plane.sees_sky.any():
            rough.append(None)
            continue
        image = plane.image if flat is None else flatten(plane.image, flat)
        mask = ~plane.sees_sky if source_bits is None else ~plane.sees_sky | (source_bits > 0)
        rough.append(rough_tilted_stripes(image, mask, n_outputs, angles))
    return rough


def _strong_columns(
    planes: Sequence[_Plane],
    flat: NDArray | None,
    source_bits: NDArray[np.uint8] | None,
    n_outputs: int,
) -> list[NDArray[np.float32] | None]:
    """Return the stripes along columns of each integration, None where they are not strong."""
    found: list[NDArray[np.float32] | None] = []
    for plane in planes:
        image = plane.image if flat is None else flatten(plane.image, flat)
        mask = ~plane.sees_sky if source_bits is None else ~plane.sees_sky | (source_bits > 0)
        found.append(None if mask.all() else strong_columns(image, mask, n_outputs))
    if source_bits is None and any(columns is not None for columns in found):
        # a galaxy over half of the image looks like columns where no mask holds it
        bits = _search_sources(planes, [None] * len(planes), flat, n_outputs, True)
        return _strong_columns(planes, flat, bits, n_outputs)
    return found


def _no_stripes(shape: tuple[int, ...], settings: StripeSettings) -> Stripes:
    """Return patterns of which nothing is subtracted."""
    nothing = np.zeros(shape, np.float32)
    tilted = nothing if settings.tilted_angles else None
    return Stripes(nothing, nothing[0], tilted, nothing[:0], None, 0.0, {})


def _search_sources(
    planes: Sequence[_Plane],
    rough: Sequence[NDArray[np.float32] | None],
    flat: NDArray | None,
    n_outputs: int,
    search_destriped: bool,
) -> NDArray[np.uint8]:
    """Return the mask of the mean of all integrations: bit 0 bad, higher bits sources."""
    shape = planes[0].image.shape
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    for plane, tilted in zip(planes, rough, strict=True):
        image = plane.image if tilted is None else plane.image - tilted
        np.add(total, image, out=total, where=plane.sees_sky)
        count += plane.sees_sky
    mean: NDArray = total / np.maximum(count, 1)
    if flat is not None:
        mean = flatten(mean, flat)
    if search_destriped:
        mean -= rough_stripes(mean, count == 0, n_outputs)
    return mask_sources(mean, count == 0, RATE_TIERS)


def _find(
    plane: _Plane,
    rough: NDArray[np.float32] | None,
    bits: NDArray[np.uint8],
    given: bool,
    flat: NDArray | None,
    layout: ReadoutLayout,
    settings: StripeSettings,
) -> Stripes:
    """Find the stripes of one integration, tilted ones after rows and columns."""
    sources = None
    if settings.method == "median":
        mask = (bits > 0) | (plane.dq != 0)
    else:
        # a mask that was given is taken as it is
        used_bits = bits if given else bits & ~np.uint8(WIDEST_TIER)
        mask = (used_bits > 0) | ~plane.sees_sky
        if not given:
            sources = (used_bits > 0) & plane.sees_sky
    if rough is None:
        return _find_rows_and_columns(plane, plane.image, mask, sources, flat, layout, settings)
    if not settings.tilted_angles:
        image = plane.image if flat is None else flatten(plane.image, flat)
        columns = strong_columns(image, mask | (bits > 0), layout.n_outputs)
        columns = rough if columns is None else columns
        image = plane.image - columns
        stripes = _find_rows_and_columns(plane, image, mask, sources, flat, layout, settings)
        if stripes.hidden:
            return stripes  # what looks like columns is light, too
        return replace(stripes, vertical=stripes.vertical + columns)
    # wide faint light is no stripe: here the widest tier counts, too
    covered = mask | (bits > 0)
    if covered.all():
        covered = mask
    for _ in range(TILTED.passes):
        image = plane.image - rough
        stripes = _find_rows_and_columns(plane, image, mask, sources, flat, layout, settings)
        stripes = add_tilted(stripes, covered, settings.tilted_angles, rough)
        rough = stripes.tilted
    return stripes


def _find_rows_and_columns(
    plane: _Plane,
    image: NDArray,
    mask: NDArray[np.bool_],
    sources: NDArray[np.bool_] | None,
    flat: NDArray | None,
    layout: ReadoutLayout,
    settings: StripeSettings,
) -> Stripes:
    """Find the stripes that the read-out makes."""
    if settings.method == "median":
        return find_by_median(
            image,
            mask,
            layout.n_outputs,
            flat=flat,
            mask_threshold=settings.mask_threshold,
            published_pedestal=settings.published_pedestal,
        )
    return find_by_wiener(image, mask, plane.white_sigma, layout, flat=flat, sources=sources)


def _subtract_inplace(plane: _Plane, total: NDArray, zeros_stay: bool) -> None:
    """Subtract the stripes; pixels without a value stay without."""
    zero = plane.image == 0
    plane.image[...] -= total
    plane.image[zero] = 0
    bad = ~np.isfinite(plane.image)
    plane.dq[bad] |= DO_NOT_USE
    if zeros_stay:
        # as published; with 'wiener' they are NaN, as jwst 3 has them
        plane.image[bad] = 0


def _metrics(stripes: Stripes, total: NDArray, sky: NDArray[np.bool_]) -> dict[str, float]:
    """Return the metrics of one integration, from the pixels of the sky."""
    values = total[sky]
    return {
        "sky": stripes.sky,
        "sky_change": -np.mean(values, dtype=float),
        "stripe_rms": np.std(values, dtype=float),
        **stripes.metrics,
    }


def _of_rows(before: RowNoise, after: RowNoise) -> dict[str, float]:
    """Return the metrics of the scatter of output rows, before and after."""
    ratio = after.rms / after.expected if after.expected > 0 else np.nan
    return {
        "row_rms_before": before.rms,
        "row_rms_after": after.rms,
        "row_rms_ratio": ratio,
        "masked_rows": after.masked,
    }
