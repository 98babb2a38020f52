"""How far a survey is: a live line a stage on a terminal, plain lines otherwise."""

import time
from collections.abc import Callable, Collection, Sequence

from ceers_steps.survey.planning.plan import Plan, Task

__all__ = ["Progress", "duration"]

QUIET = 60.0
"""Seconds between two plain lines of a stage."""

SHARE = 0.05
"""A plain line is also due when so much of a stage was done since the last one."""


class Progress:
    """Shows done and failed tasks of each stage, the rate, and the time that is left.

    Parameters
    ----------
    plan
        The plan.
    tasks
        The tasks of this run.
    tell
        Takes plain lines, where there is no terminal.
    """

    def __init__(self, plan: Plan, tasks: Sequence[Task], *, tell: Callable[[str], object]) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self._stages = {
            stage: {task.id: task.seconds for task in members}
            for stage, members in plan.by_stage(tasks).items()
        }
        self._show = _Bars(console, self._stages) if console.is_terminal else _Lines(tell)
        self._start = time.monotonic()

    def __enter__(self) -> "Progress":
        self._show.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._show.close()

    def update(self, done: Collection[str], failed: Collection[str]) -> None:
        """Tell which tasks are done and which failed by now.

        Parameters
        ----------
        done, failed
            Identities of tasks.
        """
        elapsed = time.monotonic() - self._start
        total = sum(sum(members.values()) for members in self._stages.values())
        worked = sum(
            seconds
            for members in self._stages.values()
            for name, seconds in members.items()
            if name in done or name in failed
        )
        left = elapsed * (total - worked) / worked if worked else None
        for stage, members in self._stages.items():
            finished = sum(name in done for name in members)
            lost = sum(name in failed for name in members)
            rate = finished / elapsed * 60 if elapsed > 0 else 0.0
            self._show.stage(stage, finished, lost, len(members), rate, left)


class _Bars:
    """Live lines."""

    def __init__(self, console, stages):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._bars = {
            stage: self._progress.add_task(stage, total=len(members), note="")
            for stage, members in stages.items()
        }

    def open(self):
        self._progress.start()

    def close(self):
        self._progress.stop()

    def stage(self, stage, finished, lost, total, rate, left):
        active = finished + lost < total
        notes = [f"{lost} failed"] if lost else []
        if finished and active:
            notes.append(f"{rate:.1f}/min")
        if left is not None and active:
            notes.append(f"{duration(left)} left in all")
        self._progress.update(self._bars[stage], completed=finished, note=", ".join(notes))


class _Lines:
    """Plain lines, when something has changed and not too often."""

    def __init__(self, tell):
        self._tell = tell
        self._last = {}

    def open(self):
        pass

    def close(self):
        pass

    def stage(self, stage, finished, lost, total, rate, left):
        before, when = self._last.get(stage, ((0, 0), 0.0))
        now = time.monotonic()
        if before == (finished, lost):
            return
        step = finished + lost - sum(before)
        if finished + lost < total and step < SHARE * total and now - when < QUIET:
            return
        self._last[stage] = (finished, lost), now
        failed = f", {lost} failed" if lost else ""
        rest = f", {duration(left)} left in all" if left else ""
        self._tell(f"{stage}: {finished} of {total}{failed}, {rate:.1f}/min{rest}")


def duration(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
