"""``ceers reduce``: carry out a plan, tell how far it is, and what failed."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.survey import estimates
from ceers_steps.survey.config import SurveyConfig
from ceers_steps.survey.engine import Engine, check_engine, installed_memory, log_tail
from ceers_steps.survey.plan import STATE, Plan, Task, why_stale
from ceers_steps.survey.progress import Progress
from ceers_steps.survey.records import read_record

__all__ = ["Failure", "Outcome", "run_plan"]

INTERVAL = 0.5
"""Seconds between two looks at what is done."""

ROOM = 0.9
"""Part of the machine's memory that tasks may fill."""


@dataclass(frozen=True)
class Failure:
    """One task that failed.

    Attributes
    ----------
    task : str
        Its identity.
    step : str
        The step in which it failed; empty if unknown.
    message, log : str
        What was wrong, and where more is written.
    """

    task: str
    step: str
    message: str
    log: str


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    done : list of str
        Tasks done in this run.
    valid : int
        Tasks that did not have to be done.
    failures : list of Failure
        Tasks that failed.
    waiting : list of str
        Tasks that could not be tried since what they need failed.
    """

    done: list[str]
    valid: int
    failures: list[Failure]
    waiting: list[str]


def run_plan(plan: Plan, config: SurveyConfig, *, tell=print) -> Outcome:
    """Do all tasks that are not valid.

    Parameters
    ----------
    plan
        What there is to do.
    config
        Where, and with what.
    tell : callable
        Takes lines for people, where there is no terminal.

    Returns
    -------
    Outcome

    Raises
    ------
    CeersError
        When another run holds the folder, a task cannot fit the memory, the engine is missing or
        fails. KeyboardInterrupt is passed on after an orderly end.
    """
    check_engine(config.on)
    with _hold(plan.output):
        reasons = why_stale(plan)
        tasks = [plan.tasks[name] for name in reasons]
        if not tasks:
            return Outcome([], len(plan.tasks), [], [])
        cores = config.cores or len(os.sched_getaffinity(0))
        memory = int(config.memory * 1000) or int(ROOM * installed_memory())
        if config.on == "local" and config.profile is None:
            check_memory(plan, tasks, memory)
        engine = Engine(plan, tasks, config, cores=cores, memory=memory)
        if cancelled := engine.cancel_leftovers():
            tell(f"{cancelled} jobs of an earlier run are cancelled")
        _clear(plan, tasks)
        started = time.time()
        with _signals(), Progress(plan, tasks, tell=tell) as progress:
            engine.start()
            try:
                while (code := engine.poll()) is None:
                    progress.update(*_state(plan, tasks))
                    time.sleep(INTERVAL)
                done, failed = _state(plan, tasks)
                progress.update(done, failed)
            except BaseException:
                engine.stop()
                raise
        outcome = _outcome(plan, tasks, done, failed)
        if code and not outcome.failures and len(done) < len(tasks):
            lost = [name for name in _started(plan, tasks, started) if name not in done]
            outcome = _lost(plan, outcome, lost)
            if not outcome.failures:
                log = plan.output / "logs" / "engine.log"
                raise CeersError(
                    f"The engine stopped ({code}). Its log, {log}, ends:\n{log_tail(log)}"
                )
        return outcome


def check_memory(plan: Plan, tasks: list[Task], memory: int) -> None:
    """Refuse what cannot fit, before anything is started.

    Parameters
    ----------
    plan, tasks
        What is to be done.
    memory
        MB that tasks may use.

    Raises
    ------
    CeersError
        Names each product, what it needs, and the tile size that would fit.
    """
    too_large = [task for task in tasks if task.memory > memory]
    if not too_large:
        return
    lines = []
    for task in too_large:
        remedy = ""
        if task.stage in {"mosaic", "tile"}:
            members = len(task.arguments["exposures"])
            fitting = [
                size
                for size in range(16384, 511, -512)
                if estimates.tile(size, members)[0] <= memory
            ]
            remedy = f"; tile_size = {fitting[0]} would fit" if fitting else ""
        lines.append(f"{task.id} needs about {task.memory / 1000:.1f} GB{remedy}")
    raise CeersError(
        f"{len(too_large)} task(s) need more than the {memory / 1000:.1f} GB there are: "
        f"{'; '.join(lines[:5])}{'; ...' if len(lines) > 5 else ''}. Set tile_size (table [grid]), "
        "raise memory (table [run]), or use a larger machine."
    )


@contextlib.contextmanager
def _hold(output: Path) -> Iterator[None]:
    """Hold the output folder: two runs on one folder would undo each other's work."""
    path = output / STATE / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closed below
    except OSError as err:
        raise CeersError(f"Cannot write to {output}: {err.strerror}. Choose another -o.") from err
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            if err.errno not in {errno.EAGAIN, errno.EACCES}:
                raise CeersError(f"Cannot lock {path}: {err.strerror}.") from err
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise CeersError(
                f"{output} is in use: {holder}. Wait for it, or stop it, and run again."
            ) from None
        lock.truncate(0)
        user = os.environ.get("USER", str(os.getuid()))
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        lock.write(f"process {os.getpid()} of {user} on {socket.gethostname()} since {since}")
        lock.flush()
        yield


def _clear(plan, tasks):
    """Take away what is no longer true, and what a killed run left half-written."""
    for task in tasks:
        plan.record_path(task).unlink(missing_ok=True)
        plan.failure_path(task).unlink(missing_ok=True)
    shutil.rmtree(plan.output / STATE / "scratch", ignore_errors=True)
    shutil.rmtree(plan.output / STATE / "engine" / ".snakemake" / "incomplete", ignore_errors=True)
    folders = {str((plan.output / name).parent) for task in tasks for name in task.outputs}
    for folder in folders:
        for left in Path(folder).glob(".writing-*"):
            shutil.rmtree(left, ignore_errors=True)


def _state(plan, tasks):
    """Return which tasks are done and which failed, as sets of identities."""

    def present(kind):
        folder = plan.output / STATE / kind
        names = set()
        for stage in plan.by_stage(tasks):
            with contextlib.suppress(FileNotFoundError):
                names |= {
                    f"{stage}/{entry.name.removesuffix('.json')}"
                    for entry in os.scandir(folder / stage)
                    if entry.name.endswith(".json")
                }
        return names

    chosen = {task.id for task in tasks}
    done = present("done") & chosen
    return done, (present("failed") & chosen) - done


def _outcome(plan, tasks, done, failed):
    """Gather what came of the tasks."""
    failures = []
    for task in tasks:
        if task.id in failed:
            with contextlib.suppress(OSError, ValueError, KeyError):
                tree = json.loads(plan.failure_path(task).read_text(encoding="utf-8"))
                failures.append(Failure(task.id, tree["step"], tree["message"], tree["log"]))
    left = [task.id for task in tasks if task.id not in done and task.id not in failed]
    finished = [task.id for task in tasks if task.id in done]
    return Outcome(finished, len(plan.tasks) - len(tasks), failures, left)


def _started(plan, tasks, since):
    """Return the tasks whose log was written in this run."""
    names = []
    for task in tasks:
        with contextlib.suppress(OSError):
            if plan.log_path(task).stat().st_mtime >= since:
                names.append(task.id)
    return names


def _lost(plan, outcome, names):
    """Count tasks that ended without a word as failures: they were killed."""
    failures = [
        Failure(
            name,
            "",
            "the process was killed, probably for want of memory",
            str(plan.log_path(plan.tasks[name])),
        )
        for name in names
    ]
    waiting = [name for name in outcome.waiting if name not in names]
    return Outcome(outcome.done, outcome.valid, [*outcome.failures, *failures], waiting)


@contextlib.contextmanager
def _signals():
    """End in order when asked to, by a terminal that closes or a batch system too."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    kept = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def summed_seconds(plan: Plan) -> float:
    """Return the time that all valid tasks have taken."""
    records = (read_record(plan.record_path(task)) for task in plan.tasks.values())
    return sum(record.seconds for record in records if record is not None)
