"""Names of exposures, and what may become part of a file name."""

import pytest

from ceers_steps.names import exposure_name, identify, is_exposure_name, name_problem

NAME = "jw01345001001_02201_00001_nrca1"


@pytest.mark.parametrize(
    "file",
    [
        f"{NAME}_rate.fits",
        f"/data/{NAME}_a3001_crf.fits",
        f"bkgfix_{NAME}_cal.fits",
        f"my-{NAME}.fits",
        NAME,
    ],
)
def test_an_exposure_is_known_whatever_stands_before_its_name(file):
    assert exposure_name(file) == NAME


@pytest.mark.parametrize("file", [f"x{NAME}_cal.fits", "jw1_cal.fits", "other_thing_cal.fits"])
def test_what_only_resembles_an_exposure_name_is_none(file):
    assert exposure_name(file) == file.removesuffix("_cal.fits")


KEYWORDS = {
    **{"PROGRAM": "01345", "OBSERVTN": "001", "VISIT": "001", "VISITGRP": "02", "SEQ_ID": "2"},
    **{"ACT_ID": "01", "EXPOSURE": "1", "DETECTOR": "NRCA1"},
}


@pytest.mark.parametrize(
    ("file", "keywords"),
    [
        (f"{NAME}_cal.fits", {}),
        (f"bkgfix_{NAME}_cal.fits", {"FILENAME": "jw09999001001_02201_00001_nrca1_cal.fits"}),
        ("copy.fits", {"FILENAME": f"{NAME}_cal.fits"}),
        ("copy.fits", KEYWORDS),
        ("", KEYWORDS | {"FILENAME": "copy.fits"}),
    ],
)
def test_an_exposure_is_known_by_file_name_header_name_or_keywords(file, keywords):
    assert identify(file, keywords) == NAME


@pytest.mark.parametrize("missing", KEYWORDS)
def test_an_exposure_that_nothing_names_has_the_name_of_its_file(missing):
    assert identify("my_copy_cal.fits", KEYWORDS | {missing: None}) == "my_copy"
    assert identify("", {}) == ""


def test_exposure_names_stand_alone():
    assert is_exposure_name(NAME)
    assert not any(map(is_exposure_name, (f"{NAME}_cal", f"bkgfix_{NAME}", f"{NAME}.fits", "a")))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (5, "no text (int)"),
        (None, "no text (NoneType)"),
        ("", "empty"),
        ("../x", "other characters"),
        ("a/b", "other characters"),
        ("a\nb", "other characters"),
        (".hidden", "other characters"),
        ("a" * 201, "201 characters"),
    ],
)
def test_what_is_no_file_name(name, told):
    assert told in name_problem(name)


def test_what_is_a_file_name():
    assert not any(map(name_problem, ("jw01345001", "nircam1_f115w", "a+b.c-d")))
