"""How much the empty sky scatters, compared with what variances predict."""

from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.blocks import block_sum, enlarged
from ceers_steps.kernels.sky.settings import NOISE
from ceers_steps.kernels.sky.variance import smooth_sky
from ceers_steps.kernels.sources.background import fit_background
from ceers_steps.kernels.sources.tiers import RATE_TIERS, Tier, TierSet, mask_sources
from ceers_steps.kernels.stats import biweight_location, biweight_scale, mad_sigma, subsample

__all__ = [
    "PUBLISHED_TIERS",
    "WIDE_TIERS",
    "NoiseScale",
    "published_noise_scale",
    "sky_noise_scale",
]

WIDE_TIERS = 0b110
"""Bits of the two widest tiers of `RATE_TIERS`, which a mask for measuring noise does without.

They are as wide as the largest blocks: where noise is high over such a block it is masked, and what
is left scatters too little (by 7% in blocks of 16 pixels). The wide light that they are there to
mask goes with the background."""

PUBLISHED_TIERS = TierSet(
    tiers=(Tier(25, 3, 15, 0), Tier(15, 3, 15, 0), Tier(5, 3, 5, 0), Tier(2, 3, 2, 3)),
    ring_radius=40,
    ring_width=3,
    noise="pixel",
    footprint="disc",
)
"""The published mask for measuring the noise."""

_SMALL_TIERS = replace(RATE_TIERS, tiers=RATE_TIERS.tiers[2:])


@dataclass(frozen=True)
class NoiseScale:
    """What a variance is multiplied by, and the evidence.

    Attributes
    ----------
    factor : float
        For the variance that is scaled.
    uncertainty : float
        Standard error of the factor.
    blocks : tuple of int
        Sides of the blocks used, pixels.
    before, after : tuple of float
        Scatter of the blocks over what the variances predict, without and with the factor.
    errors : tuple of float
        Relative standard errors of those scatters.
    n_blocks : tuple of int
        Number of blocks of each size.
    """

    factor: float
    uncertainty: float
    blocks: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    errors: tuple[float, ...]
    n_blocks: tuple[int, ...]


def sky_noise_scale(
    image: NDArray,
    scaled: NDArray,
    fixed: NDArray,
    mask: NDArray[np.bool_],
    *,
    blocks: tuple[int, ...] = NOISE.blocks,
) -> NoiseScale:
    """Find the factor with which ``factor * scaled + fixed`` predicts the scatter of the sky.

    Sums over the unmasked pixels of blocks are divided by their predicted standard deviations;
    the biweight scale of these is the scatter over its prediction. It is measured in parts of the
    image, and their median is taken: stray light with structure of its own is in some of them,
    noise in all. Two things make it too small, the more the larger the block: the background that
    is subtracted (boxes of twice the largest block) follows the noise, and the search for sources
    masks its peaks. Both are measured on white noise of the predicted variance that goes through
    the same search and subtraction, and taken out.

    The factor is that of the smallest blocks, by default single pixels: ERR is the error of a
    pixel. Correlated noise makes larger blocks scatter more, and noise that a fit of stripes has
    taken with it less; `NoiseScale.after` says by how much the error of a sum over a block is off
    then. Light that nobody masked does next to nothing to single pixels.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Image with or without its sky.
    scaled, fixed : ndarray, shape (ny, nx)
        Variance that gets the factor, and one that does not, in the squared unit of the image.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels, and sources found with the small tiers of `RATE_TIERS`.
    blocks : tuple of int
        Sides of the blocks, pixels, of which the smallest sets the factor; at least half of the
        pixels of a block must be unmasked. Sizes with fewer than 100 such blocks are left out.

    Returns
    -------
    NoiseScale

    Raises
    ------
    ValueError
        When no size has enough blocks, or the image scatters less than `fixed` alone or not at all.
    """
    if not blocks or min(blocks) < 1:
        raise ValueError(f"blocks={blocks}: give sides of 1 pixel or more")
    total = scaled + fixed
    usable = ~mask & np.isfinite(image) & (total > 0.0) & np.isfinite(total)
    sides = [side for side in sorted(set(blocks)) if _n_blocks(usable, side) >= NOISE.least_blocks]
    if not sides:
        raise ValueError(
            f"no block size of {', '.join(map(str, blocks))} pixels has {NOISE.least_blocks} "
            "blocks that are half free of bad pixels and sources"
        )
    box = max(NOISE.box, 2 * max(sides))
    residual = image - smooth_sky(image, ~usable, box=box)
    measured, counts = _scatter(residual, total, usable, sides)
    if not all(counts):
        raise ValueError("the sky does not scatter at all")
    found = np.array(measured) / _lost_scatter(total, usable, sides, box)
    errors = _scatter_errors(counts)

    mean_scaled, mean_fixed = scaled[usable].mean(dtype=float), fixed[usable].mean(dtype=float)
    share = mean_scaled / (mean_scaled + mean_fixed)
    factor = float((found[0] ** 2 - (1.0 - share)) / share)
    if not factor > 0.0:
        raise ValueError(
            f"the sky scatters {found[0]:.3f} times as much as predicted, which is less than "
            "that part of the variance which is not scaled"
        )
    after = found / np.sqrt(factor * share + 1.0 - share)
    return NoiseScale(
        factor,
        float(2.0 * found[0] ** 2 * errors[0] / share),
        tuple(sides),
        tuple(found.tolist()),
        tuple(after.tolist()),
        tuple(errors.tolist()),
        tuple(counts),
    )


def published_noise_scale(image: NDArray, rnoise: NDArray, mask: NDArray[np.bool_]) -> NoiseScale:
    """Find the factor with which the read noise variance alone is that of the sky, as published.

    Bagley et al. 2023, section 3.2: background of boxes of 5 pixels subtracted, sums over blocks
    of 7 x 7 pixels without a masked one; their biweight midvariance per pixel over the biweight
    location of the read noise variance. The background takes most of the noise of such blocks with
    it, and the photon noise of the sky is then in two planes; `sky_noise_scale` does neither.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
    rnoise : ndarray, shape (ny, nx)
        Read noise variance, in the squared unit of the image.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use. Sources are searched for.

    Returns
    -------
    NoiseScale

    Raises
    ------
    ValueError
        With fewer than 100 blocks, or when they are all the same.
    """
    side = NOISE.published_block
    masked = mask_sources(image, mask, PUBLISHED_TIERS) > 0
    usable = ~masked
    full = block_sum(usable, side) == side**2
    n = int(np.count_nonzero(full))
    if n < NOISE.least_blocks:
        raise ValueError(
            f"{n} blocks of {side} x {side} pixels are free of bad pixels and sources; "
            f"{NOISE.least_blocks} are needed"
        )
    boxes = {"box_size": NOISE.published_box, "filter_size": NOISE.published_filter}
    background = fit_background(image, masked, **boxes)
    sums = block_sum(np.where(usable, image - background, 0.0), side)[full]
    ny, nx = full.shape
    in_full = enlarged(full, side, (ny * side, nx * side))
    typical = biweight_location(subsample(rnoise[: ny * side, : nx * side][in_full], NOISE.sample))
    factor = biweight_scale(sums) ** 2 / side**2 / typical
    if not factor > 0.0:
        raise ValueError("the sky does not scatter at all")
    error = float(np.sqrt(0.5 / (0.9 * n)))
    return NoiseScale(
        float(factor),
        float(2.0 * factor * error),
        (side,),
        (float(np.sqrt(factor)),),
        (1.0,),
        (error,),
        (n,),
    )


def _scatter(
    residual: NDArray, variance: NDArray, usable: NDArray[np.bool_], sides: list[int]
) -> tuple[list[float], list[int]]:
    """Return scatter over prediction for each block size, and the number of blocks."""
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = residual / np.sqrt(variance)
    limit = NOISE.clip * mad_sigma(subsample(pull[usable], NOISE.sample))
    with np.errstate(invalid="ignore"):
        kept = usable & (np.abs(pull) < limit)
    residual = np.where(kept, residual, np.float32(0.0))
    variance = np.where(kept, variance, np.float32(0.0))
    scatter, counts = [], []
    for side in sides:
        if side == 1:
            pulls, full = pull, kept
        else:
            full = block_sum(kept, side) >= NOISE.full * side**2
            with np.errstate(invalid="ignore", divide="ignore"):
                pulls = block_sum(residual, side) / np.sqrt(block_sum(variance, side))
        counts.append(int(np.count_nonzero(full)))
        scatter.append(_typical_scatter(pulls, full, counts[-1]))
    return scatter, counts


def _scatter_errors(counts: list[int]) -> NDArray[np.float64]:
    """Return the relative standard errors of scatters of so many blocks each."""
    used = np.minimum(counts, NOISE.sample)
    # a biweight wastes a tenth, the median of several parts a third
    waste = np.where([_n_parts(count) > 1 for count in counts], 0.5 * np.pi, 1.0) / 0.9
    return np.sqrt(0.5 * waste / used)


def _n_parts(count: int) -> int:
    """Return the parts along each side in which so many blocks are measured."""
    return int(np.clip(np.sqrt(count / NOISE.part_blocks), 1, NOISE.parts))


def _typical_scatter(pulls: NDArray, full: NDArray[np.bool_], count: int) -> float:
    """Return the median over the parts of an image of the scatter of its blocks."""
    n_parts = _n_parts(count)
    sample = NOISE.sample // n_parts**2
    scatters = []
    rows, columns = (np.linspace(0, size, n_parts + 1).astype(int) for size in full.shape)
    for part in product(pairwise(rows), pairwise(columns)):
        window = tuple(slice(*limits) for limits in part)
        if (chosen := pulls[window][full[window]]).size >= NOISE.part_blocks / 2:
            scatters.append(biweight_scale(subsample(chosen, sample)))
    if n_parts == 1 or len(scatters) < n_parts**2 / 2:
        return biweight_scale(subsample(pulls[full], NOISE.sample))
    return float(np.median(scatters))


def _lost_scatter(
    variance: NDArray, usable: NDArray[np.bool_], sides: list[int], box: int
) -> NDArray[np.float64]:
    """Return what search and background leave of the scatter of white noise, per block size."""
    variance, usable = _bands(variance, usable)
    n_controls = int(np.clip(NOISE.control_size // usable.size, 1, NOISE.most_controls))
    # always the same noise: the same image gives the same factor
    rng = np.random.default_rng(0)
    sigma = np.sqrt(np.where(usable, variance, 0.0)).astype(np.float32)
    lost = np.empty((n_controls, len(sides)))
    for row in lost:
        noise = rng.standard_normal(variance.shape, dtype=np.float32) * sigma
        found = mask_sources(noise, ~usable, _SMALL_TIERS) > 0
        left = usable & ~found
        whole, _ = _scatter(noise, variance, usable, sides)
        part, _ = _scatter(noise - smooth_sky(noise, ~left, box=box), variance, left, sides)
        # how far the biweight scale is from the standard deviation is the same for all sizes, and
        # known best from the smallest blocks, of which there are most
        row[:] = np.array(part) / whole * whole[0]
    return lost.mean(axis=0)


def _bands(variance: NDArray, usable: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return rows of all heights, in bands as thick as the smooth part needs, for the control.

    The first rows alone can be all masked, or noisier than the rest.
    """
    ny, nx = usable.shape
    if ny * nx <= NOISE.control_size + nx:
        return variance, usable
    n_bands = ny // NOISE.band
    kept = max(1, round(n_bands * NOISE.control_size / (ny * nx)))
    starts = NOISE.band * np.unique(np.linspace(0, n_bands - 1, kept).round().astype(int))
    rows = (starts[:, np.newaxis] + np.arange(NOISE.band)).ravel()
    return variance[rows], usable[rows]


def _n_blocks(usable: NDArray[np.bool_], side: int) -> int:
    """Return the number of blocks at least half of whose pixels are usable."""
    return int(np.count_nonzero(block_sum(usable, side) >= NOISE.full * side**2))
