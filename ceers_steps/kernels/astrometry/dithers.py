"""Align the exposures of a detector among themselves, then all together to a reference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ceers_steps.kernels.astrometry.fit import (
    FitSettings,
    JointFit,
    ListFit,
    fit_jointly,
    fit_list,
)
from ceers_steps.kernels.astrometry.matching import MatchSettings, match_lists

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
    """

    fit: ListFit
    positions: NDArray[np.float64]
    reference: NDArray[np.intp]


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
) -> list[AlignedPart]:
    """Align lists of sources with each other.

    Lists are tied together in their order wherever they have sources in common. Then all
    corrections are fitted at once, sources are matched again and the fit is repeated.

    Parameters
    ----------
    positions
        Positions in one tangent plane, arcsec, one array of shape ``(n_i, 2)`` for each list.
    sigmas
        Uncertainties of their coordinates from the noise of the pixels, shape ``(n_i,)``.
    match, fit
        How sources are matched and corrections fitted; lengths in arcsec.

    Returns
    -------
    list of AlignedPart
        The largest first; every list is in one of them, alone if nothing ties it to others.
    """
    places = [np.asarray(p, float).reshape(-1, 2) for p in positions]
    errors = [np.asarray(s, float) for s in sigmas]
    aligned = []
    for part in _link(list(range(len(places))), places, errors, match):
        joint = _fit(part, places, errors, fit)
        if len(part.members) > 1:
            moved = {
                member: one.apply(places[member])
                for member, one in zip(part.members, joint.fits, strict=True)
            }
            near = replace(match, search_radius=0.0, offset=(0.0, 0.0))
            again = _link(part.members, moved, errors, near)
            # what held together before and does not any more was tied by chance
            aligned += [AlignedPart(p.members, _fit(p, places, errors, fit)) for p in again]
        else:
            aligned.append(AlignedPart(part.members, joint))
    return sorted(aligned, key=lambda part: (-len(part.members), part.members[0]))


def _link(members, places, errors, match) -> list[_Part]:
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


def _merge(one: _Part, other: _Part, match: MatchSettings) -> _Part | None:
    """Return both as one part, in the frame of the first, or None without common sources."""
    pairs = match_lists(one.positions, other.positions, match)
    if not pairs.significant:
        return None
    number = np.full(len(other.positions), -1)
    number[pairs.positions] = pairs.reference
    new = number < 0
    number[new] = len(one.positions) + np.arange(new.sum())
    moved = other.positions + pairs.shift
    weights = np.concatenate([one.weights, other.weights[new]])
    positions = np.concatenate([one.positions, moved[new]])
    both, theirs = pairs.reference, pairs.positions
    total = one.weights[both] + other.weights[theirs]
    share = (other.weights[theirs] / total)[:, None]
    positions[both] = (1 - share) * one.positions[both] + share * moved[theirs]
    weights[both] = total
    sources = one.sources | {member: number[own] for member, own in other.sources.items()}
    return _Part(sorted([*one.members, *other.members]), sources, positions, weights)


def _fit(part: _Part, places, errors, settings: FitSettings) -> JointFit:
    """Fit the corrections of the lists of a part."""
    return fit_jointly(
        [places[member] for member in part.members],
        [errors[member] for member in part.members],
        [part.sources[member] for member in part.members],
        settings,
    )


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
    moved = positions
    for settings in (match, replace(match, search_radius=0.0, offset=(0.0, 0.0))):
        pairs = match_lists(reference, moved, settings)
        if not pairs.significant:
            raise ValueError(
                f"{len(pairs)} of {len(positions)} sources match one of {len(reference)} of the "
                f"reference ({pairs.chance:.1f} by chance, at least {match.minimum} are needed)"
            )
        result = fit_list(
            positions[pairs.positions], reference[pairs.reference], sigma[pairs.positions], fit
        )
        moved = result.apply(positions)
    return ReferenceFit(result, moved[pairs.positions], pairs.reference)
