"""Least squares that outliers do not lead: few values, many residuals, by normal equations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.snowballs.settings import FIT

__all__ = ["Evaluation", "Fit", "fit_robust", "robust_loss"]

Float = NDArray[np.float64]

Evaluation = Callable[[Float], tuple[Float, Float]]
"""Residuals and their derivatives at values."""


@dataclass(frozen=True)
class Fit:
    """The result of `fit_robust`.

    Attributes
    ----------
    values : ndarray
        Shape ``(k,)``.
    residuals : ndarray
        Shape ``(n,)``, over their errors.
    curvature : ndarray
        Shape ``(k, k)``: inverse of the covariance of the values.
    """

    values: Float
    residuals: Float
    curvature: Float


def robust_loss(residuals: NDArray, soft: float) -> float:
    """Return the loss: the sum of squares of residuals below `soft`, linear far above.

    Parameters
    ----------
    residuals
        Over their errors.
    soft
        From where on a residual counts less.

    Returns
    -------
    float
    """
    return float(2 * soft**2 * np.sum(np.sqrt(1 + np.square(residuals / soft)) - 1))


def fit_robust(
    evaluate: Evaluation,
    start: Float,
    *,
    soft: float,
    largest_number: int = 30,
) -> Fit:
    """Minimise `robust_loss` with damped steps (Levenberg and Marquardt).

    A few hundred fits of some 2000 residuals are made per frame: general solvers, which take the
    singular values of every Jacobian, need four times as long.

    Parameters
    ----------
    evaluate
        Returns the residuals, shape ``(n,)``, over their errors, and their derivatives,
        shape ``(n, k)``, at values.
    start
        Shape ``(k,)``.
    soft
        From where on a residual counts less.
    largest_number
        Of evaluations.

    Returns
    -------
    Fit
        The best values found, converged or not.
    """
    values = np.array(start, dtype=float)
    residuals, slopes = evaluate(values)
    loss, damping = robust_loss(residuals, soft), FIT.first_damping
    gradient, curvature = _normal(residuals, slopes, soft)
    for _ in range(largest_number - 1):
        diagonal = np.diag(np.maximum(np.diag(curvature), 1e-12))
        step = np.linalg.solve(curvature + damping * diagonal, gradient)
        with np.errstate(over="ignore", invalid="ignore"):  # a wild step is not taken
            trial, trial_slopes = evaluate(values - step)
        trial_loss = robust_loss(trial, soft)
        if not trial_loss < loss:
            damping *= FIT.damping_step
            if damping > FIT.largest_damping:
                break
            continue
        converged = loss - trial_loss < FIT.converged * loss
        values, residuals, loss, damping = (
            values - step,
            trial,
            trial_loss,
            damping / FIT.damping_step,
        )
        gradient, curvature = _normal(residuals, trial_slopes, soft)
        if converged:
            break
    return Fit(values, residuals, curvature)


def _normal(residuals: Float, slopes: Float, soft: float) -> tuple[Float, Float]:
    """Return gradient and curvature of half the loss."""
    size = np.sqrt(1 + np.square(residuals / soft))
    gradient = slopes.T @ (residuals / size)
    # the second derivative of the loss by a residual, which is never negative
    return gradient, (slopes / (size * size * size)[:, None]).T @ slopes
