"""How far a run is and what is done now: live on a terminal, plain lines otherwise."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ceers_steps.survey.planning.plan import Plan, Task
from ceers_steps.survey.running.now import read_now

__all__ = ["Progress", "duration"]

QUIET = 30.0
"""Seconds after which a plain line is due when anything has changed."""

SHARE = 0.05
"""A plain line is also due when so much of the tasks was done since the last one."""

NAMED = 2
"""Running tasks that are named; the others are counted."""


class Progress:
    """Shows how many tasks are done and failed, what is running, and about what time is left.

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
        self._plan, self._tasks = plan, {task.id: task for task in tasks}
        self._show = _Live(console) if console.is_terminal else _Lines(tell)
        self._start = time.monotonic()
        self._estimate = 0, 0.0  # tasks that have ended, and when after the start all will have

    def __enter__(self) -> "Progress":
        self._show.open()
        self.update((), (), ())
        return self

    def __exit__(self, *_: object) -> None:
        self._show.close()

    def update(
        self, done: Collection[str], failed: Collection[str], running: Iterable[str] = ()
    ) -> None:
        """Tell how far it is.

        Parameters
        ----------
        done, failed, running
            Identities of tasks.
        """
        finished = [task for name, task in self._tasks.items() if name in done]
        lost = [task for name, task in self._tasks.items() if name in failed]
        total, ended = len(self._tasks), len(finished) + len(lost)
        parts = [f"{len(finished)} of {total} tasks done"]
        if lost:
            parts.append(f"{len(lost)} failed")
        if left := self._left([*finished, *lost]):
            parts.append(f"about {duration(left)} left")
        now = self._now(name for name in running if name not in done)
        self._show.show(", ".join(parts), now, ended, total)

    def _left(self, ended: Sequence[Task]) -> float:
        """Return about what time is left, from what the tasks that ended were estimated to take.

        It is estimated anew when a task ends, and counts down between.
        """
        elapsed = time.monotonic() - self._start
        if len(ended) != self._estimate[0]:
            worked = sum(task.seconds for task in ended)
            total = sum(task.seconds for task in self._tasks.values())
            self._estimate = len(ended), elapsed + elapsed * (total - worked) / worked
        return max(self._estimate[1] - elapsed, 0.0)

    def _now(self, running: Iterable[str]) -> str:
        """Say which tasks run."""
        names = sorted(name for name in running if name in self._tasks)
        said = []
        for name in names[:NAMED]:
            doing = read_now(self._plan, self._tasks[name])
            said.append(f"{name} ({doing})" if doing else name)
        more = len(names) - len(said)
        return ", ".join(said) + (f" and {more} more" if more else "")


class _Live:
    """A bar, and below it what is done now."""

    def __init__(self, console: Any) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
        )
        self._task = self._bar.add_task("starting", total=None)
        self._live = Live(self._bar, console=console, refresh_per_second=4)

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def show(self, text: str, now: str, ended: int, total: int) -> None:
        from rich.console import Group
        from rich.text import Text

        self._bar.update(self._task, description=text, completed=ended, total=total)
        line = Text(f"now: {now or 'starting'}", no_wrap=True, overflow="ellipsis", style="dim")
        self._live.update(Group(self._bar, line) if ended < total else self._bar)


class _Lines:
    """Plain lines, when something has changed and not too often."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._last: tuple[tuple[str, str, int], float] | None = None

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def show(self, text: str, now: str, ended: int, total: int) -> None:
        when = time.monotonic()
        state = text.partition(", about")[0], now, ended
        if self._last is not None:
            (*before, ended_before), printed = self._last
            step = ended - ended_before
            soon = step > 0 and (ended == total or step >= SHARE * total)
            if list(state[:2]) == before or not (soon or when - printed >= QUIET):
                return
        self._last = state, when
        self._tell(f"{text}; now: {now}" if now else text)


def duration(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
