"""``ceers commands``: the tasks of a survey as text files of commands."""

import argparse
import shlex
from typing import Any

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    from ceers_steps.survey.planning.arguments import add_survey

    commands = subparsers.add_parser(
        "commands",
        help="write the tasks as text files of commands, one file a stage",
        description="Write a file for each stage with a command a line, to be run in order by a "
        "launcher or GNU parallel. Each command skips what is valid already.",
    )
    add_survey(commands)
    commands.add_argument(
        "--array",
        choices=("slurm", "pbs"),
        help="write a job array for each stage too, and submit.sh, which submits them so that each "
        "stage waits for the one before",
    )
    commands.add_argument(
        "--per-job",
        type=int,
        default=1,
        metavar="N",
        help="with --array, tasks of an element of an array, at most; those of exposures are of "
        "one visit (default: 1)",
    )
    commands.set_defaults(run=run_commands)


def run_commands(args: argparse.Namespace) -> None:
    """Write files of commands."""
    from ceers_steps.survey.planning.arguments import survey_of
    from ceers_steps.survey.planning.integrity import remember_command
    from ceers_steps.survey.running.arrays import write_arrays
    from ceers_steps.survey.running.launcher import write_commands

    plan, _ = survey_of(args)
    remember_command(plan.output, shlex.join(args.words))
    if args.array is None:
        for path, count in write_commands(plan):
            print(f"{path}: {count} commands")
        return
    *scripts, (submit, _) = write_arrays(plan, args.array, args.per_job)
    for path, count in scripts:
        print(f"{path}: {count} elements")
    print(f"submit them: {shlex.quote(submit)}")
