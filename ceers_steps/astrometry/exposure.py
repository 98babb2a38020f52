"""One exposure in the alignment, and what becomes of it."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tweakwcs.correctors import JWSTWCSCorrector

from ceers_steps.astrometry.tables import AlignmentSettings
from ceers_steps.kernels.astrometry.centroids import SourceList

__all__ = [
    "BORROWED",
    "CATALOGUE_ONLY",
    "COMPLETE",
    "FAILED",
    "KEPT",
    "SKIPPED",
    "AlignedExposure",
    "Correction",
    "Residuals",
]

BORROWED, COMPLETE, FAILED, SKIPPED = "BORROWED", "COMPLETE", "FAILED", "SKIPPED"
CATALOGUE_ONLY = "CATALOGUE ONLY"
KEPT = "keeps its WCS, which is from a file"


@dataclass
class AlignedExposure:
    """One exposure with its WCS and sources; after the alignment also what became of it.

    Whatever aligns exposures works on a `copy`, and returns it.

    Attributes
    ----------
    index : int
        Its place in the library.
    name, detector, channel, filter_name, visit : str
        What it is.
    time : float
        Start, MJD.
    corrector : JWSTWCSCorrector
        Its WCS.
    sources : SourceList
        Sources to use.
    settings : AlignmentSettings
        Parameters of its visit and filter.
    kept : bool
        Its WCS stays as it is, and others are aligned with it.
    status : str
        How it ended.
    note : str
        Why.
    doubt : str
        What is to be warned of; empty for nothing.
    reference : str
        Name of what it was aligned to.
    rows : list of dict
        Its rows of the results.
    correction : Correction or None
        What was done to its WCS.
    residuals : list of Residuals
        Of the fits that it was in: its own among the exposures, that of all to a reference.
    """

    index: int
    name: str
    detector: str
    channel: str
    filter_name: str
    visit: str
    time: float
    corrector: JWSTWCSCorrector
    sources: SourceList
    settings: AlignmentSettings
    kept: bool = False
    status: str = FAILED
    note: str = ""
    doubt: str = ""
    reference: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    correction: "Correction | None" = None
    residuals: list["Residuals"] = field(default_factory=list)

    def copy(self) -> "AlignedExposure":
        """Return one that can be aligned while this one stays as it is."""
        rows = [dict(row) for row in self.rows]
        return replace(self, corrector=deepcopy(self.corrector), rows=rows, residuals=[])

    def add_row(self, alignment: str, status: str, note: str = "", **values: Any) -> None:
        """Add a row to the results."""
        row = {
            "exposure": self.name,
            "detector": self.detector,
            "filter": self.filter_name,
            "visit": self.visit,
            "alignment": alignment,
            "status": status,
            "n_sources": len(self.sources),
            "note": note,
        }
        self.rows.append(row | values)

    def end(self, status: str, note: str = "") -> None:
        """Record how it ended."""
        self.status, self.note = status, note

    def note_bound(self, at_bound: bool) -> None:
        """Note in its last row whether the shift is at the end of the search; doubt it if so."""
        self.rows[-1]["at_bound"] = at_bound
        if at_bound:
            radius = f"its shift is at the end of abs_searchrad={self.settings.abs_searchrad}"
            self.doubt = "; ".join(filter(None, (self.doubt, f"{radius}: raise it and look")))

    def keep(self) -> None:
        """Leave its WCS as it is."""
        self.kept = True
        self.end(SKIPPED, KEPT)
        self.add_row("relative", SKIPPED, KEPT)

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of all fits."""
        fit = ("n_matched", "rmse", "mae", "shift_error", "xshift", "yshift", "rotation", "scale")
        return {
            f"{row['alignment']}_{name}": row[name]
            for row in self.rows
            for name in (*fit, "at_bound")
            if name in row
        }


@dataclass(frozen=True)
class Correction:
    """Linear correction of an exposure in a tangent plane.

    Attributes
    ----------
    plane : JWSTWCSCorrector
        The plane.
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        Arcsec.
    centre : ndarray, shape (2,)
        Middle of the sources from which it comes, arcsec.
    """

    plane: JWSTWCSCorrector
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    centre: NDArray[np.float64]


@dataclass(frozen=True)
class Residuals:
    """What a figure shows of one fit to the reference (or, without one, among exposures).

    Attributes
    ----------
    title : str
        Detector, filter and visit.
    positions : ndarray, shape (n, 2)
        Places in the tangent plane, arcsec.
    residuals : ndarray, shape (n, 2)
        Reference less aligned position, mas.
    used : ndarray of bool, shape (n,)
        False = clipped.
    """

    title: str
    positions: NDArray[np.float64]
    residuals: NDArray[np.float64]
    used: NDArray[np.bool_]
