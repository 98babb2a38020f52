"""Real files of all kinds, as `ceers inspect` sees them."""

import pytest

from ceers_steps.survey.inspection.headers import read_headers
from ceers_steps.survey.inspection.verdicts import inspect_file


@pytest.mark.parametrize(
    ("pattern", "level", "says"),
    [
        ("niriss_cal/*_cal.fits", "cal", "NIS_AMI"),
        ("miri_i2d/*_i2d.fits", "i2d", "mosaic_background"),
        ("nircam_coron_calints/*_calints.fits", "calints", "takes images, not integrations"),
        ("miri_calints/*_calints.fits", "calints", "2 x 224 x 288"),
        ("headers/*_uncal.fits", "uncal", "not NIRCam imaging (EXP_TYPE NRC_CORON)"),
        ("nircam_f200w_pair/*_stamp.fits", "", "no DATAMODL"),
        ("cosmos_web_ring/*_data.fits", "", "no DATAMODL"),
    ],
)
def test_each_kind_is_recognised(real, pattern, level, says):
    files = sorted(real.glob(pattern))
    assert files
    for path in files:
        found = inspect_file(read_headers(path))
        assert found.headers.level == level
        told = [f"{each.step} {each.state} {each.note}" for each in found.verdicts]
        assert says in " ".join([*found.problems, *told])
