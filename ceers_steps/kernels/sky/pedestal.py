"""Sky pedestal of one exposure: what is subtracted before exposures are combined."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.blocks import block_median, block_sum, enlarged
from ceers_steps.kernels.sky.level import SkyLevel, gaussian_peak, sky_level
from ceers_steps.kernels.sky.settings import PEDESTAL

__all__ = ["Pedestal", "find_pedestal", "pedestal_image"]


@dataclass(frozen=True)
class Pedestal:
    """Level of the sky, in one or several strips of columns.

    Attributes
    ----------
    levels : tuple of float
        One for each strip, from the left, in the unit of the image.
    uncertainties : tuple of float
        Their standard errors for independent pixels.
    fitted : bool
        Whether a peak was fitted in all; False where a median stands for one.
    """

    levels: tuple[float, ...]
    uncertainties: tuple[float, ...]
    fitted: bool = True

    @property
    def level(self) -> float:
        """Mean of the strips."""
        return float(np.mean(self.levels))

    @property
    def uncertainty(self) -> float:
        """Standard error of the mean of the strips."""
        return float(np.sqrt(np.sum(np.square(self.uncertainties))) / len(self.uncertainties))


def find_pedestal(
    image: NDArray, mask: NDArray[np.bool_], *, method: str = "mode", n_strips: int = 1
) -> Pedestal:
    """Measure the level of the empty sky.

    ``'mode'`` is the mode of the means of blocks of 8 x 8 pixels. Noise of single pixels is not
    symmetric (pixels that lost groups to cosmic rays have a tail), so its mode is not its mean,
    and the mean is what a mosaic shows; that of blocks is. Sources stay a tail, which the mode
    leaves out. A sky that rises has no mode: a quadratic surface is fitted first, robustly, to
    medians of 4 x 4 blocks; its mean over the image is the level, corrected by the mode of what is
    left where the surface describes the sky.
    ``'gaussian'`` is the published estimate (Bagley et al. 2023, section 3.2): the
    peak of a Gaussian fitted to the histogram of single pixels, clipped at 10 standard deviations
    below and 5 above; range and bins follow the noise here.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels and sources. NaN and infinities are left out too.
    method : {'mode', 'gaussian'}
    n_strips : int
        Strips of columns of equal width, one per amplifier, that have levels of their own.
        A strip without usable pixels gets the level of the whole image.

    Returns
    -------
    Pedestal

    Raises
    ------
    ValueError
        Without a usable pixel, or for parameters that make no sense.
    """
    if method not in {"mode", "gaussian"}:
        raise ValueError(f"method={method!r}: use 'mode' or 'gaussian'")
    if n_strips < 1 or image.shape[1] % n_strips:
        raise ValueError(f"{image.shape[1]} columns cannot be divided into {n_strips} strips")
    usable = ~mask & np.isfinite(image)
    if not usable.any():
        raise ValueError("no pixel is left to measure the sky: all are masked or NaN")
    measure = _block_mode if method == "mode" else _gaussian
    strips = np.split(np.arange(image.shape[1]), n_strips)
    found: list[SkyLevel] = []
    for columns in strips:
        part = np.s_[:, columns[0] : columns[-1] + 1]
        where = part if usable[part].any() else np.s_[:, :]
        found.append(measure(image[where], usable[where]))
    return Pedestal(
        tuple(float(level.value) for level in found),
        tuple(float(level.uncertainty) for level in found),
        all(level.fitted for level in found),
    )


def pedestal_image(pedestal: Pedestal, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the pedestal of every pixel.

    Parameters
    ----------
    pedestal : Pedestal
    shape : tuple of int
        ``(ny, nx)`` of the image that it was measured on.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        A read-only view.
    """
    row = np.repeat(pedestal.levels, shape[1] // len(pedestal.levels)).astype(np.float32)
    return np.broadcast_to(row, shape)


def _block_mode(image: NDArray, usable: NDArray[np.bool_]) -> SkyLevel:
    """Return the mode of block means, about a smooth surface."""
    pixels = sky_level(image[usable])
    image = image - pixels.value  # sums of small numbers are more accurate
    kept = usable & (np.abs(image) <= PEDESTAL.clip * pixels.sigma)
    block = PEDESTAL.block
    while block > 1:
        count = block_sum(kept, block)
        # one that is mostly masked is noisier than the others, and beside a source
        full = count >= PEDESTAL.full * block**2
        if np.count_nonzero(full) >= PEDESTAL.least_blocks:
            means = block_sum(np.where(kept, image, 0.0), block) / np.maximum(count, 1)
            rise, sky, variance = _rise(means, full)
            level = sky_level((means - rise)[sky])
            uncertainty = float(np.sqrt(level.uncertainty**2 + variance * level.sigma**2))
            return replace(level, value=pixels.value + level.value, uncertainty=uncertainty)
        block //= 2
    return pixels


def _rise(means: NDArray, full: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.bool_], float]:
    """Return how far a smooth sky is above its mean over the image, and where it is seen.

    A quadratic surface is fitted to medians of cells of blocks, with biweights about their mode. In
    a cell, light that is far below the noise of a block stands out: wide outskirts of galaxies and
    stray light are not taken for sky, and the surface does not bend to them.

    Parameters
    ----------
    means : ndarray, shape (n rows of blocks, n columns of blocks)
        Means of blocks.
    full : ndarray of bool, of that shape
        True = has a mean.

    Returns
    -------
    rise : ndarray, of that shape
        In the unit of `means`; 0 where the cells do not tell what lies between them.
    sky : ndarray of bool, of that shape
        True = use for the level.
    variance : float
        What the surface adds to the variance of the mean, in that of one block.
    """
    side = PEDESTAL.cell
    while side > 1 and np.count_nonzero(_cells(full, side)) < PEDESTAL.least_blocks:
        side //= 2
    seen = _cells(full, side)
    values = block_median(np.where(full, means, np.nan), side)[seen]
    y, x = (np.linspace(-1.0, 1.0, size) for size in full.shape)
    y, x = np.broadcast_arrays(y[:, np.newaxis], x)
    terms = np.stack([np.ones(full.shape), x, y, x * x, x * y, y * y])
    design = np.stack([block_sum(term, side)[seen] / side**2 for term in terms], axis=-1)
    average = terms.mean(axis=(1, 2))
    flat = np.zeros(full.shape), full, 0.0
    rest = values - np.median(values)
    for _ in range(PEDESTAL.rise_iterations):
        mode = sky_level(rest)
        if not mode.sigma > 0.0:
            return flat
        pull = (rest - mode.value) / (PEDESTAL.rise_clip * mode.sigma)
        weight = np.clip(1.0 - pull**2, 0.0, None) ** 2
        weighted = design * weight[:, np.newaxis]
        covariance = np.linalg.pinv(weighted.T @ design)
        best = covariance @ (weighted.T @ values)
        rest = values - design @ best
    leverage = float(average @ covariance @ average)
    if leverage * values.size > PEDESTAL.most_leverage:
        return flat
    kept = np.zeros(seen.shape, bool)
    kept[seen] = weight > 0.0
    sky = full.copy()
    in_cells = enlarged(kept, side, full.shape)
    sky[: in_cells.shape[0], : in_cells.shape[1]] &= in_cells
    rise = np.tensordot(best, terms, axes=1) - average @ best
    # of a median of n, pi / 2 / n
    of_a_cell = 0.5 * np.pi / side**2 if side > 1 else 1.0
    variance = max(leverage - 1.0 / values.size, 0.0) * of_a_cell
    return rise, sky, variance


def _cells(full: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return the cells at least half of whose blocks have a mean."""
    return block_sum(full, side) >= PEDESTAL.full * side**2


def _gaussian(image: NDArray, usable: NDArray[np.bool_]) -> SkyLevel:
    """Return the published estimate."""
    values = image[usable]
    start = sky_level(values)
    if start.sigma == 0.0:
        return start
    below, above = PEDESTAL.published_range
    lower, upper = start.value - below * start.sigma, start.value + above * start.sigma
    peak = gaussian_peak(values, lower, upper, start.sigma * PEDESTAL.published_step)
    fitted = peak != float(np.median(values))  # which stands for a fit that fails
    return SkyLevel(peak, start.sigma / np.sqrt(start.n), start.sigma, start.n, fitted)
