"""Outskirts of small sources: those of one brightness have a profile together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import block_rows
from ceers_steps.kernels.parts import label_parts
from ceers_steps.kernels.rows import Strip, for_each_strip
from ceers_steps.kernels.sources.exponential import fit_outer_exponential, radius_at_level
from ceers_steps.kernels.sources.large_sources import LargeSources
from ceers_steps.kernels.sources.noise_map import SkyResidual
from ceers_steps.kernels.sources.settings import PROFILES, SMALL

__all__ = ["light_of_small"]


def light_of_small(
    large: LargeSources, residual: SkyResidual, n_threads: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return mask and light of all sources in bins, those of large ones given.

    The light is in the unit of the image.

    Parameters
    ----------
    large : LargeSources
        What is known already.
    residual : SkyResidual
        Image without its sky, in units of the noise.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    mask : ndarray of bool, light : ndarray of float32
        In bins.
    """
    image = residual.image.shape
    shape = (SMALL.n_classes, len(SMALL.edges) - 1)

    def measure(strip: Strip) -> NDArray:
        near = _SmallSources.measure(large, residual, strip)
        use = near.use & (near.distance >= SMALL.edges[0]) & (near.distance < SMALL.edges[-1])
        # classes are bytes, their product with the number of distances is none
        key = (
            near.kind[use].astype(np.intp) * shape[1]
            + np.digitize(near.distance[use], SMALL.edges)
            - 1
        )
        light = np.bincount(
            key, np.clip(near.value[use], -SMALL.clip, SMALL.clip), shape[0] * shape[1]
        )
        return np.stack([light, np.bincount(key, minlength=shape[0] * shape[1])])

    overlap = 2 * SMALL.reach
    totals = np.sum(for_each_strip(measure, image, overlap, n_threads), axis=0)
    level, length, radius = _profiles(*totals.reshape(2, *shape))
    half = tuple(-(-size // PROFILES.small_bin) for size in image)
    all_bins, all_light = np.empty(half, bool), np.empty(half, np.float32)

    def mask(strip: Strip) -> None:
        near = _SmallSources.measure(large, residual, strip)
        rough = residual.rough_bins(strip.outer, PROFILES.small_bin)
        # where the sky has structure, the mask of the search stands
        inside = near.distance <= np.where(rough, 1.0, radius[near.kind])
        light = np.exp(level[near.kind] - near.distance / length[near.kind]).astype(np.float32)
        light[inside | rough] = 0.0
        bins, inner = (block_rows(rows, PROFILES.small_bin) for rows in (strip.rows, strip.inner))
        large_bins, large_light = large.half(strip.rows, image[1])
        all_bins[bins] = large_bins | inside[inner]
        all_light[bins] = (large_light + light[inner]) * np.float32(residual.noise)

    for_each_strip(mask, image, overlap, n_threads)
    return all_bins, all_light


@dataclass(frozen=True)
class _SmallSources:
    """Bins of a strip, and the small source that is nearest to each.

    Attributes
    ----------
    value, distance : ndarray
        Mean of a bin in units of the noise, and its distance from the source, bins.
    kind : ndarray of int
        Class of the source, by its flux.
    use : ndarray of bool
        True where the bin is sky, or outskirts of a small source.
    """

    value: NDArray
    distance: NDArray
    kind: NDArray
    use: NDArray[np.bool_]

    @classmethod
    def measure(cls, sources: LargeSources, residual: SkyResidual, strip: Strip) -> "_SmallSources":
        """Look at a strip; large sources are known."""
        value, count, core = residual.binned(strip.outer, PROFILES.small_bin)
        large, light = sources.half(strip.outer, residual.image.shape[1])
        value -= light
        labels = label_parts(core & ~large)
        number = int(labels.max())
        if number == 0:
            nothing = np.zeros(value.shape, bool)
            return cls(value, np.full(value.shape, np.inf), nothing.astype(np.int8), nothing)
        flux = np.bincount(labels.ravel(), value.ravel(), number + 1) * PROFILES.small_bin**2
        steps = np.log(np.maximum(flux, 1.0)) / np.log(SMALL.class_step)
        kinds = np.minimum(steps, SMALL.n_classes - 1).astype(np.int8)
        distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        kind = kinds[labels[tuple(nearest)]]
        use = (count > 0) & (labels == 0) & ~large
        return cls(
            value, distance, kind, use & ~residual.rough_bins(strip.outer, PROFILES.small_bin)
        )


def _profiles(
    light: NDArray, n: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return level and length of the outskirts of each class, and the radius of its mask, bins."""
    edges = np.array(SMALL.edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    # without outskirts: one bin is masked, and nothing is left beyond
    level, length = np.full(len(n), -np.inf), np.ones(len(n))
    for kind in np.flatnonzero(n.sum(axis=1)):
        profile = light[kind] / np.maximum(n[kind], 1)
        error = 2.0 / PROFILES.small_bin / np.sqrt(np.maximum(n[kind], 1))
        outer = fit_outer_exponential(
            middle, profile, error, SMALL.followed, n[kind] > SMALL.fewest_bins
        )
        if outer.length > 0.0:
            level[kind], length[kind] = outer.level, outer.length
    radius = np.maximum(radius_at_level(level, length, PROFILES.faintest), 1.0)
    # what has not faded where profiles end is the sky of a few sources
    sky = radius >= SMALL.reach / PROFILES.small_bin
    level[sky], length[sky], radius[sky] = -np.inf, 1.0, 1.0
    return level, length, radius
