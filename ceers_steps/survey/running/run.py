"""``ceers reduce``: carry out a plan, tell how far it is, and what failed."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import remove_abandoned
from ceers_steps.files.json_files import read_note
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning import estimates
from ceers_steps.survey.planning.plan import STATE, Plan, Task, why_stale
from ceers_steps.survey.running.engine import (
    Engine,
    cancel_leftovers,
    check_engine,
    identities,
    log_tail,
)
from ceers_steps.survey.running.locks import hold_folder
from ceers_steps.survey.running.machine import available_cores, installed_memory_mb
from ceers_steps.survey.running.now import read_now
from ceers_steps.survey.running.progress import Progress
from ceers_steps.survey.running.task import running_path

__all__ = ["Failure", "Outcome", "run_plan"]

INTERVAL = 0.5
"""Seconds between two looks at what is done."""

PATIENCE = 60.0
"""Seconds to wait, on a file system that many machines share, for a record to be seen."""

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
        The step in which it failed; the title of the stage if no step was running.
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


def run_plan(
    plan: Plan,
    config: SurveyConfig,
    *,
    tell: Callable[[str], object] = print,
    follow: Callable[[Collection[str]], object] = lambda done: None,
) -> Outcome:
    """Do all tasks that are not valid.

    Parameters
    ----------
    plan
        What there is to do.
    config
        Where, and with what.
    tell : callable
        Takes lines for people, where there is no terminal.
    follow : callable
        Called again and again while it runs, with the tasks that this run has done by then.

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
    with hold_folder(plan.output):
        reasons = why_stale(plan)
        tasks = [plan.tasks[name] for name in reasons]
        if not tasks:
            _forget_failures(plan)
            return Outcome([], len(plan.tasks), [], [])
        cores = config.cores or available_cores()
        memory = int(config.memory * 1000) or int(ROOM * installed_memory_mb())
        if config.on == "local" and config.profile is None:
            check_memory(plan, tasks, memory)
        if cancelled := cancel_leftovers(plan.output, tell=tell):
            tell(f"{cancelled} jobs of an earlier run are cancelled")
        _clear(plan, tasks)
        engine = Engine(plan, tasks, config, cores=cores, memory=memory)
        with _signals(), Progress(plan, tasks, tell=tell) as progress:
            try:
                engine.start()
                while (code := engine.poll()) is None:
                    done, failed = _state(plan, engine)
                    progress.update(done, failed, _running(plan))
                    follow(done)
                    time.sleep(INTERVAL)
                done, failed = _settled(plan, tasks, engine, code)
                progress.update(done, failed)
            except BaseException as err:
                if isinstance(err, KeyboardInterrupt):
                    tell("Stopping. What is done stays done: the same command goes on from there.")
                engine.stop()
                cancel_leftovers(plan.output, tell=tell)
                raise
        outcome = _outcome(plan, tasks, done, failed)
        if code >= 0:
            outcome = _with_killed(plan, outcome, engine)
        return _with_engine(plan, outcome, code)


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
    tiles = False
    for task in too_large:
        remedy = ""
        if task.stage in {"mosaic", "tile", "mosaic2", "tile2"}:
            arguments, grid = task.arguments, task.settings.get("grid", {})
            magnified = estimates.magnification(
                arguments.get("filter", ""), grid.get("pixel_scale", estimates.NATIVE["short"])
            )
            fitting = [
                size
                for size in range(16384, 511, -512)
                if estimates.tile(size, len(arguments["exposures"]), magnified)[0] <= memory
            ]
            remedy = f"; tile_size = {fitting[0]} would fit" if fitting else ""
            tiles = tiles or bool(fitting)
        lines.append(f"{task.id} needs about {task.memory / 1000:.1f} GB{remedy}")
    raise CeersError(
        f"{len(too_large)} task(s) need more than the {memory / 1000:.1f} GB there are: "
        f"{'; '.join(lines[:5])}{'; ...' if len(lines) > 5 else ''}. "
        f"{'Set tile_size (table [grid]), raise' if tiles else 'Raise'} memory (table [run]), or "
        "use a larger machine."
    )


def _forget_failures(plan: Plan) -> None:
    """Take away what failed in earlier runs."""
    failed = plan.output / STATE / "failed"
    try:
        if failed.exists():
            shutil.rmtree(failed)
    except OSError as err:
        raise CeersError(f"Cannot write to {plan.output}: {err.strerror or err}.") from err


def _clear(plan: Plan, tasks: Sequence[Task]) -> None:
    """Take away what is no longer true, and what a killed run left half-written.

    Not the records of what has to be done again: they are true of the products that are there.
    """
    _forget_failures(plan)
    state = plan.output / STATE
    for name in ("scratch", "running"):
        shutil.rmtree(state / name, ignore_errors=True)
    folders = {
        plan.output,
        *((plan.output / name).parent for task in tasks for name in task.outputs),
    }
    for folder in [*folders, *(Path(place) for place, _, _ in os.walk(state))]:
        remove_abandoned(folder)


def _state(plan: Plan, engine: Engine) -> tuple[set[str], set[str]]:
    """Return which tasks are done and which failed in this run, as sets of identities."""
    done = identities(engine.marks, plan.titles)
    return done, identities(plan.output / STATE / "failed", plan.titles, ".json") - done


def _running(plan: Plan) -> set[str]:
    """Return the tasks that are being worked on."""
    return identities(plan.output / STATE / "running", plan.titles, ".json")


def _outcome(
    plan: Plan, tasks: Sequence[Task], done: Collection[str], failed: Collection[str]
) -> Outcome:
    """Gather what came of the tasks."""
    failures = []
    for task in tasks:
        if task.id in failed:
            tree = read_note(plan.failure_path(task), step=str, message=str, log=str) or {
                "step": plan.titles[task.stage],
                "message": "why is not known: its note cannot be read. Look into its log.",
                "log": str(plan.log_path(task)),
            }
            failures.append(Failure(task.id, tree["step"], tree["message"], tree["log"]))
    left = [task.id for task in tasks if task.id not in done and task.id not in failed]
    finished = [task.id for task in tasks if task.id in done]
    return Outcome(finished, len(plan.tasks) - len(tasks), failures, left)


def _settled(
    plan: Plan, tasks: Sequence[Task], engine: Engine, code: int
) -> tuple[set[str], set[str]]:
    """Return what is done and what failed after the engine's end.

    What was written on another machine may take a while to be seen here.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        done, failed = _state(plan, engine)
        if code or len(done) == len(tasks) or time.monotonic() > deadline:
            return done, failed
        time.sleep(INTERVAL)


def _with_killed(plan: Plan, outcome: Outcome, engine: Engine) -> Outcome:
    """Count tasks that ended without a word as failures."""
    killed = {}
    for name in outcome.waiting:
        task = plan.tasks[name]
        if tree := read_note(running_path(plan, task), attempt=int, host=str):
            step = read_now(plan, task) or plan.titles[task.stage]
            why = engine.why_killed(task, tree)
            killed[name] = Failure(name, step, why, str(plan.log_path(task)))
    waiting = [name for name in outcome.waiting if name not in killed]
    failures = [*outcome.failures, *killed.values()]
    return Outcome(outcome.done, outcome.valid, failures, waiting)


def _with_engine(plan: Plan, outcome: Outcome, code: int) -> Outcome:
    """Tell when tasks were left that could have been done: the engine itself failed."""
    hindering = {*outcome.waiting, *(failure.task for failure in outcome.failures)}
    left = [name for name in outcome.waiting if hindering.isdisjoint(plan.tasks[name].after)]
    if not left:
        return outcome
    log = plan.output / "logs" / "engine.log"
    how = f"was killed (signal {-code})" if code < 0 else f"stopped (exit code {code})"
    message = f"the engine {how} with {len(left)} task(s) left that nothing hinders"
    problem = _disk_problem(plan.output)
    if problem:
        message += f"; {plan.output} cannot be written ({problem}): free some space"
    message += ". The same command goes on."
    if outcome.failures:
        failures = [*outcome.failures, Failure("engine", "", message, str(log))]
        return Outcome(outcome.done, outcome.valid, failures, outcome.waiting)
    message = f"{message[0].upper()}{message[1:]}"
    if problem:  # its log would only say the same, in a traceback
        raise CeersError(message)
    raise CeersError(f"{message} Its log, {log}, ends:\n{log_tail(log)}")


def _disk_problem(folder: Path) -> str:
    """Try to write; say what is in the way. A quota or a lost disk shows in no other way."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
    except OSError as err:
        return err.strerror or str(err)
    return ""


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """End in order when asked to, by a terminal that closes or a batch system too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    kept = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # nohup
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
