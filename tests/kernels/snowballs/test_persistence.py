"""Charge released after saturation: built into ramps, followed, and what is left is measured."""

import numpy as np
import pytest

from ceers_steps.kernels.dq import JUMP_DET, SATURATED
from ceers_steps.kernels.snowballs.adaptive import measure_snowballs
from ceers_steps.kernels.snowballs.persistence import follow_released_charge

SHAPE = (90, 100)
N_INTS, N_GROUPS, GROUP_TIME = 4, 8, 100.0
NOISE, RATE, FULL_WELL = 8.0, 20.0, 60_000.0
NOTHING = np.zeros(SHAPE, bool)


def decay(charge, tau):
    """Charge of every pixel released in groups 1.. of the integrations after the first."""
    edges = (np.arange(N_INTS - 1)[:, None] * N_GROUPS + np.arange(N_GROUPS)) * GROUP_TIME
    left = np.exp(-edges / tau)
    return charge * -np.diff(left, axis=1)


def ramps(charge, tau, *, seed, radius=9.0, group=4, star=False):
    """Return data, GROUPDQ, the hit pixels and the charge; the event is in the first integration.

    With `star`, pixels elsewhere saturate in every integration and release nothing.
    """
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE)
    hit = np.hypot(y - 40, x - 45) < radius
    released = decay(charge, tau)
    gathered = np.full((N_INTS, N_GROUPS, *SHAPE), RATE)
    if star:
        gathered[:, :, np.hypot(y - 70, x - 80) < 4] = FULL_WELL / 4
    gathered[0, group, hit] += 2 * FULL_WELL
    gathered[1:, 1:, hit] += released[..., None]
    data = np.cumsum(gathered, axis=1) + NOISE * rng.standard_normal(gathered.shape)
    groupdq = np.zeros(data.shape, np.uint8)
    groupdq[data > FULL_WELL] = SATURATED
    return np.minimum(data, FULL_WELL).astype(np.float32), groupdq, hit, released


def last_groups(data, groupdq, hit, **parameters):
    """Return the last group that is left out in the middle of the event, per later integration."""
    marks = follow_released_charge(
        data, groupdq, NOTHING, 0, group_time=GROUP_TIME, **{"unmeasured_time": 0.0, **parameters}
    )
    last = np.zeros((N_INTS, *SHAPE), int)
    for mark in marks:
        region = last[mark.integration, *mark.box]
        region[mark.pixels] = np.maximum(region[mark.pixels], mark.last_group)
    assert not last[0].any()
    return last, [int(np.median(each[hit])) for each in last[1:]]


def left(released, last):
    """Charge per difference in what is kept, over the noise of the rate of what is kept."""
    biases = []
    for charge, first in zip(released, last, strict=True):
        n = N_GROUPS - first
        if n > 1:
            biases.append(charge[first:].mean() / (NOISE * np.sqrt(12 / (n * (n**2 - 1)))))
    return biases


@pytest.mark.parametrize(
    ("charge", "tau"), [(300, 200), (300, 600), (2000, 600), (2000, 100), (100, 2500), (1000, 2500)]
)
def test_what_is_left_is_below_a_fifth_of_the_noise_of_the_rate(charge, tau):
    """Before: released / (groups x noise of the rate) is above 1 in all of them."""
    for seed in (1, 2):
        data, groupdq, hit, released = ramps(charge, tau, seed=seed, star=True)
        assert left(released, [0] * len(released))[0] > 1
        last, middle = last_groups(data, groupdq, hit)
        assert max(left(released, middle), default=0) < 0.2
        assert not last[:, 60:, 70:].any()  # a star leaves what it always has


def test_two_exponentials_are_followed():
    data, groupdq, hit, released = ramps(1500, 100, seed=3)
    slow = decay(400, 1500)
    data[1:, 1:, hit] += np.cumsum(slow, axis=1)[..., None].astype(np.float32)
    _, middle = last_groups(data, groupdq, hit)
    assert max(left(released + slow, middle), default=0) < 0.2


def test_pixels_that_release_nothing_are_kept():
    """But for differences in which the error of the measurement is above the limit."""
    lost = []
    for seed in range(4, 10):
        data, groupdq, hit, _ = ramps(0, 300, seed=seed)
        _, middle = last_groups(data, groupdq, hit, unmeasured_time=2000.0)
        lost.append(sum(middle) / ((N_INTS - 1) * (N_GROUPS - 1)))
    assert np.mean(lost) < 1 / 3


def test_short_charge_is_left_out_only_where_it_is():
    data, groupdq, hit, released = ramps(2000, 100, seed=8)
    _, middle = last_groups(data, groupdq, hit)
    assert middle[0] >= 5
    assert middle[2] <= 3
    assert released[2].max() < 0.01 * NOISE


def test_few_pixels_are_left_out_for_the_time_given():
    data, groupdq, hit, _ = ramps(0, 300, seed=9, radius=2.5)
    _, middle = last_groups(data, groupdq, hit, unmeasured_time=1000.0)
    assert middle == [6, 0, 0]  # 10 groups after group 4 of 8
    # but for longer where what they release is seen
    data, groupdq, hit, released = ramps(3000, 1000, seed=9, radius=2.5)
    _, middle = last_groups(data, groupdq, hit, unmeasured_time=300.0)
    assert max(left(released, middle), default=0) < 0.2


def test_event_before_the_first_group_is_an_event():
    """It has no jump, and looks like a star until the next integration."""
    data, groupdq, hit, released = ramps(1000, 600, seed=10, group=0)
    found = measure_snowballs(data, groupdq, NOTHING, group_time=GROUP_TIME)
    flagged = found.flags[1:, 1:][:, :, hit].mean(axis=2)
    assert flagged[0].all()
    kept = [int(np.count_nonzero(each > 0.5)) for each in flagged]
    assert max(left(released, kept), default=0) < 0.2
    nothing = measure_snowballs(
        data, groupdq, NOTHING, group_time=GROUP_TIME, carry_to_next_integration=False
    )
    assert not nothing.flags[1:].any()


def test_hits_after_the_event_do_not_lengthen_it():
    """Rays that hit single pixels of the event later: the median of the others tells."""
    data, groupdq, hit, _ = ramps(2000, 100, seed=8)
    _, before = last_groups(data, groupdq, hit)
    rng = np.random.default_rng(11)
    y, x = np.nonzero(hit)
    for k in rng.choice(y.size, 12, replace=False):
        integration, group = rng.integers(1, N_INTS), rng.integers(1, N_GROUPS)
        data[integration, group:, y[k], x[k]] += 3000
        groupdq[integration, group, y[k], x[k]] |= JUMP_DET
    _, after = last_groups(data, groupdq, hit)
    assert np.abs(np.subtract(after, before)).max() <= 1


def test_one_integration_or_one_group_has_nothing_to_follow():
    data, groupdq, _, _ = ramps(1000, 600, seed=12)
    for part in (np.s_[:1], np.s_[:, :1]):
        assert (
            follow_released_charge(
                data[part], groupdq[part], NOTHING, 0, group_time=100.0, unmeasured_time=2000.0
            )
            == []
        )


def test_pixels_beside_a_ray_that_fills_one_are_kept():
    """The saturation step marks its eight neighbours; one of them holds as much, the others little.

    So it is where the full pixel itself is a bad one.
    """
    data, groupdq, hit, _ = ramps(0, 300, seed=13, radius=0.5)
    (y,), (x,) = np.nonzero(hit)
    around = np.s_[y - 1 : y + 2, x - 1 : x + 2]
    data[0, 4:, *around] += 0.01 * FULL_WELL
    data[0, 4:, y, x + 1] = 0.9 * FULL_WELL
    groupdq[0, 4:, *around] = SATURATED
    expected = np.zeros(SHAPE, bool)
    expected[y, x : x + 2] = True
    for bad in (NOTHING, hit):
        marks = follow_released_charge(
            data, groupdq, bad, 0, group_time=GROUP_TIME, unmeasured_time=1000.0
        )
        last = np.zeros(SHAPE, int)
        for mark in marks:
            assert mark.integration == 1
            last[mark.box][mark.pixels] = mark.last_group
        np.testing.assert_array_equal(last > 0, expected & ~bad)
