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


def test_light_of_the_other_integrations_is_steady():
    """The wing of a star, too faint to show in the first group, beside a ray that saturates."""
    rng = np.random.default_rng(2)
    star, event = np.s_[20:24, 10:90:6], np.s_[60:64, 10:90:6]
    groups = np.zeros((2, 5, *SHAPE))
    groups[:, :, *star] = 8 * NOISE * np.sqrt(2.0) * (FIRST + np.arange(5))[:, None, None]
    groups[0, 1:, *event] += 8 * NOISE * np.sqrt(2.0)
    # what the event traps is released in the next integration
    groups[1, :, *event] += 6 * NOISE * np.minimum(np.arange(5), 2)[:, None, None]
    data = (groups + NOISE * rng.standard_normal(groups.shape)).astype(np.float32)
    groupdq = np.zeros(data.shape, np.uint8)
    groupdq[0, 2:, *star] = SATURATED
    groupdq[0, 2:, *event] = SATURATED
    nothing = np.zeros(SHAPE, bool)
    ramps = [Ramp(data[i], groupdq[i], nothing, np.zeros(data[i].shape, bool)) for i in range(2)]
    noise, dark = measure_noise(ramps[0], [], 1), measure_darkness(ramps[0])
    for others in ([], ramps[1:]):
        found = np.zeros(data[0].shape, bool)
        found[contaminated_before_saturation(ramps[0], noise, dark, others)] = True
        assert found[1, *event].mean() > 0.8
        lost = found[1, *star].mean()
        assert lost < 0.05 if others else lost > 0.8
