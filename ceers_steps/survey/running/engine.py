"""The engine: Snakemake is given the tasks to do; nothing else of the package knows it.

It schedules within cores and memory, retries, and talks to clusters. What is valid is decided
before (`plan`), what was done is read from records and failures, so its own memory is not used.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.processes import end_with_parent
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning.plan import STATE, Plan, Task, write_plan
from ceers_steps.survey.running import pbs

__all__ = ["Engine", "cancel_leftovers", "check_engine", "identities"]

CANCEL_TIME = 90.0
"""Seconds that a cluster has to end jobs; Slurm kills those that do not end in 30."""

JOB_MEMORY = 200
"""MB that a job on a cluster needs beside its task: the engine runs there too."""

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

    Attributes
    ----------
    marks : Path
        Folder in which every task that is valid leaves a mark, an empty file.
    """

    def __init__(
        self, plan: Plan, tasks: Iterable[Task], config: SurveyConfig, *, cores: int, memory: int
    ) -> None:
        self._folder = plan.output / STATE / "engine"
        # of this run only: a job that outlived an earlier one must not be taken for ours
        self.marks = self._folder / "marks" / uuid.uuid4().hex[:8]
        self._log = plan.output / "logs" / "engine.log"
        self._config = config
        self._cores, self._memory = cores, memory
        self._local = config.on == "local" and config.profile is None
        self._limit = memory if self._local else 0
        self._executor = _executor(config)
        # at most 15 characters: older PBS takes no more
        self._name = f"ceers_{zlib.crc32(str(plan.output).encode()):08x}"
        self._process: subprocess.Popen | None = None
        self._write(plan, list(tasks))

    def start(self) -> None:
        """Start it in the background; its own messages go to ``logs/engine.log``."""
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            log = open(self._log, "w", encoding="utf-8")  # noqa: SIM115  closed below
        except OSError as err:
            raise CeersError(f"Cannot write {self._log}: {err.strerror}.") from err
        with log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end it in order
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
                env=self._environment(),
            )

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def stop(self) -> None:
        """End it and all tasks that run here, in order at first.

        Jobs on a cluster go on; see `cancel_leftovers`.
        """
        if self._process is None:
            return
        try:
            # where tasks are jobs, it would wait for their end
            self._signal(signal.SIGTERM if self._local else signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def why_killed(self, task: Task, running: Mapping) -> str:
        """Say what may have ended a task without a word.

        Parameters
        ----------
        task
            The task.
        running
            What it wrote when it was started the last time (`running_path`).
        """
        given = _memory_of(task, running["attempt"], self._limit) / 1000
        times = f", attempt {running['attempt']}" if running["attempt"] > 1 else ""
        remedy = "leave it more room with fewer tasks at a time (cores, memory in table [run])"
        if not self._local:
            remedy = "raise retries (table [run]): every attempt has half as much memory again"
        return (
            f"the process was killed on {running['host']}{times}, probably for want of memory "
            f"({given:.1f} GB were reserved) or of time; {remedy}."
        )

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _write(self, plan: Plan, tasks: Sequence[Task]) -> None:
        """Write what the workflow reads."""
        chosen = {task.id for task in tasks}
        # what an earlier run of the engine kept says nothing of this one
        for name in ("marks", ".snakemake"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        plan_path = self._folder / "plan.json"
        write_plan(plan, plan_path)
        jobs = {
            "python": sys.executable,
            "plan": str(plan_path),
            "marks": f"marks/{self.marks.name}",
            "stages": list(plan.by_stage(tasks)),
            "tasks": {
                task.id: {
                    "after": [name for name in task.after if name in chosen],
                    "memory": [
                        _memory_of(task, attempt, self._limit) + (0 if self._local else JOB_MEMORY)
                        for attempt in range(1, self._config.retries + 2)
                    ],
                    "minutes": max(10, int(task.seconds / 60 * 4)),
                }
                for task in tasks
            },
        }
        text = json.dumps(jobs)
        write_atomic(self._folder / "jobs.json", lambda scratch: scratch.write_text(text))
        if not self._local:
            note = f"{self._name} {self._executor}"
            write_atomic(_cluster_path(plan.output), lambda scratch: scratch.write_text(note))

    def _command(self) -> list[str]:
        """Return the command line of Snakemake."""
        workflow = files("ceers_steps.survey.running") / "workflow"
        command = [
            *(sys.executable, "-P", "-m", "snakemake"),
            *("--snakefile", str(workflow / "Snakefile")),
            *("--directory", str(self._folder)),
            *("--scheduler", "greedy"),
            *("--rerun-triggers", "mtime"),
            *("--keep-going", "--nolock", "--nocolor", "--drop-metadata"),
            *("--retries", str(self._config.retries)),
        ]
        config = self._config
        if self._local:
            return [
                *command,
                *("--cores", str(self._cores), "--resources", f"mem_mb={self._memory}"),
            ]
        profile = config.profile or workflow / "profiles" / config.on
        cluster = {"slurm_partition": config.partition, "slurm_account": config.account}
        defaults = [f"{key}={value}" for key, value in cluster.items() if value]
        if self._executor == "slurm":
            command += ["--slurm-jobname-prefix", self._name]
        command += ["--profile", str(profile), "--jobs", str(config.jobs)]
        return [*command, "--default-resources", "mem_mb=2000", "runtime=60", *defaults]

    def _environment(self) -> dict[str, str]:
        """Return the variables of the engine and of the tasks."""
        given = {
            "CEERS_PBS_NAME": self._name,
            "CEERS_PBS_JOBS": str(self._folder / "pbs"),
            # profiles call python
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        if self._config.partition:
            given["CEERS_PBS_QUEUE"] = self._config.partition
        if self._config.account:
            given["CEERS_PBS_ACCOUNT"] = self._config.account
        # a profile of the user's for other work must not take the place of ours
        inherited = {key: text for key, text in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
        return inherited | given


def cancel_leftovers(output: Path, *, tell: Callable[[str], object]) -> int:
    """Cancel the jobs that a cluster still has of a run whose driver was killed, and wait for them.

    Parameters
    ----------
    output
        Output folder of the survey.
    tell : callable
        Takes a line for people before a long wait.

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    CeersError
        When the cluster does not answer, or the jobs do not end.
    """
    path = _cluster_path(output)
    if not path.exists():
        return 0
    name, _, executor = path.read_text(encoding="utf-8").strip().partition(" ")
    folder = path.parent / "pbs"
    clusters = [
        (lambda: _slurm_jobs(name), "scancel", executor != "pbs" and shutil.which("squeue")),
        (lambda: pbs.active_jobs(folder), "qdel", folder.is_dir()),
    ]
    count = 0
    for list_jobs, cancel, used in clusters:
        jobs = list_jobs() if used else []
        count += len(jobs)
        if jobs:
            tell(f"{len(jobs)} jobs of a run that was stopped are being cancelled")
            subprocess.run([cancel, *jobs], check=False, capture_output=True)
        deadline = time.monotonic() + CANCEL_TIME
        while jobs and (jobs := list_jobs()):
            if time.monotonic() > deadline:
                raise CeersError(
                    f"{len(jobs)} jobs of a run that was stopped do not end: {' '.join(jobs[:5])}"
                    f"{' ...' if len(jobs) > 5 else ''}. Cancel them ({cancel}), and run again."
                )
            time.sleep(1)
    shutil.rmtree(folder, ignore_errors=True)
    path.unlink(missing_ok=True)
    return count


def _slurm_jobs(name: str) -> list[str]:
    """Return the jobs of a run that Slurm has not ended."""
    listed = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%i %j"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        raise CeersError(
            f"squeue failed ({listed.stderr.strip()}), so it is not known whether jobs of an "
            "earlier run go on. Run again when the cluster answers."
        )
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    return [line[0] for line in lines if len(line) == 2 and line[1].startswith(name)]


def _cluster_path(output: Path) -> Path:
    """Return the file that is there once tasks of a survey were jobs: their name, and of what."""
    return output / STATE / "engine" / "cluster"


def _memory_of(task: Task, attempt: int, limit: int) -> int:
    """Return the memory (MB) that an attempt is given: half as much again as the one before."""
    wanted = int(task.memory * 1.5 ** (attempt - 1))
    return min(wanted, limit) if limit else wanted


def _executor(config: SurveyConfig) -> str:
    """Return which executor of Snakemake runs the tasks."""
    if config.profile is None:
        return config.on
    import yaml

    path = config.profile / "config.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")).get("executor", "local")
    except (OSError, AttributeError, yaml.YAMLError) as err:
        raise CeersError(
            f"profile={config.profile}: its config.yaml cannot be read ({err}). Copy one of the "
            "shipped profiles (ceers_steps/survey/running/workflow/profiles) and change it."
        ) from err


def identities(folder: Path, stages: Iterable[str], ending: str = "") -> set[str]:
    """Return the tasks that have a file in a folder, ``<stage>/<key>``.

    Parameters
    ----------
    folder
        With a folder for each stage.
    stages
        Their names.
    ending
        What follows the key in the names of the files.

    Returns
    -------
    set of str
    """
    found = set()
    for stage in stages:
        with contextlib.suppress(OSError):
            found |= {
                f"{stage}/{entry.name.removesuffix(ending)}"
                for entry in os.scandir(folder / stage)
                if entry.name.endswith(ending)
            }
    return found


def log_tail(path: Path) -> str:
    """Return the last lines of a log, each cut to what can be read."""
    with contextlib.suppress(OSError):
        return "\n".join(line[:300] for line in path.read_text(errors="replace").splitlines()[-20:])
    return ""
