"""Reference files given by hand that are of something else are refused before the work."""

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps import CeersImage2, RemStripingStep
from ceers_steps.errors import CeersError
from ceers_steps.steps.base import StepError
from ceers_steps.steps.inputs.given_references import check_given_references
from tests.steps.test_unusable import rate

pytestmark = pytest.mark.usefixtures("simulated_field")  # CRDS wants a cache, whatever is given

OWN = {"REFTYPE": "FLAT", "INSTRUME": "NIRCAM", "DETECTOR": "NRCB4"}


def write(path, value=1.0, shape=(64, 64), **keywords):
    """A flat field, or what is given for one."""
    primary = fits.PrimaryHDU()
    primary.header.update({key: value for key, value in keywords.items() if value is not None})
    image = fits.ImageHDU(np.full(shape, value, np.float32), name="SCI")
    flags = fits.ImageHDU(np.zeros(shape, np.uint32), name="DQ")
    fits.HDUList([primary, image, flags]).writeto(path)
    return str(path)


WRONG = {
    "kind": ({"REFTYPE": "GAIN"}, "its REFTYPE is GAIN"),
    "instrument": ({"INSTRUME": "MIRI"}, "its INSTRUME is MIRI, that of .* NIRCAM"),
    "detector": ({"DETECTOR": "NRCB1"}, "its DETECTOR is NRCB1, that of .* NRCB4"),
    "size": ({"shape": (32, 64)}, r"it has 32 x 64 pixels .*, .* 64 x 64"),
    "exposure": ({"REFTYPE": None, "EXPSTART": 59700.0}, "it is an exposure"),
    "values": ({"value": 1e30}, "its median is 1e.30, that of a flat field is near 1"),
    "no value": ({"value": np.nan}, "no pixel is above 0"),
    "negative": ({"value": -1.0}, "no pixel is above 0"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_flat_of_something_else(tmp_path, name):
    changes, message = WRONG[name]
    path = write(tmp_path / "flat.fits", **{**OWN, **changes})
    with pytest.raises(StepError, match=rf"override_flat=.*flat\.fits.*{message}"):
        RemStripingStep.call(rate(), configure_log=False, override_flat=path, save_mask=False)
    of_a_pipeline = CeersImage2()
    of_a_pipeline.flat_field.override_flat = path
    with pytest.raises(CeersError, match=rf"override_flat=.*flat\.fits.*{message}"):
        check_given_references(of_a_pipeline, rate())
    of_a_pipeline.flat_field.skip = True
    check_given_references(of_a_pipeline, rate())


@pytest.mark.parametrize("name", ["a.fits", "a.asdf"])
@pytest.mark.parametrize("content", [b"", b"hello", b"#ASDF 1.0.0\n%YAML 1.1\n--- [1]\n...\n"])
def test_what_is_no_reference_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StepError, match=rf"override_flat=.*{name} cannot be used"):
        RemStripingStep.call(rate(), configure_log=False, override_flat=str(path))


@pytest.mark.parametrize("keywords", [OWN, {}, {**OWN, "DETECTOR": "ANY"}])
def test_its_own_flat_is_taken(tmp_path, keywords):
    path = write(tmp_path / "flat.fits", **keywords)
    result = RemStripingStep.call(rate(), configure_log=False, override_flat=path, save_mask=False)
    assert result.meta.cal_step.instance["ceers_remstriping"] == "COMPLETE"
