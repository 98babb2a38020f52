"""What Snakemake's generic executor needs to talk to PBS: submit and ask.

``python -m ceers_steps.survey.running.pbs submit MEMORY MINUTES THREADS SCRIPT`` prints the id of
the job and nothing else; ``status ID`` prints success, running or failed. What was submitted is
kept in the folder that ``CEERS_PBS_JOBS`` names, so that jobs which outlive their run can be
cancelled.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["active_jobs", "main"]

PROPERTIES = "# properties = "
"""How the line of a job script of Snakemake begins that tells what the job makes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        Exit code.
    """
    command, *arguments = sys.argv[1:] if argv is None else argv
    known: dict[str, Callable[..., int]] = {"submit": _submit, "status": _status}
    return known[command](*arguments)


def active_jobs(folder: str | os.PathLike) -> list[str]:
    """Return the jobs that have not ended.

    Parameters
    ----------
    folder
        Where it is kept what was submitted; jobs that have ended are taken out.
    """
    active = []
    for path in sorted(Path(folder).iterdir()):
        if state_of(path.name, path) == "running":
            active.append(path.name)
        else:
            path.unlink(missing_ok=True)
    return active


def state_of(job: str, path: Path) -> str:
    """Say what became of a job.

    Parameters
    ----------
    job
        Its id.
    path
        Where it is kept what it makes: a job that PBS has forgotten, as it does without a history,
        is judged by that.

    Returns
    -------
    {'success', 'running', 'failed'}
    """
    try:
        result = subprocess.run(
            ["qstat", "-x", "-f", job], capture_output=True, text=True, check=False
        )
    except OSError:  # no answer says nothing of the job
        return "running"
    state = re.search(r"job_state = (\w)", result.stdout)
    code = re.search(r"exit_status = (-?\d+)", result.stdout, re.IGNORECASE)
    if state is not None:
        if state[1] not in {"F", "C", "X"}:
            return "running"
        return "success" if code is not None and int(code[1]) == 0 else "failed"
    if "unknown job" not in result.stderr.lower():
        return "running"
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "failed"
    if not (isinstance(made, list) and all(isinstance(name, str) for name in made)):
        return "failed"
    return "success" if made and all(map(os.path.exists, made)) else "failed"


def _submit(memory: str, minutes: str, threads: str, script: str) -> int:
    """Submit a job script; print its id."""
    hours, rest = divmod(int(float(minutes)), 60)
    resources = f"select=1:ncpus={threads}:mem={int(float(memory))}mb"
    command = ["qsub", "-l", resources, "-l", f"walltime={hours:02d}:{rest:02d}:00"]
    command += ["-N", os.environ.get("CEERS_PBS_NAME", "ceers"), "-V", "-r", "n", "-j", "oe"]
    command += ["-o", os.path.join(os.getcwd(), "pbs.log")]
    for option, variable in (("-q", "CEERS_PBS_QUEUE"), ("-A", "CEERS_PBS_ACCOUNT")):
        if os.environ.get(variable):
            command += [option, os.environ[variable]]
    result = subprocess.run([*command, script], capture_output=True, text=True, check=False)
    if result.returncode or not result.stdout.strip():
        print(f"qsub failed: {result.stderr.strip() or result.stdout.strip()}", file=sys.stderr)
        return 1
    job = result.stdout.strip().splitlines()[-1].strip()
    path = _kept(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_made_by(script)), encoding="utf-8")
    print(job)
    return 0


def _status(job: str) -> int:
    """Print what became of a job."""
    print(state_of(job, _kept(job)))
    return 0


def _kept(job: str) -> Path:
    """Return where it is kept what a job makes."""
    return Path(os.environ.get("CEERS_PBS_JOBS", "pbs")) / job


def _made_by(script: str) -> Any:
    """Return the files that a job script of Snakemake makes."""
    for line in Path(script).read_text(encoding="utf-8").splitlines():
        if line.startswith(PROPERTIES):
            return json.loads(line.removeprefix(PROPERTIES)).get("output", [])
    return []


if __name__ == "__main__":
    sys.exit(main())
