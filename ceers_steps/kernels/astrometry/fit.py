"""Linear corrections that bring source lists onto each other, and onto a reference.

A correction takes a position ``p`` of a tangent plane to ``matrix @ p + shift``. Each position
counts by its uncertainty, to which a common one is added: what the scatter of the residuals shows
beyond the noise of the pixels (undersampling, the errors of a reference catalogue).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ceers_steps.kernels.astrometry.settings import CORRECTIONS
from ceers_steps.kernels.stats import MAD_TO_SIGMA

__all__ = ["GEOMETRIES", "FitSettings", "Hold", "JointFit", "ListFit", "fit_jointly", "fit_list"]

GEOMETRIES = {"shift": 2, "rshift": 3, "rscale": 4, "general": 6}
"""Number of parameters: shifts, with a rotation, with a scale, any linear map."""


@dataclass(frozen=True)
class FitSettings:
    """How corrections are fitted.

    Attributes
    ----------
    geometry : {'shift', 'rshift', 'rscale', 'general'}
        What is free.
    nclip : int
        Number of times that outliers are looked for.
    clip : float
        An outlier has a residual, in units of its uncertainty, above so many times the rms.
    expected_rotation : bool
        Rotation and scale are held near what a telescope does, unless the sources measure them
        better: few sources would give a rotation that is worse than none.
    dither_error : float
        Standard deviation of each coordinate of the shifts of one visit about their mean before
        anything is measured, arcsec: what the guide star leaves. 0 leaves them free.
    """

    geometry: str = "shift"
    nclip: int = 3
    clip: float = 3.0
    expected_rotation: bool = False
    dither_error: float = 0.0

    def __post_init__(self) -> None:
        if self.geometry not in GEOMETRIES:
            raise ValueError(f"geometry={self.geometry!r}: use one of {', '.join(GEOMETRIES)}")

    @property
    def prior(self) -> NDArray[np.float64]:
        """Standard deviation of each parameter."""
        return CORRECTIONS.prior(pointing=self.expected_rotation)[: GEOMETRIES[self.geometry]]


@dataclass(frozen=True)
class Hold:
    """Lists whose shifts are nearly the same.

    Attributes
    ----------
    members : tuple of int
        Which lists, two or more.
    sigma : float
        Standard deviation of each coordinate of a shift about their unknown mean, arcsec.
    """

    members: tuple[int, ...]
    sigma: float


@dataclass(frozen=True)
class ListFit:
    """Correction of one list.

    Attributes
    ----------
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        ``matrix @ p + shift``, about the origin of the plane.
    matched : ndarray of int, shape (n,)
        Which positions of the list have a match.
    residuals : ndarray, shape (n, 2)
        Reference less corrected position, of all matches.
    used : ndarray of bool, shape (n,)
        False = clipped.
    shift_error : float
        Uncertainty of either coordinate of the middle of the list.
    held : bool
        Its shift was held near those of the other lists of its visit (`FitSettings.dither_error`).
    middle_shift : ndarray, shape (2,)
        Shift of the middle of the list.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    matched: NDArray[np.intp]
    residuals: NDArray[np.float64]
    used: NDArray[np.bool_]
    shift_error: float
    held: bool = False
    middle_shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))

    @property
    def n_used(self) -> int:
        """Number of matches in the fit."""
        return int(self.used.sum())

    @property
    def rmse(self) -> float:
        """Root mean squared length of the residuals of the fit."""
        return float(np.sqrt(np.mean(self._lengths() ** 2))) if self.n_used else np.nan

    @property
    def mae(self) -> float:
        """Mean length of the residuals of the fit."""
        return float(np.mean(self._lengths())) if self.n_used else np.nan

    def _lengths(self) -> NDArray[np.float64]:
        return np.hypot(*self.residuals[self.used].T)

    @property
    def rotation(self) -> float:
        """Angle of the matrix, degrees."""
        m = self.matrix
        return float(np.rad2deg(np.arctan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1])))

    @property
    def scale(self) -> float:
        """Root of the determinant."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def apply(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Return corrected positions, shape ``(n, 2)``."""
        return np.asarray(positions, float) @ self.matrix.T + self.shift


@dataclass(frozen=True)
class JointFit:
    """Corrections of several lists onto their common positions.

    Attributes
    ----------
    fits : list of ListFit
        One for each list; its residuals are those of its own sources that others have as well.
    positions : ndarray, shape (n, 2)
        Common position of every source.
    sigma : ndarray, shape (n,)
        Its uncertainty from the noise of the pixels and the scatter.
    """

    fits: list[ListFit]
    positions: NDArray[np.float64]
    sigma: NDArray[np.float64]


def fit_list(
    positions: ArrayLike, reference: ArrayLike, sigma: ArrayLike, settings: FitSettings
) -> ListFit:
    """Fit the correction of one list onto a reference that stays.

    Parameters
    ----------
    positions, reference
        Matched positions, shape ``(n, 2)``, arcsec.
    sigma
        Uncertainty of each coordinate of the differences, shape ``(n,)``; what the reference adds
        to it is found from the residuals.
    settings
        How it is fitted.

    Returns
    -------
    ListFit

    Raises
    ------
    ValueError
        When there are fewer sources than a fit of this geometry needs.
    """
    positions, reference = np.asarray(positions, float), np.asarray(reference, float)
    sigma = np.asarray(sigma, float)
    n = len(positions)
    if 2 * n < GEOMETRIES[settings.geometry]:
        raise ValueError(f"{n} sources are too few for a fit of {settings.geometry}")
    centre = np.average(positions, axis=0, weights=1 / sigma**2)
    design = _design(positions - centre, settings.geometry)
    target = (reference - positions).ravel()
    used = np.ones(n, bool)
    # the reference is the noisier one as a rule: start from equal weights
    extra = MAD_TO_SIGMA * np.median(
        np.abs((reference - positions) - np.median(reference - positions, 0))
    )
    penalty = np.diag(settings.prior**-2)
    for turn in range(settings.nclip + 5):
        weights = 1 / (sigma**2 + extra**2)
        twice = np.repeat(np.where(used, weights, 0), 2)
        normal = design.T @ (twice[:, None] * design) + penalty
        values = np.linalg.solve(normal, design.T @ (twice * target))
        residuals = (target - design @ values).reshape(-1, 2)
        leverage = _leverage(design, np.linalg.inv(normal), weights)
        extra = _extra_scatter(residuals, sigma, extra, 1 - leverage, used)
        if turn >= 3 and turn < settings.nclip + 3:
            used = _unclipped(residuals, sigma, extra, settings.clip, settings.geometry)
    matrix, shift = _about_origin(values, centre, settings.geometry)
    error = float(np.sqrt(np.linalg.inv(normal)[0, 0]))
    return ListFit(matrix, shift, np.arange(n), residuals, used, error)


def fit_jointly(
    positions: Sequence[NDArray[np.float64]],
    sigmas: Sequence[NDArray[np.float64]],
    sources: Sequence[NDArray[np.intp]],
    settings: FitSettings,
    held: Sequence[Hold] = (),
) -> JointFit:
    """Fit the corrections of all lists at once, with the places of the sources unknown.

    The least-squares solution of all corrections together with the true positions, which are
    eliminated. The mean of all corrections is what it was (the lists alone cannot tell).

    Parameters
    ----------
    positions
        One array of shape ``(n_i, 2)`` for each list, arcsec.
    sigmas
        Uncertainties of their coordinates from the noise of the pixels, shape ``(n_i,)``.
    sources
        Number of the source that each position is of, from 0 without gaps, shape ``(n_i,)``.
    settings
        How it is fitted.
    held
        Which lists are held near each other, and how closely.

    Returns
    -------
    JointFit
    """
    lists = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
    place, sigma, source = (np.concatenate(list(a)) for a in (positions, sigmas, sources))
    n, n_lists, n_sources = len(place), len(positions), int(source.max()) + 1
    k = GEOMETRIES[settings.geometry]
    centres = np.array([np.mean(p, axis=0) if len(p) else np.zeros(2) for p in positions])
    blocks = _design(place - centres[lists], settings.geometry)
    row, column = np.repeat(np.arange(2 * n), k), (np.repeat(lists, 2)[:, None] * k + np.arange(k))
    design = sparse.csr_array((blocks.ravel(), (row, column.ravel())), (2 * n, n_lists * k))
    coordinate = 2 * np.repeat(source, 2) + np.tile([0, 1], n)
    belongs = sparse.csr_array((np.ones(2 * n), (np.arange(2 * n), coordinate)))
    penalty = np.diag(np.tile(settings.prior**-2, n_lists)) + _held_together(held, n_lists, k)
    together = {member for hold in held for member in hold.members}
    used = np.ones(n, bool)
    extra = float(np.median(sigma))
    for turn in range(settings.nclip + 5):
        weights = np.where(used, 1 / (sigma**2 + extra**2), 0)
        twice = np.repeat(weights, 2)
        total = np.maximum(belongs.T @ twice, 1e-30)
        weighted = design.multiply(twice[:, None]).tocsr()
        by_source = (belongs.T @ weighted).tocsr()
        normal = (
            design.T @ weighted - by_source.T @ by_source.multiply(1 / total[:, None])
        ).toarray()
        mean = (belongs.T @ (twice * place.ravel())) / total
        right = -(weighted.T @ (place.ravel() - mean[coordinate]))
        covariance = np.linalg.inv(normal + penalty)
        values = covariance @ right
        moved = place.ravel() + design @ values
        common = (belongs.T @ (twice * moved)) / total
        residuals = (common[coordinate] - moved).reshape(-1, 2)
        share = weights / total[2 * source]
        alone = share >= 1 - 1e-9
        # a position is part of the mean that it is compared with, and of the corrections
        common_design = by_source.multiply(1 / total[:, None]).tocsr()
        own = np.empty(n)
        # a part at a time: of hundreds of exposures, all rows at once are gigabytes
        height = CORRECTIONS.rows_at_once
        for start in range(0, n, height):
            rows = slice(2 * start, 2 * (start + height))
            part = (design[rows] - common_design[coordinate[rows]]).toarray()
            here = slice(start, start + height)
            own[here] = _leverage(part, covariance, weights[here])
        free = 1 - share - own
        extra = _extra_scatter(residuals, sigma, extra, free, used & ~alone)
        if turn >= 3 and turn < settings.nclip + 3:
            kept = _unclipped(
                residuals / np.sqrt(np.maximum(free, 0.05))[:, None],
                sigma,
                extra,
                settings.clip,
                settings.geometry,
                among=~alone,
            )
            used = np.where(alone, True, kept)
    # relative to the mean of all lists, which they alone cannot tell
    relative = np.eye(n_lists * k) - np.kron(np.full((n_lists, n_lists), 1 / n_lists), np.eye(k))
    covariance = relative @ covariance @ relative.T
    fits = []
    for i in range(n_lists):
        mine = (lists == i) & (np.bincount(source, minlength=n_sources)[source] > 1)
        matrix, shift = _about_origin(values[i * k : (i + 1) * k], centres[i], settings.geometry)
        error = float(np.sqrt(max(covariance[i * k, i * k], 0.0)))
        fits.append(
            ListFit(
                matrix,
                shift,
                np.flatnonzero(mine[lists == i]),
                residuals[mine],
                (used & ~alone)[mine],
                error,
                i in together,
                values[i * k : i * k + 2],
            )
        )
    return JointFit(fits, common.reshape(-1, 2), 1 / np.sqrt(total[::2]))


def _held_together(held: Sequence[Hold], n_lists: int, k: int) -> NDArray[np.float64]:
    """Return the inverse covariance that holds shifts near their unknown mean."""
    penalty = np.zeros((n_lists * k, n_lists * k))
    for hold in held:
        members, weight = np.array(hold.members), np.full(len(hold.members), hold.sigma**-2)
        precision = np.diag(weight) - np.outer(weight, weight) / weight.sum()
        for axis in range(2):
            penalty[np.ix_(members * k + axis, members * k + axis)] += precision
    return penalty


def _design(positions: NDArray[np.float64], geometry: str) -> NDArray[np.float64]:
    """Return the derivatives of corrected positions by the parameters, shape ``(2 n, k)``."""
    x, y = positions.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    for_x = [one, zero, -y, x, x, y]  # shifts, rotation, scale, stretch, skew
    for_y = [zero, one, x, y, -y, x]
    k = GEOMETRIES[geometry]
    return np.stack([np.stack(for_x[:k], 1), np.stack(for_y[:k], 1)], 1).reshape(-1, k)


def _about_origin(
    values: NDArray[np.float64], centre: NDArray[np.float64], geometry: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix and shift from parameters that hold about a centre."""
    v = np.zeros(6)
    v[: GEOMETRIES[geometry]] = values
    cos, sin = np.cos(v[2]), np.sin(v[2])
    matrix = (1 + v[3]) * np.array([[cos, -sin], [sin, cos]])
    matrix += np.array([[v[4], v[5]], [v[5], -v[4]]])
    return matrix, v[:2] + centre - matrix @ centre


def _leverage(design: NDArray, covariance: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Return the part of each residual that the parameters take, mean of both coordinates."""
    taken = np.einsum("ij,ij->i", design @ covariance, design)
    return weights * taken.reshape(-1, 2).mean(axis=1)


def _extra_scatter(
    residuals: NDArray, sigma: NDArray, extra: float, free: NDArray, used: NDArray[np.bool_]
) -> float:
    """Return the scatter of residuals beyond their uncertainties, by one step of a likelihood.

    ``free`` is the part of each variance that the fit leaves in the residual.
    """
    used = used & (free > 0.1)
    if used.sum() < 2:
        return extra
    r2 = np.mean(residuals[used] ** 2, axis=1) / free[used]
    s2 = sigma[used] ** 2
    variance = s2 + extra**2
    # residuals beyond three sigma tell of mistakes, not of the scatter
    r2 = np.minimum(r2, 9 * np.maximum(variance, np.median(r2)))
    weight = 1 / variance**2
    return float(np.sqrt(max(np.sum(weight * (r2 - s2)) / weight.sum(), 1e-6 * s2.min())))


def _unclipped(
    residuals: NDArray,
    sigma: NDArray,
    extra: float,
    clip: float,
    geometry: str,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return which positions are no outliers; too few to fit means that none is."""
    length = np.hypot(*residuals.T) / np.sqrt(sigma**2 + extra**2)
    among = np.ones(len(length), bool) if among is None else among
    if not among.any():
        return among
    # from the median, as the rms of two coordinates: outliers must not hide themselves
    rms = 1.2011 * np.median(length[among])
    kept = among & (length < clip * rms)
    return kept if 2 * kept.sum() > GEOMETRIES[geometry] else among
