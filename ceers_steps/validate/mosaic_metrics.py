"""What is measured on a mosaic whose truth is known: noise, photometry, astrometry, background.

Pure functions of arrays ``[y, x]`` and positions in pixels from 0, as in
`ceers_steps.validate.metrics`. The true mosaic is the light of the sources through the same
drizzle as the data, so crowding, blur and missing pixels drop out of (mosaic - truth). Drizzled
pixels share input pixels: what they should scatter by, in blocks and apertures, is taken from
white noise of the claimed variance that went through the same drizzle (see
`ceers_steps.validate.true_mosaic`), and is exact for whatever kernel and weights.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ceers_steps.validate.metrics import MAD_TO_SIGMA
from ceers_steps.validate.mosaic_records import (
    AperturePhotometry,
    BlockChi,
    PhotometryBin,
    PositionOffset,
)

__all__ = [
    "aperture_photometry",
    "bin_photometry",
    "block_chi",
    "isolated",
    "outliers",
    "position_offset",
    "robust_scatter",
    "windowed_positions",
]

OUTLIER_SIGMA = 5.0
"""Scatters of the noise beyond which a pixel is an outlier."""


def block_chi(
    residual: NDArray,
    noise: NDArray,
    err: NDArray,
    *,
    mask: NDArray,
    blocks: Sequence[int] = (1, 2, 4, 8, 16, 32),
) -> list[BlockChi]:
    """Compare the scatter of block means of blank sky with the predicted one.

    Blocks with any masked pixel are left out.

    Parameters
    ----------
    residual : array, shape (ny, nx)
        Mosaic less its truth.
    noise : array, shape (n_draws, ny, nx) or (ny, nx)
        Drizzled noise of the claimed variance; more draws predict more exactly.
    err : array, shape (ny, nx)
        Error array of the mosaic.
    mask : bool array, shape (ny, nx)
        True = do not use (sources).  Pixels that are not finite are left out too.
    blocks : sequence of int
        Sides of the blocks, pixels.

    Returns
    -------
    list of BlockChi
        One a size; sizes with fewer than two blocks are left out.
    """
    draws = noise.reshape(-1, *residual.shape)
    bad = mask | ~np.isfinite([residual, err, *draws]).all(axis=0)
    chis: list[BlockChi] = []
    single = 0.0
    for block in blocks:
        keep = ~_blocks(bad, block).any(axis=(1, 3))
        n_blocks = int(keep.sum())
        if n_blocks < 2:
            continue
        scatter, predicted = (
            robust_scatter(
                np.array([_blocks(image, block).mean((1, 3), np.float64)[keep] for image in images])
            )
            for images in ([residual], draws)
        )
        variance = _blocks(err, block).astype(np.float64) ** 2
        independent = np.sqrt(variance.mean(axis=(1, 3))[keep])
        single = single or predicted * block
        # neighbouring blocks share noise as long as they are smaller than its correlation
        n_independent = max(n_blocks * min(1.0, (single / predicted) ** 2), 2)
        chi = scatter / predicted
        chis.append(
            BlockChi(
                block=block,
                n_blocks=n_blocks,
                chi=chi,
                # 1.17 is that of a median absolute deviation: of the data and of the draws
                chi_err=1.17 * chi * float(np.sqrt((1 + 1 / len(draws)) / n_independent)),
                claimed=scatter * block / float(np.median(independent)),
            )
        )
    return chis


def outliers(residual: NDArray, noise: NDArray, err: NDArray) -> NDArray:
    """Return which pixels are further out than noise can be: `OUTLIER_SIGMA` (True).

    They are cosmic rays, hot pixels and the like that were not rejected.

    Parameters
    ----------
    residual, noise : array, shape (ny, nx)
        Mosaic less its truth; drizzled noise of the claimed variance.
    err : array, shape (ny, nx)
        Error array of the mosaic: noise differs from place to place.

    Returns
    -------
    bool array, shape (ny, nx)
        True = outlier.
    """
    known = np.isfinite(noise) & (err > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(residual) > OUTLIER_SIGMA * robust_scatter((noise / err)[known]) * err


def isolated(x: NDArray, y: NDArray, flux: NDArray, distance: float) -> NDArray:
    """Return which sources are the brightest within a distance (True): no two share pixels.

    Parameters
    ----------
    x, y : array, shape (n,)
        Positions, pixels.
    flux : array, shape (n,)
        Which is brighter.
    distance : float
        Pixels.

    Returns
    -------
    array of bool, shape (n,)
        True = isolated.
    """
    keep = np.ones(len(x), dtype=bool)
    flux = np.asarray(flux)
    if len(keep):
        tree = cKDTree(np.column_stack([x, y]))
        for one, other in tree.query_pairs(distance):
            keep[one if flux[one] < flux[other] else other] = False
    return keep


def aperture_photometry(
    image: NDArray,
    truth: NDArray,
    noise: NDArray,
    err: NDArray,
    x: NDArray,
    y: NDArray,
    *,
    radius: float,
) -> AperturePhotometry:
    """Measure fluxes in round apertures at the true positions.

    Parameters
    ----------
    image, truth : array, shape (ny, nx)
        Mosaic without background, and its truth.
    noise : array, shape (ny, nx)
        Drizzled noise of the claimed variance.
    err : array, shape (ny, nx)
        Error array of the mosaic.
    x, y : array, shape (n,)
        Positions, pixels from 0.
    radius : float
        Radius, pixels.

    Returns
    -------
    AperturePhotometry
        Fluxes of the apertures without missing pixels.
    """
    bad = ~(np.isfinite(image) & np.isfinite(truth) & np.isfinite(noise) & np.isfinite(err))
    whole = _apertures(bad.astype(np.float32), x, y, radius) == 0
    used = np.flatnonzero(whole & within(x, y, radius, image.shape))
    x, y = np.asarray(x)[used], np.asarray(y)[used]
    true = _apertures(truth, x, y, radius, bad)
    measured = _apertures(image, x, y, radius, bad)
    independent = np.sqrt(_apertures(err**2, x, y, radius, bad))
    correlation = _correlation(noise, err, bad, radius)
    return AperturePhotometry(
        used=used,
        true=true,
        error=measured - true,
        sigma=correlation * independent,
        correlation=correlation,
    )


def bin_photometry(
    photometry: AperturePhotometry, magnitudes: NDArray, edges: Sequence[float]
) -> list[PhotometryBin]:
    """Return bias and scatter by magnitude.

    Parameters
    ----------
    photometry : AperturePhotometry
        Fluxes.
    magnitudes : array
        True magnitudes of all positions that were given, as ``photometry.used`` counts them.
    edges : sequence of float
        Edges of the bins; bins with fewer than three sources are left out.

    Returns
    -------
    list of PhotometryBin
        From bright to faint edges.
    """
    magnitudes = np.asarray(magnitudes)[photometry.used]
    bins = []
    for bright, faint in itertools.pairwise(edges):
        of_bin = (magnitudes >= bright) & (magnitudes < faint)
        n = int(of_bin.sum())
        if n < 3:
            continue
        true, error, sigma = (
            values[of_bin].astype(np.float64)
            for values in (photometry.true, photometry.error, photometry.sigma)
        )
        chi = MAD_TO_SIGMA * float(np.median(np.abs(error / sigma)))
        bins.append(
            PhotometryBin(
                bright=bright,
                faint=faint,
                n=n,
                bias=float(error.sum() / true.sum()),
                bias_err=float(np.sqrt((sigma**2).sum()) / true.sum()),
                chi=chi,
                chi_err=1.17 * chi / float(np.sqrt(n)),  # of a median absolute deviation
            )
        )
    return bins


def windowed_positions(
    image: NDArray, x: NDArray, y: NDArray, *, sigma: float
) -> tuple[NDArray, NDArray]:
    """Return windowed centroids, NaN where there is none.

    Parameters
    ----------
    image : array, shape (ny, nx)
        Mosaic without background.
    x, y : array, shape (n,)
        Where to start, pixels from 0.
    sigma : float
        Width of the Gaussian window, pixels.

    Returns
    -------
    x, y : array, shape (n,)
        Pixels from 0.
    """
    bad = ~np.isfinite(image)
    filled = np.where(bad, 0, image).astype(np.float32)
    new_x, new_y, flag = sep.winpos(
        filled, np.asarray(x, float), np.asarray(y, float), sigma, mask=bad
    )
    lost = (flag != 0) | (np.hypot(new_x - x, new_y - y) > 2 * sigma)
    return np.where(lost, np.nan, new_x), np.where(lost, np.nan, new_y)


def position_offset(east: NDArray, north: NDArray) -> PositionOffset:
    """Return the common offset of positions and their scatter.

    Parameters
    ----------
    east, north : array, shape (n,)
        Measured less true positions, mas; NaN is left out.

    Returns
    -------
    PositionOffset
        Means, their errors and the scatter.

    Raises
    ------
    ValueError
        With fewer than three.
    """
    good = np.isfinite(east) & np.isfinite(north)
    n = int(good.sum())
    if n < 3:
        raise ValueError(f"position_offset: {n} positions, 3 are needed")
    east, north = np.asarray(east)[good], np.asarray(north)[good]
    middle = float(np.median(east)), float(np.median(north))
    deviations = np.abs(np.concatenate([east - middle[0], north - middle[1]]))
    scatter = MAD_TO_SIGMA * float(np.median(deviations))
    return PositionOffset(
        n=n,
        east=middle[0],
        north=middle[1],
        err=1.25 * scatter / float(np.sqrt(n)),  # of a median
        scatter=scatter,
    )


def robust_scatter(values: NDArray) -> float:
    """Return the standard deviation, from the median absolute deviation.

    Parameters
    ----------
    values : array
        Any shape.

    Returns
    -------
    float
        Standard deviation.
    """
    return MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))


def correlation_area(noise: NDArray) -> float:
    """Return how many pixels share the noise of one, from the scatter of block means."""
    block = 16
    values = noise.astype(np.float64)
    blocks = _blocks(values, block)
    whole = np.isfinite(blocks).all(axis=(1, 3))
    if whole.sum() < 2:
        return float("nan")
    return float((block * blocks.mean(axis=(1, 3))[whole].std() / np.nanstd(values)) ** 2)


def _correlation(noise: NDArray, err: NDArray, bad: NDArray, radius: float) -> float:
    """Return the scatter of the noise in apertures over that for independent pixels."""
    step = 2 * int(np.ceil(radius)) + 2  # apertures do not touch
    y, x = np.mgrid[step : noise.shape[0] - step : step, step : noise.shape[1] - step : step]
    x, y = x.ravel().astype(float), y.ravel().astype(float)
    whole = _apertures(bad.astype(np.float32), x, y, radius) == 0
    x, y = x[whole], y[whole]
    sums = _apertures(noise, x, y, radius, bad)
    variance = _apertures(err**2, x, y, radius, bad)
    return float(np.std(sums / np.sqrt(variance))) if len(x) > 1 else float("nan")


def _apertures(
    image: NDArray, x: NDArray, y: NDArray, radius: float, bad: NDArray | None = None
) -> NDArray:
    """Return sums in round apertures, exact at their edges."""
    filled = np.ascontiguousarray(image if bad is None else np.where(bad, 0, image), np.float32)
    sums, _, _ = sep.sum_circle(
        filled, np.asarray(x, float), np.asarray(y, float), radius, subpix=0
    )
    return sums


def within(x: NDArray, y: NDArray, margin: float, shape: tuple[int, ...]) -> NDArray:
    """Return which positions are so far inside an image."""
    x, y = np.asarray(x), np.asarray(y)
    inside = (x >= margin) & (x <= shape[1] - 1 - margin)
    return inside & (y >= margin) & (y <= shape[0] - 1 - margin)


def _blocks(image: NDArray, block: int) -> NDArray:
    """Return an image as (ny, block, nx, block), without incomplete blocks."""
    ny, nx = (n // block for n in image.shape)
    return image[: ny * block, : nx * block].reshape(ny, block, nx, block)
