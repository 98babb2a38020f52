"""The plan: all tasks of a survey, and which of them have to be done, and why.

No engine is named here. A task is known by its stage and key, reads files, writes files, and is
valid as long as its record (`records`) agrees with what it depends on now.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import has_types
from ceers_steps.files.membership import LeftOut
from ceers_steps.survey.config.layout import LAYOUTS, Layout
from ceers_steps.survey.planning.records import Record, read_record

__all__ = [
    "MOSAICS",
    "STAGES",
    "STATE",
    "TITLES",
    "Plan",
    "Task",
    "files_among",
    "make_task",
    "read_plan",
    "why_stale",
    "write_plan",
]

TITLES = {
    "exposure": "stages 1 and 2",
    "align": "alignment",
    "outlier": "outliers, sky, variance",
    "tile": "tiles",
    "mosaic": "mosaics",
    "imgbkg": "image background, stage 2",
    "outlier2": "outliers, sky, variance, second pass",
    "tile2": "tiles, second pass",
    "mosaic2": "mosaics, second pass",
    "background": "background",
}
"""What is done in each stage, for people."""

STAGES = tuple(TITLES)
"""Stages in the order of the work."""

MOSAICS = ("mosaic", "mosaic2")
"""Stages that make mosaics: first, and of exposures whose image background is subtracted."""

STATE = ".ceers"
"""Folder of plans, records, locks and logs below the output folder."""


@dataclass(frozen=True)
class Task:
    """One piece of work, done in one process.

    Attributes
    ----------
    stage : str
        One of `Plan.titles`.
    key : str
        What it is done for: an exposure, a visit and filter, a group and filter, a group.
    inputs : tuple of str
        Files that it reads and that no task makes, absolute.
    outputs : tuple of str
        Files that it makes, relative to the output folder.
    after : tuple of str
        Tasks whose products it reads, by `id`.
    settings : dict
        Everything that the products depend on beside files and versions.
    arguments : dict
        What else it is called with.
    memory : int
        Estimate, MB.
    seconds : float
        Estimate on one core.
    """

    stage: str
    key: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    settings: dict = field(default_factory=dict)
    arguments: dict = field(default_factory=dict)
    memory: int = 1000
    seconds: float = 10.0

    @property
    def id(self) -> str:
        """Identity of the task, also the place of its record and log."""
        return f"{self.stage}/{self.key}"


@dataclass(frozen=True)
class Plan:
    """All tasks of a survey.

    Attributes
    ----------
    output : Path
        Everything is written below this folder.
    tasks : dict of Task
        By `Task.id`, each after those that it needs.
    versions : dict
        Packages and CRDS context that all products depend on.
    notes : tuple of str
        What people should know: exposures left out, grids chosen.
    work : str
        Module whose ``WORK`` has the function of each stage.
    titles : mapping of str to str
        Stages in the order of the work, and what is done in each, for people.
    left_out : tuple of LeftOut
        Exposures that are not used, and why.
    layout : Layout
        Where products are.
    """

    output: Path
    tasks: dict[str, Task]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    work: str = "ceers_steps.survey.running.work"
    titles: Mapping[str, str] = field(default_factory=lambda: dict(TITLES))
    left_out: tuple[LeftOut, ...] = ()
    layout: Layout = field(default_factory=Layout)

    def record_path(self, task: Task) -> Path:
        """Return where the record of a task is."""
        return self.output / STATE / "done" / f"{task.id}.json"

    def log_path(self, task: Task) -> Path:
        """Return where the log of a task is."""
        return self.output / "logs" / f"{task.id}.log"

    def failure_path(self, task: Task) -> Path:
        """Return where it is written why a task failed."""
        return self.output / STATE / "failed" / f"{task.id}.json"

    def counts(self) -> dict[str, int]:
        """Return to how many exposures each step is applied, in the order of the work."""
        exposures = [task for task in self.tasks.values() if task.stage == "exposure"]
        outliers = [task for task in self.tasks.values() if task.stage == "outlier"]
        counts = {"detector1": len(exposures)}
        for name in ("snowball", "wispsub", "remstriping"):
            counts[name] = sum(name in task.arguments["steps"] for task in exposures)
        counts["image2"] = len(exposures)
        for task in outliers:
            step = "update_wcs" if task.arguments["wcs_dir"] else "without alignment"
            counts[step] = counts.get(step, 0) + len(task.arguments["exposures"])
        counts["skyvar"] = sum(len(task.arguments["exposures"]) for task in outliers)
        subtracted = [task for task in self.tasks.values() if task.stage == "imgbkg"]
        if subtracted:
            counts["image_background"] = sum(
                len(task.arguments["exposures"]) for task in subtracted
            )
        return counts

    def needed(self, task: Task) -> list[Task]:
        """Return all tasks that a task needs, and those that these need, in the order of the plan.

        Parameters
        ----------
        task
            One of the plan.

        Returns
        -------
        list of Task
        """
        found: set[str] = set()
        new = set(task.after)
        while new:
            found |= new
            new = {name for known in new for name in self.tasks[known].after} - found
        return [each for name, each in self.tasks.items() if name in found]

    def by_stage(self, tasks: Iterable[Task] | None = None) -> dict[str, list[Task]]:
        """Return tasks (default: all) by stage, in the order of the work; no empty stages."""
        chosen = list(self.tasks.values() if tasks is None else tasks)
        stages = {stage: [task for task in chosen if task.stage == stage] for stage in self.titles}
        return {stage: members for stage, members in stages.items() if members}


def make_task(*, settings: Mapping, arguments: Mapping | None = None, **values: Any) -> Task:
    """Make a task; what is compared later is kept as JSON gives it back.

    Parameters
    ----------
    settings, arguments
        As in `Task`.
    **values
        The other attributes; lists become tuples.

    Returns
    -------
    Task
    """
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return Task(
        settings=json.loads(json.dumps(settings)),
        arguments=json.loads(json.dumps(arguments or {})),
        **plain,
    )


def files_among(parameters: Mapping[str, Mapping]) -> list[str]:
    """Return the files among the parameters of steps, also in lists; they have absolute paths.

    Parameters
    ----------
    parameters
        Of each step.

    Returns
    -------
    list of str
    """
    values = [value for step in parameters.values() for value in step.values()]
    lists = (value if isinstance(value, (list, tuple)) else [value] for value in values)
    texts = (text for each in lists for text in each)
    return [text for text in texts if isinstance(text, str) and Path(text).is_absolute()]


def why_stale(plan: Plan, tasks: Iterable[Task] | None = None) -> dict[str, str]:
    """Say which tasks have to be done and why.

    Parameters
    ----------
    plan
        The plan.
    tasks
        Which to look at, each after those that it needs; default: all.

    Returns
    -------
    dict
        ``{task id: reason}`` of those that are not valid, in the order of the plan.
    """
    reasons: dict[str, str] = {}
    records: dict[str, Record | None] = {}
    for task in plan.tasks.values() if tasks is None else tasks:
        record = read_record(plan.record_path(task))
        if record is None:
            reasons[task.id] = "not done yet"
            continue
        records[task.id] = record
        first = next((name for name in task.after if name in reasons), None)
        reason = record.why_stale(
            task.settings, plan.versions, task.inputs, task.outputs, plan.output
        )
        reason = reason or _changed_before(plan, task, record, records)
        if reason is None and first is not None:
            reason = f"follows {first}"
        if reason is not None:
            reasons[task.id] = reason
    return reasons


def _changed_before(
    plan: Plan, task: Task, record: Record, records: dict[str, Record | None]
) -> str | None:
    """Say which product of another task is not the one that this task has read."""
    if set(record.after) != set(task.after):
        (name, *_) = sorted(set(record.after) ^ set(task.after))
        return f"{'now with' if name in task.after else 'no longer with'} {name}"
    for name, made in record.after.items():
        if name not in records:
            records[name] = read_record(plan.record_path(plan.tasks[name]))
        if (before := records[name]) is not None and before.made != made:
            return f"{name} was done again"
    return None


def write_plan(plan: Plan, path: str | os.PathLike) -> None:
    """Write a plan for the processes that carry it out."""
    tree = {
        "output": str(plan.output),
        "versions": plan.versions,
        "notes": plan.notes,
        "work": plan.work,
        "layout": plan.layout.name,
        "titles": dict(plan.titles),
        "left_out": [(str(each.path), each.name, each.reason) for each in plan.left_out],
        "tasks": [asdict(task) for task in plan.tasks.values()],
    }
    text = json.dumps(tree, indent=0)
    write_atomic(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def read_plan(path: str | os.PathLike) -> Plan:
    """Read a plan that `write_plan` wrote.

    Raises
    ------
    CeersError
        When it cannot be read.
    """
    try:
        tree: Mapping = json.loads(Path(path).read_text(encoding="utf-8"))
        if not has_types(
            dict(tree),
            **dict.fromkeys(("output", "work", "layout"), str),
            **dict.fromkeys(("versions", "titles"), dict),
            **dict.fromkeys(("notes", "left_out", "tasks"), list),
        ):
            raise TypeError("an entry is missing or of another type")
        if tree["layout"] not in LAYOUTS:
            raise ValueError(f"layout {tree['layout']!r} is unknown")
        tasks = [_read_task(entry) for entry in tree["tasks"]]
        left_out = tuple(
            LeftOut(Path(path), name, reason) for path, name, reason in tree["left_out"]
        )
        unknown = {name for task in tasks for name in task.after} - {task.id for task in tasks}
        if unknown:
            raise KeyError(min(unknown))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise CeersError(
            f"Plan {path} cannot be read ({err}). Make it again: ceers plan or ceers reduce"
        ) from err
    return Plan(
        Path(tree["output"]),
        {task.id: task for task in tasks},
        dict(tree["versions"]),
        tuple(tree["notes"]),
        tree["work"],
        dict(tree["titles"]),
        left_out,
        Layout(tree["layout"]),
    )


def _read_task(entry: Mapping[str, Any]) -> Task:
    """Return a task as JSON gives it."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in dict(entry).items()
    }
    task = Task(**values)
    types: dict[str, Any] = {
        **dict.fromkeys(("stage", "key"), str),
        **dict.fromkeys(("inputs", "outputs", "after"), tuple),
        **dict.fromkeys(("settings", "arguments"), dict),
        **dict.fromkeys(("memory", "seconds"), int | float),
    }
    names = (*task.inputs, *task.outputs, *task.after)
    if not (has_types(vars(task), **types) and all(isinstance(name, str) for name in names)):
        raise TypeError(f"task {task.id} has an entry of another type")
    return task
