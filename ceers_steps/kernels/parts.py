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
    "nearest_large_part",
    "placed",
    "with_neighbours",
    "without_small_parts",
]

Slices = tuple[slice, slice]
"""Rows and columns."""

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
"""A pixel and its neighbours, corners included."""


@dataclass(frozen=True)
class PartSettings:
    """How connected parts are looked for."""

    large: int = 250_000
    """Pixels of a mask from which on it is cut first: below, labels take a millisecond."""
    block: int = 16
    """Side of the blocks that are looked at first, pixels ..."""
    crowded: float = 0.02
    """... and the part of them that hold something above which the mask is labelled whole."""


PARTS = PartSettings()


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
    found = []
    groups = _apart(mask)
    for (rows, cols), pixels in groups:
        labels = label_parts(pixels, corners=corners)
        for number, (inner_rows, inner_cols) in enumerate(ndimage.find_objects(labels), start=1):
            box = _moved(inner_rows, rows.start), _moved(inner_cols, cols.start)
            found.append(Part(box, labels[inner_rows, inner_cols] == number))
    if len(groups) > 1:
        found.sort(
            key=lambda part: (part.box[0].start, part.box[1].start + part.pixels[0].argmax())
        )
    return found


def _moved(side: slice, by: int) -> slice:
    """Return rows or columns further on."""
    return slice(side.start + by, side.stop + by)


def _apart(mask: NDArray[np.bool_]) -> list[tuple[Slices, NDArray[np.bool_]]]:
    """Return boxes, and of the mask in each what is connected to nothing in the others.

    Where little is set, that is several times faster to label than the whole mask.
    """
    side = PARTS.block
    whole = (slice(0, mask.shape[0]), slice(0, mask.shape[1])), mask
    if mask.size < PARTS.large:
        return [whole] if mask.any() else []
    # along the columns reduceat takes fifty times as long
    strips = [mask[first : first + side].any(axis=0) for first in range(0, len(mask), side)]
    blocks = np.logical_or.reduceat(strips, np.arange(0, mask.shape[1], side), axis=1)
    if np.count_nonzero(blocks) > PARTS.crowded * blocks.size:
        return [whole]
    labels = label_parts(blocks)
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        rows, cols = (slice(side * of.start, side * of.stop) for of in box)
        pixels = mask[rows, cols]
        group = np.repeat(np.repeat(labels[box] == number, side, axis=0), side, axis=1)
        found.append(((rows, cols), pixels & group[: pixels.shape[0], : pixels.shape[1]]))
    return found


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


def nearest_large_part(
    mask: NDArray[np.bool_], least: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far the nearest large part is, and its size.

    Parameters
    ----------
    mask : ndarray of bool, shape (ny, nx)
        True = of a part.
    least : float
        Area from which on a part is large, pixels.

    Returns
    -------
    distance, size : ndarray of float, shape (ny, nx)
        Distance from it (0 in it) and radius of a disc of its area, pixels; infinite and 0 where
        no part is large.
    """
    labels = label_parts(mask)
    area = np.bincount(labels.ravel())
    area[0] = 0
    large = area >= least
    if not large.any():
        return np.full(mask.shape, np.inf), np.zeros(mask.shape)
    distance, nearest = ndimage.distance_transform_edt(~large[labels], return_indices=True)
    return distance, np.sqrt(area / np.pi)[labels[tuple(nearest)]]
