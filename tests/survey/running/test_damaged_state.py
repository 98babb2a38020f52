"""What a survey keeps of itself, valid JSON of wrong types: treated as absent, or one message."""

import contextlib
import copy
import json
import shutil

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.report.survey_data import read_survey
from ceers_steps.survey.planning.integrity import verify_products
from ceers_steps.survey.planning.plan import STATE, read_plan, why_stale, write_plan
from ceers_steps.survey.planning.records import read_record
from ceers_steps.survey.running.run import Outcome, _outcome, _with_killed
from ceers_steps.survey.running.task import main, reference_state, running_path
from ceers_steps.survey.summary.quality import gather_quality
from ceers_steps.survey.summary.summary import write_summary
from tests.survey.planning.test_plan import do
from tests.survey.standin import make_plan

WRONG = (None, True, 7, float("inf"), float("nan"), "x", [], ["x"], [[1]], {}, {"x": 1})
METRICS = {"e0": {"ceers_snowball": {"n_events": 4}, "ceers_skyvar": {"sky": 0.1, "note": "x"}}}


def variants(tree):
    """Return the tree with each of its branches in turn replaced by something else, or left out."""

    def branches(node, path=()):
        if path:
            yield path
        keys = (
            node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        )
        for key in keys:
            yield from branches(node[key], (*path, key))

    for path in branches(tree):
        for wrong in (*WRONG, KeyError):
            changed = copy.deepcopy(tree)
            node = changed
            for key in path[:-1]:
                node = node[key]
            if wrong is KeyError:
                del node[path[-1]]
            else:
                node[path[-1]] = wrong
            yield changed
    yield from WRONG


@pytest.fixture
def plan(tmp_path, monkeypatch):
    made = make_plan(tmp_path, exposures=1, arguments={"exposure/e0": {"metrics": METRICS}})
    do(made)
    monkeypatch.chdir(tmp_path)
    return made


def test_records(plan):
    """No record, whatever stands in it, ends a plan, a summary, a report or a verification."""
    task = plan.tasks["exposure/e0"]
    path = plan.record_path(task)
    tree = json.loads(path.read_text())
    count = 0
    for changed in variants(tree):
        path.write_text(json.dumps(changed))
        reasons = why_stale(plan)
        assert set(reasons) in (set(), set(plan.tasks)) or "exposure/e0" not in reasons
        records = {}
        if (record := read_record(path)) is not None:
            records = {task.id: record}
        gather_quality(plan, records)
        read_survey(plan.output)
        verify_products(plan.output, write=False, inputs=True)
        count += 1
    assert count > 300


def test_summary_of_figures_of_other_types(plan):
    path = plan.record_path(plan.tasks["mosaic/g0"])
    tree = json.loads(path.read_text())
    for wrong in WRONG:
        tree["metrics"] = {"g0": {"mosaic": {"depth": wrong, "area": 1.5}}}
        path.write_text(json.dumps(tree))
        write_summary(plan, Outcome([], 4, [], []))
    assert "1.50" in (plan.output / "summary.html").read_text()


def test_plans(plan):
    path = plan.output / "plan.json"
    write_plan(plan, path)
    tree = json.loads(path.read_text())
    taken = 0
    for changed in variants(tree):
        path.write_text(json.dumps(changed))
        with contextlib.suppress(CeersError):
            why_stale(read_plan(path))
            taken += 1
    assert taken > 0


@pytest.mark.parametrize("kind", ["failed", "running", "references"])
def test_notes(plan, tmp_path, kind):
    """Failures, running tasks and what is known of reference files."""
    again = make_plan(tmp_path, exposures=1, settings={"exposure/e0": {"value": 2}})
    task = again.tasks["exposure/e0"]
    note = {
        "failed": {"task": task.id, "step": "jump", "message": "no", "final": "m", "log": "a.log"},
        "running": {"mark": str(tmp_path / "a" / "m"), "attempt": 1, "host": "here", "pid": 1},
        "references": {"size": 1, "mtime": 1, "digest": "x"},
    }[kind]
    path = again.output / "plan.json"
    write_plan(again, path)
    where = {
        "failed": again.failure_path(task),
        "running": running_path(again, task),
        "references": again.output / STATE / "references" / "e0_uncal.fits.json",
    }[kind]
    for changed in variants(note):
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(json.dumps(changed))
        if kind == "failed":
            outcome = _outcome(again, [task], set(), {task.id})
            assert [failure.task for failure in outcome.failures] == [task.id]
            assert all(isinstance(each, str) for each in vars(outcome.failures[0]).values())
        if kind == "running":

            class Killed:
                def why_killed(self, task, tree):
                    return f"{tree['host']} {tree['attempt'] > 1}"

            _with_killed(again, Outcome([], 0, [], [task.id]), Killed())
        if kind == "references":
            assert reference_state(again, task.inputs[0]).size == 5
    for changed in WRONG:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(json.dumps(changed))
        again.record_path(task).unlink(missing_ok=True)
        assert main([str(path), task.id, str(tmp_path / "a" / "m")]) == 0
    shutil.rmtree(tmp_path / "a")
