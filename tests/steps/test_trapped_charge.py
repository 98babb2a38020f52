"""Charge of earlier exposures as a step: what it applies to, what it reads, what it writes."""

import numpy as np
import pytest
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.steps.base import StepError
from ceers_steps.steps.trapped_charge import TrappedChargeStep

SHAPE = (1, 6, 64, 64)
NOISE, CHARGE, FULL, GROUP_TIME = 3.0, 400.0, 40_000.0, 107.4
JUMP, UNUSABLE = dqflags.group["JUMP_DET"], dqflags.group["DO_NOT_USE"]
START = 60000.0
Y, X = np.indices(SHAPE[2:])
CORE = np.hypot(Y - 30, X - 25) < 8


pytestmark = pytest.mark.usefixtures("without_crds")


def describe(model, start, xstart=1):
    model.meta.filename = f"jw01345001001_02201_0000{int(start - START + 2)}_nrcb4_uncal.fits"
    model.meta.instrument.name, model.meta.instrument.detector = "NIRCAM", "NRCB4"
    model.meta.exposure.type = "NRC_IMAGE"
    model.meta.exposure.start_time = start
    model.meta.exposure.group_time = GROUP_TIME
    model.meta.subarray.xstart, model.meta.subarray.ystart = xstart, 1
    return model


@pytest.fixture
def given(tmp_path):
    """Return the parameters: the saturation of a detector, and the file of an exposure before."""
    saturation = datamodels.SaturationModel(data=np.full((128, 128), FULL, np.float32))
    saturation.meta.instrument.name = "NIRCAM"
    saturation.save(tmp_path / "saturation.fits")
    return {
        "override_saturation": str(tmp_path / "saturation.fits"),
        "earlier_exposures": [earlier(tmp_path / "jw01345001001_02201_00001_nrcb4_uncal.fits")],
    }


def earlier(path, start=START - 1, detector="NRCB4", xstart=1, core=CORE):
    """Write a raw exposure in which a snowball has filled the core in the second integration."""
    data = np.full((2, 3, *SHAPE[2:]), 9000, np.uint16)
    data[1, 2, core] = 50_000
    model = describe(datamodels.Level1bModel(data=data), start, xstart)
    model.meta.instrument.detector = detector
    model.save(path)
    return str(path)


def ramp(tau=1000.0, xstart=1, **keywords):
    """Return a ramp in which the core releases charge."""
    rng = np.random.default_rng(3)
    n_groups = keywords.get("n_groups", SHAPE[1])
    data = NOISE * rng.standard_normal((1, n_groups, *SHAPE[2:]))
    data[0, :, CORE] += CHARGE * (1 - np.exp(-np.arange(n_groups) * GROUP_TIME / tau))
    model = datamodels.RampModel(
        data=data.astype(np.float32), groupdq=np.zeros(data.shape, np.uint8)
    )
    model.pixeldq = np.zeros(SHAPE[2:], np.uint32)
    describe(model, START, xstart)
    model.meta.exposure.type = keywords.get("exp_type", "NRC_IMAGE")
    return model


def entry(model):
    return model.meta.ceers_steps.instance["ceers_trapped_charge"]


def test_what_releases_charge_is_flagged_and_a_lost_ramp_is_not_usable(given):
    result = TrappedChargeStep.call(ramp(), **given)
    flagged = (result.groupdq[0] & JUMP) != 0
    np.testing.assert_array_equal(flagged[1], CORE)
    assert not flagged[0].any()
    lost = ((result.groupdq[0] & UNUSABLE) != 0).all(axis=0)
    np.testing.assert_array_equal(lost, flagged[1:].all(axis=0))
    assert result.meta.cal_step.instance["ceers_trapped_charge"] == "COMPLETE"
    n = np.count_nonzero(CORE)
    assert entry(result)["metrics"] == {"n_trapped_pixels": n, "n_trapped_lost": n}


def test_several_exposures_are_read(given, tmp_path):
    """The third has filled other pixels than the latest; the second none."""
    nothing = earlier(tmp_path / "b_uncal.fits", start=START - 2, core=CORE & ~CORE)
    other = earlier(tmp_path / "c_uncal.fits", start=START - 3, core=np.roll(CORE, 25, axis=1))
    given["earlier_exposures"] += [nothing, other]
    model = ramp()
    model.data += np.roll(ramp().data, 25, axis=-1)
    result = TrappedChargeStep.call(model, **given)
    expected = CORE | np.roll(CORE, 25, axis=1)
    np.testing.assert_array_equal((result.groupdq[0, 1] & JUMP) != 0, expected)
    assert entry(result)["parameters"]["earlier_exposures"] == 3


def test_what_has_faded_is_kept(given):
    result = TrappedChargeStep.call(ramp(tau=40.0), **given)
    flagged = (result.groupdq[0] & JUMP) != 0
    assert flagged[1][CORE].all()
    assert not flagged[5].any()
    assert entry(result)["metrics"]["n_trapped_lost"] == 0


def test_windows_are_placed_by_their_corners(given, tmp_path):
    """The exposure looks 10 columns further left than the one before."""
    path = earlier(tmp_path / "b_uncal.fits", xstart=11)
    given["earlier_exposures"] = path
    model = ramp()
    released = model.data.copy()
    model.data[:] = np.roll(released, 10, axis=-1)
    result = TrappedChargeStep.call(model, **given)
    np.testing.assert_array_equal((result.groupdq[0, 1] & JUMP) != 0, np.roll(CORE, 10, axis=-1))


@pytest.mark.parametrize(
    ("keywords", "parameters", "reason"),
    [
        ({}, {"earlier_exposures": None}, "no earlier_exposures are given"),
        ({"exp_type": "NRC_GRISM"}, {}, "not NIRCam imaging"),
        ({"n_groups": 1}, {}, "one group"),
    ],
)
def test_skipped(given, keywords, parameters, reason):
    model = ramp(**keywords)
    result = TrappedChargeStep.call(model, **{**given, **parameters})
    assert not result.groupdq.any()
    assert reason in entry(result)["note"]
    assert result.meta.cal_step.instance["ceers_trapped_charge"] == "SKIPPED"


def test_files_that_cannot_have_left_charge_are_named(given, tmp_path):
    rate = tmp_path / "d_rate.fits"
    describe(datamodels.ImageModel(data=np.zeros(SHAPE[2:], np.float32)), START - 1).save(rate)
    (tmp_path / "e_uncal.fits").write_bytes(b"no FITS file")
    for path, expected in (
        (earlier(tmp_path / "a_uncal.fits", detector="NRCA1"), "DETECTOR is NRCA1"),
        (earlier(tmp_path / "b_uncal.fits", start=START), "was not exposed before"),
        (str(tmp_path / "c_uncal.fits"), "not readable"),
        (str(rate), "SCI has 2 axes"),
        (str(tmp_path / "e_uncal.fits"), "not readable"),
    ):
        given["earlier_exposures"] = [path]
        with pytest.raises(StepError, match=expected) as caught:
            TrappedChargeStep.call(ramp(), **given)
        assert path in str(caught.value)
        assert "earlier_exposures" in str(caught.value)


def test_without_a_group_time_there_is_an_error(given):
    model = ramp()
    model.meta.exposure.group_time = None
    with pytest.raises(StepError, match="TGROUP"):
        TrappedChargeStep.call(model, **given)
