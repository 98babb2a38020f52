"""Our steps as hooks of the stock pipelines, by class, by import path and by alias."""

import ast

import numpy as np
import pytest
from jwst.jump import JumpStep
from jwst.pipeline import Detector1Pipeline, Image3Pipeline
from stdatamodels.jwst import datamodels

import ceers_steps
from ceers_steps import CeersDetector1, CeersImage3
from ceers_steps.integration import get_steps
from tests.pipelines.test_detector1 import environment_of, strun

STEPS = [(path, alias) for path, alias, is_pipeline in get_steps() if not is_pipeline]


@pytest.mark.parametrize(("path", "alias"), STEPS)
def test_an_alias_is_an_import_path_in_the_package(path, alias):
    name = path.removeprefix("ceers_steps.")
    assert getattr(ceers_steps, alias) is getattr(ceers_steps, name)
    assert alias not in ceers_steps.__all__  # one name in what `import *` gives


@pytest.mark.parametrize(
    "hook",
    [
        *(path for path, _ in STEPS),
        *(f"ceers_steps.{alias}" for _, alias in STEPS),
        *(f"{path}(save_results=True)" for path, _ in STEPS),
        "ceers_steps.SnowballStep(method='ceers')",
    ],
)
def test_stpipe_makes_a_step_of_every_form(hook):
    (made,) = JumpStep(post_hooks=[hook])._post_hooks
    name = hook.partition("(")[0]
    assert type(made) is _class(name)
    if "(" in hook:
        parameter, _, value = hook.partition("(")[2].rstrip(")").partition("=")
        assert getattr(made, parameter) == ast.literal_eval(value)


HOOKS = {
    "jump": {"post_hooks": ["ceers_steps.JumpCheckStep", "ceers_steps.ceers_snowball"]},
    "ramp_fit": {
        "pre_hooks": ["ceers_steps.RateErrorsStep"],
        "post_hooks": ["ceers_steps.ceers_rate_errors"],
    },
    "gain_scale": {"post_hooks": ["ceers_steps.WispSubStep", "ceers_steps.ceers_remstriping"]},
}


@pytest.fixture(scope="module")
def ours(simulated_field, tmp_path_factory):
    """The folder of the products of our pipeline."""
    out = tmp_path_factory.mktemp("ours")
    CeersDetector1.call(
        str(simulated_field.uncal("nrcb4", "sub640")),
        output_dir=str(out),
        save_results=True,
    )
    return out


@pytest.mark.parametrize("given", ["class", pytest.param("strun", marks=pytest.mark.slow)])
def test_stage_1_with_hooks_gives_what_ours_gives(simulated_field, tmp_path, ours, given):
    uncal = simulated_field.uncal("nrcb4", "sub640")
    hooks = HOOKS
    if given == "class":
        hooks = {
            step: {kind: [_class(path) for path in paths] for kind, paths in each.items()}
            for step, each in HOOKS.items()
        }
    if given == "strun":
        options = [
            f"--steps.{step}.{kind}={','.join(paths)},"
            for step, each in HOOKS.items()
            for kind, paths in each.items()
        ]
        done = strun(
            "calwebb_detector1",
            uncal,
            f"--output_dir={tmp_path}",
            *options,
            **environment_of(simulated_field.folder),
        )
        assert done.returncode == 0, done.stderr[-2000:]
    else:
        Detector1Pipeline.call(str(uncal), output_dir=str(tmp_path), save_results=True, steps=hooks)
    for product in ("rate", "rateints"):
        (path,), (wanted,) = tmp_path.glob(f"*_{product}.fits"), ours.glob(f"*_{product}.fits")
        with datamodels.open(path) as found, datamodels.open(wanted) as expected:
            # ours has the only integration from the rate; with its hooks it is rounded otherwise
            tolerance = {"rtol": 0} if product == "rate" else {"rtol": 1e-5, "atol": 1e-6}
            for plane in ("data", "dq", "err", "var_poisson", "var_rnoise"):
                made, right = getattr(found, plane), getattr(expected, plane)
                np.testing.assert_allclose(made, right, **tolerance, err_msg=plane)


def _class(path):
    """Return the class at an import path."""
    return getattr(ceers_steps, path.rpartition(".")[2])


@pytest.mark.slow
def test_stage_3_with_hooks_gives_what_ours_gives(calibrated_dithers, tmp_path):
    association = str(calibrated_dithers / "field_f150w_asn.json")
    plain = {"skymatch": {"subtract": False}, "outlier_detection": {"skip": True}}
    expected = CeersImage3.call(
        association,
        output_dir=str(tmp_path / "ours"),
        save_results=True,
        steps={**plain, "tweakreg": {"on_failure": "keep"}},
    )
    assert expected is None
    Image3Pipeline.call(
        association,
        output_dir=str(tmp_path / "stock"),
        save_results=True,
        steps={
            **plain,
            "tweakreg": {"skip": True, "pre_hooks": ["ceers_steps.AlignStep"]},
            "resample": {
                "pre_hooks": ["ceers_steps.SkyVarStep"],
                "post_hooks": ["ceers_steps.MosaicBackgroundStep"],
            },
            "source_catalog": {"skip": True},
        },
    )
    with (
        datamodels.open(tmp_path / "stock" / "field_f150w_i2d.fits") as found,
        datamodels.open(tmp_path / "ours" / "field_f150w_bkgsub.fits") as ours,
    ):
        np.testing.assert_array_equal(found.data, ours.data)
        assert found.meta.cal_step.instance["ceers_mosaic_background"] == "COMPLETE"
        assert found.meta.cal_step.instance["ceers_skyvar"] == "COMPLETE"
