"""Stripes along straight lines of any direction, which nothing of the read-out makes.

Narrow lines part the image, so that each pixel belongs to one. The level of a line is a robust
mean of its parts, so that a galaxy on one part does not count for the whole line; the trend of the
sky is left where it is; and levels are taken apart into scales, of which only what stands out of
its noise is stripes, so that a frame without them stays as it is.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter1d
from scipy.special import chdtri

from ceers_steps.kernels.stats import mad_sigma, subsample
from ceers_steps.kernels.stripes.median import clipped_row_medians, rough_stripes
from ceers_steps.kernels.stripes.settings import COLUMNS, MEDIAN, TILTED

__all__ = ["rough_tilted_stripes", "stripes_along", "strong_columns", "tilted_stripes"]


def tilted_stripes(image: NDArray, mask: NDArray[np.bool_], angle: float) -> NDArray[np.float32]:
    """Measure stripes along the straight lines of one direction.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Without row and column stripes and without its sky level.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    angle : float
        Direction of the stripes, degrees from +x towards +y.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Stripes, with zero mean over the usable pixels; 0 on lines with too few of them.

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    usable = np.isfinite(image)
    usable &= ~mask
    if not usable.any():
        raise ValueError("no usable pixel: all are masked or NaN")
    values = image[usable]
    values = values - np.median(subsample(values, MEDIAN.sample))
    line, part = _lines_and_parts(image.shape, angle)
    return _levels(values, line[usable], part[usable], int(line.max()) + 1)[line]


def stripes_along(
    image: NDArray, mask: NDArray[np.bool_], angles: Sequence[float]
) -> NDArray[np.float32]:
    """Measure stripes along several directions, each in what those before it leave.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Without row and column stripes and without its sky level.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    angles : sequence of float
        Directions, degrees from +x towards +y.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The sum of all.

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    total = np.zeros(image.shape, np.float32)
    for angle in angles:
        total += tilted_stripes(image - total, mask, angle)
    return total


def rough_tilted_stripes(
    image: NDArray, mask: NDArray[np.bool_], n_outputs: int, angles: Sequence[float]
) -> NDArray[np.float32]:
    """Return tilted stripes that are good enough to search an image for sources, and to fit rows.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        With its sources, rows and columns.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels.
    n_outputs : int
        Number of outputs, strips of columns of equal width.
    angles : sequence of float
        Directions, degrees from +x towards +y.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The sum of all directions; 0 if no pixel is usable.
    """
    if not np.any(np.isfinite(image) & ~mask):
        return np.zeros(image.shape, np.float32)
    flattened = image - rough_stripes(image, mask, n_outputs)
    flattened -= rough_stripes(flattened.T, mask.T, 1).T
    return stripes_along(flattened, mask, angles)


def strong_columns(
    image: NDArray, mask: NDArray[np.bool_], n_outputs: int
) -> NDArray[np.float32] | None:
    """Measure stripes along columns, where they are strong.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        With its sky, sources and row stripes.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels, and sources if they are known.
    n_outputs : int
        Number of outputs, strips of columns of equal width.

    Returns
    -------
    ndarray of float32, shape (nx,), or None
        Stripes with zero mean over the usable pixels; the trend of the sky is not in them. None
        if columns hardly scatter.
    """
    step = max(1, len(image) // COLUMNS.rows)
    if not _are_strong(image[::step], mask[::step], n_outputs):
        return None
    flattened = image - rough_stripes(image, mask, n_outputs)
    return tilted_stripes(flattened, mask, 90.0)[0]


def _are_strong(image: NDArray, mask: NDArray[np.bool_], n_outputs: int) -> bool:
    """Return whether neighbouring columns differ by more than noise, on a few rows.

    Those that scatter by less than a tenth of the noise of a pixel do no harm, and are measured in
    what the fit of rows leaves. Stronger ones are taken for light: the search finds them, the
    smooth light follows their mean over some columns, and what looks like a slope of the sky
    along x allows for one along y, which is drift of the outputs.
    """
    flattened = image - rough_stripes(image, mask, n_outputs)
    usable = np.isfinite(flattened) & ~mask
    full = usable.sum(axis=0) >= COLUMNS.least_seen * len(image)
    pairs = full[1:] & full[:-1]
    if np.count_nonzero(pairs) < COLUMNS.least_pairs:
        return False
    neighbours = usable[:, 1:] & usable[:, :-1]
    sigma = mad_sigma(np.diff(flattened, axis=1)[neighbours]) / np.sqrt(2)
    medians = clipped_row_medians(flattened.T, ~usable.T)
    scatter = mad_sigma(np.diff(medians)[pairs]) / (np.sqrt(2) * sigma)
    noise = np.mean(MEDIAN.median_variance / usable.sum(axis=0)[full])
    chance = COLUMNS.chance / np.sqrt(np.count_nonzero(pairs))
    return bool(scatter**2 > (1 + chance) * noise + COLUMNS.least_scatter**2)


def _lines_and_parts(
    shape: tuple[int, ...], angle: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return for each pixel the number of its line, and of the part of it, both from 0."""
    ny, nx = shape
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    y, x = np.arange(ny)[:, np.newaxis], np.arange(nx)
    # a millionth more, so that rounding parts no row of 0 and no column of 90 degrees
    across = cosine * y - sine * x
    along = cosine * x + sine * y
    line = np.floor(across / TILTED.line_width + 1e-6).astype(np.intp)
    line -= line.min()
    part = ((along - along.min()) / TILTED.part_length).astype(np.intp)
    return line, part


def _levels(
    values: NDArray, line: NDArray[np.intp], part: NDArray[np.intp], n_lines: int
) -> NDArray[np.float32]:
    """Return the level of each line; 0 where too few pixels tell it."""
    n_parts = int(part.max()) + 1
    cell = line * n_parts + part
    count = np.bincount(cell, minlength=n_lines * n_parts).reshape(n_lines, n_parts)
    total = count.sum(axis=1)
    known = total >= max(TILTED.least_pixels, TILTED.least_share * total.max())
    result = np.zeros(n_lines, np.float32)
    if np.count_nonzero(known) <= TILTED.trend_degree + 1:
        return result
    levels = np.zeros(n_lines)
    for _ in range(TILTED.iterations):
        deviation = values - levels[line]
        sigma = mad_sigma(subsample(deviation, MEDIAN.sample))
        if sigma == 0:
            return result
        limit = TILTED.clip * sigma
        inside = np.bincount(cell, np.abs(deviation) <= limit, minlength=count.size)
        np.clip(deviation, -limit, limit, out=deviation)
        means = np.bincount(cell, deviation, minlength=count.size).reshape(count.shape)
        means = means / _divisor(inside.reshape(count.shape), count)
        step, scatter = _robust_mean(means, count, sigma / np.sqrt(np.maximum(count, 1)))
        levels += step
    levels, scatter, count, total = levels[known], scatter[known], count[known], total[known]
    noise = sigma**2 / total
    levels -= _trend(np.flatnonzero(known), levels, noise)
    levels = _without_noise(levels, noise, scatter, count)
    result[known] = levels - np.average(levels, weights=total)
    return result


def _robust_mean(
    means: NDArray, count: NDArray[np.int_], error: NDArray
) -> tuple[NDArray, NDArray]:
    """Return the mean of the parts of each line, and how far each part is from it.

    Parts that are far from the median of their line, in units of their error, are drawn to it.
    """
    enough = (count > 0) & (count >= 0.25 * count.max(axis=1, keepdims=True))
    middle = np.zeros(len(means))
    any_part = enough.any(axis=1)
    middle[any_part] = np.nanmedian(np.where(enough, means, np.nan)[any_part], axis=1)
    deviation = (means - middle[:, np.newaxis]) / error
    clipped = np.clip(deviation, -TILTED.part_clip, TILTED.part_clip)
    inside = np.sum(count * (np.abs(deviation) <= TILTED.part_clip), axis=1)
    clipped *= error
    step = np.sum(count * clipped, axis=1) / _divisor(inside, count.sum(axis=1))
    return middle + step, clipped - step[:, np.newaxis]


def _divisor(inside: NDArray, count: NDArray[np.int_]) -> NDArray:
    """Return by what to divide a sum of clipped deviations: those inside make an efficient mean.

    Where few are inside, the level is far off, and moves by the limit at most.
    """
    return np.maximum(np.where(inside > count / 2, inside, count), 1)


def _trend(number: NDArray, levels: NDArray, noise: NDArray) -> NDArray:
    """Return the trend of the levels over the image, which is the sky's; 0 if none stands out.

    It stands out if it is more than stripes as wide as a 32nd of the image make by chance.
    """
    x = 2.0 * number / max(number.max(), 1) - 1.0
    terms = np.polynomial.legendre.legvander(x, TILTED.trend_degree)
    weight = 1 / np.sqrt(noise)
    kept = np.ones(len(x), bool)
    for _ in range(TILTED.iterations):
        scaled = weight[kept, np.newaxis] * terms[kept]
        solution = np.linalg.lstsq(scaled, weight[kept] * levels[kept], rcond=None)[0]
        rest = weight * (levels - terms @ solution)
        kept = np.abs(rest) <= TILTED.trend_clip * mad_sigma(rest)
        if np.count_nonzero(kept) <= terms.shape[1]:
            break
    trend = terms @ solution
    trend -= np.average(trend, weights=1 / noise)
    edges = np.linspace(0, len(x), min(TILTED.trend_blocks, len(x)) + 1).astype(int)[:-1]
    blocks = [np.add.reduceat(each, edges) for each in (weight * trend, rest)]
    strength = np.sum(blocks[0] ** 2) / max(mad_sigma(blocks[1]), np.finfo(float).tiny) ** 2
    stands_out = strength > chdtri(TILTED.trend_degree, TILTED.chance)
    return trend if stands_out else np.zeros_like(levels)


def _without_noise(
    levels: NDArray, noise: NDArray, scatter: NDArray, count: NDArray[np.int_]
) -> NDArray:
    """Return the most likely stripes: the levels, taken apart into scales, each without its noise.

    What a line has by chance, and what light gives it, differs from part to part of the line: the
    noise of each scale is the white one, or what the scatter of the parts makes it. The variance of
    the stripes about a line is the largest that stands out of it: of the line alone, with its
    neighbours or over the whole image.
    """
    weight = count.sum(axis=1)
    share = count / weight[:, np.newaxis]
    freedom_of_parts = np.maximum(1 - np.sum(share**2, axis=1), 0.1)
    kept = np.zeros(len(levels))
    n_scales = max(1, int(np.log2(len(levels) / 4)))
    for scale in range(n_scales):
        step = 2**scale
        last = scale == n_scales - 1
        smooth = np.zeros_like(levels) if last else _smoothed(levels, weight, step)
        smooth_scatter = np.zeros_like(scatter) if last else _smoothed(scatter, count, step)
        detail, spread = levels - smooth, scatter - smooth_scatter
        window = min(TILTED.neighbours * step, len(levels))
        seen_noise = np.sum((share * spread) ** 2, axis=1) / freedom_of_parts
        seen_noise = uniform_filter1d(seen_noise, window, mode="nearest")
        square = detail**2 / np.maximum(noise * _detail_noise(scale, last) ** 2, seen_noise)
        variance = np.zeros(len(levels))
        for size in (1, window, len(levels)):
            freedom = max(1.0, size / step)
            mean = uniform_filter1d(square, size, mode="nearest")
            stands_out = mean > chdtri(freedom, TILTED.chance) / freedom
            variance = np.maximum(variance, np.where(stands_out, mean - 1, 0))
        kept += detail * (1 - 1 / (variance + 1) ** 2)
        levels, scatter = smooth, smooth_scatter
    return kept


def _smoothed(values: NDArray, weight: NDArray, step: int) -> NDArray:
    """Return weighted means over neighbours, with a spline whose nodes are ``step`` lines apart."""
    kernel = np.zeros(4 * step + 1)
    kernel[::step] = np.array([1, 4, 6, 4, 1]) / 16
    total = correlate1d(weight.astype(float), kernel, axis=0, mode="reflect")
    sums = correlate1d(weight * values, kernel, axis=0, mode="reflect")
    return sums / np.maximum(total, np.finfo(float).tiny)


@cache
def _detail_noise(scale: int, last: bool) -> float:
    """Return the noise of what a scale holds, the last all the rest, for levels of noise 1."""
    size = 16 * 2**scale + 1
    coarse = np.zeros(size)
    coarse[size // 2] = 1.0
    before = coarse
    for finer in range(scale + 1):
        before = coarse
        coarse = _smoothed(coarse, np.ones(size), 2**finer)
    return float(np.sqrt(np.sum((before - (0 if last else coarse)) ** 2)))
