"""What tells a source from structure of the sky: its light is on all sides, and it is no line."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.sources.settings import SECTORS

__all__ = ["fades_on_all_sides", "sectors_around", "thin_parts"]


def sectors_around(own: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return in which sector each pixel lies, as seen from the middle of a source.

    Parameters
    ----------
    own : ndarray of bool, shape (ny, nx)
        True = the source.

    Returns
    -------
    ndarray of int, shape (ny, nx)
        From 0 to ``SECTORS.number - 1``.
    """
    row, column = np.argwhere(own).mean(axis=0)
    rows, columns = np.ogrid[: own.shape[0], : own.shape[1]]
    turns = np.arctan2(rows - row, columns - column) / (2.0 * np.pi) + 0.5
    return np.minimum((turns * SECTORS.number).astype(np.intp), SECTORS.number - 1)


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
        rings = zip(SECTORS.ring, SECTORS.ring_margin, strict=True)
        inner, outer = (times * size + more for times, more in rings)
        window = grown_box(box, int(outer), labels.shape)
        own = labels[window] == number
        row, column = np.argwhere(own).mean(axis=0)
        rows, columns = np.ogrid[: own.shape[0], : own.shape[1]]
        distance = np.hypot(rows - row, columns - column)
        ring = (distance > inner) & (distance < outer) & seen[window]
        sector = sectors_around(own)[ring]
        n = np.bincount(sector, minlength=SECTORS.number)
        mean = np.bincount(sector, image[window][ring], SECTORS.number) / np.maximum(n, 1)
        fades = np.count_nonzero((n > SECTORS.few_bins) & (mean < level))
        kept[window] |= own & (fades >= SECTORS.faded * SECTORS.number)
    return kept


def thin_parts(labels: NDArray, fewest: float) -> NDArray[np.bool_]:
    """Tell borders of a sky that rises there from sources: they are lines or frames.

    Parameters
    ----------
    labels : ndarray of int, shape (ny, nx)
        Number of the source at each pixel, from 1; 0 = none.
    fewest : float
        Smaller ones have no shape that is known.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True = a part that is no source: its area is small for its length.
    """
    thin = np.zeros(labels.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == number
        area = np.count_nonzero(own)
        if area < max(fewest, 2):
            continue
        # that of a disc of radius r is r**2 / 4
        longest = np.linalg.eigvalsh(np.cov(np.argwhere(own).T))[-1]
        if area < SECTORS.thinnest * 4.0 * np.pi * longest:
            thin[box] |= own
    return thin
