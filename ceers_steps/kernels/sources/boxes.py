"""Values of boxes of a background: those without one are filled, all are filtered."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ceers_steps.kernels.sources.settings import MESH
from ceers_steps.kernels.stats import mad_sigma, nan_median

__all__ = ["continued", "smooth_boxes"]


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
    fill : {'nearest', 'gaussian'}
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
    smooth = _polynomial(boxes, max_degree) if max_degree else np.zeros(boxes.shape)
    rest, half = _fill_gaussian(boxes - smooth), filter_size // 2
    if borders == "continued" and half:
        wide = _median_filter(continued(rest, half), filter_size, without_own)
        return smooth + wide[half:-half, half:-half]
    return smooth + _median_filter(rest, filter_size, without_own)


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


def _polynomial(mesh: NDArray[np.float64], max_degree: int) -> NDArray[np.float64]:
    """Return the polynomial that fits the known boxes best, without outliers."""
    degree = max(1, min(max_degree, min(mesh.shape) // MESH.boxes_per_degree))
    if degree > 1:
        # what is narrower than a hole is not known in it
        widest = 2.0 * float(ndimage.distance_transform_edt(np.isnan(mesh)).max())
        degree = max(
            1, min(degree, int(min(mesh.shape) / max(MESH.holes_per_degree * widest, 1.0)))
        )
    y, x = np.indices(mesh.shape)
    if degree > 1:
        # from -1 to 1, so that high powers do not swamp the others
        y, x = (2.0 * k / max(n - 1, 1) - 1.0 for k, n in zip((y, x), mesh.shape, strict=True))
    powers = [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]
    if degree == 1:
        powers = [(0, 0), (0, 1), (1, 0)]
    terms = np.stack([(y**i * x**j).ravel().astype(float) for i, j in powers], axis=1)
    values = mesh.ravel()
    keep = known = ~np.isnan(values)
    for _ in range(MESH.plane_passes):
        solution = np.linalg.lstsq(terms[keep], values[keep], rcond=None)[0]
        rest = values - terms @ solution
        near = known & (np.abs(rest) <= MESH.plane_clip * mad_sigma(rest))
        if 2 * np.count_nonzero(near) < np.count_nonzero(known):
            break
        keep = near
    return (terms @ solution).reshape(mesh.shape)


def _fill_gaussian(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill boxes without a value with means under Gaussians of 1, 2, 4, ... boxes.

    Each counts by how much of it lies on known boxes, in full from ``MESH.enough`` on; the next one
    has what it leaves.
    """
    known = ~np.isnan(mesh)
    weight, value = known.astype(float), np.nan_to_num(mesh)
    filled, rest = value.copy(), 1.0 - weight
    sigma = 1.0
    while rest.any() and sigma < max(mesh.shape):
        share, total = (ndimage.gaussian_filter(each, sigma) for each in (weight, value))
        part = rest * np.minimum(share / MESH.enough, 1.0)
        filled += part * total / np.maximum(share, 1e-9)
        rest -= part
        sigma *= 2.0
    return filled + rest * mesh[known].mean()


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
