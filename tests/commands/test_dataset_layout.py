"""Surveys with a folder for each data set: `ceers sort`, `plan`, `reduce`, `verify`, `commands`."""

import json
import shutil

import pytest
from astropy.table import Table

from ceers_steps.cli import main
from ceers_steps.survey.config.layout import Layout
from ceers_steps.survey.planning import build
from ceers_steps.survey.planning.plan import STATE, read_plan
from tests.commands.test_reduce import EVERYTHING, ceers, folder, work  # noqa: F401  fixtures
from tests.survey.standin import calls

NAMES = [
    f"jw01727001001_02101_{number:05d}_{detector}"
    for number in (1, 2)
    for detector in ("nrcb4", "nrcblong")
]


@pytest.fixture
def data(folder, work):  # noqa: F811
    """The exposures in folders of data sets, as `ceers sort` makes them."""
    assert ceers("sort", "uncal", "-o", "data") == 0
    return folder / "data"


def reduce(*more):
    return ceers("reduce", "data", "-o", "data", "--layout", "dataset", *more)


def test_every_data_set_has_its_products_in_its_folder(data):
    assert reduce("--keep", "rate") == 0
    for name in NAMES:
        found = {path.relative_to(data / name).as_posix() for path in (data / name).rglob("*.*")}
        assert found == {
            f"uncals/{name}_uncal.fits",
            f"calibrated1_rates/{name}_rate.fits",
            f"calibrated2_cals/{name}_cal.fits",
            f"calibrated2_cals/{name}_1fmask.fits",
            f"calibrated2_cals/{name}_tweakreg.asdf",
            f"calibrated2_cals/{name}_match.fits",
        }
    mosaics = data / "calibrated3_mosaics"
    for product in ("jw01727001_f115w", "jw01727001_f277w"):
        assert (mosaics / product / f"{product}_i2d.fits").is_file()
        assert (mosaics / product / f"{product}_mbkgsub.fits").is_file()
    listed = (mosaics / "list_obs.txt").read_text().splitlines()
    assert listed[1:] == ["01727 001 001 F115W 2", "01727 001 001 F277W 2"]
    # nothing of the other layout
    folders = {path.name for path in data.iterdir() if path.is_dir()}
    assert folders == {*NAMES, "alignment", "calibrated3_mosaics", "logs", STATE}


def test_it_goes_on_plans_verifies_and_reports(data, capsys):
    assert reduce() == 0
    plan = read_plan(data / STATE / "plan.json")
    assert plan.layout == Layout("dataset")
    assert len(calls(plan)) == EVERYTHING
    assert reduce() == 0
    assert calls(plan) == []
    assert f"0 tasks done, {EVERYTHING} valid before" in capsys.readouterr().out
    (data / NAMES[0] / "calibrated2_cals" / f"{NAMES[0]}_match.fits").unlink()
    assert ceers("verify", "data") == 1
    assert f"{NAMES[0]}/calibrated2_cals/{NAMES[0]}_match.fits" in capsys.readouterr().err
    assert ceers("plan", "data", "-o", "data", "--layout", "dataset", "--list") == 0
    told = capsys.readouterr().out
    assert f"{NAMES[0]}/calibrated2_cals/{NAMES[0]}_match.fits is missing" in told
    assert reduce() == 0
    # outliers and mosaic of that filter, and the background of both
    assert [name.partition("/")[0] for name in calls(plan)] == ["outlier", "mosaic", "background"]
    assert ceers("commands", "data", "-o", "data", "--layout", "dataset") == 0
    states = Table.read(data / "summary.ecsv")["state"]
    assert set(states) == {"done"}


def test_tiles_are_beside_their_mosaic(data):
    assert reduce("--tile-size", "2500") == 0
    tiles = sorted((data / "calibrated3_mosaics" / "jw01727001_f115w" / "tiles").iterdir())
    assert len(tiles) == 4


def test_raw_files_from_elsewhere_are_linked_into_their_folders(folder, work):  # noqa: F811
    """By the work itself, for which these hold no data: the link is made first."""
    from ceers_steps.survey.running.work import WORK

    plan, task = _plan_of("uncal", "out")
    with pytest.raises(Exception, match=r"."):
        WORK["exposure"](plan, task, folder)
    link = folder / "out" / NAMES[0] / "uncals" / f"{NAMES[0]}_uncal.fits"
    assert link.samefile(folder / "uncal" / f"{NAMES[0]}_uncal.fits")


def _plan_of(inputs, output):
    from ceers_steps.survey.config.settings import load_config
    from ceers_steps.survey.select.inputs import find_exposures

    config = load_config(options={"inputs": [inputs], "output": output, "layout": "dataset"})
    plan = build.build_plan(config, find_exposures(config).exposures)
    return plan, plan.tasks[f"exposure/{NAMES[0]}"]


@pytest.mark.parametrize("how", ["no file", "no folder", "another"])
def test_a_data_set_that_is_half_filled_is_told_and_nothing_is_lost(data, capsys, how):
    assert reduce() == 0
    before = {path for path in data.rglob("*") if "uncals" not in path.parts}
    raw = data / NAMES[1] / "uncals"
    if how == "no folder":
        shutil.rmtree(raw)
    else:
        (raw / f"{NAMES[1]}_uncal.fits").unlink()
    if how == "another":
        shutil.copy(data / NAMES[0] / "uncals" / f"{NAMES[0]}_uncal.fits", raw)
    capsys.readouterr()
    assert reduce() == 1
    told = capsys.readouterr().err
    assert f"1 data set(s) are not complete: {NAMES[1]}: " in told
    assert f"--exclude {NAMES[1]}" in told
    assert {path for path in data.rglob("*") if "uncals" not in path.parts} >= before
    # as the message says
    assert reduce("--exclude", NAMES[1]) == (1 if how == "another" else 0)


def test_folders_without_any_raw_file(data, capsys):
    for name in NAMES:
        (data / name / "uncals" / f"{name}_uncal.fits").unlink()
    assert reduce() == 1
    assert "4 data set(s) are not complete" in capsys.readouterr().err


def test_a_link_that_leads_nowhere_is_told(data, folder, capsys):  # noqa: F811
    (folder / "uncal" / f"{NAMES[0]}_uncal.fits").unlink()
    assert reduce() == 1
    assert f"{NAMES[0]}_uncal.fits is a link to a file that is not there" in capsys.readouterr().err


def test_the_usual_layout_of_a_survey_of_data_sets(data):
    assert ceers("reduce", "data", "-o", "out") == 0
    assert len(list((data.parent / "out" / "cal").glob("*_cal.fits"))) == 4


def test_a_plan_with_an_unknown_layout_is_refused(data, capsys):
    assert reduce() == 0
    path = data / STATE / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layout": "none"}))
    from ceers_steps.survey.running.task import main as do_task

    assert do_task([str(path), f"exposure/{NAMES[0]}"]) == 1
    assert "layout 'none' is unknown" in capsys.readouterr().err


def test_layout_is_one_of_two(folder, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        main(["plan", "uncal", "-o", "out", "--layout", "other"])
    assert "dataset" in capsys.readouterr().err
