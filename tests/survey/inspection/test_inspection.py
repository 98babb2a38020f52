"""What `ceers inspect` says of files: levels, what each step would do, what is missing."""

import json

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps.cli import main
from ceers_steps.commands import inspect
from ceers_steps.errors import CeersError
from ceers_steps.survey.inspection.headers import read_headers
from ceers_steps.survey.inspection.verdicts import inspect_file
from tests.files.headers.test_keywords import SMALL

NIRCAM = {
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCA3",
    "FILTER": "F150W",
    "PUPIL": "CLEAR",
    "EXP_TYPE": "NRC_IMAGE",
    "SUBARRAY": "FULL",
    "READPATT": "MEDIUM8",
    "NGROUPS": 9,
    "NINTS": 1,
    "NOUTPUTS": 4,
}
RAMP = (1, 9, 8, 8)
IMAGE = (8, 8)


def write(path, model, shape, planes=("SCI",), **keywords):
    """Write a file of which only the headers matter."""
    primary = fits.PrimaryHDU()
    primary.header["DATAMODL"] = model
    primary.header.update({**NIRCAM, **keywords})
    hdus = [fits.ImageHDU(np.zeros(shape, np.float32), name=name) for name in planes]
    if "BUNIT" in keywords:
        del primary.header["BUNIT"]
        hdus[0].header["BUNIT"] = keywords["BUNIT"]
    fits.HDUList([primary, *hdus]).writeto(path)
    return path


def whole(path, **changes):
    """Write a raw file of SUB640 with all its keywords; those that are None are left out."""
    keywords = {**SMALL, "NINTS": 1, "EFFEXPTM": SMALL["EFFINTTM"], **changes}
    keywords = {key: value for key, value in keywords.items() if value is not None}
    primary = fits.PrimaryHDU()
    primary.header["DATAMODL"] = "Level1bModel"
    primary.header.update(keywords)
    data = np.zeros((1, SMALL["NGROUPS"], 640, 640), np.uint16)
    fits.HDUList([primary, fits.ImageHDU(data, name="SCI"), empty_tree()]).writeto(path)
    return path


def empty_tree():
    """Return an ASDF extension that says nothing."""
    text = np.frombuffer(b"#ASDF 1.0.0\n%YAML 1.1\n---\n{}\n...\n", np.uint8)
    column = fits.Column("ASDF_METADATA", format=f"{len(text)}B", array=text[np.newaxis])
    return fits.BinTableHDU.from_columns([column], name="ASDF")


def states(path, **options):
    """Return what becomes of a file, by step."""
    found = inspect_file(read_headers(path), **options)
    return {verdict.step: verdict.state for verdict in found.verdicts}


@pytest.fixture
def templates(tmp_path):
    """Folder with a template for NRCA3 F150W."""
    folder = tmp_path / "templates"
    folder.mkdir()
    for name in ("nrca3_F150W", "nrcb4_F210M"):
        fits.writeto(folder / f"wisps_{name}.fits", np.zeros((2048, 2048), np.float32))
    return str(folder)


@pytest.mark.parametrize(
    ("model", "shape", "planes", "keywords", "level"),
    [
        ("Level1bModel", RAMP, ["SCI"], {}, "uncal"),
        ("RampModel", RAMP, ["SCI"], {}, "ramp"),
        ("ImageModel", IMAGE, ["SCI"], {"BUNIT": "DN/s"}, "rate"),
        ("CubeModel", (2, 8, 8), ["SCI"], {}, "rateints"),
        ("CubeModel", (2, 8, 8), ["SCI"], {"S_FLAT": "COMPLETE"}, "calints"),
        ("ImageModel", IMAGE, ["SCI"], {"S_FLAT": "COMPLETE", "BUNIT": "MJy/sr"}, "cal"),
        ("ImageModel", IMAGE, ["SCI"], {"S_SKYVAR": "COMPLETE", "BUNIT": "MJy/sr"}, "match"),
        ("ImageModel", IMAGE, ["SCI", "WHT"], {}, "i2d"),
        ("ImageModel", IMAGE, ["SCI", "WHT", "BKGD"], {}, "bkgsub"),
        ("MultiSlitModel", IMAGE, ["SCI"], {}, ""),
    ],
)
def test_levels(tmp_path, model, shape, planes, keywords, level):
    path = write(tmp_path / "a.fits", model, shape, planes, **keywords)
    assert read_headers(path).level == level


def test_a_whole_raw_file_goes_to_stage_1(tmp_path):
    found = inspect_file(read_headers(whole(tmp_path / "a.fits")))
    assert not found.problems
    assert not found.filled
    assert found.takes_it == "CeersDetector1"


def test_missing_keywords_are_filled_in_or_named(tmp_path):
    found = inspect_file(read_headers(whole(tmp_path / "a.fits", NOUTPUTS=None)))
    assert not found.problems
    assert found.filled == ("exposure.noutputs = 1",)
    found = inspect_file(read_headers(whole(tmp_path / "b.fits", EXP_TYPE=None)))
    assert "EXP_TYPE" in found.problems[0]
    assert not found.takes_it


def test_the_steps_decide_by_their_own_rules(tmp_path, templates):
    path = write(tmp_path / "a.fits", "Level1bModel", RAMP)
    found = states(path, template_dir=templates)
    assert list(found)[:4] == ["jump_check", "snowball", "wispsub", "remstriping"]
    assert set(found.values()) == {"applies"}
    few = write(tmp_path / "b.fits", "Level1bModel", (1, 2, 8, 8), NGROUPS=2)
    found = states(few, template_dir=templates)
    assert found["jump_check"] == found["snowball"] == "skipped"
    assert found["wispsub"] == found["remstriping"] == "applies"
    other = write(tmp_path / "c.fits", "Level1bModel", RAMP, DETECTOR="NRCA1")
    assert states(other)["wispsub"] == "skipped"


def test_corrections_of_other_programs(tmp_path, templates):
    path = write(tmp_path / "a.fits", "ImageModel", IMAGE, S_CLNFNS="COMPLETE", WISPBKG=0.1)
    found = states(path, template_dir=templates)
    assert found["wispsub"] == found["remstriping"] == "skipped"


def test_a_missing_template_stops(tmp_path, templates):
    path = write(tmp_path / "a.fits", "ImageModel", IMAGE, FILTER="F277W", PUPIL="CLEAR")
    assert states(path, template_dir=templates)["wispsub"] == "skipped"
    path = write(tmp_path / "b.fits", "ImageModel", IMAGE, DETECTOR="NRCB4")
    empty = tmp_path / "empty"
    empty.mkdir()
    found = inspect_file(read_headers(path), str(empty / "nowhere"))
    (wisps,) = (verdict for verdict in found.verdicts if verdict.step == "wispsub")
    assert wisps.state == "stops"
    assert "nowhere" in wisps.note


def test_what_is_done_and_what_is_left(tmp_path):
    path = write(
        tmp_path / "a.fits",
        "ImageModel",
        IMAGE,
        BUNIT="MJy/sr",
        S_WCS="COMPLETE",
        S_FLAT="COMPLETE",
        S_PHOTOM="COMPLETE",
        S_TWKREG="COMPLETE",
    )
    found = states(path)
    assert found["tweakreg"] == "done"
    assert found["skyvar"] == found["resample"] == "applies"
    path = write(tmp_path / "b.fits", "ImageModel", IMAGE, S_REMSTR="COMPLETE", DETECTOR="NRCA1")
    assert states(path)["remstriping"] == "done"


@pytest.mark.parametrize(
    ("keywords", "note"),
    [
        ({"BUNIT": "DN/s", "S_FLAT": "COMPLETE"}, "photom is not done"),
        ({"BUNIT": "MJy/sr", "S_PHOTOM": "SKIPPED", "S_FLAT": "COMPLETE"}, "photom is SKIPPED"),
        ({"BUNIT": "MJy/sr", "S_PHOTOM": "COMPLETE", "PUPIL": "WLP8"}, "weak lens"),
        ({"BUNIT": "MJy/sr", "S_PHOTOM": "COMPLETE", "EXP_TYPE": "NRC_TACQ"}, "NRC_TACQ"),
        ({"BUNIT": "MJy/sr", "S_PHOTOM": "COMPLETE", "EXP_TYPE": "NIS_AMI"}, "NIS_AMI"),
    ],
)
def test_no_exposures_for_a_mosaic(tmp_path, keywords, note):
    path = write(tmp_path / "a.fits", "ImageModel", IMAGE, **keywords)
    found = inspect_file(read_headers(path))
    (verdict,) = found.verdicts
    assert verdict.state in ("stops", "skipped")
    assert note in verdict.note
    assert not found.takes_it


def test_planes_of_another_shape(tmp_path):
    path = write(tmp_path / "a.fits", "CubeModel", (2, 8, 8), S_FLAT="COMPLETE")
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(np.zeros((2, 9, 8), np.float32), name="VAR_FLAT"))
        hdus.append(empty_tree())
    (problem,) = inspect_file(read_headers(path)).problems
    assert "VAR_FLAT has 2 x 9 x 8 pixels, but SCI 2 x 8 x 8" in problem


def test_no_file_of_jwst(tmp_path):
    path = tmp_path / "plain.fits"
    fits.writeto(path, np.zeros((8, 8)))
    (problem,) = inspect_file(read_headers(path)).problems
    assert "no DATAMODL" in problem
    (tmp_path / "text.fits").write_text("no FITS")
    with pytest.raises(CeersError, match="not a complete FITS file"):
        read_headers(tmp_path / "text.fits")
    with pytest.raises(CeersError, match="is a folder, not a file"):
        read_headers(tmp_path)


def test_command_shows_like_files_together(tmp_path, templates, capsys, monkeypatch):
    monkeypatch.delenv("CRDS_PATH", raising=False)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        whole(folder / f"same{number}_uncal.fits")
    whole(folder / "other_uncal.fits", FILTER="F070W")
    assert main(["inspect", str(folder), "--template-dir", templates]) == 0
    text = capsys.readouterr().out
    assert text.count("next: strun ceers_steps.CeersDetector1") == 2
    assert "same0_uncal.fits and 2 more" in text
    assert "wispsub            applies: template wisps_nrcb4_F210M.fits" in text
    assert "wispsub            skipped: no wisp template for NRCB4 F070W" in text
    assert "references not looked up: CRDS_PATH is not set" in text

    (folder / "broken.fits").write_text("SIMPLE")
    assert main(["inspect", str(folder), "--template-dir", templates]) == 1
    assert "broken.fits is not a complete FITS file" in capsys.readouterr().out


def test_command_for_programs(tmp_path, templates, capsys):
    path = whole(tmp_path / "a.fits")
    arguments = ["inspect", str(path), "--json", "--no-references", "--template-dir", templates]
    assert main(arguments) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["level"] == "uncal"
    assert entry["next"] == "CeersDetector1"
    assert {"step": "snowball", "state": "applies", "note": ""} in entry["steps"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["inspect", str(empty)]) == 1
    assert "has no FITS files" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_counted(tmp_path, capsys):
    for number in range(inspect.SHOWN + 7):
        (tmp_path / f"{number:03d}.fits").write_text("x")
    assert main(["inspect", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == inspect.SHOWN + 1
    assert lines[-1] == "... and 7 more files that cannot be read"
