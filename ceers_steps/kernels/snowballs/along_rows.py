"""Noise that the pixels of a row share: 1/f noise that no other pixel of the row could tell.

Around a large event nothing tells the stripes of a group but what lies beyond its halo. What is
left of them there is the same over tens of pixels of a row, another one in the next row: many
times what white noise leaves in the mean of a ring. But the halo changes along a row, so that the
two can be separated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.snowballs.settings import ALONG

__all__ = ["RowNoise"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RowNoise:
    """A few smooth modes in each row of blocks, with what is known of them before.

    Attributes
    ----------
    row, column : NDArray
        Shape ``(n,)``: where the blocks that can be used are in the grid of blocks.
    modes : NDArray
        Shape ``(n_columns, n_modes)``: cosines along a row.
    variance : NDArray
        Shape ``(n_modes,)``: of their amplitudes in a row.
    """

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    modes: Values
    variance: Values

    @classmethod
    def of(
        cls,
        row: NDArray[np.intp],
        column: NDArray[np.intp],
        size: int,
        residual: Values,
        error: Values,
        outside: NDArray[np.bool_],
    ) -> "RowNoise | None":
        """Measure how much of it there is.

        Parameters
        ----------
        row, column
            Shape ``(n,)``: of the blocks.
        size
            Width of a block, pixels.
        residual, error
            Shape ``(n,)``: what no halo is, and its white noise.
        outside
            Shape ``(n,)``; True = tells the size of the noise, far from a bright halo.

        Returns
        -------
        RowNoise or None
            None where none is seen.
        """
        n_rows, n_columns = int(row.max(initial=0)) + 1, int(column.max(initial=0)) + 1
        value = np.zeros((n_rows, n_columns))
        clipped = np.clip(residual, -ALONG.clip * error, ALONG.clip * error)
        value[row, column] = np.where(outside, clipped, 0)
        there = np.zeros(value.shape, bool)
        there[row, column] = outside
        first, last = (max(round(reach / size), 1) for reach in ALONG.lags)
        total = weight = 0.0
        for lag in range(first, min(last, n_columns - 1) + 1):
            expected = float(_correlation(np.array(lag * size)))
            total += expected * float((value[:, lag:] * value[:, :-lag]).sum())
            weight += expected**2 * np.count_nonzero(there[:, lag:] & there[:, :-lag])
        amplitude = total / max(weight, 1.0)
        if not amplitude > 0:
            return None
        numbers = np.arange(min(ALONG.most_modes, n_columns))
        places = (np.arange(n_columns) + 0.5) / n_columns
        modes = np.cos(np.pi * places[:, None] * numbers)
        apart = size * np.abs(np.subtract.outer(np.arange(n_columns), np.arange(n_columns)))
        norm = np.square(modes).sum(axis=0)
        variance = np.einsum("im,im->m", modes, _correlation(apart) @ modes) / norm**2
        return cls(row, column, modes, amplitude * variance)

    def normal_equations(
        self, weight: Values, matrix: Values, left: Values
    ) -> tuple[Values, Values]:
        """Return the normal equations of a model, with the noise of the rows taken into account.

        Parameters
        ----------
        weight
            Shape ``(n,)``: inverse white variance of the blocks.
        matrix, left
            Shapes ``(n, n_terms)`` and ``(n,)``: the model, and what it is to follow.

        Returns
        -------
        tuple of ndarray
            Shapes ``(n_terms, n_terms)`` and ``(n_terms,)``.
        """
        both = np.column_stack([matrix, left])
        inner, seen = self._of_rows(weight, both)
        gained = np.linalg.solve(inner, seen)
        full = (both * weight[:, None]).T @ both - np.einsum("rmk,rml->kl", seen, gained)
        return full[:-1, :-1], full[:-1, -1]

    def expected(self, weight: Values, left: Values) -> Values:
        """Return what the rows are expected to have, given what is no halo.

        Parameters
        ----------
        weight, left
            Shape ``(n,)``: inverse white variance of the blocks, and what is no halo.

        Returns
        -------
        ndarray
            Shape ``(n_rows, n_columns)`` of the grid of blocks.
        """
        inner, seen = self._of_rows(weight, left[:, None])
        return np.linalg.solve(inner, seen)[..., 0] @ self.modes.T

    def _of_rows(self, weight: Values, values: Values) -> tuple[Values, Values]:
        """Return the normal matrices of the modes of each row, and their products with values."""
        n_rows, n_modes = int(self.row.max()) + 1, self.modes.shape[1]
        grid = np.zeros((n_rows, len(self.modes)))
        grid[self.row, self.column] = weight
        products = (self.modes[:, :, None] * self.modes[:, None]).reshape(len(self.modes), -1)
        inner = (grid @ products).reshape(n_rows, n_modes, n_modes)
        inner += np.diag(1 / self.variance)
        planes = np.zeros((n_rows, len(self.modes), values.shape[1]))
        planes[self.row, self.column] = weight[:, None] * values
        return inner, self.modes.T @ planes


def _correlation(apart: NDArray) -> Values:
    """Return the correlation of the noise of two pixels of a row, some pixels apart."""
    share, (short, long) = ALONG.short_share, ALONG.lengths
    return share * np.exp(-apart / short) + (1 - share) * np.exp(-apart / long)
