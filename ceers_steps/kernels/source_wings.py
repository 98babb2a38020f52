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
from ceers_steps.kernels.disc import grown_box
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
    """What a search leaves outside its mask.

    Attributes
    ----------
    mask : ndarray of bool, shape (ny, nx)
        True = sources, to where their light is `_EDGE` of the noise of a pixel.
    light : ndarray of float32, shape (ny / 2, nx / 2)
        Mean light of sources beyond that, in bins of two by two pixels, in the unit of the image.
    """

    mask: NDArray[np.bool_]
    light: NDArray[np.float32]

    def subtract_from(self, image: NDArray) -> NDArray[np.float32]:
        """Return an image without the light outside the mask."""
        return image - _enlarged(self.light, _SMALL_BIN, image.shape)


def measure_outskirts(
    image: NDArray,
    border: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    core: NDArray[np.bool_],
    *,
    n_threads: int = 1,
) -> Outskirts:
    """Find how far the light of sources reaches, and how much of it lies outside a mask.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit. May be memory-mapped.
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
    core, mask, clean = core.copy(), mask | border, image
    for filter_size in _SKY_FILTERS:
        sky = fit_mesh(
            clean,
            mask,
            box_size=_SKY_BOX,
            filter_size=filter_size,
            exclude_fraction=_SKY_EXCLUDE,
            fill="pyramid",
            n_threads=n_threads,
        )
        noise = _noise(clean, mask, sky)
        residual = _Residual(image, border, core, sky, noise)
        if filter_size == _SKY_FILTERS[0]:
            _add_faint_inplace(core, residual, n_threads)
            _add_extended_inplace(core, residual, n_threads)
        large = _around_large(residual, n_threads)
        found = _with_small(large, residual, n_threads)
        outskirts = Outskirts(found.mask, found.light * np.float32(noise))
        clean = outskirts.subtract_from(image)
        mask = outskirts.mask | border
    return outskirts


def _noise(image: NDArray, mask: NDArray[np.bool_], sky: BackgroundMesh) -> float:
    """Return the noise of a pixel outside the mask."""
    rows, columns = (np.arange(size)[::_SAMPLE_STEP] for size in image.shape)
    crossing = np.ix_(rows, columns)
    difference = (image[crossing] - sky.at(rows, columns))[~mask[crossing]]
    noise = mad_sigma(difference)
    if not noise > 0.0:
        raise ValueError("no sky is left outside the sources, or it has no noise")
    return noise


@dataclass(frozen=True)
class _Residual:
    """An image less its sky in units of the noise, to be looked at in bins."""

    image: NDArray
    border: NDArray[np.bool_]
    core: NDArray[np.bool_]
    sky: BackgroundMesh
    noise: float

    def binned(self, rows: slice, factor: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the means of bins, the pixels in each mean, and where a core is."""
        good = ~self.border[rows] & np.isfinite(self.image[rows])
        level = self.sky.rows(rows.start, rows.stop)
        value = np.where(good, (self.image[rows] - level) / np.float32(self.noise), np.float32(0))
        total, count = (_bin_sum(array, factor) for array in (value, good.astype(np.float32)))
        core = _bin_sum(self.core[rows].astype(np.float32), factor) > 0
        return total / np.maximum(count, 1), count, core

    def all_binned(self, factor: int, n_threads: int) -> tuple[NDArray, NDArray, NDArray]:
        """Return the same for the whole image."""

        def work(strip: Strip) -> tuple[NDArray, NDArray, NDArray]:
            return self.binned(strip.rows, factor)

        parts = for_each_strip(work, self.image.shape, 0, n_threads)
        value, count, core = (np.concatenate(each) for each in zip(*parts, strict=True))
        return value, count, core


def _bin_sum(array: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the sums over blocks of ``factor`` by ``factor`` pixels, cut off at the edges."""
    pad = [(0, -size % factor) for size in array.shape]
    if any(after for _, after in pad):
        array = np.pad(array, pad)
    ny, nx = array.shape
    # along columns first: whole rows are added at a time
    down = array.reshape(ny // factor, factor, nx).sum(axis=1)
    return down.reshape(ny // factor, nx // factor, factor).sum(axis=2)


def _add_faint_inplace(core: NDArray[np.bool_], residual: _Residual, n_threads: int) -> None:
    """Add sources that the tiers leave: significant in the smoothed image, below a threshold."""

    def search(strip: Strip) -> NDArray[np.bool_]:
        value, count, _ = residual.binned(strip.outer, _SMALL_BIN)
        smoothed = ndimage.gaussian_filter(value, _FAINT_SIGMA / _SMALL_BIN, truncate=4.0)
        noise = mad_sigma(smoothed[count > 0]) if count.any() else np.inf
        found = (smoothed > _FAINT_NSIGMA * noise) & (count > 0)
        rows = strip.outer.stop - strip.outer.start
        return _enlarged(found, _SMALL_BIN, (rows, core.shape[1]))[strip.inner]

    core |= np.concatenate(for_each_strip(search, core.shape, 32, n_threads))


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
    core |= _enlarged(found, _LARGE_BIN, core.shape)


def _enlarged(binned: NDArray, factor: int, shape: tuple[int, ...]) -> NDArray:
    """Return bins as pixels."""
    full = np.repeat(np.repeat(binned, factor, axis=0), factor, axis=1)
    return full[: shape[0], : shape[1]]


def _around_large(residual: _Residual, n_threads: int) -> Outskirts:
    """Return mask and light of large sources, each with its own profile, in units of the noise."""
    shape, factor = residual.image.shape, _LARGE_BIN
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
    pixels = np.ascontiguousarray(_enlarged(mask, factor, shape))
    half = tuple(-(-size // _SMALL_BIN) for size in shape)
    return Outskirts(pixels, np.ascontiguousarray(_enlarged(light, factor // _SMALL_BIN, half)))


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
    return _last_exponential(middle, total / np.maximum(n, 1), limit, n > 4)


def _last_exponential(
    distance: NDArray, profile: NDArray, limit: NDArray, known: NDArray[np.bool_]
) -> tuple[float, float]:
    """Fit ``exp(level - distance / length)`` to where a profile fades below a limit.

    Parameters
    ----------
    distance, profile, limit : ndarray, shape (n,)
        From the edge of the sources outwards.
    known : ndarray of bool, shape (n,)
        True where there is a profile.

    Returns
    -------
    level, length : float
        Length 0 when there is no light at all.
    """
    distance, profile, limit = distance[known], profile[known], limit[known]
    if len(profile) < 4:
        return 0.0, 0.0
    # structure of the sky that is wider than the source
    profile = profile - np.mean(profile[-max(2, len(profile) // 5) :])
    faded = np.flatnonzero(profile < limit)
    last = faded[0] if faded.size else len(profile)
    if last == 0:
        return 0.0, 0.0
    # over the last factor of five or so, at least three points
    first = min(np.flatnonzero(profile[:last] >= 5.0 * profile[last - 1])[-1:].tolist() or [0])
    first = max(0, min(first, last - 3))
    if last - first < 2:
        return float(np.log(profile[last - 1]) + 1.0), float(distance[last - 1])
    logs = np.log(profile[first:last])
    slope = np.polyfit(distance[first:last], logs, 1)[0]
    if slope >= 0.0:
        return 0.0, 0.0  # what does not fall is the light of something else
    length = min(-1.0 / slope, distance[last - 1])
    return float(logs[-1] + distance[last - 1] / length), float(length)


def _with_small(large: Outskirts, residual: _Residual, n_threads: int) -> Outskirts:
    """Return mask and light of all sources; the small ones have the profile of their class."""
    shape = (_N_CLASSES, len(_EDGES) - 1)

    def measure(strip: Strip) -> NDArray:
        near = _SmallSources.measure(large, residual, strip)
        use = near.use & (near.distance >= _EDGES[0]) & (near.distance < _EDGES[-1])
        key = near.kind[use] * shape[1] + np.digitize(near.distance[use], _EDGES) - 1
        light = np.bincount(key, np.clip(near.value[use], -3.0, 3.0), shape[0] * shape[1])
        return np.stack([light, np.bincount(key, minlength=shape[0] * shape[1])])

    overlap = 2 * _SMALL_REACH
    totals = np.sum(for_each_strip(measure, large.mask.shape, overlap, n_threads), axis=0)
    level, length, radius = _profiles_of_small(*totals.reshape(2, *shape))

    def mask(strip: Strip) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        near = _SmallSources.measure(large, residual, strip)
        inside = near.distance <= radius[near.kind]
        light = np.exp(level[near.kind] - near.distance / length[near.kind]).astype(np.float32)
        light[inside] = 0.0
        rows = strip.outer.stop - strip.outer.start
        pixels = _enlarged(inside, _SMALL_BIN, (rows, large.mask.shape[1]))[strip.inner]
        start = strip.inner.start // _SMALL_BIN
        return pixels, light[start : start + -(-(strip.stop - strip.start) // _SMALL_BIN)]

    parts = for_each_strip(mask, large.mask.shape, overlap, n_threads)
    pixels, light = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Outskirts(large.mask | pixels, large.light + light)


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
    def measure(cls, outskirts: Outskirts, residual: _Residual, strip: Strip):
        """Look at a strip; large sources are known."""
        value, count, core = residual.binned(strip.outer, _SMALL_BIN)
        start = strip.outer.start // _SMALL_BIN
        value -= outskirts.light[start : start + len(value)]
        large = _bin_sum(outskirts.mask[strip.outer].astype(np.float32), _SMALL_BIN) > 0
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
        found = _last_exponential(middle, profile, limit, n[kind] > 10)
        if found[1] > 0.0:
            level[kind], length[kind] = found
    radius = np.clip(length * (level - np.log(_EDGE)), 1.0, _SMALL_REACH / _SMALL_BIN)
    return level, length, radius
