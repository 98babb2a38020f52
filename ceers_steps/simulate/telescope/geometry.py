"""From the sky to the pixels and back, exactly as the WCS of a calibrated exposure does it.

Pixels are 0-based in the full science frame of a detector, x first. The polynomials come from
the SIAF (through pysiaf); the forward direction (pixel to sky) is the definition, and the
inverse is iterated until it returns to the same pixel.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from astropy.modeling import Model
from astropy.modeling.models import AffineTransformation2D, Mapping, Polynomial2D, Shift
from numpy.typing import ArrayLike

from ceers_steps.simulate.telescope.instrument import Detector, load_siaf

__all__ = [
    "Distortion",
    "ExposureWcs",
    "Pointing",
    "attitude_matrix",
    "distortion_model",
    "get_distortion",
]

_ARCSEC = np.pi / 180 / 3600


def _polynomial(aperture: Any, direction: str, axis: str) -> Polynomial2D:
    degree = int(aperture.Sci2IdlDeg)
    # the SIAF numbers the term x^(i-j) y^j of a coefficient as ij
    coefficients = {
        f"c{i - j}_{j}": float(getattr(aperture, f"{direction}{axis}{i}{j}"))
        for i in range(degree + 1)
        for j in range(i + 1)
    }
    return Polynomial2D(degree, **coefficients)


@dataclass(frozen=True)
class Distortion:
    """Distortion of one detector, between its pixels and the telescope frame (V2, V3).

    Attributes
    ----------
    x_model, y_model
        Polynomials from pixels relative to the centre to the ideal frame, arcsec.
    matrix
        From the ideal to the telescope frame, shape ``(2, 2)``.
    v2_ref, v3_ref
        Telescope coordinates of the detector's centre, arcsec.
    centre
        ``(x, y)`` of that point, 0-based pixels.
    """

    x_model: Polynomial2D
    y_model: Polynomial2D
    matrix: np.ndarray
    v2_ref: float
    v3_ref: float
    centre: tuple[float, float] = (1023.5, 1023.5)

    def to_v2v3(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Telescope coordinates (arcsec) of 0-based pixels."""
        u, v = np.asarray(x, float) - self.centre[0], np.asarray(y, float) - self.centre[1]
        xi, yi = self.x_model(u, v), self.y_model(u, v)
        m = self.matrix
        return (
            self.v2_ref + m[0, 0] * xi + m[0, 1] * yi,
            self.v3_ref + m[1, 0] * xi + m[1, 1] * yi,
        )

    def jacobian(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Derivative of (V2, V3) in arcsec by (x, y) in pixels, shape ``(..., 2, 2)``."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        plus_x, minus_x = self.to_v2v3(x + 0.5, y), self.to_v2v3(x - 0.5, y)
        plus_y, minus_y = self.to_v2v3(x, y + 0.5), self.to_v2v3(x, y - 0.5)
        by_x = np.stack([plus_x[0] - minus_x[0], plus_x[1] - minus_x[1]], axis=-1)
        by_y = np.stack([plus_y[0] - minus_y[0], plus_y[1] - minus_y[1]], axis=-1)
        return np.stack([by_x, by_y], axis=-1)

    def pixel_area(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Solid angle of pixels, sr."""
        return np.abs(np.linalg.det(self.jacobian(x, y))) * _ARCSEC**2

    def from_v2v3(self, v2: ArrayLike, v3: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """0-based pixels of telescope coordinates (arcsec), by Newton's method.

        Far outside the detector, where the polynomials mean nothing, the result is
        the linear extrapolation from the centre.
        """
        v2, v3 = np.asarray(v2, float), np.asarray(v3, float)
        centre_x, centre_y = self.centre
        inverse = np.linalg.inv(self.jacobian(centre_x, centre_y))
        offset = np.stack([v2 - self.v2_ref, v3 - self.v3_ref], axis=-1)
        x, y = np.moveaxis(offset @ inverse.T, -1, 0)
        x, y = x + centre_x, y + centre_y
        near = (np.abs(x - centre_x) < 2048) & (np.abs(y - centre_y) < 2048)
        for _ in range(6):  # the distortion is mild: quadratic convergence, 4 reach rounding
            at_v2, at_v3 = self.to_v2v3(x, y)
            residual = np.stack([v2 - at_v2, v3 - at_v3], axis=-1)
            step = np.linalg.solve(self.jacobian(x, y), residual[..., None])[..., 0]
            x = np.where(near, x + step[..., 0], x)
            y = np.where(near, y + step[..., 1], y)
        return x, y


@cache
def get_distortion(detector: Detector) -> Distortion:
    """Distortion of a detector from the SIAF."""
    aperture = load_siaf(detector.instrument)[detector.full_aperture]
    angle, parity = np.deg2rad(aperture.V3IdlYAngle), aperture.VIdlParity
    matrix = np.array(
        [
            [parity * np.cos(angle), np.sin(angle)],
            [-parity * np.sin(angle), np.cos(angle)],
        ]
    )
    return Distortion(
        x_model=_polynomial(aperture, "Sci2Idl", "X"),
        y_model=_polynomial(aperture, "Sci2Idl", "Y"),
        matrix=matrix,
        v2_ref=float(aperture.V2Ref),
        v3_ref=float(aperture.V3Ref),
        centre=detector.centre,
    )


def _inverse_polynomials(
    distortion: Distortion, shape: tuple[int, int]
) -> tuple[Polynomial2D, Polynomial2D]:
    """Polynomials from the ideal frame to pixels relative to the centre, fitted on a grid."""
    degree = distortion.x_model.degree
    # a little beyond the edges
    along_x, along_y = (
        np.linspace(-0.5 - middle - 6, size - 0.5 - middle + 6, 41)
        for size, middle in zip(shape[::-1], distortion.centre, strict=True)
    )
    u, v = (a.ravel() for a in np.meshgrid(along_x, along_y))
    xi, yi = distortion.x_model(u, v), distortion.y_model(u, v)
    scale = max(np.abs(xi).max(), np.abs(yi).max())
    powers = [(i - j, j) for i in range(degree + 1) for j in range(i + 1)]
    design = np.stack([(xi / scale) ** p * (yi / scale) ** q for p, q in powers], axis=1)
    models = []
    for target in (u, v):
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        coefficients = {
            f"c{p}_{q}": c / scale ** (p + q) for (p, q), c in zip(powers, solution, strict=True)
        }
        models.append(Polynomial2D(degree, **coefficients))
    return models[0], models[1]


def distortion_model(detector: Detector) -> Model:
    """Astropy model from 0-based pixels to (V2, V3) in arcsec, with its inverse."""
    distortion = get_distortion(detector)
    offset = np.array([distortion.v2_ref, distortion.v3_ref])
    affine = AffineTransformation2D(matrix=distortion.matrix, translation=offset)
    split = Mapping((0, 1, 0, 1))
    x, y = distortion.centre
    forward = Shift(-x) & Shift(-y) | split | distortion.x_model & distortion.y_model | affine
    x_inverse, y_inverse = _inverse_polynomials(distortion, detector.shape)
    forward.inverse = affine.inverse | split | x_inverse & y_inverse | Shift(x) & Shift(y)
    return forward


def attitude_matrix(v2: float, v3: float, ra: float, dec: float, roll: float) -> np.ndarray:
    """Rotation from telescope to celestial unit vectors, shape ``(3, 3)``.

    Parameters
    ----------
    v2, v3
        A point in the telescope frame, arcsec.
    ra, dec
        Where it looks, deg.
    roll
        Position angle of the V3 axis at that point, deg (east of north).
    """
    load_siaf()
    from pysiaf.utils import rotations

    return np.asarray(rotations.attitude(v2, v3, ra, dec, roll))


def _unit_vectors(lon: ArrayLike, lat: ArrayLike) -> np.ndarray:
    lon, lat = np.asarray(lon, float), np.asarray(lat, float)
    return np.stack([np.cos(lon) * np.cos(lat), np.sin(lon) * np.cos(lat), np.sin(lat)], axis=-1)


@dataclass(frozen=True)
class Pointing:
    """Attitude of the telescope.

    Attributes
    ----------
    matrix
        Rotation from telescope to celestial unit vectors, shape ``(3, 3)``.
    """

    matrix: np.ndarray

    def to_sky(self, v2: ArrayLike, v3: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination (deg) of telescope coordinates (arcsec)."""
        vector = _unit_vectors(np.multiply(v2, _ARCSEC), np.multiply(v3, _ARCSEC)) @ self.matrix.T
        lon = np.arctan2(vector[..., 1], vector[..., 0])
        lat = np.arctan2(vector[..., 2], np.hypot(vector[..., 0], vector[..., 1]))
        return np.rad2deg(lon) % 360, np.rad2deg(lat)

    def from_sky(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Telescope coordinates (arcsec) of right ascension and declination (deg)."""
        vector = _unit_vectors(np.deg2rad(ra), np.deg2rad(dec)) @ self.matrix
        lon = np.arctan2(vector[..., 1], vector[..., 0])
        lat = np.arctan2(vector[..., 2], np.hypot(vector[..., 0], vector[..., 1]))
        return lon / _ARCSEC, lat / _ARCSEC

    def roll(self, v2: float, v3: float) -> float:
        """Position angle of the V3 axis (deg, east of north) at a telescope coordinate."""
        lon, lat = v2 * _ARCSEC, v3 * _ARCSEC
        at = self.matrix @ _unit_vectors(lon, lat)
        # unit vector along increasing V3 at that point
        along_v3 = self.matrix @ np.array(
            [-np.cos(lon) * np.sin(lat), -np.sin(lon) * np.sin(lat), np.cos(lat)]
        )
        east = np.array([-at[1], at[0], 0.0])
        east /= np.linalg.norm(east)
        north = np.cross(at, east)
        return float(np.rad2deg(np.arctan2(along_v3 @ east, along_v3 @ north)) % 360)


@dataclass(frozen=True)
class ExposureWcs:
    """Where the pixels of one exposure lie on the sky.

    Attributes
    ----------
    distortion
        Of the detector.
    pointing
        Attitude of the telescope.
    v2_ref, v3_ref
        Reference point of the aperture, arcsec: the attitude is exact there, and the velocity of
        the telescope stretches the rest of the sky about it.
    va_scale
        That stretch (VA_SCALE), differential velocity aberration.
    """

    distortion: Distortion
    pointing: Pointing
    v2_ref: float
    v3_ref: float
    va_scale: float = 1.0

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination (deg) of 0-based pixels of the full frame."""
        v2, v3 = self.distortion.to_v2v3(x, y)
        return self.pointing.to_sky(
            self.v2_ref + self.va_scale * (v2 - self.v2_ref),
            self.v3_ref + self.va_scale * (v3 - self.v3_ref),
        )

    def from_sky(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """0-based pixels of the full frame of right ascension and declination (deg)."""
        v2, v3 = self.pointing.from_sky(ra, dec)
        return self.distortion.from_v2v3(
            self.v2_ref + (v2 - self.v2_ref) / self.va_scale,
            self.v3_ref + (v3 - self.v3_ref) / self.va_scale,
        )

    def sky_jacobian(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Derivative of (x, y) in pixels by (east, north) in arcsec, shape ``(..., 2, 2)``."""
        dec = self.to_sky(x, y)[1]
        cos_dec = np.cos(np.deg2rad(dec))

        def derivative(dx: float, dy: float) -> np.ndarray:
            (ra1, dec1), (ra0, dec0) = self.to_sky(x + dx, y + dy), self.to_sky(x - dx, y - dy)
            east = ((ra1 - ra0 + 180) % 360 - 180) * cos_dec
            return np.stack([east, dec1 - dec0], axis=-1) * 3600

        return np.linalg.inv(np.stack([derivative(0.5, 0), derivative(0, 0.5)], axis=-1))
