"""How far the light of sources reaches, measured on the mosaic itself.

What a search leaves outside its mask is faint in each pixel but much in sum: a background that
follows it takes it away from the source. The mean light at growing distances from the edges of
sources shows it: around all small sources of one brightness together, where each alone is lost in
the noise, and around each large one by itself. The mask is grown to where this profile, continued
as the exponential that it is last seen to be, has become too faint to matter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.background import BackgroundMesh, fit_mesh
from ceers_steps.kernels.bins import bin_rows, bin_sum, enlarged, pixels_of_bins
from ceers_steps.kernels.disc import grown_box
from ceers_steps.kernels.exponential_tail import last_exponential
from ceers_steps.kernels.lazy_rows import LazyRows, RowImage, crossing
from ceers_steps.kernels.mosaic_mask import Strip, for_each_strip
from ceers_steps.kernels.robust import mad_sigma

__all__ = ["Outskirts", "measure_outskirts"]

_EIGHT = np.ones((3, 3), bool)
_SKY_BOX, _SKY_FILTERS = 100, (11, 5)
"""Boxes (pixels) of the sky that profiles are measured from, and its median filter (boxes) in each
pass: a sky that follows an extended source would hide it."""

_EDGE = 0.05
"""Light at the edge of the mask, in units of the noise of a pixel."""

_FADED_LARGE, _FADED_SMALL = 0.15, 0.05
"""Light (same unit) below which a profile is no longer followed: structure of the sky remains
around a single source, and averages out around many."""

_SKY_EXCLUDE = 0.97
"""Fraction of masked pixels above which a box is left out: 300 pixels are enough for a mean."""

_LARGE_BIN, _SMALL_BIN = 4, 2
"""Pixels that are averaged for profiles of large and of small sources."""

_LARGE = 960
"""Pixels above the threshold that make a source large."""

_LARGE_REACH, _SMALL_REACH = 480, 60
"""Pixels by which masks are grown at most."""

_LARGE_SIZES = 4.0
"""The same in units of the source's size above the threshold (radius of a disc of its area)."""

_CLASS_STEP = 2.5
"""Ratio of fluxes from one class of small sources to the next."""

_FAINT_SIGMA, _FAINT_NSIGMA = 2.0, 4.5
"""Smoothing (pixels) and threshold (noise of the smoothed image) of the search for faint ones."""

_EXTENDED_SIGMA, _EXTENDED_CLIP = 12.0, 3.0
_EXTENDED_LEVEL, _EXTENDED_NSIGMA = 0.4, 4.0
"""Search for extended sources: smoothing (pixels), largest value of a bin, and threshold, in units
of the noise of a pixel and of that of the smoothed image."""

_N_CLASSES = 24

_EDGES = np.array([0.5, 1.5, 2.5, 3.5, 4.5, 6, 8, 10, 13, 16, 20, 25, 30])
"""Distances (bins) between which the light around small sources is averaged."""

_SAMPLE_STEP = 7
"""Every so manieth row and column is used for the noise."""


@dataclass(frozen=True)
class Outskirts:
    """What a search leaves outside its mask, in bins of two by two pixels.

    Attributes
    ----------
    bins : ndarray of bool, shape (ny / 2, nx / 2)
        True = sources, to where their light is `_EDGE` of the noise of a pixel.
    light : ndarray of float32, shape (ny / 2, nx / 2)
        Mean light of sources beyond that, in the unit of the image.
    shape : tuple of int
        Shape (ny, nx) of the image.
    """

    bins: NDArray[np.bool_]
    light: NDArray[np.float32]
    shape: tuple[int, ...]

    @property
    def mask(self) -> LazyRows:
        """Pixels of the bins, True = sources."""
        return LazyRows(
            self.shape, lambda rows: pixels_of_bins(self.bins, _SMALL_BIN, rows, self.shape[1])
        )

    def subtract_from(self, image: RowImage) -> LazyRows:
        """Return an image without the light outside the mask."""

        def work(rows: slice) -> NDArray:
            return image[rows] - pixels_of_bins(self.light, _SMALL_BIN, rows, self.shape[1])

        return LazyRows(self.shape, work)


def measure_outskirts(
    image: RowImage,
    border: RowImage,
    mask: RowImage,
    core: RowImage,
    *,
    n_threads: int = 1,
) -> Outskirts:
    """Find how far the light of sources reaches, and how much of it lies outside a mask.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit. It and the masks may also be a `~ceers_steps.kernels.lazy_rows.RowImage`, of
        which strips of rows are asked for.
    border, mask, core : ndarray of bool, shape (ny, nx)
        True = no detector has seen this pixel; = sources, generously, where the sky is measured
        first; = above a threshold of the search.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    Outskirts

    Raises
    ------
    ValueError
        When the sources leave no sky.
    """
    core_bins = _any_in_bins(core, n_threads)
    first, second = _SKY_FILTERS
    residual = _residual(image, border, _union(mask, border), core_bins, image, first, n_threads)
    _add_faint_inplace(core_bins, residual, n_threads)
    _add_extended_inplace(core_bins, residual, n_threads)
    found = _with_small(_around_large(residual, n_threads), residual, n_threads)
    masked, clean = _union(found.mask, border), found.subtract_from(image)
    residual = _residual(image, border, masked, core_bins, clean, second, n_threads)
    # as large as those to come
    del found, masked, clean
    return _with_small(_around_large(residual, n_threads), residual, n_threads)


def _residual(
    image: RowImage,
    border: RowImage,
    mask: RowImage,
    core_bins: NDArray[np.bool_],
    clean: RowImage,
    filter_size: int,
    n_threads: int,
) -> "_Residual":
    """Return an image less its sky, which is measured on one without the light of sources."""
    sky = fit_mesh(
        clean,
        mask,
        box_size=_SKY_BOX,
        filter_size=filter_size,
        exclude_fraction=_SKY_EXCLUDE,
        fill="pyramid",
        n_threads=n_threads,
    )
    return _Residual(image, border, core_bins, sky, _noise(clean, mask, sky))


def _union(first: RowImage, second: RowImage) -> LazyRows:
    """Return two masks as one."""
    return LazyRows(first.shape, lambda rows: first[rows] | second[rows])


def _any_in_bins(mask: RowImage, n_threads: int) -> NDArray[np.bool_]:
    """Return the bins of two by two pixels in which a mask has a pixel."""

    def work(strip: Strip) -> NDArray[np.bool_]:
        return bin_sum(mask[strip.rows].astype(np.float32), _SMALL_BIN) > 0

    return np.concatenate(for_each_strip(work, mask.shape, 0, n_threads))


def _noise(image: RowImage, mask: RowImage, sky: BackgroundMesh) -> float:
    """Return the noise of a pixel outside the mask."""
    rows, columns = (np.arange(size)[::_SAMPLE_STEP] for size in image.shape)
    difference = crossing(image, rows, columns) - sky.at(rows, columns)
    difference = difference[~crossing(mask, rows, columns)]
    noise = mad_sigma(difference)
    if not noise > 0.0:
        raise ValueError("no sky is left outside the sources, or it has no noise")
    return noise


@dataclass(frozen=True)
class _Residual:
    """An image less its sky in units of the noise, to be looked at in bins."""

    image: RowImage
    border: RowImage
    core: NDArray[np.bool_]  # in bins of two by two pixels
    sky: BackgroundMesh
    noise: float

    def binned(self, rows: slice, factor: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the means of bins, the pixels in each mean, and where a core is."""
        good = ~self.border[rows] & np.isfinite(self.image[rows])
        level = self.sky.rows(rows.start, rows.stop)
        value = np.where(good, (self.image[rows] - level) / np.float32(self.noise), np.float32(0))
        total, count = (bin_sum(array, factor) for array in (value, good.astype(np.float32)))
        core = self.core[bin_rows(rows, _SMALL_BIN)]
        core = bin_sum(core.astype(np.float32), factor // _SMALL_BIN) > 0
        return total / np.maximum(count, 1), count, core

    def all_binned(self, factor: int, n_threads: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the same for the whole image."""

        def work(strip: Strip) -> tuple[NDArray, NDArray, NDArray]:
            return self.binned(strip.rows, factor)

        parts = for_each_strip(work, self.image.shape, 0, n_threads)
        value, count, core = (np.concatenate(each) for each in zip(*parts, strict=True))
        return value, count, core


def _add_faint_inplace(core: NDArray[np.bool_], residual: _Residual, n_threads: int) -> None:
    """Add sources that the tiers leave: significant in the smoothed image, below a threshold."""

    def search(strip: Strip) -> NDArray[np.bool_]:
        value, count, _ = residual.binned(strip.outer, _SMALL_BIN)
        smoothed = ndimage.gaussian_filter(value, _FAINT_SIGMA / _SMALL_BIN, truncate=4.0)
        noise = mad_sigma(smoothed[count > 0]) if count.any() else np.inf
        found = (smoothed > _FAINT_NSIGMA * noise) & (count > 0)
        return found[bin_rows(strip.inner, _SMALL_BIN)]

    core |= np.concatenate(for_each_strip(search, residual.image.shape, 32, n_threads))


def _add_extended_inplace(core: NDArray[np.bool_], residual: _Residual, n_threads: int) -> None:
    """Add what is wider than the ring of the search, and was taken for sky by it."""
    value, count, _ = residual.all_binned(_LARGE_BIN, n_threads)
    # compact sources, cut off at a few times the noise, do not reach the threshold
    light = np.clip(value, -_EXTENDED_CLIP, _EXTENDED_CLIP) * (count > 0)
    share = (count > 0).astype(np.float32)
    smoothed, share = (
        ndimage.gaussian_filter(each, _EXTENDED_SIGMA / _LARGE_BIN) for each in (light, share)
    )
    smoothed /= np.maximum(share, 0.1)
    # structure of the sky counts as noise here
    noise = mad_sigma(smoothed[count > 0])
    found = (smoothed > max(_EXTENDED_LEVEL, _EXTENDED_NSIGMA * noise)) & (count > 0)
    core |= enlarged(found, _LARGE_BIN // _SMALL_BIN, core.shape)


@dataclass(frozen=True)
class _LargeSources:
    """Mask and light of large sources, in bins of four by four pixels and units of the noise."""

    mask: NDArray[np.bool_]
    light: NDArray[np.float32]

    def half(self, rows: slice, n_columns: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return both for some rows of an image (from a whole bin on), in bins of two by two."""
        part = bin_rows(rows, _LARGE_BIN)
        shape = -(-(rows.stop - rows.start) // _SMALL_BIN), -(-n_columns // _SMALL_BIN)
        factor = _LARGE_BIN // _SMALL_BIN
        return enlarged(self.mask[part], factor, shape), enlarged(self.light[part], factor, shape)


def _around_large(residual: _Residual, n_threads: int) -> _LargeSources:
    """Return mask and light of large sources, each with its own profile."""
    factor = _LARGE_BIN
    value, count, core = residual.all_binned(factor, n_threads)
    binned = value.shape
    labels, _ = ndimage.label(core, structure=_EIGHT)
    boxes = ndimage.find_objects(labels)
    area = np.bincount(labels.ravel(), minlength=len(boxes) + 1)
    flux = np.bincount(labels.ravel(), weights=value.ravel(), minlength=len(boxes) + 1)
    large = np.flatnonzero(area * factor**2 >= _LARGE)
    large = large[large > 0]
    mask, light = np.zeros(binned, bool), np.zeros(binned, np.float32)
    # the brightest first: what lies in its outskirts is not taken for those of another
    for number in large[np.argsort(-flux[large])]:
        window = grown_box(boxes[number - 1], _LARGE_REACH // factor, binned)
        own = labels[window] == number
        others = ndimage.binary_dilation((labels[window] > 0) & ~own, _EIGHT, iterations=2)
        distance = ndimage.distance_transform_edt(~own)
        use = (count[window] > 0) & ~own & ~others & ~mask[window]
        level, length = _large_profile((value[window] - light[window])[use], distance[use])
        # outskirts are no wider than what they surround: the rest is sky
        size = np.sqrt(area[number] / np.pi)
        length = min(length, size)
        reach = min(_LARGE_SIZES * size, _LARGE_REACH / factor)
        radius = np.clip(length * (level - np.log(_EDGE)), 1.0, reach)
        mask[window] |= distance <= radius
        if length > 0.0:
            light[window] += np.exp(level - np.maximum(distance, radius) / length)
    light[mask] = 0.0
    return _LargeSources(mask, light)


def _large_profile(value: NDArray, distance: NDArray) -> tuple[float, float]:
    """Return the exponential that the outskirts of one source end in; length 0 without any."""
    edges = np.concatenate([[0.5, 1.5, 2.5, 3.5], np.geomspace(4.5, _LARGE_REACH / _LARGE_BIN, 20)])
    which = np.digitize(distance, edges)
    n = np.bincount(which, minlength=len(edges) + 1)[1:-1]
    total = np.bincount(which, np.clip(value, -10.0, 10.0), len(edges) + 1)[1:-1]
    # noise of a bin's mean: that of a pixel, correlated over neighbours
    error = 2.0 / _LARGE_BIN / np.sqrt(np.maximum(n, 1))
    limit = np.maximum(_FADED_LARGE, 3.0 * error)
    middle = 0.5 * (edges[1:] + edges[:-1])
    return last_exponential(middle, total / np.maximum(n, 1), limit, n > 4)


def _with_small(large: _LargeSources, residual: _Residual, n_threads: int) -> Outskirts:
    """Return mask and light of all sources; the small ones have the profile of their class."""
    image = residual.image.shape
    shape = (_N_CLASSES, len(_EDGES) - 1)

    def measure(strip: Strip) -> NDArray:
        near = _SmallSources.measure(large, residual, strip)
        use = near.use & (near.distance >= _EDGES[0]) & (near.distance < _EDGES[-1])
        key = near.kind[use] * shape[1] + np.digitize(near.distance[use], _EDGES) - 1
        light = np.bincount(key, np.clip(near.value[use], -3.0, 3.0), shape[0] * shape[1])
        return np.stack([light, np.bincount(key, minlength=shape[0] * shape[1])])

    overlap = 2 * _SMALL_REACH
    totals = np.sum(for_each_strip(measure, image, overlap, n_threads), axis=0)
    level, length, radius = _profiles_of_small(*totals.reshape(2, *shape))
    half = tuple(-(-size // _SMALL_BIN) for size in image)
    all_bins, all_light = np.empty(half, bool), np.empty(half, np.float32)

    def mask(strip: Strip) -> None:
        near = _SmallSources.measure(large, residual, strip)
        inside = near.distance <= radius[near.kind]
        light = np.exp(level[near.kind] - near.distance / length[near.kind]).astype(np.float32)
        light[inside] = 0.0
        bins, inner = (bin_rows(rows, _SMALL_BIN) for rows in (strip.rows, strip.inner))
        large_bins, large_light = large.half(strip.rows, image[1])
        all_bins[bins] = large_bins | inside[inner]
        all_light[bins] = (large_light + light[inner]) * np.float32(residual.noise)

    for_each_strip(mask, image, overlap, n_threads)
    return Outskirts(all_bins, all_light, image)


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
    def measure(cls, sources: _LargeSources, residual: _Residual, strip: Strip):
        """Look at a strip; large sources are known."""
        value, count, core = residual.binned(strip.outer, _SMALL_BIN)
        large, light = sources.half(strip.outer, residual.image.shape[1])
        value -= light
        labels, number = ndimage.label(core & ~large, structure=_EIGHT)
        if number == 0:
            nothing = np.zeros(value.shape, bool)
            return cls(value, np.full(value.shape, np.inf), nothing.astype(np.int8), nothing)
        flux = np.bincount(labels.ravel(), value.ravel(), number + 1) * _SMALL_BIN**2
        steps = np.log(np.maximum(flux, 1.0)) / np.log(_CLASS_STEP)
        kinds = np.minimum(steps, _N_CLASSES - 1).astype(np.int8)
        distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        kind = kinds[labels[tuple(nearest)]]
        return cls(value, distance, kind, (count > 0) & (labels == 0) & ~large)


def _profiles_of_small(
    light: NDArray, n: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return level and length of the outskirts of each class, and the radius of its mask, bins."""
    middle = 0.5 * (_EDGES[1:] + _EDGES[:-1])
    # without outskirts: one bin is masked, and nothing is left beyond
    level, length = np.full(len(n), -np.inf), np.ones(len(n))
    for kind in np.flatnonzero(n.sum(axis=1)):
        profile = light[kind] / np.maximum(n[kind], 1)
        error = 2.0 / _SMALL_BIN / np.sqrt(np.maximum(n[kind], 1))
        limit = np.maximum(_FADED_SMALL, 3.0 * error)
        found = last_exponential(middle, profile, limit, n[kind] > 10)
        if found[1] > 0.0:
            level[kind], length[kind] = found
    radius = np.clip(length * (level - np.log(_EDGE)), 1.0, _SMALL_REACH / _SMALL_BIN)
    return level, length, radius
