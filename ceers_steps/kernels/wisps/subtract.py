"""Wisps of one exposure, measured and subtracted: either method, the same answer from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import DO_NOT_USE
from ceers_steps.kernels.wisps.fit import WispFit, fit_wisp
from ceers_steps.kernels.wisps.published import (
    cold_source_mask,
    fit_wisp_published,
    published_box,
)
from ceers_steps.kernels.wisps.template import WispTemplate, prepare_template

__all__ = ["WispSettings", "WispSubtraction", "subtract_wisps_inplace"]


@dataclass(frozen=True)
class WispSettings:
    """How wisps are measured.

    Attributes
    ----------
    method : {'lsq', 'ceers'}
        Robust least squares, or as published.
    scale : float or None
        Scale of the template, given; None measures it.
    min_significance : float
        A wisp is subtracted only if it is this many times its error (lsq).
    flatten_template : bool
        Whether the flat is still to be divided out of the template (lsq).
    keep : bool
        Keep what is subtracted.
    """

    method: str = "lsq"
    scale: float | None = None
    min_significance: float = 5.0
    flatten_template: bool = False
    keep: bool = False


@dataclass(frozen=True)
class WispSubtraction:
    """What was found and subtracted in the integrations of an exposure.

    Attributes
    ----------
    fits : tuple of WispFit
        One per integration; empty where the wisp does not reach the array.
    subtracted : tuple of bool
        Whether the wisp was subtracted.
    wisps : ndarray, shape (n, ny, nx), or None
        What was subtracted, DN/s, if it was to be kept.
    """

    fits: tuple[WispFit, ...]
    subtracted: tuple[bool, ...]
    wisps: NDArray[np.float32] | None

    @property
    def reason(self) -> str:
        """Why nothing was subtracted; empty if something was."""
        if any(self.subtracted):
            return ""
        if not self.fits:
            return "the wisp does not reach"
        found = any(fit.n_pixels for fit in self.fits)
        return "no significant wisp" if found else "no usable pixel on the wisp"

    @property
    def metrics(self) -> dict[str, float | list]:
        """Metrics: numbers for one template and image, else lists."""
        both = list(zip(self.fits, self.subtracted, strict=True))
        columns = {
            "scale": [fit.scales * subtracted for fit, subtracted in both],
            "measured_scale": [fit.scales for fit in self.fits],
            "scale_err": [fit.scale_errs for fit in self.fits],
            "significance": [fit.significance for fit in self.fits],
            "chi2": [fit.chi2 for fit in self.fits],
            "n_pixels": [fit.n_pixels for fit in self.fits],
            "n_components": [int(np.count_nonzero(fit.scales)) for fit in self.fits],
        }
        metrics = {key: np.squeeze(np.array(values)).tolist() for key, values in columns.items()}
        if any(fit.at_bound is not None for fit in self.fits):
            metrics["at_bound"] = self.at_bound
        return metrics

    @property
    def at_bound(self) -> bool:
        """Whether a scale is at the end of its range, so that it is no minimum."""
        return any(bool(fit.at_bound) for fit in self.fits)


def subtract_wisps_inplace(
    images: NDArray,
    errors: NDArray,
    dq: NDArray,
    templates: NDArray[np.float32],
    *,
    detector: str,
    start: tuple[int, int],
    n_outputs: int,
    flat: NDArray | None = None,
    template_errors: Sequence[NDArray | None] | None = None,
    variances: NDArray | None = None,
    settings: WispSettings | None = None,
) -> WispSubtraction:
    """Measure the wisp in each integration and subtract it where it is significant.

    With least squares, the variance of what is subtracted is added to the errors: that of the
    scales, and the noise of the templates. The published method has no errors and changes none.

    Parameters
    ----------
    images : ndarray, shape (n, ny, nx)
        Count rates, not flattened, DN/s; the wisps are subtracted from them.
    errors : ndarray, shape (n, ny, nx)
        Standard errors, DN/s; that of the wisp is added in quadrature.
    dq : ndarray of int, shape (n, ny, nx)
        Data quality; bit 0 = do not use.
    templates : ndarray, shape (k, ny, nx) of the whole detector, or of the array
        Components of the wisp, DN/s.
    detector : str
        As in the header, for the published boxes.
    start : tuple of int
        First row and column of the array in the templates, from 0.
    n_outputs : int
        Outputs through which the array was read.
    flat : ndarray, shape (ny, nx), optional
        Flat field, not positive or NaN where it is unusable.
    template_errors : sequence of ndarray or None, optional
        Standard error of each template, in its shape; see `prepare_template`.
    variances : ndarray, shape (n, ny, nx), optional
        A part of the variance, (DN/s)^2, to which that of the wisp is added as well.
    settings : WispSettings, optional
        Default: the best.

    Returns
    -------
    WispSubtraction
        Fits, and what was subtracted.

    Raises
    ------
    ValueError
        When shapes differ, a template has no wisp, or no pixel of any integration is usable.
    """
    settings = settings or WispSettings()
    shape = images.shape[1:]
    if settings.scale is None and not (np.isfinite(images) & (dq & DO_NOT_USE == 0)).any():
        raise ValueError("every pixel is NaN or DO_NOT_USE, so that no wisp can be fitted")
    template: WispTemplate | NDArray | None
    box = None
    if settings.method == "ceers":
        box = published_box(detector, start, shape)
        rows, columns = (slice(at, at + n) for at, n in zip(start, shape, strict=True))
        template = templates[0][rows, columns] if box is not None else None
        if template is not None and not _holds_a_wisp(template):
            raise ValueError("the template is infinite, or the same everywhere: it holds no wisp")
    else:
        template = prepare_template(templates, template_errors).cut(*start, shape)
    wisps = np.zeros_like(images) if settings.keep else None
    if template is None:
        return WispSubtraction((), (), wisps)
    fits, subtracted = [], []
    for number, (image, err, flags) in enumerate(zip(images, errors, dq, strict=True)):
        if isinstance(template, WispTemplate):
            fit, wisp = _by_least_squares(image, err, flags, template, n_outputs, flat, settings)
            if wisp is not None:
                extra = _variance(fit, template, flat, settings)
                part = err[template.box]
                part[...] = np.hypot(part, np.sqrt(extra))
                if variances is not None:
                    variances[number][template.box] += extra
        elif not (np.isfinite(image) & (flags & DO_NOT_USE == 0)).any():
            fit, wisp = WispFit.by_hand(0.0), None  # an integration that is lost, among others
        else:
            fit, wisp = _as_published(image, err, flags, template, box, flat, settings)
        fits.append(fit)
        subtracted.append(wisp is not None)
        if wisp is not None:
            image -= wisp
            if wisps is not None:
                wisps[number] = wisp
    return WispSubtraction(tuple(fits), tuple(subtracted), wisps)


def _holds_a_wisp(template: NDArray) -> bool:
    """Say whether the values of a template, where it has some, are finite and differ."""
    values = template[~np.isnan(template)]
    return bool(values.size and np.isfinite(values).all() and values.min() < values.max())


def _by_least_squares(
    image: NDArray,
    err: NDArray,
    dq: NDArray,
    template: WispTemplate,
    n_outputs: int,
    flat: NDArray | None,
    settings: WispSettings,
) -> tuple[WispFit, NDArray[np.float32] | None]:
    """Return the fit and the wisp to subtract, None if there is none."""
    if settings.scale is None:
        fit = fit_wisp(
            image,
            err,
            (dq & DO_NOT_USE) != 0,
            template,
            n_outputs=n_outputs,
            flat=flat,
            flatten_template=settings.flatten_template,
        )
        if not fit.scales.any() or fit.significance < settings.min_significance:
            return fit, None
    else:
        fit = WispFit.by_hand(settings.scale)
    wisp = np.zeros(image.shape, np.float32)
    wisp[template.box] = template.model(fit.scales)
    if flat is not None and not settings.flatten_template:
        part = flat[template.box]
        wisp[template.box] *= np.where(np.isfinite(part), part, 1)
    return fit, wisp


def _variance(
    fit: WispFit, template: WispTemplate, flat: NDArray | None, settings: WispSettings
) -> NDArray[np.float32]:
    """Return the variance of the wisp that is subtracted, in the box of the template."""
    extra = template.variance(fit.scales, fit.covariance)
    if flat is not None and not settings.flatten_template:
        part = flat[template.box]
        extra *= np.where(np.isfinite(part), part, 1) ** 2
    return extra


def _as_published(
    image: NDArray,
    err: NDArray,
    dq: NDArray,
    template: NDArray,
    box: tuple[slice, slice] | None,
    flat: NDArray | None,
    settings: WispSettings,
) -> tuple[WispFit, NDArray[np.float32]]:
    """Return the fit and the wisp to subtract, as published."""
    if settings.scale is None and box is not None:
        unusable = dq > 0
        if flat is not None:
            unusable |= ~np.isfinite(flat)
            gain = np.where(np.isfinite(flat), flat, 1)
            image, err = image / gain, err / gain
        mask = unusable | cold_source_mask(image, err)
        fit = fit_wisp_published(image, mask, template, box)
    else:
        fit = WispFit.by_hand(settings.scale or 0.0)
    wisp = np.float32(fit.scales[0]) * np.nan_to_num(template, nan=0.0)
    wisp[image == 0] = 0
    return fit, wisp
