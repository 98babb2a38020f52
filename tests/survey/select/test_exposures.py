"""What files there are and what they say of themselves."""

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps.errors import CeersError
from ceers_steps.files.membership import list_left_out
from ceers_steps.survey.select.associations import group_exposures, name_products
from ceers_steps.survey.select.exposures import (
    parse_s_region,
    plan_exposures,
    read_exposures,
)
from ceers_steps.survey.select.levels import find_files
from ceers_steps.survey.select.visits import list_contradictions
from tests.survey.sky import s_region, square, write_file

NAME = "jw01727002001_04101_00003_nrcb4_cal.fits"
NUMBERS = {"PROGRAM": "01727", "OBSERVTN": "002", "VISIT": "001"}


def test_headers_are_read(tmp_path):
    footprint = square(0, 0, 64, angle=13)
    path = write_file(tmp_path, NAME, footprint, band="F115W", TARGPROP="COSMOS")
    (exposure,), left_out = read_exposures([path])
    assert left_out == []
    assert exposure.path == path
    assert exposure.name == "jw01727002001_04101_00003_nrcb4"
    assert exposure.dither == "jw01727002001_04101_00003"
    assert (exposure.program, exposure.observation, exposure.visit) == ("01727", "002", "001")
    assert (exposure.detector, exposure.filter, exposure.target) == ("NRCB4", "F115W", "COSMOS")
    # S_REGION is too long for one card; it is written with 9 decimals
    np.testing.assert_allclose(exposure.footprint, [footprint], atol=6e-10)


@pytest.mark.parametrize(
    ("wheel", "pupil", "name"),
    [
        ("F150W", "CLEAR", "F150W"),
        ("F150W2", "F162M", "F162M"),
        ("F444W", "F470N", "F470N"),
        ("F322W2", "F323N", "F323N"),
    ],
)
def test_a_filter_in_the_pupil_wheel_counts(tmp_path, wheel, pupil, name):
    path = write_file(tmp_path, NAME, band=wheel, pupil=pupil)
    assert read_exposures([path])[0][0].filter == name


def test_numbers_come_from_the_name_if_the_header_lacks_them(tmp_path):
    path = write_file(tmp_path, NAME, PROGRAM=None, OBSERVTN=None, VISIT=None)
    (exposure,), _ = read_exposures([path])
    assert (exposure.program, exposure.observation, exposure.visit) == ("01727", "002", "001")


def test_without_s_region_there_is_no_footprint(tmp_path):
    assert read_exposures([write_file(tmp_path, NAME)])[0][0].footprint == ()


def test_other_modes_are_left_out_and_told(tmp_path):
    files = [
        write_file(tmp_path, NAME),
        write_file(tmp_path, "a_cal.fits", EXP_TYPE="NRC_WFSS"),
        write_file(tmp_path, "b_cal.fits", INSTRUME="FGS", EXP_TYPE="FGS_IMAGE"),
        write_file(tmp_path, "c_cal.fits", INSTRUME="FGS", EXP_TYPE="FGS_IMAGE"),
    ]
    exposures, left_out = read_exposures(files)
    assert len(exposures) == 1
    assert list_left_out(left_out) == (
        "left out, FGS, not NIRCam, MIRI or NIRISS: 2 (b, c)",
        "left out, grism spectra (EXP_TYPE NRC_WFSS): 1 (a)",
    )
    with pytest.raises(
        CeersError, match=r"No imaging of NIRCam, .* among the files .*EXP_TYPE NRC_WFSS"
    ):
        read_exposures(files[1:])


def test_instruments_are_told_apart(tmp_path):
    """MIRI has no PUPIL; a filter of NIRISS with the name of one of NIRCam is another."""
    names = [NAME, NAME.replace("nrcb4", "mirimage"), NAME.replace("nrcb4", "nis")]
    files = [
        write_file(tmp_path, names[0]),
        write_file(
            tmp_path,
            names[1],
            band="F770W",
            INSTRUME="MIRI",
            EXP_TYPE="MIR_IMAGE",
            DETECTOR="MIRIMAGE",
            PUPIL=None,
        ),
        write_file(
            tmp_path,
            names[2],
            band="CLEAR",
            pupil="F150W",
            INSTRUME="NIRISS",
            EXP_TYPE="NIS_IMAGE",
            DETECTOR="NIS",
        ),
    ]
    exposures, left_out = read_exposures(files, calibrated=True)
    assert not left_out
    found = {exposure.instrument: exposure.filter for exposure in exposures}
    assert found["MIRI"] == "F770W"
    assert found["NIRISS"] == "F150W"
    groups = name_products(group_exposures(exposures, "observation"), None)
    products = sorted(group.products[name] for group in groups for name in group.filters)
    assert len(products) == len(set(products)) == 3
    assert products[1].endswith("_miri_f770w")
    assert products[2].endswith("_niriss_f150w")


def test_a_file_without_a_type_is_left_out_and_told(tmp_path):
    other = NAME.replace("nrcb4", "nrcb3")
    files = [write_file(tmp_path, NAME), write_file(tmp_path, other, EXP_TYPE=None)]
    exposures, left_out = read_exposures(files)
    assert [exposure.path for exposure in exposures] == files[:1]
    assert [(each.path, each.reason) for each in left_out] == [(files[1], "it has no EXP_TYPE")]


def test_images_of_wavefront_sensing_are_left_out(tmp_path):
    names = [NAME.replace("00003", f"{number:05d}") for number in range(1, 5)]
    files = [
        write_file(tmp_path, names[0]),
        write_file(tmp_path, names[1], pupil="WLP8"),
        write_file(tmp_path, names[2], band="F212N", pupil="WLM8"),
        write_file(tmp_path, names[3], VISITYPE="PRIME_WFSC_ROUTINE"),
    ]
    exposures, left_out = read_exposures(files)
    assert [exposure.path for exposure in exposures] == files[:1]
    assert [each.path for each in left_out] == files[1:]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *((key, value) for key in ("FILTER", "PUPIL", "DETECTOR") for value in (5, 1.5, True)),
        *((key, value) for key in ("PROGRAM", "OBSERVTN", "VISIT") for value in (1.5, True)),
    ],
)
def test_keywords_of_another_type_are_named(tmp_path, keyword, value):
    path = write_file(tmp_path, NAME)
    fits.setval(path, keyword, value=value)
    with pytest.raises(CeersError, match=rf"{NAME} \({keyword}={value} is no text\)"):
        read_exposures([path])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("OBSERVTN", "009"), ("PROGRAM", "1345"), ("DETECTOR", "NRCB1"), ("EXPOSURE", "2")],
)
def test_keywords_of_another_exposure_are_named(tmp_path, keyword, value):
    path = write_file(tmp_path, NAME, **{keyword: value})
    exposures, _ = read_exposures([path])
    (line,) = list_contradictions(exposures)
    assert f"{path.name} ({keyword}={value}, but its name is that of exposure" in line


def test_whole_numbers_are_those_of_a_program(tmp_path):
    (exposure,), _ = read_exposures([write_file(tmp_path, NAME, PROGRAM=1727, OBSERVTN=2)])
    assert (exposure.program, exposure.observation) == ("01727", "002")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda whole: b"", "nothing there"),
        (lambda whole: b"not FITS" * 1000, "not a complete FITS file"),
        (lambda whole: whole[:3000], "not a complete FITS file"),
        (lambda whole: whole.replace(b"FILTER  ", b"FILTERED"), "FILTER"),
        (lambda whole: whole.replace(b"PUPIL   ", b"PUPILS  "), "PUPIL"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, problem):
    path = write_file(tmp_path, NAME)
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(CeersError, match=rf"1 file\(s\) cannot be used: .*{NAME}.*{problem}"):
        read_exposures([path])


def test_a_link_to_nowhere_is_named_once(tmp_path):
    path = tmp_path / NAME
    path.symlink_to("/nowhere")
    with pytest.raises(CeersError, match=rf"{NAME} \(No such file or directory\)"):
        read_exposures([path])


def test_an_exposure_in_two_files_is_an_error(tmp_path):
    files = [write_file(tmp_path / folder, NAME) for folder in "ab"]
    with pytest.raises(CeersError, match=r"occur twice.*/a/.*and.*/b/"):
        read_exposures(files)
    crf = [
        write_file(tmp_path, f"jw01727002001_04101_00003_nrcb4_{number}_crf.fits")
        for number in ("a3001", "o002")
    ]
    with pytest.raises(CeersError, match=r"occur twice.*a3001.*and.*o002"):
        read_exposures(crf)


@pytest.mark.parametrize("copy", [f"bkgfix_{NAME}", "better_cal.fits"])
def test_a_copy_of_another_name_is_the_same_exposure(tmp_path, copy):
    keywords = {"FILENAME": NAME, "DETECTOR": "NRCB4", **NUMBERS}
    files = [write_file(tmp_path, name, **keywords) for name in (NAME, copy)]
    (alone,), _ = read_exposures(files[1:])
    assert alone.name == NAME.removesuffix("_cal.fits")
    with pytest.raises(CeersError, match=rf"occur twice.*/{NAME} and .*/{copy}"):
        read_exposures(files)


def test_mosaics_are_not_known_by_the_keywords_of_an_exposure(tmp_path):
    given = [
        write_file(tmp_path, "a_f150w_i2d.fits", FILENAME=NAME, **NUMBERS),
        write_file(tmp_path, "b_f150w_drz.fits", FILENAME=NAME, S_RESAMP="COMPLETE", **NUMBERS),
    ]
    assert [each.name for each in read_exposures(given)[0]] == ["a_f150w", "b_f150w"]


def test_files_of_one_level_are_selected(tmp_path):
    wanted = [
        write_file(tmp_path, f"jw01727002001_04101_0000{number}_nrcb4_cal.fits") for number in "12"
    ]
    write_file(tmp_path, "jw01727002001_04101_00001_nrcb4_rate.fits")
    write_file(tmp_path, "jw01727002001_04101_00001_nrcb4_a3001_crf.fits")
    (tmp_path / "notes.txt").touch()
    # a folder and a file in it: the file counts once
    files, note = find_files([tmp_path, wanted[0]], "cal")
    assert files == wanted
    assert note == "left out, being no *_cal.fits: 1 *_crf, 1 *_rate"
    assert find_files(wanted, "cal") == (wanted, "")


def test_what_cannot_be_selected_is_told(tmp_path):
    with pytest.raises(CeersError, match="nowhere does not exist"):
        find_files([tmp_path / "nowhere"], "cal")
    with pytest.raises(CeersError, match="no FITS file at all"):
        find_files([tmp_path], "cal")
    write_file(tmp_path, "jw01727002001_04101_00001_nrcb4_rate.fits")
    with pytest.raises(CeersError, match=r"No \*_cal.fits.*1 \*_rate.*--suffix"):
        find_files([tmp_path], "cal")
    with pytest.raises(CeersError, match=r"1 \*_rate.*ceers download PROGRAM --product uncal"):
        find_files([tmp_path], "uncal")


def test_many_other_files_are_counted_and_the_first_few_kinds_named(tmp_path):
    for number in range(100):
        (tmp_path / f"a_{number:03d}.fits").touch()
    (tmp_path / "b_rate.fits").touch()
    with pytest.raises(CeersError) as caught:
        find_files([tmp_path], "cal")
    assert "96 of 96 other kinds" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_packed_files_must_be_unpacked(tmp_path):
    packed = tmp_path / f"{NAME}.gz"
    packed.touch()
    with pytest.raises(CeersError, match=r"1 \*_cal.fits.gz, which must be unpacked \(gunzip\)"):
        find_files([tmp_path], "cal")
    write_file(tmp_path, NAME)
    files, note = find_files([tmp_path], "cal")
    assert files == [tmp_path / NAME]
    assert "1 *_cal.fits.gz, which must be unpacked" in note


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("OBSERVTN", "../"), ("VISIT", "0 1"), ("DETECTOR", "a/b"), ("FILTER", "../../F150W")],
)
def test_a_keyword_that_would_lead_out_of_the_folder_is_refused(tmp_path, keyword, value):
    path = write_file(tmp_path, NAME, **{keyword: value})
    with pytest.raises(CeersError, match=rf"cannot be used: .*{keyword}.*other characters"):
        read_exposures([path])


def test_polygons_of_s_region():
    first, second = square(0, 0, 60), square(100, 0, 60)
    np.testing.assert_allclose(parse_s_region(s_region(first, second)), [first, second], atol=1e-9)
    assert parse_s_region("CIRCLE ICRS 10 20 0.1") == ()
    assert parse_s_region("") == ()
    for bad in ("nan 20 10 21 11 20", "10 20 10 91 11 20", "400 20 10 21 11 20", "a b c d e f"):
        assert parse_s_region(f"POLYGON ICRS {bad}") == ()


def write_table(path, text):
    path.write_text("# %ECSV 1.0\n# ---\n# datatype:\n" + text)
    return path


ROWS = "# - {name: exposure, datatype: string}\n# - {name: filter, datatype: string}\n"


@pytest.mark.parametrize(
    ("suffix", "file"),
    [
        ("cal", "jw01727002001_04101_00003_nrcalong_cal.fits"),
        ("match", "jw01727002001_04101_00003_nrcalong_a3001_match.fits"),
    ],
)
def test_planned_exposures(tmp_path, suffix, file):
    table = write_table(
        tmp_path / "t.ecsv", ROWS + "exposure filter\njw01727002001_04101_00003_nrcalong f277w\n"
    )
    (exposure,) = plan_exposures(table, tmp_path / "later", suffix)
    assert exposure.path == tmp_path / "later" / file
    assert (exposure.program, exposure.observation, exposure.visit) == ("01727", "002", "001")
    assert (exposure.detector, exposure.filter, exposure.pointing) == ("NRCALONG", "F277W", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# - {name: exposure, datatype: string}\nexposure\na\n",
            "no column filter; found exposure",
        ),
        (ROWS + "exposure filter\nmine F150W\n", "'mine' is no exposure name"),
        (ROWS + "exposure filter\n", "no rows"),
        (
            ROWS + "exposure filter\n" + 2 * "jw01727002001_04101_00003_nrcalong F277W\n",
            "occur twice",
        ),
        ("nonsense", "not a readable ECSV table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(CeersError, match=message):
        plan_exposures(write_table(tmp_path / "t.ecsv", text), ".", "cal")
