"""What is left of the background of a mosaic whose truth is known.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.validate.mosaic_metrics import correlation_area, within
from ceers_steps.validate.mosaic_records import BackgroundResidual

__all__ = ["background_residual", "faint_source_pixels"]


def faint_source_pixels(
    truth: NDArray, threshold: float, x: NDArray, y: NDArray, bright: NDArray
) -> NDArray:
    """Return the pixels of sources that do not touch a bright one.

    Parameters
    ----------
    truth : array, shape (ny, nx)
        True mosaic.
    threshold : float
        Least brightness of a source pixel, units of the mosaic.
    x, y : array, shape (n,)
        Positions of all sources, pixels from 0.
    bright : bool array, shape (n,)
        True = the pixels around this source are left out.

    Returns
    -------
    bool array, shape (ny, nx)
        True = pixel of a faint source.
    """
    with np.errstate(invalid="ignore"):
        labels, n_labels = ndimage.label(truth > threshold)
    keep = np.ones(n_labels + 1, dtype=bool)
    keep[0] = False
    column, row = (np.rint(np.asarray(values)[bright]).astype(int) for values in (x, y))
    inside = within(column, row, 0, truth.shape)
    keep[labels[row[inside], column[inside]]] = False
    return keep[labels]


def background_residual(
    residual: NDArray, noise: NDArray, where: NDArray, *, sky_noise: float
) -> BackgroundResidual:
    """Return the mean of what is left of the background.

    Parameters
    ----------
    residual : array, shape (ny, nx)
        Mosaic less its truth.
    noise : array, shape (ny, nx)
        Drizzled noise of the claimed variance, for the standard error.
    where : bool array, shape (ny, nx)
        True = pixel to use.
    sky_noise : float
        Noise per pixel in blank sky, units of the mosaic.

    Returns
    -------
    BackgroundResidual
        Mean and its error.

    Raises
    ------
    ValueError
        If no pixel is left.
    """
    use = where & np.isfinite(residual) & np.isfinite(noise)
    n_pixels = int(use.sum())
    if n_pixels == 0:
        raise ValueError("background_residual: no pixel is left; is `where` True in any?")
    area = correlation_area(noise)
    return BackgroundResidual(
        n_pixels=n_pixels,
        mean=float(residual[use].mean(dtype=np.float64) / sky_noise),
        err=float(np.sqrt(area / n_pixels)),
    )
