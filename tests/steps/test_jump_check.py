"""The check of jumps as a step: what it applies to, what it writes."""

import numpy as np
import pytest
from jwst.ramp_fitting import RampFitStep
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.steps.base import StepError
from ceers_steps.steps.inputs.rate_errors import correct_photon_noise
from ceers_steps.steps.jump_check import JumpCheckStep, RateErrorsStep, correct_rate_errors

SHAPE = (1, 6, 64, 64)
NOISE, RATE = 3.0, 10.0
GROUP_TIME = 107.4
JUMP = dqflags.group["JUMP_DET"]


pytestmark = pytest.mark.usefixtures("without_crds")


@pytest.fixture
def references(tmp_path):
    """Gain and read noise of a detector that the exposure is a corner of."""
    paths = {}
    for kind, opener, value in (
        ("gain", datamodels.GainModel, 2.0),
        ("readnoise", datamodels.ReadnoiseModel, np.sqrt(2) * NOISE),
    ):
        model = opener(data=np.full((128, 128), value, np.float32))
        model.data[0, 0] = np.nan
        model.meta.instrument.name = "NIRCAM"
        window = model.meta.subarray
        window.xstart = window.ystart = 1
        window.xsize = window.ysize = 128
        window.fastaxis, window.slowaxis = 1, 2
        path = tmp_path / f"{kind}.fits"
        model.save(path)
        paths[f"override_{kind}"] = str(path)
    return paths


def ramp(**keywords):
    """Return a ramp of noise with a hit at (20, 30) and a flag without one at (40, 50)."""
    rng = np.random.default_rng(3)
    n_groups = keywords.get("n_groups", SHAPE[1])
    shape = (1, n_groups, *SHAPE[2:])
    data = np.cumsum(np.full(shape, RATE), axis=1) + NOISE * rng.standard_normal(shape)
    data[0, 3:, 20, 30] += 300
    groupdq = np.zeros(shape, np.uint8)
    groupdq[0, min(2, n_groups - 1), 40, 50] = JUMP
    model = datamodels.RampModel(data=data.astype(np.float32), groupdq=groupdq)
    model.pixeldq = np.zeros(SHAPE[2:], np.uint32)
    model.meta.filename = "jw01345001001_02201_00001_nrcb4_jump.fits"
    model.meta.instrument.name = keywords.get("instrument", "NIRCAM")
    model.meta.instrument.detector = "NRCB4"
    model.meta.exposure.type = keywords.get("exp_type", "NRC_IMAGE")
    model.meta.exposure.group_time = GROUP_TIME
    model.meta.exposure.noutputs = 1
    model.meta.exposure.nframes = 1
    model.meta.exposure.groupgap = 0
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = 1, 2
    model.meta.subarray.xstart = keywords.get("xstart", 1)
    model.meta.subarray.ystart = 1
    model.meta.cal_step.jump = keywords.get("jump", "COMPLETE")
    return model


def entry(model):
    return model.meta.ceers_steps.instance["ceers_jump_check"]


def test_flags_groups_and_keywords(references):
    model = ramp()
    result = JumpCheckStep.call(model, **references)
    assert result.groupdq[0, 3, 20, 30] & JUMP
    assert not result.groupdq[0, 2, 40, 50] & JUMP
    assert result.meta.cal_step.instance["ceers_jump_check"] == "COMPLETE"
    metrics = entry(result)["metrics"]
    n = model.groupdq.size
    assert metrics["cleared_fraction"] == pytest.approx(1 / n)
    assert metrics["added_fraction"] == pytest.approx(np.count_nonzero(result.groupdq & JUMP) / n)
    # the ramp has read noise, but no photon noise
    assert metrics["noise_scale"] == pytest.approx(np.sqrt(18 / (18 + RATE / 2)), abs=0.05)
    # one hit, or with a noise peak or two: 20,000 differences at 4 sigma
    seconds = (SHAPE[1] - 1) * GROUP_TIME
    one = 1000 / (seconds * SHAPE[2] * SHAPE[3])
    assert one <= result.meta.exposure.primary_cosmic_rays * 1.001 <= 4.1 * one
    assert (result.data[:, 1:] != model.data[:, 1:]).any()
    assert not (model.groupdq[0, 3, 20, 30] & JUMP)  # standalone, the input stays as it was
    again = JumpCheckStep.call(result, **references)
    np.testing.assert_array_equal(again.data, result.data)


def test_parameters_take_effect(references):
    model = ramp()
    kept = JumpCheckStep.call(model, subtract_stripes=False, **references)
    np.testing.assert_array_equal(kept.data, model.data)
    assert entry(kept)["parameters"]["subtract_stripes"] is False
    high = JumpCheckStep.call(model, threshold=20, **references)
    low = JumpCheckStep.call(model, threshold=2.5, **references)
    counts = [np.count_nonzero(result.groupdq & JUMP) for result in (high, kept, low)]
    assert counts[0] <= counts[1] < counts[2]
    assert entry(low)["parameters"]["threshold"] == 2.5


@pytest.mark.parametrize(
    ("keywords", "options", "reason"),
    [
        ({"instrument": "NIRISS", "exp_type": "NIS_IMAGE"}, {}, "not NIRCam imaging"),
        ({"jump": "SKIPPED"}, {}, "jump step was skipped"),
        ({"n_groups": 2}, {}, "2 groups (NGROUPS), 3 are needed"),
        ({}, {"method": "none"}, "method is 'none'"),
    ],
)
def test_skipped(keywords, options, reason, references):
    model = ramp(**keywords)
    given = references if model.meta.instrument.name == "NIRCAM" else {}
    result = JumpCheckStep.call(model, **options, **given)
    np.testing.assert_array_equal(result.groupdq, model.groupdq)
    np.testing.assert_array_equal(result.data, model.data)
    assert result.meta.cal_step.instance["ceers_jump_check"] == "SKIPPED"
    assert reason in entry(result)["note"]


def test_nothing_usable_is_skipped_with_the_reason(references):
    model = ramp()
    model.pixeldq[...] = dqflags.pixel["DO_NOT_USE"]
    result = JumpCheckStep.call(model, **references)
    assert "no pixel has a usable difference" in entry(result)["note"]


def test_subarray_that_is_not_within_the_reference(references):
    with pytest.raises(StepError, match=r"SUBSTRT1=101.*not within the gain reference"):
        JumpCheckStep.call(ramp(xstart=101), **references)


@pytest.mark.parametrize(("n_frames", "gap"), [(2, 0), (8, 2)])
def test_errors_of_rates_predict_their_scatter(references, n_frames, gap):
    """Of ramps cut at random by flags on white noise, fitted by jwst."""
    gain, read, electrons, n_groups = 2.0, NOISE, 3.0, 8
    rng = np.random.default_rng(8)
    side, every = 128, n_frames + gap
    charge, groups = np.zeros((side, side)), []
    for _ in range(n_groups):
        frames = charge + np.cumsum(rng.poisson(electrons / every, (every, side, side)), axis=0)
        charge = frames[-1]
        groups.append(frames[:n_frames].mean(axis=0) / gain)
    data = np.array(groups) + read / np.sqrt(n_frames) * rng.standard_normal((n_groups, side, side))
    model = datamodels.RampModel(data=data[None].astype(np.float32))
    model.update(ramp())
    model.groupdq = np.zeros(model.data.shape, np.uint8)
    model.pixeldq = np.zeros((side, side), np.uint32)
    cut = rng.integers(0, n_groups, (side, side))  # group 0: not at all
    for g in range(1, n_groups):
        model.groupdq[0, g][cut == g] = JUMP
    model.meta.subarray.xsize = model.meta.subarray.ysize = side
    exposure = model.meta.exposure
    exposure.nframes, exposure.groupgap, exposure.ngroups, exposure.nints = (
        n_frames,
        gap,
        n_groups,
        1,
    )
    exposure.frame_time = GROUP_TIME / every
    step = RampFitStep()
    step.override_gain, step.override_readnoise = references.values()
    rate, _ = step.run(model)
    model.meta.cal_step.instance["ceers_jump_check"] = "COMPLETE"
    check = JumpCheckStep(**references)
    before = rate.err.copy()
    check.correct_errors = False
    correct_rate_errors(check, model, rate, None)
    np.testing.assert_array_equal(rate.err, before)
    check.correct_errors = True
    correct_rate_errors(check, model, rate, None)
    truth = electrons / gain / GROUP_TIME
    pull = (rate.data - truth) / rate.err
    for g in range(n_groups):
        here = pull[(cut == g) & np.isfinite(pull)]
        # of 2000 pixels: 0.022 and 0.016
        assert abs(here.mean()) < 0.09
        assert here.std() == pytest.approx(1, abs=0.06)
    uneven = (cut == 2) | (cut == 6)
    old = ((rate.data - truth) / before)[uneven].std()
    assert pull[uneven].std() == pytest.approx(1, abs=0.035)
    assert old > 1.035  # jwst's own is too small there


def test_noise_of_reads_that_the_reference_does_not_know():
    """Whole ramps tell it; of a cut one it is that of its segments, in each integration too."""
    side, n_groups, n_ints, read, extra = 128, 6, 2, 3.0, 2.0
    rng = np.random.default_rng(4)
    true_read = np.hypot(read, extra)
    shape = (n_ints, n_groups, side, side)
    groups = true_read * rng.standard_normal(shape)
    groups += 20 * rng.standard_normal((n_ints, n_groups, side, 1))  # stripes
    model = datamodels.RampModel(data=groups.astype(np.float32))
    model.update(ramp())
    model.groupdq = np.zeros(shape, np.uint8)
    model.groupdq[:, 3, :, 100:] = JUMP
    line = np.arange(n_groups) - 2.5
    left = np.where(np.arange(n_groups) < 3, line + 1.5, 0)
    cut_line = left - left[::-1]
    weights = np.where(np.arange(side) < 100, line[:, None], cut_line[:, None])
    weight = np.square(weights).sum(axis=0)
    slopes = np.einsum("gx,igyx->iyx", weights / weight, groups) / GROUP_TIME
    known = np.broadcast_to(read**2 / weight / GROUP_TIME**2, slopes.shape)
    rateints = datamodels.CubeModel(data=slopes.astype(np.float32))
    rate = datamodels.ImageModel(data=slopes.mean(axis=0).astype(np.float32))
    for product, variance in ((rateints, known), (rate, known[0] / n_ints)):
        product.var_rnoise = variance.astype(np.float32)
        product.var_poisson = np.zeros_like(product.var_rnoise)
        product.err = np.sqrt(product.var_rnoise)
        product.dq = np.zeros(product.data.shape, np.uint32)
    photons = np.full((side, side), 1e6, np.float32)  # so many that they have no noise
    noise = GroupNoise(np.full((side, side), np.sqrt(2) * read, np.float32), photons)
    correct_photon_noise(model, rate, rateints, noise)
    for product, n_averaged in ((rate, n_ints), (rateints, 1)):
        truth = true_read / np.sqrt(weight * n_averaged) / GROUP_TIME
        # 12,600 pairs of whole ramps tell their scatter to 1.2%, of which reads have 17% more
        expected = np.broadcast_to(truth, product.err.shape)
        np.testing.assert_allclose(product.err, expected, rtol=0.04)
        np.testing.assert_array_equal(product.var_poisson < 1e-3 * product.var_rnoise, True)


@pytest.mark.parametrize("level", [-0.5, 0.0, 0.5])
def test_level_of_the_rate_is_no_noise_of_reads(level):
    """1/f noise shifts the level of a rate, from which photon noise follows: 10% of it here."""
    read, true_read, photons, side, n_groups = 2.0, 2.3, 5.0, 300, 6
    rng = np.random.default_rng(31)
    shape = (n_groups, side, side)
    groups = np.cumsum(rng.poisson(photons, shape), axis=0) + true_read * rng.standard_normal(shape)
    model = datamodels.RampModel(data=groups[None].astype(np.float32))
    model.update(ramp())
    model.groupdq = np.zeros((1, *shape), np.uint8)
    cut = np.arange(side) >= 200
    model.groupdq[:, 3, :, cut] = JUMP
    line = np.arange(n_groups) - 2.5
    left = np.where(np.arange(n_groups) < 3, line + 1.5, 0)
    weights = np.where(cut, (left - left[::-1])[:, None], line[:, None])
    weight = np.square(weights).sum(axis=0)
    slopes = np.einsum("gx,gyx->yx", weights / weight, groups) / GROUP_TIME
    rate = datamodels.ImageModel(data=(slopes + level / GROUP_TIME).astype(np.float32))
    known = read**2 / weight / GROUP_TIME**2
    rate.var_rnoise = np.broadcast_to(known, rate.data.shape).astype(np.float32)
    rate.var_poisson = np.zeros_like(rate.var_rnoise)
    rate.err, rate.dq = np.sqrt(rate.var_rnoise), np.zeros(rate.data.shape, np.uint32)
    plane = np.ones((side, side), np.float32)
    noise = GroupNoise(np.sqrt(2) * read * plane, plane)
    true_scale = np.sqrt((photons + 2 * true_read**2) / (photons + 2 * read**2))
    correct_photon_noise(model, rate, None, noise, noise_scale=float(true_scale))
    for here in (cut, ~cut):
        # 30,000 pixels tell their scatter to 0.4%, as many pairs the noise to 0.5%
        pull = (rate.data[:, here] - np.median(rate.data)) / rate.err[:, here]
        assert pull.std() == pytest.approx(1, abs=0.015)


def test_faint_small_sources_have_their_photon_noise():
    """Not that of the mean of their surroundings, which is nearer to the sky's."""
    side, read, n_groups = 240, 0.5, 4
    rng = np.random.default_rng(12)
    y, x = np.mgrid[:side, :side]
    source = 2.0 * np.exp(-0.5 * ((y % 16 - 8) ** 2 + (x % 16 - 8) ** 2) / 1.2**2)
    true = (1.0 + source).astype(np.float32)
    noise = GroupNoise(np.full(true.shape, read), np.ones(true.shape))
    found = []
    for scatter in (0.0, 0.7):
        data = true + rng.normal(0, scatter, true.shape).astype(np.float32)
        model = datamodels.RampModel(data=np.zeros((1, n_groups, side, side), np.float32))
        model.update(ramp())
        model.groupdq = np.zeros(model.data.shape, np.uint8)
        rate = datamodels.ImageModel(data=data)
        rate.dq = np.zeros(true.shape, np.uint32)
        for name in ("var_rnoise", "var_poisson", "err"):
            setattr(rate, name, np.full(true.shape, 0.1, np.float32))
        correct_photon_noise(model, rate, None, noise)
        found.append(rate.var_poisson)
    # peaks of 3 sigma; sources of 225 x 10 pixels tell it to 2%. A box of 7 pixels has 0.60
    core = source > 1.0
    assert np.mean(found[1][core]) == pytest.approx(np.mean(found[0][core]), rel=0.2)


def test_what_stripes_leave_is_noise_of_cut_ramps_alone(references, checked):
    cut = np.zeros(SHAPE[2:], bool)
    cut[:, ::4] = True
    checked.groupdq[:] = 0
    checked.groupdq[0, 3][cut] = JUMP
    step = JumpCheckStep(**references)
    read = []
    for stripe_noise in (0.0, 0.5):
        metrics = {"metrics": {"stripe_noise": stripe_noise}}
        checked.meta.instance["ceers_steps"] = {"ceers_jump_check": metrics}
        rate, _ = fitted(references, checked.copy())
        correct_rate_errors(step, checked, rate, None)
        np.testing.assert_allclose(
            rate.err**2, rate.var_rnoise + rate.var_poisson, rtol=1e-5, equal_nan=True
        )
        read.append(rate.var_rnoise)
    added = read[1] - read[0]
    assert np.abs(added[~cut]).max() < 1e-3 * np.median(read[0])
    # segments of 3 and 3 groups in place of 6: weights of 4 and 17.5
    expected = 0.5 * np.median(read[0][cut]) * (1 - 4 / 17.5)
    assert np.median(added[cut]) == pytest.approx(expected, rel=0.05)


def fitted(references, model, **hooks):
    """Return the rates of ramps, by the step of jwst with these hooks."""
    step = RampFitStep(**hooks)
    step.override_gain, step.override_readnoise = references.values()
    return step.run(model)


@pytest.fixture
def checked():
    """Ramps of which jumps were checked."""
    model = ramp()
    exposure = model.meta.exposure
    exposure.ngroups, exposure.nints, exposure.frame_time = SHAPE[1], 1, GROUP_TIME
    model.meta.subarray.xsize = model.meta.subarray.ysize = SHAPE[-1]
    model.meta.cal_step.instance["ceers_jump_check"] = "COMPLETE"
    return model


def test_one_hook_before_and_after_the_fit(references, checked):
    expected = fitted(references, checked.copy())
    correct_rate_errors(JumpCheckStep(**references), checked, *expected)
    hook = RateErrorsStep(**references)
    found = fitted(references, checked, pre_hooks=[hook], post_hooks=[hook])
    for each, wanted in zip(found, expected, strict=True):
        for plane in ("data", "var_poisson", "var_rnoise", "err"):
            np.testing.assert_array_equal(getattr(each, plane), getattr(wanted, plane))
        assert each.meta.cal_step.instance["ceers_rate_errors"] == "COMPLETE"


@pytest.mark.parametrize(
    ("before", "status", "reason"),
    [(False, "COMPLETE", "pre_hooks of ramp_fit"), (True, "SKIPPED", "not checked")],
)
def test_rates_without_a_checked_ramp_are_left(references, checked, before, status, reason):
    checked.meta.cal_step.instance["ceers_jump_check"] = status
    expected, _ = fitted(references, checked.copy())
    hooks = {"pre_hooks": [RateErrorsStep]} if before else {}
    rate, rateints = fitted(references, checked, post_hooks=[RateErrorsStep], **hooks)
    np.testing.assert_array_equal(rate.err, expected.err)
    for each in (rate, rateints):
        assert reason in each.meta.ceers_steps.instance["ceers_rate_errors"]["note"]


def test_a_rate_alone_is_an_error(checked):
    with pytest.raises(StepError, match="needs a ramp and its rate"):
        RateErrorsStep.call(datamodels.ImageModel(checked.data[0, 0]))
