"""Connected parts of a mask, labelled by scikit-image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

__all__ = ["EIGHT_NEIGHBOURS", "Part", "Slices", "find_parts", "label_parts", "without_small_parts"]

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
