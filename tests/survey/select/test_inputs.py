"""Which raw exposures a survey has, and which are left out."""

import shlex

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.config.settings import load_config
from ceers_steps.survey.select.inputs import find_exposures, how_to_exclude, table_exposures
from tests.survey.select.test_exposures import ROWS, write_table
from tests.survey.sky import square, write_file

NAMES = [
    f"jw01727001001_{group}_{dither:05d}_{detector}"
    for group in ("02101", "04101")
    for dither in (1, 2)
    for detector in ("nrca1", "nrcb4")
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Eight exposures; two are in the subfolder "second"."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        place = tmp_path / "uncal" / ("second" if number > 5 else "")
        write_file(place, f"{name}_uncal.fits", square(0, 0, 64))
    return tmp_path


def survey(folder, exclude):
    path = folder / "survey.toml"
    path.write_text(
        'inputs = ["uncal", "uncal/second"]\noutput = "out"\n' + exclude, encoding="utf-8"
    )
    return load_config(path)


@pytest.mark.parametrize(
    ("entries", "left_out"),
    [
        ([], []),
        ([NAMES[3]], [3]),
        ([f"{NAMES[3]}_uncal.fits", NAMES[3], NAMES[0]], [0, 3]),
        (["jw01727001001_02101_*"], [0, 1, 2, 3]),
        (["*_nrca1", "*_00001_nrcb?_uncal.fits"], [0, 1, 2, 4, 5, 6]),
        (["second/*"], [6, 7]),
        ([f"uncal/{NAMES[1]}_uncal.fits"], [1]),
    ],
)
def test_what_is_left_out(folder, entries, left_out):
    found = find_exposures(survey(folder, f"exclude = {entries}\n"))
    expected = [name for number, name in enumerate(NAMES) if number not in left_out]
    assert [exposure.name for exposure in found.exposures] == expected
    assert {(each.name, each.reason) for each in found.left_out} == {
        (NAMES[number], "named in exclude") for number in left_out
    }


@pytest.mark.parametrize(
    ("text", "line", "entry", "nearest"),
    [
        (f"exclude = ['{NAMES[2]}1']\n", 3, f"{NAMES[2]}1", NAMES[2]),
        (
            f"exclude = [\n  '{NAMES[0]}',\n  'jw01727001001_04101_00001_nrcb4_uncl.fits',\n]\n",
            5,
            "jw01727001001_04101_00001_nrcb4_uncl.fits",
            "jw01727001001_04101_00001_nrcb4_uncal.fits",
        ),
        ("exclude = ['third/*']\n", 3, "third/*", NAMES[0][:4]),
        ("exclude = ['uncal']\n", 3, "uncal", NAMES[0][:4]),
        ("exclude = ['.']\n", 3, ".", NAMES[0][:4]),
    ],
)
def test_an_entry_that_names_nothing_is_refused(folder, text, line, entry, nearest):
    with pytest.raises(CeersError) as caught:
        find_exposures(survey(folder, text))
    told = str(caught.value)
    assert told.startswith(f"{folder / 'survey.toml'}, line {line}: exclude: {entry!r} names none")
    assert f"the nearest is {nearest}" in told


def test_an_option_that_names_nothing_is_refused(folder):
    config = load_config(options={"inputs": ["uncal"], "output": "out", "exclude": ["jw1"]})
    with pytest.raises(CeersError, match=r"^--exclude: 'jw1' names none of the 6 exposures"):
        find_exposures(config)


def test_nothing_left_is_an_error(folder):
    with pytest.raises(CeersError, match=r"exclude = \['\*'\] leaves none of the 8 exposures"):
        find_exposures(survey(folder, "exclude = ['*']\n"))


def test_a_broken_file_can_be_left_out_as_the_message_says(folder):
    broken = folder / "uncal" / f"{NAMES[1]}_uncal.fits"
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(CeersError) as caught:
        find_exposures(survey(folder, f'exclude = ["{NAMES[0]}"]\n'))
    _, _, remedy = str(caught.value).partition("Or leave out: ")
    text, _, place = remedy.partition(" (in ")
    assert place == f"{folder / 'survey.toml'}, above the first [table])."
    exposures = find_exposures(survey(folder, text + "\n")).exposures
    assert [exposure.name for exposure in exposures] == NAMES[2:]


def test_an_exposure_in_two_folders_can_be_left_out_in_one(folder):
    write_file(folder / "uncal" / "second", f"{NAMES[0]}_uncal.fits", square(0, 0, 64))
    with pytest.raises(CeersError, match="occur twice") as caught:
        find_exposures(survey(folder, ""))
    text = str(caught.value).partition("Or leave out: ")[2].partition(" (in ")[0] + "\n"
    exposures = find_exposures(survey(folder, text)).exposures
    assert [exposure.name for exposure in exposures] == NAMES
    assert exposures[0].path.parent.name == "uncal"


def test_options_to_paste(folder):
    config = load_config(options={"inputs": ["uncal"], "output": "out", "exclude": ["a b"]})
    told = how_to_exclude(config, [NAMES[0], "it's", NAMES[0]])
    option, *names = shlex.split(told.partition(" (")[0])
    assert (option, names) == ("--exclude", ["a b", NAMES[0], "it's"])


def test_exposures_of_a_table_are_left_out_too(folder):
    rows = "".join(f"{name} F150W\n" for name in NAMES)
    table = write_table(folder / "t.ecsv", ROWS + "exposure filter\n" + rows)
    config = survey(folder, "exclude = ['*_nrcb4', 'jw01727001001_04101_00002_nrca1_uncal.fits']\n")
    found = table_exposures(config, table)
    assert [exposure.name for exposure in found.exposures] == [NAMES[0], NAMES[2], NAMES[4]]
    assert [each.reason for each in found.left_out] == ["named in exclude"] * 5
