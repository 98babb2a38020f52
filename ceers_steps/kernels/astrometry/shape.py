"""How the shape of an image on the sky differs between two world coordinate systems."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ShapeChange", "compare_shapes"]


@dataclass(frozen=True)
class ShapeChange:
    """What is left of a change of positions after the shift.

    Attributes
    ----------
    scale_error : float
        By how much the scale changes along the axis in which it changes most, as a fraction.
    rotation : float
        Degrees, without sign.
    mirrored : bool
        Whether the sky is seen from the other side.
    residual : float
        Largest distance that no linear map explains, arcsec.
    """

    scale_error: float
    rotation: float
    mirrored: bool
    residual: float


def compare_shapes(before: ArrayLike, after: ArrayLike) -> ShapeChange:
    """Compare two sets of positions of the same pixels.

    Parameters
    ----------
    before, after
        Right ascension and declination, degrees, shape ``(n, 2)``; three or more pixels that lie
        not on one line, within a degree or so.

    Returns
    -------
    ShapeChange
    """
    vectors = [_vectors(np.asarray(places, float)) for places in (before, after)]
    middles = [each.mean(axis=0) for each in vectors]
    # north is one direction for both, also beside a pole, where it is not that of their own
    if np.linalg.norm(middles[0] - middles[1]) < np.deg2rad(1.0):
        middles[1] = middles[0]
    old, new = (_in_plane(*both) for both in zip(vectors, middles, strict=True))
    matrix = np.linalg.lstsq(old, new, rcond=None)[0].T
    scales = np.linalg.svd(matrix, compute_uv=False)
    turned = np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])
    return ShapeChange(
        scale_error=float(np.abs(scales - 1).max()),
        rotation=float(abs(np.rad2deg(turned))),
        mirrored=bool(np.linalg.det(matrix) < 0),
        residual=float(np.hypot(*(new - old @ matrix.T).T).max()),
    )


def _vectors(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors, shape ``(n, 3)``."""
    ra, dec = np.deg2rad(places).T
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _in_plane(vectors: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions in the tangent plane at a place, less their mean; arcsec."""
    x, y, z = middle
    ra, dec = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    depth = vectors @ np.cross(east, north)
    plane = np.column_stack([vectors @ east, vectors @ north]) / depth[:, None]
    return np.rad2deg(plane - plane.mean(axis=0)) * 3600
