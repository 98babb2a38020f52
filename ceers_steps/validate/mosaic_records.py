"""The records that the metrics of mosaics return.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.validate.records import Record

__all__ = [
    "AperturePhotometry",
    "BackgroundResidual",
    "BlockChi",
    "PhotometryBin",
    "PositionOffset",
]


@dataclass(frozen=True)
class BlockChi(Record):
    """Scatter of blank sky against what the error array predicts.

    Attributes
    ----------
    block : int
        Side of the blocks, pixels.
    n_blocks : int
        Number of blocks.
    chi : float
        Scatter of the block means over that of drizzled noise of the claimed variance, both from
        the median absolute deviation: pixels far out are counted by `outliers`.
    chi_err : float
        Standard error of `chi`.
    claimed : float
        The same over the root of the sum of the squared error array, as if pixels were
        independent.
    """

    block: int
    n_blocks: int
    chi: float
    chi_err: float
    claimed: float


@dataclass(frozen=True)
class AperturePhotometry:
    """Fluxes in apertures; units of the image times pixels, shape (n,) each.

    Attributes
    ----------
    used : int array
        Which of the given positions these are: those whose aperture has all its pixels.
    true : array
        True flux.
    error : array
        Measured less true flux.
    sigma : array
        Predicted standard deviation.
    correlation : float
        Predicted over the one for independent pixels, which the error array alone would give.
    """

    used: NDArray
    true: NDArray
    error: NDArray
    sigma: NDArray
    correlation: float


@dataclass(frozen=True)
class PhotometryBin(Record):
    """Photometry of the sources of a range of magnitudes.

    Attributes
    ----------
    bright, faint : float
        Range of magnitudes.
    n : int
        Number of sources.
    bias : float
        Sum of measured over sum of true fluxes, less 1.
    bias_err : float
        Its predicted standard deviation.
    chi : float
        Scatter of error / sigma about 0, from the median absolute value.
    chi_err : float
        Standard error of `chi`.
    """

    bright: float
    faint: float
    n: int
    bias: float
    bias_err: float
    chi: float
    chi_err: float


@dataclass(frozen=True)
class PositionOffset(Record):
    """Measured less true positions.

    Attributes
    ----------
    n : int
        Number of sources.
    east, north : float
        Medians, mas.
    err : float
        Standard error of either.
    scatter : float
        Scatter of a source along one axis about them, from the median absolute deviation, mas.
    """

    n: int
    east: float
    north: float
    err: float
    scatter: float

    @property
    def distance(self) -> float:
        """Length of the offset, mas."""
        return float(np.hypot(self.east, self.north))


@dataclass(frozen=True)
class BackgroundResidual(Record):
    """What is left of the background.

    Attributes
    ----------
    n_pixels : int
        Pixels used.
    mean : float
        Mean of (mosaic - truth), units of the sky noise per pixel.
    err : float
        Its standard error by noise alone, same units.
    """

    n_pixels: int
    mean: float
    err: float
