"""Exposures and integrations of which nothing can be used: steps leave them alone and say so."""

import numpy as np
import pytest
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps import RemStripingStep, SkyVarStep, WispSubStep
from ceers_steps.kernels.dq import DO_NOT_USE
from ceers_steps.kernels.wisps.subtract import WispSettings, subtract_wisps_inplace

SHAPE = (64, 64)
NOISE = 0.01


def rate(n_ints=None, **changes):
    """A rate image, or integrations, of sky, noise and stripes."""
    shape = SHAPE if n_ints is None else (n_ints, *SHAPE)
    kind = datamodels.ImageModel if n_ints is None else datamodels.CubeModel
    model = kind(shape)
    rng = np.random.default_rng(3)
    stripes = rng.normal(0, 5 * NOISE, (*shape[:-1], 1))
    model.data = (0.3 + stripes + rng.normal(0, NOISE, shape)).astype(np.float32)
    model.dq = np.zeros(shape, np.uint32)
    model.var_rnoise = np.full(shape, 0.9 * NOISE**2, np.float32)
    model.var_poisson = np.full(shape, 0.1 * NOISE**2, np.float32)
    model.err = np.full(shape, NOISE, np.float32)
    model.meta.instrument.name, model.meta.instrument.detector = "NIRCAM", "NRCB4"
    model.meta.instrument.filter, model.meta.instrument.pupil = "F150W", "CLEAR"
    model.meta.exposure.type = "NRC_IMAGE"
    model.meta.subarray.name, model.meta.subarray.fastaxis = "SUB64P", -1
    model.meta.subarray.slowaxis, model.meta.exposure.noutputs = 2, 1
    model.meta.filename = "jw01345001001_02101_00001_nrcb4_rate.fits"
    for name, plane in changes.items():
        getattr(model, name)[:] = plane
    return model


UNUSABLE = {
    "SCI has no finite value": {"data": np.nan},
    "SCI is 0 in every pixel": {"data": 0},
    "DQ flags every pixel": {"dq": DO_NOT_USE},
    "VAR_RNOISE has no valid value": {"var_rnoise": np.inf},
}


@pytest.mark.parametrize("reason", list(UNUSABLE))
@pytest.mark.parametrize(
    ("step", "options"),
    [(RemStripingStep, {"apply_flat": False}), (WispSubStep, {"scale": 1.0}), (SkyVarStep, {})],
)
def test_steps_leave_alone_what_cannot_be_used(step, options, reason, tmp_path, caplog):
    model = rate(**UNUSABLE[reason])
    if step is WispSubStep:
        template = datamodels.ImageModel(np.ones((2048, 2048), np.float32))
        template.save(tmp_path / "wisps_nrcb4_F150W.fits")
        options = {**options, "template_dir": str(tmp_path)}
    if step is SkyVarStep:
        model.meta.bunit_data = "MJy/sr"
    result = step.call(model, configure_log=False, **options)
    assert result.meta.cal_step.instance[step.class_alias] == "SKIPPED"
    assert "nothing is usable" in caplog.text
    assert reason in caplog.text
    np.testing.assert_array_equal(result.data, model.data)
    result.save(tmp_path / "x.fits")
    with datamodels.open(tmp_path / "x.fits") as again:
        (note,) = [entry["note"] for entry in again.meta.ceers_steps.instance.values()]
        assert reason in note


@pytest.mark.parametrize("method", ["wiener", "median"])
def test_one_integration_of_many_is_lost(method):
    model = rate(3)
    model.data[1] = np.nan
    result = RemStripingStep.call(
        model,
        configure_log=False,
        method=method,
        apply_flat=False,
        save_mask=False,
        save_patterns=True,
    )
    assert result.meta.cal_step.instance["ceers_remstriping"] == "COMPLETE"
    assert (result.dq[1] & dqflags.pixel["DO_NOT_USE"]).all()
    for number in (0, 2):
        rows = result.data[number].mean(axis=1)
        # stripes of five noises are gone, to the noise of a mean over the columns
        assert rows.std() < 3 * NOISE / np.sqrt(SHAPE[1])
        assert np.isfinite(result.data[number]).all()


@pytest.mark.parametrize("method", ["lsq", "ceers"])
def test_wisps_of_the_integrations_that_are_left(method):
    y, x = np.indices((2048, 2048))
    wisp = 0.3 * np.exp(-((x - 1000) ** 2 + (y - 1000) ** 2) / 2e4).astype(np.float32)
    rng = np.random.default_rng(1)
    cut = np.s_[700:1300, 700:1300]
    images = (0.8 * wisp[cut] + rng.normal(0.3, NOISE, (3, 600, 600))).astype(np.float32)
    images[1] = np.nan
    found = subtract_wisps_inplace(
        images,
        np.full(images.shape, NOISE, np.float32),
        np.zeros(images.shape, np.uint32),
        wisp[None],
        detector="NRCB4",
        start=(700, 700),
        n_outputs=1,
        settings=WispSettings(method=method),
    )
    if not found.fits:
        pytest.fail("the wisp was not reached")
    assert [bool(each) for each in found.subtracted] == [True, False, True]
    scales = [float(fit.scales[0]) for fit in found.fits]
    assert scales[0] == pytest.approx(0.8, abs=0.02) == scales[2]


@pytest.mark.parametrize("value", [500.0, np.inf])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_templates_that_hold_no_wisp(value, scale):
    images = np.full((1, 600, 600), 0.3, np.float32)
    with pytest.raises(ValueError, match="holds no wisp"):
        subtract_wisps_inplace(
            images,
            np.ones_like(images),
            np.zeros(images.shape, np.uint32),
            np.full((1, 2048, 2048), value, np.float32),
            detector="NRCB4",
            start=(700, 700),
            n_outputs=1,
            settings=WispSettings(method="ceers", scale=scale),
        )
