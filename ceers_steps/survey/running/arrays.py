"""Job arrays of Slurm and PBS: a script for each stage, and one that submits them in order."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import Plan, Task
from ceers_steps.survey.running.launcher import write_commands, write_text

__all__ = ["SYSTEMS", "write_arrays"]

SYSTEMS = ("slurm", "pbs")

JOB_MEMORY = 500
"""Memory of what runs a task beside the task itself, MB."""

LONGER = 4
"""Time that is asked for over that which is estimated: nodes differ, and queues kill."""

SHORTEST = 10
"""Least time that is asked for, minutes."""

VISIT = 13
"""Characters of the name of an exposure that name its visit: jw01345001001."""

SLURM = """\
#!/bin/bash
#SBATCH --job-name=ceers_{stage}
#SBATCH --array=1-{count}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem={memory}M
#SBATCH --time={minutes}
#SBATCH --output={logs}/{stage}_%A_%a.log
element=${{SLURM_ARRAY_TASK_ID:-1}}
"""

PBS = """\
#!/bin/bash
#PBS -N ceers_{stage}
{array}#PBS -l select=1:ncpus=1:mem={memory}mb
#PBS -l walltime={walltime}
#PBS -j oe
#PBS -o {logs}/
#PBS -V
element=${{PBS_ARRAY_INDEX:-1}}
"""

BODY = """\
# lines of the file of commands that belong to each element: first and last
lines=({lines})
first=${{lines[$(( 2 * element - 2 ))]}}
last=${{lines[$(( 2 * element - 1 ))]}}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
status=0
# a task that is valid already is skipped; one that fails does not keep the others of its element
while read -r command; do
  bash -c "$command" < /dev/null || status=1
done < <(sed -n "${{first}},${{last}}p" {commands})
exit $status
"""

SUBMIT = {
    "slurm": 'job=$(sbatch --parsable ${{job:+--dependency=afterany:$job}} "$@" {script})\n',
    "pbs": 'job=$(qsub ${{job:+-W depend=afterany:$job}} "$@" {script})\n',
}
"""Submits a stage; the next one begins when all elements of this one have ended."""


def write_arrays(plan: Plan, system: str, per_job: int = 1) -> list[tuple[str, int]]:
    """Write job arrays, one a stage, and ``submit.sh``, which submits them with dependencies.

    Parameters
    ----------
    plan : Plan
        What there is to do.
    system : {"slurm", "pbs"}
        For which they are.
    per_job : int
        Tasks that an element of an array does one after the other, at most; those of exposures are
        of one visit.

    Returns
    -------
    list of (str, int)
        Path of each script and number of its elements, the last being ``submit.sh``.

    Raises
    ------
    CeersError
        For another system, a number below 1, or when the output folder cannot be written.
    """
    if system not in SYSTEMS:
        raise CeersError(f"--array {system}: there are {' and '.join(SYSTEMS)}.")
    if per_job < 1:
        raise CeersError(f"--per-job {per_job}: give 1 or more.")
    files = write_commands(plan)
    folder = plan.output / "commands"
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("[0-9]*_*.slurm"), *folder.glob("[0-9]*_*.pbs")):
        old.unlink()
    written, submit = [], "#!/bin/bash\n# further options of the system are handed on\nset -e\n"
    for (commands, _), (stage, tasks) in zip(files, plan.by_stage().items(), strict=True):
        elements = _elements(tasks, per_job)
        script = Path(commands).with_suffix(f".{system}")
        text = _header(system, stage, tasks, elements, logs)
        numbers = " ".join(f"{first} {last}" for first, last in elements)
        text += BODY.format(lines=numbers, commands=shlex.quote(commands))
        write_text(text, script)
        submit += SUBMIT[system].format(script=shlex.quote(str(script)))
        written.append((str(script), len(elements)))
    path = folder / "submit.sh"
    write_text(submit + "echo $job\n", path)
    path.chmod(0o755)
    return [*written, (str(path), 1)]


def _elements(tasks: Sequence[Task], per_job: int) -> list[tuple[int, int]]:
    """Return the first and last line of each element, from 1."""
    elements: list[tuple[int, int]] = []
    before = None
    for number, task in enumerate(tasks, start=1):
        visit = task.key[:VISIT] if task.stage == "exposure" else ""
        if elements and visit == before and number - elements[-1][0] < per_job:
            elements[-1] = elements[-1][0], number
        else:
            elements.append((number, number))
        before = visit
    return elements


def _header(
    system: str,
    stage: str,
    tasks: Sequence[Task],
    elements: Sequence[tuple[int, int]],
    logs: Path,
) -> str:
    """Return what a script asks of the system."""
    memory = max(task.memory for task in tasks) + JOB_MEMORY
    longest = max(sum(task.seconds for task in tasks[first - 1 : last]) for first, last in elements)
    minutes = max(SHORTEST, math.ceil(LONGER * longest / 60))
    count = len(elements)
    if system == "slurm":
        return SLURM.format(stage=stage, count=count, memory=memory, minutes=minutes, logs=logs)
    # PBS takes no array of one
    array = f"#PBS -J 1-{count}\n" if count > 1 else ""
    walltime = f"{minutes // 60:02d}:{minutes % 60:02d}:00"
    return PBS.format(stage=stage, array=array, memory=memory, walltime=walltime, logs=logs)
