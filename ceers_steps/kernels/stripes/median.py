"""1/f striping from medians along rows and columns: the published recipe.

Read noise that drifts slowly in time leaves stripes along the rows of each output, the same or
another in each of the outputs that are read together, and weaker ones along columns. The recipe
(Bagley et al. 2023, section 3.1) estimates each from the pixels that hold only sky. The optimal
estimate from the read-out time series is in `ceers_steps.kernels.stripes.posterior`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import irfft, rfft

from ceers_steps.kernels.stats import biweight_scale, clipped_row_medians, mad_sigma, subsample
from ceers_steps.kernels.stripes.settings import CROWDED, MEDIAN, ROUGH, SERIES

__all__ = [
    "MedianStripes",
    "column_stripes",
    "flatten",
    "levels_beside_light",
    "median_stripes",
    "rough_stripes",
]


@dataclass(frozen=True)
class MedianStripes:
    """Stripes along rows and columns, to be subtracted from the image.

    Attributes
    ----------
    horizontal : ndarray of float32, shape (ny, nx)
        Stripes along the rows of each output, in the units of the image. 0 where a row has no
        usable pixel at all.
    vertical : ndarray of float32, shape (nx,)
        Stripes along columns, measured after `horizontal` was subtracted. 0 where a column has
        no usable pixel.
    full_rows : ndarray of int, shape (n_outputs,)
        Number of rows of each output for which the whole row was used in place of the output.
    threshold : float
        Masked fraction above which the whole row is used for an output's row. With an automatic
        threshold the choice is made row by row; this is where it falls for a row that is
        unmasked in the other outputs.
    """

    horizontal: NDArray[np.float32]
    vertical: NDArray[np.float32]
    full_rows: NDArray[np.int_]
    threshold: float

    @property
    def total(self) -> NDArray[np.float32]:
        """Both patterns together, shape (ny, nx)."""
        return self.horizontal + self.vertical


def flatten(image: NDArray, flat: NDArray) -> NDArray[np.float32]:
    """Return the image divided by its flat field; NaN where the flat is not positive.

    Parameters
    ----------
    image, flat : ndarray, shape (ny, nx)

    Returns
    -------
    ndarray of float32, shape (ny, nx)
    """
    usable = np.isfinite(flat) & (flat > 0)
    result = np.full(image.shape, np.nan, dtype=np.float32)
    np.divide(image, flat, out=result, where=usable, casting="same_kind")
    return result


def rough_stripes(image: NDArray, mask: NDArray[np.bool_], n_outputs: int) -> NDArray[np.float32]:
    """Return stripes along rows that are good enough to search an image for sources.

    Stripes hide faint wide sources, and a mask of sources is what a fit of stripes begins with.
    Clipped medians without a mask of sources break the circle: what they take from an extended
    source is nearly constant over the ring that the search takes as its sky.  Thin light along
    rows (spikes of stars, galaxies seen from the side) makes a few stand out, and is left there.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels.
    n_outputs : int
        Number of outputs, strips of columns of equal width.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        About zero in the median; 0 in rows without a usable pixel.
    """
    rows = _output_row_medians(image, mask, n_outputs)
    known = np.isfinite(rows)
    if not known.any():
        return np.zeros(image.shape, np.float32)
    rows = np.nan_to_num(rows - np.nanmedian(rows))
    return np.repeat(rows - _thin_light(rows, known), image.shape[1] // n_outputs, axis=1)


def _thin_light(rows: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return by how much a few levels, shape ``(ny, n_outputs)``, stand out of those around."""
    above = rows - ndimage.median_filter(rows, (ROUGH.around, 1), mode="nearest")
    scatter = mad_sigma(above[known])
    light, far = (above > limit * scatter for limit in (ROUGH.near, ROUGH.far))
    fewest, many = (np.ones((n, 1), bool) for n in (ROUGH.least_rows, ROUGH.most_rows + 1))
    light &= ~ndimage.binary_opening(light, many)
    far = light & ndimage.binary_opening(far, fewest)
    light = ndimage.binary_propagation(far, np.eye(3, dtype=bool)[[1, 1, 1]], light)
    return np.where(light, above, np.float32(0))


def median_stripes(
    image: NDArray,
    mask: NDArray[np.bool_],
    n_outputs: int,
    mask_threshold: float | None = 0.8,
    pedestal: float | None = None,
) -> MedianStripes:
    """Measure stripes with clipped medians: rows of each output, then columns.

    Bagley et al. 2023, section 3.1.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Divided by the flat field. In any unit.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.
    n_outputs : int
        Number of outputs, strips of columns of equal width.
    mask_threshold : float or None
        The whole row is used where more than this fraction of an output's row is masked. None
        takes, row by row, whichever has the smaller predicted error: the noise of a median of so
        few pixels, or the known spread of one output's stripes about the others.
    pedestal : float or None
        Sky level that the stripes are measured from. None makes the mean of both patterns over
        the usable pixels zero, so that the sky keeps its level.

    Returns
    -------
    MedianStripes

    Raises
    ------
    ValueError
        When no pixel is usable or the columns cannot be divided among the outputs.
    """
    ny, nx = image.shape
    if nx % n_outputs:
        raise ValueError(f"{nx} columns cannot be divided among n_outputs={n_outputs}")
    usable = _usable(image, mask)
    mask = ~usable
    width = nx // n_outputs
    counts = usable.reshape(ny, n_outputs, width).sum(axis=2)
    whole = clipped_row_medians(image, mask)
    outputs = _output_row_medians(image, mask, n_outputs)
    if n_outputs == 1:
        take_whole, threshold = np.zeros((ny, 1), dtype=bool), 1.0
    elif mask_threshold is None:
        take_whole, threshold = _choose_by_error(image, mask, whole, outputs, counts)
    else:
        take_whole = width - counts > width * mask_threshold
        threshold = mask_threshold
    rows = np.where(take_whole, whole[:, np.newaxis], outputs)
    undetermined = np.isnan(rows)
    if pedestal is None:
        # the mean over usable pixels, each row of an output counting for those it has
        level = float(np.sum(np.where(undetermined, 0.0, rows) * counts) / counts.sum())
    else:
        level = pedestal
    rows = np.where(undetermined, 0.0, rows - np.float32(level)).astype(np.float32)
    horizontal = np.repeat(rows, width, axis=1)

    columns = clipped_row_medians((image - np.float32(level) - horizontal).T, mask.T)
    missing = np.isnan(columns)
    columns[missing] = 0.0
    if pedestal is None:
        per_column = usable.sum(axis=0)
        mean = np.sum(columns * per_column, dtype=np.float64) / per_column.sum()
        columns[~missing] -= np.float32(mean)
    full_rows = np.count_nonzero(take_whole & ~undetermined, axis=0)
    return MedianStripes(horizontal, columns, full_rows, threshold)


def levels_beside_light(
    image: NDArray, mask: NDArray[np.bool_], n_outputs: int
) -> NDArray[np.float32]:
    """Measure levels of rows in a field so crowded that its light hides stripes from a model.

    Two halves of a row, each of every second piece of it, share its stripes but not their sources.
    Light knows no direction: what halves of columns share, rows share of light, too. So much of
    each wave of the levels is taken as is neither noise nor light.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Divided by the flat field.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources.
    n_outputs : int
        Number of outputs.

    Returns
    -------
    ndarray of float32, shape (ny, n_outputs)
        Levels with zero mean; all are 0 where light has made most of them.
    """
    mask = mask | ~np.isfinite(image)
    ny, width = image.shape[0], image.shape[1] // n_outputs
    if min(ny, width) < CROWDED.least_pieces:
        return np.zeros((ny, n_outputs), np.float32)
    levels = [
        _levels(image[:, o : o + width], mask[:, o : o + width])
        for o in range(0, n_outputs * width, width)
    ]
    height, length = min(width, ny), min(image.shape)
    columns = [
        _levels(image[y : y + height, x : x + length].T, mask[y : y + height, x : x + length].T)
        for y in range(0, ny - height + 1, height)
        for x in range(0, image.shape[1] - length + 1, length)
    ]
    shared, power = _powers(levels)
    of_light, of_columns = _powers(columns)
    waves = np.arange(len(of_light)) / length
    n_bins = 1 + round(SERIES.bins_per_octave * np.log2(len(power)))
    edges = np.unique(np.ceil(np.geomspace(1, len(power), n_bins)).astype(int))
    gain, stripes = np.zeros(len(power)), np.zeros(len(power))
    for first, last in pairwise(edges):
        some = slice(first, last)
        near = (waves >= (first - 0.5) / ny) & (waves < (last - 0.5) / ny)
        near[np.argmin(np.abs(waves[1:] - (first + last - 1) / 2 / ny)) + 1] = True
        light, both = max(of_light[near].mean(), 0.0), of_columns[near].mean()
        chance = both / np.sqrt(np.count_nonzero(near) * len(columns))
        error = np.hypot(chance, both / np.sqrt((last - first) * n_outputs))
        found, total = shared[some].mean(), power[some].mean()
        stripes[some] = max(found - light, 0.0)
        least = max(CROWDED.least_ratio * (light + chance), light + CROWDED.least_errors * error)
        if found > least:
            gain[some] = min((found - light - chance) / total, 1.0)
    if stripes @ (gain > 0) < CROWDED.least_share * power[1:].sum():
        return np.zeros((ny, n_outputs), np.float32)
    taken = [irfft(rfft(each[2]) * gain, ny) for each in levels]
    return np.stack(taken, axis=1).astype(np.float32)


def _levels(image: NDArray, mask: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
    """Return the clipped medians of rows in two halves of these and in all, gaps filled."""
    ny, nx = image.shape
    piece = np.arange(nx) // min(CROWDED.piece, max(nx // CROWDED.least_pieces, 1)) % 2
    results = []
    for share, out in ((0.5, mask | (piece == 0)), (0.5, mask | (piece == 1)), (1.0, mask)):
        level = clipped_row_medians(image, out)
        seen = np.count_nonzero(~out, axis=1) >= CROWDED.least_seen * share * nx
        rows = np.arange(ny)
        filled = np.interp(rows, rows[seen], level[seen]) if seen.any() else np.zeros(ny)
        results.append(filled - (filled[seen].mean() if seen.any() else 0.0))
    return results[0], results[1], results[2]


def _powers(levels: Sequence[tuple[NDArray, NDArray, NDArray]]) -> tuple[NDArray, NDArray]:
    """Return the power that halves share and that of all pixels, means of several levels."""
    shared, power = 0.0, 0.0
    for half, other, every in levels:
        a, b, both = (rfft(series) for series in (half, other, every))
        shared = shared + (a * b.conj()).real / len(every) / len(levels)
        power = power + np.abs(both) ** 2 / len(every) / len(levels)
    return np.asarray(shared), np.asarray(power)


def column_stripes(image: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Measure stripes along columns.

    The level of each is a mean with deviations cut at 2 sigma, drawn towards zero by the noise it
    has, so that a frame without such stripes gets next to nothing.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Without row stripes and without its sky level.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.

    Returns
    -------
    ndarray of float32, shape (nx,)
        Stripes, with zero mean over the usable pixels.

    Raises
    ------
    ValueError
        When no pixel is usable.
    """
    usable = _usable(image, mask)
    values = np.where(usable, image, np.float32(0))
    count = np.count_nonzero(usable, axis=0)
    sample = subsample(values, MEDIAN.sample)
    sample = sample[sample != 0.0]
    sigma = np.float32(mad_sigma(sample)) if sample.size else np.float32(0)
    start = float(np.median(sample)) if sample.size else 0.0
    levels = np.full(count.size, start, dtype=np.float32)
    limit = MEDIAN.clip * sigma
    for _ in range(MEDIAN.column_iterations):
        deviation = values - levels
        inside = np.sum(np.abs(deviation) <= limit, axis=0, where=usable)
        np.clip(deviation, -limit, limit, out=deviation)
        deviation = np.sum(deviation, axis=0, where=usable)
        levels += (deviation / np.maximum(inside, 1)).astype(np.float32)
    levels -= np.average(levels, weights=count).astype(np.float32)
    noise = sigma**2 / np.maximum(count, 1)
    long = count >= 0.5 * count.max()
    spread = _column_spread(levels, noise, long)
    levels *= spread / np.maximum(spread + noise, np.finfo(float).tiny)
    return (levels - np.average(levels, weights=count)).astype(np.float32)


def _column_spread(levels: NDArray, noise: NDArray, long: NDArray[np.bool_]) -> float:
    """Return the variance of the stripes along columns, 0 where chance would show as much.

    Stripes differ from one column to the next as much as from any other; unmasked light does not.
    """
    white = float(np.mean(noise[long]))
    pairs = long[1:] & long[:-1]
    variance = biweight_scale(levels[long]) ** 2
    if pairs.any():
        variance = min(variance, biweight_scale(np.diff(levels)[pairs]) ** 2 / 2)
    least = MEDIAN.column_evidence * white / np.sqrt(np.count_nonzero(long))
    return max(0.0, variance - white) if variance - white > least else 0.0


def _usable(image: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pixels can be used, of which there must be one."""
    usable = np.isfinite(image)
    usable &= ~mask
    if not usable.any():
        raise ValueError("no usable pixel: all are masked or NaN")
    return usable


def _output_row_medians(
    image: NDArray, mask: NDArray[np.bool_], n_outputs: int
) -> NDArray[np.float32]:
    """Return the clipped median of every row of every output, shape (ny, n_outputs)."""
    strips = zip(np.split(image, n_outputs, axis=1), np.split(mask, n_outputs, axis=1), strict=True)
    return np.stack([clipped_row_medians(*strip) for strip in strips], axis=1)


def _choose_by_error(
    image: NDArray, mask: NDArray[np.bool_], whole: NDArray, outputs: NDArray, counts: NDArray
) -> tuple[NDArray[np.bool_], float]:
    """Return where the whole row has the smaller predicted error, and the masked fraction of it.

    Errors are those of a mean over ``MEDIAN.block_rows`` rows: noise goes down with their number,
    slow drifts of one output against the others do not, and it is these that spoil photometry.
    """
    n_outputs = outputs.shape[1]
    width = image.shape[1] // n_outputs
    height = MEDIAN.block_rows
    white = MEDIAN.median_variance * _pixel_sigma(image, mask) ** 2 / height
    total = counts.sum(axis=1, keepdims=True)
    error_output = white / np.maximum(counts, 1)
    error_whole = white / np.maximum(total, 1)

    # Spread of one output about the row: measured where both are well determined, its own noise
    # taken off. The mean of the outputs holds a part of each, hence the last factor.
    well = counts > width / 2
    blocks = well[: len(well) // height * height].reshape(-1, height, n_outputs)
    whole_blocks = blocks.all(axis=1)
    if np.count_nonzero(whole_blocks) >= 2 * n_outputs:
        difference = (outputs - whole[:, np.newaxis])[: blocks.size // n_outputs]
        difference = difference.reshape(blocks.shape).mean(axis=1)[whole_blocks]
        noise = float(np.mean((error_output - error_whole)[well]))
        spread = max(biweight_scale(difference) ** 2 - noise, 0.0) * n_outputs / (n_outputs - 1)
    else:
        spread = 0.0

    share = counts / np.maximum(total, 1)
    others = np.sum(share**2, axis=1, keepdims=True) - share**2
    take_whole = (error_output > spread * ((1 - share) ** 2 + others) + error_whole) | (counts == 0)

    n = np.arange(1, width + 1)
    share = n / (n + (n_outputs - 1) * width)
    other = (1 - share) / (n_outputs - 1)
    mixed = spread * ((1 - share) ** 2 + (n_outputs - 1) * other**2)
    worse = white / n > mixed + white / (n + (n_outputs - 1) * width)
    return take_whole, float(1.0 - np.count_nonzero(worse) / width)


def _pixel_sigma(image: NDArray, mask: NDArray[np.bool_]) -> float:
    """Return the noise of single pixels, from differences between neighbours along rows."""
    pairs = subsample(~(mask[:, 1:] | mask[:, :-1]), MEDIAN.sample)
    difference = subsample(image[:, 1:] - image[:, :-1], MEDIAN.sample)
    return mad_sigma(difference[pairs]) / np.sqrt(2.0)
