"""Exposures that belong to no mosaic, and such that do not fit into one mosaic."""

from pathlib import Path

import pytest
from stdatamodels.jwst.datamodels import ImageModel

from ceers_steps.errors import CeersError
from ceers_steps.files.membership import (
    KEYWORDS,
    PATHS,
    LeftOut,
    check_one_filter,
    group_problems,
    identity_of,
    is_calibrated_unit,
    keywords_of,
    left_out_reason,
    list_left_out,
)
from ceers_steps.names import NAME_KEYWORDS

IMAGE = {
    "INSTRUME": "NIRCAM",
    "EXP_TYPE": "NRC_IMAGE",
    "FILTER": "F150W",
    "PUPIL": "CLEAR",
    "PILIN": False,
    "CORONMSK": "NONE",
    "VISITYPE": "PRIME_TARGETED_FIXED",
    "PCS_MODE": "FINEGUIDE",
}
CAL = {
    **IMAGE,
    "S_WCS": "COMPLETE",
    "S_FLAT": "COMPLETE",
    "S_PHOTOM": "COMPLETE",
    "BUNIT": "MJy/sr",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"FILTER": "F150W2", "PUPIL": "F162M"},
        {"VISITYPE": "PARALLEL_PURE"},
        {"VISITYPE": "PRIME_TARGETED_MOVING", "PCS_MODE": "MOVING"},
        {"PCS_MODE": "TRACK"},
        {"INSTRUME": "NIRISS", "EXP_TYPE": "NIS_IMAGE", "FILTER": "CLEAR", "PUPIL": "F150W"},
        {"INSTRUME": "MIRI", "EXP_TYPE": "MIR_IMAGE", "PUPIL": None, "PILIN": None},
        dict.fromkeys(set(KEYWORDS) - {"EXP_TYPE"}),  # headers of few keywords are not judged
    ],
)
def test_images_of_the_sky_belong_to_a_mosaic(changes):
    keywords = {name: value for name, value in (IMAGE | changes).items() if value is not None}
    assert left_out_reason(keywords) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PUPIL": "WLP8"}, "wavefront sensing with a weak lens (PUPIL WLP8)"),
        ({"PUPIL": "WLM8", "FILTER": "F212N"}, "wavefront sensing with a weak lens (PUPIL WLM8)"),
        ({"FILTER": "WLP4"}, "wavefront sensing with a weak lens (FILTER WLP4)"),
        ({"VISITYPE": "PRIME_WFSC_ROUTINE"}, "wavefront sensing (VISITYPE PRIME_WFSC_ROUTINE)"),
        ({"VISITYPE": "PRIME_WFSC_SENSING_ONLY"}, "wavefront sensing (VISITYPE"),
        ({"EXP_TYPE": "NRC_WFSC"}, "wavefront sensing (EXP_TYPE NRC_WFSC)"),
        ({"EXP_TYPE": "NRC_FLAT"}, "a flat field"),
        ({"EXP_TYPE": "NRC_DARK"}, "a dark"),
        ({"EXP_TYPE": "MIR_DARKIMG"}, "a dark"),
        ({"EXP_TYPE": "NRC_LED"}, "a lamp"),
        ({"EXP_TYPE": "NRC_FOCUS"}, "a focus sweep"),
        ({"EXP_TYPE": "NRC_TACQ"}, "a target acquisition"),
        ({"EXP_TYPE": "NRC_TACONFIRM"}, "a target acquisition"),
        ({"EXP_TYPE": "NRC_CORON"}, "coronagraphy"),
        ({"EXP_TYPE": "NRC_GRISM"}, "grism spectra"),
        ({"EXP_TYPE": "NRC_WFSS"}, "grism spectra"),
        ({"EXP_TYPE": "NRC_TSIMAGE"}, "a time series"),
        ({"EXP_TYPE": "NIS_AMI"}, "no imaging"),
        ({"EXP_TYPE": "ANY"}, "it has no EXP_TYPE"),
        ({"EXP_TYPE": None}, "it has no EXP_TYPE"),
        ({"PUPIL": "GRISMR"}, "grism spectra (PUPIL GRISMR)"),
        ({"PUPIL": "GDHS60"}, "grism spectra"),
        ({"PUPIL": "MASKRND"}, "behind a coronagraph mask (PUPIL MASKRND)"),
        ({"PUPIL": "FLAT"}, "a lamp"),
        ({"PUPIL": "PINHOLES"}, "a lamp"),
        ({"CORONMSK": "MASKA210R"}, "behind a coronagraph mask (CORONMSK MASKA210R)"),
        ({"PILIN": True}, "an image of the pupil"),
        ({"VISITYPE": "PARALLEL_SLEW_CALIBRATION"}, "a calibration without a field"),
        ({"PCS_MODE": "COARSE"}, "guiding failed (PCS_MODE COARSE)"),
        ({"PCS_MODE": "NONE"}, "guiding failed (PCS_MODE NONE)"),
    ],
)
def test_what_belongs_to_no_mosaic_is_named_with_the_keyword(changes, reason):
    keywords = {name: value for name, value in (IMAGE | changes).items() if value is not None}
    assert left_out_reason(keywords).startswith(reason)


def test_keywords_of_a_model_are_those_of_its_file():
    assert keywords_of({path: CAL[name] for name, path in PATHS.items()}) == CAL
    assert keywords_of({"meta.instrument.filter": None, "meta.other": 1}) == {}


def test_keywords_and_name_of_an_open_model():
    model = ImageModel()
    for name, value in CAL.items():
        model[PATHS[name]] = value
    assert keywords_of(model) == CAL
    assert group_problems([("a", keywords_of(model))]) == {}
    assert identity_of(model) == ""
    assert identity_of(model, "my_copy_cal.fits") == "my_copy"
    values = ("01345", "001", "001", "02", "1", "05", "3", "NRCA1")
    for path, value in zip(NAME_KEYWORDS.values(), values, strict=True):
        model[path] = value
    model.meta.filename = "better_cal.fits"
    assert identity_of(model) == "jw01345001001_02105_00003_nrca1"


def test_reasons_are_listed_with_a_count_and_the_first_names():
    left_out = [LeftOut(Path(name), name, "a dark") for name in "abcd"]
    left_out += [LeftOut(Path("e"), "e", "a lamp")]
    assert list_left_out(left_out) == (
        "left out, a dark: 4 (a, b, c, ...)",
        "left out, a lamp: 1 (e)",
    )


def test_exposures_of_one_kind_fit():
    assert group_problems([(name, CAL) for name in "abc"]) == {}
    assert group_problems([]) == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"S_PHOTOM": "SKIPPED"}, "photom is SKIPPED"),
        ({"S_PHOTOM": "SKIPPED", "BUNIT": "DN/s"}, "photom is SKIPPED"),
        ({"S_FLAT": "SKIPPED"}, "flat_field is SKIPPED"),
        ({"S_WCS": "FAILED"}, "assign_wcs is FAILED"),
        ({"S_FLAT": None}, "flat_field is not done"),
        ({"S_WCS": None, "S_FLAT": None, "S_PHOTOM": None, "BUNIT": "DN/s"}, "not done"),
        ({"S_WCS": None, "S_FLAT": None, "S_PHOTOM": None, "BUNIT": None}, "not done"),
        ({"BUNIT": "DN/s"}, "its unit (BUNIT) is DN/s, that of most of the 3 exposures MJy/sr"),
        ({"BUNIT": "Jy"}, "its unit (BUNIT) is Jy"),
        ({"FILTER": "F200W"}, "its filter is F200W, that of most of the 3 exposures F150W"),
        ({"FILTER": "F150W2", "PUPIL": "F162M"}, "its filter is F162M"),
        ({"PUPIL": None}, "its pupil is missing, that of most of the 3 exposures CLEAR"),
        ({"INSTRUME": "NIRISS"}, "its instrument is NIRISS"),
    ],
)
def test_what_does_not_fit_is_named(changes, reason):
    other = {name: value for name, value in (CAL | changes).items() if value is not None}
    problems = group_problems([("a", CAL), ("b", other), ("c", CAL)])
    assert list(problems) == ["b"]
    assert reason in problems["b"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_units_that_of_counts_does_not_fit(order):
    """Whichever comes first: one is not most of two."""
    images = [("good", CAL), ("rate", {**CAL, "BUNIT": "DN/s"})][::order]
    (problem,) = group_problems(images).items()
    assert problem == (
        "rate",
        "its unit (BUNIT) is DN/s, that of others of the 2 exposures MJy/sr",
    )


def test_a_calibrated_image_of_another_program_without_statuses_fits():
    bare = {name: value for name, value in CAL.items() if not name.startswith("S_")}
    assert group_problems([("a", CAL), ("b", bare | {"BUNIT": "MJY / SR"})]) == {}


def test_exposures_of_a_mosaic_are_of_one_filter():
    medium = IMAGE | {"FILTER": "F150W2", "PUPIL": "F162M"}
    check_one_filter([medium, medium | {"FILTER": "F150W2 "}], "The list")
    with pytest.raises(CeersError, match="Product a has exposures in F150W and F162M"):
        check_one_filter([IMAGE, medium], "Product a")
    with pytest.raises(CeersError, match="no FILTER and F150W"):
        check_one_filter([IMAGE, {}], "The list")


@pytest.mark.parametrize(
    ("unit", "calibrated"),
    [
        *(("MJy/sr", True), ("MJY", True), ("10 nJy", True), ("erg / (s cm2 Hz)", True)),
        *(("DN/s", False), ("electron/s", False), ("", False), (None, False)),
    ],
)
def test_units_of_calibrated_images(unit, calibrated):
    assert is_calibrated_unit(unit) == calibrated


def test_a_group_that_is_not_calibrated_does_not_fit_as_a_whole():
    raw = CAL | {"S_PHOTOM": "SKIPPED", "BUNIT": "DN/s"}
    assert set(group_problems([("a", raw), ("b", raw)])) == {"a", "b"}
