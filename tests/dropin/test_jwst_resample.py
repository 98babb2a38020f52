"""jwst's own tests of the drizzling of NIRCam images, with our step in place of its.

They are those that the installed jwst brings along; the references that they need (distortion,
filter offset) are simulated, without a server.
"""

from pathlib import Path
from types import FunctionType

import pytest
from jwst.resample.tests import test_resample_step as theirs

from ceers_steps import TiledResampleStep
from ceers_steps.simulate import active, simulate
from tests.dropin.theirs import names_of_tests

pytestmark = pytest.mark.slow

NOT_OURS = {
    "test_interface": "integrations are refused with our message, not with a TypeError",
    "test_utils": "functions; no class of ours is one of them",
}
"""Modules of tests without images that ours takes."""

LEFT_OUT = {
    "test_custom_refwcs_pixel_shape_imaging": "has an outline that the real distortion gives;"
    " jwst's own step fails it as well",
    **dict.fromkeys(
        (
            "test_build_interpolated_output_wcs",
            "test_build_nirspec_output_wcs",
            "test_custom_refwcs_pixel_shape_nirspec",
            "test_custom_refwcs_resample_miri",
            "test_custom_refwcs_resample_nirspec",
            "test_custom_wcs_pscale_resample_miri",
            "test_custom_wcs_pscale_resample_nirspec",
            "test_miri_wcs_roundtrip",
            "test_missing_nominal_area",
            "test_nirspec_lamp_pixscale",
            "test_nirspec_lamp_wcs_roundtrip",
            "test_nirspec_wcs_roundtrip",
            "test_pixel_scale_ratio_1spec_miri_pair",
            "test_pixel_scale_ratio_spec_miri",
            "test_pixel_scale_ratio_spec_nirspec",
            "test_single_spec_file_input",
            "test_spec_input_not_modified",
            "test_spec_skip_cube",
        ),
        "spectra",
    ),
}
"""Tests that cannot hold, or that would test nothing of ours, with the reason."""

ENOUGH = {"crpix": slice(1), "crval": slice(1), "n_images,weight_type": slice(1, None, 2)}
"""Values of parameters that make many cases."""


def _fewer_cases(test):
    """Return a copy of a test with these values."""
    copy = FunctionType(test.__code__, vars(theirs), test.__name__, test.__defaults__)
    copy.pytestmark = [
        pytest.mark.parametrize(mark.args[0], mark.args[1][ENOUGH[mark.args[0]]]).mark
        if mark.name == "parametrize" and mark.args[0] in ENOUGH
        else mark
        for mark in getattr(test, "pytestmark", ())
    ]
    return copy


globals().update(
    (name, _fewer_cases(test))
    for name, test in vars(theirs).items()
    if name.startswith("test_") and name not in LEFT_OUT
)
full_frame_of_204_pixels = theirs.nircam_rate


@pytest.fixture
def nircam_rate(full_frame_of_204_pixels):
    """Their image, which does not say that it is a full frame: our check of inputs refuses that."""
    full_frame_of_204_pixels.meta.subarray.name = "GENERIC"
    return full_frame_of_204_pixels


@pytest.fixture(scope="module", autouse=True)
def _references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    simulate(folder, ["NRCALONG"], ["F444W"], size="sub640", dithers=1, seed=1)
    with active(folder):
        yield


@pytest.fixture(autouse=True)
def _ours(monkeypatch):
    monkeypatch.setattr(theirs, "ResampleStep", TiledResampleStep)


@pytest.fixture
def tmp_cwd(tmp_path):
    """The folder that every test here runs in."""
    return tmp_path


def test_none_of_theirs_is_forgotten():
    """Each module and each test is run, or is listed with the reason."""
    modules = {path.stem for path in Path(theirs.__file__).parent.glob("test_*.py")}
    assert modules == {"test_resample_step", *NOT_OURS}
    names = names_of_tests([theirs])
    assert {name for name in names if name not in globals()} == set(LEFT_OUT)
