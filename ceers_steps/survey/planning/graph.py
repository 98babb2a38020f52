"""The plan as a picture: how exposures become mosaics, and what of it is still to do."""

import os
from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from itertools import pairwise
from pathlib import Path

from ceers_steps.errors import CeersError, optional_import
from ceers_steps.files.atomic import write_atomic
from ceers_steps.survey.planning.plan import MOSAICS, STAGES, Plan, Task

__all__ = ["draw_plan", "layout"]

LABELS = {
    "exposure": "stages 1 and 2",
    "align": "alignment",
    "outlier": "outliers, sky,\nvariance",
    "tile": "tiles",
    "mosaic": "mosaic",
    "imgbkg": "image\nbackground",
    "outlier2": "outliers, sky,\nsecond pass",
    "tile2": "tiles,\nsecond pass",
    "mosaic2": "mosaic,\nsecond pass",
    "background": "merged\nbackground",
}
MANY = {"align": "visits", "outlier": "groups", "imgbkg": "detectors"}
"""What is said of a box of several tasks with names of their own."""

TODO, DONE = "#d9822b", "#2f7d5b"
INCH = 0.34


def draw_plan(plan: Plan, reasons: Mapping[str, str], path: str | os.PathLike) -> Path:
    """Draw the tasks by mosaic, one row each, a column a stage.

    Parameters
    ----------
    plan : Plan
        The plan.
    reasons : dict
        Tasks to do, as `plan.why_stale` gives them.
    path : path
        Picture: .png, .svg or .pdf.

    Returns
    -------
    Path
        The picture.

    Raises
    ------
    CeersError
        When matplotlib is missing or the kind of picture is unknown.
    """
    with optional_import("--graph needs matplotlib", extra="report"):
        import matplotlib
        from matplotlib.figure import Figure
    path = Path(path)
    if path.suffix not in {".png", ".svg", ".pdf"}:
        raise CeersError(f"--graph {path}: use a name that ends in .png, .svg or .pdf.")
    boxes, links = layout(plan, reasons)
    stages = [stage for stage in STAGES if any(box[0] == stage for box in boxes)]
    rows = 1 + max(row for _, row in boxes)
    with matplotlib.rc_context({"svg.hashsalt": "ceers_steps"}):
        figure = Figure(figsize=(1.9 * len(stages) + 0.3, INCH * (rows + 3)), dpi=120)
        axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
        axes.set(xlim=(-0.55, len(stages) - 0.45), ylim=(rows, -2.6))
        axes.axis("off")
        for (stage_a, row_a), (stage_b, row_b) in links:
            x = [stages.index(stage_a), stages.index(stage_b)]  # the boxes lie over the ends
            axes.plot(x, [row_a, row_b], color="0.7", lw=1.0, zorder=1)
        for (stage, row), (label, todo, total) in boxes.items():
            color = TODO if todo else DONE
            text = f"{label}" + (f"  {total - todo}/{total}" if total > 1 else "")
            axes.text(
                stages.index(stage),
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white",
                bbox={"boxstyle": "round,pad=0.28", "fc": color, "ec": "none"},
                zorder=2,
            )
        for number, stage in enumerate(stages):
            axes.text(number, -1.5, LABELS[stage], ha="center", va="center", weight="bold")
        axes.text(-0.5, -2.35, "to do", color=TODO, va="center", weight="bold", fontsize=8)
        axes.text(-0.3, -2.35, "done", color=DONE, va="center", weight="bold", fontsize=8)
        write_atomic(path, lambda scratch: figure.savefig(scratch))
    return path


def layout(plan: Plan, reasons: Mapping[str, str]) -> tuple[dict, list]:
    """Say what is drawn where.

    Parameters
    ----------
    plan : Plan
        The plan.
    reasons : dict
        Tasks to do.

    Returns
    -------
    boxes : dict
        ``{(stage, row): (label, tasks to do, tasks)}``; a background stands between rows.
    links : list
        Pairs of keys of `boxes`.
    """
    mosaics = [task for task in plan.tasks.values() if task.stage in MOSAICS]
    before = {name for task in mosaics for name in _first_pass(plan, task)}
    mosaics = [task for task in mosaics if task.id not in before]  # the last of each filter
    rows = {task.id: row for row, task in enumerate(mosaics)}
    members: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for task in mosaics:
        _gather(plan, task, rows[task.id], members)
    boxes: dict[tuple[str, float], tuple[str, int, int]] = {}
    for (stage, row), tasks in members.items():
        labels = set(tasks.values())
        label = labels.pop() if len(labels) == 1 else MANY[stage]
        boxes[stage, row] = (label, sum(name in reasons for name in tasks), len(tasks))
    order = {stage: number for number, stage in enumerate(STAGES)}
    links: list[tuple[tuple[str, float], tuple[str, float]]] = []
    for row in range(len(mosaics)):
        chain = sorted((stage for stage, at in boxes if at == row), key=order.__getitem__)
        links += [((a, row), (b, row)) for a, b in pairwise(chain)]
    for task in plan.tasks.values():
        if task.stage == "background":
            at = [rows[name] for name in task.after]
            place = ("background", sum(at) / len(at))
            boxes[place] = (task.key, int(task.id in reasons), 1)
            links += [(("mosaic", row), place) for row in at]
    return boxes, links


def _first_pass(plan: Plan, task: Task) -> list[str]:
    """Return the mosaics that a mosaic was made after."""
    return [each.id for each in plan.needed(task) if each.stage in MOSAICS]


def _gather(
    plan: Plan, task: Task, row: int, members: MutableMapping[tuple[str, int], dict[str, str]]
) -> None:
    """Add a task and all that it needs to the boxes of a row."""
    if task.stage == "exposure":
        label = "exposures"
    elif task.stage in {"align", "tile", "tile2"}:
        label = task.key if task.stage == "align" else "tiles"
    else:
        label = task.key
    if task.id in members[task.stage, row]:
        return
    members[task.stage, row][task.id] = label
    for name in task.after:
        _gather(plan, plan.tasks[name], row, members)
