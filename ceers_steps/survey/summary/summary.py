"""What came of a survey: tables of all tasks and of the quality of exposures, and a page."""

import logging
from collections.abc import Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any
from urllib.parse import quote

from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.figures import preview
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.metrics import metrics_of, refusals
from ceers_steps.report.survey_page import (
    Cell,
    Column,
    FailedTask,
    Mosaic,
    Row,
    Stage,
    write_survey_page,
)
from ceers_steps.survey.datasets.combine import list_observations
from ceers_steps.survey.planning.plan import MOSAICS, STATE, TITLES, Plan, Task
from ceers_steps.survey.planning.records import Record, read_record
from ceers_steps.survey.running.progress import duration
from ceers_steps.survey.running.run import Failure, Outcome
from ceers_steps.survey.select.association_files import left_out_table
from ceers_steps.survey.summary.metrics import write_survey_metrics
from ceers_steps.survey.summary.quality import BY_NAME, QUANTITIES, Quality, gather_quality, too_few

__all__ = ["write_summary"]

log = logging.getLogger(__name__)


def write_summary(plan: Plan, outcome: Outcome, remedy: str = "") -> Path:
    """Write ``summary.html``, and its tables.

    They are ``summary.ecsv``, ``quality.ecsv`` and ``left_out.ecsv``.

    Parameters
    ----------
    plan : Plan
        The plan.
    outcome : Outcome
        What came of the last run.
    remedy : str
        How to go on without what failed; empty where there is no such way.

    Returns
    -------
    Path
        The page; the table of tasks where the extra ``report`` is missing, which is logged.
    """
    found = {task.id: read_record(plan.record_path(task)) for task in plan.tasks.values()}
    records = {name: record for name, record in found.items() if record is not None}
    failures = {failure.task: failure for failure in outcome.failures}
    states = _states(plan, outcome, records)
    tasks = _task_table(plan, records, failures, states)
    quality = gather_quality(plan, records)
    table = _write_table(tasks, plan.output / "summary.ecsv")
    _write_table(quality.table, plan.output / "quality.ecsv")
    write_survey_metrics(plan, records)
    _write_table(left_out_table(plan.left_out, plan.output), plan.output / "left_out.ecsv")
    _write_observations(plan, states)
    try:
        return write_survey_page(
            plan.output / "summary.html",
            title=f"Survey {plan.output.name}",
            stages=_stages(plan, records, states),
            failures=[
                FailedTask(name, failure.step, failure.message, _log(plan, plan.tasks[name]))
                for name, failure in failures.items()
            ],
            remedy=remedy,
            mosaics=_mosaics(plan, records, states),
            **_exposures(plan, quality, states),
            notes=plan.notes,
            few=too_few(list(quality.table["filter"])),
            facts={**plan.versions, "folder": str(plan.output)},
            links={
                "all tasks": "summary.ecsv",
                "quality of exposures": "quality.ecsv",
                "metrics of all products": "metrics.ecsv",
            }
            | ({"exposures left out": "left_out.ecsv"} if plan.left_out else {}),
        )
    except CeersError as err:
        log.warning("No summary.html: %s", err)
        return table


def _states(plan: Plan, outcome: Outcome, records: Mapping[str, Record]) -> dict[str, str]:
    """Return what became of each task; a record of an earlier run does not make it done."""
    failed, waiting = {failure.task for failure in outcome.failures}, set(outcome.waiting)
    return {
        name: "failed"
        if name in failed
        else "done"
        if name in records and name not in waiting
        else "waiting"
        for name in plan.tasks
    }


def _write_table(table: Table, path: Path) -> Path:
    """Write a table, all or nothing."""
    return write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))


def _write_observations(plan: Plan, states: Mapping[str, str]) -> None:
    """Write the observations that are in mosaics, where the layout has a place for it."""
    if not plan.layout.observations:
        return
    names = {
        name
        for task in plan.tasks.values()
        if task.stage == "mosaic" and states[task.id] == "done"
        for name in task.arguments["exposures"]
    }
    exposures = [plan.tasks[f"exposure/{name}"].arguments for name in sorted(names)]
    text = list_observations((*each["visit"].split(), each["filter"]) for each in exposures)
    write_atomic(plan.output / plan.layout.observations, lambda scratch: scratch.write_text(text))


def _task_table(
    plan: Plan,
    records: Mapping[str, Record],
    failures: Mapping[str, Failure],
    states: Mapping[str, str],
) -> Table:
    """Return the table of all tasks: state, time and memory, and why it failed."""
    rows = []
    for task in plan.tasks.values():
        failure = failures.get(task.id)
        record = records.get(task.id) if states[task.id] == "done" else None
        rows.append(
            (
                task.id,
                states[task.id],
                record.seconds if record else 0.0,
                record.peak_memory / 1e6 if record else 0.0,
                failure.step if failure else "",
                failure.message if failure else "",
                str(plan.log_path(task).relative_to(plan.output)),
            )
        )
    table = Table(rows=rows, names=["task", "state", "seconds", "memory", "step", "message", "log"])
    table["seconds"].unit = "s"
    table["memory"].unit = "Mbyte"
    return table


def _stages(plan: Plan, records: Mapping[str, Record], states: Mapping[str, str]) -> list[Stage]:
    """Return the state of each stage."""
    stages = []
    for name, tasks in plan.by_stage().items():
        count = {
            state: sum(states[task.id] == state for task in tasks)
            for state in ("done", "failed", "waiting")
        }
        done = [records[task.id] for task in tasks if states[task.id] == "done"]
        seconds = [record.seconds for record in done]
        peak = max((record.peak_memory for record in done), default=0)
        stages.append(
            Stage(
                TITLES[name],
                **count,
                time=duration(sum(seconds)) if done else "",
                longest=duration(max(seconds)) if done else "",
                memory=f"{peak / 1e9:.2f} GB" if done else "",
            )
        )
    return stages


def _mosaics(plan: Plan, records: Mapping[str, Record], states: Mapping[str, str]) -> list[Mosaic]:
    """Return what is shown of each mosaic."""
    tasks = [task for task in plan.tasks.values() if task.stage in MOSAICS]
    backgrounds = {
        name: task
        for task in plan.tasks.values()
        if task.stage == "background"
        for name in task.after
    }
    return [_mosaic(plan, records, states, task, backgrounds.get(task.id)) for task in tasks]


def _mosaic(
    plan: Plan,
    records: Mapping[str, Record],
    states: Mapping[str, str],
    task: Task,
    background: Task | None,
) -> Mosaic:
    """Return what is shown of a mosaic; the picture is of its last product."""
    record = records.get(task.id)
    links = {}
    last = task
    shown: tuple[Path, Record] | None = None
    if record and task.outputs[0] in record.outputs:
        links["i2d"] = quote(task.outputs[0])
        shown = plan.output / task.outputs[0], record
    measured = dict(record.metrics.get(task.key, {})) if record else {}
    final = "" if background is None else _final(background, records, task.outputs[0])
    if background is not None and final:
        links[Path(final).stem.rpartition("_")[2]] = quote(final)
        last = background
        shown = plan.output / final, records[background.id]
        measured |= records[background.id].metrics.get(task.key, {})
    metrics = metrics_of(measured)
    if record or states[task.id] != "waiting":
        links["log"] = _log(plan, task)
    picture = _preview(plan, task, *shown) if shown else b""
    return Mosaic(
        task.key,
        states[last.id],
        _facts(task, metrics),
        links,
        picture,
        earlier=shown is not None and states[last.id] != "done",
        look=(*refusals(measured), *_look(metrics)),
    )


def _look(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Say what of a mosaic needs a look, with the limit that it is beyond."""
    found = []
    for name, value in metrics.items():
        metric = BY_NAME[name]
        if metric.beyond(value):
            limit = metric.most if metric.most is not None and value > metric.most else metric.least
            found.append(f"{metric.meaning}: {value:.2g}, beyond {limit:g}")
    return tuple(found)


def _final(background: Task, records: Mapping[str, Record], mosaic: str) -> str:
    """Return the product of a mosaic less its background, '' when there is none."""
    stem = Path(mosaic).stem.rpartition("_")[0]
    made = records[background.id].outputs if background.id in records else ()
    return next(
        (
            name
            for name in background.outputs
            if name in made and Path(name).stem.rpartition("_")[0] == stem
        ),
        "",
    )


def _facts(task: Task, metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of a mosaic, for people."""
    grid = task.settings.get("grid", {})
    facts = {"exposures": str(len(task.arguments["exposures"]))}
    if grid:
        nx, ny = grid["output_shape"]
        facts["grid"] = f"{nx} x {ny}"
        facts["pixels"] = f"{grid['pixel_scale']:g}″ at {grid['rotation']:.5g}°"
    for name, title, form in (
        ("area", "area with data", "{:.2f} arcmin²"),
        ("sky_noise", "sky noise", "{:.3g} MJy/sr"),
        ("depth", "depth, 5 sigma", "{:.2f} AB in 0.2″"),
        ("background_rms", "background, rms", "{:.2g} MJy/sr"),
        ("border_excess", "sky at the border", "{:+.3f} of the noise"),
        ("masked_fraction", "masked as sources", "{:.1%}"),
    ):
        if name in metrics:
            facts[title] = form.format(metrics[name])
    return facts


def _preview(plan: Plan, task: Task, path: Path, record: Record) -> bytes:
    """Return the picture of a mosaic, kept from an earlier summary as long as it is the same."""
    folder = plan.output / STATE / "previews"
    kept = folder / f"{task.key}.{record.made}.png"
    try:
        return kept.read_bytes()
    except OSError:
        pass
    try:
        picture = preview.preview_png(preview.read_preview(path))
    except (OSError, KeyError, ValueError) as err:
        log.warning("No picture of %s: %s", path, err)
        return b""
    for old in folder.glob(f"{task.key}.*.png"):
        old.unlink()
    write_atomic(kept, lambda scratch: scratch.write_bytes(picture))
    return picture


def _exposures(plan: Plan, quality: Quality, states: Mapping[str, str]) -> dict[str, Any]:
    """Return columns and rows of the table of exposures; columns without values are left out."""
    table = quality.table
    shown = [quantity for quantity in QUANTITIES if not all(table[quantity.name].mask)]
    columns = [Column(name, number=False) for name in ("exposure", "filter", "detector")]
    columns += [Column(each.title, each.metric.unit.replace(" ", "")) for each in shown]
    columns += [Column(title, number=False) for title in ("product", "status", "")]
    alignments = {
        name: task
        for task in plan.tasks.values()
        if task.stage == "align"
        for name in task.arguments["exposures"]
    }
    tasks = [task for task in plan.tasks.values() if task.stage == "exposure"]
    forms = [
        ([_form(value, quantity.form) for value in table[quantity.name].filled(nan)], quantity.name)
        for quantity in shown
    ]
    rows = []
    for row, task in enumerate(tasks):
        cal = next((name for name in task.outputs if name.endswith("_cal.fits")), "")
        page = f"report/exposures/{task.key}.html"  # of `ceers report`, which may come later
        there = (plan.output / page).exists()
        cells = [Cell(task.key, link=quote(page) if there else "")]
        cells += [Cell(task.arguments[name]) for name in ("filter", "detector")]
        cells += [Cell(texts[row], bool(quality.unusual[name][row])) for texts, name in forms]
        status = _status(states, task, alignments.get(task.key), str(table["alignment"][row]))
        made = cal and states[task.id] == "done"
        cells.append(Cell("cal" if made else "", link=quote(cal) if made else ""))
        far = bool(quality.unusual["place"][row])
        status = f"{status}, far from its visit" if far else status
        unusual = far or bool(quality.unusual["alignment"][row]) or "failed" in status
        cells.append(Cell(status, unusual))
        cells.append(Cell("log", link=_log(plan, task)))
        rows.append(Row(cells))
    return {"columns": columns, "rows": rows}


def _status(states: Mapping[str, str], task: Task, align: Task | None, alignment: str) -> str:
    """Say in one word or two how an exposure stands: the first that is not as it should be."""
    if states[task.id] != "done":
        return states[task.id]
    if align is not None and states[align.id] == "failed":
        return "alignment failed"
    words = {"COMPLETE": "aligned", "BORROWED": "pointing borrowed", "FAILED": "not aligned"}
    return words.get(alignment, alignment.lower()) or "done"


def _form(value: float, form: str) -> str:
    """Return a value as text; what is unknown is empty."""
    return "" if isnan(value) else format(value, form)


def _log(plan: Plan, task: Task) -> str:
    """Return the link to the log of a task."""
    return quote(str(plan.log_path(task).relative_to(plan.output)))
