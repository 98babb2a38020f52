"""Constants of centroids, matches and fits: value, unit, and what chose each.

"Choice": no benchmark varies it; what speaks for it stands there. What all reach together is
measured by ``benchmarks/alignment.py``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CENTROIDS",
    "CORRECTIONS",
    "DITHERS",
    "MATCHING",
    "CentroidSettings",
    "CorrectionSettings",
    "DitherSettings",
    "MatchingSettings",
]


@dataclass(frozen=True)
class CentroidSettings:
    """How centroids are measured, and which are flagged."""

    window_per_radius: float = 2 / 2.35
    """Sigma of the window per half-light radius (Source Extractor) ..."""
    window_limits: tuple[float, float] = (0.425, 10.0)
    """... within these limits, pixels: that of a profile as wide as a pixel (Source Extractor); a
    galaxy is centred on its middle (choice)."""
    reach: float = 4.0
    """Reach of the window, in its sigma (Source Extractor)."""
    radius_reach: tuple[float, float, float] = (3.0, 5.0, 40.0)
    """Radius within which the light of a source is summed for its half-light radius: in units of
    its major axis; limits, pixels (choice)."""
    touched_weight: float = 0.03
    """Part of the weight that unusable pixels may have: they are filled from their neighbours,
    which leaves an error of a few hundredths of a pixel (choice)."""
    blend: float = 0.1
    """Part of the light in the window that neighbours may add (choice)."""
    phase: float = 0.005
    """What the place within a pixel does to a centroid, pixels (choice; smaller than
    any error from noise that is matched)."""
    margin: tuple[float, float] = (2.0, 3.0)
    """Least distance from the edge of the image: in sigma of the window; pixels (choice)."""
    wandered: float = 2.0
    """Pixels, or the major axis if that is longer, by which a centroid may leave the peak of the
    search (choice)."""
    double: float = 1.0
    """Pixels within which two centroids are one source's (choice)."""


@dataclass(frozen=True)
class DitherSettings:
    """How exposures are tied together and to a reference."""

    reach: float = 4.0
    """Sources of lists that the guide star holds together are the same within so many sigma: one of
    3000 is lost."""
    away: float = 5.0
    """A list whose shift is off by more than so many sigma is not held: the guide star was lost."""
    expected_common: int = 8
    """So many sources in the overlap of two lists and not one in common: the lists do not belong
    together, whatever the guide star says (at 50% completeness 1 in 250)."""
    least_matches: int = 6
    """Matches with a reference below which only a shift is fitted: a rotation of so few is worse
    than none (choice)."""
    rotated: float = 4.0
    """A rotation that is off the expected one by more than so many sigma is fitted freely."""
    expected_rotation: float = float(np.deg2rad(30 / 3600))
    """Standard deviation of the rotations of a telescope, radians (`CorrectionSettings`)."""


@dataclass(frozen=True)
class CorrectionSettings:
    """What is expected of corrections before anything is measured.

    Standard deviations of two shifts (arcsec), rotation (radians), scale and two more of a linear
    map.
    """

    loose: tuple[float, ...] = (5.0, 5.0, 0.05, 0.05, 0.05, 0.05)
    """Far larger than any true one: decides only what the data leave open."""
    pointing: tuple[float, ...] = (5.0, 5.0, 30 * (np.pi / 180 / 3600), 1e-4, 1e-4, 1e-4)
    """Of a pointing error: shifts are free, a rotation is about 30 arcsec, a scale 1e-4
    (``docs/steps/align.md``)."""
    rows_at_once: int = 5_000
    """Positions whose derivatives by all parameters are in memory at once."""

    def prior(self, *, pointing: bool) -> NDArray[np.float64]:
        """Return the standard deviations of all parameters."""
        return np.array(self.pointing if pointing else self.loose)


@dataclass(frozen=True)
class MatchingSettings:
    """When matches are believed."""

    false_alarm: float = 1e-4
    """Probability that unrelated lists match as well at any shift of the search: one wrong
    alignment of 10,000."""
    most_pairs: int = 1_000_000
    """Pairs whose differences are in memory at once; of more, a sample votes."""


CENTROIDS = CentroidSettings()
DITHERS = DitherSettings()
CORRECTIONS = CorrectionSettings()
MATCHING = MatchingSettings()
