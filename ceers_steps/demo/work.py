"""The demo as tasks, done by the runner of surveys: what each does, and what it leaves behind.

A task leaves its result in a file; products and figures stand in folders for people to look at.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

from ceers_steps.demo.sets import CATALOG_SCATTER, POINTING, DemoSet
from ceers_steps.survey.config.presets import package_versions
from ceers_steps.survey.planning.plan import STATE, Plan, Task, make_task
from ceers_steps.survey.planning.records import Made
from ceers_steps.survey.running.machine import installed_memory_mb
from ceers_steps.survey.running.now import say_now
from ceers_steps.survey.running.run import ROOM

__all__ = ["WORK", "build_demo", "forget_incomplete", "read_result"]

MEMORY_PER_TASK = 3500
"""MB that one task needs at most; decides how many are worked on at a time."""

TITLES = {
    "set": "exposures of a filter: simulated, reduced, compared",
    "mosaics": "mosaics of all filters",
    "truth": "a mosaic compared with the truth",
}
"""Stages of the demo, in the order of the work."""

_HELD = {
    *(("pathlib", name) for name in ("PosixPath", "WindowsPath")),
    *(("numpy", name) for name in ("ndarray", "dtype", "_reconstruct", "_frombuffer", "scalar")),
}
"""What results hold beside records of this package."""

SECONDS = {"set": 250.0, "mosaics": 120.0, "truth": 40.0}
"""About what a task of each stage takes, for the time that is left."""


def build_demo(folder: Path, sets: Sequence[DemoSet], seed: int) -> Plan:
    """Return the plan of the demo.

    Parameters
    ----------
    folder
        Where everything goes; absolute.
    sets
        What to simulate.
    seed
        Seed of the simulation.

    Returns
    -------
    Plan
    """
    memory = min(MEMORY_PER_TASK, int(ROOM * installed_memory_mb()))
    settings = {"seed": seed, "pointing": POINTING, "catalog_scatter": CATALOG_SCATTER}
    of_set = {f"set/{each.slug}": asdict(each) for each in sets}

    def task(stage: str, key: str, after: Sequence[str], **own: Any) -> Task:
        return make_task(
            stage=stage,
            key=key,
            outputs=[f"{STATE}/results/{stage}_{key}.pickle"],
            after=list(after),
            settings={**settings, **own},
            memory=memory,
            seconds=SECONDS[stage],
        )

    tasks = [task("set", each.slug, [], set=asdict(each)) for each in sets]
    tasks.append(task("mosaics", "all", list(of_set), sets=list(of_set.values())))
    tasks += [
        task("truth", each.slug, [f"set/{each.slug}", "mosaics/all"], number=number)
        for number, each in enumerate(sets)
    ]
    named = {each.id: each for each in tasks}
    return Plan(folder, named, package_versions(), work=__name__, titles=TITLES)


def read_result(plan: Plan, name: str) -> Any:
    """Return what a finished task has left.

    Parameters
    ----------
    plan
        Of `build_demo`.
    name
        Identity of the task.

    Returns
    -------
    SetResult, list of Path or MosaicResult
    """
    (output,) = plan.tasks[name].outputs
    with open(plan.output / output, "rb") as file:
        return _Reader(file).load()


class _Reader(pickle.Unpickler):
    """Reads results: records of this package, paths and arrays, nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that a result may hold."""
        if module.startswith(("ceers_steps.demo.", "ceers_steps.validate.")):
            found = super().find_class(module, name)
            if isinstance(found, type) and is_dataclass(found):
                return found
        elif (module.partition(".")[0], name) in _HELD:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a result")


def forget_incomplete(plan: Plan) -> None:
    """Forget what was done when products or figures of it are gone, so that it is done again."""
    for task in plan.tasks.values():
        record = plan.record_path(task)
        if not record.exists():
            continue
        try:
            result = read_result(plan, task.id)
            paths = _files_of(result)
        except (OSError, EOFError, AttributeError, ImportError, TypeError, pickle.UnpicklingError):
            paths = [Path()]  # of another version
        if not all(path.is_file() for path in paths):
            record.unlink()


def _files_of(result: Any) -> list[Path]:
    """Return the files that belong to a result."""
    if isinstance(result, list):
        return result
    paths = [path for _, _, path in result.pictures]
    if hasattr(result, "names"):
        return paths + [result.products / f"{name}_cal.fits" for name in result.names]
    return [*paths, result.product]


def _reduce_set(plan: Plan, task: Task, scratch: Path) -> Made:
    """Simulate, reduce and compare the exposures of a set."""
    from ceers_steps.demo.exposures import run_set

    exposures = DemoSet(**task.settings["set"])
    folder = plan.output / exposures.slug
    result = run_set(exposures, folder, seed=task.settings["seed"], tell=say_now)
    return _leave(result, task, scratch)


def _combine(plan: Plan, task: Task, scratch: Path) -> Made:
    """Make the mosaics of all sets."""
    from ceers_steps.demo.mosaics import combine

    results = [read_result(plan, name) for name in task.after]
    mosaics = combine(results, plan.output / "mosaics", seed=task.settings["seed"])
    return replace(_leave(mosaics, task, scratch), metrics=_mosaic_metrics(mosaics))


def _mosaic_metrics(mosaics: Sequence[Path]) -> dict[str, dict[str, dict]]:
    """Return noise, depth and border of mosaics, as a survey keeps them, for the report."""
    from ceers_steps.survey.running.metrics import border_excess, measure_mosaic

    metrics: dict[str, dict[str, dict]] = {}
    for mosaic in mosaics:
        stem = mosaic.name.removesuffix("_i2d.fits")
        metrics[stem] = {"mosaic": measure_mosaic(mosaic)}
        subtracted = mosaic.with_name(f"{stem}_mbkgsub.fits")
        if subtracted.exists():
            metrics[stem]["border"] = {"excess": border_excess(subtracted)}
    return metrics


def _measure(plan: Plan, task: Task, scratch: Path) -> Made:
    """Compare a mosaic with the truth."""
    from ceers_steps.demo.mosaics import measure

    result, mosaics = (read_result(plan, name) for name in task.after)
    found = measure(result, mosaics[task.settings["number"]], plan.output, tell=say_now)
    return _leave(found, task, scratch)


def _leave(result: Any, task: Task, scratch: Path) -> Made:
    """Write the result of a task."""
    (output,) = task.outputs
    with open(scratch / Path(output).name, "wb") as file:
        pickle.dump(result, file)
    return Made()


WORK: dict[str, Callable[[Plan, Task, Path], Made]] = {
    "set": _reduce_set,
    "mosaics": _combine,
    "truth": _measure,
}
"""What each stage does."""
