"""Footprints on the sky: tangent planes, and which of them overlap."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from shapely import Polygon, STRtree, make_valid, union_all
from shapely.geometry.base import BaseGeometry

__all__ = ["Positions", "overlap_groups", "sky_center", "to_plane", "to_sky"]

Positions = NDArray[np.float64]
"""RA and Dec (deg), or pixels, in columns: (n, 2)."""

FIELD = 0.5
"""Footprints whose centres are nearer than this (deg) may be compared in one tangent plane."""


def to_plane(positions: Positions, center: tuple[float, float]) -> Positions:
    """Project the sky onto the plane that touches it at a point (gnomonic, FITS ``TAN``).

    Parameters
    ----------
    positions
        (n, 2): RA and Dec, deg.
    center
        RA and Dec of the tangent point, deg.

    Returns
    -------
    ndarray
        (n, 2): towards east and north, deg; NaN on the other half of the sky.
    """
    alpha = np.radians(positions[:, 0] - center[0])
    delta, delta_0 = np.radians(positions[:, 1]), np.radians(center[1])
    depth = np.sin(delta_0) * np.sin(delta) + np.cos(delta_0) * np.cos(delta) * np.cos(alpha)
    east = np.cos(delta) * np.sin(alpha)
    north = np.cos(delta_0) * np.sin(delta) - np.sin(delta_0) * np.cos(delta) * np.cos(alpha)
    return np.degrees(np.stack([east, north], axis=1) / np.where(depth > 0, depth, np.nan)[:, None])


def to_sky(xi: float, eta: float, center: tuple[float, float]) -> tuple[float, float]:
    """Return RA and Dec (deg) of a point of a tangent plane; the inverse of `to_plane`."""
    x, y, delta_0 = np.radians(xi), np.radians(eta), np.radians(center[1])
    depth = np.cos(delta_0) - y * np.sin(delta_0)
    ra = center[0] + np.degrees(np.arctan2(x, depth))
    dec = np.degrees(np.arctan2(np.sin(delta_0) + y * np.cos(delta_0), np.hypot(x, depth)))
    return float(ra % 360), float(dec)


def sky_center(polygons: Sequence[Positions]) -> tuple[float, float]:
    """Return RA and Dec (deg) of the mean direction of all corners."""
    x, y, z = _unit_vectors(np.concatenate(polygons)).mean(axis=0)
    return float(np.degrees(np.arctan2(y, x)) % 360), float(
        np.degrees(np.arctan2(z, np.hypot(x, y)))
    )


def overlap_groups(
    footprints: Sequence[Sequence[Positions]], min_overlap: float
) -> NDArray[np.intp]:
    """Find footprints that belong together: those that a chain of overlaps connects.

    Parameters
    ----------
    footprints
        For each item its polygons, (n, 2) RA and Dec in deg.
    min_overlap
        Two items overlap if they share more than this fraction of the smaller one's area.

    Returns
    -------
    ndarray of int
        Number of the group of each item, counted from 0 in the order of the items.
    """
    count = len(footprints)
    centers = np.array([_unit_vectors(np.concatenate(item)).mean(axis=0) for item in footprints])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    near = KDTree(centers).query_pairs(2 * np.sin(np.radians(FIELD) / 2), output_type="ndarray")
    _, fields = connected_components(_graph(near, count), directed=False)
    pairs = [
        items[_overlapping([footprints[int(item)] for item in items], min_overlap)]
        for items in (np.flatnonzero(fields == field) for field in np.unique(fields))
    ]
    _, labels = connected_components(_graph(np.concatenate(pairs), count), directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _overlapping(footprints: list[Sequence[Positions]], min_overlap: float) -> NDArray[np.intp]:
    """Return the pairs (m, 2) of items of one field that overlap, the smaller number first."""
    center = sky_center([polygon for item in footprints for polygon in item])
    areas = np.array([_in_plane(item, center) for item in footprints], dtype=object)
    first, second = STRtree(areas).query(areas, predicate="intersects")
    first, second = first[first < second], second[first < second]
    shared = shapely.area(shapely.intersection(areas[first], areas[second]))
    size = shapely.area(areas)
    linked = shared > min_overlap * np.minimum(size[first], size[second])
    return np.stack([first[linked], second[linked]], axis=1)


def _in_plane(item: Sequence[Positions], center: tuple[float, float]) -> BaseGeometry:
    """Return the area of an item in the tangent plane (deg)."""
    # polygons of mosaics may have sides of no length, or cross themselves
    return union_all([make_valid(Polygon(to_plane(polygon, center))) for polygon in item])


def _graph(pairs: NDArray[np.intp], count: int) -> coo_array:
    """Return the matrix whose entries are pairs of items."""
    return coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))


def _unit_vectors(polygon: Positions) -> NDArray[np.float64]:
    """Return the directions (n, 3) of RA and Dec (n, 2)."""
    ra, dec = np.radians(polygon).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
