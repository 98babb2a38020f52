"""What a task is doing now: a line in a small file, for those who watch the run."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from ceers_steps.survey.planning.plan import STATE, Plan, Task

__all__ = ["now_path", "read_now", "say_now", "telling"]


class _Teller(logging.Handler):
    """Hears stpipe announce each step, its name the argument of a message."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._activity = path, ""

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Step %s running") and record.args:
            step = record.args[0] if isinstance(record.args, tuple) else record.args
            self._write(f"{self._activity}, {step}" if self._activity else str(step))

    def say(self, text: str) -> None:
        """Say what is done from here on; steps follow it."""
        self._activity = text
        self._write(text)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the work is more important
            self._path.write_text(text, encoding="utf-8")


_teller: _Teller | None = None
"""Of the task of this process."""


def now_path(plan: Plan, task: Task) -> Path:
    """Return the file of a running task that says what it is doing."""
    return plan.output / STATE / "running" / f"{task.id}.now"


def read_now(plan: Plan, task: Task) -> str:
    """Return what a task said last; empty when it has said nothing."""
    with contextlib.suppress(OSError, ValueError):
        return " ".join(now_path(plan, task).read_text(encoding="utf-8").split())
    return ""


def say_now(text: str) -> None:
    """Say what the task of this process is doing, a few words; outside of a task nothing is done.

    Parameters
    ----------
    text
        The names of the steps that run after it are put behind it.
    """
    if _teller is not None:
        _teller.say(text)


@contextlib.contextmanager
def telling(plan: Plan, task: Task) -> Iterator[None]:
    """Let the steps that run in this context be known, and what `say_now` is given.

    Parameters
    ----------
    plan, task
        What this process does.
    """
    global _teller
    path = now_path(plan, task)
    _teller = _Teller(path)
    log = logging.getLogger("stpipe")
    log.addHandler(_teller)
    try:
        yield
    finally:
        log.removeHandler(_teller)
        _teller = None
        path.unlink(missing_ok=True)
