"""How the pixels of a detector are arranged: size, reference pixels, outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["DETECTOR_SIZE", "REFERENCE_WIDTH", "Layout", "layout_of"]

DETECTOR_SIZE = 2048
"""Pixels along a side of a near-infrared detector."""

REFERENCE_WIDTH = 4
"""Width of the border of reference pixels."""


@dataclass(frozen=True)
class Layout:
    """Arrangement of the pixels of a detector in the science frame.

    Attributes
    ----------
    kind : str
        ``short_wavelength`` or ``long_wavelength`` (NIRCam), ``miri`` or ``niriss``: the names of
        what differs in the configuration.
    shape : tuple of int
        ``(ny, nx)``.
    border : tuple of int
        Width of the reference pixels at the ends of y and of x.
    """

    kind: str
    shape: tuple[int, int]
    border: tuple[int, int]

    @property
    def active(self) -> tuple[slice, slice]:
        """Where the pixels lie that see light."""
        rows, columns = (
            slice(width, size - width) for width, size in zip(self.border, self.shape, strict=True)
        )
        return rows, columns

    def per_output(self, values: np.ndarray) -> np.ndarray:
        """Spread one number per output over its pixels.

        Parameters
        ----------
        values : numpy.ndarray
            Shape ``(1, 4)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(1, nx)``, or ``(ny, 1)`` for NIRISS, whose outputs lie above each other.
        """
        ny, nx = self.shape
        if self.kind == "miri":  # neighbouring columns have different outputs
            return np.tile(values, nx // 4)
        if self.kind == "niriss":
            return np.repeat(values, ny // 4, axis=1).T
        return np.repeat(values, nx // 4, axis=1)


def layout_of(detector: str) -> Layout:
    """Return the layout of a detector.

    Parameters
    ----------
    detector : str
        Name in upper case, such as ``NRCB4``, ``NRCBLONG``, ``MIRIMAGE`` or ``NIS``.
    """
    near_infrared = (DETECTOR_SIZE, DETECTOR_SIZE), (REFERENCE_WIDTH, REFERENCE_WIDTH)
    if detector == "MIRIMAGE":
        return Layout("miri", (1024, 1032), (0, REFERENCE_WIDTH))
    if detector == "NIS":
        return Layout("niriss", *near_infrared)
    long_wavelength = detector.endswith(("LONG", "5"))
    return Layout("long_wavelength" if long_wavelength else "short_wavelength", *near_infrared)
