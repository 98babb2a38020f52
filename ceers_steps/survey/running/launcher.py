"""``ceers commands``: the plan as text files, one command a line, for launchers."""

import shlex
import sys
from pathlib import Path

from ceers_steps.files.atomic import write_atomic
from ceers_steps.survey.planning.plan import STATE, Plan, write_plan

__all__ = ["TASK_MODULE", "write_commands", "write_text"]

TASK_MODULE = "ceers_steps.survey.running.task"
"""What ``python -m`` runs: one task in one process."""


def write_commands(plan: Plan) -> list[tuple[str, int]]:
    """Write ``commands/<number>_<stage>.txt``, to be run in their order.

    Every command does one task, skips it when it is valid, and leaves exit code 1 when it fails;
    the lines of one file can be run in any order and at the same time.

    Parameters
    ----------
    plan : Plan
        What there is to do; it is written beside, for the commands to read.

    Returns
    -------
    list of (str, int)
        Path and number of commands of each file.

    Raises
    ------
    CeersError
        When the output folder cannot be written.
    """
    path = plan.output / STATE / "commands.json"
    write_plan(plan, path)
    for old in (plan.output / "commands").glob("[0-9]*_*.txt"):
        old.unlink()  # of a plan with other stages: its number may stand for another one now
    written = []
    stages = plan.by_stage()
    width = len(str(len(stages)))  # in the order of their names, too
    for number, (stage, tasks) in enumerate(stages.items(), start=1):
        lines = [
            # -P: no module is loaded from the folder in which the launcher is started
            shlex.join([sys.executable, "-P", "-m", TASK_MODULE, str(path), task.id])
            for task in tasks
        ]
        text = "\n".join(lines) + "\n"
        target = plan.output / "commands" / f"{number:0{width}d}_{stage}.txt"
        write_text(text, target)
        written.append((str(target), len(lines)))
    return written


def write_text(text: str, path: Path) -> None:
    """Write a text aside and rename it into place.

    Parameters
    ----------
    text : str
        Whole content.
    path : Path
        File.
    """
    write_atomic(path, lambda scratch: scratch.write_text(text))
