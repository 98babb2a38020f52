"""Boolean median and dilation with a disc, worked out only where they can be non-zero.

The median of a boolean image over a disc asks whether at least half of the disc is set.  That is
a count, and a count needs no sort: it is a sum of horizontal runs, each the difference of two
cumulative sums.  Cheap sums over blocks of pixels tell first where the answer can be positive at
all, which in a group of a ramp is around the few large events.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import disk

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.parts import Slices, find_parts

__all__ = ["dilate", "disc", "disc_filled", "disc_median", "grown_box", "windows"]


@dataclass(frozen=True)
class DiscSettings:
    """How discs are counted."""

    block: int = 8
    """Side of the blocks that are counted first, pixels: the counts of the smallest disc that is
    asked for span few of them."""


DISCS = DiscSettings()


def disc(radius: int) -> NDArray[np.bool_]:
    """Return the pixels within `radius` of the centre, shape ``(2 radius + 1, 2 radius + 1)``.

    The same as ``astropy.convolution.Tophat2DKernel(radius).array > 0``; the number of pixels is
    always odd.

    Parameters
    ----------
    radius
        Pixels.

    Returns
    -------
    ndarray of bool
        True within the radius.
    """
    return disk(radius, dtype=bool)


def disc_median(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Median-filter a boolean image with a disc, reflected about the edges of the array.

    Equal, to the pixel, to ``scipy.ndimage.median_filter(mask, footprint=disc(radius))``, but for
    images smaller than the disc, where scipy 1.17 miscounts.

    Parameters
    ----------
    mask
        Shape ``(ny, nx)``.
    radius
        Radius of the disc, pixels.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; True where at least half of the disc is True.
    """
    return disc_filled(mask, radius, 0.5)


def disc_filled(mask: NDArray[np.bool_], radius: int, fraction: float) -> NDArray[np.bool_]:
    """Tell where the disc around a pixel is filled to more than a fraction.

    Parameters
    ----------
    mask
        Shape ``(ny, nx)``; reflected about the edges of the array.
    radius
        Radius of the disc, pixels.
    fraction
        Between 0 and 1.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; True where more than `fraction` of the disc is True.
    """
    out = np.zeros(mask.shape, dtype=bool)
    if mask.size == 0:
        return out
    needed = math.floor(fraction * int(disc(radius).sum())) + 1
    padded = np.pad(mask, radius, mode="symmetric")
    for rows, cols in _crowded(padded, radius, needed, mask.shape):
        tile = padded[rows.start : rows.stop + 2 * radius, cols.start : cols.stop + 2 * radius]
        out[rows, cols] = _disc_count(tile, radius) >= needed
    return out


def dilate(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Grow a boolean image by a disc; beyond the edges of the array nothing is set.

    Equal to ``scipy.ndimage.binary_dilation(mask, disc(radius))`` for an integer radius.

    Parameters
    ----------
    mask
        Shape ``(ny, nx)``.
    radius
        Radius of the disc, pixels.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        The grown image.
    """
    out = np.zeros(mask.shape, dtype=bool)
    for window in windows(mask, math.ceil(radius)):
        distance = ndimage.distance_transform_edt(~mask[window])
        out[window] |= distance <= radius
    return out


def windows(mask: NDArray[np.bool_], margin: int) -> list[Slices]:
    """Return the box of every 8-connected region, grown by `margin` and cut at the edges.

    Parameters
    ----------
    mask
        Shape ``(ny, nx)``.
    margin
        Pixels.

    Returns
    -------
    list of tuple of slice
        One box a region.
    """
    return [grown_box(part.box, margin, mask.shape) for part in find_parts(mask)]


def grown_box(box: Slices, margin: int, shape: tuple[int, ...]) -> Slices:
    """Return a box grown by `margin` pixels on every side and cut at the edges of the array.

    Parameters
    ----------
    box
        Rows and columns.
    margin
        Pixels.
    shape
        Of the array, ``(ny, nx)``.

    Returns
    -------
    tuple of slice
        The grown box.
    """
    rows, cols = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, shape, strict=True)
    )
    return rows, cols


def _crowded(
    padded: NDArray[np.bool_], radius: int, needed: int, shape: tuple[int, ...]
) -> list[Slices]:
    """Return windows of the unpadded image outside which no disc can hold `needed` pixels."""
    side = DISCS.block
    counts = block_sum(padded, side, beyond=0, dtype=np.int32)
    # a disc on a pixel of unpadded block b covers padded pixels 8 b ... 8 b + 7 + 2 radius
    reach = (side - 1 + 2 * radius) // side + 1
    total = np.cumsum(np.cumsum(np.pad(counts, ((1, reach), (1, reach))), axis=0), axis=1)
    around = total[reach:, reach:] + total[:-reach, :-reach]
    around -= total[reach:, :-reach] + total[:-reach, reach:]
    blocks = around >= needed
    found = []
    for rows, cols in windows(blocks, 0):
        y0, y1 = rows.start * side, min(rows.stop * side, shape[0])
        x0, x1 = cols.start * side, min(cols.stop * side, shape[1])
        if y0 < y1 and x0 < x1:
            found.append((slice(y0, y1), slice(x0, x1)))
    return found


def _disc_count(padded: NDArray[np.bool_], radius: int) -> NDArray[np.int32]:
    """Count the True pixels in the disc around every pixel `radius` or more from the edges."""
    ny, nx = (size - 2 * radius for size in padded.shape)
    runs = np.zeros((padded.shape[0], padded.shape[1] + 1), dtype=np.int32)
    np.cumsum(padded, axis=1, out=runs[:, 1:])
    count = np.zeros((ny, nx), dtype=np.int32)
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius * radius - dy * dy)
        row = runs[radius + dy : radius + dy + ny]
        count += row[:, radius + half + 1 : radius + half + 1 + nx]
        count -= row[:, radius - half : radius - half + nx]
    return count
