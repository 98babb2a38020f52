"""Work that takes no time, in the place of the pipelines: what is tested is who does what when."""

import json
import os
import time
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import STAGES, Plan, Task
from ceers_steps.survey.planning.records import Made

NAME = "tests.survey.standin"
ROOT = Path(__file__).parents[2]


def work(plan, task, scratch):
    """Count the call, then write products that tell settings and the products they are made of."""
    with open(plan.output / "calls.txt", "a", encoding="utf-8") as calls:
        calls.write(f"{task.id}\n")
    time.sleep(task.arguments.get("seconds", 0))
    if "fails" in task.arguments:
        raise ValueError(task.arguments["fails"])
    if "refuses" in task.arguments:
        raise CeersError(task.arguments["refuses"])
    if "exits" in task.arguments:
        raise SystemExit(task.arguments["exits"])  # as the crds library does
    inputs = {name: Path(name).read_text() for name in task.inputs}
    before = {
        name: (plan.output / name).read_text()
        for other in task.after
        for name in plan.tasks[other].outputs
    }
    for name in task.outputs:
        text = json.dumps([task.settings, inputs, before], sort_keys=True)
        # in two halves: a product that is cut off must never be taken for a whole one
        with open(scratch / Path(name).name, "w", encoding="utf-8") as product:
            product.write(text[: len(text) // 2])
            product.flush()
            time.sleep(task.arguments.get("seconds", 0))
            product.write(text[len(text) // 2 :])
        if "padding" in task.arguments:
            (scratch / "padding").write_bytes(bytes(task.arguments["padding"]))
    return Made(metrics=task.arguments.get("metrics", {}))


WORK = dict.fromkeys(STAGES, work)


def make_plan(folder, exposures=4, *, settings=None, arguments=None, versions=None):
    """Return a plan of exposures, a group of each two of them, and one background.

    `settings` and `arguments` give values to single tasks, by id.
    """
    settings, arguments = settings or {}, arguments or {}
    uncal, output = Path(folder) / "uncal", Path(folder) / "out"
    uncal.mkdir(parents=True, exist_ok=True)
    output.mkdir(exist_ok=True)
    tasks = []
    for number in range(exposures):
        raw = uncal / f"e{number}_uncal.fits"
        if not raw.exists():
            raw.write_text(f"raw {number}")
        tasks.append(_task("exposure", f"e{number}", inputs=(str(raw),)))
    for number in range(0, exposures, 2):
        after = tuple(f"exposure/e{n}" for n in range(number, min(number + 2, exposures)))
        tasks.append(_task("outlier", f"g{number}", after=after))
        tasks.append(_task("mosaic", f"g{number}", after=(f"outlier/g{number}",)))
    tasks.append(
        _task("background", "all", after=tuple(t.id for t in tasks if t.stage == "mosaic"))
    )
    tasks = [
        Task(
            **{
                **vars(task),
                "settings": settings.get(task.id, {"value": 1}),
                "arguments": {
                    "exposures": [],
                    "wcs_dir": "",
                    "steps": [],
                    "filter": "F200W",
                    "detector": "NRCA1",
                }
                | arguments.get(task.id, {}),
            }
        )
        for task in tasks
    ]
    return Plan(output, {task.id: task for task in tasks}, versions or {"jwst": "3.0.0"}, (), NAME)


def _task(stage, key, inputs=(), after=()):
    return Task(stage, key, inputs, (f"{stage}/{key}.txt",), after, memory=500, seconds=10.0)


def calls(plan):
    """Return the ids of tasks that were tried, and forget them."""
    path = plan.output / "calls.txt"
    if not path.exists():
        return []
    names = path.read_text().split()
    os.remove(path)
    return names
