"""What is exposed when, where and how."""

from dataclasses import dataclass

import numpy as np

from ceers_steps.simulate.telescope.geometry import (
    ExposureWcs,
    Pointing,
    attitude_matrix,
    get_distortion,
)
from ceers_steps.simulate.telescope.instrument import Band, Detector, SubarrayWindow, load_siaf
from ceers_steps.simulate.telescope.orbit import Orbit
from ceers_steps.simulate.telescope.patterns import Readout, ReadPattern

__all__ = ["DAY", "ExposurePlan", "PointingError", "read_out"]

DAY = 86400.0
"""Seconds."""


def read_out(detector: Detector, window: SubarrayWindow) -> Readout:
    """Return the order and speed in which a detector reads a part of it."""
    return Readout(
        (window.ny, window.nx),
        4 if window.row_ticks else window.n_outputs,
        detector.fast_axis,
        detector.slow_axis,
        window.row_ticks,
    )


@dataclass(frozen=True)
class PointingError:
    """How the telescope looks elsewhere than it was commanded to.

    Attributes
    ----------
    v2, v3
        Shift of the telescope in its own frame, arcsec.
    roll
        Error of the position angle, about the target, arcsec.
    """

    v2: float = 0.0
    v3: float = 0.0
    roll: float = 0.0


@dataclass(frozen=True)
class ExposurePlan:
    """One exposure of one detector: where it looks, through what and how it is read.

    Attributes
    ----------
    detector, band, window
        What looks: detector, imaging band, part of the detector that is read out.
    pattern, n_groups, n_ints
        How it is read.
    dither, n_dithers
        Number of the dither position, from 0, and how many there are.
    offset
        Offset of the position in the ideal frame of `aperture`, arcsec.
    aperture
        SIAF aperture on which the target is put.
    target_ra, target_dec, roll
        Target and position angle of the V3 axis there, deg.
    start
        Start of the exposure, MJD (UTC).
    program, observation, visit
        Numbers in the file name.
    pointing_error
        Of which the header knows nothing.
    """

    detector: Detector
    band: Band
    window: SubarrayWindow
    pattern: ReadPattern
    n_groups: int
    n_ints: int
    dither: int
    n_dithers: int
    offset: tuple[float, float]
    aperture: str
    target_ra: float
    target_dec: float
    roll: float
    start: float
    program: str = "01345"
    observation: str = "001"
    visit: str = "001"
    pointing_error: PointingError = PointingError()

    @property
    def activity(self) -> str:
        """ACT_ID: each band is an activity of its own, so names never clash."""
        return f"{self.band.index:02d}"

    @property
    def root(self) -> str:
        """File name without suffix, e.g. ``jw01345001001_02105_00001_nrcb4``."""
        return (
            f"jw{self.program}{self.observation}{self.visit}_021{self.activity}_"
            f"{self.dither + 1:05d}_{self.detector.name.lower()}"
        )

    @property
    def stream(self) -> tuple[int, ...]:
        """Numbers that set the random streams of this exposure apart from those of others."""
        return self.detector.index, self.band.index, self.dither

    @property
    def readout(self) -> Readout:
        """Order and speed in which the pixels are read."""
        return read_out(self.detector, self.window)

    @property
    def integration_time(self) -> float:
        """From the reset to the end of the last group, s."""
        return self.pattern.total_frames(self.n_groups) * self.readout.frame_time

    @property
    def duration(self) -> float:
        """All integrations with the resets (one frame each) between them, s."""
        resets = (self.n_ints - 1) * self.readout.frame_time
        return self.n_ints * self.integration_time + resets

    @property
    def pointing(self) -> Pointing:
        """Attitude of the telescope at this dither position, as commanded."""
        return self._attitude(PointingError())

    def _attitude(self, error: PointingError) -> Pointing:
        reference = load_siaf(self.detector.instrument)[self.aperture]
        angle, parity = np.deg2rad(reference.V3IdlYAngle), reference.VIdlParity
        x, y = self.offset
        # the telescope moves, so the target lands on the opposite side
        v2 = reference.V2Ref - (parity * x * np.cos(angle) + y * np.sin(angle)) - error.v2
        v3 = reference.V3Ref - (-parity * x * np.sin(angle) + y * np.cos(angle)) - error.v3
        roll = self.roll + error.roll / 3600
        return Pointing(attitude_matrix(v2, v3, self.target_ra, self.target_dec, roll))

    @property
    def orbit(self) -> Orbit:
        """Place and motion of the telescope in the middle of the exposure."""
        middle = self.start + 0.5 * self.duration / DAY
        return Orbit.at(middle, self.target_ra, self.target_dec)

    @property
    def wcs(self) -> ExposureWcs:
        """Where the header says that the pixels lie on the sky."""
        return self._wcs(self.pointing)

    @property
    def true_wcs(self) -> ExposureWcs:
        """Where the pixels lie on the sky."""
        return self._wcs(self._attitude(self.pointing_error))

    def _wcs(self, pointing: Pointing) -> ExposureWcs:
        aperture = load_siaf(self.detector.instrument)[self.window.aperture]
        return ExposureWcs(
            distortion=get_distortion(self.detector),
            pointing=pointing,
            v2_ref=float(aperture.V2Ref),
            v3_ref=float(aperture.V3Ref),
            va_scale=self.orbit.va_scale,
        )
