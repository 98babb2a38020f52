"""Light of galaxies that fill a mosaic, which passes for its sky."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.parts import nearest_large_part
from ceers_steps.kernels.rows import RowImage, crossing, row_blocks
from ceers_steps.kernels.sources.background import BackgroundMesh, NoSkyError
from ceers_steps.kernels.sources.settings import FILLED, LARGE, PROFILES, SEARCH
from ceers_steps.kernels.stats import mad_sigma

__all__ = ["refuse_light"]


def refuse_light(mesh: BackgroundMesh, image: RowImage, mask: RowImage, core: RowImage) -> None:
    """Raise an error for a background that is light of large sources.

    Where a galaxy fills a mosaic, what is left outside the mask falls with the distance from it;
    structure of the sky does not know where sources are.

    Parameters
    ----------
    mesh : BackgroundMesh
        The background; what was taken out as a sum of profiles is not looked at.
    image : ndarray or RowImage, shape (ny, nx)
        That it was measured from.
    mask, core : ndarray of bool or RowImage, shape (ny, nx)
        True = do not use; = above a threshold of a search.

    Raises
    ------
    NoSkyError
        When it is light.
    """
    values = mesh.values / _noise_of_differences(image, mask)
    if np.std(values) > FILLED.most:
        raise NoSkyError(
            f"what is left between sources has structure of {np.std(values):.1f} of the noise: "
            "it is light"
        )
    structure = _about_plane(values)
    if np.std(structure) < FILLED.least:
        return
    explained = _falls_with(_distance(mesh, core), structure)
    if explained > FILLED.explained:
        raise NoSkyError(
            f"what is left between sources has structure of {np.std(structure):.1f} of the noise, "
            f"{explained:.0%} of which falls with the distance from large sources: it is light"
        )


def _noise_of_differences(image: RowImage, mask: RowImage) -> float:
    """Return the noise of a pixel, to which no slope adds; infinite where it is not seen."""
    lag, step = FILLED.lag, max(1, math.prod(image.shape) // SEARCH.sample)
    rows, columns = np.arange(0, image.shape[0], step), np.arange(image.shape[1])
    value = np.where(crossing(mask, rows, columns), np.nan, crossing(image, rows, columns))
    bent = value[:, : -2 * lag] - 2.0 * value[:, lag:-lag] + value[:, 2 * lag :]
    bent = bent[np.isfinite(bent)]
    return mad_sigma(bent) / np.sqrt(6.0) if bent.size > FILLED.fewest else np.inf


def _about_plane(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of boxes less the plane that fits them best."""
    y, x = np.indices(values.shape)
    terms = np.stack([np.ones(values.size), y.ravel(), x.ravel()], axis=1)
    plane = terms @ np.linalg.lstsq(terms, values.ravel())[0]
    return np.asarray(values - plane.reshape(values.shape))


def _distance(mesh: BackgroundMesh, core: RowImage) -> NDArray[np.float64]:
    """Return the distances of boxes from the nearest large source, bins; infinite if none."""
    side = PROFILES.large_bin
    blocks = row_blocks(core.shape)
    bins = np.concatenate([block_sum(core[rows], side, beyond=0) > 0 for rows in blocks])
    distance, _ = nearest_large_part(bins, LARGE.smallest / side**2)
    down, across = (middle // side for middle in mesh.middles)
    return np.asarray(distance[np.ix_(down, across)], float)


def _falls_with(distance: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return the part of the variance that a profile explains which only falls with distance."""
    if not np.isfinite(distance).all():
        return 0.0
    ordered = values.ravel()[np.argsort(distance.ravel(), kind="stable")]
    fitted = optimize.isotonic_regression(ordered, increasing=False).x
    return float(1.0 - np.var(ordered - fitted) / np.var(ordered))
