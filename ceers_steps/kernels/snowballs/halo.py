"""How far the excess of an event reaches, the rate under it, and the radius of an ellipse."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.parts import label_parts, moments_of
from ceers_steps.kernels.snowballs.settings import FIT, HALO
from ceers_steps.kernels.stats import finite_median

__all__ = [
    "excess_region",
    "halo_region",
    "log_radius",
    "log_radius_changes",
    "radial_region",
    "smooth_rate",
    "stretch_of",
]


def halo_region(
    excess: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    threshold: float,
    core_radius: float,
) -> NDArray[np.bool_]:
    """Choose the way to follow the excess: small events are steep, large ones need not be round.

    Parameters
    ----------
    excess
        Shape ``(ny, nx)``, sigma of a difference.
    usable
        True = may be used (not a mask).
    seed
        True = core.
    threshold
        Mean excess down to which it is followed, sigma.
    core_radius
        Pixels.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True = contaminated.
    """
    if core_radius < HALO.large_core:
        return radial_region(excess, usable, seed, threshold)
    return excess_region(excess, usable, seed, threshold)


def radial_region(
    excess: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return the region around an event out to the distance at which its excess is lost.

    The distance is that from the outline of the event (negative inside), so that the region
    has its shape; of an event that is an ellipse, along its ellipses.  The excess at a distance is
    the median over all pixels there.

    Parameters
    ----------
    excess
        Shape ``(ny, nx)``, in sigma of a group difference.
    usable
        Shape ``(ny, nx)``; True = this pixel's excess counts (**not** a mask of bad pixels).
    seed
        Shape ``(ny, nx)``; True = the event.
    threshold
        In sigma of a group difference.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; empty if there is no excess.
    """
    if seed.all() or not seed.any():
        return seed.copy()
    distance = np.full(seed.shape, np.inf)
    # within the reference pixels, at which an event is cut as at an edge of the array
    active = usable | seed
    rows, cols = (np.flatnonzero(active.any(axis=axis)) for axis in (1, 0))
    inside = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    distance[inside], largest = _distances(seed[inside])
    distances, values = distance[usable], excess[usable]
    order = np.argsort(distances)
    distances, values = distances[order], values[order]
    begins = np.arange(np.floor(distance.min()), np.ceil(distance[inside].max()))
    edges = np.searchsorted(distances, (begins, begins + 2))
    limit, before = -np.inf, threshold
    for middle_distance, begin, end in zip(begins + 1, *edges, strict=True):
        if end - begin < HALO.fewest_pixels:
            continue
        here = float(np.median(values[begin:end]))
        if here < threshold:
            part = (before - threshold) / (before - here)
            limit += part * (middle_distance - limit) if part > 0 else 0
            break
        limit, before = middle_distance, here
    return np.isfinite(distance) & (distance <= min(limit, largest))


def _distances(seed: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Return the distance from the outline of an event, negative inside, and how far a halo goes.

    A halo keeps the axis ratio of its core: it reaches further along the major axis than the core
    by a factor, not by a number of pixels.
    """
    cut = seed[0].any() or seed[-1].any() or seed[:, 0].any() or seed[:, -1].any()
    if not cut:
        y, x = np.nonzero(seed)
        radius = float(np.sqrt(y.size / np.pi))
        largest = (HALO.largest_ratio - 1) * radius
        rows, cols = (np.arange(size, dtype=float) for size in seed.shape)
        y0, x0, yy, xx, xy = moments_of(y, x)
        rows, cols = rows[:, None] - y0, cols - x0
        square = xx * rows**2 - 2 * xy * rows * cols + yy * cols**2
        square /= 4 * (yy * xx - xy * xy)  # 1 on the outline of an ellipse
        if np.count_nonzero(square[seed] <= 1) >= HALO.ellipse_part * y.size:
            return radius * (np.sqrt(square) - 1), largest
    else:
        largest = np.inf
    distance = ndimage.distance_transform_edt(~seed)
    # beyond an edge the event is taken to go on, so that the edge is no outline
    distance -= ndimage.distance_transform_edt(np.pad(seed, 1, mode="edge"))[1:-1, 1:-1]
    return distance, largest


def excess_region(
    excess: NDArray[np.float32],
    usable: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return the region around an event in which the mean excess is above a threshold.

    The excess is averaged locally (a normalised Gaussian over the usable pixels), so that the
    region follows events that are elliptical, lopsided, merged or cut by the edge.  The
    Gaussian grows with the region: wide halos are shallow, they need and bear more smoothing.

    Parameters
    ----------
    excess
        Shape ``(ny, nx)``, in sigma of a group difference.
    usable
        Shape ``(ny, nx)``; True = this pixel's excess counts (**not** a mask of bad pixels).
    seed
        Shape ``(ny, nx)``; True = the event. The region must touch it.
    threshold
        In sigma of a group difference.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; holes are filled.  The seed is in it as far as its own excess is.
    """
    clipped = np.where(usable, np.clip(excess, -HALO.clip_sigma, HALO.clip_sigma), 0).astype(
        np.float32, copy=False
    )
    weight = usable.astype(np.float32)
    region = seed
    for _ in range(2):  # the second time with the smoothing for the size that was found
        smoothing = HALO.smoothing_slope * np.sqrt(np.count_nonzero(region) / np.pi)
        smoothing = float(np.clip(smoothing, *HALO.smoothing_limits))
        signal = ndimage.gaussian_filter(clipped, smoothing, mode="constant", truncate=3.0)
        seen = ndimage.gaussian_filter(weight, smoothing, mode="constant", truncate=3.0)
        # a pixel's own noise must not decide about it: those left would be too low
        signal -= _own_weight(smoothing) * clipped
        seen -= _own_weight(smoothing) * weight
        above = signal > threshold * np.maximum(seen, HALO.least_weight)
        labels = label_parts(above | seed, corners=False)
        touching = np.unique(labels[seed])
        region = np.isin(labels, touching[touching > 0])
    return ndimage.binary_fill_holes(region) & (above | ~seed)


def _own_weight(smoothing: float) -> np.float32:
    """Return the weight of the central pixel under a Gaussian of this width (sigma, pixels)."""
    reach = int(3.0 * smoothing + 0.5)
    along = np.exp(-0.5 * (np.arange(-reach, reach + 1) / smoothing) ** 2)
    return np.float32(1 / along.sum() ** 2)


def smooth_rate(
    rate: NDArray[np.float32], distance: NDArray[np.float64], margin: float
) -> NDArray[np.float32]:
    """Continue the rate beyond `margin` to the core: with a slope across it and one towards it.

    Parameters
    ----------
    rate
        Shape ``(ny, nx)``.
    distance
        From the core, pixels.
    margin
        Beyond this distance the rate is free of the event, pixels.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The rate without the event.
    """
    y, x = np.indices(rate.shape, dtype=np.float32)
    terms = np.stack([np.ones_like(rate), y, x, distance.astype(np.float32)], axis=-1)
    outside = (distance > margin) & np.isfinite(rate)
    smooth = np.full_like(rate, finite_median(rate[outside]))
    if np.count_nonzero(outside) < 10 * terms.shape[-1]:
        return smooth
    for _ in range(3):  # without sources: at first what stands out from the median
        residual = np.abs(rate - smooth)
        use = outside & (residual <= HALO.annulus_outlier * finite_median(residual[outside]))
        coefficients, *_ = np.linalg.lstsq(terms[use], rate[use], rcond=None)
        smooth = terms @ coefficients
    return smooth


def stretch_of(ellipticity: float, angle: float) -> tuple[float, float]:
    """Return the components of the logarithm of the axis ratio of what is flagged.

    Parameters
    ----------
    ellipticity
        1 - b/a.
    angle
        Of a, degrees from +x towards +y.

    Returns
    -------
    tuple of float
        Along x, and along the diagonal.
    """
    size, angle = -np.log(max(1 - ellipticity, 0.3)), 2 * np.radians(angle)
    return float(size * np.cos(angle)), float(size * np.sin(angle))


def log_radius(
    y: NDArray, x: NDArray, ellipse: Sequence[float] | NDArray, radius: float
) -> NDArray:
    """Return the logarithm of the elliptical radius over that of the circle of the same area.

    Parameters
    ----------
    y, x
        Pixels; shapes that go together.
    ellipse
        Its centre, y and x, and the two components of its stretch.
    radius
        Pixels.

    Returns
    -------
    ndarray
        Of the common shape.
    """
    y0, x0, along, across = ellipse
    dy, dx = y - y0, x - x0
    size = float(np.hypot(along, across))
    even = np.cosh(size)
    odd = np.sinh(size) / size if size > 0 else 1.0
    round_part, odd_part = dx * dx + dy * dy, along * (dx * dx - dy * dy) + 2 * across * (dx * dy)
    square = even * round_part - odd * odd_part
    return np.log(np.maximum(square, 0.25) / radius**2) / 2


def log_radius_changes(
    y: NDArray, x: NDArray, ellipse: NDArray, radius: float
) -> tuple[NDArray, NDArray]:
    """Return `log_radius` and its derivatives by the four values of the ellipse.

    Parameters
    ----------
    y, x
        Shape ``(n,)``, pixels.
    ellipse, radius
        As for `log_radius`.

    Returns
    -------
    tuple of ndarray
        Shapes ``(n,)`` and ``(n, 4)``.
    """
    y0, x0, along, across = ellipse
    dy, dx = y - y0, x - x0
    size = float(np.hypot(along, across))
    even = np.cosh(size)
    odd = np.sinh(size) / size if size > 0 else 1.0
    # of odd, over the component of the stretch; the limit is the third derivative of sinh
    bend = (even - odd) / size**2 if size > FIT.least_stretch else 1 / 3
    round_part, difference, product = dx * dx + dy * dy, dx * dx - dy * dy, 2 * dx * dy
    odd_part = along * difference + across * product
    square = even * round_part - odd * odd_part
    size_part = odd * round_part - bend * odd_part
    changes = np.stack(
        [
            2 * (odd * (across * dx - along * dy) - even * dy),
            2 * (odd * (along * dx + across * dy) - even * dx),
            along * size_part - odd * difference,
            across * size_part - odd * product,
        ],
        axis=1,
    )
    inside = square < 0.25
    square = np.maximum(square, 0.25)
    changes /= (2 * square)[:, None]
    changes[inside] = 0
    return np.log(square / radius**2) / 2, changes
