"""Noise and levels of group differences: those of the plain formulas."""

import numpy as np
import pytest

from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.jumps.differences import Ramp, measure_noise

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
