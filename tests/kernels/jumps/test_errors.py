"""Photon noise of fitted ramps: against straight lines through drawn frames."""

import numpy as np
import pytest

from ceers_steps.kernels.jumps.errors import (
    combined_variance,
    photon_variance,
    read_variance,
    segment_lengths,
    unknown_variance,
)
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.surroundings import Surroundings

GAIN = 2.0
PIXELS = 40_000


@pytest.mark.parametrize(
    ("pattern", "lengths"),
    [
        ((0, 0, 0, 0), [4]),
        ((0, 0, 1, 0, 0), [2, 3]),  # the group with the jump starts the next segment
        ((0, 1, 0, 1, 0, 0), [2, 3]),
        ((0, 0, 0, 1), [3]),
        ((0, 0, 0, 2, 0, 0), [3, 2]),
        ((0, 1, 1, 0, 0, 2, 2), [3]),
        ((2, 2, 0), []),
        ((0, 1, 1, 1), []),
    ],
)
def test_segments(pattern, lengths):
    assert list(segment_lengths(pattern)) == lengths


def line_weights(length, power):
    middle = (length - 1) / 2
    x = np.arange(length) - middle
    weights = np.abs(x / middle) ** power * x
    return weights / np.sum(weights * x)


@pytest.mark.parametrize(
    ("states", "photons", "powers"),
    [
        ((0, 0, 0, 0, 0, 0, 0, 0, 0), 3.0, (0.0,)),
        ((0, 0, 1, 0, 0, 0, 0, 0, 0), 3.0, (0.0, 0.0)),
        ((0, 0, 1, 0, 0, 0, 0, 0, 0), 200.0, (1.0, 3.0)),  # 11 and 35 sigma, weighted by the ends
    ],
)
def test_photon_noise_is_the_scatter_of_fitted_lines(states, photons, powers):
    rng = np.random.default_rng(0)
    frames, every = 4, 5
    arriving = rng.poisson(photons / every, (PIXELS, every * len(states)))
    charge = np.cumsum(arriving, axis=1)
    groups = charge.reshape(PIXELS, len(states), every)[..., :frames].mean(axis=2) / GAIN
    rate, total, start = np.zeros(PIXELS), 0.0, 0
    for length, power in zip(segment_lengths(states), powers, strict=True):
        own = length**3 - length
        rate += own * (groups[:, start : start + length] @ line_weights(length, power))
        total, start = total + own, start + length
    rate /= total
    read = np.full((1, 1), 6.5 * np.sqrt(2) / GAIN, np.float32)
    noise = GroupNoise(read, np.full((1, 1), GAIN, np.float32), frames, every)
    planes = np.array(states, np.uint8)[:, None, None]
    found, _ = photon_variance(planes, np.full((1, 1), photons / GAIN, np.float32), noise)
    # the standard error of a variance from 40,000 is 0.7%
    assert found[0, 0] == pytest.approx(rate.var(), rel=0.03)


def test_integrations_are_averaged_by_their_read_noise():
    a, b = np.full((1, 2), 4.0, np.float32), np.full((1, 2), 1.0, np.float32)
    weights = np.array([[2.0, 0.0]], np.float32), np.array([[6.0, 0.0]], np.float32)
    variance, weight = combined_variance([(a, weights[0]), (b, weights[1])])
    assert variance[0, 0] == pytest.approx((4 * 4 + 1 * 36) / 64)
    np.testing.assert_array_equal(weight, [[8, 0]])
    assert variance[0, 1] == 0


def test_no_light_and_nothing_fitted():
    noise = GroupNoise(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    states = np.zeros((4, 1, 2), np.uint8)
    states[1:, 0, 1] = 2
    variance, weight = photon_variance(states, np.array([[-1.0, 5.0]], np.float32), noise)
    np.testing.assert_array_equal(variance, 0)
    assert weight[0, 0] == pytest.approx(5)  # (4^3 - 4) / 12
    assert weight[0, 1] == 0


def image_of(noise, *, stripes=30.0, hot=500.0):
    """Return a rate of known and unknown noise, stripes and hot pixels, and what is around."""
    rng = np.random.default_rng(12)
    shape = 200, 200
    rate = noise * rng.standard_normal(shape) + stripes * rng.standard_normal((200, 1))
    rate[::7, ::9] += hot
    structure = np.zeros(shape, np.float32)
    rate[50:90] += 40 * rng.standard_normal((40, 200))  # galaxies, known as such
    structure[50:90] = 100
    plane = np.zeros(shape, np.float32)
    return rate.astype(np.float32), Surroundings(plane, plane, structure, 9.0)


@pytest.mark.parametrize(("noise", "unknown"), [(3.0, 0.0), (5.0, 16.0), (2.0, -5.0)])
def test_noise_that_no_reference_knows_is_measured_beside_stripes(noise, unknown):
    rate, around = image_of(noise)
    known = np.full(rate.shape, 9.0, np.float32)
    whole = np.ones(rate.shape, bool)
    whole[:, ::9] = False
    found = unknown_variance(rate, known, whole, around)
    # of 25,000 pairs that share pixels: 1.5% of the variance
    assert found == pytest.approx(unknown, abs=0.05 * noise**2)


def test_too_few_whole_ramps_tell_no_noise():
    rate, around = image_of(5.0)
    whole = np.zeros(rate.shape, bool)
    whole[:20] = True
    assert np.isnan(unknown_variance(rate, np.full(rate.shape, 9, np.float32), whole, around))


def test_stripes_that_whole_ramps_keep_are_noise_of_cut_ones():
    """Errors of the stripes of reads, of which whole ramps have the slope back."""
    rng = np.random.default_rng(21)
    n, stripes = 8, 3.0
    left = stripes * rng.standard_normal((PIXELS, n))
    whole = line_weights(n, 0.0)
    x = np.arange(n) - (n - 1) / 2
    left -= (left @ whole)[:, None] * x
    cut = np.zeros(n)
    for first, length in ((0, 3), (3, 5)):
        cut[first : first + length] = (length**3 - length) / 144 * line_weights(length, 0.0)
    weight = np.array([[(n**3 - n) / 12, 12.0, 0.0]], np.float32)
    found = read_variance(weight, 4.0, stripes**2)
    np.testing.assert_allclose(found[0, 0], 4 / weight[0, 0], rtol=1e-5)
    # the standard error of a variance from 40,000 is 0.7%
    assert found[0, 1] - 4 / 12 == pytest.approx((left @ cut).var(), rel=0.03)
    assert found[0, 2] == 0
