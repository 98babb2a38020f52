"""Colour pictures of mosaics in three filters or more, on the pixels of one of them."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ceers_steps.report.mosaics.reading import Frame

__all__ = ["channels", "lupton", "onto"]

STRETCH, SOFTNESS = 8.0, 10.0
"""Of Lupton et al. (2004), PASP 116, 133: linear up to so many times the noise, and Q."""

BLACK = -1.0
"""In units of the noise."""


def onto(image: NDArray, frame: Frame, factor: int, target: Frame, binning: int) -> NDArray:
    """Return an image on the pixels of another mosaic.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        A mosaic, binned; surface brightness.
    frame, factor
        Its pixels before that, and the binning.
    target, binning
        The pixels that are wanted, and their binning.

    Returns
    -------
    ndarray of float32
        Interpolated between the nearest four; NaN where one of these has no data.
    """
    if (frame, factor) == (target, binning):
        return image
    from scipy.ndimage import map_coordinates

    ny, nx = -(-target.ny // binning), -(-target.nx // binning)
    here, there = target.wcs(), frame.wcs()
    moved = np.empty((ny, nx), dtype=np.float32)
    x = np.arange(nx) * binning + (binning - 1) / 2
    for start in range(0, ny, 256):  # world coordinates of all pixels are large
        y = np.arange(start, min(start + 256, ny)) * binning + (binning - 1) / 2
        sky = here.all_pix2world(*(grid.ravel() for grid in np.meshgrid(x, y)), 0)
        columns, rows = there.all_world2pix(*sky, 0)
        places = [(c - (factor - 1) / 2) / factor for c in (rows, columns)]
        strip = map_coordinates(image, places, order=1, cval=np.nan, output=np.float32)
        moved[start : start + len(y)] = strip.reshape(len(y), nx)
    return moved


def channels(images: Iterable[NDArray], number: int) -> list[NDArray]:
    """Return red, green and blue.

    Parameters
    ----------
    images : iterable of ndarray, shape (ny, nx)
        Three filters or more on the same pixels, shortest wavelength first; one is taken at a time.
    number
        How many.

    Returns
    -------
    list of ndarray of float32
        Means of the long, the middle and the short ones, of those that have data there. A
        channel without data has the mean of the others: what one filter does not cover is grey,
        not coloured.
    """
    left = iter(images)
    found = [_mean(islice(left, len(part))) for part in np.array_split(range(number), 3)]
    grey = _mean(found)
    return [np.where(np.isfinite(each), each, grey) for each in reversed(found)]


def _mean(images: Iterable[NDArray]) -> NDArray:
    """Return the mean of images without NaN; NaN where all are."""
    total: NDArray = np.zeros((), dtype=np.float32)
    number: NDArray = np.zeros((), dtype=np.float32)
    for image in images:
        good = np.isfinite(image)
        total = total + np.where(good, image, np.float32(0))
        number = number + good.astype(np.float32)
    number[number == 0] = np.nan
    return total / number


def lupton(planes: Sequence[NDArray], noise: float) -> NDArray[np.uint8]:
    """Return a colour picture; what is equally bright in MJy/sr is grey.

    Parameters
    ----------
    planes : sequence of ndarray, shape (ny, nx)
        Red, green and blue, with a sky of 0; NaN is black.
    noise
        Their noise, for the stretch.

    Returns
    -------
    ndarray of uint8, shape (ny, nx, 3)
    """
    from astropy.visualization import make_lupton_rgb

    red, green, blue = (np.nan_to_num(plane / noise, nan=BLACK) for plane in planes)
    with np.errstate(divide="ignore", invalid="ignore"):  # where the sum of the three is 0
        return make_lupton_rgb(red, green, blue, minimum=BLACK, stretch=STRETCH, Q=SOFTNESS)
