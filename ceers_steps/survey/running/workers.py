"""Long jobs in processes of their own: progress on a terminal, a log for each, clear ends.

The processes are spawned, so they share no state of threads, locks or references with the parent.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.survey.running.machine import available_cores, installed_memory_mb

__all__ = ["Job", "jobs_at_a_time", "run_jobs"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

GRACE = 5.0
"""Seconds that a process has for an orderly end before it is killed."""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes
    ----------
    key : str
        Short name, for the log file.
    name : str
        Name for people.
    function : callable
        Importable; called with `arguments` and ``tell(done, total, stage)``, by which it says how
        far it is. Returns something that can be pickled.
    arguments : dict
        Keyword arguments that can be pickled.
    """

    key: str
    name: str
    function: Callable
    arguments: dict


def jobs_at_a_time(memory: float) -> int:
    """Return how many jobs that need `memory` bytes each fit the cores and memory at hand."""
    return max(1, min(available_cores(), int(installed_memory_mb() * 1e6 // memory)))


def run_jobs(jobs, log_folder, *, at_a_time):
    """Run jobs, a few at a time.

    Parameters
    ----------
    jobs : sequence of Job
        What to run.
    log_folder : Path
        Gets ``<key>.log`` with everything that a job prints and logs.
    at_a_time : int
        Number of processes.

    Returns
    -------
    list
        What the jobs return, in their order.

    Raises
    ------
    CeersError
        When a job fails; the others are ended.
    """
    log_folder = Path(log_folder)
    try:
        log_folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise CeersError(f"Cannot make the folder {log_folder}: {err.strerror}.") from err
    context = multiprocessing.get_context("spawn")
    waiting, running, results = list(jobs), {}, {}
    with _progress(jobs) as show:
        try:
            while waiting or running:
                while waiting and len(running) < at_a_time:
                    process, pipe = _start(context, waiting.pop(0), log_folder)
                    running[pipe] = process
                for pipe in wait(running):
                    process = running[pipe]
                    try:
                        kind, value = pipe.recv()
                    except EOFError:
                        # closed by the end of the process, after its last message
                        process.join()
                        del running[pipe]
                        pipe.close()
                        if process.name not in results:
                            raise CeersError(_why(process, log_folder)) from None
                        continue
                    if kind == "failed":
                        raise CeersError(value)
                    if kind == "done":
                        results[process.name] = value
                    show(process.name, kind, value)
        finally:
            for process in running.values():
                process.terminate()
            for pipe, process in running.items():
                process.join(GRACE)
                process.kill()
                process.join()
                pipe.close()
    return [results[job.key] for job in jobs]


def _start(context, job, log_folder):
    """Start a worker; return it and the end of the pipe from which its messages come."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, log_folder, sender), name=job.key)
    process.start()
    sender.close()  # the worker's end is the only one now, so its end can be seen
    return process, receiver


def _why(process, log_folder):
    """Say why a worker ended without a result."""
    log = log_folder / f"{process.name}.log"
    if process.exitcode == -signal.SIGKILL:
        return f"{process.name} was killed, probably for want of memory. Log: {log}"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), "it left no message")
    return f"{process.name} failed: {last}. Log: {log}"


@contextlib.contextmanager
def _progress(jobs):
    """Show how far each job is, on a terminal only; yields ``show(key, kind, value)``."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[stage]:<22}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    bars = {job.key: progress.add_task(job.name, stage="waiting", start=False) for job in jobs}

    def show(key, kind, value):
        if kind == "stage":
            done, total, stage = value
            progress.start_task(bars[key])
            progress.update(bars[key], completed=done, total=total, stage=stage)
        else:
            progress.update(bars[key], completed=1, total=1, stage=kind)
            progress.stop_task(bars[key])

    with progress:
        yield show


def _work(job, log_folder, sender):
    """Run a job; what it prints and logs goes to its log file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent takes Ctrl-C and ends this process,
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which then puts away what it opened
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")  # the processes fill the cores already
    path = log_folder / f"{job.key}.log"
    with open(path, "w", encoding="utf-8") as log:
        # by descriptor, for libraries that are not written in Python too
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.captureWarnings(True)

    def tell(*stage):
        sender.send(("stage", stage))

    try:
        result = job.function(**job.arguments, tell=tell)
    except CeersError as err:
        traceback.print_exc()
        sender.send(("failed", f"{job.name}: {err} Log: {path}"))
    else:
        sender.send(("done", result))
