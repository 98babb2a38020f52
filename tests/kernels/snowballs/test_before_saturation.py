"""Differences before saturation: of stars in a bright field they are kept."""

import numpy as np

from ceers_steps.kernels.dq import SATURATED
from ceers_steps.kernels.jumps.differences import Ramp, measure_noise
from ceers_steps.kernels.snowballs.before_saturation import (
    contaminated_before_saturation,
    measure_darkness,
)

SHAPE = (84, 96)
FIRST = 1 / 4.4  # time to the first group of DEEP8 over that between groups
NOISE = 10.0


def test_stars_in_a_bright_field_keep_the_difference_before_saturation():
    """The light of the field is no scatter of a dark first group; what arrives is found in it."""
    rng = np.random.default_rng(1)
    light = np.broadcast_to(np.linspace(0, 10_000, SHAPE[1]), SHAPE).copy()
    star, event = np.s_[20:24, 10:90:6], np.s_[60:64, 10:50:6]
    light[star] = 15_000.0
    groups = light * (FIRST + np.arange(5)[:, None, None])
    groups[1:, *event] += 8000.0
    groups[2:, *event] += 40_000.0
    data = groups + NOISE * rng.standard_normal(groups.shape)
    groupdq = np.zeros(data.shape, np.uint8)
    groupdq[2:, *star] = SATURATED
    groupdq[2:, *event] = SATURATED
    nothing = np.zeros(SHAPE, bool)
    ramp = Ramp(data.astype(np.float32), groupdq, nothing, np.zeros(data.shape, bool))
    found = np.zeros(data.shape, bool)
    noise = measure_noise(ramp, [], 1)
    found[contaminated_before_saturation(ramp, noise, measure_darkness(ramp))] = True
    assert not found[1, *star].any()
    assert found[1, *event][:, :4].all()
