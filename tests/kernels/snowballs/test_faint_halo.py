"""Faint halos: charge of known profile beyond the flags is found and taken out, nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.snowballs import faint_halo
from ceers_steps.kernels.snowballs.adaptive import Snowball, measure_snowballs
from ceers_steps.kernels.snowballs.faint_halo import subtract_faint_halos_inplace

SHAPE = (230, 260)
N_GROUPS = 7
GROUP = 3  # from 0
SIGMA = 6.0
RATE = 20.0
CENTRE = (120.0, 125.0)
CORE = 10.0


def radius(axis_ratio=1.0, angle=30.0, centre=CENTRE):
    """Elliptical radius over that of the core."""
    y, x = np.indices(SHAPE) - np.reshape(centre, (2, 1, 1))
    a = np.radians(angle)
    along, across = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
    return np.hypot(along * np.sqrt(axis_ratio), across / np.sqrt(axis_ratio)) / CORE


PROFILES = {
    "steep power law": lambda u: 2500 * np.maximum(u, 1) ** -5.0,
    "shallow power law": lambda u: 300 * np.maximum(u, 1) ** -3.0,
    "moffat": lambda u: 4000 * (1 + (u / 1.3) ** 2) ** -2.4,
    "exponential": lambda u: 1500 * np.exp(-(u - 1) / 0.4),
    "gaussian": lambda u: 2000 * np.exp(-(u**2 - 1) / 2.0),
    # it ends at an edge, where the logarithm of the radius is no guide
    "king": lambda u: 900 * np.maximum(1 / np.hypot(1, u) - 1 / np.hypot(1, 6.0), 0) ** 2,
}


def ramp(profile, *, seed=1, n_groups=N_GROUPS, split=1.0, **shape):
    """Return data and GROUPDQ after the jump step, and the charge per group of one event."""
    rng = np.random.default_rng(seed)
    u = radius(**shape)
    event = np.where(u < 1, 80_000.0, profile(u))
    charge = np.zeros((n_groups, *SHAPE), np.float32)
    charge[GROUP] = split * event
    if split < 1:
        charge[GROUP + 1] = (1 - split) * event
    gathered = RATE + np.sqrt(RATE) * rng.standard_normal(charge.shape) + charge
    read = np.sqrt((SIGMA**2 - RATE) / 2) * rng.standard_normal(charge.shape)
    data = (np.cumsum(gathered, axis=0) + read).astype(np.float32)
    groupdq = np.zeros(data.shape, np.uint8)
    excess = np.diff(data, axis=0) - RATE
    groupdq[1:][excess > 4 * SIGMA] = JUMP_DET
    groupdq[np.maximum.accumulate(data > 60_000, axis=0)] = SATURATED
    return data[None], groupdq[None], charge


def flagged(data, groupdq):
    """Return GROUPDQ with the flags of the events, and the events."""
    found = measure_snowballs(data, groupdq, np.zeros(SHAPE, bool), group_time=100.0)
    return groupdq | np.where(found.flags, JUMP_DET, 0).astype(np.uint8), found.events


def subtracted(data, groupdq, events, **options):
    """Return what is taken out of every difference, sigma, and the result."""
    bad = options.pop("bad", np.zeros(SHAPE, bool))
    clean = data.copy()
    result = subtract_faint_halos_inplace(clean, groupdq, bad, events, **options)
    return np.diff(data - clean, axis=1)[0] / SIGMA, result


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("shape", [{}, {"axis_ratio": 0.65}], ids=["round", "elliptical"])
def test_halos_of_any_profile_are_taken_out(name, shape):
    """To a fifth of the charge that is there in unflagged pixels, near the flags and far."""
    data, groupdq, charge = ramp(PROFILES[name], **shape)
    groupdq, events = flagged(data, groupdq)
    assert len(events) == 1
    halo, result = subtracted(data, groupdq, events)
    assert (result.n_subtracted, result.n_refused) == (1, 0)
    true = charge[GROUP] / SIGMA
    unflagged = groupdq[0, GROUP] == 0
    for near in (unflagged & (true > 0.25), unflagged & (true > 0.05) & (true < 0.25)):
        noise = 1 / np.sqrt(np.count_nonzero(near))  # of the mean of as many differences
        left = (true - halo[GROUP - 1])[near].mean()
        assert abs(left) < 0.2 * true[near].mean() + 4 * noise
        # and it does not make the scatter larger than it was
        assert (true - halo[GROUP - 1])[near].std() < true[near].std() + noise
    assert np.abs(np.delete(halo, [GROUP - 2, GROUP - 1, GROUP], axis=0)).max() < 1e-3
    # what is flagged stays as it is
    assert np.abs(halo[GROUP - 1][~unflagged]).max() < 1e-3


def test_charge_that_falls_into_two_groups():
    """The two share their profile: the mean of three is known to a fifth, the split better."""
    seen, there = np.zeros(2), np.zeros(2)
    for seed in range(3):
        data, groupdq, charge = ramp(PROFILES["moffat"], split=0.4, seed=seed)
        groupdq, events = flagged(data, groupdq)
        halo, _ = subtracted(data, groupdq, events)
        for k, g in enumerate((GROUP, GROUP + 1)):
            true = charge[g] / SIGMA
            near = (groupdq[0, g] == 0) & (true > 0.05)
            seen[k] += halo[g - 1][near].sum()
            there[k] += true[near].sum()
    np.testing.assert_allclose(seen / there, 1, atol=0.2)
    assert seen[0] / seen[1] == pytest.approx(there[0] / there[1], rel=0.15)


def test_the_part_of_a_hit_in_the_groups_beside_is_none_of_the_event():
    """A cosmic ray in the bright part of an event, one group earlier, moves nothing there."""
    data, groupdq, _ = ramp(PROFILES["moffat"])
    data[0, GROUP - 1 :, 120:124, 150:156] += 3000.0
    groupdq[0, GROUP - 1, 120:124, 150:156] = JUMP_DET
    groupdq, events = flagged(data, groupdq)
    halo, _ = subtracted(data, groupdq, events)
    assert halo[GROUP - 1].max() > 0.1
    assert np.abs(halo[GROUP - 2]).max() < 1e-3


def test_short_ramps():
    """With four groups a single difference is left to tell the rate."""
    data, groupdq, charge = ramp(PROFILES["moffat"], n_groups=5)
    groupdq, events = flagged(data, groupdq)
    halo, _ = subtracted(data, groupdq, events)
    true = charge[GROUP] / SIGMA
    near = (groupdq[0, GROUP] == 0) & (true > 0.05)
    assert halo[GROUP - 1][near].mean() == pytest.approx(true[near].mean(), rel=0.3)


def test_the_difference_before_an_event_tells_the_rate_of_a_short_ramp():
    """With four differences, one of which cannot be used, none is left that is not beside it."""
    data, groupdq, charge = ramp(PROFILES["moffat"], n_groups=5)
    groupdq, events = flagged(data, groupdq)
    groupdq[0, 1] |= JUMP_DET
    halo, result = subtracted(data, groupdq, events)
    assert (result.n_subtracted, result.n_refused) == (1, 0)
    true = charge[GROUP] / SIGMA
    near = (groupdq[0, GROUP] == 0) & (true > 0.05)
    assert halo[GROUP - 1][near].mean() == pytest.approx(true[near].mean(), rel=0.3)


def test_the_difference_before_an_event_is_left_out_where_it_holds_a_part():
    """The charge that came in it would be taken for the rate."""
    data, groupdq, charge = ramp(PROFILES["moffat"], n_groups=5, split=0.4)
    groupdq, events = flagged(data, groupdq)
    event = [replace(each, group=GROUP + 1) for each in events[:1]]  # seen where most of it came
    halo, result = subtracted(data, groupdq, event)
    assert result.n_subtracted == 1
    for g in (GROUP, GROUP + 1):
        true = charge[g] / SIGMA
        near = (groupdq[0, g] == 0) & (true > 0.05)
        assert halo[g - 1][near].mean() == pytest.approx(true[near].mean(), rel=0.3)


@pytest.mark.parametrize(("n_pixels", "trusted"), [(4, True), (400, False)])
def test_few_pixels_without_a_halo_do_not_refute_it(n_pixels, trusted):
    """Of a halo of half a sigma four pixels see one sigma, 400 ten: there it is not."""
    halo = np.zeros((20, 50), np.float32)
    halo.flat[:n_pixels] = 0.5
    excess = 0.25 * (halo > 0).astype(np.float32) if trusted else np.zeros_like(halo)
    good = np.ones(halo.shape, bool)
    assert faint_halo._is_confirmed(halo, excess, np.ones_like(halo), good) is trusted


def test_cut_by_an_edge():
    data, groupdq, charge = ramp(PROFILES["moffat"], centre=(3.0, 125.0))
    groupdq, events = flagged(data, groupdq)
    halo, _ = subtracted(data, groupdq, events)
    true = charge[GROUP] / SIGMA
    near = (groupdq[0, GROUP] == 0) & (true > 0.05)
    assert halo[GROUP - 1][near].mean() == pytest.approx(true[near].mean(), rel=0.3)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_taken_out_where_no_halo_is(seed):
    """A core whose halo ends where the flags end."""
    data, groupdq, charge = ramp(lambda u: np.where(u < 2.5, 60.0, 0.0), seed=seed)
    groupdq[0, GROUP][(charge[GROUP] > 0) & (groupdq[0, GROUP] == 0)] = JUMP_DET
    event = Snowball(0, GROUP, *CENTRE, CORE, 2.5 * CORE, 0.0, 0.0, True)
    halo, result = subtracted(data, groupdq, [event])
    assert np.abs(halo).max() < 1e-3
    assert result.n_subtracted == 0
    no_events, result = subtracted(data, groupdq, [])
    assert not no_events.any()
    assert result == faint_halo.FaintHalos(0, 0, 0.0)


def test_refused_where_too_little_is_left_to_measure():
    data, groupdq, _ = ramp(PROFILES["moffat"])
    groupdq, events = flagged(data, groupdq)
    bad = radius() > 3.2
    halo, result = subtracted(data, groupdq, events, bad=bad)
    assert (result.n_subtracted, result.n_refused) == (0, 1)
    assert not halo.any()


def test_a_galaxy_beside_the_event_stays():
    """What has been there in all groups is rate, not halo, and its noise leads nowhere."""
    data, groupdq, charge = ramp(PROFILES["moffat"])
    y, x = np.indices(SHAPE)
    galaxy = 300 * np.exp(-np.hypot(y - 120, x - 175) / 5)
    data += np.cumsum(np.ones(N_GROUPS))[:, None, None] * galaxy
    groupdq, events = flagged(data.astype(np.float32), groupdq)
    halo, _ = subtracted(data.astype(np.float32), groupdq, events)
    near = (galaxy > 3) & (groupdq[0, GROUP] == 0)
    true = charge[GROUP] / SIGMA
    assert abs((halo[GROUP - 1] - true)[near].mean()) < 0.3 * true[near].mean() + 0.02


def test_flags_at_the_rim_do_not_follow_the_noise_of_single_pixels():
    """Unflagged pixels around a large event are no lower than their charge: within 4 errors."""
    residuals = []
    for seed in range(3):
        u = radius()
        data, groupdq, charge = ramp(PROFILES["shallow power law"], seed=10 + seed)
        assert groupdq[0, GROUP].any()
        groupdq, _ = flagged(data, groupdq)
        rim = ndimage.binary_dilation(groupdq[0, GROUP] != 0, iterations=4)
        rim &= (groupdq[0, GROUP] == 0) & (u > 2)
        difference = np.diff(data[0], axis=0)[GROUP - 1]
        residuals.append(((difference - RATE - charge[GROUP]) / SIGMA)[rim])
    rim = np.concatenate(residuals)
    assert abs(rim.mean()) < 4 / np.sqrt(rim.size)


def test_unusable_pixels_do_not_matter():
    data, groupdq, _ = ramp(PROFILES["moffat"])
    groupdq, events = flagged(data, groupdq)
    whole, _ = subtracted(data, groupdq, events)
    rng = np.random.default_rng(4)
    broken = rng.random(SHAPE) < 0.02
    data[0][:, broken], groupdq[0][:, broken] = 1e6, DO_NOT_USE
    bad = rng.random(SHAPE) < 0.02
    data[0][:, bad] = np.nan
    halo, _ = subtracted(data, groupdq, events, bad=bad)
    used = ~broken & ~bad
    assert np.abs(halo - whole)[:, used].max() < 0.2
    assert np.abs(halo - whole)[:, used].mean() < 0.01


def test_nothing_is_subtracted_where_others_crowd():
    """With a third of the surroundings flagged for others, no sky tells what a halo is."""
    data, groupdq, _ = ramp(PROFILES["moffat"])
    groupdq, events = flagged(data, groupdq)
    assert subtracted(data, groupdq, events)[1].n_subtracted == 1
    groupdq[0, GROUP - 1 : GROUP + 2, :, ::3] |= JUMP_DET
    taken, result = subtracted(data, groupdq, events)
    assert result.n_subtracted == 0
    assert not taken.any()


@pytest.mark.parametrize("apart", [75.0, 95.0])
def test_halos_that_overlap_are_counted_once(apart):
    """Two events in one difference: each is measured with the other taken out."""
    data, groupdq, charge = ramp(PROFILES["moffat"])
    u = radius(centre=(CENTRE[0], CENTRE[1] + apart))
    second = np.where(u < 1, 80_000.0, PROFILES["moffat"](u)).astype(np.float32)
    data[0, GROUP:] += second
    charge[GROUP] += second
    groupdq[0, GROUP][second > 4 * SIGMA] |= JUMP_DET
    groupdq[0][data[0] > 60_000] = SATURATED
    groupdq, events = flagged(data, groupdq)
    assert len(events) == 2
    halo, result = subtracted(data, groupdq, events)
    assert result.n_subtracted == 2
    true = charge[GROUP] / SIGMA
    near = (groupdq[0, GROUP] == 0) & (true > 0.05)
    noise = 1 / np.sqrt(np.count_nonzero(near))
    left = (true - halo[GROUP - 1])[near].mean()
    assert abs(left) < 0.2 * true[near].mean() + 4 * noise


def test_the_error_of_a_halo_is_known():
    """The mean of what is left scatters by no more than that, and by no less than a quarter."""
    left, expected = [], []
    for seed in range(6):
        data, groupdq, charge = ramp(PROFILES["moffat"], seed=20 + seed)
        groupdq, events = flagged(data, groupdq)
        halo, result = subtracted(data, groupdq, events)
        taken = halo[GROUP - 1] > 1e-3
        variance = result.variance[0]
        assert (variance[taken] > 0).all()
        assert not variance[(groupdq[0, GROUP - 1 : GROUP + 2] != 0).all(axis=0)].any()
        true = charge[GROUP] / SIGMA
        ring = taken & (true > 0.1) & (true < 0.3)
        left.append((true - halo[GROUP - 1])[ring].mean())
        # of this difference in the slope of a straight line
        weight = 6 * GROUP * (N_GROUPS - GROUP) / (N_GROUPS * (N_GROUPS**2 - 1))
        expected.append(variance[ring].mean() / (weight * SIGMA) ** 2)
    ratio = np.sqrt(np.mean(np.square(left)) / np.mean(expected))
    assert 0.25 < ratio < 1.25
