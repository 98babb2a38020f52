"""``ceers reduce``: raw exposures to background-subtracted mosaics."""

import argparse
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ceers_steps.errors import CeersError

if TYPE_CHECKING:
    from ceers_steps.survey.config.settings import SurveyConfig
    from ceers_steps.survey.planning.plan import Plan, Task
    from ceers_steps.survey.running.run import Outcome

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    from ceers_steps.survey.planning.arguments import add_survey

    reduce = subparsers.add_parser(
        "reduce",
        help="reduce raw exposures to background-subtracted mosaics",
        description="Reduce a survey: raw exposures, or a survey.toml. Stopped in any way, the "
        "same command goes on where it was.",
    )
    add_survey(reduce)
    reduce.add_argument("--no-check", action="store_true", help="do not check references first")
    reduce.set_defaults(run=run_reduce)


def run_reduce(args: argparse.Namespace) -> int:
    """Reduce a survey."""
    from ceers_steps.survey.planning.arguments import survey_of
    from ceers_steps.survey.planning.integrity import remember_command
    from ceers_steps.survey.planning.origins import remember_parameters
    from ceers_steps.survey.planning.plan import why_stale
    from ceers_steps.survey.running.progress import duration
    from ceers_steps.survey.running.run import run_plan
    from ceers_steps.survey.summary.metrics import follow_metrics
    from ceers_steps.survey.summary.summary import write_summary

    start = time.monotonic()
    # said at once: to read and to check takes a while, on a slow disk in particular
    print("Reading the headers of the exposures.", flush=True)
    plan, config = survey_of(args)
    due = [plan.tasks[name] for name in why_stale(plan)]
    print(f"{len(plan.tasks)} tasks, {len(due)} to do.", flush=True)
    if due and not args.no_check:
        print("Checking that all input and reference files are there.", flush=True)
        _check_inputs(due)
        _check_references(due, config)
    remember_command(plan.output, shlex.join(args.words))
    remember_parameters(plan, config)
    outcome = run_plan(plan, config, follow=follow_metrics(plan))
    remedy = _remedy(plan, config, outcome)
    took = duration(time.monotonic() - start)
    count = f"{len(outcome.done)} task{'' if len(outcome.done) == 1 else 's'}"
    print(f"{count} done, {outcome.valid} valid before, in {took}.")
    for failure in outcome.failures:
        step = f" in {failure.step}" if failure.step else ""
        print(f"FAILED {failure.task}{step}: {failure.message} Log: {failure.log}", file=sys.stderr)
    if outcome.waiting:
        count = f"{len(outcome.waiting)} task{' waits' if len(outcome.waiting) == 1 else 's wait'}"
        print(f"{count} for what failed.", file=sys.stderr)
    if remedy:
        print(remedy, file=sys.stderr)
    # last: on a full disk it cannot be written, which must not hide what failed
    print(f"Summary: {write_summary(plan, outcome, remedy)}")
    _look(plan.output)
    return 1 if outcome.failures or outcome.waiting else 0


def _look(output: Path) -> None:
    """Say which exposures are unusual, and how to look at them."""
    from astropy.table import Table

    table = Table.read(output / "quality.ecsv")
    marks = [str(mark) if mark else "" for mark in table["outlier"].tolist()]
    names = [str(name) for name, mark in zip(table["exposure"], marks, strict=True) if mark]
    for kind, found in (("exposure", names), ("mosaic", _strange_mosaics(output))):
        if found:
            few = f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}"
            print(f"{len(found)} {kind}{'s need' if len(found) > 1 else ' needs'} a look: {few}")
    print(f"To look at the survey: ceers report {shlex.quote(str(output))} --open")


def _strange_mosaics(output: Path) -> list[str]:
    """Return mosaics with a metric beyond its limits, or a step that refused its work."""
    from ceers_steps.files.metrics import METRICS
    from ceers_steps.survey.planning.plan import MOSAICS

    path = output / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    found = [
        row["name"]
        for row in rows
        if row["stage"] in {*MOSAICS, "background"}
        and (
            row.get("refused")
            or any(metric.beyond(row.get(metric.name, math.nan)) for metric in METRICS)
        )
    ]
    return list(dict.fromkeys(found))


def _remedy(plan: "Plan", config: "SurveyConfig", outcome: "Outcome") -> str:
    """Say how to go on without the exposures that failed; '' when it is not a matter of a few."""
    from ceers_steps.survey.select.inputs import FEW, how_to_exclude

    failed = {failure.task for failure in outcome.failures}
    exposures = plan.by_stage()["exposure"]
    lost = [task.key for task in exposures if task.id in failed]
    if not lost or len(lost) > FEW or len(lost) == len(exposures):
        return ""
    return f"To go on without the exposures that failed: {how_to_exclude(config, lost)}"


def _check_inputs(due: Sequence["Task"]) -> None:
    """Stop, before anything is run, when files are missing that tasks read, or raw ones cut off."""
    from ceers_steps.files.whole_files import fits_problem

    needed = [(name, task.id) for task in due for name in task.inputs]
    missing = [f"{name} (for {task})" for name, task in needed if not os.path.isfile(name)]
    if missing:
        raise CeersError(
            f"{len(missing)} file(s) are not there, or no files: {'; '.join(missing[:3])}"
            f"{'; ...' if len(missing) > 3 else ''}. Put them there or correct the paths. To start "
            "all the same: --no-check"
        )
    raw = [(task.key, task.arguments["uncal"]) for task in due if task.stage == "exposure"]
    found = [(key, path, fits_problem(path)) for key, path in raw]
    damaged = [(key, f"{path} is {problem}") for key, path, problem in found if problem]
    if damaged:
        keys, texts = zip(*damaged, strict=True)
        raise CeersError(
            f"{len(damaged)} exposure(s) are not complete: {'; '.join(texts[:3])}"
            f"{'; ...' if len(damaged) > 3 else ''}. Download or copy them again, or leave out: "
            f"--exclude {shlex.join(keys[:3])} (at the end of the command). To start all the "
            "same: --no-check"
        )


def _check_references(due: Sequence["Task"], config: "SurveyConfig") -> None:
    """Stop, before anything is run, when reference files of exposures to do are missing."""
    from ceers_steps.survey.references.check import check_references

    due = [task for task in due if task.stage == "exposure"]
    problems = []
    for wisps in (True, False):
        tasks = [task for task in due if ("wispsub" in task.arguments["steps"]) == wisps]
        if not tasks:
            continue
        settings = tasks[0].settings
        steps = {name: dict(values) for name, values in settings["detector1"].items() if name}
        if not wisps:
            steps["wispsub"] = {"skip": True}
        elif config.wisp_templates:
            steps.setdefault("wispsub", {})["template_dir"] = str(config.wisp_templates)
        report = check_references(
            [task.arguments["uncal"] for task in tasks],
            pipelines=("CeersDetector1", "CeersImage2"),
            parameters={
                "CeersDetector1": {"steps": steps},
                "CeersImage2": {"steps": settings["image2"]},
            },
        )
        if not report.ok:
            problems.append(report.summary())
    if problems:
        listed = "\n".join(problems)
        folders = sorted({os.path.dirname(task.arguments["uncal"]) for task in due})
        raise CeersError(
            f"not everything is there that the exposures need:\n{listed}\n"
            f"Fetch references with: ceers references fetch {shlex.join(folders)}\n"
            "Wisp templates: pip install 'ceers_steps[wisps]', or name your folder of them with "
            "--wisp-templates, or wisp_templates (table [files]). To start all the same: --no-check"
        )
