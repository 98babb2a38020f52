"""Outskirts of large sources, each with a profile of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import block_rows, enlarged, enlarged_rows
from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.parts import EIGHT_NEIGHBOURS, label_parts
from ceers_steps.kernels.rows import LazyRows
from ceers_steps.kernels.sources.exponential import (
    NO_LIGHT,
    OuterExponential,
    fit_outer_exponential,
    radius_at_level,
)
from ceers_steps.kernels.sources.noise_map import SkyResidual
from ceers_steps.kernels.sources.sectors import sectors_around
from ceers_steps.kernels.sources.settings import LARGE, PROFILES, SECTORS

__all__ = ["LargeSources", "around_large", "light_of_large"]


@dataclass(frozen=True)
class LargeSources:
    """Mask and light of large sources, in bins of four by four pixels and units of the noise."""

    mask: NDArray[np.bool_]
    light: NDArray[np.float32]

    def half(self, rows: slice, n_columns: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return both for some rows of an image (from a whole bin on), in bins of two by two."""
        part = block_rows(rows, PROFILES.large_bin)
        shape = (
            -(-(rows.stop - rows.start) // PROFILES.small_bin),
            -(-n_columns // PROFILES.small_bin),
        )
        factor = PROFILES.large_bin // PROFILES.small_bin
        return enlarged(self.mask[part], factor, shape), enlarged(self.light[part], factor, shape)


def around_large(residual: SkyResidual, n_threads: int) -> LazyRows:
    """Return large sources with what lies around them, where their light is expected.

    Parameters
    ----------
    residual : SkyResidual
        Image without its sky.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    LazyRows of bool, shape (ny, nx)
        True = within 1.5 times its size of a source.
    """
    factor = PROFILES.large_bin
    _, _, core = residual.all_binned(factor, n_threads)
    labels = label_parts(core)
    mask = np.zeros(core.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        area = np.count_nonzero(labels[box] == number)
        if area * factor**2 < LARGE.smallest:
            continue
        growth = min(LARGE.hidden * np.sqrt(area / np.pi), LARGE.reach / factor)
        window = grown_box(box, int(growth) + 1, core.shape)
        mask[window] |= _elliptical_distance(labels[window] == number) <= growth
    shape = residual.image.shape
    return LazyRows(shape, lambda rows: enlarged_rows(mask, factor, rows, shape[1]))


def light_of_large(residual: SkyResidual, n_threads: int) -> LargeSources:
    """Return mask and light of large sources, each with its own profile.

    Parameters
    ----------
    residual : SkyResidual
        Image without its sky, in units of the noise.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    LargeSources
        Mask and light in bins.
    """
    factor = PROFILES.large_bin
    value, count, core = residual.all_binned(factor, n_threads)
    rough = residual.rough_bins(slice(0, residual.image.shape[0]), factor)
    binned = value.shape
    labels = label_parts(core)
    boxes = ndimage.find_objects(labels)
    area = np.bincount(labels.ravel(), minlength=len(boxes) + 1)
    flux = np.bincount(labels.ravel(), weights=value.ravel(), minlength=len(boxes) + 1)
    large = np.flatnonzero(area * factor**2 >= LARGE.smallest)
    large = large[large > 0]
    mask, light = np.zeros(binned, bool), np.zeros(binned, np.float32)
    # the brightest first: what lies in its outskirts is not taken for those of another
    for number in large[np.argsort(-flux[large])]:
        window = grown_box(boxes[number - 1], LARGE.reach // factor, binned)
        own = labels[window] == number
        others = ndimage.binary_dilation(
            (labels[window] > 0) & ~own, EIGHT_NEIGHBOURS, iterations=2
        )
        distance = _elliptical_distance(own)
        use = (count[window] > 0) & ~own & ~others & ~mask[window] & ~rough[window]
        size = np.sqrt(area[number] / np.pi)
        reach = min(LARGE.sizes * size, LARGE.reach / factor)
        outer = _profile(
            (value[window] - light[window])[use],
            distance[use],
            sectors_around(own)[use],
            2.0 * reach,
        )
        # outskirts are no wider than what they surround: the rest is sky
        length = min(outer.length, size)
        radius = np.clip(radius_at_level(outer.level, length, PROFILES.faintest), 1.0, reach)
        mask[window] |= (distance <= radius) & (own | ~rough[window])
        if length > 0.0:
            light[window] += np.exp(outer.level - np.maximum(distance, radius) / length)
    light[mask | rough] = 0.0
    return LargeSources(mask, light)


def _elliptical_distance(own: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distances from a source, shorter along its major axis than along its minor one.

    They are those from its nearest pixel in units of its axes, the mean of which (geometric) is 1:
    isophotes of a flat galaxy are flat.
    """
    variance, axes = np.linalg.eigh(np.cov(np.argwhere(own).T))
    ratio = np.maximum(np.sqrt(np.maximum(variance, 0.0) / variance[1]), LARGE.flattest)
    stretch = (axes * np.sqrt(ratio[0]) / ratio) @ axes.T
    nearest = ndimage.distance_transform_edt(~own, return_distances=False, return_indices=True)
    rows, columns = np.ogrid[: own.shape[0], : own.shape[1]]
    dy, dx = rows - nearest[0], columns - nearest[1]
    return np.hypot(
        stretch[0, 0] * dy + stretch[0, 1] * dx, stretch[1, 0] * dy + stretch[1, 1] * dx
    )


def _profile(
    value: NDArray, distance: NDArray, sector: NDArray[np.intp], outermost: float
) -> OuterExponential:
    """Return the exponential that the outskirts of one source end in.

    The profile is the median over sectors, to twice as far as outskirts may reach: a step of the
    sky is on one side of a source, and a slope goes up on one side and down on the other.
    """
    first, n_far = LARGE.far_edges
    farthest = LARGE.reach / PROFILES.large_bin
    edges = np.concatenate([LARGE.edges, np.geomspace(first, farthest, n_far)])
    edges = edges[: max(np.searchsorted(edges, outermost) + 1, LARGE.fewest_edges)]
    shape = SECTORS.number, len(edges) + 1
    which = np.digitize(distance, edges) + shape[1] * sector
    size = SECTORS.number * shape[1]
    n = np.bincount(which, minlength=size).reshape(shape)[:, 1:-1]
    light = np.clip(value, -LARGE.clip, LARGE.clip)
    total = np.bincount(which, light, size).reshape(shape)[:, 1:-1]
    few = n < LARGE.few_bins
    means = np.ma.array(total / np.maximum(n, 1), mask=few)
    profile = np.ma.median(means, axis=0).filled(0.0)
    # noise of a bin's mean: that of a pixel, correlated over neighbours
    error = LARGE.median_error * 2.0 / PROFILES.large_bin / np.sqrt(np.maximum(n.sum(axis=0), 1))
    middle = 0.5 * (edges[1:] + edges[:-1])
    known = 2 * np.count_nonzero(~few, axis=0) >= SECTORS.number
    outer = fit_outer_exponential(middle, profile, error, LARGE.followed, known)
    return outer if _on_all_sides(means, n, middle, outer) else NO_LIGHT


def _on_all_sides(
    means: np.ma.MaskedArray, n: NDArray[np.intp], distance: NDArray, outer: OuterExponential
) -> bool:
    """Say whether nearly all sectors have the light that their median tells."""
    if outer.length == 0.0:
        return False
    expected = np.exp(outer.level - distance / outer.length)
    expected[expected < PROFILES.faintest] = 0.0
    weight = np.where(np.ma.getmaskarray(means), 0, n) * expected
    known = weight @ expected
    found = np.sum(weight * (means.filled(0.0) - outer.constant), axis=1)
    # a sector that hardly reaches into the outskirts tells nothing of them
    enough = known > 0.2 * np.median(known)
    alike = found[enough] > 0.5 * known[enough]
    return np.count_nonzero(alike) >= SECTORS.alike * max(alike.size, 1)
