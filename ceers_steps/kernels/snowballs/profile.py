"""The profile of a halo: an ellipse, a parabola between the logarithms, corrected in rings."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.snowballs.adaptive import Snowball
from ceers_steps.kernels.snowballs.along_rows import RowNoise
from ceers_steps.kernels.snowballs.fit import Evaluation, Fit, fit_robust, robust_loss
from ceers_steps.kernels.snowballs.halo import log_radius, log_radius_changes, stretch_of
from ceers_steps.kernels.snowballs.settings import FAINT

__all__ = ["Blocks", "Profile"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Profile:
    """An elliptical halo, given at radii.

    Attributes
    ----------
    ellipse : NDArray
        Centre, y and x in pixels of the box that it was fitted in, and the two components of the
        logarithm of the axis ratio, along x and along the diagonal.
    radius : float
        Pixels; radius where the logarithm is 0.
    grid : NDArray
        Shape ``(n,)``: logarithms of the radius.
    level, error : NDArray
        Same shape: halo and its error, sigma of a difference.
    sky : float
        Level under it, sigma of a difference.
    """

    ellipse: NDArray[np.float64]
    radius: float
    grid: NDArray[np.float64]
    level: NDArray[np.float64]
    error: NDArray[np.float64]
    sky: float

    def significant(self, y: NDArray, x: NDArray) -> tuple[Float, Float]:
        """Return the halo, sigma of a difference, where it is above its own error, and the error.

        Parameters
        ----------
        y, x
            Pixels of the box.

        Returns
        -------
        tuple of ndarray of float32
            Both 0 where it is not.
        """
        t = log_radius(y, x, self.ellipse, self.radius)
        grid, level, error = self.grid, self.level.copy(), self.error.copy()
        # no hole, and nothing beyond the first radius at which it is lost
        lost = (level < FAINT.pixel_significance * error) & (grid > 0)
        if lost.any():
            level[np.argmax(lost) :] = error[np.argmax(lost) :] = 0
        return (
            np.interp(t, grid, level, left=0.0, right=0.0).astype(np.float32),
            np.interp(t, grid, error, left=0.0, right=0.0).astype(np.float32),
        )


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
    row, column : NDArray
        Shape ``(n,)``: where they are in the grid of blocks.
    size : int
        Width of a block, pixels.
    rows : RowNoise or None
        What blocks of a row share besides a halo; None where that is not known.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    coverage: float
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    size: int
    rows: RowNoise | None = None

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
        t = log_radius(
            y, x.T, (*centre, *stretch_of(event.ellipticity, event.angle)), event.halo_radius
        )
        ring = (t > FAINT.range[0]) & (t < FAINT.range[1])
        coverage = int(np.count_nonzero(enough & ring)) / max(int(np.count_nonzero(ring)), 1)
        mean = total / np.maximum(seen, 1e-6)
        used = enough & ring & (mean < FAINT.bright / 2)
        row, column = np.nonzero(used)
        y, x = (size * side.astype(float) + middle for side in (row, column))
        error_of = 1 / np.sqrt(seen[used])
        return cls(y, x, mean[used], error_of, coverage, row, column, size)

    def with_rows(self, shape: NDArray[np.float64], radius: float) -> "Blocks":
        """Return the same, with what is known of the noise of the rows.

        Parameters
        ----------
        shape
            Of `fit_shape`.
        radius
            Of the flagged region, pixels.

        Returns
        -------
        Blocks
        """
        t = log_radius(self.y, self.x, shape[:4], radius)
        left = self.mean - _level(t, shape[4:]) - shape[7]
        rows = RowNoise.of(self.row, self.column, self.size, left, self.error, t > 0)
        return replace(self, rows=rows)

    def row_noise(self, profile: Profile) -> NDArray[np.float64] | None:
        """Return what the rows have besides a halo, for each block of the grid; None if unknown.

        Parameters
        ----------
        profile
            The halo.

        Returns
        -------
        ndarray or None
            Shape ``(n_rows, n_columns)``, up to the last block that is used.
        """
        if self.rows is None:
            return None
        t = log_radius(self.y, self.x, profile.ellipse, profile.radius)
        left = self.mean - np.interp(t, profile.grid, profile.level) - profile.sky
        return self.rows.expected(self._weight(left), left)

    def _weight(self, left: NDArray) -> NDArray[np.float64]:
        """Return the weights of blocks, less where what is left of them is no noise."""
        return 1 / np.sqrt(1 + np.square(left / self.error / FAINT.soft)) / self.error**2

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
        start = np.array([*centre, *stretch_of(event.ellipticity, event.angle)])
        t = log_radius(self.y, self.x, start, event.halo_radius)
        around = t > 0
        if np.count_nonzero(around) < FAINT.fewest_blocks or self.coverage < FAINT.coverage:
            return None
        first = np.array([np.log(0.5), *FAINT.expected[1:3], 0.0])
        scatter = [*2 * [FAINT.centre * event.core_radius], *2 * [FAINT.stretch]]
        expected = np.array([*start, *FAINT.expected])
        spread = np.array([*scatter, *FAINT.spread])
        # not of the model: a bright one must not excuse itself
        error = np.hypot(self.error, FAINT.unlike * np.maximum(self.mean, 0))

        def evaluate(values: NDArray) -> tuple[NDArray, NDArray]:
            t, changes = log_radius_changes(self.y, self.x, values[:4], event.halo_radius)
            parts, slopes = _misfit(self.mean, t, values[4:], error)
            # along the radius, which changes with centre and ellipse
            along = slopes[:, 0] * -(values[5] + 2 * values[6] * t)
            of_shape = along[:, None] * changes
            return _with_expected(parts, np.hstack([of_shape, slopes]), values, expected, spread)

        return _fitted(evaluate, np.concatenate([start, first])).values

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
        t = log_radius(self.y, self.x, ellipse, radius)
        mean = self.mean
        if self.rows is not None:
            left = mean - _level(t, start) - start[3]
            mean = mean - self.rows.expected(self._weight(left), left)[self.row, self.column]
        expected, spread = np.array(FAINT.expected), np.array(FAINT.spread)
        error = np.hypot(self.error, FAINT.unlike * np.maximum(self.mean, 0))
        for _ in range(2):

            def evaluate(values: NDArray, error: NDArray = error) -> tuple[NDArray, NDArray]:
                return _with_expected(*_misfit(mean, t, values, error), values, expected, spread)

            found = _fitted(evaluate, start)
            start, last_error = found.values, error
            # of the model, which the noise of a block does not enter
            model = _level(t, start)
            error = np.hypot(self.error, FAINT.unlike * model)
        # is it there at all? without it the residuals are larger
        rest = found.residuals[: t.size]
        without = robust_loss(rest + model / last_error, FAINT.soft)
        if without - robust_loss(rest, FAINT.soft) < FAINT.significance**2:
            return None
        weight = 1 / np.sqrt(1 + np.square(rest / FAINT.soft)) / last_error**2
        return self._corrected(ellipse, radius, start, weight)

    def _corrected(
        self, ellipse: NDArray, radius: float, values: NDArray, weight: NDArray
    ) -> Profile:
        """Correct a profile by what is left in elliptical rings, so that any halo is followed.

        All that is known of the correction before is its size and that it is smooth along the
        radius. What is returned is its mean and error with the data, the sky under it included.
        """
        t = log_radius(self.y, self.x, ellipse, radius)
        nodes = np.arange(FAINT.range[0], FAINT.range[1] + FAINT.ring / 2, FAINT.ring)
        place = np.clip((t - nodes[0]) / FAINT.ring, 0, nodes.size - 1.001)
        index = place.astype(int)
        share = place - index
        each = np.arange(t.size)
        matrix = np.zeros((t.size, nodes.size + 1))
        matrix[each, index], matrix[each, index + 1], matrix[:, -1] = 1 - share, share, 1.0
        left = self.mean - _level(t, values) - values[3]
        size = FAINT.free * _level(nodes, values) + FAINT.floor * np.exp(-FAINT.floor_slope * nodes)
        apart = (nodes[:, None] - nodes) / FAINT.smooth
        before = np.zeros((nodes.size + 1, nodes.size + 1))
        before[:-1, :-1] = size[:, None] * size * np.exp(-(apart**2) / 2)
        before[:-1, :-1] += np.diag((FAINT.rough * size) ** 2)
        before[-1, -1] = FAINT.spread[3] ** 2
        if self.rows is None:
            precision, product = (matrix * weight[:, None]).T @ matrix, matrix.T @ (weight * left)
        else:
            precision, product = self.rows.normal_equations(weight, matrix, left)
        # before - before (before + precision^-1)^-1 before, without the inverse of either
        after = np.linalg.solve(np.eye(len(before)) + before @ precision, before)
        change = after @ product
        error = np.sqrt(np.maximum(np.diag(after)[:-1], 0))
        grid = np.arange(*FAINT.range, 0.01)
        level = _level(grid, values) + np.interp(grid, nodes, change[:-1])
        outside = grid > 0
        level[outside] = np.minimum.accumulate(np.maximum(level[outside], 0))
        return Profile(
            ellipse,
            radius,
            grid,
            np.maximum(level, 0),
            np.interp(grid, nodes, error),
            float(values[3] + change[-1]),
        )


def _fitted(evaluate: Evaluation, start: NDArray) -> Fit:
    """Fit as all fits are made."""
    return fit_robust(evaluate, start, soft=FAINT.soft, largest_number=FAINT.most_tries)


def _misfit(mean: NDArray, t: NDArray, values: NDArray, error: NDArray) -> tuple[NDArray, NDArray]:
    """Return residuals of blocks, and their derivatives by terms and sky."""
    model = _level(t, values)
    slopes = np.stack([-model, model * t, model * t * t, -np.ones_like(t)], axis=1)
    return (mean - model - values[3]) / error, slopes / error[:, None]


def _level(t: NDArray, values: NDArray) -> NDArray:
    """Return the halo at logarithms of the radius."""
    level, slope, bend = values[:3]
    return np.exp(np.clip(level - slope * t - bend * t * t, -30, 5))


def _with_expected(
    residuals: NDArray, slopes: NDArray, values: NDArray, expected: NDArray, spread: NDArray
) -> tuple[NDArray, NDArray]:
    """Add to residuals and derivatives what is expected of the values."""
    return (
        np.concatenate([residuals, (values - expected) / spread]),
        np.concatenate([slopes, np.diag(1 / spread)]),
    )
