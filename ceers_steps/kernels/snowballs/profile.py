"""The profile of a halo: an ellipse and a parabola between the logarithms of radius and level."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.snowballs.adaptive import Snowball
from ceers_steps.kernels.snowballs.settings import FAINT

__all__ = ["Blocks", "Profile"]

Float = NDArray[np.float32]

_ROBUST: dict[str, Any] = {"loss": "soft_l1", "f_scale": FAINT.soft, "max_nfev": FAINT.most_tries}
"""How all fits are made."""


@dataclass(frozen=True)
class Profile:
    """An elliptical halo, ``exp(level - slope t - bend t^2)``, t the logarithm of its radius.

    Attributes
    ----------
    ellipse : NDArray
        Centre, y and x in pixels of the box that it was fitted in, and the two components of the
        logarithm of the axis ratio, along x and along the diagonal.
    radius : float
        Pixels; radius where t is 0.
    terms : NDArray
        Level, slope, bend.
    covariance : NDArray
        Shape ``(3, 3)``, of the terms.
    sky : float
        Level under it, sigma of a difference.
    """

    ellipse: NDArray[np.float64]
    radius: float
    terms: NDArray[np.float64]
    covariance: NDArray[np.float64]
    sky: float

    def significant(self, y: NDArray, x: NDArray) -> Float:
        """Return the halo, sigma of a difference, where it is well above its own error.

        Parameters
        ----------
        y, x
            Pixels of the box.

        Returns
        -------
        ndarray of float32
            0 where it is not.
        """
        t = _log_radius(y, x, self.ellipse, self.radius)
        grid = np.arange(*FAINT.range, 0.01)
        powers = np.stack([np.ones_like(grid), -grid, -(grid**2)])
        level = np.exp(np.clip(self.terms @ powers, -30, 30))
        # of its logarithm
        error = np.sqrt(np.maximum(np.einsum("ik,ij,jk->k", powers, self.covariance, powers), 0))
        kept = (error < 1 / FAINT.pixel_significance) & (grid > FAINT.range[0])
        # no hole, and nothing beyond the first radius at which it is lost or rises again
        lost = (~kept | (np.gradient(level) > 0)) & (grid > 0)
        if lost.any():
            level[np.argmax(lost) :] = 0
        return np.interp(t, grid, level * (grid <= FAINT.range[1]), right=0.0).astype(np.float32)


@dataclass(frozen=True)
class Blocks:
    """Means of the excess in blocks of pixels around an event, in sigma of a difference.

    Attributes
    ----------
    y, x : NDArray
        Shape ``(n,)``: centres of the blocks that can be used, pixels of the box.
    mean, error : NDArray
        Same shape: mean excess and its error.
    coverage : float
        Part of all blocks within reach that can be used.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    coverage: float

    @classmethod
    def of(
        cls,
        excess: Float,
        error: NDArray,
        good: NDArray[np.bool_],
        centre: tuple[float, float],
        event: Snowball,
    ) -> "Blocks":
        """Average the excess; blocks grow with the event.

        Parameters
        ----------
        excess
            Shape ``(ny, nx)``, in units of its error.
        error
            Same shape, sigma of a difference.
        good
            Same shape; True = counts (not a mask).
        centre
            Of the event in the box, y and x.
        event
            What was flagged.

        Returns
        -------
        Blocks
        """
        size = int(np.clip(event.halo_radius * FAINT.block_slope, 1, FAINT.largest_block))
        ny, nx = (side // size * size for side in good.shape)
        cut = np.s_[:ny, :nx]
        weight = np.where(good, 1 / error**2, 0)[cut]
        clipped = np.clip(excess, -FAINT.bright, FAINT.bright)[cut] * error[cut]
        total, seen = block_sum(weight * clipped, size), block_sum(weight, size)
        enough = block_sum(good[cut], size) >= max(size * size / 2, 1)
        middle = (size - 1) / 2
        y, x = (size * np.arange(side // size)[:, None] + middle for side in (ny, nx))
        t = _log_radius(y, x.T, (*centre, *_stretch(event)), event.halo_radius)
        ring = (t > FAINT.range[0]) & (t < FAINT.range[1])
        coverage = int(np.count_nonzero(enough & ring)) / max(int(np.count_nonzero(ring)), 1)
        mean = total / np.maximum(seen, 1e-6)
        used = enough & ring & (mean < FAINT.bright / 2)
        rows, columns = (size * side.astype(float) + middle for side in np.nonzero(used))
        return cls(rows, columns, mean[used], 1 / np.sqrt(seen[used]), coverage)

    def around(self, centre: tuple[float, float], radius: float) -> float:
        """Return the mean excess around the flagged region, bright blocks left out.

        Parameters
        ----------
        centre
            y and x, pixels of the box.
        radius
            Of the flagged region, pixels.

        Returns
        -------
        float
            Sigma of a difference; 0 without a block.
        """
        t = _log_radius(self.y, self.x, (*centre, 0.0, 0.0), radius)
        near = (t > FAINT.range[0]) & (t < np.log(2))
        return float(self.mean[near].mean()) if near.any() else 0.0

    def fit_shape(self, centre: tuple[float, float], event: Snowball) -> NDArray[np.float64] | None:
        """Fit centre and ellipse together with the profile.

        Parameters
        ----------
        centre
            y and x of the core, pixels of the box.
        event
            What was flagged.

        Returns
        -------
        ndarray or None
            Centre, two components of the stretch, three terms of the profile, sky; None if too
            little is around.
        """
        start = np.array([*centre, *_stretch(event)])
        t = _log_radius(self.y, self.x, start, event.halo_radius)
        around = t > 0
        if np.count_nonzero(around) < FAINT.fewest_blocks or self.coverage < FAINT.coverage:
            return None
        first = np.array([np.log(0.5), *FAINT.expected[1:3], 0.0])
        scatter = np.array([*2 * [FAINT.centre * event.core_radius], *2 * [FAINT.stretch]])

        def residuals(values: NDArray) -> NDArray:
            of_shape = (values[:4] - start) / scatter
            return np.concatenate([self._residuals(values, event.halo_radius), of_shape])

        found = least_squares(residuals, np.concatenate([start, first]), **_ROBUST)
        return found.x

    def fit_profile(self, shape: NDArray[np.float64], radius: float) -> Profile | None:
        """Fit level, slope and bend of the profile with its shape held.

        Parameters
        ----------
        shape
            Of `fit_shape`.
        radius
            Of the flagged region, pixels.

        Returns
        -------
        Profile or None
            None without a halo.
        """
        ellipse, start = shape[:4], shape[4:]
        t = _log_radius(self.y, self.x, ellipse, radius)
        powers = np.stack([np.ones_like(t), -t, -t * t], axis=1)
        priors = np.diag(1 / np.array(FAINT.spread))
        error = np.hypot(self.error, FAINT.unlike * np.maximum(self.mean, 0))
        for _ in range(2):

            def residuals(values: NDArray, error: NDArray = error) -> NDArray:
                model = np.exp(np.clip(powers @ values[:3], -30, 5))
                parts = (self.mean - model - values[3]) / error
                return np.concatenate([parts, priors @ (values - FAINT.expected)])

            def jacobian(values: NDArray, error: NDArray = error) -> NDArray:
                model = np.exp(np.clip(powers @ values[:3], -30, 5))
                slopes = np.column_stack([model[:, None] * powers, np.ones_like(t)])
                return np.concatenate([-slopes / error[:, None], priors])

            found = least_squares(residuals, start, jac=jacobian, **_ROBUST)
            start, last_error = found.x, error
            # of the model, which the noise of a block does not enter
            model = np.exp(np.clip(powers @ start[:3], -30, 5))
            error = np.hypot(self.error, FAINT.unlike * model)
        # is it there at all? without it the residuals are larger
        rest = found.fun[: t.size]
        if _loss(rest + model / last_error) - _loss(rest) < FAINT.significance**2:
            return None
        covariance = np.linalg.pinv(found.jac.T @ found.jac)[:3, :3]
        return Profile(ellipse, radius, start[:3], covariance, float(start[3]))

    def _residuals(self, values: NDArray, radius: float) -> NDArray:
        """Return the residuals of the blocks and of what is expected of shape and profile."""
        t = _log_radius(self.y, self.x, values[:4], radius)
        level, slope, bend, sky = values[4:]
        model = np.exp(np.clip(level - slope * t - bend * t * t, -30, 5))
        # not of the model: a bright one must not excuse itself
        error = np.hypot(self.error, FAINT.unlike * np.maximum(self.mean, 0))
        expected = (values[4:] - FAINT.expected) / FAINT.spread
        return np.concatenate([(self.mean - model - sky) / error, expected])


def _stretch(event: Snowball) -> tuple[float, float]:
    """Return the components of the logarithm of the axis ratio of what is flagged."""
    size, angle = -np.log(max(1 - event.ellipticity, 0.3)), 2 * np.radians(event.angle)
    return float(size * np.cos(angle)), float(size * np.sin(angle))


def _log_radius(
    y: NDArray, x: NDArray, ellipse: Sequence[float] | NDArray, radius: float
) -> NDArray:
    """Return the logarithm of the elliptical radius over that of the circle of the same area.

    The ellipse is given by its centre, y and x, and the two components of its stretch.
    """
    y0, x0, along, across = ellipse
    dy, dx = y - y0, x - x0
    size = float(np.hypot(along, across))
    even = np.cosh(size)
    odd = np.sinh(size) / size if size > 0 else 1.0
    round_part, odd_part = dx * dx + dy * dy, along * (dx * dx - dy * dy) + 2 * across * (dx * dy)
    square = even * round_part - odd * odd_part
    return np.log(np.maximum(square, 0.25) / radius**2) / 2


def _loss(residuals: NDArray) -> float:
    """Return the loss that a fit minimises, the sum of squares where they are small."""
    return float(2 * FAINT.soft**2 * np.sum(np.hypot(1, residuals / FAINT.soft) - 1))
