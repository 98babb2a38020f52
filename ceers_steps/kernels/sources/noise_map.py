"""Noise of each place of a mosaic: it is larger where fewer exposures were added up."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import block_median
from ceers_steps.kernels.rows import RowImage, Strip, for_each_strip
from ceers_steps.kernels.sources.background import BackgroundMesh
from ceers_steps.kernels.sources.settings import DEPTH
from ceers_steps.kernels.sources.tiers import expand
from ceers_steps.kernels.stats import nan_median

__all__ = ["NoiseMap", "expanded_rows", "measure_noise_map", "noise_of_boxes"]


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
