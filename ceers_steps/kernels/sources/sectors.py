"""What tells a source from structure of the sky: its light is on all sides, and it is no line."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.sources.settings import RIDGES, SECTORS

__all__ = ["border_ridges", "fades_on_all_sides", "sectors_around", "thin_parts"]


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


def border_ridges(
    blocks: NDArray[np.float32], seen: NDArray[np.bool_], ring_radius: float
) -> NDArray[np.float32]:
    """Return what of an image less its ring medians is a sky that rises towards a border.

    A ring at a border sees the sky on the inner side only. What stands above it there and goes on
    along a straight line, longer than any source, but not in all directions, is sky.

    Parameters
    ----------
    blocks : ndarray, shape (ny, nx)
        Medians of blocks less their ring medians, units of the noise of a pixel.
    seen : ndarray of bool, shape (ny, nx)
        True where there is an image.
    ring_radius : float
        Of the ring medians, blocks: ridges are looked for so far from the borders.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Height of the ridges, 0 elsewhere.
    """
    ridges = np.zeros(blocks.shape, np.float32)
    if not seen.any():
        return ridges
    depth = ndimage.distance_transform_edt(np.pad(seen, 1))[1:-1, 1:-1]
    nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    values = ndimage.median_filter(blocks[tuple(nearest)], RIDGES.smoothed)
    places = np.nonzero(seen & (depth <= ring_radius) & (values > RIDGES.lowest))
    half = round(RIDGES.half_length * ring_radius)
    padded = np.pad(np.where(seen, values, np.nan), half, constant_values=np.nan)
    steps = np.linspace(-half, half, RIDGES.points)

    def low_along(angle: NDArray) -> NDArray:
        """Return what most of the line through each place is above, at one angle each."""
        line = padded[
            tuple(
                place[:, np.newaxis] + half + np.rint(np.outer(turn, steps)).astype(int)
                for place, turn in zip(places, (np.sin(angle), np.cos(angle)), strict=True)
            )
        ]
        line.sort(axis=1)  # NaN last
        n_seen = np.count_nonzero(~np.isnan(line), axis=1)
        low = line[np.arange(len(line)), (RIDGES.quantile * (n_seen - 1)).astype(int)]
        return np.where(n_seen < RIDGES.fewest * RIDGES.points, 0.0, low)

    apart = np.pi / RIDGES.directions
    best = np.zeros(places[0].size)
    highest = low_along(best)
    least = highest.copy()
    for number in range(1, RIDGES.directions):
        angle = np.full(best.size, number * apart)
        low = low_along(angle)
        best, highest = np.where(low > highest, angle, best), np.maximum(low, highest)
        least = np.minimum(low, least)
    for turned in (0.5 * apart, 0.25 * apart):
        for angle in (best - turned, best + turned):
            low = low_along(angle)
            best, highest = np.where(low > highest, angle, best), np.maximum(low, highest)
    height = np.maximum(highest - np.maximum(least, 0.0), 0.0)
    ridges[places] = height * np.clip(height / RIDGES.lowest - 1.0, 0.0, 1.0)
    return ridges[tuple(nearest)]
