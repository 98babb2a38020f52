"""Holes of a background: boxes that show no sky are filled.

Under a source nobody knows the sky. But holes of the same shapes, laid where the sky is known,
tell how well each way of filling them foretells it: wide means where the sky is level, near ones
or planes where it bends. No light of sources is needed for it, nor any truth.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.mesh.settings import HOLES, MESH
from ceers_steps.kernels.parts import label_parts

__all__ = ["fill_gaussian", "fill_tested", "surely_better"]

Array = NDArray[np.float64]


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
