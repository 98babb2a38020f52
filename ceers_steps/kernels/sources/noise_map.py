"""Noise of each place of a mosaic, larger where fewer exposures add up; images in units of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import block_median, block_rows, block_sum
from ceers_steps.kernels.rows import RowImage, Strip, for_each_strip
from ceers_steps.kernels.sources.background import BackgroundMesh
from ceers_steps.kernels.sources.settings import DEPTH, PROFILES
from ceers_steps.kernels.sources.tiers import expand
from ceers_steps.kernels.stats import nan_median

__all__ = ["NoiseMap", "SkyResidual", "expanded_rows", "measure_noise_map", "noise_of_boxes"]


@dataclass(frozen=True)
class NoiseMap:
    """Noise of each place in units of that of the middle one, in blocks.

    Attributes
    ----------
    blocks : ndarray of float32, shape (ny / side, nx / side)
        1 where the mosaic is as deep as it is in the middle of all places.
    side : int
        Of a block, pixels.
    """

    blocks: NDArray[np.float32]
    side: int = DEPTH.side

    def rows(self, rows: slice, n_columns: int) -> NDArray[np.float32]:
        """Return the noise of some rows, shape (stop - start, n_columns)."""
        return expanded_rows(self.blocks, self.side, rows, n_columns)

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the noise of the blocks in which some rows and columns cross."""
        return self.blocks[np.ix_(rows // self.side, columns // self.side)]

    def calibrated(
        self, values: NDArray, predicted: NDArray, scale: Callable[[NDArray], float]
    ) -> tuple["NoiseMap", NDArray]:
        """Return the noise that the image has where a weight predicts one.

        A weight knows exposures; the image may have noise that they share, or weights of another
        kind. What is measured stands, but between no difference and what the weight predicts: the
        pixels of one weight may be the cores of saturated stars.

        Parameters
        ----------
        values : ndarray, shape (n,)
            Pixels of the image without its sky, from all over it.
        predicted : ndarray, shape (n,)
            This map there.
        scale : callable
            Robust standard deviation of some pixels.

        Returns
        -------
        noise : NoiseMap
            That the image has.
        relative : ndarray, shape (n,)
            The same where the values are.
        """
        steps = np.log(predicted) / np.log(DEPTH.step)
        classes = np.round(steps).astype(np.intp)
        classes -= classes.min()
        known, noise = [], []
        for number in np.flatnonzero(np.bincount(classes) >= DEPTH.fewest):
            own = classes == number
            measured = scale(values[own])
            if measured > 0.0:
                known.append(np.mean(steps[own]))
                noise.append(measured)
        if len(known) < 2:
            return self, predicted

        def relative(predicted: NDArray) -> NDArray[np.float32]:
            here = np.log(predicted) / np.log(DEPTH.step)
            measured = np.interp(here, known, noise) / np.interp(0.0, known, noise)
            # beyond the classes that are known as the weight has it
            measured *= DEPTH.step ** (here - np.clip(here, known[0], known[-1]))
            least, most = np.minimum(predicted, 1.0), np.maximum(predicted, 1.0)
            return np.clip(measured, least, most).astype(np.float32)

        return NoiseMap(relative(self.blocks), self.side), relative(predicted)


def measure_noise_map(
    predicted: RowImage | None, coverage_mask: RowImage, *, n_threads: int = 1
) -> NoiseMap | None:
    """Return what weights or errors say of the noise of each place.

    Parameters
    ----------
    predicted : ndarray or RowImage, shape (ny, nx), or None
        Noise of each pixel in any unit; NaN, infinite or not above 0 = not known.
    coverage_mask : ndarray of bool or RowImage, shape (ny, nx)
        True = no detector has seen this pixel.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    NoiseMap or None
        None where nothing is known, or all places are alike.
    """
    if predicted is None:
        return None
    side = DEPTH.side

    def work(strip: Strip) -> NDArray:
        value = np.array(predicted[strip.rows], np.float32)
        value[coverage_mask[strip.rows] | ~np.isfinite(value) | ~(value > 0)] = np.nan
        return block_median(value, side, beyond=np.nan)

    blocks = np.concatenate(for_each_strip(work, predicted.shape, 0, n_threads))
    known = np.isfinite(blocks)
    if not known.any():
        return None
    blocks /= nan_median(blocks[known][np.newaxis], axis=1)[0]
    # beyond the edge of what is seen as at the edge
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    blocks = np.clip(blocks[tuple(nearest)], 1.0 / DEPTH.most, DEPTH.most)
    if np.ptp(blocks) < DEPTH.alike:
        return None
    return NoiseMap(blocks.astype(np.float32))


def noise_of_boxes(depth: NoiseMap | None, sky: BackgroundMesh) -> NDArray | float:
    """Return the noise in the middles of boxes, in units of that of the image.

    Parameters
    ----------
    depth : NoiseMap or None
        None: the same everywhere.
    sky : BackgroundMesh
        Whose boxes.

    Returns
    -------
    ndarray, shape (ny boxes, nx boxes), or float
    """
    return 1.0 if depth is None else depth.at(*sky.middles)


def expanded_rows(
    blocks: NDArray[np.float32], side: int, rows: slice, n_columns: int
) -> NDArray[np.float32]:
    """Return values of blocks, interpolated to the pixels of some rows.

    Parameters
    ----------
    blocks : ndarray, shape (ny / side, nx / side)
        Of the whole image.
    side : int
        Of a block, pixels.
    rows : slice
        First and last row.
    n_columns : int
        Width of the image, pixels.

    Returns
    -------
    ndarray of float32, shape (stop - start, n_columns)
    """
    # rows start anywhere in a block; two blocks more for the interpolation
    first = max(rows.start // side - 2, 0)
    last = -(-rows.stop // side) + 2
    offset = rows.start - first * side
    height = rows.stop - first * side
    return expand(blocks[first:last], (height, n_columns), side)[offset:]


@dataclass(frozen=True)
class SkyResidual:
    """An image less its sky in units of the noise, to be looked at in bins."""

    image: RowImage
    coverage_mask: RowImage
    core: NDArray[np.bool_]  # in bins of two by two pixels
    sky: BackgroundMesh
    noise: float
    rough: NDArray[np.bool_] | None = None  # boxes in which the sky has structure ...
    rough_box: tuple[int, int] = (1, 1)  # ... and their height and width
    depth: NoiseMap | None = None  # noise of each place in units of that

    def rough_bins(self, rows: slice, factor: int) -> NDArray[np.bool_]:
        """Return in which bins of some rows the sky has structure: no outskirts are seen there."""
        bins = block_rows(rows, factor)
        n_columns = -(-self.image.shape[1] // factor)
        if self.rough is None:
            return np.zeros((bins.stop - bins.start, n_columns), bool)
        down, across = (
            np.minimum(np.arange(first, last) * factor // side, n_boxes - 1)
            for first, last, side, n_boxes in zip(
                (bins.start, 0),
                (bins.stop, n_columns),
                self.rough_box,
                self.rough.shape,
                strict=True,
            )
        )
        return self.rough[np.ix_(down, across)]

    def noise_in_bins(self, rows: slice, factor: int) -> NDArray[np.float32] | float:
        """Return the noise of the places of bins in units of that of the image."""
        if self.depth is None:
            return 1.0
        return self.depth.rows(rows, self.image.shape[1])[::factor, ::factor]

    def binned(self, rows: slice, factor: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the means of bins, the pixels in each mean, and where a core is."""
        good = ~self.coverage_mask[rows] & np.isfinite(self.image[rows])
        level = self.sky.rows(rows.start, rows.stop)
        value = np.where(good, (self.image[rows] - level) / np.float32(self.noise), np.float32(0))
        total, count = (_sum(array, factor) for array in (value, good.astype(np.float32)))
        core = self.core[block_rows(rows, PROFILES.small_bin)]
        core = _sum(core, factor // PROFILES.small_bin) > 0
        return total / np.maximum(count, 1), count, core

    def all_binned(self, factor: int, n_threads: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the same for the whole image."""

        def work(strip: Strip) -> tuple[NDArray, NDArray, NDArray]:
            return self.binned(strip.rows, factor)

        parts = for_each_strip(work, self.image.shape, 0, n_threads)
        value, count, core = (np.concatenate(each) for each in zip(*parts, strict=True))
        return value, count, core


def _sum(array: NDArray, factor: int) -> NDArray[np.float32]:
    """Return the sums over bins; those at the edges are not full."""
    return block_sum(array, factor, beyond=0.0, dtype=np.float32)
