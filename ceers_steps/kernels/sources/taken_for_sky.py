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

__all__ = ["refuse_light", "structure_about_plane"]


def refuse_light(
    mesh: BackgroundMesh,
    image: RowImage,
    mask: RowImage,
    core: RowImage,
    coverage_mask: RowImage,
    *,
    gaps: bool = False,
) -> None:
    """Raise an error for a background that is light of large sources.

    Where a galaxy fills a mosaic, what is left outside the mask falls with the distance from it;
    structure of the sky does not know where sources are. However steep a plane is, it may be sky.

    Parameters
    ----------
    mesh : BackgroundMesh
        The background; what was taken out as a sum of profiles is not looked at.
    image : ndarray or RowImage, shape (ny, nx)
        That it was measured from.
    mask, core : ndarray of bool or RowImage, shape (ny, nx)
        True = do not use; = above a threshold of a search.
    coverage_mask : ndarray of bool or RowImage, shape (ny, nx)
        True = no detector has seen this pixel.
    gaps : bool
        The mask leaves narrow gaps all over the mosaic: however much is masked, all of it is seen.

    Raises
    ------
    NoSkyError
        When it is light.
    """
    seen = ~crossing(coverage_mask, *mesh.middles)
    if np.count_nonzero(seen) < FILLED.fewest_boxes:
        return
    noise, farther = (_noise_of_differences(image, mask, k * FILLED.lag) for k in (1, 2))
    values = mesh.values[seen] / noise
    structure = _about_plane(values, seen)
    distance = _distance(mesh, core)[seen]
    steep, rough, inside = np.std(values), np.std(structure), float(np.mean(distance == 0.0))
    found = f"what is left between sources has structure of {rough:.1f} of the noise about a plane"
    if rough > FILLED.most:
        raise NoSkyError(f"{found}: it is light")
    if rough > FILLED.beside_large and inside > FILLED.much_inside:
        raise NoSkyError(f"{found}, and large sources cover {inside:.0%}: it is light")
    if rough > FILLED.least and FILLED.growing * noise < farther < np.inf:
        raise NoSkyError(f"{found}, and there is more of it in all sizes: it is light of a nebula")
    if rough > FILLED.least and _falls_with(distance, structure) > FILLED.explained:
        raise NoSkyError(f"{found}, which falls with the distance from large sources: it is light")
    if steep < FILLED.least:
        return
    found = f"what is left between sources has structure of {steep:.1f} of the noise"
    masked = _masked_fraction(mask, coverage_mask)
    if masked > FILLED.masked and not gaps:
        raise NoSkyError(f"{found}, and {masked:.0%} of the mosaic is masked: too little is seen")
    if (
        steep > FILLED.steep
        and rough > FILLED.no_plane
        and inside > FILLED.inside
        and _falls_with(distance, values) > FILLED.mostly
    ):
        raise NoSkyError(f"{found}, which falls with the distance from large sources: it is light")


def structure_about_plane(mesh: BackgroundMesh, coverage_mask: RowImage) -> float:
    """Return the scatter of a background about a plane: the rms of its boxes, in its unit.

    Parameters
    ----------
    mesh : BackgroundMesh
        The background.
    coverage_mask : ndarray of bool or RowImage, shape (ny, nx)
        True = no detector has seen this pixel.

    Returns
    -------
    float
        0 where too few boxes are seen to tell.
    """
    seen = ~crossing(coverage_mask, *mesh.middles)
    if np.count_nonzero(seen) < FILLED.fewest_boxes:
        return 0.0
    return float(np.std(_about_plane(mesh.values[seen], seen)))


def _masked_fraction(mask: RowImage, coverage_mask: RowImage) -> float:
    """Return the part of the pixels that detectors have seen which is masked."""
    n_seen = n_masked = 0
    for rows in row_blocks(mask.shape):
        seen = ~coverage_mask[rows]
        n_seen += int(np.count_nonzero(seen))
        n_masked += int(np.count_nonzero(seen & mask[rows]))
    return n_masked / max(n_seen, 1)


def _noise_of_differences(image: RowImage, mask: RowImage, lag: int) -> float:
    """Return the noise of a pixel, to which no slope adds; infinite where it is not seen."""
    step = max(1, math.prod(image.shape) // SEARCH.sample)
    rows, columns = np.arange(0, image.shape[0], step), np.arange(image.shape[1])
    value = np.where(crossing(mask, rows, columns), np.nan, crossing(image, rows, columns))
    bent = value[:, : -2 * lag] - 2.0 * value[:, lag:-lag] + value[:, 2 * lag :]
    bent = bent[np.isfinite(bent)]
    return mad_sigma(bent) / np.sqrt(6.0) if bent.size > FILLED.fewest else np.inf


def _about_plane(values: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return values of boxes that are seen less the plane that fits them best."""
    y, x = np.nonzero(seen)
    terms = np.stack([np.ones(values.size), y, x], axis=1)
    return np.asarray(values - terms @ np.linalg.lstsq(terms, values)[0])


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
    ordered = values[np.argsort(distance, kind="stable")]
    fitted = optimize.isotonic_regression(ordered, increasing=False).x
    return float(1.0 - np.var(ordered - fitted) / np.var(ordered))
