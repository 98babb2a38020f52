"""Jumps judged again: on ramps with known hits, stripes and events."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.check import check_jumps, subtract_stripes_inplace
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.large_events import EventHalos, levels_beside_events
from ceers_steps.kernels.jumps.settings import EVENTS, JUMPS
from ceers_steps.kernels.parts import with_neighbours
from ceers_steps.kernels.stripes.groups import GroupStripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout

SHAPE = (256, 256)
N_GROUPS = 9
READ = 3.0  # e-, of one group
GAIN = 2.0  # e- per unit of the data
RATE = 5.0  # e- per group
SIGMA = np.sqrt(RATE + 2 * READ**2)  # of a difference, e-
LAYOUT = ReadoutLayout(SHAPE, n_outputs=2)
ONE_OUTPUT = ReadoutLayout(SHAPE, n_outputs=1)
NOISE = GroupNoise(
    np.full(SHAPE, np.sqrt(2) * READ / GAIN, np.float32), np.full(SHAPE, GAIN, np.float32)
)
GOOD = np.zeros(SHAPE, bool)
# of the differences between groups in the slope of a straight line
WEIGHTS = np.arange(1, N_GROUPS) * np.arange(N_GROUPS - 1, 0, -1.0)
WEIGHTS /= WEIGHTS.sum()


def ramp(arriving=0.0, seed=0, stripes=0.0, rate=RATE):
    """Return data ``(1, groups, ny, nx)`` with charge (e-) that arrives in each group."""
    rng = np.random.default_rng(seed)
    gathered = rng.poisson(np.broadcast_to(rate, (N_GROUPS, *SHAPE))) + arriving
    data = np.cumsum(gathered, axis=0) + READ * rng.standard_normal(gathered.shape)
    rows = rng.standard_normal((N_GROUPS, SHAPE[0], 2))
    data += stripes * np.repeat(rows, SHAPE[1] // 2, axis=2)
    return (data / GAIN).astype(np.float32)[None]


def flags_of_noisy_pixels(data):
    """Flag jumps as the jump step does, with the photon noise of the pixel's own median."""
    differences = np.diff(GAIN * data, axis=1)
    middle = np.median(differences, axis=1, keepdims=True)
    jumps = np.abs(differences - middle) > 4 * np.sqrt(np.abs(middle) + 2 * READ**2)
    groupdq = np.zeros(data.shape, np.uint8)
    groupdq[:, 1:][jumps] = JUMP_DET
    return groupdq


def check(data, groupdq, bad=GOOD, **options):
    return check_jumps(data, groupdq, bad, NOISE, LAYOUT, **options)


def rates(data, jumps):
    """Mean of the differences without jumps, weighted as in a straight line; e- per group."""
    weight = WEIGHTS[:, None, None] * ~jumps[0, 1:]
    return (np.diff(GAIN * data[0], axis=0) * weight).sum(0) / weight.sum(0)


@pytest.mark.parametrize("stripes", [0.0, 3.0])
def test_noise_peaks_are_no_jumps(stripes):
    data = ramp(stripes=stripes)
    groupdq = flags_of_noisy_pixels(data)
    found = check(data, groupdq)
    # not more than twice the peaks that a judge finds who knows rate, noise and stripes
    peaks = (np.diff(GAIN * ramp(), axis=1) - RATE > 4 * SIGMA).sum()
    assert found.jumps.sum() <= 2 * peaks
    flagged = (groupdq[0] != 0).any(axis=0)
    assert flagged.mean() > (0.005 if stripes else 0.001)
    assert found.n_cleared > 0.75 * (groupdq != 0).sum()  # the others are peaks above 4 sigma
    # the rate of pixels that lost their peaks was low by half a sigma or more; now it is not
    error = np.sqrt(RATE / 7 + 2 * READ**2 / 40)
    low = (rates(data, groupdq != 0) - RATE)[flagged].mean()
    now = (rates(data, found.jumps) - RATE)[flagged].mean()
    assert low < -0.4 * error
    assert abs(now) < 0.4 * abs(low)


def test_hits_are_found_and_strong_ones_with_their_neighbours():
    rng = np.random.default_rng(1)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    places = rng.permutation(np.argwhere(np.ones((32, 32))))[:300] * 8 + 3
    groups = rng.integers(1, N_GROUPS, len(places))
    sizes = np.where(np.arange(len(places)) % 2, 7.0, 20.0)
    arriving[groups, *places.T] = sizes * SIGMA
    data = ramp(arriving, seed=1)
    found = check(data, np.zeros(data.shape, np.uint8))
    jumps = found.jumps[0]
    at = jumps[groups, *places.T]
    assert at[sizes == 20].all()
    assert at[sizes == 7].mean() > 0.98  # three sigma above the threshold
    assert found.n_added == jumps.sum()
    assert found.n_hits < 1.05 * len(places) + 2 * 3.2e-5 * data.size
    beside = jumps[groups, places[:, 0], places[:, 1] + 1]
    assert beside[sizes == 20].all()
    assert beside[sizes == 7].mean() < 0.05


@pytest.mark.parametrize("stripes", [0.0, 3.0])
def test_of_two_differences_the_surroundings_tell_which_holds_the_hit(stripes):
    rng = np.random.default_rng(41)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    places = rng.permutation(np.argwhere(np.ones((32, 32))))[:300] * 8 + 3
    groups = rng.integers(1, 3, len(places))
    arriving[groups, *places.T] = np.where(np.arange(len(places)) % 2, 7.0, 20.0) * SIGMA
    data = ramp(arriving, seed=41, stripes=stripes)[:, :3]
    jumps = check(data, np.zeros(data.shape, np.uint8)).jumps[0]
    assert jumps[groups, *places.T].mean() > 0.98
    assert jumps[3 - groups, *places.T].mean() < 0.02
    # peaks of the noise: not more than twice those of a judge who knows rate, noise and stripes
    quiet = ramp(seed=42, stripes=stripes)[:, :3]
    found = check(quiet, flags_of_noisy_pixels(quiet))
    peaks = (np.diff(GAIN * ramp(seed=42)[:, :3], axis=1) - RATE > 4 * SIGMA).sum()
    assert found.jumps.sum() <= 2 * peaks


@pytest.mark.parametrize(("n_frames", "found"), [(1, False), (8, True)])
def test_a_hit_while_the_middle_group_is_read_is_in_both_differences(n_frames, found):
    """Both are hits where groups are averages; else the lower one would be that of a source."""
    # tracks of several pixels, around which the surroundings are not smooth
    y, x = (side.ravel() for side in np.indices(SHAPE))
    track = (y % 32 < 2) & (x % 32 < 4)
    y, x = y[track], x[track]
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[1, y, x], arriving[2, y, x] = 60 * SIGMA, 8 * SIGMA
    data = ramp(arriving, seed=43)[:, :3]
    noise = replace(NOISE, read=NOISE.read * np.sqrt(n_frames), n_frames=n_frames, group_frames=10)
    groupdq = np.zeros(data.shape, np.uint8)
    jumps = check_jumps(data, groupdq, GOOD, noise, LAYOUT).jumps[0]
    assert jumps[1, y, x].mean() > 0.98
    assert (jumps[2, y, x].mean() > 0.95) == found


def test_sources_are_no_hits_and_hits_on_them_are_found():
    y, x = np.indices(SHAPE)
    rate = RATE + 3000 * np.exp(-((y % 64 - 32) ** 2 + (x % 64 - 32) ** 2) / (2 * 2.0**2))
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[4, 32::64, 32::64] = 8 * np.sqrt(3000)
    data = ramp(arriving, seed=2, rate=rate)
    jumps = check(data, np.zeros(data.shape, np.uint8)).jumps[0]
    assert jumps[4, 32::64, 32::64].all()
    hits = np.zeros_like(jumps)
    hits[4] = arriving[4] > 0
    other = jumps & (rate > 2 * RATE)
    other[3:6] = False
    assert other.sum() < 1e-3 * (rate > 2 * RATE).sum() * N_GROUPS


def test_stripes_leave_cut_ramps_as_clean_as_whole_ones():
    data = ramp(seed=3, stripes=4.0)
    found = check(data, np.zeros(data.shape, np.uint8))
    clean = data.copy()
    subtract_stripes_inplace(clean, found.stripes)
    np.testing.assert_array_equal(clean[:, 0], data[:, 0])
    # whole ramps keep their rate, stripes included: the pattern sums to nothing
    nothing = np.zeros(data.shape, bool)
    np.testing.assert_allclose(rates(clean, nothing), rates(data, nothing), atol=2e-3)
    cut = nothing.copy()
    cut[:, 4] = True
    whole = rates(clean, nothing)
    before = np.std((rates(data, cut) - whole).mean(axis=1))
    after = np.std((rates(clean, cut) - whole).mean(axis=1))
    # white noise alone gives this, for the mean of a row; the pattern is known twice as well
    white = np.sqrt(np.sum((WEIGHTS / (1 - WEIGHTS[3]) * (np.arange(8) != 3) - WEIGHTS) ** 2))
    assert before > 0.25
    assert after < 2 * white * SIGMA / np.sqrt(SHAPE[1])


def test_what_neighbours_got_of_a_hit_is_no_stripe():
    # within rows too, so that the pattern follows what single pixels hold
    rng = np.random.default_rng(7)
    fast = 1.5 * np.cumsum(rng.standard_normal((N_GROUPS, *SHAPE)), axis=2)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    y, x = rng.permutation(np.argwhere(np.ones((32, 32))))[:300].T * 8 + 3
    groups = rng.integers(1, N_GROUPS, len(y))
    arriving[groups, y, x] = 30 * SIGMA
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        arriving[groups, y + dy, x + dx] = 2.5 * SIGMA
    found = []
    for charge in (arriving, 0.0):
        data = ramp(charge, seed=7, stripes=4.0) + np.float32(fast / GAIN)
        pattern = check(data, np.zeros(data.shape, np.uint8)).stripes[0]
        found.append(GAIN * np.repeat(pattern, SHAPE[1] // pattern.shape[-1], axis=-1))
    taken = (found[0] - found[1])[:, y, x]
    other = np.arange(1, N_GROUPS)[:, None] != groups
    assert abs(taken[other].mean()) < 0.01 * SIGMA  # -0.04 if neighbours take part


def test_halos_of_large_events_are_no_stripes():
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 128, x - 70)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[5] = np.where(radius < 8, 5000.0, 60 * np.maximum(radius / 8, 1) ** -3.5)
    data = ramp(arriving, seed=4, stripes=2.0)
    groupdq = np.zeros(data.shape, np.uint8)
    found = check_jumps(data, groupdq, GOOD, NOISE, ONE_OUTPUT)
    pattern = np.repeat(found.stripes[0], SHAPE[1] // found.stripes.shape[-1], axis=-1)
    halo = (radius > 16) & (radius < 30)
    without = ramp(0.0, seed=4, stripes=2.0)
    truth = check_jumps(without, groupdq, GOOD, NOISE, ONE_OUTPUT).stripes[0]
    truth = np.repeat(truth, SHAPE[1] // truth.shape[-1], axis=-1)
    taken = (GAIN * (pattern - truth)[4][halo]).mean()
    # of 0.4 sigma; patterns from a row of 256 pixels, half of it masked, are known to 0.09 sigma
    # and 46 rows take part
    assert abs(taken) < 4 * 0.09 * SIGMA / np.sqrt(46)


def test_an_event_of_the_first_difference_beside_reference_pixels():
    """What never works is no part of it: a frame of reference pixels would be one large core."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 128, x - 240)
    bad = (np.minimum(y, SHAPE[0] - 1 - y) < 4) | (np.minimum(x, SHAPE[1] - 1 - x) < 4)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[1] = np.where(radius < 14, 5000.0, 300 * np.maximum(radius / 14, 1) ** -4.5)
    patterns = []
    for charge in (arriving, 0.0):
        data = ramp(charge, seed=7, stripes=2.0)
        found = check_jumps(data, np.zeros(data.shape, np.uint8), bad, NOISE, ONE_OUTPUT)
        patterns.append(GAIN * np.repeat(found.stripes[0][0], 256 // found.stripes.shape[-1], 1))
    beside = (radius > 20) & (radius < 40) & ~bad
    taken = (patterns[0] - patterns[1])[beside].mean()
    # of 5 sigma in the mean
    assert abs(taken) < EVENTS.faintest * SIGMA


def test_levels_of_rows_that_a_halo_fills():
    # more than half of the pixels of 150 rows
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 128, x - 110)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[5] = np.where(radius < 16, 5000.0, 300 * np.maximum(radius / 16, 1) ** -3.5)
    patterns = []
    for charge in (arriving, 0.0):
        data = ramp(charge, seed=4, stripes=2.0)
        found = check_jumps(data, np.zeros(data.shape, np.uint8), GOOD, NOISE, ONE_OUTPUT)
        patterns.append(GAIN * found.stripes[0].mean(axis=2))
    beside = np.abs(np.arange(SHAPE[0]) - 128) < 50
    taken = (patterns[0] - patterns[1])[:, beside].mean(axis=1)
    # what is fainter is not followed; 0.44 sigma if the halo counts as rows
    assert np.abs(taken).max() < EVENTS.faintest * SIGMA


def test_what_is_faint_of_a_halo_is_no_stripe(monkeypatch):
    """Beyond the pixels that are left out: a part of it is in the patterns if it is not known."""
    y, x = np.indices(SHAPE)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    for at in ((70, 60), (180, 190)):
        radius = np.hypot(y - at[0], x - at[1])
        arriving[5] += np.where(radius < 10, 5000.0, 60 * np.maximum(radius / 10, 1) ** -4.0)
    faint = (arriving[5] < EVENTS.faintest * SIGMA) & (arriving[5] > 0.3 * EVENTS.faintest * SIGMA)
    means = []
    for known in (False, True):
        if known:
            monkeypatch.undo()
        else:
            monkeypatch.setattr(EventHalos, "take_from", lambda *_: None)
        patterns = []
        for seed in (6, 7, 8):
            data = ramp(arriving, seed=seed, stripes=2.0)
            found = check_jumps(data, np.zeros(data.shape, np.uint8), GOOD, NOISE, ONE_OUTPUT)
            patterns.append(GAIN * found.stripes[0])
        pattern = np.mean(patterns, axis=0)
        pattern = np.repeat(pattern, SHAPE[1] // pattern.shape[-1], axis=-1)
        means.append([pattern[k][faint].mean() for k in (4, 1)] / arriving[5][faint].mean())
    in_its_group, in_another = np.array(means[0]) - means[1]
    assert 0.2 < in_its_group < 0.8
    assert -0.2 < in_another < 0  # the patterns sum to nothing


def test_rates_beside_an_event_are_those_of_other_differences(monkeypatch):
    """The largest difference of a pixel there is that of the event, elsewhere one of noise."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 128, x - 64)
    halo = np.where(radius < 6, 5000.0, 30 * np.maximum(radius / 6, 1) ** -2.5)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[4], arriving[5] = 0.15 * halo, 0.85 * halo
    near, far = (radius > 12) & (radius < 30), radius > 90
    taken = []

    def spy(excess, rows, cols, outputs, levels, events):
        above = np.full(SHAPE, np.nan)
        above[np.ix_(rows, cols)] = excess - levels[rows][:, outputs]
        if events[0].group == 4:
            there = arriving[5][near].mean() / SIGMA
            taken.append(there - np.nanmean(above[near]) + np.nanmean(above[far]))
        return levels_beside_events(excess, rows, cols, outputs, levels, events)

    monkeypatch.setattr("ceers_steps.kernels.jumps.judge.levels_beside_events", spy)
    for seed in range(6):
        data = ramp(arriving, seed=seed)
        check_jumps(data, np.zeros(data.shape, np.uint8), GOOD, NOISE, ONE_OUTPUT)
    # of 0.27 sigma, to 0.007; 0.066 where the largest is left out
    assert len(taken) == 6
    assert abs(np.mean(taken)) < 0.04


def test_rates_found_anew_beside_an_event_are_no_step_of_the_levels(monkeypatch):
    """The covariance of the stripes is learnt from levels: a step would be 1/f noise."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 20, x - 20)
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[5] = np.where(radius < 8, 5000.0, 30 * np.maximum(radius / 8, 1) ** -4.0)
    steps, find = [], GroupStripes.find

    def spy(self, residual, levels):
        steps.append(GAIN * (levels[:60].mean() - levels[150:].mean()) / SIGMA)
        return find(self, residual, levels)

    monkeypatch.setattr(GroupStripes, "find", spy)
    # rates are found anew in the strips of rows that have an event
    strips = replace(JUMPS, strip_pixels=32 * SHAPE[1])
    for seed in range(4):
        data = ramp(arriving, seed=seed)
        groupdq = np.zeros(data.shape, np.uint8)
        check_jumps(data, groupdq, GOOD, NOISE, ONE_OUTPUT, settings=strips)
    # of 0.2 sigma by which a mean without the largest of 8 is low, to 0.001; was -0.014
    assert len(steps) == 4 * (N_GROUPS - 1)
    assert abs(np.mean(steps)) < 0.004


def test_pixels_that_took_no_part_in_the_stripes_have_their_own_noise():
    # within rows, so that stripes fit pixels that take part better than those that do not
    rng = np.random.default_rng(5)
    white = rng.standard_normal((N_GROUPS, *SHAPE)).astype(np.float32)
    fast = 40 * ndimage.gaussian_filter1d(white, 6, axis=2)
    hit = rng.random(SHAPE) < 0.08
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[4, hit] = 20 * SIGMA
    data = ramp(arriving, seed=6) + np.float32(fast / GAIN)
    jumps = check(data, np.zeros(data.shape, np.uint8)).jumps[0, 1:]
    assert jumps[3, hit].mean() > 0.99
    beside = with_neighbours(hit)
    others = np.delete(jumps, 3, axis=0)
    # 45 and 95 flags; 1.7 times as often if all pixels had the noise of most
    assert others[:, beside].mean() < 1.4 * others[:, ~beside].mean()


@pytest.mark.parametrize("amplitude", [0.0, 2.0])
def test_what_stripes_leave_in_pixels_that_took_no_part_is_measured(amplitude):
    rng = np.random.default_rng(8)
    n = SHAPE[0] * LAYOUT.row_ticks
    modes = rng.standard_normal((2, N_GROUPS, 2, n // 2 + 1)).astype(np.float32)
    waves = (modes[0] + 1j * modes[1]) / np.sqrt(np.maximum(np.fft.rfftfreq(n), 1 / n))
    series = np.fft.irfft(amplitude / 4 * waves, n, norm="ortho").astype(np.float32)
    stripes = np.stack([LAYOUT.to_image(each) for each in series]) / GAIN
    hit = rng.random(SHAPE) < 0.08
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[4, hit] = 20 * SIGMA
    data = ramp(arriving, seed=6) + stripes
    found = check(data, np.zeros(data.shape, np.uint8))
    there = np.diff(stripes, axis=0)
    there -= np.tensordot(WEIGHTS, there, axes=1)
    subtracted = np.zeros_like(data)
    subtract_stripes_inplace(subtracted, found.stripes)
    left = there + np.diff(subtracted[0], axis=0)
    # what changes from a pixel to the next no pattern takes out
    variance = left[:, hit].var() - np.diff(there, axis=2).var() / 2
    variance /= 2 * (READ / GAIN) ** 2
    # stripes of which the covariance is not learnt to the end fit less of the noise than they leave
    assert 0.5 * variance - 0.02 < found.stripe_noise < variance + 0.02


def test_flags_that_cannot_be_judged_stay():
    data = ramp(seed=5)
    groupdq = np.zeros(data.shape, np.uint8)
    bad = GOOD.copy()
    bad[10, 10] = True
    groupdq[0, 3, 10, 10] = JUMP_DET
    data[0, 5, 30, 30] = np.nan
    groupdq[0, 5, 30, 30] = JUMP_DET
    groupdq[0, 6:, 50, 50] = SATURATED
    groupdq[0, 7, 50, 50] |= JUMP_DET
    # the jump step may flag what follows a strong hit
    data[0, 4:, 80, 80] += 100 * SIGMA / GAIN
    groupdq[0, 4:7, 80, 80] = JUMP_DET
    groupdq[0, 2, 80, 90] = JUMP_DET  # noise
    inputs = data.copy(), groupdq.copy(), bad.copy()
    jumps = check(data, groupdq, bad).jumps[0]
    assert jumps[3, 10, 10]
    assert jumps[5, 30, 30]
    assert jumps[7, 50, 50]
    np.testing.assert_array_equal(jumps[:, 80, 80], [0, 0, 0, 0, 1, 1, 1, 0, 0])
    assert not jumps[2, 80, 90]
    for after, before in zip((data, groupdq, bad), inputs, strict=True):
        np.testing.assert_array_equal(after, before)


def test_what_a_hit_gives_its_neighbours_while_it_saturates():
    """In the frames of the second group: one difference is left, which took itself for its rate."""
    arriving = np.zeros((N_GROUPS, *SHAPE))
    groupdq = np.zeros((1, N_GROUPS, *SHAPE), np.uint8)
    for y, x in [(40, 60), (90, 20), (200, 150)]:
        across = np.abs(np.indices(SHAPE) - np.array([y, x])[:, None, None]).sum(axis=0)
        arriving[1:3, across == 1] = 200 * SIGMA
        arriving[1:3, across == 0] = 1e4 * SIGMA
        groupdq[0, 1, across == 0] = DO_NOT_USE
        groupdq[0, 2:, across <= 1] = SATURATED
        groupdq[0, 1, across == 1] = JUMP_DET  # as the jump step does
    jumps = check(ramp(arriving, seed=8), groupdq).jumps[0]
    assert jumps[1][groupdq[0, 1] == JUMP_DET].all()


def test_a_hit_in_the_only_difference_before_an_event():
    """It passed for the rate of a pixel that the event fills; that of a star does too."""
    arriving = np.zeros((N_GROUPS, *SHAPE))
    groupdq = np.zeros((1, N_GROUPS, *SHAPE), np.uint8)
    hit, star, core = (60, 60), (60, 70), np.s_[50:80, 50:80]
    arriving[2, *core] = 4e3 * SIGMA
    arriving[1, *hit] = 60 * SIGMA
    groupdq[0, 2:, *core] = SATURATED
    arriving[1:, 200, 150] = 2e3 * SIGMA  # a star that saturates by itself
    groupdq[0, 3:, 200, 150] = SATURATED
    arriving[1:, *star] = 3e3 * SIGMA
    data = ramp(arriving, seed=9)
    jumps = check(data, groupdq).jumps[0]
    assert jumps[1][hit]
    assert not jumps[1][star]
    assert not jumps[:, 200, 150].any()
    alone = jumps[1, *core]
    assert alone.sum() == 1


def test_without_a_pixel_to_find_stripes_in_jumps_are_judged_all_the_same():
    """A group is lost, or the frame is so full of events that nothing is far from all of them."""
    hits = np.zeros(SHAPE, bool)
    hits[4::48, 4::48] = True
    arriving = np.zeros((N_GROUPS, *SHAPE))
    arriving[6, hits] = 30 * SIGMA
    groupdq = np.zeros((1, N_GROUPS, *SHAPE), np.uint8)
    groupdq[0, 3] = DO_NOT_USE
    checked = check(ramp(arriving, seed=10), groupdq)
    assert checked.jumps[0, 6, hits].all()
    assert checked.stripes is None


def test_stripes_of_one_integration_stay_when_another_has_none():
    full, plain = ramp(seed=10), ramp(seed=11, stripes=2.0)
    groupdq = np.zeros((2, N_GROUPS, *SHAPE), np.uint8)
    groupdq[0, 3] = DO_NOT_USE
    both = check(np.concatenate([full, plain]), groupdq)
    alone = check(plain, groupdq[1:])
    np.testing.assert_array_equal(both.stripes[0], 0)
    np.testing.assert_array_equal(both.stripes[1], alone.stripes[0])


@pytest.mark.parametrize("lost", [0, 1])
def test_an_integration_that_is_lost_does_not_keep_the_other_from_being_judged(lost):
    data = np.concatenate([ramp(seed=10), ramp(seed=11)])
    groupdq = np.concatenate([flags_of_noisy_pixels(one[None]) for one in data])
    groupdq[lost] |= DO_NOT_USE
    both = check(data, groupdq)
    kept = 1 - lost
    alone = check(data[kept : kept + 1], groupdq[kept : kept + 1])
    np.testing.assert_array_equal(both.jumps[kept], alone.jumps[0])
    np.testing.assert_array_equal(both.jumps[lost], groupdq[lost] & JUMP_DET != 0)
    assert both.noise_scale == alone.noise_scale
    groupdq[:] |= DO_NOT_USE
    with pytest.raises(ValueError, match="no pixel has a usable difference"):
        check(data, groupdq)


def test_integrations_are_judged_one_by_one():
    one, two = ramp(seed=6), ramp(seed=7)
    both = check(np.concatenate([one, two]), np.zeros((2, N_GROUPS, *SHAPE), np.uint8))
    alone = check(two, np.zeros(two.shape, np.uint8))
    np.testing.assert_array_equal(both.jumps[1], alone.jumps[0])
    np.testing.assert_array_equal(both.stripes[1], alone.stripes[0])


def test_a_frame_averaged_on_board_has_less_photon_noise():
    """Of groups of 8 frames, 10 apart, against drawn photons."""
    rng = np.random.default_rng(8)
    arrived = np.cumsum(rng.poisson(10.0, (20_000, 20)), axis=1)
    difference = arrived[:, 10:18].mean(axis=1) - arrived[:, :8].mean(axis=1)
    noise = GroupNoise(NOISE.read, NOISE.gain, 8, 10)
    # the standard error of a variance from 20,000 is 1%
    assert noise.photon_factor() * 100 == pytest.approx(np.var(difference), rel=0.04)


@pytest.mark.parametrize(
    ("change", "message"),
    [("short", "2 groups .NGROUPS., 3 are needed"), ("unusable", "no pixel has a usable")],
)
def test_nothing_to_judge(change, message):
    data = ramp()
    groupdq = np.zeros(data.shape, np.uint8)
    if change == "short":
        data, groupdq = data[:, :2], groupdq[:, :2]
    else:
        groupdq[...] = DO_NOT_USE
    with pytest.raises(ValueError, match=message):
        check(data, groupdq)
