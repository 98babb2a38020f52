"""The end of a profile: known lengths, levels and constants, with noise and without."""

import numpy as np
import pytest

from ceers_steps.kernels.sources.exponential import (
    NO_LIGHT,
    fit_outer_exponential,
    radius_at_level,
)

EDGES = np.array([0.5, 1.5, 2.5, 3.5, 4.5, 6, 8, 10, 13, 16, 20, 25, 30])
DISTANCE = 0.5 * (EDGES[1:] + EDGES[:-1])
FAINTEST = 0.05


def area_errors(per_bin):
    """Standard errors of means over rings, of so many sources together."""
    return 1.0 / np.sqrt(per_bin * 2 * np.pi * DISTANCE * np.diff(EDGES))


@pytest.mark.parametrize("length", [1.5, 3.0, 6.0, 10.0, 15.0])
@pytest.mark.parametrize("level", [0.0, 1.5])
def test_length_without_noise(length, level):
    """The mean of the last points, taken for the sky, made 6.8 of 10 and 4.0 of 10."""
    found = fit_outer_exponential(
        DISTANCE, np.exp(level - DISTANCE / length), np.zeros_like(DISTANCE), FAINTEST
    )
    # lengths are tried 5% apart, between which a parabola is exact to 0.1%
    assert found.length == pytest.approx(length, rel=0.002)
    assert found.level == pytest.approx(level, abs=0.005)
    assert found.constant == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize("constant", [-0.1, -0.03, 0.03, 0.1])
@pytest.mark.parametrize("length", [1.5, 3.0, 6.0])
def test_constant_is_no_light(length, constant):
    """A constant is drawn towards 0 by the square of its error over that which is expected: by a
    seventh, where points are known to 0.01 and a tenth of their light, over 30 bins."""
    found = fit_outer_exponential(
        DISTANCE, np.exp(1.0 - DISTANCE / length) + constant, np.zeros_like(DISTANCE), FAINTEST
    )
    assert found.constant == pytest.approx(constant, rel=1 / 7)
    assert found.length == pytest.approx(length, rel=1 / 7)


@pytest.mark.parametrize("length", [2.0, 5.0, 10.0])
@pytest.mark.parametrize("constant", [-0.02, 0.0, 0.02])
def test_length_with_noise(length, constant):
    rng = np.random.default_rng(3)
    error = area_errors(200)
    truth = np.exp(0.5 - DISTANCE / length) + constant
    lengths = [
        fit_outer_exponential(DISTANCE, rng.normal(truth, error), error, FAINTEST).length
        for _ in range(100)
    ]
    # the smallest error that an unbiased estimate of length, level and constant can have, from the
    # last factor of five, up to one step of the distances more
    shape = np.exp(0.5 - DISTANCE / length)
    used = shape <= 5 * FAINTEST * np.exp(2.0 / length)
    slopes = np.stack([shape * DISTANCE / length**2, shape, np.ones_like(shape)]) / error
    slopes = slopes[:, used]
    best = np.sqrt(np.linalg.inv(slopes @ slopes.T)[0, 0])
    assert np.std(lengths) < 2 * best
    assert abs(np.mean(lengths) - length) < 0.06 * length + 4 * best / 10


def test_outliers_weigh_little():
    """One ring with the light of a neighbour in it, which the length does not follow."""
    truth = np.exp(1.0 - DISTANCE / 5.0)
    truth[9] += 0.5
    found = fit_outer_exponential(DISTANCE, truth, area_errors(200), FAINTEST)
    assert found.length == pytest.approx(5.0, rel=0.1)


@pytest.mark.parametrize("constant", [-0.04, 0.0, 0.04])
def test_noise_alone_is_no_light(constant):
    rng = np.random.default_rng(4)
    error = area_errors(20)
    fits = [
        fit_outer_exponential(DISTANCE, rng.normal(constant, error), error, FAINTEST)
        for _ in range(200)
    ]
    # the first point must be three of its errors above the constant: one in 700
    assert sum(fit.length > 0 for fit in fits) <= 2


def test_what_rises_outwards_is_no_light():
    rising = 0.1 + 0.02 * DISTANCE
    assert fit_outer_exponential(DISTANCE, rising, area_errors(50), FAINTEST) == NO_LIGHT


def test_few_points_are_no_profile():
    known = DISTANCE < 3
    profile = np.exp(-DISTANCE)
    assert fit_outer_exponential(DISTANCE, profile, 0 * profile, FAINTEST, known) == NO_LIGHT


def test_only_the_last_part_counts():
    """A steep core does not shorten what lies around it."""
    truth = 20 * np.exp(-DISTANCE / 0.8) + np.exp(0.5 - DISTANCE / 6.0)
    found = fit_outer_exponential(DISTANCE, truth, area_errors(1e5), FAINTEST)
    assert found.length == pytest.approx(6.0, rel=0.1)


def test_radius_at_which_light_is_lost():
    radius = radius_at_level(1.0, 4.0, 0.03)
    assert np.exp(1.0 - radius / 4.0) == pytest.approx(0.03)
