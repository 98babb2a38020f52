"""Photon noise of averaged frames against Poisson statistics frame by frame."""

import numpy as np
import pytest

from ceers_steps.simulate.detector.photons import ChargeCollector, difference_duration
from ceers_steps.simulate.telescope.patterns import READ_PATTERNS

N_GROUPS = 3


def group_weights(pattern):
    """Weight of the electrons of each frame time in each group's average."""
    n_frames = pattern.total_frames(N_GROUPS)
    frames = pattern.first_frames(N_GROUPS)[:, np.newaxis] + np.arange(pattern.n_frames)
    return (np.arange(n_frames) <= frames[..., np.newaxis]).mean(axis=1)


@pytest.mark.parametrize("pattern", READ_PATTERNS.values(), ids=READ_PATTERNS)
@pytest.mark.parametrize("per_frame", [0.3, 40.0])
def test_mean_and_covariance(pattern, per_frame):
    n_pixels, frame_time = 60_000, 10.0
    collector = ChargeCollector(
        np.full((1, n_pixels), per_frame / frame_time),
        pattern,
        frame_time,
        rng=np.random.default_rng(3),
    )
    groups = np.array([collector.next_group()[0] for _ in range(N_GROUPS)], dtype=float)
    weights = group_weights(pattern)
    covariance = per_frame * weights @ weights.T
    variance = np.diag(covariance)
    mean_sigma = np.sqrt(variance / n_pixels)
    assert (abs(groups.mean(axis=1) - per_frame * weights.sum(axis=1)) < 4.5 * mean_sigma).all()
    # The variance of a covariance, with the fourth moment of Poisson counts.
    sigma = np.sqrt((np.outer(variance, variance) + covariance**2 + covariance.max()) / n_pixels)
    assert (abs(np.cov(groups) - covariance) < 4.5 * sigma).all()
    difference = per_frame / frame_time * difference_duration(pattern, frame_time)
    assert difference == pytest.approx(variance[0] + variance[1] - 2 * covariance[0, 1])
    assert collector.time == pytest.approx(pattern.total_frames(N_GROUPS) * frame_time)


def test_without_noise_the_charge_is_exact():
    pattern, frame_time = READ_PATTERNS["DEEP8"], 10.0
    rate = np.array([[0.0, 0.5, 100.0]])
    collector = ChargeCollector(rate, pattern, frame_time)
    groups = [collector.next_group() for _ in range(N_GROUPS)]
    times = pattern.group_times(N_GROUPS, frame_time)
    np.testing.assert_allclose(np.array(groups)[:, 0], np.outer(times, rate), rtol=1e-5)


def test_traps_release_their_charge():
    pattern, frame_time, tau = READ_PATTERNS["RAPID"], 10.0, 25.0
    collector = ChargeCollector(
        np.zeros((1, 1)), pattern, frame_time, trapped=np.array([[1000.0]]), time_constant=tau
    )
    groups = [float(collector.next_group()[0, 0]) for _ in range(5)]
    expected = 1000 * (1 - np.exp(-np.arange(10, 60, 10) / tau))
    np.testing.assert_allclose(groups, expected, rtol=1e-5)


def test_no_light_no_charge():
    collector = ChargeCollector(
        np.zeros((4, 4)), READ_PATTERNS["MEDIUM8"], 10.0, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(collector.next_group(), 0)


def test_very_bright_pixels():
    rate = np.full((1, 50), 1e8)
    collector = ChargeCollector(rate, READ_PATTERNS["MEDIUM8"], 10.0, rng=np.random.default_rng(0))
    group = collector.next_group()
    assert np.isfinite(group).all()
    assert group.mean() == pytest.approx(1e8 * 45, rel=1e-4)
