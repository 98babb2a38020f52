"""jwst's own tests of its pipelines, with ours in place of the three that ours extend.

They are those that the installed jwst brings along. The reference files are simulated, without a
server, for a small part of the detectors; their full frames of constants are cut to it.
"""

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from jwst.associations.asn_from_list import Main
from jwst.pipeline import tests as their_tests
from jwst.pipeline.tests import test_calwebb_detector1 as detector1
from jwst.pipeline.tests import test_calwebb_image2 as image2
from jwst.pipeline.tests import test_calwebb_image3 as image3
from stdatamodels.jwst import datamodels

import ceers_steps
from ceers_steps.simulate import active, simulate
from tests.dropin.theirs import check_none_is_forgotten, take

pytestmark = pytest.mark.slow

MODULES = {
    detector1: ("Detector1Pipeline", "CeersDetector1"),
    image2: ("Image2Pipeline", "CeersImage2"),
    image3: ("Image3Pipeline", "CeersImage3"),
}
ALIASES = {"calwebb_image2": "ceers_image2", "calwebb_image3": "ceers_image3"}
NOT_OURS = {
    "test_calwebb_ami3": "aperture masking",
    "test_calwebb_coron3": "coronagraphs",
    "test_calwebb_dark": "darks",
    "test_calwebb_guider": "guide stars",
    "test_calwebb_spec2": "spectra",
    "test_calwebb_spec3": "spectra",
    "test_calwebb_tso3": "time series",
}
"""Modules of tests of pipelines that none of ours extends."""

LEFT_OUT = {
    "test_run_image3_single_model": "looks for what was done in the model that it gave, which ours"
    " leaves as it is; `test_stage_3_leaves_the_model_that_it_is_given` looks at the product",
}
"""Tests that cannot hold, with the reason."""

take(globals(), MODULES, LEFT_OUT)


@pytest.fixture
def _folder_of_its_own():
    """All run in one folder, as they are made to (`tmp_cwd_module`)."""


@pytest.fixture(scope="module")
def tmp_cwd_module(tmp_path_factory):
    """The folder that their files are written to."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(scope="module", autouse=True)
def _references(tmp_path_factory, tmp_cwd_module):
    folder = tmp_path_factory.mktemp("references")
    simulate(folder, ["NRCA1"], ["F200W"], size="sub160", dithers=1, n_groups=2, seed=1)
    simulate(folder, ["MIRIMAGE"], ["F770W"], size="sub64", dithers=1, n_groups=5, seed=1)
    windows = {}
    for path in folder.glob("*_uncal.fits"):
        with datamodels.open(path) as raw:
            windows[raw.meta.instrument.name] = raw.meta.subarray.instance
    with active(folder), pytest.MonkeyPatch.context() as patch:
        _put_ours_in_place(patch, windows)
        ceers_steps.CeersImage3.__name__ = "Image3Pipeline"  # their tests look for it in the log
        yield
        ceers_steps.CeersImage3.__name__ = "CeersImage3"


def _put_ours_in_place(patch, windows):
    """Let their tests use our classes, and images of the size of the simulated references."""
    for module, (theirs, ours) in MODULES.items():
        patch.setattr(module, theirs, getattr(ceers_steps, ours))
    for module in (image2, image3):
        command = SimpleNamespace(from_cmdline=partial(_from_cmdline, module.Step))
        patch.setattr(module, "Step", command)
        # their associations are made by a command that needs seconds to start
        patch.setattr(module, "os", SimpleNamespace(path=os.path, system=_asn_from_list))
    patch.setattr(
        detector1,
        "make_miri_ramp_model",
        partial(_ramp, detector1.make_miri_ramp_model, windows["MIRI"]),
    )
    rate = partial(_rate, image2.make_nircam_rate_model, windows["NIRCAM"])
    patch.setattr(image2, "make_nircam_rate_model", rate)
    patch.setattr("jwst.pipeline.tests.helpers.make_nircam_rate_model", rate)
    patch.setattr(
        image3,
        "make_nircam_image_cal_model",
        partial(_calibrated, image3.make_nircam_image_cal_model),
    )


def _from_cmdline(step, arguments):
    return step.from_cmdline([ALIASES[arguments[0]], *arguments[1:]])


def _asn_from_list(command):
    program, *arguments = command.split()
    assert program == "asn_from_list"
    Main.cli(arguments)


def _ramp(make, window):
    """Their ramp, of the size of the references."""
    model = make(ysize=window["ysize"], xsize=window["xsize"])
    model.meta.subarray.instance.update(window)
    return model


def _rate(make, window):
    """Their rate, cut to the references."""
    model = make()
    here = slice(window["ysize"]), slice(window["xsize"])
    for plane in ("data", "dq", "var_rnoise", "var_poisson"):
        setattr(model, plane, getattr(model, plane)[here].copy())
    model.meta.subarray.instance.update(window)
    return model


def _calibrated(make):
    """Their calibrated image, with what says that it is: we take no others into a mosaic."""
    model = make()
    model.meta.cal_step.flat_field = model.meta.cal_step.photom = "COMPLETE"
    return model


def test_stage_3_leaves_the_model_that_it_is_given(make_mock_cal_model, tmp_cwd_module):
    """In place of theirs: the product says what was left out, the model nothing."""
    names = [name for name in image3.Image3Pipeline.step_defs if name != "skyvar"]
    steps = {name: {"skip": True} for name in names}
    given = make_mock_cal_model.copy()
    before = dict(given.meta.cal_step.instance)
    image3.Image3Pipeline.call(given, steps=steps, output_dir="alone", save_results=True)
    assert given.meta.cal_step.instance == before
    assert not given.data.min() < given.data.max()
    (path,) = Path("alone").glob("*_match.fits")
    with datamodels.open(path) as product:
        found = product.meta.cal_step
        wanted = ("tweakreg", "skymatch", "outlier_detection")
        assert {name: getattr(found, name) for name in wanted} == dict.fromkeys(wanted, "SKIPPED")


def test_none_of_theirs_is_forgotten():
    """Each module and each test is run, or is listed with the reason."""
    check_none_is_forgotten(globals(), their_tests, MODULES, NOT_OURS, LEFT_OUT)
