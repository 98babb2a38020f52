"""What other programs have corrected is known by their marks, in memory and in files."""

import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from ceers_steps.files.headers.other_tools import already_done

MARKS = {
    "ONEFEXP": ("stripes", True),
    "COLCORR": ("stripes", True),
    "S_CLNFNS": ("stripes", "COMPLETE"),
    "WISPBKG": ("wisps", 0.0),
    "WISPNORM": ("wisps", 0.7),
    "WISPSUB": ("wisps", "wisps_nrcb4_F150W.fits"),
    "SNOWMASK": ("snowballs", True),
    "EXTNCRS": ("snowballs", 4.2),
}


@pytest.fixture
def path(tmp_path):
    model = datamodels.ImageModel((8, 8))
    return model.save(tmp_path / "x_rate.fits")


@pytest.mark.parametrize("extension", [0, 1])
@pytest.mark.parametrize("keyword", MARKS)
def test_each_mark(path, caplog, keyword, extension):
    kind, value = MARKS[keyword]
    if extension and keyword in {"S_CLNFNS", "EXTNCRS"}:
        extension = 0  # jwst's own stand in the primary header only
    fits.setval(path, keyword, value=value, ext=extension)
    with datamodels.open(path) as model:
        for each in ("stripes", "wisps", "snowballs"):
            assert bool(already_done(model, each)) == (each == kind)
        assert keyword in already_done(model, kind)
    assert f"x_rate.fits: {kind} were treated by" in caplog.text
    assert "force=true" in caplog.text


def test_snowblind(path):
    with datamodels.open(path) as model:
        model.meta.cal_step.snowblind = "COMPLETE"
        assert "snowblind" in already_done(model, "snowballs")


@pytest.mark.parametrize(
    ("keyword", "value"), [("S_CLNFNS", "SKIPPED"), ("ONEFEXP", False), ("EXTNCRS", 0.0)]
)
def test_marks_of_what_was_left_out(path, keyword, value):
    fits.setval(path, keyword, value=value)
    with datamodels.open(path) as model:
        assert not any(already_done(model, kind) for kind in ("stripes", "wisps", "snowballs"))
