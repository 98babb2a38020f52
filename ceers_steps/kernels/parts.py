"""Connected parts of a mask, labelled by scikit-image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

__all__ = [
    "EIGHT_NEIGHBOURS",
    "Part",
    "Slices",
    "find_parts",
    "label_parts",
    "moments_of",
    "placed",
    "with_neighbours",
    "without_small_parts",
]

Slices = tuple[slice, slice]
"""Rows and columns."""

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
"""A pixel and its neighbours, corners included."""


@dataclass(frozen=True)
class Part:
    """One connected part of a mask.

    Attributes
    ----------
    box : tuple of slice
        Smallest rows and columns that hold it.
    pixels : ndarray of bool
        True = this part, in the box.
    """

    box: Slices
    pixels: NDArray[np.bool_]


def label_parts(mask: NDArray[np.bool_], *, corners: bool = True) -> NDArray[np.int32]:
    """Number the connected parts of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (ny, nx)
        True = part of something.
    corners : bool
        Pixels that touch at a corner are connected.

    Returns
    -------
    ndarray of int, shape (ny, nx)
        From 1, in the order of their first pixels; 0 = none.
    """
    if mask.size == 0:
        return np.zeros(mask.shape, np.int32)
    return measure.label(mask, connectivity=2 if corners else 1)


def find_parts(mask: NDArray[np.bool_], *, corners: bool = True) -> list[Part]:
    """Return the connected parts of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (ny, nx)
        True = part of something.
    corners : bool
        Pixels that touch at a corner are connected.

    Returns
    -------
    list of Part
        In the order of their first pixels.
    """
    if mask.size == 0:
        return []
    labels = label_parts(mask, corners=corners)
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return [Part(box, labels[box] == number) for number, box in boxes]


def placed(pixels: NDArray[np.bool_], box: Slices, outer: Slices) -> NDArray[np.bool_]:
    """Put the pixels of a box into a larger box.

    Parameters
    ----------
    pixels : ndarray of bool
        In `box`.
    box, outer : tuple of slice
        Rows and columns; `outer` holds `box`.

    Returns
    -------
    ndarray of bool
        In `outer`; False beside `box`.
    """
    out = np.zeros([side.stop - side.start for side in outer], dtype=bool)
    y, x = (inner.start - side.start for inner, side in zip(box, outer, strict=True))
    out[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return out


def with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of masks and the four neighbours of each.

    Parameters
    ----------
    mask : ndarray of bool, shape (..., ny, nx)
        One mask or several.

    Returns
    -------
    ndarray of bool
        Same shape.
    """
    near = mask.copy()
    near[..., 1:, :] |= mask[..., :-1, :]
    near[..., :-1, :] |= mask[..., 1:, :]
    near[..., 1:] |= mask[..., :-1]
    near[..., :-1] |= mask[..., 1:]
    return near


def moments_of(y: NDArray, x: NDArray) -> tuple[float, float, float, float, float]:
    """Return centre and second moments of pixels.

    Parameters
    ----------
    y, x : ndarray, shape (n,)
        Places of the pixels, one at least.

    Returns
    -------
    tuple of float
        Centre in y and x, pixels; moments yy, xx and xy about it, square pixels. A pixel is no
        point: its own moment is 1/12.
    """
    y0, x0 = float(y.mean()), float(x.mean())
    dy, dx = y - y0, x - x0
    yy, xx = float((dy * dy).mean()) + 1 / 12, float((dx * dx).mean()) + 1 / 12
    return y0, x0, yy, xx, float((dx * dy).mean())


def without_small_parts(
    mask: NDArray[np.bool_], n_pixels: int, *, corners: bool = True
) -> NDArray[np.bool_]:
    """Return a mask without its small parts.

    Parameters
    ----------
    mask : ndarray of bool, shape (ny, nx)
        True = part of something.
    n_pixels : int
        Least number of pixels of what stays.
    corners : bool
        Pixels that touch at a corner are connected.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        The parts of at least that many pixels.
    """
    labels = label_parts(mask, corners=corners)
    keep = np.bincount(labels.ravel(), minlength=1) >= n_pixels
    keep[0] = False
    return keep[labels]
