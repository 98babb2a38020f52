"""Charge of an earlier exposure: built into ramps, followed, and what is left is measured."""

import numpy as np
import pytest

from ceers_steps.kernels.dq import JUMP_DET, SATURATED
from ceers_steps.kernels.snowballs.persistence import follow_charge_of_earlier

SHAPE = (100, 120)
N_GROUPS, GROUP_TIME = 9, 100.0
NOISE, RATE = 8.0, 20.0
FULL = np.full(SHAPE, 50_000, np.float32)
NOTHING = np.zeros(SHAPE, bool)
Y, X = np.indices(SHAPE)
CORE = np.hypot(Y - 40, X - 45) < 9
RIM = (np.hypot(Y - 40, X - 45) < 12) & ~CORE
SMALL = np.hypot(Y - 80, X - 20) < 2
STAR = np.hypot(Y - 20, X - 100) < 5
SECOND = np.hypot(Y - 75, X - 80) < 6


def level():
    """How full the pixels were: a snowball with a rim, a small one, a star that is bright now."""
    signal = np.full(SHAPE, 0.02, np.float32)
    signal[CORE | SMALL | STAR | SECOND] = 1.1
    signal[RIM] = 0.65
    return signal


def ramps(charge, tau, *, seed, rim=0.3, source=0.0):
    """Return data, GROUPDQ and the charge of every pixel released in groups 1.. of core and rim."""
    rng = np.random.default_rng(seed)
    released = charge * -np.diff(np.exp(-np.arange(N_GROUPS) * GROUP_TIME / tau))
    gathered = np.full((1, N_GROUPS, *SHAPE), RATE)
    gathered[:, :, STAR] += 0.06 * FULL[0, 0] / N_GROUPS * 2
    gathered[0, 1:, CORE | SMALL | SECOND] += released
    gathered[0, 1:, RIM] += rim * released
    gathered[0, :, SECOND] += source
    data = np.cumsum(gathered, axis=1) + NOISE * rng.standard_normal(gathered.shape)
    return data.astype(np.float32), np.zeros(data.shape, np.uint8), released


def last_group(data, groupdq, bad=NOTHING, before=None):
    """Return the last group that is left out, of each pixel; 0 where all are kept."""
    before = level() if before is None else before
    last = np.zeros(SHAPE, int)
    for mark in follow_charge_of_earlier(data, groupdq, bad, before, FULL, group_time=GROUP_TIME):
        region = last[mark.box]
        region[mark.pixels] = np.maximum(region[mark.pixels], mark.last_group)
    return last


def bias(released, last):
    """Return the charge per difference in what is kept, over the noise of its rate."""
    n = N_GROUPS - last
    if n < 2:
        return 0.0
    return released[last:].mean() / (NOISE * np.sqrt(12 / (n * (n**2 - 1))))


@pytest.mark.parametrize(("charge", "tau"), [(400, 400), (300, 150), (1500, 150), (200, 3000)])
def test_what_is_left_is_below_a_fifth_of_the_noise_of_the_rate(charge, tau):
    for seed in (1, 2):
        data, groupdq, released = ramps(charge, tau, seed=seed)
        assert bias(released, 0) > 0.8
        last = last_group(data, groupdq)
        for part, factor in ((CORE, 1.0), (SMALL, 1.0), (RIM, 0.3)):
            middle = int(np.median(last[part]))
            # of the rim, whose charge is seen as one with the core, as much as of the core
            assert factor * bias(released, middle) < 0.2
        assert not last[~(CORE | RIM | SMALL | SECOND)].any()  # nor the star, which is bright now


def test_short_charge_costs_the_first_groups_only():
    data, groupdq, released = ramps(1500, 60, seed=3)
    last = np.median(last_group(data, groupdq)[CORE])
    assert 3 <= last <= 6
    assert bias(released, 0) > 5


def test_light_of_a_source_under_an_event_costs_a_group_at_most():
    data, groupdq, _ = ramps(800, 80, seed=3)
    without = np.median(last_group(data, groupdq)[SECOND])
    data, groupdq, _ = ramps(800, 80, seed=3, source=150.0)
    assert abs(np.median(last_group(data, groupdq)[SECOND]) - without) <= 1


def test_a_star_in_a_narrower_filter_is_light():
    """Saturated before, faint now, at the same place: as bright at the end as at the start."""
    data, groupdq, _ = ramps(400, 400, seed=3)
    star = np.hypot(Y - 85, X - 95) < 6
    data[0, :, star] += 200.0 * np.arange(1, N_GROUPS + 1)
    before = level()
    before[star] = 1.1
    last = last_group(data, groupdq, before=before)
    assert not last[star].any()
    assert last[CORE].all()


def test_nothing_is_flagged_where_no_charge_is_seen():
    lost = [
        np.count_nonzero(last_group(*ramps(0, 400, seed=seed)[:2]))
        / (CORE | SMALL | SECOND).sum()
        / N_GROUPS
        for seed in range(4, 10)
    ]
    assert np.mean(lost) < 0.1


def test_less_full_pixels_are_taken_as_far_down_as_they_are_brighter():
    data, groupdq, _ = ramps(400, 400, seed=5, rim=0.5)
    assert last_group(data, groupdq)[RIM].all()
    data, groupdq, _ = ramps(400, 400, seed=5, rim=0.0)
    last = last_group(data, groupdq)
    assert not last[RIM].any()
    assert last[CORE].all()


def test_bad_saturated_and_hit_pixels():
    data, groupdq, _ = ramps(400, 400, seed=6)
    expected = np.median(last_group(data, groupdq)[CORE])
    bad = NOTHING.copy()
    bad[40, 40] = True
    groupdq[0, -1, 42, 45] |= SATURATED
    data[0, 5:, 38, 44] += 2000
    groupdq[0, 5, 38, 44] |= JUMP_DET
    last = last_group(data, groupdq, bad)
    assert last[40, 40] == last[42, 45] == 0
    assert abs(np.median(last[CORE]) - expected) <= 1


def test_one_group_shows_nothing():
    data, groupdq, _ = ramps(400, 400, seed=7)
    part = np.s_[:, :1]
    assert (
        follow_charge_of_earlier(
            data[part], groupdq[part], NOTHING, level(), FULL, group_time=GROUP_TIME
        )
        == []
    )
