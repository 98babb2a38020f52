"""What Snakemake's generic executor needs to talk to PBS: submit, ask, cancel.

``python -m ceers_steps.survey.pbs submit MEMORY MINUTES THREADS SCRIPT`` prints the id of the job
and nothing else; ``status ID`` prints success, running or failed; ``cancel ID ...`` cancels.
"""

import os
import re
import subprocess
import sys

__all__ = ["main"]


def main(argv=None):
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
    return {"submit": _submit, "status": _status, "cancel": _cancel}[command](*arguments)


def _submit(memory, minutes, threads, script):
    """Submit a job script; print its id."""
    hours, rest = divmod(int(float(minutes)), 60)
    resources = f"select=1:ncpus={threads}:mem={int(float(memory))}mb"
    command = ["qsub", "-l", resources, "-l", f"walltime={hours:02d}:{rest:02d}:00"]
    command += ["-N", "ceers", "-V", "-j", "oe", "-o", os.path.join(os.getcwd(), "pbs.log")]
    for option, variable in (("-q", "CEERS_PBS_QUEUE"), ("-A", "CEERS_PBS_ACCOUNT")):
        if os.environ.get(variable):
            command += [option, os.environ[variable]]
    result = subprocess.run([*command, script], capture_output=True, text=True, check=False)
    if result.returncode or not result.stdout.strip():
        print(f"qsub failed: {result.stderr.strip() or result.stdout.strip()}", file=sys.stderr)
        return 1
    print(result.stdout.strip().splitlines()[-1])
    return 0


def _status(job):
    """Print what became of a job; a job that PBS no longer knows is judged by its exit status."""
    result = subprocess.run(["qstat", "-x", "-f", job], capture_output=True, text=True, check=False)
    state = re.search(r"job_state = (\w)", result.stdout)
    code = re.search(r"exit_status = (-?\d+)", result.stdout, re.IGNORECASE)
    if state is None:
        # an unanswered question says nothing of the job; one about an unknown job does
        unknown = "unknown job" in result.stderr.lower()
        print("failed" if unknown else "running")
    elif state[1] in {"F", "C", "X"}:
        print("success" if code is not None and int(code[1]) == 0 else "failed")
    else:
        print("running")
    return 0


def _cancel(*jobs):
    """Cancel jobs."""
    return subprocess.run(["qdel", *jobs], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
