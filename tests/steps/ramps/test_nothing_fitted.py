"""Rates of an exposure in which no ramp can be fitted: there, empty, and named."""

import numpy as np
from stdatamodels.jwst.datamodels import RampModel, dqflags

from ceers_steps.pipelines.detector1 import BEFORE_RAMP_FIT, CeersDetector1
from ceers_steps.steps.inputs.usable import unusable_reason
from ceers_steps.steps.ramps.nothing_fitted import flag_unexposed

SATURATED, HOT = dqflags.pixel["SATURATED"], dqflags.pixel["HOT"]
DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]


def test_stage_1_makes_a_rate_without_a_usable_pixel(monkeypatch, tmp_path, caplog):
    """What jwst's ramp_fit returns there is None, twice: a run without any product."""
    ramp = RampModel((2, 3, 16, 16))
    ramp.groupdq[:] = SATURATED
    ramp.groupdq[:, 0, 1, 2] = 0  # what one group lacks is no flag of the pixel
    ramp.pixeldq[4, 5] = HOT
    ramp.meta.filename = "jw01345001001_02101_00001_nrcb1_uncal.fits"
    ramp.meta.instrument.name, ramp.meta.instrument.detector = "NIRCAM", "NRCB1"
    ramp.meta.instrument.filter, ramp.meta.instrument.pupil = "F150W", "CLEAR"
    ramp.meta.exposure.type = "NRC_IMAGE"
    pipeline = CeersDetector1(output_dir=str(tmp_path))
    monkeypatch.setattr(pipeline, "prepare_output", lambda model, **_: model)
    for name in BEFORE_RAMP_FIT:
        monkeypatch.setattr(getattr(pipeline, name), "run", lambda model: model)
    monkeypatch.setattr(pipeline.ramp_fit, "run", lambda model: (None, None))
    monkeypatch.setattr(pipeline.gain_scale, "run", lambda model: model)
    for name in ("jump_check", "trapped_charge", "snowball"):
        getattr(pipeline, name).skip = True
    pipeline.wispsub.skip = True
    rate = pipeline.process(ramp)
    assert rate.data.shape == (16, 16)
    assert unusable_reason(rate)
    assert pipeline.suffix == "rate"
    assert rate.meta.cal_step.instance["ceers_remstriping"] == "SKIPPED"
    expected = np.full((16, 16), DO_NOT_USE | SATURATED)
    expected[1, 2] = DO_NOT_USE
    expected[4, 5] |= HOT
    np.testing.assert_array_equal(rate.dq, expected)
    assert "jw01345001001_02101_00001_nrcb1_uncal.fits: no ramp could be fitted" in caplog.text


def test_an_integration_that_measured_nothing_gets_no_rate(caplog):
    """Such ramps would fit perfectly: a rate of zero, and usable."""
    ramp = RampModel((3, 4, 16, 16))
    ramp.data[:] = np.random.default_rng(1).normal(11000, 10, ramp.data.shape)
    ramp.data[1] = 11000
    ramp.data[2] = ramp.data[0, 0]
    ramp.groupdq[:, 0, 3, 3] = SATURATED
    ramp.meta.filename = "jw01345001001_02101_00001_nrcb1_uncal.fits"
    flag_unexposed(ramp)
    assert not (ramp.groupdq[0] & DO_NOT_USE).any()
    assert ((ramp.groupdq[1:] & DO_NOT_USE) != 0).all()
    assert (ramp.groupdq[:, 0, 3, 3] & SATURATED).all()
    assert "nrcb1_uncal.fits: integration 2 measured nothing: every group is 11000" in caplog.text
    assert "integration 3 measured nothing: every group is the same image" in caplog.text
