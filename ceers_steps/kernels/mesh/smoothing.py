"""Values of boxes of a background, filled and smoothed.

A median filter keeps the noise of a few boxes, which is noise that a background takes from the
mosaic. Where neighbours foretell boxes no worse, more of them are taken together.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ceers_steps.kernels.mesh.holes import fill_gaussian, fill_tested, surely_better
from ceers_steps.kernels.mesh.settings import MESH, STIFF
from ceers_steps.kernels.stats import mad_sigma, nan_median

__all__ = ["continued", "fit_polynomial", "smooth_boxes"]

Array = NDArray[np.float64]


def smooth_boxes(
    boxes: NDArray[np.float64],
    filter_size: int,
    *,
    fill: str = "nearest",
    max_degree: int = 1,
    borders: str = "mirrored",
    without_own: bool = False,
) -> NDArray[np.float64]:
    """Fill the boxes that have no value, then filter all.

    Parameters
    ----------
    boxes : ndarray, shape (ny, nx)
        Values; NaN = none.
    filter_size : int
        Side of the median filter, boxes; odd, 1 = none.
    fill : {'nearest', 'gaussian', 'tested'}
        See `~ceers_steps.kernels.sources.background.fit_mesh`.
    max_degree : int
        The same. With 0 the Gaussians fill the boxes themselves: no polynomial is taken out first.
    borders : {'mirrored', 'continued'}
        The same.
    without_own : bool
        Leave the box itself out of the median: what its neighbours make of it.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
    """
    if fill == "nearest":
        return _median_filter(_fill_nearest(boxes), filter_size, without_own)
    smooth = fit_polynomial(boxes, max_degree) if max_degree else np.zeros(boxes.shape)
    if fill == "tested":
        rest = fill_tested(boxes, smooth) - smooth
        return smooth + _smoothest(rest, np.isfinite(boxes), filter_size, borders)
    rest = fill_gaussian(boxes - smooth)
    return smooth + _filtered(rest, filter_size, borders, without_own)


def _smoothest(rest: Array, known: NDArray[np.bool_], filter_size: int, borders: str) -> Array:
    """Return filled boxes, filtered as widely as they allow.

    Wider median filters, and at last none of the boxes, stand where what is around a box foretells
    it better so, by more than chance: a sky without structure has the noise of few numbers only.
    """
    if filter_size == 1:
        return rest
    value, alone = (_filtered(rest, filter_size, borders, own) for own in (False, True))
    sizes = [factor * filter_size | 1 for factor in STIFF.factors]
    level = np.full(rest.shape, np.median(rest[known]))
    for size in [*(size for size in sizes if size // 2 < min(rest.shape)), None]:
        wider, wider_alone = (
            (level, level)
            if size is None
            else (_filtered(rest, size, borders, own) for own in (False, True))
        )
        gain = np.where(known, (rest - alone) ** 2 - (rest - wider_alone) ** 2, 0.0)
        n = known.astype(float)
        weight = surely_better(gain, gain**2, n, STIFF.around, STIFF.surely, MESH.enough)
        value = value + weight * (wider - value)
        alone = alone + weight * (wider_alone - alone)
    return value


def _filtered(rest: Array, size: int, borders: str, without_own: bool) -> Array:
    """Return the median of the boxes around each box, with what is beyond the borders."""
    half = size // 2
    if borders == "continued" and half:
        wide = _median_filter(continued(rest, half), size, without_own)
        return wide[half:-half, half:-half]
    return _median_filter(rest, size, without_own)


def continued(values: NDArray, width: int) -> NDArray:
    """Return an array with a frame around it in which what is at its edges goes on.

    A sky that rises to a border rises on beyond it: a median around a pixel there, as one inside,
    is neither too high nor too low.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
        Any numbers.
    width : int
        Of the frame, elements.

    Returns
    -------
    ndarray, shape (ny + 2 * width, nx + 2 * width)
        Twice the value at the edge less that as far inside of it.
    """
    return np.pad(values, width, mode="reflect", reflect_type="odd") if width else values


def _fill_nearest(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill boxes without a value with the nearest ones, weighted by inverse distance."""
    empty = np.isnan(mesh)
    if not empty.any():
        return mesh
    known = np.argwhere(~empty)
    values = mesh[~empty]
    n = min(MESH.neighbours, len(values))
    distance, index = cKDTree(known).query(np.argwhere(empty), k=np.arange(1, n + 1))
    weight = 1.0 / distance
    filled = mesh.copy()
    filled[empty] = np.sum(weight * values[index], axis=1) / weight.sum(axis=1)
    return filled


def fit_polynomial(mesh: NDArray[np.float64], max_degree: int) -> NDArray[np.float64]:
    """Return the polynomial that fits the known boxes best, without outliers.

    Parameters
    ----------
    mesh : ndarray of float64, shape (ny, nx)
        Values of boxes; NaN = none.
    max_degree : int
        Highest degree; less where the mesh is small, or has wide holes.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
    """
    degree = max(1, min(max_degree, min(mesh.shape) // MESH.boxes_per_degree))
    if degree > 1:
        # what is narrower than a hole is not known in it
        widest = 2.0 * float(ndimage.distance_transform_edt(np.isnan(mesh)).max())
        degree = max(
            1, min(degree, int(min(mesh.shape) / max(MESH.holes_per_degree * widest, 1.0)))
        )
    # from -1 to 1, so that high powers do not swamp the others
    y, x = (
        2.0 * k / max(n - 1, 1) - 1.0
        for k, n in zip(np.indices(mesh.shape), mesh.shape, strict=True)
    )
    values = mesh.ravel()
    keep = known = ~np.isnan(values)
    terms = _powers(y, x, degree)
    while degree and _largest_variance(terms, known) > MESH.worst_known:
        degree -= 1
        terms = _powers(y, x, degree)
    for _ in range(MESH.plane_passes):
        # products of a few terms: a tenth of the time that all boxes take at once
        kept = terms[keep]
        solution = np.linalg.lstsq(kept.T @ kept, kept.T @ values[keep], rcond=None)[0]
        rest = values - terms @ solution
        near = known & (np.abs(rest) <= MESH.plane_clip * mad_sigma(rest))
        if 2 * np.count_nonzero(near) < np.count_nonzero(known):
            break
        keep = near
    return (terms @ solution).reshape(mesh.shape)


def _powers(y: Array, x: Array, degree: int) -> Array:
    """Return the terms of a polynomial in each box, shape (n boxes, n terms)."""
    powers = [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]
    return np.stack([(y**i * x**j).ravel().astype(float) for i, j in powers], axis=1)


def _largest_variance(terms: Array, known: NDArray[np.bool_]) -> float:
    """Return the variance of a fit where it is known worst, in units of that of a box."""
    products = terms[known].T @ terms[known]
    inverse = np.linalg.inv(products + 1e-9 * np.eye(len(products)))
    return float(np.max(np.sum(terms @ inverse * terms, axis=1)))


def _median_filter(
    mesh: NDArray[np.float64], size: int, without_own: bool = False
) -> NDArray[np.float64]:
    """Return the median of the boxes around each box, of those that exist at the edges."""
    if size == 1:
        return mesh
    half = size // 2
    padded = np.pad(mesh, half, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    used = np.ones((size, size), bool)
    used[half, half] = not without_own
    # row by row: the windows of a whole mesh take much memory
    return np.stack([nan_median(row[:, used], axis=1) for row in around])
