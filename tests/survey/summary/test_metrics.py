"""One record a product, while a survey runs and at its end."""

import json
import time

import pytest
from astropy.table import Table

from ceers_steps.files.metrics import FACTS, METRICS
from ceers_steps.survey.planning.records import read_record
from ceers_steps.survey.running.run import Outcome
from ceers_steps.survey.summary import metrics
from ceers_steps.survey.summary.metrics import follow_metrics, write_survey_metrics
from ceers_steps.survey.summary.summary import write_summary
from tests.survey.planning.test_plan import do
from tests.survey.standin import make_plan

MEASURED = {"e0": {"ceers_snowball": {"n_events": 4}, "ceers_wispsub": {"scale": [0.4, 0.6]}}}
VERSIONS = {"jwst": "3.0.0", "ceers_steps": "0.2+abc", "CRDS context": "jwst_1413.pmap"}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    made = make_plan(
        tmp_path,
        exposures=2,
        versions=VERSIONS,
        arguments={
            "exposure/e0": {"metrics": MEASURED},
            "outlier/g0": {"metrics": {"e0": {"ceers_skyvar": {"sky": 0.2}}}},
            "mosaic/g0": {"metrics": {"g0": {"mosaic": {"depth": 28.5}}}},
        },
    )
    tasks = dict(made.tasks)
    for name, output in (("exposure/e0", "cal/e0_cal.fits"), ("mosaic/g0", "mosaics/g0_i2d.fits")):
        tasks[name] = type(tasks[name])(**{**vars(tasks[name]), "outputs": (output,)})
    made = type(made)(made.output, tasks, made.versions, (), made.work)
    monkeypatch.chdir(tmp_path)
    return made


def lines(plan):
    text = (plan.output / "metrics.jsonl").read_text()
    return {row["product"]: row for row in map(json.loads, text.splitlines())}


def end(plan):
    records = {name: read_record(plan.record_path(task)) for name, task in plan.tasks.items()}
    write_survey_metrics(plan, records)


def test_every_product_has_a_record(plan):
    do(plan)
    end(plan)
    rows = lines(plan)
    assert set(rows) == {name for task in plan.tasks.values() for name in task.outputs}
    cal = rows["cal/e0_cal.fits"]
    assert (cal["name"], cal["stage"], cal["filter"]) == ("e0", "exposure", "F200W")
    assert (cal["snowballs"], cal["wisp_scale"]) == (4, pytest.approx(0.5))
    assert "sky" not in cal, "measured later, on another product"
    assert cal["crds_context"] == "jwst_1413.pmap"
    assert (cal["jwst"], cal["ceers_steps"]) == ("3.0.0", "0.2+abc")
    record = read_record(plan.record_path(plan.tasks["exposure/e0"]))
    assert (cal["seconds"], cal["memory_mb"]) == (record.seconds, record.peak_memory / 1e6)
    assert rows["mosaics/g0_i2d.fits"]["depth"] == 28.5


def test_names_are_those_of_the_schema_and_have_its_units(plan):
    do(plan)
    end(plan)
    table = Table.read(plan.output / "metrics.ecsv")
    known = {metric.name: metric for metric in METRICS}
    versions = set(VERSIONS) - {"CRDS context"}
    assert set(table.colnames) <= {*FACTS, *known, *versions}
    for name in set(table.colnames) & set(known):
        assert str(table[name].unit or "") == known[name].unit
        assert table[name].description == known[name].meaning
    assert len(table) == len(lines(plan))
    assert any(table["depth"].mask)
    assert not all(table["depth"].mask)


def test_the_files_grow_while_a_survey_runs(plan, monkeypatch):
    follow = follow_metrics(plan)
    follow([])
    assert not (plan.output / "metrics.jsonl").exists()
    do(plan, ["exposure/e0"])
    follow(["exposure/e0"])
    assert set(lines(plan)) == {"cal/e0_cal.fits"}
    do(plan, ["exposure/e1"])
    follow(["exposure/e0", "exposure/e1"])
    assert len(lines(plan)) == 1, "written a moment ago"
    monkeypatch.setattr(metrics, "INTERVAL", 0.0)
    follow(["exposure/e0", "exposure/e1"])
    assert len(lines(plan)) == 2
    # another run has what is there already
    do(plan, ["outlier/g0"])
    follow_metrics(plan)(["outlier/g0"])
    assert len(lines(plan)) == 3


def test_a_record_that_is_made_again_is_read_again(plan):
    do(plan)
    follow = follow_metrics(plan)
    before = read_record(plan.record_path(plan.tasks["exposure/e0"])).made
    plan.record_path(plan.tasks["exposure/e0"]).unlink()
    do(plan, ["exposure/e0"])
    follow(["exposure/e0"])
    assert lines(plan)["cal/e0_cal.fits"]["made"] != before


def test_the_end_of_a_survey_writes_them_too(plan):
    do(plan)
    made_up = type(plan)(
        plan.output,
        {name: task for name, task in plan.tasks.items() if task.stage == "exposure"},
        plan.versions,
    )
    write_summary(made_up, Outcome([], 2, [], []))
    assert len(lines(plan)) == 2


def test_a_large_survey_takes_no_time(plan):
    """1500 products: a few ms each, most of it the table."""
    do(plan)
    record = read_record(plan.record_path(plan.tasks["exposure/e0"]))
    task = plan.tasks["exposure/e0"]
    tasks = {f"exposure/x{n}": type(task)(**{**vars(task), "key": f"x{n}"}) for n in range(1500)}
    many = type(plan)(plan.output, tasks, plan.versions)
    start = time.process_time()
    write_survey_metrics(many, dict.fromkeys(tasks, record))
    assert time.process_time() - start < 5
