"""Sectors around a source: its light is on all sides, structure of the sky is on some."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.discs import grown_box

__all__ = ["N_SECTORS", "fades_on_all_sides", "sectors_around"]

N_SECTORS = 12
"""Sectors around a source, of 30 degrees each."""

_RING, _RING_MARGIN = (1.5, 2.5), (3.0, 8.0)
"""Ring in which a source must have faded: its radii in units of the source's, and bins more."""

_FADED_SECTORS = 0.75
"""Part of the sectors in which it must."""

_ENOUGH_BINS = 4
"""A sector with no more than so many is not known."""


def sectors_around(own: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return in which sector each pixel lies, as seen from the middle of a source.

    Parameters
    ----------
    own : ndarray of bool, shape (ny, nx)
        True = the source.

    Returns
    -------
    ndarray of int, shape (ny, nx)
        From 0 to `N_SECTORS` - 1.
    """
    row, column = np.argwhere(own).mean(axis=0)
    rows, columns = np.ogrid[: own.shape[0], : own.shape[1]]
    turns = np.arctan2(rows - row, columns - column) / (2.0 * np.pi) + 0.5
    return np.minimum((turns * N_SECTORS).astype(np.intp), N_SECTORS - 1)


def fades_on_all_sides(
    labels: NDArray, image: NDArray, seen: NDArray[np.bool_], level: float
) -> NDArray[np.bool_]:
    """Tell sources from borders and steps of the sky: these do not fade on all sides.

    Parameters
    ----------
    labels : ndarray of int, shape (ny, nx)
        Number of the source at each pixel, from 1; 0 = none.
    image : ndarray, shape (ny, nx)
        Light.
    seen : ndarray of bool, shape (ny, nx)
        True where there is an image.
    level : float
        The mean of a ring around a source is below this in three quarters of all sectors.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True = a source that does.
    """
    kept = np.zeros(labels.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        size = np.sqrt(np.count_nonzero(labels[box] == number) / np.pi)
        inner, outer = (
            times * size + more for times, more in zip(_RING, _RING_MARGIN, strict=True)
        )
        window = grown_box(box, int(outer), labels.shape)
        own = labels[window] == number
        row, column = np.argwhere(own).mean(axis=0)
        rows, columns = np.ogrid[: own.shape[0], : own.shape[1]]
        distance = np.hypot(rows - row, columns - column)
        ring = (distance > inner) & (distance < outer) & seen[window]
        sector = sectors_around(own)[ring]
        n = np.bincount(sector, minlength=N_SECTORS)
        mean = np.bincount(sector, image[window][ring], N_SECTORS) / np.maximum(n, 1)
        fades = np.count_nonzero((n > _ENOUGH_BINS) & (mean < level))
        kept[window] |= own & (fades >= _FADED_SECTORS * N_SECTORS)
    return kept
