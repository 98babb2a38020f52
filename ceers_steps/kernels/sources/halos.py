"""Light around sources that no profile of theirs follows: halos that all of them have in common.

Beyond masks and exponentials the light of sources goes on, below the noise of any ring around any
of them: wings of the point spread function, outskirts that fade more slowly, faint companions.
In sum it is what a sky measured outside the mask has too much. It is found for all sources
together: what is left of the image is compared with the area of sources above the threshold, and
with their flux, both spread out by Gaussians of several widths. Sums of these, none of them below
zero, are any halo that fades outwards. Parts of the mosaic that the rest foretells tell whether
it is light: structure of the sky beside one source is not found beside others.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ceers_steps.kernels.blocks import block_rows
from ceers_steps.kernels.rows import RowImage, Strip, for_each_strip
from ceers_steps.kernels.sources.noise_map import SkyResidual
from ceers_steps.kernels.sources.settings import HALOS, PROFILES

__all__ = ["foretold_parts", "light_of_halos"]

Array = NDArray[np.float64]


def light_of_halos(
    residual: SkyResidual, clean: RowImage, mask: RowImage, n_threads: int
) -> NDArray[np.float32]:
    """Return the light of halos around all sources of a mosaic.

    Parameters
    ----------
    residual : SkyResidual
        Image less its sky, with all light, in units of the noise.
    clean : ndarray or RowImage, shape (ny, nx)
        The image without the light outside the mask that is known.
    mask : ndarray of bool or RowImage, shape (ny, nx)
        True = source, or not seen.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    ndarray of float32, shape (ny / 4, nx / 4)
        In the unit of the image, in bins of four by four pixels; 0 where there is none, or
        where the sky has structure.
    """
    image, side = residual.image.shape, PROFILES.large_bin
    light = np.zeros((-(-image[0] // side), -(-image[1] // side)), np.float32)
    rough = 0.0 if residual.rough is None else float(residual.rough.mean())
    level = 1.0 - rough / HALOS.roughest
    if level <= 0.0:
        return light
    outside = replace(residual, image=clean, coverage_mask=mask)
    overlap = int(np.ceil(HALOS.truncate * (HALOS.widths[-1] + HALOS.level)))

    def terms(strip: Strip) -> list[NDArray[np.float32]]:
        value, _, core = residual.binned(strip.outer, side)
        sources = core.astype(np.float32), np.maximum(value * core, 0.0)
        return [_smooth(each, width) for each in sources for width in HALOS.widths]

    def measure(strip: Strip) -> Array:
        value, count, _ = outside.binned(strip.outer, side)
        # the noise of a bin falls with its side
        largest = HALOS.clip * PROFILES.small_bin / side
        value = np.clip(value, -largest, largest)
        weight = count / outside.noise_in_bins(strip.outer, side) ** 2
        weight *= (2 * count > side**2) & ~outside.rough_bins(strip.outer, side)
        share = np.maximum(_smooth(weight, HALOS.level), np.float32(1e-6))
        inner = block_rows(strip.inner, side)
        # the level of the sky around is not known: only what differs from it tells
        columns = [
            (each - _smooth(weight * each, HALOS.level) / share)[inner].ravel()
            for each in (*terms(strip), value)
        ]
        return _sums(np.stack(columns).astype(float), weight[inner], strip.start)

    parts = foretold_parts(np.sum(for_each_strip(measure, image, overlap, n_threads), axis=0))
    if not parts.any():
        return light

    def spread(strip: Strip) -> None:
        total = sum(part * term for part, term in zip(parts, terms(strip), strict=True))
        total *= np.float32(level * residual.noise)
        # where the sky has structure the mask of the search stands
        total[residual.rough_bins(strip.outer, side)] = 0.0
        light[block_rows(strip.rows, side)] = total[block_rows(strip.inner, side)]

    for_each_strip(spread, image, overlap, n_threads)
    return light


def _smooth(values: NDArray, width: float) -> NDArray[np.float32]:
    """Return values in bins under a Gaussian of some pixels; beyond the border there are none."""
    sigma = width / PROFILES.large_bin
    return ndimage.gaussian_filter(
        np.asarray(values, np.float32), sigma, mode="constant", truncate=HALOS.truncate
    )


def _sums(columns: Array, weight: NDArray, start: int) -> Array:
    """Return the sums of all products of columns in each group of squares of the mosaic."""
    down, across = (np.arange(n) * PROFILES.large_bin for n in weight.shape)
    down, across = (down + start) // HALOS.tile, across // HALOS.tile
    group = ((7 * down[:, np.newaxis] + across) % HALOS.groups).ravel()
    weighted = columns * weight.ravel()
    groups = (group == number for number in range(HALOS.groups))
    return np.stack([weighted[:, own] @ columns[:, own].T for own in groups])


def foretold_parts(sums: Array) -> NDArray[np.float32]:
    """Return how much of each term there is, as far as groups of squares foretell each other.

    Parameters
    ----------
    sums : ndarray of float64, shape (n groups, n terms + 1, n terms + 1)
        Sums of the products of all terms in each group; the last one is the light.

    Returns
    -------
    ndarray of float32, shape (n terms,)
        In units of the light per term, none below zero; all 0 where groups foretell each other
        worse than no halo does.
    """
    total = sums.sum(axis=0)
    gains = np.zeros(len(sums))
    for number, own in enumerate(sums):
        halo = _positive(total - own)
        gains[number] = 2.0 * halo @ own[:-1, -1] - halo @ own[:-1, :-1] @ halo
    error = max(float(np.sqrt(np.sum(gains**2))), np.finfo(float).tiny)
    sure = np.clip(gains.sum() / error - HALOS.surely, 0.0, 1.0)
    return (sure * _positive(total)).astype(np.float32)


def _positive(sums: Array) -> Array:
    """Return how much of each term fits the last one best, none of them below zero."""
    scale = np.sqrt(np.maximum(np.diag(sums)[:-1], 0.0))
    used = scale > 0.0
    parts = np.zeros(len(scale))
    if used.any():
        square = sums[:-1, :-1][np.ix_(used, used)] / np.outer(scale[used], scale[used])
        power, axes = np.linalg.eigh(square)
        root = np.sqrt(np.maximum(power, HALOS.least_power))
        product = sums[:-1, -1][used] / scale[used]
        found, _ = optimize.nnls(root[:, np.newaxis] * axes.T, axes.T @ product / root)
        parts[used] = found / scale[used]
    return parts
