"""Values of boxes of a background: those without one are filled, all are filtered.

Under a source nobody knows the sky. But holes of the same shapes, laid where the sky is known,
tell how well each way of filling them foretells it: wide means where the sky is level, near ones
or planes where it bends. No light of sources is needed for it, nor any truth.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ceers_steps.kernels.parts import label_parts
from ceers_steps.kernels.sources.settings import HOLES, MESH
from ceers_steps.kernels.stats import mad_sigma, nan_median

__all__ = [
    "continued",
    "fill_gaussian",
    "fill_tested",
    "fit_polynomial",
    "smooth_boxes",
    "surely_better",
]

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
    half = filter_size // 2
    if fill == "tested":
        rest = fill_tested(boxes, smooth) - smooth
    else:
        rest = fill_gaussian(boxes - smooth)
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
    powers = [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]
    if degree == 1:
        powers = [(0, 0), (0, 1), (1, 0)]
    terms = np.stack([(y**i * x**j).ravel().astype(float) for i, j in powers], axis=1)
    values = mesh.ravel()
    keep = known = ~np.isnan(values)
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


def fill_tested(boxes: Array, smooth: Array) -> Array:
    """Fill the boxes that have no value, each in the way that is best around there.

    `HOLES.ways` are tried one after the other on holes that are laid where the sky is known: those
    of the mosaic itself, moved. One counts where it foretells the hidden boxes better than what
    stands so far, by more than chance. Holes that are too wide to be tried are filled in the first
    way.

    Parameters
    ----------
    boxes : ndarray of float64, shape (ny, nx)
        Values; NaN = none.
    smooth : ndarray of float64, shape (ny, nx)
        A polynomial, which most ways take out first.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
    """
    filled = smooth + fill_gaussian(boxes - smooth)
    result = filled.copy()
    ny, nx = boxes.shape
    height = max(HOLES.strip // nx, 1)
    for start in range(0, ny, height):
        outer = slice(max(start - HOLES.overlap, 0), min(start + height + HOLES.overlap, ny))
        inner = slice(start - outer.start, min(start + height, ny) - outer.start)
        part = _tested(boxes[outer], smooth[outer], filled[outer])
        result[start : start + height] = part[inner]
    return result


def _tested(boxes: Array, smooth: Array, filled: Array) -> Array:
    """Return a strip, filled in the first way, with better ones where they are."""
    empty = np.isnan(boxes)
    narrow = _narrow(empty)
    hidden = _moved(narrow, ~empty)
    if not any(hide.any() for hide in hidden):
        return filled
    trials = [np.where(hide, np.nan, boxes) for hide in hidden]
    if not all(np.isfinite(trial).any() for trial in trials):
        return filled
    foretold = [_fill(trial, smooth, HOLES.first) for trial in trials]
    for way in HOLES.ways:
        others = [_fill(trial, smooth, way) for trial in trials]
        gain, square, n = (np.zeros(boxes.shape) for _ in range(3))
        for hide, old, new in zip(hidden, foretold, others, strict=True):
            better = (boxes[hide] - old[hide]) ** 2 - (boxes[hide] - new[hide]) ** 2
            gain[hide] += better
            square[hide] += better**2
            n[hide] += 1
        weight = surely_better(gain, square, n, HOLES.around, HOLES.surely, HOLES.hidden)
        foretold = [old + weight * (new - old) for old, new in zip(foretold, others, strict=True)]
        filled = np.where(narrow, filled + weight * (_fill(boxes, smooth, way) - filled), filled)
    return filled


def surely_better(
    gain: Array, square: Array, n: Array, around: float, surely: float, enough: float
) -> Array:
    """Return how surely a mean gain is above 0, from 0 to 1.

    Parameters
    ----------
    gain, square, n : ndarray, shape (ny, nx)
        Sums of gains, of their squares, and their numbers in each box.
    around : float
        Gaussian of boxes that are looked at together, boxes.
    surely : float
        Gain in its own errors up to which it counts for nothing; in full from one more.
    enough : float
        Mean number of gains in a box from which on they count in full.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
    """
    share, mean, scatter = (ndimage.gaussian_filter(each, around) for each in (n, gain, square))
    share = np.maximum(share, 1e-9)
    error = np.sqrt(scatter / (4.0 * np.pi * around**2)) / share
    surplus = mean / share / np.maximum(error, np.finfo(float).tiny) - surely
    return np.clip(surplus, 0.0, 1.0) * np.minimum(share / enough, 1.0)


def fill_gaussian(mesh: Array, width: float = 1.0, widest: float = np.inf) -> Array:
    """Fill boxes without a value with means over an area about as wide as their hole.

    Parameters
    ----------
    mesh : ndarray of float64, shape (ny, nx)
        Values; NaN = none.
    width : float
        The narrowest Gaussian, boxes.
    widest : float
        No wider one is tried, boxes: what is left of a hole has the mean of all.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
    """

    def mean(value: Array, known: Array, sigma: float) -> tuple[Array, Array]:
        share, total = (ndimage.gaussian_filter(each, sigma) for each in (known, value))
        return share, total / np.maximum(share, 1e-9)

    return _filled(mesh, width, mean, widest)


def _fill_planes(mesh: Array, width: float, widest: float) -> Array:
    """The same with the plane that fits best under each Gaussian."""
    y, x = np.indices(mesh.shape) - 0.5 * np.array(mesh.shape)[:, np.newaxis, np.newaxis]

    def plane(value: Array, known: Array, sigma: float) -> tuple[Array, Array]:
        seen = ndimage.gaussian_filter(known, sigma, mode="constant")

        def mean(of: Array) -> Array:
            return ndimage.gaussian_filter(of, sigma, mode="constant") / np.maximum(seen, 1e-9)

        middle, my, mx = mean(value), mean(known * y), mean(known * x)
        # a plane is no steeper than points that lie close together can tell
        least = HOLES.least_spread * sigma**2
        yy = mean(known * y * y) - my**2 + least
        xx = mean(known * x * x) - mx**2 + least
        yx = mean(known * y * x) - my * mx
        vy, vx = mean(value * y) - middle * my, mean(value * x) - middle * mx
        across = np.maximum(yy * xx - yx**2, 1e-9)
        up, right = (vy * xx - vx * yx) / across, (vx * yy - vy * yx) / across
        share = ndimage.gaussian_filter(known, sigma)
        return share, middle + up * (y - my) + right * (x - mx)

    return _filled(mesh, width, plane, widest)


def _fill(boxes: Array, smooth: Array, way: tuple[float, str, bool]) -> Array:
    """Return boxes, filled in one of the ways of `HOLES`."""
    width, kind, without_smooth = way
    fill = _fill_planes if kind == "plane" else fill_gaussian
    if not without_smooth:
        return fill(boxes, width, HOLES.widest)
    return smooth + fill(boxes - smooth, width, HOLES.widest)


def _filled(
    mesh: Array,
    width: float,
    way: Callable[[Array, Array, float], tuple[Array, Array]],
    widest: float,
) -> Array:
    """Fill holes under Gaussians, each twice as wide as the one before."""
    known = np.isfinite(mesh)
    if known.all():
        return mesh
    value, weight = np.where(known, mesh, 0.0), known.astype(float)
    filled, rest, sigma = value.copy(), 1.0 - weight, width
    while rest.any() and sigma < min(max(mesh.shape), widest):
        share, found = way(value, weight, sigma)
        part = rest * np.minimum(share / MESH.enough, 1.0)
        filled += part * found
        rest -= part
        sigma *= 2.0
    return filled + rest * mesh[known].mean()


def _narrow(empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the holes that are narrow enough to be laid elsewhere."""
    labels = label_parts(empty)
    depth = ndimage.distance_transform_edt(np.pad(empty, 1, mode="edge"))[1:-1, 1:-1]
    deepest = np.zeros(labels.max() + 1)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    return empty & (deepest[labels] <= HOLES.deepest)


def _moved(narrow: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return known boxes that moved holes hide, a few sets of them."""
    if not narrow.any():
        return []
    ny, nx = narrow.shape
    sets, number = [], 0
    for _ in range(HOLES.trials):
        hidden = np.zeros(narrow.shape, bool)
        for _ in range(HOLES.most_moves):
            number += 1
            # far from each other, whatever their number: golden sections
            moves = round(ny * (0.618034 * number % 1.0)), round(nx * (0.754878 * number % 1.0))
            hidden |= np.roll(narrow, moves, axis=(0, 1))
            if hidden.mean() > HOLES.hidden:
                break
        sets.append(hidden & known)
    return sets
