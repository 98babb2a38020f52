"""Sky pedestal and variances of one exposure: the whole correction, from arrays to arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import DO_NOT_USE, REFERENCE_PIXEL, SATURATED
from ceers_steps.kernels.sky.evidence import SkyEvidence, judge_sky
from ceers_steps.kernels.sky.noise_scale import (
    WIDE_TIERS,
    NoiseScale,
    published_noise_scale,
    sky_noise_scale,
)
from ceers_steps.kernels.sky.pedestal import Pedestal, find_pedestal, pedestal_image
from ceers_steps.kernels.sky.settings import EVIDENCE, NOISE
from ceers_steps.kernels.sky.variance import (
    Variances,
    fill_variances,
    level_saturated,
    split_sky_photons,
)
from ceers_steps.kernels.sources.tiers import mask_sources

__all__ = ["SkyCorrection", "SkySettings", "correct_sky", "judge_level"]


@dataclass(frozen=True)
class SkySettings:
    """How sky and variances are measured.

    Attributes
    ----------
    sky_method : {'mode', 'gaussian', 'none'}
        Mode of block means; peak of a Gaussian fitted to the histogram, as published; nothing.
    n_strips : int
        Strips of columns (outputs) with a level of their own each.
    scale_variance, fill_holes, level_saturated : bool
        What is done to the variances.
    variance_method : {'sky', 'published'}
        What the read noise variance becomes.
    blocks : tuple of int
        Sides of the blocks on which the noise is measured, pixels; the smallest sets the factor.
    sky_in_rnoise : bool
        An earlier run has put the photon noise of the sky into the read noise variance.
    """

    sky_method: str = "mode"
    n_strips: int = 1
    scale_variance: bool = True
    fill_holes: bool = True
    level_saturated: bool = True
    variance_method: str = "sky"
    blocks: tuple[int, ...] = NOISE.blocks
    sky_in_rnoise: bool = False


@dataclass(frozen=True)
class SkyCorrection:
    """A corrected exposure.

    Attributes
    ----------
    data, err, var_rnoise, var_poisson, var_flat : ndarray, shape (ny, nx)
        In the unit of the image, or its square.
    unusable : ndarray of bool, shape (ny, nx)
        True = do not use any more: no valid variance.
    bits : ndarray of uint8, shape (ny, nx)
        Source mask that was used.
    pedestal : Pedestal or None
        What was subtracted, None for ``sky_method='none'`` and where no sky is seen.
    evidence : SkyEvidence or None
        Whether it was the sky; None for ``sky_method='none'``.
    scale : NoiseScale or None
        Factor of the variance, None if it was not scaled.
    not_scaled : str
        Why the variances could not be scaled; empty if they were, or were not to be.
    metrics : dict
        Metrics of the variances.
    """

    data: NDArray
    err: NDArray
    var_rnoise: NDArray
    var_poisson: NDArray
    var_flat: NDArray
    unusable: NDArray[np.bool_]
    bits: NDArray[np.uint8]
    pedestal: Pedestal | None
    scale: NoiseScale | None
    not_scaled: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    evidence: SkyEvidence | None = None

    @property
    def uneven(self) -> tuple[str, ...]:
        """Block sizes whose errors are too small, with their scatter over its prediction."""
        if self.scale is None:
            return ()
        every = zip(self.scale.blocks, self.scale.after, self.scale.errors, strict=True)
        return tuple(
            f"{ratio:.3f} in blocks of {side}"
            for side, ratio, error in every
            if ratio - 1.0 > NOISE.uneven + 2.0 * error
        )


@dataclass(frozen=True)
class _Scaling:
    """Variance planes of which the scatter of the sky follows, and how they were found."""

    planes: tuple[NDArray, NDArray, NDArray]
    scale: NoiseScale | None
    sky_in_rnoise: bool
    not_scaled: str = ""


def correct_sky(
    data: NDArray,
    err: NDArray,
    dq: NDArray,
    var_rnoise: NDArray,
    var_poisson: NDArray,
    var_flat: NDArray,
    *,
    source_bits: NDArray[np.uint8] | None = None,
    settings: SkySettings | None = None,
) -> SkyCorrection:
    """Subtract the sky pedestal and make the variances right.

    Bagley et al. 2023, section 3.2.

    Parameters
    ----------
    data, err : ndarray, shape (ny, nx)
        Image and its errors; not changed.
    dq : ndarray of uint32, shape (ny, nx)
        Data quality; not changed.
    var_rnoise, var_poisson, var_flat : ndarray, shape (ny, nx)
        Variances in the squared unit of the image; not changed.
    source_bits : ndarray of uint8, shape (ny, nx), optional
        Source mask, 0 = sky; None searches for sources.
    settings : SkySettings, optional
        Default: the best.

    Returns
    -------
    SkyCorrection
        Corrected planes, and what was measured.

    Raises
    ------
    ValueError
        When no pixel shows the sky, or none has a read noise.
    """
    settings = settings or SkySettings()
    sees_sky = np.isfinite(data) & (dq & np.uint32(DO_NOT_USE | REFERENCE_PIXEL) == 0)
    bits = mask_sources(data, ~sees_sky) if source_bits is None else source_bits
    mask = ~sees_sky | (bits > 0)
    pedestal, evidence = None, None
    if settings.sky_method != "none":
        searched = mask | (dq != 0) if settings.sky_method == "gaussian" else mask  # as published
        pedestal = find_pedestal(
            data, searched, method=settings.sky_method, n_strips=settings.n_strips
        )
        less = data - pedestal_image(pedestal, data.shape)
        evidence = _judge(less, ~searched & np.isfinite(data), sees_sky, pedestal.level, err, bits)
        if evidence.reason:
            pedestal = None
        else:
            data = less
    metrics: dict[str, Any] = {}
    if settings.level_saturated:
        levelled = level_saturated(data, var_rnoise, var_poisson, (dq & SATURATED) > 0, mask)
        changed = levelled < var_rnoise
        metrics["saturated_levelled"] = int(np.count_nonzero(changed))
        var_rnoise = levelled
        err = np.where(changed, np.sqrt(var_rnoise + var_poisson + var_flat), err)
    planes = var_rnoise, var_poisson, var_flat
    unusable = np.zeros(data.shape, bool)
    scale, not_scaled = None, ""
    if settings.fill_holes or settings.scale_variance:
        filled = fill_variances(
            *planes,
            ~np.isfinite(data) | ((dq & DO_NOT_USE) > 0),
            bits > 0,
            poisson_may_be_zero=settings.sky_in_rnoise,
        )
        if filled.unusable.all():
            raise ValueError("no pixel has a read noise above 0 and an error of the flat field")
        lit = evidence is not None and evidence.is_lit
        scaling = _scale(data, bits, filled, settings, lit=lit)
        scale, not_scaled = scaling.scale, scaling.not_scaled
        if scaling.sky_in_rnoise:
            metrics["sky_photons"] = "VAR_RNOISE"
        metrics |= _scale_metrics(scale)
        if settings.fill_holes:
            unusable = filled.unusable
            n_dropped = np.count_nonzero(unusable & ((dq & DO_NOT_USE) == 0))
            data = np.where(unusable, data.dtype.type(np.nan), data)
            metrics |= {"variances_filled": filled.n_filled, "pixels_dropped": int(n_dropped)}
            planes = scaling.planes
        else:
            planes = _with_holes(planes, scaling.planes)
        err = np.sqrt(sum(planes))
    return SkyCorrection(
        data, err, *planes, unusable, bits, pedestal, scale, not_scaled, metrics, evidence
    )


def judge_level(data: NDArray, err: NDArray | None, dq: NDArray, level: float) -> SkyEvidence:
    """Say whether a level, whoever found it, is that of the sky of an exposure.

    Parameters
    ----------
    data, err : ndarray, shape (ny, nx)
        The exposure and its error if it is known, the level not subtracted.
    dq : ndarray of uint32, shape (ny, nx)
        Data quality.
    level : float
        In the unit of the image.

    Returns
    -------
    SkyEvidence

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    sees_sky = np.isfinite(data) & (dq & np.uint32(DO_NOT_USE | REFERENCE_PIXEL) == 0)
    bits = mask_sources(data, ~sees_sky)
    return _judge(data - np.float32(level), sees_sky & (bits == 0), sees_sky, level, err, bits)


def _judge(
    residual: NDArray,
    usable: NDArray[np.bool_],
    sees_sky: NDArray[np.bool_],
    level: float,
    err: NDArray | None,
    bits: NDArray[np.uint8],
) -> SkyEvidence:
    """Say whether what is left after a level was subtracted is empty sky."""
    errors = np.empty(0) if err is None else err[usable]
    return judge_sky(
        residual,
        usable,
        level,
        expected_noise=float(np.nanmedian(errors)) if np.isfinite(errors).any() else 0.0,
        source_fraction=float(np.mean(bits[sees_sky] > 0)),
    )


def _scale(
    data: NDArray, bits: NDArray[np.uint8], filled: Variances, settings: SkySettings, *, lit: bool
) -> _Scaling:
    """Return the variance planes of which the scatter of the sky follows.

    In an image that is lit all over, structure of that light would pass for noise: only the photon
    noise goes where it is in other exposures, so that all have weights of one kind.
    """
    rnoise, poisson, flat = filled.rnoise, filled.poisson, filled.flat
    unscaled = rnoise, poisson, flat
    in_rnoise = settings.sky_in_rnoise
    if not settings.scale_variance:
        return _Scaling(unscaled, None, in_rnoise)
    try:
        if settings.variance_method == "published":
            if lit:
                return _Scaling(unscaled, None, in_rnoise, "no sky is seen")
            scale = published_noise_scale(data, rnoise, filled.unusable)
        else:
            # wide tiers would take the noise of large blocks with them
            mask = filled.unusable | ((bits & ~np.uint8(WIDE_TIERS)) > 0)
            if not in_rnoise:
                masked = filled.unusable | (bits > 0)
                crowded = np.count_nonzero(~masked) < EVIDENCE.least_pixels
                sky, rest = split_sky_photons(poisson, mask if crowded else masked)
                if lit:
                    sky = np.minimum(sky, poisson)
                    rest = poisson - sky
                rnoise, poisson, in_rnoise = rnoise + sky, rest, True
            if lit:
                return _Scaling((rnoise, poisson, flat), None, in_rnoise, "no sky is seen")
            scale = sky_noise_scale(data, rnoise, poisson + flat, mask, blocks=settings.blocks)
    except ValueError as err:
        return _Scaling(unscaled, None, settings.sky_in_rnoise, str(err))
    return _Scaling((rnoise * np.float32(scale.factor), poisson, flat), scale, in_rnoise)


def _scale_metrics(scale: NoiseScale | None) -> dict[str, Any]:
    """Return the metrics of a factor."""
    if scale is None:
        return {}
    lists = {f"scatter_{key}": list(getattr(scale, key)) for key in ("blocks", "before", "after")}
    return {
        "variance_factor": scale.factor,
        "variance_factor_err": scale.uncertainty,
        **lists,
        "scatter_errors": list(scale.errors),
    }


def _with_holes(
    before: tuple[NDArray, NDArray, NDArray], after: tuple[NDArray, NDArray, NDArray]
) -> tuple[NDArray, NDArray, NDArray]:
    """Return planes with the invalid values that they had before."""
    first, second, third = (
        np.where(~np.isfinite(old) | (old <= 0.0), old, new)
        for old, new in zip(before, after, strict=True)
    )
    return first, second, third
