"""Noise and levels of group differences: those of the plain formulas."""

import numpy as np
import pytest

from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.jumps.differences import Ramp, mean_without_largest, measure_noise

N_GROUPS, SHAPE = 7, (60, 800)
N_OUTPUTS, SIGMA = 4, 3.0
STEP = 3  # columns from one to the next that is sampled: 200 of an output, 100 of them, made odd


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_levels_and_noise_are_medians():
    rng = np.random.default_rng(8)
    rows = np.cumsum(rng.normal(size=(N_GROUPS, SHAPE[0], N_OUTPUTS)), axis=0)
    data = np.cumsum(rng.normal(5, SIGMA, (N_GROUPS, *SHAPE)), axis=0)
    data += np.repeat(rows, SHAPE[1] // N_OUTPUTS, axis=2)
    data[2, :5, :300] = np.nan
    groupdq = np.where(rng.random(data.shape) < 0.03, JUMP_DET, 0).astype(np.uint8)
    bad = rng.random(SHAPE) < 0.02
    ramp = Ramp(data.astype(np.float32), groupdq, bad, np.zeros(data.shape, bool))
    found = measure_noise(ramp, [], N_OUTPUTS)

    difference = np.diff(ramp.data, axis=0)
    unknown = bad | ((groupdq[1:] & JUMP_DET) != 0)
    difference = np.where(unknown, np.nan, difference)[..., ::STEP]
    above = difference - np.nanmedian(difference, axis=0)
    output = np.arange(SHAPE[1])[::STEP] * N_OUTPUTS // SHAPE[1]
    levels = [np.nanmedian(above[..., output == k], axis=2) for k in range(N_OUTPUTS)]
    levels = np.nan_to_num(np.stack(levels, axis=-1))
    np.testing.assert_allclose(found.levels, levels, atol=1e-4)
    above -= levels[..., output]
    pairs = (above[2:] - above[:-2])[:, ::6] / np.sqrt(2)
    assert found.sigma == pytest.approx(1.4826022 * np.nanmedian(np.abs(pairs)), rel=1e-5)
    assert found.sigma == pytest.approx(SIGMA, rel=0.1)


def test_a_few_columns_beside_an_event_tell_no_level():
    """Their noise would be subtracted from what is measured of the event: half a sigma."""
    rng = np.random.default_rng(4)
    shape = (80, 150)
    data = np.cumsum(rng.normal(5, SIGMA, (N_GROUPS, *shape)), axis=0).astype(np.float32)
    ramp = Ramp(
        data, np.zeros(data.shape, np.uint8), np.zeros(shape, bool), np.zeros(data.shape, bool)
    )
    levels = measure_noise(ramp, [(2, (slice(20, 60), slice(45, 95)))], 1).levels
    assert np.abs(levels).max() < 0.5 * SIGMA
    assert levels[3].any()


def test_mean_of_more_differences_than_a_byte_counts():
    differences = np.ones((257, 1, 2), np.float32)
    differences[4] = 100
    assert mean_without_largest(differences, np.ones(differences.shape, bool)) == pytest.approx(1)
