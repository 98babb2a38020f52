"""Scale of a wisp template as published: the least median absolute deviation on a grid.

Bagley et al. 2023, ApJL 946 L12, section 3.1.2, with every constant of their release.  Kept for
comparison and to reproduce their images; `ceers_steps.kernels.wisps.fit` does without the grid, the
fixed boxes and the zeros that stand for masked pixels.
"""

from __future__ import annotations

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.parts import without_small_parts
from ceers_steps.kernels.wisps.fit import WispFit
from ceers_steps.kernels.wisps.settings import PUBLISHED

__all__ = ["cold_source_mask", "fit_wisp_published", "published_box"]

PUBLISHED_BOXES = {
    "NRCA3": (slice(1100, 2046), slice(300, 1300)),
    "NRCA4": (slice(0, 600), slice(450, 1450)),
    "NRCB3": (slice(0, 800), slice(700, 1450)),
    "NRCB4": (slice(850, 2046), slice(900, 1600)),
}
"""Rows and columns in which the published method scales the wisp of a detector."""


def published_box(
    detector: str, start: tuple[int, int], shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Return the rows and columns in which the published method scales the wisp.

    Parameters
    ----------
    detector : str
        One of the keys of `PUBLISHED_BOXES`.
    start, shape : tuple of int
        First row and column, from 0, and shape ``(ny, nx)`` of the array.

    Returns
    -------
    tuple of slice or None
        None if the box lies outside the array.
    """
    rows, cols = (
        slice(max(side.start - at, 0), max(min(side.stop - at, n), 0))
        for side, at, n in zip(PUBLISHED_BOXES[detector], start, shape, strict=True)
    )
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return None
    return rows, cols


def fit_wisp_published(
    image: NDArray,
    mask: NDArray[np.bool_],
    template: NDArray,
    box: tuple[slice, slice],
) -> WispFit:
    """Find the scale for which the image less the template varies least.

    Parameters
    ----------
    image : ndarray
        ``(ny, nx)`` flattened count rate in DN/s.
    mask : ndarray
        ``(ny, nx)``, True for sources and bad pixels.  They are set to zero, as published.
    template : ndarray
        ``(ny, nx)`` in DN/s; nan counts as zero.
    box : tuple of slice
        Rows and columns that are looked at, see `PUBLISHED_BOXES`.

    Returns
    -------
    WispFit
        Without errors: the method has none.

    Raises
    ------
    ValueError
        If shapes differ or the box holds no pixel.
    """
    if not image.shape == mask.shape == template.shape:
        raise ValueError(f"shapes differ: {image.shape}, {mask.shape}, {template.shape}")
    template = np.where(image == 0, 0, np.nan_to_num(template, nan=0.0)).astype(np.float32)
    sigma = PUBLISHED.template_sigma
    template = ndimage.gaussian_filter(template, sigma, mode="constant", truncate=3.5)[box]
    data = np.where(mask, 0, image).astype(np.float32)[box]
    known = np.isfinite(data)
    data, template = data[known], template[known]
    if data.size == 0:
        raise ValueError(f"no pixel with a finite value in rows {box[0]}, columns {box[1]}")

    coefficients = np.arange(*PUBLISHED.trial_scales)
    spread = np.empty(len(coefficients))
    for i, coefficient in enumerate(coefficients):
        residual = data - np.float32(coefficient) * template
        spread[i] = np.median(np.abs(residual - np.median(residual))) ** 2
    parabola = np.polyval(np.polyfit(coefficients, spread, 2), coefficients)
    scale = coefficients[np.argmin(parabola)]
    return WispFit(
        scales=np.array([scale]),
        scale_errs=np.array([np.nan]),
        significance=np.nan,
        chi2=np.nan,
        n_pixels=int((~mask[box]).sum()),
        trial_scales=coefficients.copy(),
        objective=spread,
        at_bound=bool(scale in (coefficients[0], coefficients[-1])),
    )


def cold_source_mask(image: NDArray, err: NDArray) -> NDArray[np.bool_]:
    """Mask the large, bright sources, so few that the wisp itself is not taken for one.

    Parameters
    ----------
    image : ndarray
        ``(ny, nx)`` flattened count rate in DN/s.
    err : ndarray
        ``(ny, nx)`` standard errors in DN/s; nan where there is no data.

    Returns
    -------
    ndarray
        ``(ny, nx)``, True for sources.
    """
    err = np.where(np.isfinite(err), err, 1e5)
    missing = (err == 1e5) | ~np.isfinite(image)
    if missing.all():
        return np.zeros(image.shape, bool)
    filled = np.ascontiguousarray(np.where(missing, 0, image), np.float32)
    known = filled[~missing]
    middle = np.median(known)
    for _ in range(10):  # a clipped standard deviation for the first, shallow mask
        scatter = known.std()
        known = known[np.abs(known - middle) <= 3 * scatter]
        middle = np.median(known)
    bright = without_small_parts(_blur(filled) > middle + 5 * known.std(), 5)
    bright = ndimage.maximum_filter(bright, size=11)

    side = PUBLISHED.background_box
    background = sep.Background(filled, mask=bright | missing, bw=side, bh=side, fw=3, fh=3).back()
    above = (filled > background + PUBLISHED.detection_sigma * err) & ~missing
    sources = without_small_parts(above, PUBLISHED.smallest_source)
    return ndimage.maximum_filter(sources, size=PUBLISHED.growth)


def _blur(image: NDArray) -> NDArray:
    """Smooth with a Gaussian of 1 pixel FWHM on 3 x 3 pixels."""
    return ndimage.gaussian_filter(image, 1 / 2.3548, mode="constant", truncate=2.4)
