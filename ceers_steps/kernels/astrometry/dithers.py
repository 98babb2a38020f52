"""Align the exposures of a detector among themselves, then all together to a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ceers_steps.kernels.astrometry.fit import (
    GEOMETRIES,
    FitSettings,
    Hold,
    JointFit,
    ListFit,
    fit_jointly,
    fit_list,
)
from ceers_steps.kernels.astrometry.matching import MatchSettings, match_lists
from ceers_steps.kernels.astrometry.settings import DITHERS

__all__ = ["AlignedPart", "ReferenceFit", "align_dithers", "align_to_reference"]


@dataclass(frozen=True)
class AlignedPart:
    """Lists that sources tie together.

    Attributes
    ----------
    members : list of int
        Which of the lists.
    joint : JointFit
        Their corrections, in the order of the members, and the sources of all.
    """

    members: list[int]
    joint: JointFit


@dataclass(frozen=True)
class ReferenceFit:
    """Fit of the sources of a part to a reference.

    Attributes
    ----------
    fit : ListFit
        Correction, common to all members, and its residuals.
    positions : ndarray, shape (n, 2)
        Corrected positions of the matched sources.
    reference : ndarray of int, shape (n,)
        Which sources of the reference they are.
    geometry : str
        What was fitted: a shift where sources are too few for more.
    at_bound : bool
        The shift was found beyond the search radius, within the tolerance: a better one may lie
        farther out.
    """

    fit: ListFit
    positions: NDArray[np.float64]
    reference: NDArray[np.intp]
    geometry: str
    at_bound: bool = False


@dataclass
class _Part:
    """Lists in one frame: the number of each source, and where each source is."""

    members: list[int]
    sources: dict[int, NDArray[np.intp]]
    positions: NDArray[np.float64]
    weights: NDArray[np.float64]


def align_dithers(
    positions: Sequence[ArrayLike],
    sigmas: Sequence[ArrayLike],
    match: MatchSettings,
    fit: FitSettings,
    *,
    visits: Sequence[str] | None = None,
) -> list[AlignedPart]:
    """Align lists of sources with each other.

    Lists are tied together in their order wherever they have sources in common. Then all
    corrections are fitted at once, sources are matched again and the fit is repeated. Lists of
    one visit have the same guide star: with `FitSettings.dither_error` they move against each
    other only as far as their matches know better, and need no match to belong together. So an
    empty list goes with the others of its visit.

    Parameters
    ----------
    positions
        Positions in one tangent plane, arcsec, one array of shape ``(n_i, 2)`` for each list.
    sigmas
        Uncertainties of their coordinates from the noise of the pixels, shape ``(n_i,)``.
    match, fit
        How sources are matched and corrections fitted; lengths in arcsec.
    visits
        Visit of each list; None means that each has a guide star of its own.

    Returns
    -------
    list of AlignedPart
        The largest first; every list is in one of them, alone if nothing ties it to others.
    """
    places = [np.asarray(p, float).reshape(-1, 2) for p in positions]
    errors = [np.asarray(s, float) for s in sigmas]
    guided = fit.dither_error > 0 and visits is not None
    names = dict(enumerate(visits)) if guided and visits is not None else {}
    near = replace(match, search_radius=0.0, offset=(0.0, 0.0))
    aligned = []
    for part in _link(list(range(len(places))), places, errors, match):
        joint = _fit(part, places, errors, fit, names)
        if len(part.members) == 1:
            aligned.append(part)
            continue
        moved = {
            member: one.apply(places[member])
            for member, one in zip(part.members, joint.fits, strict=True)
        }
        # what held together before and does not any more was tied by chance
        aligned += _link(part.members, moved, errors, near)
    if guided:
        aligned = _tie(aligned, names, near, fit.dither_error)
    parts = [AlignedPart(p.members, _fit(p, places, errors, fit, names)) for p in aligned]
    return sorted(parts, key=lambda part: (-len(part.members), part.members[0]))


def _link(
    members: Sequence[int],
    places: Sequence[NDArray[np.float64]] | Mapping[int, NDArray[np.float64]],
    errors: Sequence[NDArray[np.float64]],
    match: MatchSettings,
) -> list[_Part]:
    """Return the parts that lists fall into, each with its sources numbered."""
    parts: list[_Part] = []
    for member in members:
        count = np.arange(len(places[member]))
        part = _Part([member], {member: count}, places[member], 1 / errors[member] ** 2)
        rest = []
        # the largest first: its positions are the best
        for other in sorted(parts, key=lambda p: -len(p.positions)):
            merged = _merge(other, part, match)
            if merged is None:
                rest.append(other)
            else:
                part = merged
        parts = [*rest, part]
    return parts


def _tie(
    parts: Sequence[_Part], visits: Mapping[int, str], near: MatchSettings, sigma: float
) -> list[_Part]:
    """Return parts with those of one visit put together, where nothing speaks against it."""
    tied: list[_Part] = []
    # empty ones last: only to others is there something to tie them
    in_order = sorted(parts, key=lambda p: (not len(p.positions), -len(p.members), p.members[0]))
    for part in in_order:
        for number, other in enumerate(tied):
            if len({visits[member] for member in (*part.members, *other.members)}) == 1:
                both = _put_together(other, part, near, sigma)
                if both is not None:
                    tied[number] = both
                    break
        else:
            tied.append(part)
    return tied


def _put_together(one: _Part, other: _Part, near: MatchSettings, sigma: float) -> _Part | None:
    """Return two parts of one visit as one, or None if they cannot be of one place."""
    if len(one.positions) == 0:
        return None
    typical = np.median(np.concatenate([one.weights, other.weights])) ** -0.5
    # two sources that agree on a shift tell of dithers that are worse than expected
    for beyond, error, minimum in ((near.tolerance, 0.0, 2), (0.0, sigma, near.minimum)):
        pairs = match_lists(
            one.positions,
            other.positions,
            replace(
                near,
                search_radius=beyond,
                tolerance=min(
                    near.tolerance, DITHERS.reach * np.sqrt(2) * np.hypot(error, typical)
                ),
                minimum=minimum,
            ),
        )
        if pairs.significant:
            break
    if len(pairs) == 0 and _in_overlap(one.positions, other.positions) >= DITHERS.expected_common:
        return None
    return _joined(one, other, pairs.reference, pairs.positions, pairs.shift)


def _in_overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    """Return how many sources both lists could have in common."""
    if len(one) == 0 or len(other) == 0:
        return 0

    def inside(positions: NDArray[np.float64], box: NDArray[np.float64]) -> int:
        low, high = box.min(axis=0), box.max(axis=0)
        return int(((positions >= low) & (positions <= high)).all(axis=1).sum())

    return min(inside(one, other), inside(other, one))


def _merge(one: _Part, other: _Part, match: MatchSettings) -> _Part | None:
    """Return both as one part, in the frame of the first, or None without common sources."""
    pairs = match_lists(one.positions, other.positions, match)
    if not pairs.significant:
        return None
    return _joined(one, other, pairs.reference, pairs.positions, pairs.shift)


def _joined(
    one: _Part,
    other: _Part,
    both: NDArray[np.intp],
    theirs: NDArray[np.intp],
    shift: NDArray[np.float64],
) -> _Part:
    """Return both as one part, in the frame of the first, with the given sources in common."""
    number = np.full(len(other.positions), -1)
    number[theirs] = both
    new = number < 0
    number[new] = len(one.positions) + np.arange(new.sum())
    moved = other.positions + shift
    weights = np.concatenate([one.weights, other.weights[new]])
    positions = np.concatenate([one.positions, moved[new]])
    total = one.weights[both] + other.weights[theirs]
    share = (other.weights[theirs] / total)[:, None]
    positions[both] = (1 - share) * one.positions[both] + share * moved[theirs]
    weights[both] = total
    sources = one.sources | {member: number[own] for member, own in other.sources.items()}
    return _Part(sorted([*one.members, *other.members]), sources, positions, weights)


def _fit(
    part: _Part,
    places: Sequence[NDArray[np.float64]],
    errors: Sequence[NDArray[np.float64]],
    settings: FitSettings,
    visits: Mapping[int, str],
) -> JointFit:
    """Fit the corrections of the lists of a part; those of a visit are held together."""
    lists = (
        [places[member] for member in part.members],
        [errors[member] for member in part.members],
        [part.sources[member] for member in part.members],
    )
    if len(part.positions) == 0:
        nothing = np.zeros(0, np.intp)
        none = ListFit(np.eye(2), np.zeros(2), nothing, np.zeros((0, 2)), nothing > 0, np.inf)
        return JointFit([none] * len(part.members), np.zeros((0, 2)), np.zeros(0))
    free = fit_jointly(*lists, settings)
    held = _holds([visits.get(m) for m in part.members], free, settings.dither_error)
    return fit_jointly(*lists, settings, held) if held else free


def _holds(visits: Sequence[str | None], free: JointFit, sigma: float) -> list[Hold]:
    """Return which lists are held together, from their shifts when they are free.

    Dithers that are worse than expected widen the hold; a list that is far off is not held.
    """
    held = []
    for visit in dict.fromkeys(v for v in visits if v is not None):
        members = np.array([i for i, each in enumerate(visits) if each == visit])
        if len(members) < 2:
            continue
        errors = np.array([free.fits[i].shift_error for i in members])
        shifts = np.array([free.fits[i].middle_shift for i in members])
        known = errors < sigma
        if known.sum() > 1:
            off = shifts - np.median(shifts[known], axis=0)
            # half the squared length of a vector of two normal numbers has the median ln 2
            square = 0.5 * (off[known] ** 2).sum(axis=1) / np.log(2) - errors[known] ** 2
            sigma_here = float(np.sqrt(max(sigma**2, np.median(square))))
            far = known & (np.hypot(*off.T) > DITHERS.away * np.hypot(sigma_here, errors))
            members = members[~far]
        else:
            sigma_here = sigma
        if len(members) > 1:
            held.append(Hold(tuple(members.tolist()), sigma_here))
    return held


def align_to_reference(
    positions: ArrayLike,
    sigma: ArrayLike,
    reference: ArrayLike,
    match: MatchSettings,
    fit: FitSettings,
) -> ReferenceFit:
    """Fit one correction of all sources of a part to a reference.

    Parameters
    ----------
    positions
        Positions in a tangent plane, arcsec, shape ``(n, 2)``.
    sigma
        Uncertainties of their coordinates, shape ``(n,)``.
    reference
        Positions of the reference in the same plane, shape ``(m, 2)``.
    match, fit
        How sources are matched and the correction fitted; lengths in arcsec.

    Returns
    -------
    ReferenceFit

    Raises
    ------
    ValueError
        When too few sources match, or no more than by chance; the message says how many.
    """
    positions, sigma = np.asarray(positions, float).reshape(-1, 2), np.asarray(sigma, float)
    reference = np.asarray(reference, float).reshape(-1, 2)
    moved, at_bound = positions, False
    near = replace(match, search_radius=0.0, offset=(0.0, 0.0))
    for settings in (match, near):
        pairs = match_lists(reference, moved, settings)
        if not pairs.significant:
            raise ValueError(
                f"{len(pairs)} of {len(positions)} sources match one of {len(reference)} of the "
                f"reference ({pairs.chance:.1f} by chance, at least {match.minimum} are needed)"
            )
        if settings is match and match.search_radius > 0:
            at_bound = bool(np.hypot(*(pairs.shift - match.offset)) > match.search_radius)
        used = _fit_that_suits(len(pairs), fit)
        lists = positions[pairs.positions], reference[pairs.reference], sigma[pairs.positions]
        result = fit_list(*lists, used)
        if used.expected_rotation and used.geometry != "shift":
            free = fit_list(*lists, replace(used, expected_rotation=False))
            if _is_rotated(free, lists[0]):
                result = free
        moved = result.apply(positions)
    places = moved[pairs.positions]
    return ReferenceFit(result, places, pairs.reference, used.geometry, at_bound)


def _fit_that_suits(n: int, fit: FitSettings) -> FitSettings:
    """Return the fit asked for, or that of a shift where there are too few sources for it."""
    if n < DITHERS.least_matches and GEOMETRIES[fit.geometry] > GEOMETRIES["shift"]:
        return replace(fit, geometry="shift")
    return fit


def _is_rotated(free: ListFit, positions: NDArray[np.float64]) -> bool:
    """Say whether a free fit shows a rotation that no pointing error explains."""
    places = positions[free.used]
    if len(places) < DITHERS.least_matches:
        return False
    lever = np.sqrt(((places - places.mean(axis=0)) ** 2).sum())
    sigma = np.hypot(free.rmse / np.sqrt(2) / lever, DITHERS.expected_rotation)
    return abs(np.deg2rad(free.rotation)) > DITHERS.rotated * sigma
