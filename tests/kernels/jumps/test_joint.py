"""Steps of ramps judged with all their differences: against drawn frames."""

import numpy as np
import pytest
from scipy import stats

from ceers_steps.kernels.jumps.joint import Covariance, GroupNoise, find_steps, step_heights

N = 8  # differences
READ = 4.0  # e-, of one frame
PHOTONS = 6.0  # e-, from one group to the next
PIXELS = 20_000


def covariance(n_pixels=PIXELS, rate=0.0, averaged=1.0, read=2 * READ**2, photons=PHOTONS, gain=1):
    parts = (np.full(n_pixels, value, np.float32) for value in (read, photons, rate, gain))
    return Covariance(*parts, averaged)


def ramps(n_frames=1, gap=0, seed=0, photons=PHOTONS, read=READ):
    """Return differences of averaged groups, less their rate, in electrons."""
    rng = np.random.default_rng(seed)
    every = n_frames + gap
    arriving = rng.poisson(photons / every, (PIXELS, every * N + n_frames))
    frames = np.cumsum(arriving, axis=1) + read * rng.standard_normal(arriving.shape)
    groups = np.stack(
        [frames[:, every * g : every * g + n_frames].mean(axis=1) for g in range(N + 1)], axis=1
    )
    return (np.diff(groups, axis=1) - photons).astype(np.float32)


@pytest.mark.parametrize(("averaged", "rate"), [(1.0, 0.0), (0.75, 3.0)])
def test_precision_is_the_inverse_of_the_covariance(averaged, rate):
    own = 2 * READ**2 + PHOTONS * averaged
    beside = (PHOTONS * (1 - averaged) - 2 * READ**2) / 2
    matrix = own * np.eye(N) + beside * (np.eye(N, k=1) + np.eye(N, k=-1)) + rate
    found = covariance(2, rate, averaged).precision(N)
    np.testing.assert_allclose(found[..., 1] @ matrix, np.eye(N), atol=1e-5)


@pytest.mark.parametrize(("n_frames", "gap"), [(1, 0), (2, 0), (8, 2)])
def test_heights_of_steps_have_the_scatter_that_is_expected(n_frames, gap):
    averaged = GroupNoise(np.ones(1), np.ones(1), n_frames, n_frames + gap).photon_factor()
    found = step_heights(
        ramps(n_frames, gap), covariance(averaged=averaged, read=2 * READ**2 / n_frames)
    )
    # 20,000 pixels: the standard error of a scatter is 0.5%
    np.testing.assert_allclose(found.std(axis=0), 1, atol=0.02)


def test_a_peak_that_is_cut_leaves_the_others_as_they_are():
    """Noise peaks above a low threshold: what is left of their ramps has no bias."""
    excess = ramps(seed=1)
    known = np.ones(excess.shape, bool)
    alone = excess > 3 * np.sqrt(2 * READ**2 + PHOTONS)
    together = find_steps(excess, known, covariance(), 3.0)
    for hits, biased in ((alone, True), (together, False)):
        cut = hits.sum(axis=1) == 1
        rest = np.where(hits, 0, excess)[cut].sum(axis=1) / (N - 1)
        # four reads and the photons are in what is left
        noise = np.sqrt(4 * READ**2 + PHOTONS * (N - 1)) / (N - 1)
        bias = rest.mean() / noise
        assert bias < -1 if biased else abs(bias) < 4 / np.sqrt(cut.sum())


def test_hits_are_found_more_often_than_by_a_difference_alone():
    excess = ramps(seed=2)
    sigma = np.sqrt(2 * READ**2 + PHOTONS)
    excess[:, 3] += 3.5 * sigma
    known = np.ones(excess.shape, bool)
    # with a rate that is known to the noise of 49 pixels
    hits = find_steps(excess, known, covariance(rate=sigma**2 / N / 49), 4.0)
    alone = (excess[:, 3] > 4 * sigma).mean()
    assert alone < 0.35
    assert hits[:, 3].mean() > alone + 0.3


def test_several_hits_and_differences_that_cannot_be_used():
    excess = ramps(seed=3)[:4]
    known = np.ones(excess.shape, bool)
    excess[0, [1, 2, 6]] += 500
    excess[1, :] += 500
    known[2] = False
    known[3, 4] = False
    excess[3, 4] = 1e6
    excess[3, 5] += 500
    hits = find_steps(excess, known, covariance(4), 5.0)
    np.testing.assert_array_equal(np.flatnonzero(hits[0]), [1, 2, 6])
    assert hits[1].all()
    assert not hits[2].any()
    np.testing.assert_array_equal(np.flatnonzero(hits[3]), [5])


def test_few_photons_are_no_hits():
    """Photons are skewed: twice as many peaks as of normal noise without a correction."""
    few = ramps(seed=4, read=1.5)
    known = np.ones(few.shape, bool)
    found = find_steps(few, known, covariance(read=2 * 1.5**2), 3.5).sum()
    none = find_steps(few, known, covariance(read=2 * 1.5**2, gain=1e6), 3.5).sum()
    normal = stats.norm.sf(3.5) * few.size
    assert none > 2 * normal
    assert found < 1.4 * normal + 3 * np.sqrt(normal)
