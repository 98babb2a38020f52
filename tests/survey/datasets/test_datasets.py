"""`ceers sort` and `ceers table`: folders of data sets, links and copies, the table."""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from ceers_steps.cli import main

A = "jw01345002001_14201_00001_nrcb4"
B = "jw01345002001_14201_00001_nrcblong"
M = "jw01345003001_02101_00001_mirimage"


def write(path, size=4, **keywords):
    """Write a raw file of which only the header matters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    primary = fits.PrimaryHDU()
    primary.header["DATAMODL"] = "Level1bModel"
    primary.header.update(keywords)
    sci = fits.ImageHDU(np.zeros((1, 2, size, size), np.uint16), name="SCI")
    sci.header["RA_REF"], sci.header["DEC_REF"] = 214.9, 52.8
    sci.header["S_REGION"] = "POLYGON ICRS 1 2 3 4 5 6 7 8"
    fits.HDUList([primary, sci]).writeto(path)
    return path


@pytest.fixture
def raw(tmp_path):
    """Raw files as MAST delivers them, a folder for each, and a copy of one."""
    folder = tmp_path / "mastDownload" / "JWST"
    nircam = {"INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_IMAGE", "PUPIL": "CLEAR"}
    nircam |= {"DATE-OBS": "2022-12-20", "TIME-OBS": "01:02:03.5", "EFFEXPTM": 934.1}
    first = {**nircam, "DETECTOR": "NRCB4", "FILTER": "F150W"}
    write(folder / A / f"{A}_uncal.fits", **first)
    nircam |= {"PUPIL": "F470N", "FILTER": "F444W", "DETECTOR": "NRCBLONG"}
    write(folder / B / f"{B}_uncal.fits", **nircam)
    miri = {"INSTRUME": "MIRI", "EXP_TYPE": "MIR_IMAGE", "FILTER": "F770W"}
    write(folder / M / f"{M}_uncal.fits", **miri)
    write(tmp_path / "copy" / f"{A}_uncal.fits", **first)
    (folder / A / f"{A}_rate.fits").write_text("another level")
    return tmp_path / "mastDownload"


def test_sort_links_into_folders_of_data_sets(raw, tmp_path, capsys):
    out = tmp_path / "data"
    assert main(["sort", str(raw), "-o", str(out)]) == 0
    assert "3 data sets: 3 linked, 0 there" in capsys.readouterr().out
    for name in (A, B, M):
        path = out / name / "uncals" / f"{name}_uncal.fits"
        assert path.is_symlink()
        assert fits.getval(path, "DATAMODL") == "Level1bModel"
    # with a copy of one of them
    assert main(["sort", str(raw), str(tmp_path / "copy"), "-o", str(out)]) == 0
    assert "3 data sets: 0 linked, 3 there" in capsys.readouterr().out


def test_packed_files_are_said_to_need_unpacking(raw, tmp_path, capsys):
    """A link to one, with the name of an unpacked file, would be opened by nobody."""
    note = "1 *_uncal.fits.gz, which must be unpacked (gunzip)"
    path = raw / "JWST" / A / f"{A}_uncal.fits"
    packed = path.rename(path.with_name(f"{path.name}.gz"))
    out = tmp_path / "data"
    assert main(["sort", str(raw), "-o", str(out)]) == 0
    assert note in capsys.readouterr().out
    assert {each.name for each in out.iterdir()} == {B, M}
    for source in (packed, packed.parent):
        assert main(["sort", str(source), "-o", str(out)]) == 1
        assert note in capsys.readouterr().err
    assert main(["table", str(packed), "-o", str(tmp_path / "t")]) == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--instrument", "miri"], [M]),
        (["--filter", "F470N", "F770W"], [B, M]),
        (["--filter", "F150W", "--instrument", "NIRCAM"], [A]),
        (["--exp-type", "NRC_IMAGE"], [A, B]),
    ],
)
def test_choice(raw, tmp_path, options, names):
    out = tmp_path / "data"
    assert main(["sort", str(raw), "-o", str(out), "--copy", *options]) == 0
    assert sorted(os.listdir(out)) == sorted(names)
    (path,) = (out / names[0]).rglob("*.fits")
    assert not path.is_symlink()


def test_dry_run_writes_nothing(raw, tmp_path, capsys):
    assert main(["sort", str(raw), "-o", str(tmp_path / "data"), "--dry-run"]) == 0
    assert f"{A}_uncal.fits -> {tmp_path / 'data' / A / 'uncals'}" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()


def test_nothing_is_replaced(raw, tmp_path, capsys):
    place = tmp_path / "data" / A / "uncals" / f"{A}_uncal.fits"
    write(place, size=5)
    before = place.read_bytes()
    assert main(["sort", str(raw), "-o", str(tmp_path / "data")]) == 1
    assert "is another file than" in capsys.readouterr().err
    assert place.read_bytes() == before
    assert not (tmp_path / "data" / B).exists()
    place.unlink()
    place.symlink_to(tmp_path / "nowhere")
    assert main(["sort", str(raw), "-o", str(tmp_path / "data")]) == 1
    assert "which is not there" in capsys.readouterr().err


def test_an_exposure_in_two_files_that_differ(raw, tmp_path, capsys):
    write(raw / "copy" / f"{A}_uncal.fits", size=6, INSTRUME="NIRCAM")
    assert main(["sort", str(raw), "-o", str(tmp_path / "data")]) == 1
    assert "two files that differ" in capsys.readouterr().err


def test_what_cannot_be_used_is_named(raw, tmp_path, capsys):
    (raw / "broken_uncal.fits").write_text("x")
    (raw / f"{A.replace('14201', '14202')}_uncal.fits").write_text("x")
    assert main(["sort", str(raw), "-o", str(tmp_path / "data")]) == 0
    text = capsys.readouterr().out
    assert "broken_uncal.fits: left out, its name is that of no JWST exposure" in text
    assert "14202" in text
    assert main(["sort", str(tmp_path / "none"), "-o", str(tmp_path / "data")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["sort", str(raw), "-o", str(tmp_path / "data"), "--filter", "F999W"]) == 1
    assert "No *_uncal.fits that is wanted" in capsys.readouterr().err


def test_table(raw, tmp_path, capsys):
    base = tmp_path / "exposures"
    assert main(["table", str(raw), "-o", str(base)]) == 0
    assert "3 exposures" in capsys.readouterr().out
    table = Table.read(f"{base}.ecsv")
    assert list(table["dataset"]) == [A, B, M]
    row = table[1]
    assert (row["program"], row["observation"], row["visit"]) == ("01345", "002", "001")
    assert row["group"] == "jw01345_obs002_visit001_NIRCAM_F470N"
    assert row["date"] == "2022-12-20T01:02:03.5"
    assert row["exposure_time"] == pytest.approx(934.1)
    assert table["exposure_time"].unit == "s"
    assert (row["ra"], row["dec"]) == (214.9, 52.8)
    assert np.isnan(table[2]["exposure_time"])
    assert row["footprint"].startswith("POLYGON ICRS")
    assert len(Table.read(f"{base}.csv", format="ascii.csv")) == 3
    assert main(["table", str(raw), "-o", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
