"""The engine: Snakemake is given the tasks to do; nothing else of the package knows it.

It schedules within cores and memory, retries, and talks to clusters. What is valid is decided
before (`plan`), what was done is read from records and failures, so its own memory is not used.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic
from ceers_steps.survey.config import SurveyConfig
from ceers_steps.survey.plan import STATE, Plan, Task, write_plan
from ceers_steps.survey.task import PR_SET_PDEATHSIG

__all__ = ["Engine", "check_engine"]

GRACE = 20.0
"""Seconds that tasks have for an orderly end."""

PLUGINS = {
    "slurm": "snakemake_executor_plugin_slurm",
    "pbs": "snakemake_executor_plugin_cluster_generic",
}
"""Package that each kind of cluster needs."""


def check_engine(on: str) -> None:
    """Check that what the engine needs is installed.

    Raises
    ------
    CeersError
        Says what to install.
    """
    wanted = ["snakemake", *([PLUGINS[on]] if on in PLUGINS else [])]
    missing = [package for package in wanted if find_spec(package) is None]
    if missing:
        raise CeersError(
            f"ceers reduce needs {', '.join(missing)}. Install with: "
            "pip install 'ceers_steps[survey]'"
        )
    command = {"slurm": "sbatch", "pbs": "qsub"}.get(on)
    if command and shutil.which(command) is None:
        raise CeersError(
            f"on={on!r}, but there is no {command} on this machine. Run on a login node of the "
            "cluster, or with --on local."
        )


class Engine:
    """One run of the engine.

    Parameters
    ----------
    plan
        The plan.
    tasks
        Those to do, each after those that it needs.
    config
        Where to run, and limits.
    cores, memory
        Limits on this machine; memory in MB.
    """

    def __init__(
        self, plan: Plan, tasks: Iterable[Task], config: SurveyConfig, *, cores: int, memory: int
    ) -> None:
        self._folder = plan.output / STATE / "engine"
        self._log = plan.output / "logs" / "engine.log"
        self._config = config
        self._cores, self._memory = cores, memory
        self._local = config.on == "local" and config.profile is None
        self._name = f"ceers_{zlib.crc32(str(plan.output).encode()):08x}"
        self._process: subprocess.Popen | None = None
        self._write(plan, list(tasks))

    def start(self) -> None:
        """Start it in the background; its own messages go to ``logs/engine.log``."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end it in order
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
                env={**os.environ, **self._environment()},
            )

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and all tasks that run here, in order at first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
                return

    def cancel_leftovers(self) -> int:
        """Cancel jobs of an earlier run that a cluster still has; return how many.

        They outlive a driver that was killed.
        """
        if self._config.on != "slurm":
            return 0
        listed = subprocess.run(
            ["squeue", "--me", "--noheader", "--format=%i %j"],
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode:
            raise CeersError(
                f"squeue failed ({listed.stderr.strip()}). Check the cluster, or use --on local."
            )
        lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
        jobs = [line[0] for line in lines if len(line) == 2 and line[1].startswith(self._name)]
        if jobs:
            subprocess.run(["scancel", *jobs], check=False)
        return len(jobs)

    def _write(self, plan, tasks):
        """Write what the workflow reads."""
        chosen = {task.id for task in tasks}
        self._folder.mkdir(parents=True, exist_ok=True)
        marks = self._folder / "marks"  # of this run only
        shutil.rmtree(marks, ignore_errors=True)
        plan_path = self._folder / "plan.json"
        write_plan(plan, plan_path)
        jobs = {
            "python": sys.executable,
            "plan": str(plan_path),
            "marks": str(marks),
            "stages": list(plan.by_stage(tasks)),
            "retries": self._config.retries,
            "memory_limit": self._memory if self._local else 0,
            "tasks": {
                task.id: {
                    "after": [name for name in task.after if name in chosen],
                    "memory": task.memory,
                    "minutes": max(10, int(task.seconds / 60 * 4)),
                }
                for task in tasks
            },
        }
        text = json.dumps(jobs)
        write_atomic(self._folder / "jobs.json", lambda scratch: scratch.write_text(text))

    def _command(self):
        """Return the command line of Snakemake."""
        workflow = files("ceers_steps.survey") / "workflow"
        command = [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(workflow / "Snakefile")),
            *("--directory", str(self._folder)),
            *("--config", f"jobs={self._folder / 'jobs.json'}"),
            *("--scheduler", "greedy"),
            *("--rerun-triggers", "mtime"),
            *("--keep-going", "--rerun-incomplete", "--nolock", "--nocolor"),
        ]
        config = self._config
        if self._local:
            return [
                *command,
                *("--cores", str(self._cores), "--resources", f"mem_mb={self._memory}"),
            ]
        profile = config.profile or workflow / "profiles" / config.on
        defaults = {"slurm_partition": config.partition, "slurm_account": config.account}
        defaults = [f"{key}={value}" for key, value in defaults.items() if value]
        if config.on == "slurm":
            command += ["--slurm-jobname-prefix", self._name]
        command += ["--profile", str(profile), "--jobs", str(config.jobs)]
        return [*command, "--default-resources", "mem_mb=2000", "runtime=60", *defaults]

    def _environment(self):
        """Return variables for the tasks: they fill the cores already, one thread each."""
        threads = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        partition = {"CEERS_PBS_QUEUE": self._config.partition} if self._config.partition else {}
        account = {"CEERS_PBS_ACCOUNT": self._config.account} if self._config.account else {}
        single = {
            f"{name}_NUM_THREADS": os.environ.get(f"{name}_NUM_THREADS", "1") for name in threads
        }
        return {**single, **partition, **account}


def installed_memory() -> int:
    """Return the memory of this machine, MB."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6)


def _end_with_parent():
    """Let the engine end when the driver is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def log_tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a log."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""
