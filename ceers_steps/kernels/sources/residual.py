"""An image less its sky, in bins and units of the noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.blocks import block_rows, block_sum
from ceers_steps.kernels.rows import RowImage, Strip, for_each_strip
from ceers_steps.kernels.sources.background import BackgroundMesh
from ceers_steps.kernels.sources.noise_map import NoiseMap
from ceers_steps.kernels.sources.settings import PROFILES

__all__ = ["SkyResidual"]


@dataclass(frozen=True)
class SkyResidual:
    """An image less its sky in units of the noise, to be looked at in bins."""

    image: RowImage
    coverage_mask: RowImage
    core: NDArray[np.bool_]  # in bins of two by two pixels
    sky: BackgroundMesh
    noise: float
    rough: NDArray[np.bool_] | None = None  # boxes in which the sky has structure
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
                self.sky.box,
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
