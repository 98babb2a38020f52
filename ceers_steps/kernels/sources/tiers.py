"""Tiered source mask: one search per size of source, on one image without its sky.

The published search (Bagley et al. 2023, sections 3.1 and 3.3) takes a median over a ring around
every pixel and convolves with wide Gaussians at full resolution, minutes for a detector image.
Here each is done on an image binned to about a tenth of its scale: the ring median on medians of
blocks, each Gaussian on block means (a Gaussian of a few blocks is not changed by them).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from ceers_steps.kernels.blocks import as_blocks, block_median
from ceers_steps.kernels.discs import dilate
from ceers_steps.kernels.parts import without_small_parts
from ceers_steps.kernels.sources.settings import SEARCH
from ceers_steps.kernels.stats import (
    biweight_location,
    biweight_scale,
    clipped_stats,
    subsample,
)

__all__ = [
    "RATE_TIERS",
    "Tier",
    "TierSet",
    "bin_factor",
    "dilate_square",
    "expand",
    "expand_at",
    "mask_sources",
    "ring_median",
    "smooth",
    "subtract_ring_median",
]


@dataclass(frozen=True)
class Tier:
    """One search.

    Attributes
    ----------
    sigma : float
        Standard deviation of the smoothing Gaussian, pixels.
    nsigma : float
        Threshold in units of the noise (`TierSet.noise`).
    npixels : int
        Number of connected pixels (corners count) that make a source.
    growth : int
        The mask is grown by a square or disc that reaches so far on each side, pixels.
    """

    sigma: float
    nsigma: float
    npixels: int
    growth: int


@dataclass(frozen=True)
class TierSet:
    """Parameters of a tiered source mask.

    Attributes
    ----------
    tiers : tuple of Tier
        At most 31: tier number k (from 1) has bit k of the mask.
    ring_radius, ring_width : float
        Inner radius and width of the ring median that is taken as the sky, pixels.
    noise : {'smoothed', 'pixel'}
        What thresholds are relative to. ``'smoothed'``: the clipped mean and standard deviation
        of the smoothed image outside earlier tiers. ``'pixel'``: the biweight scale of the image
        before smoothing, above zero, the same for all tiers.
    footprint : {'square', 'disc'}
        Shape by which masks are grown.
    """

    tiers: tuple[Tier, ...]
    ring_radius: float
    ring_width: float
    noise: str
    footprint: str

    def __post_init__(self) -> None:
        if self.noise not in {"smoothed", "pixel"}:
            raise ValueError(f"noise={self.noise!r}: use 'smoothed' or 'pixel'")
        if self.footprint not in {"square", "disc"}:
            raise ValueError(f"footprint={self.footprint!r}: use 'square' or 'disc'")


RATE_TIERS = TierSet(
    # the first tier of the published mask is grown twice by a square of 11 pixels
    tiers=(Tier(25, 3, 15, 10), Tier(15, 3, 15, 5), Tier(5, 3, 5, 5), Tier(2, 3, 3, 1)),
    ring_radius=40,
    ring_width=3,
    noise="smoothed",
    footprint="square",
)
"""The published mask of rate images, used for 1/f striping and again for the sky of stage 3."""


def mask_sources(
    image: NDArray, mask: NDArray[np.bool_], parameters: TierSet = RATE_TIERS
) -> NDArray[np.uint8]:
    """Find the sources of an image, from the widest to the smallest.

    Bagley et al. 2023, sections 3.1 (rate images) and 3.3 (mosaics).

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit. NaN are treated as masked.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels, off the detector.
    parameters : TierSet

    Returns
    -------
    ndarray of uint8 (uint32 for more than seven tiers), shape (ny, nx)
        Bit 0: masked in the input or NaN. Bit k: source of tier k. Greater than 1: source.

    Raises
    ------
    ValueError
        When no pixel is left.
    """
    grow = dilate_square if parameters.footprint == "square" else dilate
    bad = mask | ~np.isfinite(image)
    if bad.all():
        raise ValueError("no pixel left to search for sources: all are masked or NaN")
    flat = subtract_ring_median(image, bad, parameters.ring_radius, parameters.ring_width)
    scale = biweight_scale(subsample(flat[~bad], SEARCH.sample))
    bits = bad.astype(np.uint8 if len(parameters.tiers) <= 7 else np.uint32)
    excluded = bad.copy()
    for number, tier in enumerate(parameters.tiers, start=1):
        smoothed = smooth(flat, tier.sigma)
        if parameters.noise == "pixel":
            threshold = tier.nsigma * scale
        else:
            # a smoothed image holds no more information than a few values per sigma
            step = max(1, int(tier.sigma / 2))
            sample = smoothed[::step, ::step][~excluded[::step, ::step]]
            stats = clipped_stats(sample)
            threshold = stats.mean + tier.nsigma * stats.std
        source = without_small_parts(smoothed > threshold, tier.npixels)
        source = grow(source, tier.growth)
        excluded |= source
        bits |= source.astype(bits.dtype) << number
    return bits


def subtract_ring_median(
    image: NDArray, mask: NDArray[np.bool_], radius: float, width: float
) -> NDArray[np.float32]:
    """Subtract the median over a ring around each pixel: what is smaller than the ring stays.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
    mask : ndarray of bool, shape (ny, nx)
        True = do not use; those pixels count as sky in the medians.
    radius, width : float
        Inner radius and width of the ring, pixels. Rings over 20 pixels are evaluated on the
        medians of blocks of a power of two, about a tenth of the radius.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        0 in masked pixels.
    """
    location = biweight_location(subsample(image[~mask], SEARCH.sample))
    filled = np.where(mask, np.float32(location), image).astype(np.float32, copy=False)
    factor = bin_factor(radius / 10.0)
    sky = ring_median(block_median(filled, factor, beyond=location), radius, width, factor)
    filled -= expand(sky, image.shape, factor)
    filled[mask] = 0.0
    return filled


def ring_median(binned: NDArray, radius: float, width: float, factor: int) -> NDArray:
    """Return the median over a ring around each block; radius and width in single pixels.

    Parameters
    ----------
    binned : ndarray
        One value a block.
    radius, width : float
        Of the ring, pixels.
    factor : int
        Side of a block, pixels.

    Returns
    -------
    ndarray
        One value a block.
    """
    middle_radius = radius + 0.5 * width
    half_width = 0.5 * max(width, factor)
    ring = _annulus((middle_radius - half_width) / factor, (middle_radius + half_width) / factor)
    return ndimage.median_filter(binned, footprint=ring, mode="reflect")


def dilate_square(mask: NDArray[np.bool_], half_side: int) -> NDArray[np.bool_]:
    """Grow a mask by a square; beyond the edges of the array nothing is set.

    Equal to ``scipy.ndimage.binary_dilation`` with a square of ``2 * half_side + 1`` pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (ny, nx)
    half_side : int
        Pixels by which it grows on each side.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    for _ in range(2):
        mask, reach = mask.T.copy(), 0
        while reach < half_side:
            # a longer shift would leave a gap beside the edge of the array
            shift = min(reach + 1, half_side - reach)
            wider = mask.copy()
            wider[shift:] |= mask[:-shift]
            wider[:-shift] |= mask[shift:]
            mask, reach = wider, reach + shift
    return mask


def smooth(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Convolve with a Gaussian; outside the image is zero.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        In any unit.
    sigma : float
        Of the Gaussian, pixels.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The smoothed image.
    """
    factor = bin_factor(sigma / 2.5)
    binned = as_blocks(image, factor, beyond=0.0).mean(axis=(2, 3))
    # a block has smoothed with a box of this variance already
    width = np.sqrt(sigma**2 - (factor**2 - 1) / 12.0)
    norm = factor / (width * np.sqrt(2.0 * np.pi))

    def gaussian(distance: NDArray) -> NDArray:
        return norm * np.exp(-0.5 * (distance / width) ** 2)

    return _resample(binned, image.shape, factor, gaussian, reach=4.0 * sigma, normalise=False)


def expand(binned: NDArray, shape: tuple[int, int], factor: int) -> NDArray[np.float32]:
    """Interpolate block values linearly to single pixels, constant beyond the outermost centres.

    Parameters
    ----------
    binned : ndarray
        One value a block.
    shape : tuple of int
        Of the image, ``(ny, nx)``.
    factor : int
        Side of a block, pixels.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The interpolated values.
    """
    if factor == 1:
        return binned
    return _resample(binned, shape, factor, _triangle(factor), reach=factor, normalise=True)


def expand_at(
    binned: NDArray, rows: NDArray[np.intp], columns: NDArray[np.intp], factor: int
) -> NDArray[np.float32]:
    """Interpolate block values as `expand` does, where some rows and columns of pixels cross.

    Parameters
    ----------
    binned : ndarray
        One value a block.
    rows, columns : ndarray of int
        Pixels, from 0.
    factor : int
        Side of a block, pixels.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        The interpolated values.
    """
    down, across = (
        _weights(pixels, n_blocks, factor, _triangle(factor), factor, normalise=True)
        for pixels, n_blocks in zip((rows, columns), binned.shape, strict=True)
    )
    # few rows: those of all blocks would be more
    return np.ascontiguousarray((across @ np.ascontiguousarray((down @ binned).T)).T)


def _triangle(factor: int) -> Callable[[NDArray], NDArray]:
    """Return the weight of a block at some distances from its middle, pixels."""
    return lambda distance: np.maximum(1.0 - np.abs(distance) / factor, 0.0)


def _resample(
    binned: NDArray,
    shape: tuple[int, int],
    factor: int,
    kernel: Callable[[NDArray], NDArray],
    reach: float,
    normalise: bool,
) -> NDArray[np.float32]:
    """Take block values to single pixels with a separable kernel: one sparse matrix per axis."""
    rows, columns = (
        _weights(np.arange(n), n_blocks, factor, kernel, reach, normalise)
        for n, n_blocks in zip(shape, binned.shape, strict=True)
    )
    return rows @ np.ascontiguousarray((columns @ np.ascontiguousarray(binned.T)).T)


def _weights(
    pixels: NDArray[np.intp],
    n_blocks: int,
    factor: int,
    kernel: Callable[[NDArray], NDArray],
    reach: float,
    normalise: bool,
) -> sparse.csr_array:
    """Return the weights that blocks have in pixels of an axis, shape (pixels, blocks)."""
    place = pixels[:, np.newaxis]
    first = np.floor((place - reach) / factor).astype(int)
    blocks = first + np.arange(int(2 * reach / factor) + 3)
    weights = kernel(place - ((blocks + 0.5) * factor - 0.5))
    weights[(blocks < 0) | (blocks >= n_blocks)] = 0.0
    if normalise:
        weights /= weights.sum(axis=1, keepdims=True)
    row, used = np.nonzero(weights)
    entries = weights[row, used].astype(np.float32), (row, blocks[row, used])
    return sparse.csr_array(entries, shape=(len(pixels), n_blocks))


def bin_factor(scale: float) -> int:
    """Return the largest power of two that is not above ``scale``, at least 1.

    Parameters
    ----------
    scale : float
        Pixels.

    Returns
    -------
    int
        A power of two.
    """
    return 2 ** max(0, int(np.log2(max(scale, 1.0))))


def _annulus(inner: float, outer: float) -> NDArray[np.bool_]:
    """Return the pixels whose distance from the centre is from ``inner`` to ``outer``."""
    half = int(np.floor(outer))
    y, x = np.ogrid[-half : half + 1, -half : half + 1]
    squared = x**2 + y**2
    return (squared >= inner**2) & (squared <= outer**2)
