"""Charge that spills out of saturated cores: subtracted beyond the flags, light is not."""

import numpy as np
import pytest

from ceers_steps.kernels.dq import JUMP_DET, SATURATED
from ceers_steps.kernels.snowballs.adaptive import measure_snowballs
from ceers_steps.kernels.snowballs.faint_halo import subtract_faint_halos_inplace

SHAPE = (140, 150)
N_GROUPS = 9
SIGMA = 6.0
RATE = 20.0
CENTRE = (66.0, 72.0)
CORE = 8.0


def distance():
    """Distance from the core, pixels; negative inside."""
    y, x = np.indices(SHAPE) - np.reshape(CENTRE, (2, 1, 1))
    return np.hypot(y, x) - CORE


def cleaned(group, *, spill=0.0, light=None, lost=False, seed=1):
    """Return what spills into each difference, what is subtracted, flags and the result."""
    rng = np.random.default_rng(seed)
    d = distance()
    u = np.maximum(d / CORE + 1, 1)
    arrived = np.zeros((N_GROUPS, *SHAPE), np.float32)
    arrived[group] = np.where(d < 0, 80_000.0, 600.0 * u**-5)
    since = np.maximum(np.arange(N_GROUPS) - group + 1, 0)
    held = np.diff(-np.exp(-since / 3.0), prepend=-1.0)  # of the spilled charge, in each group
    spilled = held[:, None, None] * np.where(d > 0, spill * np.exp(-d / 2.0), 0)
    rate = RATE + (0 if light is None else light)
    gathered = rate + np.sqrt(RATE) * rng.standard_normal(arrived.shape) + arrived + spilled
    read = np.sqrt((SIGMA**2 - RATE) / 2) * rng.standard_normal(arrived.shape)
    data = (np.cumsum(gathered, axis=0) + read).astype(np.float32)[None]
    if lost:  # a few values that are none, all around
        y, x = (int(at) for at in CENTRE)
        data[..., y - 16 : y + 17 : 8, x - 16 : x + 17 : 8] = np.nan
    groupdq = np.zeros(data.shape, np.uint8)
    groupdq[:, 1:][np.diff(data, axis=1) - rate > 4 * SIGMA] = JUMP_DET
    groupdq[np.maximum.accumulate(data > 60_000, axis=1)] = SATURATED
    bad = np.zeros(SHAPE, bool)
    found = measure_snowballs(data, groupdq, bad, group_time=100.0)
    groupdq |= np.where(found.flags, JUMP_DET, 0).astype(np.uint8)
    clean = data.copy()
    result = subtract_faint_halos_inplace(clean, groupdq, bad, found.events)
    taken = np.diff(data - clean, axis=1)[0] / SIGMA
    return spilled[1:] / SIGMA, taken, groupdq[0, 1:] != 0, result


def around(flags, reach=20.0):
    """Return the unflagged pixels around the core in each difference."""
    d = distance()
    return ~flags & (d > 0) & (d < reach)


@pytest.mark.parametrize("group", [0, 1, 4])
def test_charge_beyond_the_flags_is_subtracted(group):
    """What is left of the mean of all differences after the event's own: a fifth."""
    spilled, taken, flags, result = cleaned(group, spill=900.0)
    assert result.n_spills == 1
    here = around(flags)
    here[: group + 1] = False
    there = spilled[here].sum() / here[-1].sum()
    error = np.sqrt(here.sum()) / here[-1].sum()
    left = (spilled - taken)[here].sum() / here[-1].sum()
    assert there > 0.1  # sigma of a difference, in all of them together
    assert abs(left) < 0.2 * there + 2 * error
    assert result.variance is not None


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("group", [1, 4])
def test_nothing_is_subtracted_where_nothing_spills(group, seed):
    """The noise around a core that saturates is left alone."""
    result = cleaned(group, seed=seed)[-1]
    assert result.n_spills == 0


@pytest.mark.parametrize("group", [1, 2, 5])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (5.0, -8.0)], ids=["under it", "beside it"])
def test_a_galaxy_under_an_event_stays(group, centre):
    """It was there before, and does not fade, whether something was before or not."""
    y, x = np.indices(SHAPE) - np.reshape(CENTRE, (2, 1, 1)) - np.reshape(centre, (2, 1, 1))
    galaxy = 0.6 * SIGMA * np.exp(-np.hypot(y, x) / 12.0)
    for spill in (0.0, 900.0):
        *_, result = cleaned(group, spill=spill, light=galaxy)
        assert result.n_spills == 0


@pytest.mark.parametrize("group", [1, 5])
def test_compact_light_under_an_event_stays(group):
    """A source that ends where the spilled charge does: it was there before, or does not fade."""
    source = np.where(distance() < 9, 0.4 * SIGMA, 0)
    *_, result = cleaned(group, light=source)
    assert result.n_spills == 0


@pytest.mark.parametrize("group", [4, 5])
def test_values_that_are_none_do_not_hide_light(group):
    galaxy = 0.3 * SIGMA * np.exp(-(distance() + CORE) / 12.0)
    *_, result = cleaned(group, light=galaxy, lost=True)
    assert result.n_spills == 0
