"""Alignment of the exposures of a detector: from source lists to corrected WCS."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tweakwcs.correctors import JWSTWCSCorrector

from ceers_steps.astrometry.tables import AlignmentSettings, ReferenceCatalog
from ceers_steps.kernels.astrometry.centroids import SourceList
from ceers_steps.kernels.astrometry.dithers import (
    AlignedPart,
    ReferenceFit,
    align_dithers,
    align_to_reference,
)
from ceers_steps.kernels.astrometry.fit import ListFit
from ceers_steps.kernels.astrometry.matching import combine_lists

__all__ = ["AlignedExposure", "Residuals", "align_group", "borrow_pointings", "catalog_of"]

BORROWED, COMPLETE, FAILED, SKIPPED = "BORROWED", "COMPLETE", "FAILED", "SKIPPED"
KEPT = "keeps its WCS, which is from a file"


@dataclass
class AlignedExposure:
    """One exposure on its way to a corrected WCS.

    Attributes
    ----------
    index : int
        Its place in the library.
    name, detector, channel, band, visit : str
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
    reference : str
        Name of what it was aligned to.
    rows : list of dict
        Its rows of the results.
    """

    index: int
    name: str
    detector: str
    channel: str
    band: str
    visit: str
    time: float
    corrector: JWSTWCSCorrector
    sources: SourceList
    settings: AlignmentSettings
    kept: bool = False
    status: str = FAILED
    note: str = ""
    reference: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    correction: "Correction | None" = None

    def add_row(self, alignment: str, status: str, note: str = "", **values: Any) -> None:
        """Add a row to the results."""
        row = {
            "exposure": self.name,
            "detector": self.detector,
            "filter": self.band,
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

    def keep(self) -> None:
        """Leave its WCS as it is."""
        self.kept = True
        self.end(SKIPPED, KEPT)
        self.add_row("relative", SKIPPED, KEPT)

    @property
    def merit(self) -> dict[str, Any]:
        """Figures of merit of all fits."""
        names = ("n_matched", "rmse", "mae", "shift_error", "xshift", "yshift", "rotation", "scale")
        return {
            f"{row['alignment']}_{name}": row[name]
            for row in self.rows
            for name in names
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


def catalog_of(exposures: Sequence[AlignedExposure]) -> ReferenceCatalog:
    """Return the sources of exposures whose WCS is right, as a catalogue to align others to."""
    plane = exposures[0].corrector
    lists = [_in_plane(exposure, plane) for exposure in exposures if len(exposure.sources) > 0]
    tolerance = exposures[0].settings.tolerance
    combined = combine_lists(*(zip(*lists, strict=True) if lists else ([], [])), tolerance)
    name = "exposures that keep their WCS"
    return ReferenceCatalog(name, *plane.tanp_to_world(*combined.T))


def align_group(
    exposures: Sequence[AlignedExposure], references: Sequence[ReferenceCatalog]
) -> list[Residuals]:
    """Align exposures of one detector and filter, and of one visit if there is a reference.

    Their correctors are corrected, where that succeeds; status, note and rows of each are filled.

    Parameters
    ----------
    exposures
        In the order of time.
    references
        What they are aligned to when they are aligned among themselves: the first that they can
        be aligned to. None at all leaves the mean of their pointings as it is.

    Returns
    -------
    list of Residuals
        Of the fits that were made.
    """
    plane = deepcopy(exposures[0].corrector)
    usable = []
    for exposure in exposures:
        if len(exposure.sources) == 0:
            exposure.end(FAILED, "no usable source")
            exposure.add_row("relative", FAILED, exposure.note)
        else:
            usable.append(exposure)
    places = {exposure.index: _in_plane(exposure, plane) for exposure in usable}
    parts = _align_among_themselves(usable, places)
    residuals = []
    for number, part in enumerate(parts):
        members = [usable[i] for i in part.members]
        _add_relative_rows(members, part, len(exposures))
        if references:
            for reference in references:
                residuals += _align_to_reference(members, part, places, plane, reference)
                if members[0].status == COMPLETE:
                    break
        elif len(exposures) == 1:
            members[0].end(SKIPPED, "one exposure and no abs_refcat: nothing to align it with")
            members[0].add_row("relative", SKIPPED, members[0].note)
        elif number > 0 or len(members) == 1:
            _fail(members, "no sources in common with the other exposures")
        else:
            for member, fit in zip(members, part.joint.fits, strict=True):
                _correct(member, plane, fit.matrix, fit.shift, places[member.index])
            residuals.append(_relative_residuals(members, part, places))
    return residuals


def _in_plane(exposure: AlignedExposure, plane: JWSTWCSCorrector):
    """Return positions in the plane and their uncertainties, arcsec."""
    sources = exposure.sources
    world = exposure.corrector.det_to_world(sources.x, sources.y)
    positions = np.column_stack(plane.world_to_tanp(*world))
    return positions, sources.sigma * exposure.corrector.tanp_center_pixel_scale


def _align_among_themselves(usable, places) -> list[AlignedPart]:
    """Align exposures with each other; those whose fit is bad are left out, one by one."""
    left = list(range(len(usable)))
    alone: list[AlignedPart] = []
    while left:
        settings = usable[left[0]].settings
        columns = zip(*(places[usable[i].index] for i in left), strict=True)
        parts = align_dithers(*(list(column) for column in columns), settings.match, settings.fit)
        parts = [AlignedPart([left[i] for i in part.members], part.joint) for part in parts]
        worst = max(
            (
                (_badness(fit, settings), member)
                for part in parts
                if len(part.members) > 1
                for member, fit in zip(part.members, part.joint.fits, strict=True)
            ),
            default=(0.0, -1),
        )
        if worst[0] <= 1:
            return sorted(parts + alone, key=lambda part: (-len(part.members), part.members[0]))
        member = worst[1]
        left.remove(member)
        place, sigma = places[usable[member].index]
        (single,) = align_dithers([place], [sigma], settings.match, settings.fit)
        alone.append(AlignedPart([member], single.joint))
    return alone


def _badness(fit: ListFit, settings: AlignmentSettings) -> float:
    """Return above 1 for a fit that is not good enough."""
    few = settings.minobj / max(len(fit.used), 1)
    return max(few, 1e3 * fit.rmse / settings.max_rmse if settings.max_rmse > 0 else 0.0)


def _figures(fit: ListFit, geometry: str) -> dict[str, Any]:
    """Return what a row says of a fit."""
    return {
        "geometry": geometry,
        "n_matched": fit.n_used,
        "rmse": 1e3 * fit.rmse,
        "mae": 1e3 * fit.mae,
        "shift_error": 1e3 * fit.shift_error,
        "xshift": 1e3 * fit.shift[0],
        "yshift": 1e3 * fit.shift[1],
        "rotation": 3600 * fit.rotation,
        "scale": fit.scale,
    }


def _add_relative_rows(members, part: AlignedPart, n_exposures: int) -> None:
    """Add the rows of the alignment of exposures with each other."""
    for member, fit in zip(members, part.joint.fits, strict=True):
        if len(members) > 1:
            member.add_row("relative", COMPLETE, **_figures(fit, member.settings.fitgeometry))
        elif n_exposures > 1:
            member.add_row("relative", FAILED, "too few good sources in common with the others")


def _align_to_reference(members, part, places, plane, reference) -> list[Residuals]:
    """Align a part to the reference and correct its exposures, or fail them all."""
    settings = members[0].settings
    positions, sigma = part.joint.positions, part.joint.sigma
    centre = np.mean(positions, axis=0)
    reach = np.hypot(*(positions - centre).T).max() + settings.abs_searchrad
    near = reference.near(*plane.tanp_to_world(*centre), reach + settings.abs_tolerance + 5)
    geometry = settings.abs_fit(members[0].channel)
    absolute = None
    if len(near) == 0:
        reason = f"none of {len(reference)} sources of {reference.name} is in the image"
    else:
        targets = np.column_stack(plane.world_to_tanp(reference.ra[near], reference.dec[near]))
        try:
            absolute = align_to_reference(positions, sigma, targets, settings.abs_match, geometry)
            reason = _why_not_good(absolute, settings)
        except ValueError as err:
            reason = f"{reference.name}: {err}"
    for member, fit in zip(members, part.joint.fits, strict=True):
        figures = _figures(absolute.fit, geometry.geometry) if absolute else {}
        figures |= {"n_sources": len(positions), "reference": reference.name}
        member.add_row("absolute", FAILED if reason else COMPLETE, reason, **figures)
        if reason:
            member.end(FAILED, reason)
        else:
            matrix = absolute.fit.matrix @ fit.matrix
            shift = absolute.fit.matrix @ fit.shift + absolute.fit.shift
            _correct(member, plane, matrix, shift, places[member.index])
            member.reference = reference.name
            member.end(COMPLETE, f"aligned with {reference.name}")
    if absolute is None:
        return []
    title = _title(members) + (" (FAILED)" if reason else "")
    fit = absolute.fit
    return [Residuals(title, absolute.positions, 1e3 * fit.residuals, fit.used)]


def _why_not_good(absolute: ReferenceFit, settings: AlignmentSettings) -> str:
    """Return what is wrong with a fit to the reference; empty if nothing."""
    fit = absolute.fit
    if 1e3 * fit.rmse > settings.abs_max_rmse > 0:
        return (
            f"residuals of {1e3 * fit.rmse:.1f} mas, above {settings.abs_max_rmse} (abs_max_rmse)"
        )
    return ""


def _correct(member, plane, matrix, shift, place) -> None:
    """Correct the WCS of one exposure."""
    member.corrector.set_correction(matrix, shift, ref_tpwcs=plane)
    member.correction = Correction(plane, matrix, shift, np.mean(place[0], axis=0))
    member.end(COMPLETE)


def _fail(members, reason: str) -> None:
    """Record that exposures could not be aligned."""
    for member in members:
        member.end(FAILED, reason)
        if all(row["status"] != FAILED for row in member.rows):
            member.add_row("relative", FAILED, reason)


def _relative_residuals(members, part: AlignedPart, places) -> Residuals:
    """Return the residuals of all exposures about their common positions."""
    moved, residuals, used = [], [], []
    for member, fit in zip(members, part.joint.fits, strict=True):
        residuals.append(1e3 * fit.residuals)
        used.append(fit.used)
        moved.append(fit.apply(places[member.index][0][fit.matched]))
    stacked = (np.concatenate(arrays) for arrays in (moved, residuals, used))
    return Residuals(_title(members), *stacked)


def _title(members) -> str:
    """Return what a fit is of."""
    visits = ", ".join(sorted({member.visit for member in members}))
    first = members[0]
    exposures = "1 exposure" if len(members) == 1 else f"{len(members)} exposures"
    return f"{first.detector} {first.band} {visits}, {exposures}"


def borrow_pointings(exposures: Sequence[AlignedExposure]) -> None:
    """Give failed exposures the pointing error of another one of their visit.

    The one that is nearest in time, of the same detector if there are several. Its shift and
    rotation are taken, not its scale, which belongs to the detector.
    """
    good = [exposure for exposure in exposures if exposure.status == COMPLETE]
    for exposure in exposures:
        donors = [donor for donor in good if donor.visit == exposure.visit]
        if exposure.status != FAILED or not donors:
            continue
        donor = min(
            donors,
            key=lambda d: (abs(d.time - exposure.time), d.detector != exposure.detector, d.name),
        )
        taken = donor.correction
        scale = np.sqrt(np.linalg.det(taken.matrix))
        rigid = taken.matrix / scale
        shift = taken.matrix @ taken.centre + taken.shift - rigid @ taken.centre
        exposure.corrector.set_correction(rigid, shift, ref_tpwcs=taken.plane)
        exposure.reference = donor.reference
        exposure.end(BORROWED, f"pointing of {donor.name} ({exposure.note})")
        exposure.add_row(
            "absolute",
            BORROWED,
            exposure.note,
            reference=donor.reference,
            geometry="rshift",
            xshift=1e3 * shift[0],
            yshift=1e3 * shift[1],
            rotation=3600 * np.rad2deg(np.arctan2(rigid[1, 0], rigid[0, 0])),
            scale=1.0,
        )
