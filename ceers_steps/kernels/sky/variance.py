"""Variance planes that agree on every pixel, and the photon noise of the sky in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.discs import dilate, grown_box
from ceers_steps.kernels.parts import find_parts, placed
from ceers_steps.kernels.sky.settings import NOISE, VARIANCE
from ceers_steps.kernels.sources.background import fit_background
from ceers_steps.kernels.stats import biweight_location, mad_sigma, subsample

__all__ = [
    "Variances",
    "fill_variances",
    "level_saturated",
    "neighbour_scatter",
    "smooth_sky",
    "split_sky_photons",
]


@dataclass(frozen=True)
class Variances:
    """Variance planes without holes, shape (ny, nx), float32; NaN in unusable pixels.

    Attributes
    ----------
    rnoise, poisson, flat : ndarray
        In the squared unit of the image.
    unusable : ndarray of bool
        True = do not use: pixels that were so, and those without a noise.
    n_filled : int
        Usable pixels that had no valid `poisson` or `flat` and got that of the sky.
    """

    rnoise: NDArray[np.float32]
    poisson: NDArray[np.float32]
    flat: NDArray[np.float32]
    unusable: NDArray[np.bool_]
    n_filled: int


def fill_variances(
    rnoise: NDArray,
    poisson: NDArray,
    flat: NDArray,
    unusable: NDArray[np.bool_],
    sources: NDArray[np.bool_],
    *,
    poisson_may_be_zero: bool = False,
) -> Variances:
    """Make variance planes say the same of every pixel: all valid, or not to be used.

    The read noise decides: a pixel in which it is 0, negative or infinite, or in which any plane
    is NaN, is unusable. In a usable pixel a photon noise of 0 or less (a ramp fit gives it where
    the rate came out negative), and an infinite one, becomes that of the sky around. A flat-field
    variance of 0 is a hole only where most pixels have one above 0.

    Parameters
    ----------
    rnoise, poisson, flat : ndarray, shape (ny, nx)
        Variance planes.
    unusable : ndarray of bool, shape (ny, nx)
        True = do not use.
    sources : ndarray of bool, shape (ny, nx)
        True = not sky.
    poisson_may_be_zero : bool
        True when `poisson` is only that of sources (`split_sky_photons`): then 0 is no hole.

    Returns
    -------
    Variances
    """
    planes = [np.array(plane, np.float32) for plane in (rnoise, poisson, flat)]
    with np.errstate(invalid="ignore"):
        unusable = unusable | np.isnan(sum(planes)) | ~(planes[0] > 0.0) | np.isinf(planes[0])
    rnoise, poisson, flat = planes
    n_filled = 0
    n_usable = np.count_nonzero(~unusable)
    for plane in (poisson, flat):
        valid = (plane > 0.0) & np.isfinite(plane)
        usable_valid = valid & ~unusable
        if plane is poisson:
            zero_is_valid = poisson_may_be_zero
        else:
            zero_is_valid = bool(np.count_nonzero(usable_valid) < 0.5 * n_usable)
        if zero_is_valid:
            holes = ~unusable & ~((plane >= 0.0) & np.isfinite(plane))
            plane[holes] = 0.0
        else:
            holes = ~unusable & ~valid
            if holes.any() and usable_valid.any():
                plane[holes] = smooth_sky(plane, sources | ~usable_valid)[holes]
        n_filled += int(np.count_nonzero(holes))
    for plane in planes:
        plane[unusable] = np.nan
    return Variances(rnoise, poisson, flat, unusable, n_filled)


def split_sky_photons(
    poisson: NDArray, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split the photon noise into that of the sky and that of sources.

    The variance of single pixels follows their values; that of the sky is smooth.  Peaks of the
    noise have no more photons than troughs: what they have is left out, where nothing stands out.
    A factor by which the noise of the sky agrees with its errors would take it from sources.

    Parameters
    ----------
    poisson : ndarray, shape (ny, nx)
        Photon noise variance.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.

    Returns
    -------
    sky, rest : ndarray of float32, shape (ny, nx)
        Their sum is `poisson` in sources, or more where it is below that of the sky; `rest` keeps
        its NaN.
    """
    sky = np.maximum(smooth_sky(poisson, mask), 0.0)
    rest = np.maximum(poisson - sky, 0.0)
    empty = ~mask
    if empty.any():
        noise = mad_sigma(subsample((poisson - sky)[empty], NOISE.sample))
        rest[empty & (rest < VARIANCE.stands_out * noise)] = 0.0
    return sky, rest


def level_saturated(
    image: NDArray,
    rnoise: NDArray,
    poisson: NDArray,
    saturated: NDArray[np.bool_],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Give pixels that were saturated by their own light the read noise of the sky around.

    They lost groups, so their read noise is up to a hundred times that of their neighbours, and
    so much less would the peak of a star weigh in a mosaic than its flanks. Of their noise it is
    next to nothing. Pixels that snowballs saturated keep theirs: there is no light around them.

    Parameters
    ----------
    image, rnoise, poisson : ndarray, shape (ny, nx)
        Image, variance of the read noise, variance of the photon noise.
    saturated : ndarray of bool, shape (ny, nx)
        True = groups were lost to saturation.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Variance of the read noise; unchanged if there is no such pixel, or no sky.
    """
    rnoise = np.array(rnoise, np.float32)
    sky = ~(mask | saturated)
    if not saturated.any() or not sky.any():
        return rnoise
    where = np.nonzero(saturated)
    signal = image[where] - np.median(image[sky])
    noise = np.sqrt(rnoise[where] + poisson[where])
    own = np.zeros(rnoise.shape, bool)
    own[where] = signal > VARIANCE.own_light * noise  # False for NaN
    if own.any():
        own &= _has_flanks(image - np.median(image[sky]), rnoise + poisson, saturated)
    if own.any():
        level = smooth_sky(rnoise, ~(sky & (rnoise > 0.0)))
        rnoise[own] = np.minimum(rnoise[own], level[own])
    return rnoise


def _has_flanks(
    signal: NDArray, variance: NDArray, saturated: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the saturated pixels that have light around them, or nothing to tell."""
    found = np.zeros(saturated.shape, bool)
    with np.errstate(invalid="ignore"):
        bright = signal / np.sqrt(variance)
    for part in find_parts(saturated):
        window = grown_box(part.box, VARIANCE.flank, saturated.shape)
        own = placed(part.pixels, part.box, window)
        flank = dilate(own, VARIANCE.flank) & ~saturated[window] & np.isfinite(bright[window])
        if not flank.any() or np.median(bright[window][flank]) > VARIANCE.flank_light:
            found[window] |= own
    return found


def smooth_sky(
    image: NDArray, mask: NDArray[np.bool_], *, box: int = VARIANCE.box
) -> NDArray[np.float32]:
    """Return the smooth part of an image or variance plane.

    Boxes of 64 pixels are wide enough to leave blocks of 16 pixels their noise.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    box : int
        Side of the boxes, pixels.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The biweight location everywhere if too few pixels are left for boxes.
    """
    try:
        return fit_background(image, mask, box_size=box, filter_size=VARIANCE.filter)
    except ValueError:
        return np.full(image.shape, biweight_location(image[~mask]), np.float32)


def neighbour_scatter(image: NDArray, variance: NDArray, unusable: NDArray[np.bool_]) -> float:
    """Return how much neighbouring pixels differ, over what their variances say.

    A quick look: sky and sources that are smooth do not matter, and no source is searched for.

    Parameters
    ----------
    image, variance : ndarray, shape (ny, nx)
        Image and its whole variance, in the squared unit of the image.
    unusable : ndarray of bool, shape (ny, nx)
        True = do not use.

    Returns
    -------
    float
        About 1 for variances that are right; NaN when no two neighbours are usable.
    """
    usable = ~unusable & np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    pairs = usable[:, 1:] & usable[:, :-1]
    differences = (image[:, 1:] - image[:, :-1])[pairs]
    expected = np.sqrt((variance[:, 1:] + variance[:, :-1])[pairs], dtype=float)
    return mad_sigma(subsample(differences / expected, NOISE.sample))
