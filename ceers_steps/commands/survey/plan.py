"""``ceers plan``: what there is to do, and why."""

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ceers_steps.survey.planning.plan import Plan

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    from ceers_steps.survey.planning.arguments import add_survey

    plan = subparsers.add_parser(
        "plan",
        help="show what there is to do, and why",
        description="Show the tasks of a survey: how many, memory, time, and which have to be "
        "done and why. Nothing is run.",
    )
    add_survey(plan)
    plan.add_argument("--graph", metavar="FILE", help="draw the stages as a graph (.svg, .png)")
    plan.add_argument("--list", action="store_true", help="a line for every task to do")
    plan.add_argument(
        "--exposures",
        metavar="TABLE",
        help="plan without raw files: the exposures of an ECSV table (exposure, filter, pointing; "
        "dr05/pointings is packaged)",
    )
    plan.set_defaults(run=run_plan)


def run_plan(args: argparse.Namespace) -> None:
    """Show the plan."""
    from ceers_steps.survey.planning.arguments import survey_of
    from ceers_steps.survey.planning.plan import why_stale

    plan, _ = survey_of(args)
    reasons = why_stale(plan)
    _show(plan, reasons)
    if args.list:
        for name, reason in reasons.items():
            task = plan.tasks[name]
            print(f"{name}  {task.memory} MB  {task.seconds:.0f} s  {reason}")
    if args.graph:
        from ceers_steps.survey.planning.graph import draw_plan

        print(f"Graph: {draw_plan(plan, reasons, args.graph)}")


def _show(plan: "Plan", reasons: Mapping[str, str]) -> None:
    """Print the plan as a table, and below it why tasks have to be done."""
    from rich.console import Console
    from rich.table import Table

    from ceers_steps.survey.running.progress import duration

    titles = ("stage", "what", "tasks", "to do", "memory", "longest", "to do in all")
    table = Table(*titles, box=None, pad_edge=False)
    stages: dict[str, list[str]] = {}
    for stage, tasks in plan.by_stage().items():
        due = Counter(reasons[task.id] for task in tasks if task.id in reasons)
        table.add_row(
            stage,
            plan.titles[stage],
            str(len(tasks)),
            str(due.total()),
            f"{max(task.memory for task in tasks) / 1000:.1f} GB",
            duration(max(task.seconds for task in tasks)),
            duration(sum(task.seconds for task in tasks if task.id in reasons)) if due else "",
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
