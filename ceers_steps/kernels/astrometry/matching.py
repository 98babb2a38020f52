"""Which source of one list is which source of another, when one is shifted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.stats import poisson

from ceers_steps.kernels.astrometry.settings import MATCHING
from ceers_steps.kernels.stats import MAD_TO_SIGMA

__all__ = ["Match", "MatchSettings", "combine_lists", "match_lists"]


@dataclass(frozen=True)
class MatchSettings:
    """How matches are looked for; lengths in the unit of the positions.

    Attributes
    ----------
    search_radius : float
        Largest shift between two lists; 0 looks nowhere else.
    tolerance : float
        Largest distance of a match after the shift.
    separation : float
        Sources of one list that are closer together than this are left out.
    minimum : int
        Least number of matches.
    offset : tuple of float
        Expected shift of the list onto its reference, about which the search is made.
    """

    search_radius: float
    tolerance: float
    separation: float = 0.0
    minimum: int = 5
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Match:
    """Pairs of sources.

    Attributes
    ----------
    reference, positions : ndarray of int
        Numbers of the sources in the two lists, shape ``(n,)``; each is there once.
    shift : ndarray of float
        What brings the positions onto the reference, shape ``(2,)``.
    chance : float
        Number of matches that unrelated lists of this density would give at any one shift.
    significant : bool
        There are enough matches, and more than by chance.
    """

    reference: NDArray[np.intp]
    positions: NDArray[np.intp]
    shift: NDArray[np.float64]
    chance: float
    significant: bool

    def __len__(self) -> int:
        return len(self.reference)


def match_lists(reference: ArrayLike, positions: ArrayLike, settings: MatchSettings) -> Match:
    """Find the shift between two lists, and which sources are the same.

    All pairs within the search radius vote for their difference; the densest place wins, at the
    scale at which it stands out most. Sources that are each other's nearest after the shift are
    matches; the tolerance shrinks to what their scatter asks for.

    Parameters
    ----------
    reference, positions
        Shapes ``(n, 2)`` and ``(m, 2)``.
    settings
        How matches are looked for.

    Returns
    -------
    Match
        Empty and not significant when there is no common source.
    """
    reference, positions = (np.asarray(a, float).reshape(-1, 2) for a in (reference, positions))
    offset = np.asarray(settings.offset, float)
    rows = _alone(reference, settings.separation)
    columns = _alone(positions, settings.separation)
    nothing = np.zeros(0, np.intp)
    if len(rows) == 0 or len(columns) == 0:
        return Match(nothing, nothing, offset, 0.0, False)
    tree, moved = cKDTree(reference[rows]), positions[columns] + offset
    shift, votes = _densest_shift(tree, moved, settings)
    tolerance = settings.tolerance
    for _ in range(3):
        i, j = _mutual_nearest(tree, moved + shift, tolerance)
        if len(i) < 3:
            break
        difference = reference[rows[i]] - moved[j]
        shift = np.median(difference, axis=0)
        scatter = MAD_TO_SIGMA * np.median(np.abs(difference - shift))
        # wide enough for a rotation, which scatters the differences evenly
        tolerance = min(settings.tolerance, max(6 * scatter, 0.02 * settings.tolerance))
    # what unrelated lists give; a tolerance that shrank onto few sources says nothing about them
    radius = max(tolerance, 0.25 * settings.tolerance)
    trials = max(1.0, (settings.search_radius / radius) ** 2)
    chance = max(votes - len(i), 0.0) * (radius / _reach(settings)) ** 2
    probability = poisson.sf(len(i) - 1, chance) * trials
    significant = len(i) >= max(settings.minimum, 1) and probability < MATCHING.false_alarm
    return Match(rows[i], columns[j], offset + shift, float(chance), bool(significant))


def combine_lists(
    positions: Sequence[ArrayLike], sigmas: Sequence[ArrayLike], tolerance: float
) -> NDArray[np.float64]:
    """Put lists of one frame together, each source once.

    Parameters
    ----------
    positions
        One array of shape ``(n_i, 2)`` for each list.
    sigmas
        Uncertainties of their coordinates, shape ``(n_i,)``.
    tolerance
        Positions that are each other's nearest within this distance are one source.

    Returns
    -------
    ndarray, shape (n, 2)
        Mean positions, weighted by the uncertainties.
    """
    mean, weight = np.zeros((0, 2)), np.zeros(0)
    for places, errors in zip(positions, sigmas, strict=True):
        new, own = np.asarray(places, float).reshape(-1, 2), 1 / np.asarray(errors, float) ** 2
        if len(mean) == 0 or len(new) == 0:
            i = j = np.zeros(0, np.intp)
        else:
            i, j = _mutual_nearest(cKDTree(mean), new, tolerance)
        total = weight[i] + own[j]
        mean[i] += (own[j] / total)[:, None] * (new[j] - mean[i])
        weight[i] = total
        mean = np.concatenate([mean, np.delete(new, j, axis=0)])
        weight = np.concatenate([weight, np.delete(own, j)])
    return mean


def _alone(positions: NDArray[np.float64], separation: float) -> NDArray[np.intp]:
    """Return the numbers of the sources without a neighbour."""
    finite = np.flatnonzero(np.isfinite(positions).all(axis=1))
    if separation <= 0 or len(finite) < 2:
        return finite
    nearest = cKDTree(positions[finite]).query(positions[finite], k=2)[0][:, 1]
    return finite[nearest >= separation]


def _reach(settings: MatchSettings) -> float:
    """Return the largest difference that is looked at: beyond it all pairs are by chance."""
    return max(settings.search_radius + settings.tolerance, 5 * settings.tolerance)


def _densest_shift(
    tree: cKDTree, moved: NDArray[np.float64], settings: MatchSettings
) -> tuple[NDArray[np.float64], float]:
    """Return the difference that most pairs have, and the number of pairs within reach."""
    reach = _reach(settings)
    total = tree.count_neighbors(cKDTree(moved), reach)
    if total == 0:
        return np.zeros(2), 0.0
    # in a crowded field a part of the list finds the shift as well
    step = -(-total // MATCHING.most_pairs)
    near = tree.query_ball_point(moved[::step], reach)
    count = np.array([len(found) for found in near])
    pairs = np.repeat(np.arange(len(count)), count)
    difference = tree.data[np.concatenate(near).astype(int)] - moved[::step][pairs]
    if settings.search_radius == 0 or len(difference) == 0:
        return np.zeros(2), float(total)
    cloud = cKDTree(difference)
    possible = difference[np.hypot(*difference.T) <= settings.search_radius + settings.tolerance]
    best = (-np.inf, np.zeros(2))
    for part in (1.0, 0.3, 0.1) if len(possible) else ():
        radius = part * settings.tolerance
        neighbours = cloud.query_ball_point(possible, radius, return_length=True)
        expected = len(difference) * (radius / reach) ** 2
        peak = int(np.argmax(neighbours))
        score = (neighbours[peak] - expected) / np.sqrt(expected + 1)
        if score > best[0]:
            members = cloud.query_ball_point(possible[peak], radius)
            best = (score, difference[members].mean(axis=0))
    return best[1], float(total)


def _mutual_nearest(
    tree: cKDTree, moved: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs that are each other's nearest."""
    distance, to = tree.query(moved, distance_upper_bound=tolerance)
    back = cKDTree(moved).query(tree.data)[1]
    j = np.flatnonzero(np.isfinite(distance))
    i = to[j]
    mutual = back[i] == j
    return i[mutual], j[mutual]
