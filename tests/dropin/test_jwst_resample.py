"""jwst's own tests of the drizzling of NIRCam images, with our step in place of its.

They are those that the installed jwst brings along; the references that they need (distortion,
filter offset) are simulated, without a server.
"""

import inspect
from types import FunctionType

import pytest
from jwst.resample.tests import test_resample_step as theirs

from ceers_steps import TiledResampleStep
from ceers_steps.simulate import active, simulate

pytestmark = pytest.mark.slow

LEFT_OUT = {
    # jwst's own step fails it as well
    "test_custom_refwcs_pixel_shape_imaging": "has an outline that the real distortion gives",
}
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
    if name.startswith("test_")
    and "nircam_rate" in inspect.signature(test).parameters
    and name not in LEFT_OUT
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


def test_theirs_are_there():
    """A jwst without them, or with others, is noticed."""
    missing = {"test_weight_type", "test_wcs_keywords", "test_resample_variance", *LEFT_OUT}
    assert missing <= vars(theirs).keys()
