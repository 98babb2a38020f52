"""The page of a survey and its tables: what is done, what failed, what is unusual."""

import builtins
import re
from dataclasses import replace

import pytest
from astropy.table import Table

from ceers_steps.commands.survey.reduce import _strange_mosaics
from ceers_steps.figures import preview
from ceers_steps.survey.planning.plan import STATE
from ceers_steps.survey.planning.records import read_record, write_record
from ceers_steps.survey.running.run import Failure, Outcome
from ceers_steps.survey.summary.summary import write_summary
from tests.survey.madeup import finish, make_plan

NOTHING = Outcome([], 0, [], [])


@pytest.fixture
def plan(tmp_path):
    return make_plan(tmp_path / "a survey", notes=("2 exposures were left out & forgotten",))


def failure_of(plan, name, message):
    return Failure(name, "wispsub", message, str(plan.log_path(plan.tasks[name])))


def text_of(page):
    return page.read_text(encoding="utf-8")


def test_page_of_a_survey_in_which_one_exposure_failed(plan):
    bad = next(name for name in plan.tasks if name.startswith("exposure/jw02736002"))
    finish(plan, but={bad})
    failure = failure_of(plan, bad, "no template <b> & no hope")
    page = write_summary(plan, Outcome([], 0, [failure], []))
    assert page == plan.output / "summary.html"
    text = text_of(page)
    assert "no template &lt;b&gt; &amp; no hope" in text
    assert f'href="logs/{bad}.log"' in text
    assert "left out &amp; forgotten" in text
    # three mosaics of the group that is whole, with pictures; of the other, one waits
    assert text.count("data:image/png;base64,") == 5
    assert text.count("not made yet") == 1
    tasks = Table.read(plan.output / "summary.ecsv")
    states = dict(zip(tasks["task"], tasks["state"], strict=True))
    assert states[bad] == "failed"
    waiting = {name for name, state in states.items() if state == "waiting"}
    band = bad.split("_")[1]
    assert band == "02101"
    assert waiting == {
        "align/jw02736002001_f115w",
        "outlier/jw02736002_f115w",
        "mosaic/jw02736002_f115w",
        "background/jw02736002",
    }


def test_mosaics_of_an_earlier_run_are_shown_when_a_later_one_fails(plan):
    finish(plan)
    first = text_of(write_summary(plan, NOTHING))
    bad = next(name for name in plan.tasks if name.startswith("exposure/jw02736002"))
    band = plan.tasks[bad].arguments["filter"].lower()
    waiting = ["align/jw02736002001_", "outlier/jw02736002_", "mosaic/jw02736002_"]
    waiting = [f"{name}{band}" for name in waiting] + ["background/jw02736002"]
    failure = failure_of(plan, bad, "cut off")
    text = text_of(write_summary(plan, Outcome([], 0, [failure], waiting)))
    assert "earlier run" not in first
    assert text.count("data:image/png;base64,") == first.count("data:image/png;base64,") == 6
    assert text.count("waiting; shown as of an earlier run") == 3  # the background is of all three
    assert "not made yet" not in text
    states = Table.read(plan.output / "summary.ecsv")
    (row,) = states[states["task"] == bad]
    assert (row["state"], row["seconds"]) == ("failed", 0)
    assert sorted(states["task"][states["state"] == "waiting"]) == sorted(waiting)


def test_each_exposure_has_one_status(plan):
    finish(plan)
    exposures = plan.by_stage()["exposure"]
    align = plan.tasks["align/jw02736001001_f200w"]
    record = read_record(plan.record_path(align))
    alone, lost = align.arguments["exposures"][:2]
    metrics = record.metrics
    metrics[alone]["ceers_align"] = {"relative_status": "FAILED", "absolute_status": "COMPLETE"}
    metrics[lost]["ceers_align"] = {"relative_status": "FAILED"}
    write_record(plan.record_path(align), record)
    failures = [
        failure_of(plan, exposures[0].id, "no light"),
        failure_of(plan, "align/jw02736002001_f115w", "no stars"),
    ]
    text = text_of(write_summary(plan, Outcome([], 0, failures, [exposures[1].id])))
    rows = re.findall(r'<tr class="(?:usual)?">(.*?)</tr>', text, re.S)
    status = {}
    for row in rows:
        cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
        status[cells[0]] = cells[-2]
    aside = plan.tasks["align/jw02736002001_f115w"].arguments["exposures"]
    expected = dict.fromkeys((task.key for task in exposures), "aligned")
    expected |= {alone: "catalogue only", lost: "not aligned"}
    expected |= dict.fromkeys(aside, "alignment failed")
    expected |= {exposures[0].key: "failed", exposures[1].key: "waiting"}
    assert status == expected


def test_links_of_the_page_lead_to_products_and_logs(plan):
    finish(plan)
    text = text_of(write_summary(plan, NOTHING))
    links = set(re.findall(r'href="([^"]+)"', text))
    products = {
        name
        for task in plan.tasks.values()
        for name in task.outputs
        if task.stage in {"mosaic", "background"} or name.endswith("_cal.fits")
        if not name.endswith("_mergedmask.fits")
    }
    logs = {
        f"logs/{task.id}.log"
        for task in plan.tasks.values()
        if task.stage in {"exposure", "mosaic"}
    }
    assert links == products | logs | {"summary.ecsv", "quality.ecsv", "metrics.ecsv"}
    task = next(task for task in plan.tasks.values() if task.stage == "exposure")
    page = plan.output / "report" / "exposures" / f"{task.key}.html"
    page.parent.mkdir(parents=True)
    page.touch()  # once the report is there, names lead to its pages
    text = text_of(write_summary(plan, NOTHING))
    assert f'<a href="report/exposures/{task.key}.html">{task.key}</a>' in text


def test_unusual_exposures_are_marked_in_page_and_table(plan):
    finish(plan)
    task = next(task for task in plan.tasks.values() if task.stage == "exposure")
    path = plan.record_path(task)
    record = read_record(path)
    record.metrics[task.key]["ceers_snowball"]["n_events"] = 160
    write_record(path, record)
    text = text_of(write_summary(plan, NOTHING))
    table = Table.read(plan.output / "quality.ecsv")
    (row,) = table[table["exposure"] == task.key]
    assert row["outlier"] == "snowballs"
    assert '<td class="number off">160</td>' in text
    marks = [name for names in table["outlier"].filled("") for name in names.split()]
    assert text.count(' off">') == len(marks)


def test_what_a_step_refused_is_said(plan):
    """A mosaic that kept its background is done, and the page and the tables say why."""
    finish(plan)
    background = next(task for task in plan.tasks.values() if task.stage == "background")
    mosaic = plan.tasks[background.after[0]].key
    outlier = next(task for task in plan.tasks.values() if task.stage == "outlier")
    exposure = outlier.arguments["exposures"][0]
    for task, key, step, name in (
        (background, mosaic, "ceers_mosaic_background", "background_refused"),
        (outlier, exposure, "ceers_skyvar", "sky_refused"),
    ):
        record = read_record(plan.record_path(task))
        record.metrics.setdefault(key, {})[step] = {name: "no box is free"}
        write_record(plan.record_path(task), record)
    text = text_of(write_summary(plan, NOTHING))
    assert text.count("background not subtracted: no box is free") == 1
    states = Table.read(plan.output / "summary.ecsv")["state"]
    assert set(states) == {"done"}
    quality = Table.read(plan.output / "quality.ecsv")
    assert "sky" in str(quality[quality["exposure"] == exposure]["outlier"][0]).split()
    table = Table.read(plan.output / "metrics.ecsv")
    refused = {str(row["name"]): str(row["refused"]) for row in table if row["refused"]}
    assert refused[mosaic] == "background not subtracted: no box is free"
    assert refused[exposure] == "sky not subtracted: no box is free"
    assert set(refused) == {mosaic, exposure}
    assert _strange_mosaics(plan.output) == [mosaic]


def test_pictures_are_made_once(plan, monkeypatch):
    finish(plan)
    first = text_of(write_summary(plan, NOTHING))
    kept = set((plan.output / STATE / "previews").iterdir())
    assert len(kept) == 6

    def fail(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(preview, "read_preview", fail)
    assert text_of(write_summary(plan, NOTHING)) == first
    monkeypatch.undo()
    # a mosaic that was made again has another picture, and the old one goes
    task = plan.tasks["background/jw02736001"]
    write_record(
        plan.record_path(task), replace(read_record(plan.record_path(task)), made="another")
    )
    write_summary(plan, NOTHING)
    now = set((plan.output / STATE / "previews").iterdir())
    assert len(now) == 6
    assert len(now - kept) == 3


def test_records_without_metrics_and_mosaics_that_cannot_be_read(plan, caplog):
    finish(plan)
    for task in plan.tasks.values():
        path = plan.record_path(task)
        write_record(path, replace(read_record(path), metrics={}))
    (plan.output / "mosaics/jw02736001/jw02736001_f200w_mbkgsub.fits").write_bytes(b"damaged")
    text = text_of(write_summary(plan, NOTHING))
    assert text.count("data:image/png;base64,") == 5
    assert "no picture" in text
    assert "No picture of" in caplog.text
    assert "variance factor" not in text


def test_before_anything_is_done(plan):
    text = text_of(write_summary(plan, NOTHING))
    assert "data:image/png" not in text
    assert set(Table.read(plan.output / "summary.ecsv")["state"]) == {"waiting"}


@pytest.mark.parametrize("missing", ["jinja2", "PIL"])
def test_without_the_extra_there_are_the_tables_and_a_word(plan, monkeypatch, caplog, missing):
    finish(plan)
    imported = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == missing:
            raise ImportError(f"No module named {missing!r}")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert write_summary(plan, NOTHING) == plan.output / "summary.ecsv"
    assert not (plan.output / "summary.html").exists()
    assert "ceers_steps[report]" in caplog.text
    assert len(Table.read(plan.output / "quality.ecsv")) == 80
