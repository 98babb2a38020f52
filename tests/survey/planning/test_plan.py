"""What is valid, and what has to be done again, for each thing that can change."""

import os
import shutil
from dataclasses import replace

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import read_plan, why_stale, write_plan
from ceers_steps.survey.planning.records import file_state
from ceers_steps.survey.running.task import main
from tests.survey.standin import calls, make_plan

EVERYTHING = [
    *("exposure/e0", "exposure/e1", "exposure/e2", "exposure/e3"),
    *("outlier/g0", "mosaic/g0", "outlier/g2", "mosaic/g2", "background/all"),
]


def do(plan, names=None):
    """Do the tasks that are due, in the order of the plan, each as its own process would."""
    path = plan.output / "plan.json"
    write_plan(plan, path)
    for name in why_stale(plan) if names is None else names:
        assert main([str(path), name]) == 0


@pytest.fixture
def done(tmp_path):
    plan = make_plan(tmp_path)
    do(plan)
    assert sorted(calls(plan)) == sorted(EVERYTHING)
    return tmp_path


def test_nothing_is_done_twice(done):
    plan = make_plan(done)
    assert why_stale(plan) == {}
    do(plan, EVERYTHING)
    assert calls(plan) == []


def test_a_changed_parameter_redoes_its_task_and_what_follows(done):
    plan = make_plan(done, settings={"outlier/g0": {"value": 2}})
    reasons = why_stale(plan)
    assert reasons == {
        "outlier/g0": "value: 1 -> 2",
        "mosaic/g0": "follows outlier/g0",
        "background/all": "follows mosaic/g0",
    }
    do(plan)
    assert calls(plan) == list(reasons)
    assert why_stale(plan) == {}


def test_a_changed_input_is_noticed_by_its_contents(done):
    raw = done / "uncal" / "e3_uncal.fits"
    os.utime(raw, (1, 1))
    assert why_stale(make_plan(done)) == {}
    raw.write_text("raw X")
    reasons = why_stale(make_plan(done))
    assert list(reasons) == ["exposure/e3", "outlier/g2", "mosaic/g2", "background/all"]
    assert reasons["exposure/e3"] == f"input {raw} changed"


def test_a_new_version_redoes_everything(done):
    reasons = why_stale(make_plan(done, versions={"jwst": "3.0.1"}))
    assert set(reasons) == set(EVERYTHING)
    assert reasons["exposure/e0"] == "jwst 3.0.0 -> 3.0.1"


@pytest.mark.parametrize("change", ["missing", "changed"])
def test_a_product_that_is_gone_or_other_is_made_again(done, change):
    plan = make_plan(done)
    product = plan.output / "outlier" / "g0.txt"
    if change == "missing":
        product.unlink()
    else:
        product.write_text("something else")
    assert list(why_stale(plan)) == ["outlier/g0", "mosaic/g0", "background/all"]
    assert why_stale(plan)["outlier/g0"] == f"outlier/g0.txt is {change}"


def test_a_copy_of_a_survey_is_valid(done, tmp_path_factory):
    """As on another disk: times of change differ, contents do not."""
    copy = tmp_path_factory.mktemp("copy")
    plan = make_plan(done)
    shutil.copytree(plan.output, copy / "out", copy_function=shutil.copyfile)
    shutil.copytree(done / "uncal", copy / "uncal")
    moved = type(plan)(copy / "out", plan.tasks, plan.versions, plan.notes, plan.work)
    assert why_stale(moved) == {}


def test_a_task_that_was_done_again_alone_makes_what_follows_stale(done):
    plan = make_plan(done)
    plan.record_path(plan.tasks["exposure/e0"]).unlink()
    do(plan, ["exposure/e0"])
    reasons = why_stale(plan)
    assert reasons["outlier/g0"] == "exposure/e0 was done again"
    assert set(reasons) == {"outlier/g0", "mosaic/g0", "background/all"}


def test_an_exposure_more_or_less_is_noticed(done):
    # the second group has one exposure now
    reasons = why_stale(make_plan(done, exposures=3))
    assert reasons["outlier/g2"] == "no longer with exposure/e3"
    assert "outlier/g0" not in reasons


def test_another_product_that_is_wanted_is_noticed(done):
    plan = make_plan(done)
    task = plan.tasks["exposure/e0"]
    more = type(task)(**{**vars(task), "outputs": (*task.outputs, "rate/e0.txt")})
    plan.tasks["exposure/e0"] = more
    assert why_stale(plan)["exposure/e0"] == "rate/e0.txt is wanted too"


def test_a_product_that_is_no_longer_wanted_may_go(done):
    plan = make_plan(done)
    task = plan.tasks["exposure/e0"]
    plan.tasks["exposure/e0"] = type(task)(**{**vars(task), "outputs": ()})
    (plan.output / task.outputs[0]).unlink()
    assert why_stale(plan) == {}


@pytest.mark.parametrize("text", ["", "{", '{"task": "x"}', "[]"])
def test_a_damaged_record_is_no_record(done, text):
    plan = make_plan(done)
    plan.record_path(plan.tasks["mosaic/g2"]).write_text(text)
    assert why_stale(plan)["mosaic/g2"] == "not done yet"


def test_plan_survives_its_file(tmp_path):
    plan = make_plan(tmp_path)
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("text", [None, "", '{"tasks": 1}'])
def test_a_plan_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CeersError, match=r"plan\.json cannot be read"):
        read_plan(path)


def test_state_of_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    state = file_state(path)
    os.utime(path, (5, 5))
    assert state.matches(path)
    assert not replace(state, digest="").matches(tmp_path / "b")
    path.write_text("two")
    assert not state.matches(path)
