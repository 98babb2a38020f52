"""The metrics of all products of a survey: a line each, while it runs and when it has ended."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ceers_steps.files.metrics import metrics_of, refusals, write_metrics
from ceers_steps.names import exposure_name
from ceers_steps.survey.planning.plan import Plan, Task
from ceers_steps.survey.planning.records import Record, read_record

__all__ = ["follow_metrics", "product_rows", "write_survey_metrics"]

INTERVAL = 30.0
"""Seconds between two versions of the files while a survey runs."""


def product_rows(plan: Plan, task: Task, record: Record) -> list[dict[str, Any]]:
    """Return what is known of the products of a task.

    Parameters
    ----------
    plan
        The plan.
    task
        One of its tasks.
    record
        Of the task.

    Returns
    -------
    list of dict
        One a product, as `write_metrics` takes them: facts, the metrics that this task measured
        of its exposure or mosaic, what the task cost, versions.
    """
    versions = {key: text for key, text in record.versions.items() if key != "CRDS context"}
    cost = {"seconds": record.seconds, "memory_mb": record.peak_memory / 1e6}
    rows = []
    for path in record.outputs:
        name = _name_of(path, record)
        exposure = plan.tasks.get(f"exposure/{name}")
        about = exposure.arguments if exposure else task.arguments
        facts = {
            "product": path,
            "name": name,
            "stage": task.stage,
            "filter": about.get("filter"),
            "detector": about.get("detector"),
            "group": task.arguments.get("group"),
            "crds_context": record.versions.get("CRDS context"),
            "made": record.made,
        }
        measured = record.metrics.get(name, {})
        if refused := refusals(measured):
            facts["refused"] = "; ".join(refused)
        rows.append(facts | metrics_of({**measured, "task": cost}) | versions)
    return rows


def write_survey_metrics(plan: Plan, records: Mapping[str, Record]) -> list[Path]:
    """Write ``metrics.jsonl`` and ``metrics.ecsv`` into the output folder.

    Parameters
    ----------
    plan
        The plan.
    records
        Records of the finished tasks, by task id.

    Returns
    -------
    list of Path
        The two files.
    """
    tasks = [task for task in plan.tasks.values() if task.id in records]
    rows = [row for task in tasks for row in product_rows(plan, task, records[task.id])]
    return write_metrics(plan.output, rows)


def follow_metrics(plan: Plan) -> Callable[[Collection[str]], None]:
    """Return what keeps the files up to date while a survey runs.

    Parameters
    ----------
    plan
        The plan.

    Returns
    -------
    callable
        To be given the tasks that are done by now, as often as one likes; records are read once,
        files written at most every `INTERVAL` seconds.
    """
    found = {task.id: read_record(plan.record_path(task)) for task in plan.tasks.values()}
    records = {name: record for name, record in found.items() if record is not None}
    read: set[str] = set()
    written, last = 0, -math.inf

    def update(done: Collection[str]) -> None:
        nonlocal written, last
        for name in set(done) - read:
            if record := read_record(plan.record_path(plan.tasks[name])):
                records[name] = record
                read.add(name)
        if len(read) > written and time.monotonic() - last >= INTERVAL:
            write_survey_metrics(plan, records)
            written, last = len(read), time.monotonic()

    return update


def _name_of(path: str, record: Record) -> str:
    """Return the exposure or mosaic that a product is of."""
    stem = Path(path).name.partition(".")[0].rpartition("_")[0]
    return stem if stem in record.metrics else exposure_name(path)
