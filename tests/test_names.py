"""Names of exposures, and what may become part of a file name."""

import re

import pytest

from ceers_steps.names import (
    exposure_name,
    identify,
    identity_problem,
    is_exposure_name,
    name_problem,
)

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


@pytest.mark.parametrize(
    ("filename", "changed", "problem"),
    [
        (f"{NAME}_cal.fits", {}, ""),
        (f"bkgfix_{NAME}_cal.fits", {"FILENAME": f"{NAME}_rate.fits"}, ""),
        (f"{NAME}_cal.fits", {"PROGRAM": "1345", "EXPOSURE": 1, "VISIT": ""}, ""),
        (f"{NAME.replace('_nrca1', '-seg002_nrca1')}_cal.fits", {}, ""),
        (f"{NAME}_cal.fits", {"FILENAME": "mosaic_i2d.fits"}, ""),
        ("mine.fits", {"OBSERVTN": "009", "DETECTOR": "NRCB1"}, ""),  # no name of the archive
        (
            f"{NAME}_cal.fits",
            {"OBSERVTN": "009"},
            f"OBSERVTN=009, but its name is that of .*{NAME}",
        ),
        (f"{NAME}_cal.fits", {"PROGRAM": "2736"}, "PROGRAM=2736"),
        (f"{NAME}_cal.fits", {"VISIT": "002"}, "VISIT=002"),
        (f"{NAME}_cal.fits", {"ACT_ID": "0A"}, "ACT_ID=0A"),
        (f"{NAME}_cal.fits", {"EXPOSURE": 2}, "EXPOSURE=2"),
        (f"{NAME}_cal.fits", {"DETECTOR": "NRCB4"}, "DETECTOR=NRCB4"),
        ("mine.fits", {"FILENAME": f"{NAME}_cal.fits", "VISIT": "2"}, f"but FILENAME is .*{NAME}"),
        (
            f"{NAME}_cal.fits",
            {"FILENAME": "jw01345001001_02201_00002_nrca1_cal.fits"},
            f"its name is that of exposure {NAME}, its FILENAME that of jw.*_00002_nrca1",
        ),
    ],
)
def test_contradictions_of_names_and_keywords_are_said(filename, changed, problem):
    found = identity_problem(filename, {**KEYWORDS, **changed})
    assert bool(found) == bool(problem)
    assert re.search(problem, found)
