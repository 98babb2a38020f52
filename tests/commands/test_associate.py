"""`ceers associate` as it is called."""

import json

import pytest
from astropy.table import Table

from ceers_steps import cli
from ceers_steps.survey.select.grids import find_grid
from tests.survey.sky import square, write_file


@pytest.fixture
def calibrated(tmp_path):
    """Two dithers in two filters, with another level beside them."""
    folder = tmp_path / "cal"
    for number, east in ((1, 0), (2, 5)):
        stem = f"jw01727001001_02101_{number:05d}"
        sides = {"nrcb4": ("F162M", 64), "nrcblong": ("F277W", 129)}
        for detector, (band, side) in sides.items():
            host = {"F162M": {"band": "F150W2", "pupil": "F162M"}}.get(band, {"band": band})
            write_file(folder, f"{stem}_{detector}_cal.fits", square(east, 0, side, 20), **host)
    write_file(folder, "jw01727001001_02101_00001_nrcb4_rate.fits")
    return folder


def associate(*arguments):
    return cli.main(["associate", *map(str, arguments)])


def test_it_writes_what_strun_needs_and_tells(calibrated, tmp_path, capsys):
    out = tmp_path / "asn"
    assert associate(calibrated, "-o", out) == 0
    told = capsys.readouterr().out
    for text in ("jw01727001", "F162M", "F277W", "1 *_rate", f"7 files in {out}"):
        assert text in told
    association = json.loads((out / "jw01727001_f162m_asn.json").read_text())
    members = [member["expname"] for member in association["products"][0]["members"]]
    assert members == [
        f"../cal/jw01727001001_02101_0000{number}_nrcb4_cal.fits" for number in (1, 2)
    ]
    text = (out / "jw01727001_image3.asdf").read_text()
    grid = find_grid(str(out / "jw01727001_grid.asdf"), "any")
    assert f"output_shape: [{grid.pixel_shape[0]}, {grid.pixel_shape[1]}]" in text
    assert grid.rotation == pytest.approx(-20, abs=0.2)
    # a second call changes nothing, another grid would
    assert associate(calibrated, "-o", out) == 0
    assert associate(calibrated, "-o", out, "--rotation", "0") == 1
    assert "--force" in capsys.readouterr().err
    assert associate(calibrated, "-o", out, "--rotation", "0", "--force") == 0


def test_images_of_wavefront_sensing_are_in_no_association(calibrated, tmp_path, capsys):
    sensing = "jw01727001001_02101_00007_nrcb4"
    lens = {"band": "F150W2", "pupil": "WLP8"}
    write_file(calibrated, f"{sensing}_cal.fits", square(0, 0, 64), **lens)
    out = tmp_path / "asn"
    assert associate(calibrated, "-o", out) == 0
    reason = "wavefront sensing with a weak lens (PUPIL WLP8)"
    assert f"left out, {reason}: 1 ({sensing})" in capsys.readouterr().out
    assert not any(sensing in path.read_text() for path in out.glob("*_asn.json"))
    table = Table.read(out / "left_out.ecsv", format="ascii.ecsv")
    assert [tuple(row) for row in table] == [(sensing, reason, f"../cal/{sensing}_cal.fits")]
    # the list of an earlier call does not stay
    (calibrated / f"{sensing}_cal.fits").unlink()
    assert associate(calibrated, "-o", out, "--force") == 0
    assert len(Table.read(out / "left_out.ecsv", format="ascii.ecsv")) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"S_PHOTOM": "SKIPPED", "BUNIT": "DN/s"}, "photom is SKIPPED"),
        ({"S_FLAT": None}, "flat_field is not done"),
        ({"BUNIT": "DN/s"}, "its unit (BUNIT) is DN/s, that of most of the 3 exposures MJy/sr"),
    ],
)
def test_what_is_not_calibrated_is_refused(calibrated, tmp_path, capsys, changes, reason):
    name = "jw01727001001_02101_00007_nrcblong_cal.fits"
    write_file(calibrated, name, square(0, 0, 129), band="F277W", **changes)
    assert associate(calibrated, "-o", tmp_path / "asn") == 1
    told = capsys.readouterr().err
    assert f"{name}: {reason}" in told
    assert not (tmp_path / "asn").exists()


def test_grids_can_be_given(calibrated, tmp_path, capsys):
    out = tmp_path / "asn"
    assert associate(calibrated, "-o", out, "--grid", "nircam1", "--by", "program") == 0
    assert "4 of 4 exposures are not, or not whole, on the grid nircam1" in capsys.readouterr().out
    assert find_grid(str(out / "grids.ecsv"), "jw01727") == find_grid("nircam1", "any")
    assert associate(calibrated, "-o", out, "--grid", "nircam1", "--rotation", "3") == 1
    assert "leave the other options out" in capsys.readouterr().err
    assert associate(calibrated, "-o", tmp_path, "--pixel-scale", "30") == 1
    assert "--pixel-scale 30.0: give arcsec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("center", "message"),
    [
        ((200.0, 50.0), "jw01727: the grid that covers its 5 exposures would have"),
        ((34.9, -52.9), "all over the sky"),
    ],
)
def test_fields_far_from_each_other_are_no_mosaic(calibrated, tmp_path, capsys, center, message):
    far = square(0, 0, 64, 20, center)
    write_file(calibrated, "jw01727009001_02101_00001_nrcb4_cal.fits", far)
    assert associate(calibrated, "-o", tmp_path / "all", "--by", "program") == 1
    error = capsys.readouterr().err
    assert message in error
    assert "--by pointing" in error
    assert not (tmp_path / "all").exists()
    assert associate(calibrated, "-o", tmp_path / "each") == 0


def test_files_without_footprints_have_no_grid(tmp_path, capsys):
    path = write_file(tmp_path / "cal", "jw01727001001_02101_00001_nrcb4_cal.fits")
    assert associate(path, "-o", tmp_path / "asn") == 0
    assert "jw01727001: no footprints, so no grid; give one with --grid" in capsys.readouterr().out
    assert not list((tmp_path / "asn").glob("*grid*"))


def test_mosaics_go_into_one_product(tmp_path, capsys):
    for band in ("F150W", "F277W"):
        write_file(
            tmp_path, f"jw01727001_{band.lower()}_i2d.fits", square(0, 0, 64),
            band=band, DETECTOR="MULTIPLE", PROGRAM="01727", OBSERVTN="001", VISIT="001",
        )  # fmt: skip
    assert associate(tmp_path, "--suffix", "i2d", "-o", tmp_path / "asn") == 0
    association = json.loads((tmp_path / "asn" / "jw01727001_allfilters_asn.json").read_text())
    assert len(association["products"][0]["members"]) == 2
    assert associate(tmp_path, "--suffix", "i2d", "-o", tmp_path / "x", "--grid", "nircam1") == 1
    assert "mosaics have their grids" in capsys.readouterr().err


def test_planned_without_files(tmp_path, capsys):
    later = tmp_path / "later"
    arguments = ("--exposures", "dr05/pointings", "--grid", "dr05/mosaic_grids", "-o", tmp_path)
    assert associate(later, *arguments, "--suffix", "match") == 0
    assert "42 files" in capsys.readouterr().out
    association = json.loads((tmp_path / "nircam6_f444w_asn.json").read_text())
    assert [member["expname"] for member in association["products"][0]["members"]] == [
        f"later/jw01345004001_{activity}_{number:05d}_nrc{module}long_a3001_match.fits"
        for activity in sorted(
            {m["expname"].split("_")[1] for m in association["products"][0]["members"]}
        )
        for number in (1, 2, 3)
        for module in "ab"
    ]
    assert find_grid(str(tmp_path / "grids.ecsv"), "nircam6") == find_grid("nircam6", "any")
    # 71 and 50 million pixels: the larger mosaic is drizzled in tiles
    assert "tile_size: 4000" in (tmp_path / "nircam2_image3.asdf").read_text()
    assert "tile_size" not in (tmp_path / "nircam6_image3.asdf").read_text()
    assert associate(later, later, *arguments) == 1
    assert "give the one folder" in capsys.readouterr().err


def test_unknown_files_and_levels_are_told(calibrated, tmp_path, capsys):
    assert associate(tmp_path / "nowhere", "-o", tmp_path) == 1
    assert "does not exist" in capsys.readouterr().err
    assert associate(calibrated, "-o", tmp_path, "--suffix", "crf") == 1
    assert "No *_crf.fits among the input (4 *_cal, 1 *_rate)" in capsys.readouterr().err
