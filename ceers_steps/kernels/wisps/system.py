"""The linear system behind the wisp scale: pixels, their averages, robust solution, sources."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import as_blocks, enlarged
from ceers_steps.kernels.stats import MAD_TO_SIGMA
from ceers_steps.kernels.wisps.settings import WISP_FIT

if TYPE_CHECKING:
    from ceers_steps.kernels.wisps.template import WispTemplate

__all__ = [
    "Bins",
    "Pixels",
    "Solution",
    "find_sources",
    "influence",
    "solve",
    "solve_non_negative",
]


@dataclass(frozen=True)
class Pixels:
    """The part of the exposure that takes part in the fit, flattened."""

    data: NDArray  # (ny, nx), zero where not good
    good: NDArray[np.bool_]
    weight: NDArray  # inverse variance, zero where not good
    components: NDArray  # (k, ny, nx)
    smoothed_components: NDArray  # (k, ny, nx) smoothed components

    @classmethod
    def take(
        cls,
        image: NDArray,
        err: NDArray,
        mask: NDArray[np.bool_],
        template: WispTemplate,
        region: tuple[slice, slice],
        flat: NDArray | None,
        flatten_template: bool,
    ) -> Pixels:
        """Cut the region out of the exposure and flatten it; see `fit_wisp` for the arguments."""
        data = image[region].astype(np.float32)
        sigma = err[region].astype(np.float32)
        components = template.images[:, *region]
        smoothed = np.zeros_like(components)
        inner = [
            slice(side.start - part.start, side.stop - part.start)
            for side, part in zip(template.box, region, strict=True)
        ]
        smoothed[:, *inner] = template.smoothed_components
        good = ~mask[region] & np.isfinite(data) & np.isfinite(sigma) & (sigma > 0)
        good &= np.isfinite(components).all(axis=0)
        components = np.where(good, components, 0)
        if flat is not None:
            flat = flat[region].astype(np.float32)
            good &= np.isfinite(flat) & (flat > 0)
            flat = np.where(good, flat, np.float32(1))
            data, sigma = data / flat, sigma / flat
            if flatten_template:
                components, smoothed = components / flat, smoothed / flat
        data[~good] = 0
        # The error contains the photon noise of the pixel's own fluctuation, so pixels that
        # happen to be low must not gain weight: no error counts as less than the median.
        typical = np.median(sigma[good]) if good.any() else np.float32(1)
        weight = np.zeros_like(data)
        weight[good] = 1 / np.maximum(sigma[good], typical) ** 2
        return cls(data, good, weight, components, smoothed)

    def of(self, numbers: NDArray) -> Pixels:
        """Return the same with some of the components only."""
        return replace(
            self,
            components=self.components[numbers],
            smoothed_components=self.smoothed_components[numbers],
        )


@dataclass(frozen=True)
class Bins:
    """Averages over a few columns; (ny, n_outputs, n_bins) each."""

    weight: NDArray
    data: NDArray
    components: NDArray  # (k, ...)
    smoothed_components: NDArray  # (k, ...)
    background: NDArray  # (m, ...)
    columns: int  # of a bin

    @classmethod
    def average(cls, pixels: Pixels, weight: NDArray, width: int) -> Bins:
        """Average pixels with the given weights; ``width`` is that of an output in pixels."""
        ny, nx = pixels.data.shape
        columns = next(n for n in range(WISP_FIT.bin, 0, -1) if width % n == 0)
        shape = (ny, nx // width, width // columns)

        def total(values: NDArray) -> NDArray:
            ones = np.ones(columns, np.float32)
            return (values.reshape(-1, columns) @ ones).reshape(shape).astype(np.float64)

        weights = total(weight)
        scale = np.divide(1.0, weights, out=np.zeros(shape), where=weights > 0)
        mean = [total(weight * values) * scale for values in (pixels.data, *pixels.components)]
        smoothed = [total(weight * values) * scale for values in pixels.smoothed_components]
        y, x = np.meshgrid(
            np.linspace(-1, 1, ny), np.linspace(-1, 1, nx // columns), indexing="ij", sparse=True
        )
        background = [
            (x**i * y**j).reshape(shape)
            for i in range(1, WISP_FIT.background_degree + 1)
            for j in range(WISP_FIT.background_degree + 1 - i)
        ]
        return cls(
            weights,
            mean[0],
            np.array(mean[1:]),
            np.array(smoothed),
            np.array(background),
            columns,
        )

    def of(self, numbers: NDArray) -> Bins:
        """Return the same with some of the components only."""
        return replace(
            self,
            components=self.components[numbers],
            smoothed_components=self.smoothed_components[numbers],
        )


@dataclass(frozen=True)
class Solution:
    """A fit to bins."""

    scales: NDArray  # (k,), not negative
    background: NDArray  # (m,)
    residual: NDArray  # of the bins
    weight: NDArray  # of the bins, outliers reduced
    sigma: float  # robust scatter of a bin in units of its formal error
    normal: NDArray  # (k, k), row levels and background eliminated
    projection: NDArray  # (2 k, m) background in components, plain and smoothed

    def of(self, numbers: NDArray) -> Solution:
        """Return the same without components whose scale is 0: they have no part in it."""
        k = len(self.scales)
        return replace(
            self,
            scales=self.scales[numbers],
            normal=self.normal[np.ix_(numbers, numbers)],
            projection=self.projection[np.concatenate([numbers, k + numbers])],
        )


def solve(bins: Bins, start: Solution | None = None, iterations: int = 8) -> Solution | None:
    """Fit the bins; outliers lose weight from one iteration to the next.

    The level of a row of an output is its weighted mean, so that the thousands of levels are
    eliminated exactly without ever entering a matrix; then the background is, and a system of
    the size of the number of components is left.

    Smoothed components serve as instrumental variables: the noise of a template pixel is
    independent of its neighbourhood in other rows, so that it does not dilute the scale.

    Parameters
    ----------
    bins : Bins
        The averages.
    start : Solution, optional
        A fit to nearly the same data, for the weights of the first iteration.
    iterations : int
        Largest number of iterations.

    Returns
    -------
    Solution or None
        None if the data do not constrain a component at all.
    """
    k, m = len(bins.components), len(bins.background)
    terms = np.concatenate(
        [bins.components, bins.smoothed_components, bins.background, bins.data[np.newaxis]]
    )
    flat_terms = terms.reshape(len(terms), -1)
    formal = np.sqrt(bins.weight)
    robust = 1.0 if start is None else _huber(start.residual * formal, start.sigma)
    solution = None
    for _ in range(iterations):
        weight = bins.weight * robust
        total = weight.sum(axis=-1)
        share = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        weighted = terms * weight
        levels = weighted.sum(axis=-1)  # of every term, times the total weight
        products = weighted.reshape(len(terms), -1) @ flat_terms.T
        products -= (levels * share).reshape(len(terms), -1) @ levels.reshape(len(terms), -1).T

        smooth = slice(2 * k, 2 * k + m)
        projection = products[:, smooth] @ np.linalg.pinv(products[smooth, smooth], hermitian=True)
        products = products - projection @ products[smooth]
        normal, right = products[k : 2 * k, :k], products[k : 2 * k, -1]
        if not np.all(np.diag(normal) > 0):
            return solution
        scales = solve_non_negative(normal, right)
        background = projection[-1] - scales @ projection[:k]

        coefficients = np.concatenate([-scales, np.zeros(k), -background, [1.0]])
        residual = (coefficients @ flat_terms).reshape(weight.shape)
        residual -= (np.tensordot(coefficients, levels, axes=1) * share)[..., np.newaxis]
        normed = residual * formal
        sigma = MAD_TO_SIGMA * np.median(np.abs(normed[bins.weight > 0][:: WISP_FIT.sample_step]))
        previous, solution = (
            solution,
            Solution(
                scales, background, residual, weight, float(sigma), normal, projection[: 2 * k]
            ),
        )
        if previous is not None and np.allclose(previous.scales, scales, rtol=1e-4, atol=1e-6):
            break
        robust = _huber(normed, solution.sigma)
    return solution


def influence(bins: Bins, solution: Solution) -> tuple[NDArray, NDArray]:
    """Return components, plain and smoothed, with row levels and background taken out.

    Parameters
    ----------
    bins : Bins
        The averages.
    solution : Solution
        The fit to them.

    Returns
    -------
    responses, scores : ndarray
        ``(k, ny, n_outputs, n_bins)``: by how much the model changes with every scale, and what
        the residuals are correlated with.
    """
    terms = np.concatenate([bins.components, bins.smoothed_components])
    terms -= np.tensordot(solution.projection, bins.background, axes=1)
    total = solution.weight.sum(axis=-1)
    share = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    terms -= ((terms * solution.weight).sum(axis=-1) * share)[..., np.newaxis]
    return terms[: len(bins.components)], terms[len(bins.components) :]


def solve_non_negative(normal: NDArray, right: NDArray) -> NDArray:
    """Solve a small system of normal equations for values that are not negative.

    Parameters
    ----------
    normal : ndarray
        ``(k, k)`` normal matrix, nearly symmetric with a positive diagonal.
    right : ndarray
        ``(k,)`` right-hand side.

    Returns
    -------
    ndarray
        ``(k,)`` solution.
    """
    k = len(right)
    free = np.linalg.pinv(normal) @ right
    if np.all(free >= 0):
        return free
    # the few components allow to try every set of positive ones, largest first
    for size in range(k - 1, 0, -1):
        for chosen in map(list, combinations(range(k), size)):
            trial = np.zeros(k)
            trial[chosen] = np.linalg.pinv(normal[np.ix_(chosen, chosen)]) @ right[chosen]
            gradient = right - normal @ trial
            idle = np.setdiff1d(np.arange(k), chosen)
            if np.all(trial >= 0) and np.all(gradient[idle] <= 1e-9 * np.abs(right).max()):
                return trial
    return np.zeros(k)


def find_sources(pixels: Pixels, bins: Bins, solution: Solution) -> NDArray[np.bool_]:
    """Mask what stands above the noise of the residual, on several scales.

    The wisp of the present fit is subtracted first: a mask made on the image itself would
    remove the brightest parts of the wisp and bias its scale.

    Parameters
    ----------
    pixels : Pixels
        What is searched.
    bins : Bins
        Its averages.
    solution : Solution
        The present fit to them.

    Returns
    -------
    ndarray
        ``(ny, nx)``, True for sources.
    """
    ny, nx = pixels.data.shape
    # row levels and background are known in bins; sources are narrower than the difference
    smooth = bins.data - solution.residual - _components_sum(bins.components, solution.scales)
    residual = pixels.data - np.repeat(
        smooth.reshape(ny, -1).astype(np.float32), bins.columns, axis=1
    )
    for scale, component in zip(solution.scales, pixels.components, strict=True):
        residual -= np.float32(scale) * component
    residual[~pixels.good] = 0
    found = np.zeros((ny, nx), bool)
    for block, sigma, threshold in WISP_FIT.source_scales:
        image = as_blocks(residual, block, beyond="edge").mean(axis=(2, 3))
        image = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=3.0)
        sample = image[:: WISP_FIT.sample_step, :: WISP_FIT.sample_step]
        middle = np.median(sample)
        noise = MAD_TO_SIGMA * np.median(np.abs(sample - middle))
        peaks = (image - middle > threshold * noise).astype(np.uint8)
        grown = ndimage.maximum_filter(peaks, size=2 * round(2 * sigma) + 1, mode="constant")
        found |= enlarged(grown.astype(bool), block, (ny, nx))
    return found


def _huber(normed: NDArray, sigma: float) -> NDArray | float:
    """Return the factors by which outliers lose weight."""
    limit = WISP_FIT.huber * sigma
    return limit / np.maximum(np.abs(normed), limit) if limit > 0 else 1.0


def _components_sum(components: NDArray, scales: NDArray) -> NDArray:
    return np.tensordot(scales, components, axes=1)
