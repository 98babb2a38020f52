"""The background of one exposure, taken from others of the same detector.

What stays on the detector while the telescope moves (glow, sky, dark patterns) is the same in all
exposures of one set-up; what is on the sky is not. So the background of an exposure is a robust
mean of the others, each with its sources masked and brought to the same level of the sky. The
exposure itself is left out: its own sources would be in its background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.sky.level import sky_level
from ceers_steps.kernels.stats import nan_median

__all__ = ["ImageBackground", "ImageBackgroundSettings", "measure_image_background"]


@dataclass(frozen=True)
class ImageBackgroundSettings:
    """How a background is made of other exposures.

    Attributes
    ----------
    scaling : {'multiply', 'add', 'none'}
        How the others are brought to the level of the sky of the exposure: a thermal background
        grows as a whole, so it is multiplied; an offset of the dark current is added.
    clip : float
        Values further from the median than this many of their errors are left out.
    least_share : float
        An exposure counts only if this share of its pixels is free of sources.
    block_rows : int
        Rows that are worked on at a time, which bounds the memory.
    """

    scaling: str = "multiply"
    clip: float = 4.0
    least_share: float = 0.02
    block_rows: int = 128

    def __post_init__(self) -> None:
        if self.scaling not in {"multiply", "add", "none"}:
            raise ValueError(f"scaling={self.scaling!r}: use 'multiply', 'add' or 'none'")


@dataclass(frozen=True)
class ImageBackground:
    """Background of one exposure.

    Attributes
    ----------
    image : ndarray of float32, shape (ny, nx)
        In the unit of the exposures; NaN only where no exposure has any data.
    variance : ndarray of float32, shape (ny, nx)
        Of the background itself, that of its level included.
    interpolated : ndarray of bool, shape (ny, nx)
        True where all others are masked: the value comes from the neighbours.
    level : float
        Level of the sky of the exposure, outside its sources.
    factors : tuple of float
        What each of the others was multiplied by, or had added to it; NaN where it was not used.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    interpolated: NDArray[np.bool_]
    level: float
    factors: tuple[float, ...]


def measure_image_background(
    image: NDArray,
    mask: NDArray[np.bool_],
    others: Sequence[NDArray],
    variances: Sequence[NDArray],
    masks: Sequence[NDArray[np.bool_]],
    settings: ImageBackgroundSettings | None = None,
) -> ImageBackground:
    """Measure the background of an exposure on others.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The exposure, of which only the level of the sky is used.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: sources, bad pixels.
    others : sequence of ndarray, each of shape (ny, nx)
        Exposures of the same detector and set-up in the same unit.
    variances : sequence of ndarray, each of shape (ny, nx)
        Theirs, without that of the flat field.
    masks : sequence of ndarray of bool, each of shape (ny, nx)
        True = do not use.
    settings : ImageBackgroundSettings, optional
        Default: those that are best in the benchmark.

    Returns
    -------
    ImageBackground
        Background and its variance.

    Raises
    ------
    ValueError
        When no other exposure can be used, or the exposure has no sky.
    """
    settings = settings or ImageBackgroundSettings()
    bad = [
        flags | ~np.isfinite(other) | ~(variance > 0)
        for other, variance, flags in zip(others, variances, masks, strict=True)
    ]
    own = ~(mask | ~np.isfinite(image))
    if own.mean() < settings.least_share:
        raise ValueError(
            f"only {own.mean():.1%} of the pixels show sky, {settings.least_share:.0%} are needed"
        )
    factors, spreads = _levels(image, own, others, bad, settings)
    used = [number for number, factor in enumerate(factors) if np.isfinite(factor)]
    if not used:
        raise ValueError("none of the other exposures shows enough sky beside its sources")
    mean = np.full(image.shape, np.nan, np.float32)
    variance = np.full(image.shape, np.nan, np.float32)
    for start in range(0, image.shape[0], settings.block_rows):
        rows = slice(start, start + settings.block_rows)
        stack = np.stack([_scaled(others[n][rows], factors[n], settings) for n in used])
        power = 2 if settings.scaling == "multiply" else 0
        noise = np.stack([variances[n][rows] * factors[n] ** power for n in used])
        outside = np.stack([bad[n][rows] for n in used])
        mean[rows], variance[rows] = _robust_mean(stack, noise, outside, settings.clip)
    interpolated = ~np.isfinite(mean)
    _fill_inplace(mean, interpolated)
    _fill_inplace(variance, interpolated)
    # the levels of n exposures, and that of the exposure itself, are known to so much
    variance += np.float32(
        spreads[0] ** 2 + sum(spreads[1 + n] ** 2 for n in used) / len(used) ** 2
    )
    level = sky_level(image[own]).value
    return ImageBackground(mean, variance, interpolated, level, tuple(factors))


def _levels(
    image: NDArray,
    own: NDArray[np.bool_],
    others: Sequence[NDArray],
    bad: Sequence[NDArray[np.bool_]],
    settings: ImageBackgroundSettings,
) -> tuple[list[float], list[float]]:
    """Return what brings each of the others to the level of the exposure, and errors of levels.

    Levels are compared on the pixels that both show: the sky is brighter in some places than in
    others, and the sources hide other places in each.
    """
    factors, spreads = [], [0.0]
    for other, flags in zip(others, bad, strict=True):
        both = own & ~flags
        if both.mean() < settings.least_share:
            factors.append(np.nan)
            spreads.append(0.0)
            continue
        if settings.scaling == "none":
            factors.append(1.0)
            spreads.append(0.0)
            continue
        mine, theirs = image[both], other[both]
        difference = sky_level(mine - theirs)
        if settings.scaling == "add":
            factors.append(difference.value)
        else:
            reference = sky_level(theirs)
            if not abs(reference.value) > 10 * reference.uncertainty:
                raise ValueError(
                    f"the level of the sky is {reference.value:.3g} +- "
                    f"{reference.uncertainty:.2g}: too faint to be multiplied, use scaling='add'"
                )
            factors.append(1.0 + difference.value / reference.value)
        spreads.append(difference.uncertainty)
    return factors, spreads


def _scaled(values: NDArray, factor: float, settings: ImageBackgroundSettings) -> NDArray:
    """Return values at the level of the exposure."""
    return values + factor if settings.scaling == "add" else values * factor


def _robust_mean(
    stack: NDArray, variances: NDArray, outside: NDArray[np.bool_], clip: float
) -> tuple[NDArray, NDArray]:
    """Return mean and its variance over the first axis, without what is far from the median.

    Every exposure has the same weight: weights from the noise of a pixel would prefer values that
    are low by chance.
    """
    values = np.where(outside, np.nan, stack)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.count_nonzero(~outside, axis=0)
        median = nan_median(values, axis=0)
        # the median of few values has an error itself
        width = np.sqrt(variances * (1.0 + 1.57 / np.maximum(count, 1)))
        keep = ~outside & (np.abs(values - median) <= clip * width)
        n = np.count_nonzero(keep, axis=0)
        # where nothing is within its own error of the middle, the middle is the best there is
        mean = np.where(n > 0, np.sum(np.where(keep, values, 0.0), axis=0) / n, median)
        variance = np.where(
            n > 0,
            np.sum(np.where(keep, variances, 0.0), axis=0) / n**2,
            np.sum(np.where(outside, 0.0, variances), axis=0) * 1.57 / np.maximum(count, 1) ** 2,
        )
    variance[count == 0] = np.nan
    return mean, variance


def _fill_inplace(image: NDArray[np.float32], holes: NDArray[np.bool_]) -> None:
    """Fill holes with Gaussian means of their surroundings, the nearest that reach them."""
    left, sigma = holes.copy(), 1.5
    known = np.where(holes, 0.0, image).astype(np.float32)
    weight = (~holes).astype(np.float32)
    while left.any() and sigma < 2 * max(image.shape):
        norm = ndimage.gaussian_filter(weight, sigma, mode="constant", truncate=3.0)
        mean = ndimage.gaussian_filter(known, sigma, mode="constant", truncate=3.0)
        reached = left & (norm > 0.02)
        image[reached] = mean[reached] / norm[reached]
        left &= ~reached
        sigma *= 2.0
