"""Where the telescope is and how it moves: what light travel time and aberration depend on."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, get_body_barycentric_posvel
from astropy.time import Time

__all__ = ["Orbit"]

_C = 299792.458  # km/s


@dataclass(frozen=True)
class Orbit:
    """Where the telescope is and how it moves (equatorial axes, km and km/s)."""

    position: np.ndarray
    velocity: np.ndarray
    geocentric_position: np.ndarray
    geocentric_velocity: np.ndarray
    heliocentric_position: np.ndarray
    direction: np.ndarray

    @classmethod
    def at(cls, mjd: float, ra: float, dec: float) -> "Orbit":
        """Place and motion at a time (MJD, UTC), looking at a target (deg)."""
        time = Time(mjd, format="mjd", scale="utc")
        earth, earth_velocity = (
            v.get_xyz() for v in get_body_barycentric_posvel("earth", time, ephemeris="builtin")
        )
        sun = get_body_barycentric_posvel("sun", time, ephemeris="builtin")[0].get_xyz()
        earth, sun = earth.to_value(u.km), sun.to_value(u.km)
        earth_velocity = earth_velocity.to_value(u.km / u.s)
        # at L2, 1% further from the Sun than the Earth and carried along with it
        geocentric = (earth - sun) * 0.01
        geocentric_velocity = earth_velocity * 0.01
        target = SkyCoord(ra, dec, unit="deg").cartesian.xyz.value
        return cls(
            position=earth + geocentric,
            velocity=earth_velocity + geocentric_velocity,
            geocentric_position=geocentric,
            geocentric_velocity=geocentric_velocity,
            heliocentric_position=earth + geocentric - sun,
            direction=np.asarray(target),
        )

    @property
    def barycentric_correction(self) -> float:
        """Light travel time to the barycentre along the line of sight, s."""
        return float(self.position @ self.direction) / _C

    @property
    def heliocentric_correction(self) -> float:
        """Light travel time to the Sun along the line of sight, s."""
        return float(self.heliocentric_position @ self.direction) / _C

    @property
    def radial_velocity(self) -> float:
        """Velocity towards the target, km/s."""
        return float(self.velocity @ self.direction)

    @property
    def va_scale(self) -> float:
        """Differential velocity aberration: how much larger true angles are than apparent ones."""
        beta = self.velocity / _C
        return float((1 + beta @ self.direction) / np.sqrt(1 - beta @ beta))

    @property
    def apparent_direction(self) -> tuple[float, float]:
        """Apparent right ascension and declination of the target, deg."""
        vector = self.direction + self.velocity / _C
        x, y, z = vector / np.linalg.norm(vector)
        return float(np.rad2deg(np.arctan2(y, x)) % 360), float(np.rad2deg(np.arcsin(z)))
