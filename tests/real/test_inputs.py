"""Real files where a user would give them: each gives a product, or a message that says why not."""

import json
import shutil

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from ceers_steps import (
    CeersImage3,
    MosaicBackgroundStep,
    RemStripingStep,
    SkyVarStep,
    WispSubStep,
)
from ceers_steps.cli import main
from ceers_steps.errors import CeersError
from ceers_steps.files.associations import read_association
from ceers_steps.files.overrides import read_overrides
from ceers_steps.steps.base import StepError


def test_a_table_of_another_survey(real):
    path = real / "associations" / "json_changhao_f200w.json"
    with pytest.raises(CeersError, match=r"its 480 values .*nrca1: \[1, 0\.8\]"):
        read_overrides(path)


@pytest.mark.parametrize(
    "name", ["jw01257-o003_20260714t164831_image3_00005_asn.json", "json_nircam_F356W_mosaic.json"]
)
def test_associations_of_the_archive_and_of_users_are_read(real, tmp_path, name):
    text = (real / "associations" / name).read_text()
    (tmp_path / name).write_text(text)
    expnames = [m["expname"] for p in json.loads(text)["products"] for m in p["members"]]
    with pytest.raises(CeersError, match=f"{len(expnames)} of the {len(expnames)} members"):
        read_association(tmp_path / name)
    for expname in expnames:
        (tmp_path / expname.rpartition("/")[2]).touch()
    if expnames[0].startswith("/"):
        with pytest.raises(CeersError, match="leave their folder out of expname"):
            read_association(tmp_path / name)
    else:
        assert len(read_association(tmp_path / name)["products"][0]["members"]) == len(expnames)


def test_gzipped_mosaics_in_spite_of_their_name(real, tmp_path):
    (path, *_) = sorted((real / "miri_i2d").glob("*_i2d.fits"))
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    # nebulae fill these: what is left of the sky is light, which the published method takes
    with pytest.raises(StepError, match=r"no background can be fitted.* it is light"):
        MosaicBackgroundStep.call(str(path), output_dir=str(tmp_path))
    options = {"output_dir": str(tmp_path), "method": "published"}
    model = MosaicBackgroundStep.call(str(path), **options)
    with datamodels.open(path) as before:
        background = np.nanmedian(before.data - model.data)
        assert model.data.shape == before.data.shape
    assert background > 1000
    assert model.meta.cal_step.instance["ceers_mosaic_background"] == "COMPLETE"


@pytest.mark.parametrize("step", [WispSubStep, RemStripingStep])
def test_coronagraph_frames_are_left_as_they_are(real, tmp_path, step):
    paths = sorted((real / "nircam_coron_calints").glob("*.fits"))
    assert len(paths) == 2
    for path in paths:
        model = step.call(str(path), output_dir=str(tmp_path))
        assert model.meta.cal_step.instance[step.class_alias] == "SKIPPED"
        with datamodels.open(path) as before:
            np.testing.assert_array_equal(model.data, before.data)


@pytest.mark.parametrize("folder", ["nircam_coron_calints", "miri_calints"])
def test_integrations_are_no_exposures_for_the_sky(real, folder):
    paths = sorted((real / folder).glob("*.fits"))
    assert len(paths) == 2
    for path in paths:
        with pytest.raises(StepError, match=f"{path.name} holds a CubeModel"):
            SkyVarStep.call(str(path))


def test_listings_where_cals_are_wanted(real, tmp_path, capsys):
    folder = real / "nircam_coron_calints"
    assert main(["associate", str(folder), "-o", str(tmp_path)]) == 1
    assert "2 *_calints" in capsys.readouterr().err


@pytest.fixture
def niriss(real, tmp_path):
    """Interferometry of one visit, of which no mosaic is made as a rule, as an association."""
    files = sorted((real / "niriss_cal").glob("jw01093014001_*_cal.fits"))
    assert len(files) == 3
    for path in files:
        shutil.copy(path, tmp_path)
    members = [{"expname": path.name, "exptype": "science"} for path in files]
    product = {"name": "niriss", "members": members}
    path = tmp_path / "niriss_asn.json"
    path.write_text(json.dumps({"asn_id": "a3001", "products": [product]}))
    return path


def test_niriss_interferometry_is_refused_by_name(niriss, capsys, tmp_path):
    with pytest.raises(StepError, match=r"jw01093014001_03102_00001_nis.*NIS_AMI"):
        CeersImage3.call(str(niriss))
    assert main(["associate", str(tmp_path), "-o", str(tmp_path / "asn")]) == 1
    assert "NIS_AMI" in capsys.readouterr().err
