"""``ceers init``, ``ceers plan``, ``ceers reduce`` and ``ceers commands``."""

import os
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

from ceers_steps.errors import CeersError

__all__ = ["add_parsers"]

SURVEY_FILE = "survey.toml"


def add_parsers(subparsers) -> None:
    """Add the commands to those of ``ceers``; ``args.run`` runs the one given."""
    init = subparsers.add_parser(
        "init",
        help="write a commented survey.toml",
        description="Write a survey file with every setting, its default and what it means. "
        "Afterwards: ceers reduce survey.toml",
    )
    init.add_argument(
        "inputs", nargs="*", default=["uncal"], metavar="UNCALS", help="raw files or folders"
    )
    init.add_argument("-o", "--output", default="reduced", metavar="OUT", help="output folder")
    init.add_argument("--preset", choices=("best", "dr05"), default="best", help="start from")
    init.add_argument(
        "--file",
        default=SURVEY_FILE,
        metavar="FILE",
        help=f"file to write (default: {SURVEY_FILE})",
    )
    init.add_argument("--force", action="store_true", help="replace an existing file")
    init.set_defaults(run=run_init)

    plan = subparsers.add_parser(
        "plan",
        help="show what there is to do, and why",
        description="Show the tasks of a survey: how many, memory, time, and which have to be "
        "done and why. Nothing is run.",
    )
    _add_survey(plan)
    plan.add_argument("--graph", metavar="FILE", help="draw the stages as a graph (.svg, .png)")
    plan.add_argument("--list", action="store_true", help="a line for every task to do")
    plan.add_argument(
        "--exposures",
        metavar="TABLE",
        help="plan without raw files: the exposures of an ECSV table (exposure, filter, pointing; "
        "dr05/pointings is packaged)",
    )
    plan.set_defaults(run=run_plan_command)

    reduce = subparsers.add_parser(
        "reduce",
        help="reduce raw exposures to background-subtracted mosaics",
        description="Reduce a survey: raw exposures, or a survey.toml. Stopped in any way, the "
        "same command goes on where it was.",
    )
    _add_survey(reduce)
    reduce.add_argument("--no-check", action="store_true", help="do not check references first")
    reduce.set_defaults(run=run_reduce)

    commands = subparsers.add_parser(
        "commands",
        help="write the tasks as text files of commands, one file a stage",
        description="Write a file for each stage with a command a line, to be run in order by a "
        "launcher or GNU parallel. Each command skips what is valid already.",
    )
    _add_survey(commands)
    commands.set_defaults(run=run_commands)


def _add_survey(parser):
    """Add what names a survey and overrides its file."""
    from ceers_steps.survey.config.keys import add_options

    parser.add_argument(
        "inputs", nargs="+", metavar="UNCALS|SURVEY", help="raw files or folders, or a survey.toml"
    )
    add_options(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="any value of a survey.toml, parameters of steps too "
        "(image3.skyvar.per_amplifier=true); may be given several times",
    )


def run_init(args) -> None:
    """Write a survey file."""
    from ceers_steps.files.atomic import write_atomic
    from ceers_steps.survey.config.keys import template

    path = Path(args.file)
    if path.exists() and not args.force:
        raise CeersError(f"{path} exists. Replace it with --force, or choose another --file.")
    # paths in it are relative to its folder
    output, *inputs = (
        name if os.path.isabs(name) else os.path.relpath(name, path.parent)
        for name in (args.output, *args.inputs)
    )
    text = template({"inputs": inputs, "output": output, "preset": args.preset})
    write_atomic(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))
    print(f"{path} is written. Look through it, then: ceers reduce {path}")


def run_plan_command(args) -> None:
    """Show the plan."""
    from ceers_steps.survey.planning.plan import why_stale

    plan, _ = _plan(args)
    reasons = why_stale(plan)
    _show(plan, reasons)
    if args.list:
        for name, reason in reasons.items():
            task = plan.tasks[name]
            print(f"{name}  {task.memory} MB  {task.seconds:.0f} s  {reason}")
    if args.graph:
        from ceers_steps.survey.planning.graph import draw_plan

        print(f"Graph: {draw_plan(plan, reasons, args.graph)}")


def run_reduce(args) -> int:
    """Reduce a survey."""
    from ceers_steps.survey.planning.integrity import remember_command
    from ceers_steps.survey.planning.plan import why_stale
    from ceers_steps.survey.running.progress import duration
    from ceers_steps.survey.running.run import run_plan
    from ceers_steps.survey.summary.summary import write_summary

    start = time.monotonic()
    plan, config = _plan(args)
    if not args.no_check:
        due = [plan.tasks[name] for name in why_stale(plan)]
        _check_inputs(due)
        _check_references(due, config)
    remember_command(plan.output, shlex.join(args.words))
    outcome = run_plan(plan, config)
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


def _look(output):
    """Say which exposures are unusual, and how to look at them."""
    from astropy.table import Table

    table = Table.read(output / "quality.ecsv")
    marks = [str(mark) if mark else "" for mark in table["outlier"].tolist()]
    names = [str(name) for name, mark in zip(table["exposure"], marks, strict=True) if mark]
    if names:
        few = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        print(f"{len(names)} exposure{'s need' if len(names) > 1 else ' needs'} a look: {few}")
    print(f"To look at the survey: ceers report {shlex.quote(str(output))} --open")


def _remedy(plan, config, outcome):
    """Say how to go on without the exposures that failed; '' when it is not a matter of a few."""
    from ceers_steps.survey.select.inputs import FEW, how_to_exclude

    failed = {failure.task for failure in outcome.failures}
    exposures = plan.by_stage()["exposure"]
    lost = [task.key for task in exposures if task.id in failed]
    if not lost or len(lost) > FEW or len(lost) == len(exposures):
        return ""
    return f"To go on without the exposures that failed: {how_to_exclude(config, lost)}"


def run_commands(args) -> None:
    """Write files of commands."""
    from ceers_steps.survey.planning.integrity import remember_command
    from ceers_steps.survey.running.launcher import write_commands

    plan, _ = _plan(args)
    remember_command(plan.output, shlex.join(args.words))
    for path, count in write_commands(plan):
        print(f"{path}: {count} commands")


def _plan(args):
    """Return the plan and the configuration that the arguments name."""
    from ceers_steps.survey.config.keys import options_of
    from ceers_steps.survey.config.settings import load_config
    from ceers_steps.survey.planning.build import build_plan
    from ceers_steps.survey.select.inputs import find_exposures, table_exposures

    path, inputs = None, args.inputs
    if inputs[0].endswith(".toml"):
        if len(inputs) > 1:
            raise CeersError("Give one survey.toml, or raw files; inputs stand in the file.")
        path, inputs = inputs[0], None
    options = {name: getattr(args, name) for name in options_of()} | {"inputs": inputs}
    config = load_config(path, options=options, settings=args.set)
    table = getattr(args, "exposures", None)
    if table is None:
        exposures, notes = find_exposures(config)
    else:
        exposures, notes = table_exposures(config, _packaged(table))
    return build_plan(config, exposures, notes), config


def _packaged(table):
    """Return the path of a table, which may be one of the package."""
    from ceers_steps.files.parameter_files import parameter_files_dir

    packaged = parameter_files_dir() / f"{table.removesuffix('.ecsv')}.ecsv"
    return packaged if packaged.is_file() and not os.path.exists(table) else table


def _check_inputs(due):
    """Stop, before anything is run, when files are missing that tasks read."""
    needed = [(name, task.id) for task in due for name in task.inputs]
    missing = [f"{name} (for {task})" for name, task in needed if not os.path.isfile(name)]
    if missing:
        raise CeersError(
            f"{len(missing)} file(s) are not there, or no files: {'; '.join(missing[:3])}"
            f"{'; ...' if len(missing) > 3 else ''}. Put them there or correct the paths. To start "
            "all the same: --no-check"
        )


def _check_references(due, config):
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
        told = "\n".join(problems)
        folders = sorted({os.path.dirname(task.arguments["uncal"]) for task in due})
        raise CeersError(
            f"not everything is there that the exposures need:\n{told}\n"
            f"Fetch references with: ceers references fetch {shlex.join(folders)}\n"
            "Wisp templates: pip install 'ceers_steps[wisps]', or name your folder of them with "
            "--wisp-templates, or wisp_templates (table [files]). To start all the same: --no-check"
        )


def _show(plan, reasons):
    """Print the plan as a table, and below it why tasks have to be done."""
    from rich.console import Console
    from rich.table import Table

    from ceers_steps.survey.planning.plan import TITLES
    from ceers_steps.survey.running.progress import duration

    table = Table(
        "stage", "what", "tasks", "to do", "memory", "time each", box=None, pad_edge=False
    )
    stages: dict[str, list[str]] = {}
    for stage, tasks in plan.by_stage().items():
        due = Counter(reasons[task.id] for task in tasks if task.id in reasons)
        table.add_row(
            stage,
            TITLES[stage],
            str(len(tasks)),
            str(due.total()),
            f"{max(task.memory for task in tasks) / 1000:.1f} GB",
            duration(max(task.seconds for task in tasks)),
        )
        if due:
            why = due.most_common(1)[0][0]
            rest = len(due) - 1
            others = f" (and {rest} other reason{'s' if rest > 1 else ''})" if rest else ""
            stages.setdefault(why + others, []).append(stage)
    Console().print(table)
    for why, names in stages.items():
        print(f"{', '.join(names)}: {why}")
    total = sum(plan.tasks[name].seconds for name in reasons)
    print(f"About {duration(total)} of one core." if reasons else "Nothing to do.")
    counts = ", ".join(f"{name} {count}" for name, count in plan.counts().items())
    print(f"Exposures by step: {counts}")
    for note in plan.notes:
        print(note)
