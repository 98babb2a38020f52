"""What came of a survey: a table of all tasks."""

from pathlib import Path

from astropy.table import Table

from ceers_steps.io import write_atomic
from ceers_steps.survey.plan import Plan
from ceers_steps.survey.records import read_record
from ceers_steps.survey.run import Outcome

__all__ = ["write_summary"]


def write_summary(plan: Plan, outcome: Outcome) -> Path:
    """Write ``summary.ecsv``: state, time and memory of every task, and why it failed.

    Parameters
    ----------
    plan : Plan
        The plan.
    outcome : Outcome
        What came of the last run.

    Returns
    -------
    Path
        The table.
    """
    failed = {failure.task: failure for failure in outcome.failures}
    rows = []
    for task in plan.tasks.values():
        record = read_record(plan.record_path(task))
        failure = failed.get(task.id)
        state = "done" if record else "failed" if failure else "waiting"
        rows.append(
            (
                task.id,
                state,
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
    path = plan.output / "summary.ecsv"
    write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))
    return path
