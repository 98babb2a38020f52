"""Noise of bright pixels of short exposures, which jwst's fit of ramps drops."""

import numpy as np
import pytest
from jwst.ramp_fitting import RampFitStep
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.steps.inputs.rate_errors import restore_lost_noise

GAIN, READ, FRAME_TIME, SIDE = 2.0, 5.0, 0.05, 40
RATES = {"faint": 50.0, "middle": 2e4, "bright": 4e5}  # DN/s; variances are lost above 1e5
DO_NOT_USE, SATURATED = dqflags.pixel["DO_NOT_USE"], dqflags.group["SATURATED"]


@pytest.fixture
def fit(without_crds, tmp_path):
    """Fit ramps with jwst's step, without CRDS."""
    step = RampFitStep(suppress_one_group=False)
    for kind, opener, value in (
        ("gain", datamodels.GainModel, GAIN),
        ("readnoise", datamodels.ReadnoiseModel, np.sqrt(2) * READ),
    ):
        model = opener(data=np.full((SIDE, SIDE), value, np.float32))
        model.meta.instrument.name = "NIRCAM"
        window = model.meta.subarray
        window.xstart = window.ystart = 1
        window.xsize = window.ysize = SIDE
        window.fastaxis, window.slowaxis = 1, 2
        path = tmp_path / f"{kind}.fits"
        model.save(path)
        setattr(step, f"override_{kind}", str(path))
    return step.run


def ramps(n_ints, n_groups):
    """Return ramps of which a third is faint, a third of middle brightness, a third bright."""
    rng = np.random.default_rng(7)
    shape = (n_ints, n_groups, SIDE, SIDE)
    rate = np.repeat(list(RATES.values()), [14, 13, 13])[:, None]
    electrons = rng.poisson(np.broadcast_to(GAIN * rate * FRAME_TIME, shape))
    data = np.cumsum(electrons, axis=1) / GAIN + READ * rng.standard_normal(shape)
    model = datamodels.RampModel(data=data.astype(np.float32))
    model.groupdq = np.zeros(shape, np.uint8)
    model.groupdq[:, 1:, 30] = SATURATED  # one group is left, where there are more
    model.groupdq[0, :, 31] = SATURATED
    model.pixeldq = np.zeros((SIDE, SIDE), np.uint32)
    model.meta.filename = "jw01345001001_02201_00001_nrcb1_uncal.fits"
    model.meta.instrument.name, model.meta.instrument.detector = "NIRCAM", "NRCB1"
    exposure = model.meta.exposure
    exposure.type, exposure.noutputs = "NRC_IMAGE", 1
    exposure.nframes, exposure.groupgap = 1, 0
    exposure.ngroups, exposure.nints = n_groups, n_ints
    exposure.frame_time = exposure.group_time = FRAME_TIME
    window = model.meta.subarray
    window.xstart = window.ystart = 1
    window.xsize = window.ysize = SIDE
    window.fastaxis, window.slowaxis = 1, 2
    return model, rate


@pytest.mark.parametrize(("n_ints", "n_groups"), [(6, 1), (1, 1), (4, 2), (3, 3)])
def test_errors_of_bright_pixels_are_their_scatter(fit, n_ints, n_groups):
    model, truth = ramps(n_ints, n_groups)
    before = [each.copy() for each in fit(model.copy())]
    bright = np.s_[..., 27:30, :]
    assert all((each.err[bright] < 0.3 * np.sqrt(truth[27] / GAIN)).all() for each in before[1:])

    rate, rateints = fit(model)
    restore_lost_noise(model, rate, rateints, lambda: np.full((SIDE, SIDE), GAIN, np.float32))

    for each, stock in zip((rate, rateints), before, strict=True):
        usable = (each.dq & DO_NOT_USE) == 0
        assert (each.err[usable] > 0).all()
        np.testing.assert_allclose(
            each.err[usable] ** 2, (each.var_poisson + each.var_rnoise)[usable], rtol=1e-5
        )
        faint = np.s_[..., :14, :]
        np.testing.assert_array_equal(each.err[faint], stock.err[faint])
        for rows in (slice(27, 30), slice(30, 31), slice(32, 40)):
            here = np.s_[..., rows, :]
            pull = ((each.data - truth) / each.err)[here][usable[here]]
            if n_ints == 1 and rows.start == 31:
                pull = pull[40:]
            # with three groups jwst weights bright ramps so that their errors are 15% more
            tolerance = 4 / np.sqrt(2 * pull.size) + (0.15 if n_groups > 2 else 0.03)
            assert pull.std() == pytest.approx(1, abs=tolerance)


def test_what_has_no_noise_at_all_is_not_to_be_used(fit, caplog):
    model, _ = ramps(2, 1)
    rate, rateints = fit(model)
    rateints.var_rnoise[1, 3, 4] = rateints.err[1, 3, 4] = 0
    rate.err[5, 6] = np.nan

    restore_lost_noise(model, rate, rateints, lambda: np.full((SIDE, SIDE), GAIN, np.float32))

    assert rateints.dq[1, 3, 4] & DO_NOT_USE
    assert np.isnan(rateints.data[1, 3, 4])
    assert not rateints.dq[0, 3, 4] & DO_NOT_USE
    assert rate.dq[5, 6] & DO_NOT_USE
    assert "2 values without noise are not to be used" in caplog.text


def test_no_gain_is_asked_for_where_no_noise_is_lost(fit):
    model, _ = ramps(2, 2)
    model.data[..., 14:, :] = model.data[..., :26, :]  # faint
    rate, rateints = fit(model)
    error = rateints.err.copy()
    restore_lost_noise(model, rate, rateints, lambda: pytest.fail("not needed"))
    np.testing.assert_array_equal(rateints.err, error)
