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
    commands.set_defaults(run=run_commands)


def run_commands(args: argparse.Namespace) -> None:
    """Write files of commands."""
    from ceers_steps.survey.planning.arguments import survey_of
    from ceers_steps.survey.planning.integrity import remember_command
    from ceers_steps.survey.running.launcher import write_commands

    plan, _ = survey_of(args)
    remember_command(plan.output, shlex.join(args.words))
    for path, count in write_commands(plan):
        print(f"{path}: {count} commands")
