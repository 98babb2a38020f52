"""How far the light of sources reaches, measured on the mosaic itself.

What a search leaves outside its mask is faint in each pixel but much in sum: a background that
follows it takes it away from the source. The mean light at growing distances from the edges of
sources shows it: around all small sources of one brightness together, where each alone is lost in
the noise, and around each large one by itself. The mask is grown to where this profile, continued
as the exponential that it is last seen to be, has become too faint to matter.

A sky with steps or steep slopes has light at the edges of sources too. It is on some sides of them
only, which tells it from outskirts; where a fine sky differs much from a smooth one, no outskirts
are looked for, and the mask of the search stands.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import block_rows, block_sum, enlarged, enlarged_rows
from ceers_steps.kernels.mesh.smoothing import smooth_boxes
from ceers_steps.kernels.parts import label_parts, nearest_large_part
from ceers_steps.kernels.rows import LazyRows, RowImage, Strip, crossing, for_each_strip
from ceers_steps.kernels.sources.background import (
    BackgroundMesh,
    NoSkyError,
    box_locations,
    fit_mesh,
)
from ceers_steps.kernels.sources.large_sources import around_large, light_of_large
from ceers_steps.kernels.sources.noise_map import (
    NoiseMap,
    SkyResidual,
    measure_noise_map,
    noise_of_boxes,
)
from ceers_steps.kernels.sources.sectors import fades_on_all_sides, thin_parts
from ceers_steps.kernels.sources.settings import FOLLOWED, LARGE, PROFILES, SEARCH, SKY
from ceers_steps.kernels.sources.small_sources import light_of_small
from ceers_steps.kernels.stats import mad_sigma

__all__ = ["Outskirts", "measure_outskirts", "noise_outside"]


@dataclass(frozen=True)
class Outskirts:
    """What a search leaves outside its mask, in bins of two by two pixels.

    Attributes
    ----------
    bins : ndarray of bool, shape (ny / 2, nx / 2)
        True = sources, to where their light is too faint to matter.
    light : ndarray of float32, shape (ny / 2, nx / 2)
        Mean light of sources beyond that, in the unit of the image.
    shape : tuple of int
        Shape (ny, nx) of the image.
    noise : float
        Noise of a pixel outside the sources, in the unit of the image.
    depth : NoiseMap or None
        Noise of each place in units of that, if it is known.
    residual : SkyResidual
        The image less the sky that this was measured from.
    """

    bins: NDArray[np.bool_]
    light: NDArray[np.float32]
    shape: tuple[int, ...]
    noise: float
    depth: NoiseMap | None
    residual: SkyResidual

    @property
    def mask(self) -> LazyRows:
        """Pixels of the bins, True = sources."""
        return LazyRows(
            self.shape,
            lambda rows: enlarged_rows(self.bins, PROFILES.small_bin, rows, self.shape[1]),
        )

    def subtract_from(self, image: RowImage) -> LazyRows:
        """Return an image without the light outside the mask."""

        side, n_columns = PROFILES.small_bin, self.shape[1]

        def work(rows: slice) -> NDArray:
            return image[rows] - enlarged_rows(self.light, side, rows, n_columns)

        return LazyRows(self.shape, work)


def measure_outskirts(
    image: RowImage,
    coverage_mask: RowImage,
    mask: RowImage,
    core: RowImage,
    *,
    predicted_noise: RowImage | None = None,
    n_threads: int = 1,
) -> Outskirts:
    """Find how far the light of sources reaches, and how much of it lies outside a mask.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit. It and the masks may also be a `~ceers_steps.kernels.rows.RowImage`, of
        which strips of rows are asked for.
    coverage_mask, mask, core : ndarray of bool, shape (ny, nx)
        True = no detector has seen this pixel; = sources, generously, where the sky is measured
        first; = above a threshold of the search.
    predicted_noise : ndarray or RowImage, shape (ny, nx), optional
        Noise of each pixel as weights or errors tell it, in any unit; default: the same for all.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    Outskirts

    Raises
    ------
    NoSkyError
        When the mask leaves no sky, or what is left has no noise.
    """
    core_bins = _any_in_bins(core, n_threads)
    coverage_mask = _without_thin_inplace(core_bins, coverage_mask)
    seen = _union(mask, coverage_mask)
    depth = measure_noise_map(predicted_noise, coverage_mask, n_threads=n_threads)
    sky = _sky(image, seen, SKY.wide, n_threads)
    noise, depth = noise_outside(image, seen, sky, depth)
    residual = SkyResidual(image, coverage_mask, core_bins, sky, noise, depth=depth)
    _add_extended_inplace(core_bins, residual, n_threads)
    around = _union(seen, around_large(residual, n_threads))
    try:
        residual = _residual(residual, around, image, n_threads)
    except NoSkyError:
        # a crowded field has no sky but that beside large sources: it is smooth, or it is light
        residual = _residual(residual, seen, image, n_threads)
        if residual.rough is None or residual.rough.mean() > SKY.crowded:
            raise
    _add_faint_inplace(core_bins, residual, n_threads)
    coverage_mask = _without_thin_inplace(core_bins, coverage_mask)
    residual = replace(residual, coverage_mask=coverage_mask)
    found = _outskirts(residual, n_threads)
    masked, clean = _union(found.mask, coverage_mask), found.subtract_from(image)
    residual = _residual(residual, masked, clean, n_threads)
    # as large as those to come
    del found, masked, clean
    return _outskirts(residual, n_threads)


def _outskirts(residual: SkyResidual, n_threads: int) -> Outskirts:
    """Return mask and light of large sources, then with those of small ones."""
    large = light_of_large(residual, n_threads)
    bins, light = light_of_small(large, residual, n_threads)
    shape = residual.image.shape
    return Outskirts(bins, light, shape, residual.noise, residual.depth, residual)


def _residual(before: SkyResidual, mask: RowImage, clean: RowImage, n_threads: int) -> SkyResidual:
    """Return an image less its sky, which is measured on one without the light of sources.

    The sky is a smooth one; where a finer one differs from it by more than sources could cause,
    the sky has structure, and is followed. What is below the smooth sky is no light of sources:
    there a still finer one counts, and tells of the holes beside it, too.
    """
    smooth = _sky(clean, mask, SKY.smooth, n_threads)
    fine, finest = _fine_skies(clean, mask, n_threads)
    noise, _ = noise_outside(clean, mask, smooth, before.depth)
    local = noise * noise_of_boxes(before.depth, fine)
    limit = FOLLOWED.structure * local
    sky = smooth.followed(fine, limit)
    lower = replace(finest, values=np.minimum(finest.values, sky.values))
    sky = sky.followed(lower, limit)
    level, seen = smooth.at_boxes(fine), _seen(mask, fine)
    # what fills a hole is no structure: only boxes in which the sky is seen tell
    rough = (np.abs(fine.values - level) / local > SKY.rough) & seen
    if seen.any():
        low = ((level - finest.values) / local > SKY.rough) & seen
        nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
        rough |= low[tuple(nearest)]
    # around a large source in a sky that is smooth elsewhere it is light
    near = _near_large(before.core, fine, SKY.large)
    elsewhere, (most, fewest) = seen & ~near, SKY.elsewhere
    enough = near.any() and elsewhere.sum() > fewest * rough.size
    if enough and rough[elsewhere].mean() < most:
        rough &= ~near
        sky = BackgroundMesh(np.where(near, level, sky.values), sky.box, sky.shape)
    rough = ndimage.binary_dilation(rough, iterations=SKY.rough_growth)
    noise, _ = noise_outside(clean, mask, sky, before.depth)
    return replace(before, sky=sky, noise=noise, rough=rough, rough_box=fine.box)


def _near_large(core: NDArray[np.bool_], sky: BackgroundMesh, least: float) -> NDArray[np.bool_]:
    """Return the boxes of a sky in which outskirts of a large source may be."""
    side = PROFILES.small_bin
    distance, size = nearest_large_part(core, least / side**2)
    near = distance <= np.minimum(LARGE.sizes * size, LARGE.reach / side)
    rows, columns = (middle // side for middle in sky.middles)
    return near[np.ix_(rows, columns)]


def _fine_skies(
    image: RowImage, mask: RowImage, n_threads: int
) -> tuple[BackgroundMesh, BackgroundMesh]:
    """Return skies in small boxes: with the median filter of ``SKY.fine``, and the smallest one."""
    side, filter_size = SKY.fine
    ny, nx = image.shape
    box = (min(side, ny), min(side, nx))
    boxes = box_locations(image, mask, box, SKY.clip, SKY.exclude, n_threads)

    def filtered(size: int) -> BackgroundMesh:
        values = smooth_boxes(boxes, size, fill="gaussian", max_degree=FOLLOWED.degree)
        return BackgroundMesh(values, box, (ny, nx))

    return filtered(filter_size), filtered(SKY.smallest_filter)


def _seen(mask: RowImage, sky: BackgroundMesh) -> NDArray[np.bool_]:
    """Return the boxes of a sky of which half is unmasked."""
    ny, nx = sky.shape
    height, width = sky.box
    n_columns = sky.values.shape[1]
    seen = np.empty(sky.values.shape, bool)
    for number in range(len(seen)):
        row = slice(number * height, min((number + 1) * height, ny))
        free = np.zeros(n_columns * width, np.intp)
        free[:nx] = np.count_nonzero(~mask[row], axis=0)
        seen[number] = 2 * free.reshape(n_columns, width).sum(axis=1) >= height * width
    return seen


def _sky(image: RowImage, mask: RowImage, boxes: tuple[int, int], n_threads: int) -> BackgroundMesh:
    """Return the sky outside a mask, from boxes of some size and filter."""
    return fit_mesh(
        image,
        mask,
        box_size=boxes[0],
        filter_size=boxes[1],
        sigma_clip=SKY.clip,
        exclude_fraction=SKY.exclude,
        fill="gaussian",
        max_degree=FOLLOWED.degree,
        n_threads=n_threads,
    )


def _union(first: RowImage, second: RowImage) -> LazyRows:
    """Return two masks as one."""
    return LazyRows(first.shape, lambda rows: first[rows] | second[rows])


def _any_in_bins(mask: RowImage, n_threads: int) -> NDArray[np.bool_]:
    """Return the bins of two by two pixels in which a mask has a pixel."""

    def work(strip: Strip) -> NDArray[np.bool_]:
        return block_sum(mask[strip.rows], PROFILES.small_bin, beyond=0) > 0

    return np.concatenate(for_each_strip(work, mask.shape, 0, n_threads))


def _without_thin_inplace(core: NDArray[np.bool_], coverage_mask: RowImage) -> RowImage:
    """Take lines and frames out of what are sources; return the mask of what is not looked at."""
    factor = PROFILES.large_bin
    across = factor // PROFILES.small_bin
    labels = label_parts(block_sum(core, across, beyond=0) > 0)
    thin = thin_parts(labels, LARGE.smallest / factor**2)
    if not thin.any():
        return coverage_mask
    core &= ~enlarged(thin, across, core.shape)
    shape = coverage_mask.shape
    return _union(
        coverage_mask,
        LazyRows(shape, lambda rows: enlarged_rows(thin, factor, rows, shape[1])),
    )


def noise_outside(
    image: RowImage, mask: RowImage, sky: BackgroundMesh, depth: NoiseMap | None
) -> tuple[float, NoiseMap | None]:
    """Measure the noise of a pixel outside a mask.

    Parameters
    ----------
    image : ndarray or RowImage, shape (ny, nx)
        In any unit.
    mask : ndarray of bool or RowImage, shape (ny, nx)
        True = do not use.
    sky : BackgroundMesh
        Its sky.
    depth : NoiseMap or None
        Noise of each place, in units of that of the middle one, as weights tell it.

    Returns
    -------
    noise : float
        In the unit of the image.
    depth : NoiseMap or None
        The noise of each place in units of that, as the image has it.

    Raises
    ------
    NoSkyError
        When no pixel is left, or there is no noise.
    """
    rows, columns = (np.arange(size)[:: SKY.sample_step] for size in image.shape)
    difference = crossing(image, rows, columns) - sky.at(rows, columns)
    free = ~crossing(mask, rows, columns)
    difference = difference[free]
    if depth is not None:
        expected = depth.at(rows, columns)[free]
        depth, relative = depth.calibrated(difference, expected, mad_sigma)
        difference = difference / relative
    noise = mad_sigma(difference)
    if not noise > 0.0:
        raise NoSkyError("no sky is left outside the sources, or it has no noise")
    return noise, depth


def _add_faint_inplace(core: NDArray[np.bool_], residual: SkyResidual, n_threads: int) -> None:
    """Add sources that the tiers leave: significant in a smoothed image, below a threshold."""

    side, overlap = PROFILES.small_bin, SEARCH.connected_rows
    near = _near_large(core, residual.sky, LARGE.smallest)
    # wide light around large sources is theirs
    free = replace(residual, rough=near if residual.rough is None else near | residual.rough)

    def search(strip: Strip) -> NDArray[np.bool_]:
        value, count, known = residual.binned(strip.outer, side)
        local = residual.noise_in_bins(strip.outer, side)

        def significant(value: NDArray, sigma: float) -> NDArray[np.bool_]:
            smoothed = ndimage.gaussian_filter(value, sigma / side, truncate=4.0) / local
            noise = mad_sigma(smoothed[count > 0]) if count.any() else np.inf
            return (smoothed > SKY.faint_nsigma * noise) & (count > 0)

        found = significant(value, SKY.faint_sigma) & ~residual.rough_bins(strip.outer, side)
        for sigma in SKY.wider_sigmas:
            # only what is not known: a known source would grow by the width of the Gaussian
            around = ndimage.maximum_filter(known, 2 * int(sigma / side) + 1)
            new = significant(np.where(around, 0.0, value), sigma)
            found |= new & ~free.rough_bins(strip.outer, side)
        return found[block_rows(strip.inner, side)]

    core |= np.concatenate(for_each_strip(search, residual.image.shape, overlap, n_threads))


def _add_extended_inplace(core: NDArray[np.bool_], residual: SkyResidual, n_threads: int) -> None:
    """Add what is wider than the ring of the search, and was taken for sky by it."""
    value, count, _ = residual.all_binned(PROFILES.large_bin, n_threads)
    # compact sources, cut off at a few times the noise, do not reach the threshold
    light = np.clip(value, -SKY.extended_clip, SKY.extended_clip) * (count > 0)
    share = (count > 0).astype(np.float32)
    sigma = SKY.extended_sigma / PROFILES.large_bin
    smoothed, share = (ndimage.gaussian_filter(each, sigma) for each in (light, share))
    smoothed /= np.maximum(share, 0.1)
    # structure of the sky counts as noise here
    noise = mad_sigma(smoothed[count > 0])
    threshold = max(SKY.extended_level, SKY.extended_nsigma * noise)
    found = (smoothed > threshold) & (count > 0)
    found = fades_on_all_sides(label_parts(found), smoothed, share > 0.5, 0.5 * threshold)
    core |= enlarged(found, PROFILES.large_bin // PROFILES.small_bin, core.shape)
