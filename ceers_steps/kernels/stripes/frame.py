"""One rate image without its 1/f stripes, by either method, and how strong stripes are in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ceers_steps.kernels.sky.level import gaussian_peak, sky_level
from ceers_steps.kernels.stats import MAD_TO_SIGMA, subsample
from ceers_steps.kernels.stripes.median import (
    column_stripes,
    flatten,
    levels_beside_light,
    median_stripes,
)
from ceers_steps.kernels.stripes.posterior import fit_stripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.settings import MEDIAN, ROW_NOISE
from ceers_steps.kernels.stripes.tilted import stripes_along

__all__ = [
    "RowNoise",
    "Stripes",
    "add_levels",
    "add_tilted",
    "find_by_median",
    "find_by_wiener",
    "row_noise",
    "with_zero_mean",
]


@dataclass(frozen=True)
class Stripes:
    """What is to be subtracted from a rate image.

    Attributes
    ----------
    horizontal : ndarray of float32, shape (ny, nx)
        Stripes along rows.
    vertical : ndarray of float32, shape (nx,)
        Stripes along columns.
    tilted : ndarray of float32, shape (ny, nx), or None
        Stripes along other directions, None when they were not looked for.
    rest : ndarray of float32, shape (ny, nx)
        Image less stripes and smooth light: noise, and the sources where they are masked.
    light : ndarray of float32, shape (ny, nx), or None
        Smooth light without the level of the sky, where the method models it.
    sky : float
        Level of the sky, in the units of the image.
    metrics : dict of str to float
        What else the method measures.
    hidden : bool
        Light hides the stripes, of which there are none here then.
    masked_variance : callable, or None
        Returns, shape (ny, nx), by how much more masked pixels scatter than used ones, for what is
        left of stripes, where the method tells; 0 in used pixels.
    """

    horizontal: NDArray[np.float32]
    vertical: NDArray[np.float32]
    tilted: NDArray[np.float32] | None
    rest: NDArray[np.float32]
    light: NDArray[np.float32] | None
    sky: float
    metrics: dict[str, float]
    hidden: bool = False
    masked_variance: Callable[[], NDArray[np.float32]] | None = None

    @property
    def total(self) -> NDArray[np.float32]:
        """All patterns together, shape (ny, nx)."""
        total = self.horizontal + self.vertical
        return total if self.tilted is None else total + self.tilted


def find_by_median(
    image: NDArray,
    mask: NDArray[np.bool_],
    n_outputs: int,
    *,
    flat: NDArray | None = None,
    mask_threshold: float | None = None,
    published_pedestal: bool = False,
) -> Stripes:
    """Find stripes with clipped medians, rows first (Bagley et al. 2023, section 3.1).

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Rate image, not flat-fielded, DN/s.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.
    n_outputs : int
        Number of read-out outputs.
    flat : ndarray, shape (ny, nx), optional
        Flat field; pixels without one are not used.
    mask_threshold : float or None
        As in `ceers_steps.kernels.stripes.median.median_stripes`.
    published_pedestal : bool
        Measure the stripes from the peak of a Gaussian fitted to the histogram; otherwise their
        mean over the pixels used is zero.

    Returns
    -------
    Stripes

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    work = np.asarray(image, np.float32) if flat is None else flatten(image, flat)
    mask = mask | ~np.isfinite(work)
    sky = sky_level(subsample(work[~mask], MEDIAN.sky_sample)).value
    pedestal = None
    if published_pedestal:
        pedestal = gaussian_peak(work[~mask], *MEDIAN.published_histogram)
    fit = median_stripes(work, mask, n_outputs, mask_threshold, pedestal)
    metrics = {"mask_threshold": fit.threshold, "full_rows": float(fit.full_rows.sum())}
    rest = work - np.float32(sky) - fit.total
    return Stripes(fit.horizontal, fit.vertical, None, rest, None, sky, metrics)


def find_by_wiener(
    image: NDArray,
    mask: NDArray[np.bool_],
    white_sigma: ArrayLike,
    layout: ReadoutLayout,
    *,
    flat: NDArray | None = None,
    sources: NDArray[np.bool_] | None = None,
) -> Stripes:
    """Find stripes as the most probable read-out time series, then what is left along columns.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Rate image, not flat-fielded, in any unit.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.
    white_sigma : float or ndarray, shape (ny, nx)
        Noise of a pixel without the stripes; only its pattern matters.
    layout : ReadoutLayout
        Read-out order of the image.
    flat : ndarray, shape (ny, nx), optional
        Flat field; pixels without one are not used.
    sources : ndarray of bool, shape (ny, nx), optional
        True = masked as a source, and nothing else is wrong with the pixel: outskirts of large ones
        are then left out, too.

    Returns
    -------
    Stripes

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    fit = fit_stripes(image, mask, white_sigma, layout, flat=flat, sources=sources)
    rest = image - fit.stripes
    response = np.float32(1) if flat is None else flat
    rest -= fit.light * response
    columns = np.zeros(image.shape[1], np.float32)
    if not fit.hidden:
        columns = column_stripes(rest, mask | fit.outskirts)
        rest -= columns
    metrics = {
        "white_sigma": fit.white_sigma,
        "noise_scale": fit.noise_scale,
        "predicted_error": fit.predicted_error,
    }
    light = (fit.light - np.float32(fit.sky)) * response
    left = fit.masked_variance
    return Stripes(fit.stripes, columns, None, rest, light, fit.sky, metrics, fit.hidden, left)


def add_levels(
    stripes: Stripes,
    image: NDArray,
    mask: NDArray[np.bool_],
    n_outputs: int,
    flat: NDArray | None = None,
) -> Stripes:
    """Find levels of rows where light hides the stripes from the model.

    Parameters
    ----------
    stripes : Stripes
        In which nothing was found.
    image : ndarray, shape (ny, nx)
        Rate image, not flat-fielded.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.
    n_outputs : int
        Number of read-out outputs.
    flat : ndarray, shape (ny, nx), optional
        Flat field.

    Returns
    -------
    Stripes
        The same if light has made most of the levels.
    """
    work = np.asarray(image, np.float32) if flat is None else flatten(image, flat)
    levels = levels_beside_light(work, mask, n_outputs)
    if not levels.any():
        return stripes
    rows = np.repeat(levels, image.shape[1] // n_outputs, axis=1)
    horizontal, rest = stripes.horizontal + rows, stripes.rest - rows
    return replace(stripes, horizontal=horizontal, rest=rest, hidden=False)


def add_tilted(
    stripes: Stripes,
    mask: NDArray[np.bool_],
    angles: Sequence[float],
    rough: NDArray[np.float32] | None = None,
) -> Stripes:
    """Find stripes along other directions in what is left, one direction after the other.

    Wide ones are in the model of smooth light: they are looked for in it, too.

    Parameters
    ----------
    stripes : Stripes
        Of rows and columns.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    angles : sequence of float
        Directions, degrees from +x towards +y.
    rough : ndarray of float32, shape (ny, nx), optional
        A first estimate of them, that the image was without when rows and columns were found.

    Returns
    -------
    Stripes
    """
    rest = stripes.rest if rough is None else stripes.rest + rough
    seen = rest if stripes.light is None else rest + stripes.light
    tilted = stripes_along(seen, mask, angles)
    return replace(stripes, tilted=tilted, rest=rest - tilted)


def with_zero_mean(stripes: Stripes, where: NDArray[np.bool_]) -> Stripes:
    """Return the same stripes shifted so that they leave the level of the sky as it is.

    An offset common to all pixels cannot be separated from sky, so it is left there.

    Parameters
    ----------
    stripes : Stripes
    where : ndarray of bool, shape (ny, nx)
        Pixels whose mean stays: those of the sky.

    Returns
    -------
    Stripes
    """
    if not where.any():
        return stripes
    mean = np.float32(np.mean(stripes.total, where=where, dtype=np.float64))
    return replace(stripes, horizontal=stripes.horizontal - mean, rest=stripes.rest + mean)


@dataclass(frozen=True)
class RowNoise:
    """Scatter of output rows.

    Attributes
    ----------
    rms : float
        Standard deviation of the means of neighbouring rows of an output, in the unit of the
        image; NaN where there are too few.
    expected : float
        What white noise alone would make of it.
    masked : float
        Fraction of the rows of outputs of which too few pixels see the sky.
    """

    rms: float
    expected: float
    masked: float


def row_noise(image: NDArray, sky: NDArray[np.bool_], sigma: NDArray, n_outputs: int) -> RowNoise:
    """Measure the scatter of output rows.

    From the differences of neighbouring rows, so that neither the sky, nor a gradient, nor wide
    faint light counts.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Any unit.
    sky : ndarray of bool, shape (ny, nx)
        True = a pixel of the sky.
    sigma : ndarray, shape (ny, nx)
        White noise of the pixels.
    n_outputs : int
        Outputs, side by side along x.

    Returns
    -------
    RowNoise
    """
    ny, nx = image.shape
    parts = (ny, n_outputs, nx // n_outputs)
    count = sky.reshape(parts).sum(axis=2)
    total = np.where(sky, image, 0).reshape(parts).sum(axis=2, dtype=float)
    variance = np.where(sky, np.square(sigma), 0).reshape(parts).sum(axis=2, dtype=float)
    used = count >= max(ROW_NOISE.least_seen * parts[2], 1)
    masked = float(1 - used.mean())
    both = used[1:] & used[:-1]
    if not both.any():
        return RowNoise(np.nan, np.nan, masked)
    number = np.maximum(count, 1)
    means, errors = total / number, variance / number**2
    change = (means[1:] - means[:-1])[both] / np.sqrt(2)
    expected = np.sqrt(np.mean((errors[1:] + errors[:-1])[both] / 2))
    return RowNoise(float(MAD_TO_SIGMA * np.median(np.abs(change))), float(expected), masked)
