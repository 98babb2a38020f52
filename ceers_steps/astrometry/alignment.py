"""Alignment of the exposures of a detector: from source lists to corrected WCS."""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tweakwcs.correctors import JWSTWCSCorrector

from ceers_steps.astrometry.borrowing import borrow_pointings_inplace
from ceers_steps.astrometry.exposure import (
    CATALOGUE_ONLY,
    COMPLETE,
    FAILED,
    SKIPPED,
    AlignedExposure,
    Correction,
    Residuals,
)
from ceers_steps.astrometry.reference import (
    ReferenceCatalog,
    check_epoch,
    remarks_on_fit,
    why_elsewhere,
)
from ceers_steps.astrometry.tables import AlignmentSettings
from ceers_steps.kernels.astrometry.dithers import (
    AlignedPart,
    ReferenceFit,
    align_dithers,
    align_to_reference,
)
from ceers_steps.kernels.astrometry.fit import ListFit
from ceers_steps.kernels.astrometry.matching import combine_lists

__all__ = ["Alignment", "align_exposures", "align_group_inplace", "catalog_of", "grouped"]

_Places = dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]
log = logging.getLogger(__name__)

DOUBTFUL = 3.0
"""Uncertainty of a place among the others of a visit, or on the sky, that is warned of, mas."""


@dataclass(frozen=True)
class Alignment:
    """What an alignment has found.

    Attributes
    ----------
    exposures : list of AlignedExposure
        In the order in which they were given; corrected where that succeeded, each with its
        status, note and rows.
    residuals : list of Residuals
        Of the fits that were made.
    """

    exposures: list[AlignedExposure]
    residuals: list[Residuals]


def align_exposures(
    exposures: Sequence[AlignedExposure],
    reference: ReferenceCatalog | None,
    *,
    fallback: str = "none",
) -> Alignment:
    """Align all exposures, each detector and filter by itself.

    Parameters
    ----------
    exposures
        With their sources; not changed. Those that are kept are not moved, and are the first
        reference.
    reference
        What they are aligned to, None for each other only.
    fallback : {'none', 'visit'}
        What an exposure that fails gets.

    Returns
    -------
    Alignment
        The exposures, corrected, and the residuals.

    Raises
    ------
    CeersError
        For a reference of which the epoch is another one and the motions matter.
    """
    exposures = [exposure.copy() for exposure in exposures]
    references = [reference] if reference is not None else []
    if reference is not None:
        check_epoch(reference, exposures[0].time)
    kept = [each for each in exposures if each.kept]
    if kept:
        log.info("%d of %d exposures keep their WCS from a file", len(kept), len(exposures))
        references.insert(0, catalog_of(kept))
    residuals = []
    for group in grouped(exposures, by_visit=bool(references)):
        log.info("Aligning %s", ", ".join(exposure.name for exposure in group))
        residuals += align_group_inplace(group, references)
    if fallback == "visit":
        borrow_pointings_inplace(exposures, referenced=bool(references))
    return Alignment(exposures, residuals)


def grouped(exposures: Sequence[AlignedExposure], *, by_visit: bool) -> list[list[AlignedExposure]]:
    """Return what is to be aligned of each detector and filter, in order of time.

    Parameters
    ----------
    exposures : sequence of AlignedExposure
        All of them; those that are kept are left out.
    by_visit : bool
        Every visit is a group of its own.

    Returns
    -------
    list of list of AlignedExposure
        What is aligned together.
    """
    groups: dict[tuple[str, str, str], list[AlignedExposure]] = {}
    for exposure in sorted(exposures, key=lambda e: (e.time, e.name)):
        if exposure.kept:
            continue
        visit = exposure.visit if by_visit else ""
        groups.setdefault((exposure.detector, exposure.filter_name, visit), []).append(exposure)
    return list(groups.values())


def catalog_of(exposures: Sequence[AlignedExposure]) -> ReferenceCatalog:
    """Return the sources of exposures whose WCS is right, as a catalogue to align others to.

    Parameters
    ----------
    exposures : sequence of AlignedExposure
        One or more.

    Returns
    -------
    ReferenceCatalog
        Each source once; empty if they have none.
    """
    plane = exposures[0].corrector
    lists = [_in_plane(exposure, plane) for exposure in exposures if len(exposure.sources) > 0]
    tolerance = exposures[0].settings.tolerance
    positions, sigmas = [each[0] for each in lists], [each[1] for each in lists]
    combined = combine_lists(positions, sigmas, tolerance)
    name = "exposures that keep their WCS"
    return ReferenceCatalog(name, *plane.tanp_to_world(*combined.T))


def align_group_inplace(
    exposures: Sequence[AlignedExposure], references: Sequence[ReferenceCatalog]
) -> list[Residuals]:
    """Align exposures of one detector and filter, and of one visit if there is a reference.

    They are corrected where that succeeds; status, note and rows of each are filled.

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
    places = {exposure.index: _in_plane(exposure, plane) for exposure in exposures}
    parts = _align_among_themselves(exposures, places)
    residuals = []
    for number, part in enumerate(parts):
        members = [exposures[i] for i in part.members]
        if len(part.joint.positions) == 0:
            _fail_inplace(members, "no usable source")
            continue
        _add_relative_rows_inplace(members, part, places)
        if references:
            for reference in references:
                residuals += _align_to_reference_inplace(members, part, places, plane, reference)
                if members[0].status == COMPLETE:
                    break
            if len(members) == 1 and len(exposures) > 1:
                _add_single_row_inplace(members[0])
        elif len(exposures) == 1:
            members[0].end(SKIPPED, "one exposure and no abs_refcat: nothing to align it with")
            members[0].add_row("relative", SKIPPED, members[0].note)
        elif number > 0 or len(members) == 1:
            _fail_inplace(members, "no sources in common with the other exposures")
        else:
            for member, fit in zip(members, part.joint.fits, strict=True):
                _correct_inplace(member, plane, fit.matrix, fit.shift, places[member.index])
            residuals.append(_joined(_title(members), [each.residuals[0] for each in members]))
    return residuals


def _in_plane(
    exposure: AlignedExposure, plane: JWSTWCSCorrector
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions in the plane and their uncertainties, arcsec."""
    sources = exposure.sources
    world = exposure.corrector.det_to_world(sources.x, sources.y)
    positions = np.column_stack(plane.world_to_tanp(*world))
    return positions, sources.sigma * exposure.corrector.tanp_center_pixel_scale


def _align_among_themselves(
    exposures: Sequence[AlignedExposure], places: _Places
) -> list[AlignedPart]:
    """Align exposures with each other; those whose fit is bad are left out, one by one."""
    left = list(range(len(exposures)))
    alone: list[AlignedPart] = []
    while left:
        settings = exposures[left[0]].settings
        positions, sigmas = zip(*(places[exposures[i].index] for i in left), strict=True)
        visits = [exposures[i].visit for i in left]
        parts = align_dithers(positions, sigmas, settings.match, settings.fit, visits=visits)
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
        place, sigma = places[exposures[member].index]
        (single,) = align_dithers([place], [sigma], settings.match, settings.fit)
        alone.append(AlignedPart([member], single.joint))
    return alone


def _badness(fit: ListFit, settings: AlignmentSettings) -> float:
    """Return above 1 for a fit that is not good enough."""
    # what the guide star holds needs no least number of matches
    few = 0.0 if fit.held else settings.minobj / max(len(fit.used), 1)
    measured = settings.max_rmse > 0 and fit.n_used > 0
    return max(few, 1e3 * fit.rmse / settings.max_rmse if measured else 0.0)


def _metrics(fit: ListFit, geometry: str) -> dict[str, Any]:
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


def _add_relative_rows_inplace(
    members: Sequence[AlignedExposure], part: AlignedPart, places: _Places
) -> None:
    """Add the rows of the alignment of exposures with each other, and their residuals."""
    if len(members) == 1:
        return
    for member, fit in zip(members, part.joint.fits, strict=True):
        error = 1e3 * fit.shift_error
        if error > DOUBTFUL:
            held = "the guide star and " if fit.held else ""
            member.doubt = (
                f"place among the other exposures known to {error:.1f} mas only, from {held}"
                f"{fit.n_used} sources in common"
            )
        metrics = _metrics(fit, member.settings.fitgeometry)
        member.add_row("relative", COMPLETE, member.doubt, **metrics)
        moved = fit.apply(places[member.index][0][fit.matched])
        title = f"{member.name} among {len(members)} exposures"
        member.residuals.append(Residuals(title, moved, 1e3 * fit.residuals, fit.used))


def _add_single_row_inplace(member: AlignedExposure) -> None:
    """Add the row of an exposure that could not be aligned with the others."""
    reason = "too few good sources in common with the others"
    if member.status == COMPLETE:
        member.doubt = f"aligned with {member.reference} alone: {reason}"
        member.add_row("relative", CATALOGUE_ONLY, member.doubt)
    else:
        member.add_row("relative", FAILED, reason)
    # before those of the fits to references: the last row says how it ended
    member.rows.insert(0, member.rows.pop())


def _align_to_reference_inplace(
    members: Sequence[AlignedExposure],
    part: AlignedPart,
    places: _Places,
    plane: JWSTWCSCorrector,
    reference: ReferenceCatalog,
) -> list[Residuals]:
    """Align a part to the reference and correct its exposures, or fail them all."""
    settings = members[0].settings
    positions, sigma = part.joint.positions, part.joint.sigma
    centre = np.mean(positions, axis=0)
    reach = np.hypot(*(positions - centre).T).max() + settings.abs_searchrad
    ra, dec = plane.tanp_to_world(*centre)
    near = reference.near(ra, dec, reach + settings.abs_tolerance + 5)
    geometry = settings.abs_fit(members[0].channel)
    absolute, reason = None, ""
    if len(near) == 0:
        reason = why_elsewhere(reference, ra, dec, reach)
    else:
        targets = np.column_stack(plane.world_to_tanp(reference.ra[near], reference.dec[near]))
        try:
            absolute = align_to_reference(positions, sigma, targets, settings.abs_match, geometry)
            reason = _why_not_good(absolute, settings)
        except ValueError as err:
            reason = f"{reference.name}: {err}"
    remark = remarks_on_fit(absolute, geometry.geometry, DOUBTFUL) if absolute else ""
    if absolute and not reason and 1e3 * absolute.fit.shift_error > DOUBTFUL:
        log.warning("%s, %s: %s", _title(members), reference.name, remark)
    for member, fit in zip(members, part.joint.fits, strict=True):
        metrics = _metrics(absolute.fit, absolute.geometry) if absolute else {}
        metrics |= {"n_sources": len(positions), "reference": reference.name}
        member.add_row("absolute", FAILED if reason else COMPLETE, reason or remark, **metrics)
        if reason or absolute is None:
            member.end(FAILED, reason)
        else:
            matrix = absolute.fit.matrix @ fit.matrix
            shift = absolute.fit.matrix @ fit.shift + absolute.fit.shift
            _correct_inplace(member, plane, matrix, shift, places[member.index])
            member.reference = reference.name
            said = f"aligned with {reference.name}"
            member.end(COMPLETE, f"{said}; {remark}" if remark else said)
            member.note_bound(absolute.at_bound)
    if absolute is None:
        return []
    title, fit = _title(members) + (" (FAILED)" if reason else ""), absolute.fit
    found = Residuals(title, absolute.positions, 1e3 * fit.residuals, fit.used)
    for member in members:
        member.residuals.append(found)
    return [found]


def _why_not_good(absolute: ReferenceFit, settings: AlignmentSettings) -> str:
    """Return what is wrong with a fit to the reference; empty if nothing."""
    fit = absolute.fit
    if 1e3 * fit.rmse > settings.abs_max_rmse > 0:
        return (
            f"residuals of {1e3 * fit.rmse:.1f} mas, above {settings.abs_max_rmse} (abs_max_rmse); "
            "positions of another epoch, or of a coarser catalogue?"
        )
    return ""


def _correct_inplace(
    member: AlignedExposure,
    plane: JWSTWCSCorrector,
    matrix: NDArray[np.float64],
    shift: NDArray[np.float64],
    place: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Correct the WCS of one exposure."""
    member.corrector.set_correction(matrix, shift, ref_tpwcs=plane)
    middle = np.mean(place[0], axis=0) if len(place[0]) else np.zeros(2)
    member.correction = Correction(plane, matrix, shift, middle)
    member.end(COMPLETE)


def _fail_inplace(members: Sequence[AlignedExposure], reason: str) -> None:
    """Record that exposures could not be aligned."""
    for member in members:
        member.end(FAILED, reason)
        if all(row["status"] != FAILED for row in member.rows):
            member.add_row("relative", FAILED, reason)


def _joined(title: str, parts: Sequence[Residuals]) -> Residuals:
    """Return the residuals of all exposures together."""
    every = [(each.positions, each.residuals, each.used) for each in parts]
    return Residuals(title, *(np.concatenate(arrays) for arrays in zip(*every, strict=True)))


def _title(members: Sequence[AlignedExposure]) -> str:
    """Return what a fit is of."""
    visits = ", ".join(sorted({member.visit for member in members}))
    first = members[0]
    exposures = "1 exposure" if len(members) == 1 else f"{len(members)} exposures"
    return f"{first.detector} {first.filter_name} {visits}, {exposures}"
