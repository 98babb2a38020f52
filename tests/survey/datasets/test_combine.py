"""What is combined into mosaics, their names, and `ceers mosaic` on simulated exposures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from stdatamodels.jwst import datamodels

from ceers_steps.cli import main
from ceers_steps.errors import CeersError
from ceers_steps.survey.datasets.combine import check_groups, combine_exposures, observation_list
from ceers_steps.survey.select.exposures import Exposure
from tests.survey.sky import square, write_file


def exposure(program, observation, visit, filter_name):
    name = f"jw{program}{observation}{visit}_02201_00001_nrca1"
    return Exposure(
        Path(f"{name}_cal.fits"), name, program, observation, visit, "NRCA1", filter_name
    )


EXPOSURES = [
    exposure("01345", "001", "001", "F150W"),
    exposure("01345", "001", "002", "F150W"),
    exposure("01345", "002", "001", "F277W"),
    exposure("02561", "001", "001", "F150W"),
]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("filter", ["jw01345+02561_obs001+002"]),
        ("program", ["jw01345_obs001+002", "jw02561_obs001"]),
        ("observation", ["jw01345_obs001", "jw01345_obs002", "jw02561_obs001"]),
        (
            "visit",
            [
                "jw01345_obs001_visit001",
                "jw01345_obs001_visit002",
                "jw01345_obs002_visit001",
                "jw02561_obs001_visit001",
            ],
        ),
    ],
)
def test_names_say_what_is_in(by, names):
    groups = combine_exposures(EXPOSURES, by)
    assert [group.name for group in groups] == names
    assert sum(len(group.exposures) for group in groups) == len(EXPOSURES)
    products = [group.products[name] for group in groups for name in group.filters]
    assert products[0] == f"{names[0]}_NIRCAM_F150W"
    assert len(set(products)) == len(products)


def test_many_observations_make_no_endless_name():
    many = [exposure("01345", f"{number:03d}", "001", "F150W") for number in range(1, 80)]
    (group,) = combine_exposures(many, "program")
    assert group.name == "jw01345_obs001to079"


def test_list_of_observations():
    text = observation_list(EXPOSURES * 2)
    assert text.splitlines()[1] == "01345 001 001 F150W 2"
    assert len(text.splitlines()) == 5


@pytest.mark.slow
def test_mosaics_of_calibrated_exposures(calibrated_dithers, tmp_path, capsys):
    arguments = ["mosaic", str(calibrated_dithers), "-o", str(tmp_path)]
    arguments += ["--pixel-scale", "0.05", "--north-up"]
    arguments += ["--skip", "tweakreg", "outlier_detection", "mosaic_background"]
    assert main(arguments) == 0
    name = "jw01345_obs001_NIRCAM_F150W"
    with datamodels.open(tmp_path / f"{name}_i2d.fits") as mosaic:
        assert mosaic.meta.cal_step.resample == "COMPLETE"
        wcs = mosaic.meta.wcs
        ny, nx = mosaic.data.shape
        wcs.bounding_box = None
        ra, dec = wcs([nx / 2, nx / 2], [ny / 2, ny / 2 + 1])
        # north along y, 50 mas
        assert (dec[1] - dec[0]) * 3600 == pytest.approx(0.05, rel=1e-3)
        assert abs(ra[1] - ra[0]) * 3600 < 1e-3
        # a pixel of an exposure lies where its own WCS says
        path = next(calibrated_dithers.glob("*nrcb4_cal.fits"))
        with datamodels.open(path) as cal:
            x, y = wcs.invert(*cal.meta.wcs(300.0, 300.0))
        assert np.isfinite(mosaic.data[round(float(y)), round(float(x))])
    table = Table.read(tmp_path / "mosaic_table.ecsv")
    assert sorted(table["filter"]) == ["F150W", "F277W"]
    row = table[list(table["product"]).index(f"{name}_i2d")]
    assert row["n_exposures"] == 2
    assert row["pixel_scale"] == pytest.approx(0.05, rel=1e-3)
    single = fits.getval(path, "EFFEXPTM")
    assert row["exposure_time"] == pytest.approx(2 * single)
    assert "F277W 2" in (tmp_path / "list_obs.txt").read_text()
    capsys.readouterr()
    assert main(arguments) == 1
    assert "2 of the 2 mosaics exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--pixel-scale", "nan", "--pixel-scale nan"),
        ("--pixel-scale", "0", "--pixel-scale 0"),
        ("--pixfrac", "0", "--pixfrac 0"),
        ("--pixfrac", "2", "--pixfrac 2"),
    ],
)
def test_wrong_numbers(tmp_path, capsys, option, value, message):
    assert main(["mosaic", str(tmp_path), "-o", str(tmp_path / "out"), option, value]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def cal_files(folder, *easts, visits=("001", "001")):
    """Write calibrated exposures, headers only, 64 arcsec wide, so many arcsec to the east."""
    for number, (east, visit) in enumerate(zip(easts, visits, strict=True), start=1):
        name = f"jw01345001{visit}_02101_{number:05d}_nrcb4_cal.fits"
        write_file(folder / "cals", name, square(east, 0, 64, 20))
    return ["mosaic", str(folder / "cals"), "-o", str(folder / "out")]


def test_exposures_without_overlap_are_refused_before_anything_is_made(tmp_path, capsys):
    arguments = cal_files(tmp_path, 0, 200)
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "jw01345_obs001_NIRCAM_F150W has 2 parts that do not overlap" in told
    assert "jw01345001001_02101_00001 and jw01345001001_02101_00002" in told
    assert "--gaps" in told
    assert not (tmp_path / "out").exists()


def test_one_exposure_is_refused_before_anything_is_made(tmp_path, capsys):
    """Each visit has one."""
    arguments = cal_files(tmp_path, 0, 5, visits=("001", "002"))
    assert main([*arguments, "--combine", "visit"]) == 1
    told = capsys.readouterr().err
    assert "jw01345_obs001_visit001_NIRCAM_F150W has one exposure" in told
    assert "--skip outlier_detection" in told
    assert not (tmp_path / "out").exists()


def test_what_is_asked_for_is_taken(tmp_path):
    """Detectors of one exposure need not overlap; gaps and single exposures on request."""

    def group(*names_and_easts):
        exposures = [
            replace(exposure("01345", "001", "001", "F150W"), name=name, footprint=(corners,))
            for name, east in names_and_easts
            for corners in [square(east, 0, 64)]
        ]
        return combine_exposures(exposures, "observation")

    one = group(("jw01345001001_02101_00001_nrcb1", 0), ("jw01345001001_02101_00001_nrcb2", 70))
    check_groups(one, single=True, gaps=False)
    with pytest.raises(CeersError, match="has one exposure"):
        check_groups(one, single=False, gaps=False)
    two = group(("jw01345001001_02101_00001_nrcb1", 0), ("jw01345001001_02101_00002_nrcb1", 70))
    check_groups(two, single=False, gaps=True)
    with pytest.raises(CeersError, match="2 parts that do not overlap"):
        check_groups(two, single=True, gaps=False)
