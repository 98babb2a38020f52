"""The robust fit: the minimum of a general solver, outliers left aside, its covariance."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from ceers_steps.kernels.snowballs import halo
from ceers_steps.kernels.snowballs.fit import fit_robust, robust_loss

SOFT = 2.0
TRUE = np.array([1.5, 0.7, 0.2])


def model(values, x):
    """Return an exponential on a level, and its derivatives."""
    fall = np.exp(np.clip(-values[1] * x, -30, 5))
    slopes = np.stack([fall, -values[0] * x * fall, np.ones_like(x)], axis=1)
    return values[0] * fall + values[2], slopes


def evaluation(seed, *, n_outliers=0):
    """Return the function to be fitted: data of 400 points with errors of 0.05."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 5, 400)
    data = model(TRUE, x)[0] + 0.05 * rng.standard_normal(x.size)
    data[rng.choice(x.size, n_outliers, replace=False)] += 5.0

    def evaluate(values):
        level, slopes = model(values, x)
        return (data - level) / 0.05, -slopes / 0.05

    return evaluate


def test_it_finds_the_minimum_of_a_general_solver():
    """Values to a hundredth of their errors, the same residuals and curvature."""
    evaluate = evaluation(1, n_outliers=20)
    found = fit_robust(evaluate, np.array([1.0, 1.0, 0.0]), soft=SOFT)
    other = least_squares(
        lambda values: evaluate(values)[0], found.values, loss="soft_l1", f_scale=SOFT, xtol=1e-14
    )
    errors = np.sqrt(np.diag(np.linalg.inv(found.curvature)))
    assert np.all(np.abs(found.values - other.x) < 0.01 * errors)
    np.testing.assert_allclose(found.curvature, other.jac.T @ other.jac, rtol=0.01)
    assert np.isclose(robust_loss(found.residuals, SOFT), 2 * other.cost, rtol=1e-5)


def test_outliers_and_errors():
    """Of 40 fits with 5% outliers, the scatter is as the curvature says, the bias below it."""
    pulls = []
    for seed in range(40):
        found = fit_robust(evaluation(seed, n_outliers=20), np.array([1.0, 1.0, 0.0]), soft=SOFT)
        errors = np.sqrt(np.diag(np.linalg.inv(found.curvature)))
        pulls.append((found.values - TRUE) / errors)
    assert np.all(np.std(pulls, axis=0) < 1.4)
    assert np.all(np.std(pulls, axis=0) > 0.6)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 2)  # plain means are 0.25 off, 30 errors


def test_a_step_that_goes_too_far_is_shortened():
    """From a start where the undamped step overshoots, the loss still only falls."""
    evaluate = evaluation(2)
    start = np.array([1.0, 4.0, 1.0])
    found = fit_robust(evaluate, start, soft=SOFT)
    assert robust_loss(found.residuals, SOFT) < 450
    few = fit_robust(evaluate, start, soft=SOFT, largest_number=5)  # three of them refused
    assert robust_loss(few.residuals, SOFT) < robust_loss(evaluate(start)[0], SOFT)


@pytest.mark.parametrize("stretch", [(0.3, -0.2), (0.0, 0.0), (1e-5, 0.0)])
def test_derivatives_of_the_elliptical_radius(stretch):
    """They are those of small steps, also where the ellipse is a circle."""
    y, x = np.random.default_rng(1).uniform(-50, 50, (2, 500))
    ellipse = np.array([1.0, 2.0, *stretch])
    radius, changes = halo.log_radius_changes(y, x, ellipse, 20.0)
    np.testing.assert_allclose(radius, halo.log_radius(y, x, ellipse, 20.0))
    for k, step in enumerate(1e-6 * np.eye(4)):
        steps = (halo.log_radius(y, x, ellipse + s * step, 20.0) for s in (1, -1))
        np.testing.assert_allclose(changes[:, k], np.subtract(*steps) / 2e-6, atol=1e-8)
