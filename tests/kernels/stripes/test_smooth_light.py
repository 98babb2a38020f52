"""Smooth light: the banded solution is the dense one, and the prior does what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ceers_steps.kernels.stripes.smooth_light import SmoothLight

BINNING = 4
SHAPE = (40, 24)  # samples: 40 x 96 pixels


def model(weight, response=None, **parameters):
    """A model on a grid of a few nodes."""
    arguments = {"binning": BINNING, "spacing": 16.0, "kernel_length": 30.0, **parameters}
    return SmoothLight(weight, response, **arguments)


def some_weight(rng):
    """Weights with holes."""
    weight = rng.uniform(0.5, 2.0, SHAPE).astype(np.float32)
    weight[rng.random(SHAPE) < 0.3] = 0
    return weight


def dense(light, n_trends):
    """Design matrix of all coefficients, one column each."""
    n = light.shape[0] * light.shape[1]
    no_field, no_trend = np.zeros(light.shape, np.float32), np.zeros(n_trends)
    columns = []
    for i in range(n):
        field = no_field.copy()
        field.flat[i] = 1
        columns.append(light.image(field, no_trend).ravel())
    columns += [light.image(no_field, np.eye(n_trends)[i]).ravel() for i in range(n_trends)]
    return np.stack(columns, axis=1).astype(float)


@pytest.mark.parametrize("flat", [False, True])
def test_fit_is_the_dense_solution(flat):
    """The banded factor and the bordered trends give what dense normal equations give."""
    rng = np.random.default_rng(1)
    weight = some_weight(rng)
    response = rng.uniform(0.8, 1.2, SHAPE).astype(np.float32) if flat else None
    light = model(weight, response)
    amplitude = rng.uniform(0.1, 1.0, light.shape)
    trend_sigma = np.where(light.degrees == 0, np.inf, 0.5)
    light.set_amplitude(amplitude, trend_sigma)
    value = rng.normal(size=SHAPE).astype(np.float32)
    field, trend = light.fit(weight * value)

    design = dense(light, len(trend))
    n = field.size
    operator = np.stack(
        [light.sources(unit.reshape(light.shape)).ravel() for unit in np.eye(n)], axis=1
    )
    matrix = design.T @ (weight.ravel()[:, None] * design)
    matrix[:n, :n] += operator.T @ (operator / amplitude.ravel()[:, None] ** 2)
    matrix[n:, n:] += np.diag(trend_sigma**-2.0)
    expected = np.linalg.solve(matrix, design.T @ (weight * value).ravel())
    # single precision in the factor
    assert_allclose(field.ravel(), expected[:n], atol=2e-4 * np.abs(expected).max())
    assert_allclose(trend, expected[n:], atol=2e-4 * np.abs(expected).max())


def test_marginalising_light_is_symmetric_and_positive():
    """What is left of samples after light is a covariance: conjugate gradients rely on it."""
    rng = np.random.default_rng(2)
    weight = some_weight(rng)
    light = model(weight)
    light.set_amplitude(np.full(light.shape, 0.3), np.full(len(light.degrees), np.inf))
    a, b = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    left = np.sum(a * light.residual(weight * b), dtype=float)
    right = np.sum(b * light.residual(weight * a), dtype=float)
    assert left == pytest.approx(right, abs=1e-4 * float(weight.sum()))
    assert np.sum(a * light.residual(weight * a)) > 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), spacing=st.sampled_from([12.0, 16.0, 48.0, 200.0]))
def test_free_trends_leave_nothing(seed, spacing):
    """A polynomial is taken out whole, however the weights and nodes are."""
    rng = np.random.default_rng(seed)
    weight = some_weight(rng)
    light = model(weight, spacing=spacing)
    light.set_amplitude(np.full(light.shape, 1e-3), np.full(len(light.degrees), np.inf))
    trend = sum(rng.normal() * light.trend_image(i) for i in range(len(light.degrees)))
    assert_allclose(light.residual(weight * trend), 0, atol=1e-3 * np.abs(trend).max())


def test_one_source_has_the_height_of_its_amplitude():
    """A source of one makes light with a peak of one that falls off over the kernel length."""
    light = model(np.ones((200, 50), np.float32), spacing=8.0, kernel_length=16.0)
    n = light.shape[0] * light.shape[1]
    operator = np.stack(
        [light.sources(unit.reshape(light.shape)).ravel() for unit in np.eye(n)], axis=1
    )
    source = np.zeros(light.shape)
    middle = (light.shape[0] // 2, light.shape[1] // 2)
    source[middle] = 1
    answer = np.linalg.solve(operator, source.ravel()).reshape(light.shape)
    # one on average over the grid, a little more at its edges and less in the middle
    assert answer.max() == pytest.approx(1, abs=0.25)
    assert answer.min() > -1e-6
    along = answer[middle[0], middle[1] :]
    assert (np.diff(along) < 0).all()
    assert along[4] < 0.5


def test_masked_light_is_carried_on():
    """Light is continued under a hole from what is around it."""
    y, x = np.mgrid[:128, 2:512:4]
    truth = np.exp(-0.5 * ((y - 64) ** 2 + (x - 250) ** 2) / 60.0**2).astype(np.float32)
    weight = np.full(truth.shape, 1e4, np.float32)
    hole = np.hypot(y - 64, x - 250) < 30
    weight[hole] = 0
    light = model(weight, spacing=32.0, kernel_length=90.0)
    light.set_amplitude(np.full(light.shape, 1.0), np.full(len(light.degrees), 1e-3))
    shown = light.image(*light.fit(weight * truth))
    assert_allclose(shown[hole], truth[hole], atol=0.1)
    assert_allclose(shown[~hole], truth[~hole], atol=0.02)
