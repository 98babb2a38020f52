"""What the demo simulates."""

from dataclasses import dataclass
from typing import Any

__all__ = ["CATALOG_SCATTER", "POINTING", "SETS", "DemoSet"]


@dataclass(frozen=True)
class DemoSet:
    """Dithered exposures of one detector through one filter.

    Attributes
    ----------
    detector, filter : str
        As in the headers.
    dithers : int
        Number of exposures.
    readpatt : str
        Read pattern.
    n_groups : int
        Number of groups.
    size : str
        Subarray, ``full`` for the whole detector.
    """

    detector: str
    filter: str
    dithers: int = 4
    readpatt: str = "MEDIUM8"
    n_groups: int = 9
    size: str = "full"

    @property
    def name(self) -> str:
        """Name for people."""
        return f"{self.detector} {self.filter}"

    @property
    def slug(self) -> str:
        """Name for folders."""
        return f"{self.detector}_{self.filter}".lower()


SETS = (DemoSet("NRCB4", "F150W"), DemoSet("NRCBLONG", "F277W"))
"""Short-wavelength exposures with wisps, long-wavelength ones without; mosaics cover the first."""

POINTING: dict[str, Any] = {"visit_shift": (0.24, -0.18), "jitter": 0.005, "roll": 30.0}
"""Errors of the pointing that are simulated, arcsec."""

CATALOG_SCATTER = 0.015
"""Errors of the positions in the reference catalogue, arcsec."""
