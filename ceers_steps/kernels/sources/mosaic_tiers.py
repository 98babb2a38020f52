"""Source mask of a mosaic, in strips of rows: little memory beside the image and the mask.

The search is the tiered one of `ceers_steps.kernels.sources.tiers`. What it needs of the whole
image is little: the noise, from a sample of pixels, and the ring median, from an image binned by
eight pixels. Strips overlap by as much as a smoothing Gaussian and a grown source reach.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.additive.sky import fit_additive_sky
from ceers_steps.kernels.blocks import block_median
from ceers_steps.kernels.discs import dilate
from ceers_steps.kernels.parts import without_small_parts
from ceers_steps.kernels.rows import RowImage, Strip, crossing, flagged, for_each_strip
from ceers_steps.kernels.sources.background import fit_mesh
from ceers_steps.kernels.sources.noise_map import NoiseMap, expanded_rows, measure_noise_map
from ceers_steps.kernels.sources.sectors import border_ridges
from ceers_steps.kernels.sources.settings import SEARCH
from ceers_steps.kernels.sources.tiers import (
    Tier,
    TierSet,
    bin_factor,
    expand_at,
    ring_median,
    smooth,
)
from ceers_steps.kernels.stats import biweight_location, biweight_scale

__all__ = ["CORE", "MOSAIC_TIERS", "mask_mosaic"]

CORE = np.uint8(128)
"""Bit of pixels above the threshold of a tier, before sources are grown."""


def _published(nsigma: tuple[float, ...], npixels: tuple[int, ...]) -> TierSet:
    """Return a published set; the Gaussians, dilations and the ring are the same in all."""
    tiers = zip((25, 15, 5, 2), nsigma, npixels, (33, 25, 21, 19), strict=True)
    return TierSet(tuple(Tier(*tier) for tier in tiers), 80, 4, noise="pixel", footprint="disc")


MOSAIC_TIERS = {
    "NIRCAM": _published((1.5, 1.5, 1.5, 1.5), (15, 10, 3, 1)),
    # not published: the noise of these drizzled mosaics is correlated as that of NIRCam
    "NIRISS": _published((1.5, 1.5, 1.5, 1.5), (15, 10, 3, 1)),
    "MIRI": _published((1.5, 1.5, 1.5, 1.5), (15, 10, 3, 1)),
    "F606W": _published((0.8, 0.8, 0.6, 0.6), (5, 5, 1, 1)),
    "F814W": _published((0.8, 0.8, 0.8, 0.8), (5, 5, 1, 1)),
    "WFC3": _published((0.8, 0.8, 0.5, 0.5), (5, 5, 1, 1)),
}
"""The published searches on mosaics of 30 mas, by instrument or filter."""


def mask_mosaic(
    image: RowImage,
    coverage_mask: RowImage,
    parameters: TierSet,
    *,
    predicted_noise: RowImage | None = None,
    follow_borders: bool = False,
    n_threads: int = 1,
) -> NDArray[np.uint8]:
    """Find the sources of a mosaic, from the widest to the smallest.

    Bagley et al. 2023, section 3.3. Bright light does not raise the ring medians: pixels over five
    times the noise above a background of 100-pixel boxes count as sky there.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit. NaN count as not covered. It and the mask may also be a
        `~ceers_steps.kernels.rows.RowImage`, of which strips of rows are asked for.
    coverage_mask : ndarray of bool, shape (ny, nx)
        True = do not use: not seen by any detector.
    parameters : TierSet
        At most six tiers, thresholds relative to the pixel noise.
    predicted_noise : ndarray or RowImage, shape (ny, nx), optional
        Noise of each pixel as weights or errors tell it, in any unit: thresholds follow it, as far
        as the image has such noise. Default: one noise for all pixels, as published.
    follow_borders : bool
        A sky that rises along the border is no source; as published it is one where it rises faster
        than the ring medians. A sky that is the sum of profiles (`fit_additive_sky`) is taken out,
        and the search repeated.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    ndarray of uint8, shape (ny, nx)
        Bit 0: not covered. Bit k: source of tier k, grown. `CORE`: above the threshold of a tier.

    Raises
    ------
    ValueError
        When no pixel is left, or the noise is zero.
    """
    if parameters.noise != "pixel" or len(parameters.tiers) > 6:
        raise ValueError("a mosaic is searched with noise='pixel' and at most six tiers")
    bits = _search(image, coverage_mask, parameters, predicted_noise, follow_borders, n_threads)
    if follow_borders:
        steep = fit_additive_sky(
            image,
            flagged(bits, 255),
            coverage_mask,
            core=flagged(bits, int(CORE)),
            n_threads=n_threads,
        )
        if steep is not None:
            flat = steep.subtract_from(image)
            bits = _search(flat, coverage_mask, parameters, predicted_noise, True, n_threads)
    return bits


def _search(
    image: RowImage,
    coverage_mask: RowImage,
    parameters: TierSet,
    predicted_noise: RowImage | None,
    follow_borders: bool,
    n_threads: int,
) -> NDArray[np.uint8]:
    """Search an image once."""
    sky = _RingSky.measure(image, coverage_mask, parameters, follow_borders, n_threads)
    depth = measure_noise_map(predicted_noise, coverage_mask, n_threads=n_threads)
    scale, depth = sky.noise(image, coverage_mask, depth)
    grow = max(tier.growth for tier in parameters.tiers)
    widest = math.ceil(max(4 * tier.sigma for tier in parameters.tiers))
    overlap = widest + grow + SEARCH.connected_rows
    bits = np.zeros(image.shape, np.uint8)

    def search(strip: Strip) -> None:
        bad = coverage_mask[strip.outer] | ~np.isfinite(image[strip.outer])
        flat = sky.subtract(image, bad, strip.outer)
        found = bad.astype(np.uint8)
        noise = scale if depth is None else scale * depth.rows(strip.outer, image.shape[1])
        for number, tier in enumerate(parameters.tiers, start=1):
            above = smooth(flat, tier.sigma) > tier.nsigma * noise
            source = without_small_parts(above, tier.npixels)
            found[source] |= CORE
            found |= dilate(source, tier.growth).astype(np.uint8) << np.uint8(number)
        bits[strip.rows] = found[strip.inner]

    for_each_strip(search, image.shape, overlap, n_threads)
    return bits


@dataclass(frozen=True)
class _RingSky:
    """Ring medians of a mosaic, binned.

    Attributes
    ----------
    binned : ndarray, shape (ny / factor, nx / factor)
        Sky at the centres of blocks.
    factor : int
        Side of a block, pixels.
    """

    binned: NDArray[np.float32]
    factor: int

    @classmethod
    def measure(
        cls,
        image: RowImage,
        coverage_mask: RowImage,
        parameters: TierSet,
        follow_borders: bool,
        n_threads: int,
    ) -> "_RingSky":
        """Take the ring medians with bright pixels replaced by the location of the others."""
        level = fit_mesh(
            image,
            coverage_mask,
            box_size=SEARCH.clip_box,
            filter_size=SEARCH.clip_filter,
            n_threads=n_threads,
        )
        rows, columns, good = _sample(image, coverage_mask)
        sample = np.asarray(crossing(image, rows, columns), np.float32)
        residual = sample - level.at(rows, columns)
        ceiling = SEARCH.clip * biweight_scale(residual[good])
        location = np.float32(biweight_location(sample[good & ~(residual > ceiling)]))
        factor = bin_factor(parameters.ring_radius / 10.0)
        binned = np.empty([-(-size // factor) for size in image.shape], np.float32)
        seen = np.empty(binned.shape, bool)

        def work(strip: Strip) -> None:
            part = np.asarray(image[strip.rows], np.float32)
            covered = ~coverage_mask[strip.rows] & np.isfinite(part)
            use = covered & ~(part > level.rows(strip.start, strip.stop) + np.float32(ceiling))
            outside = np.float32(np.nan) if follow_borders else location
            filled = np.where(use, part, np.where(covered, location, outside))
            blocks = block_median(filled, factor, beyond=float(outside))
            place = slice(strip.start // factor, strip.start // factor + len(blocks))
            seen[place] = np.isfinite(blocks)
            binned[place] = np.where(seen[place], blocks, location)

        for_each_strip(work, image.shape, 0, n_threads)
        sky = ring_median(binned, parameters.ring_radius, parameters.ring_width, factor)
        if follow_borders:
            noise = ceiling / SEARCH.clip
            sky = sky + noise * border_ridges(
                (binned - sky) / noise, seen, parameters.ring_radius / factor
            )
        return cls(sky.astype(np.float32, copy=False), factor)

    def subtract(self, image: RowImage, bad: NDArray[np.bool_], rows: slice) -> NDArray[np.float32]:
        """Return some rows of the image without the sky, 0 where bad."""
        sky = expanded_rows(self.binned, self.factor, rows, image.shape[1])
        return np.where(bad, np.float32(0.0), image[rows] - sky)

    def noise(
        self, image: RowImage, coverage_mask: RowImage, depth: NoiseMap | None
    ) -> tuple[float, NoiseMap | None]:
        """Return the biweight scale of the image without the sky, and its map in units of it.

        From a sample of its rows.
        """
        step = max(1, math.prod(image.shape) // SEARCH.sample)
        rows, columns = np.arange(0, image.shape[0], step), np.arange(image.shape[1])
        values = np.asarray(crossing(image, rows, columns), np.float32)
        good = ~crossing(coverage_mask, rows, columns) & np.isfinite(values)
        values = (values - expand_at(self.binned, rows, columns, self.factor))[good]
        if depth is not None:
            predicted = expand_at(depth.blocks, rows, columns, depth.side)[good]
            depth, relative = depth.calibrated(values, predicted, biweight_scale)
            values = values / relative
        scale = biweight_scale(values)
        if not scale > 0.0:
            raise ValueError("the image has no noise: half of its pixels have one value")
        return scale, depth


def _sample(
    image: RowImage, coverage_mask: RowImage
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Return rows and columns evenly spread over an image, and which of their pixels are good."""
    step = max(1, int(math.sqrt(math.prod(image.shape) / SEARCH.sample)))
    while True:
        rows, columns = (np.arange(step // 2, size, step) for size in image.shape)
        good = ~crossing(coverage_mask, rows, columns) & np.isfinite(crossing(image, rows, columns))
        if good.any():
            return rows, columns, good
        if step == 1:
            raise ValueError("no pixel left to search for sources: all are not covered or NaN")
        step = max(1, step // 4)
