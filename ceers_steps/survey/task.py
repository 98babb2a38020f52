"""One task in one process: ``python -m ceers_steps.survey.task PLAN ID [MARK]``.

What a task makes is written in a folder of its own and renamed into place; the record comes last.
However the process ends, there is either a record of complete products or none.
"""

import contextlib
import ctypes
import fcntl
import importlib
import json
import logging
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import uuid
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic
from ceers_steps.survey.plan import STATE, Plan, Task, read_plan, why_stale
from ceers_steps.survey.records import FileState, Record, file_state, read_record, write_record

__all__ = ["main", "run_task"]

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: a signal for this process when the one that started it dies."""


def main(argv=None):
    """Do one task unless it is valid.

    Parameters
    ----------
    argv : list of str, optional
        The file of the plan, the identity of the task, and a file to make when it is valid.

    Returns
    -------
    int
        0 when the products are in place, 1 when the task failed.
    """
    path, identity, *mark = sys.argv[1:] if argv is None else argv
    _end_with_parent()
    try:
        plan = read_plan(path)
        task = plan.tasks[identity]
    except KeyError:
        print(f"Plan {path} has no task {identity}. Make it again: ceers plan", file=sys.stderr)
        return 1
    except CeersError as err:
        print(err, file=sys.stderr)
        return 1
    with _lock(plan, task):
        if not why_stale(plan, [task]) and _records_of(plan, task.after) is not None:
            print(f"{task.id}: valid already")
            code = 0
        elif _is_final(plan.failure_path(task)):
            code = 1
        else:
            with _logging(plan.log_path(task)):
                code = _attempt(plan, task)
    if code == 0:
        for name in mark:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
    return code


def run_task(plan: Plan, task: Task, scratch: Path) -> Record:
    """Do the work of a task and put its products in place.

    Parameters
    ----------
    plan, task
        What to do.
    scratch
        Folder on the file system of the output, for this task alone; the working folder
        of the process should be there, since jwst leaves temporary files in it.

    Returns
    -------
    Record
        Of the products, which are in place; not written yet.

    Raises
    ------
    CeersError
        When a product is missing or cannot be put in place.
    """
    start = time.monotonic()
    before = _records_of(plan, task.after)
    if before is None:
        raise CeersError(f"{task.id} needs {', '.join(task.after)}, which are not done.")
    inputs = {name: file_state(name) for name in task.inputs}
    work = importlib.import_module(plan.work).WORK[task.stage]
    made = work(plan, task, scratch)
    outputs = {}
    for name in task.outputs:
        product, final = scratch / Path(name).name, plan.output / name
        if not product.is_file():
            raise CeersError(f"{task.id} did not make {Path(name).name}. Look into its log.")
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(product, final)
        outputs[name] = file_state(final)
    return Record(
        task=task.id,
        settings=task.settings,
        versions=plan.versions,
        inputs=inputs,
        references={str(path): reference_state(plan, path) for path in made.references},
        outputs=outputs,
        after={name: record.made for name, record in before.items()},
        made=uuid.uuid4().hex,
        seconds=round(time.monotonic() - start, 3),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        merit=made.merit,
    )


def reference_state(plan: Plan, path: os.PathLike) -> FileState:
    """Return what is to be remembered of a reference file; its contents are read once a survey."""
    path = Path(path)
    cache = plan.output / STATE / "references" / f"{path.name}.json"
    status = path.stat()
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = FileState(**json.loads(cache.read_text(encoding="utf-8")))
        if (known.size, known.mtime) == (status.st_size, status.st_mtime_ns):
            return known
    state = file_state(path)
    write_atomic(cache, lambda scratch: scratch.write_text(json.dumps(vars(state))))
    return state


def _attempt(plan, task):
    """Do a task; write its record, or why it failed."""
    failure = plan.failure_path(task)
    scratch = plan.output / STATE / "scratch" / task.id.replace("/", "-")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        os.chdir(scratch)
        record = run_task(plan, task, scratch)
        write_record(plan.record_path(task), record)
        failure.unlink(missing_ok=True)
        print(f"{task.id}: done in {record.seconds:.1f} s, {record.peak_memory / 1e6:.0f} MB")
        return 0
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as err:  # noqa: BLE001  one exposure must not stop the others
        traceback.print_exc()
        _write_failure(failure, plan, task, err)
        return 1
    finally:
        os.chdir(plan.output)
        shutil.rmtree(scratch, ignore_errors=True)


def _write_failure(path, plan, task, err):
    """Write why a task failed, for the summary; a full disk must not hide the first error."""
    text = str(err) or type(err).__name__
    if not isinstance(err, CeersError):
        text = f"{type(err).__name__}: {text}"
    tree = {
        "task": task.id,
        "step": _step_of(err),
        "message": " ".join(text.split()),
        "final": isinstance(err, CeersError),
        "log": str(plan.log_path(task)),
    }
    try:
        write_atomic(path, lambda scratch: scratch.write_text(json.dumps(tree)))
    except CeersError as problem:
        print(problem, file=sys.stderr)


def _is_final(path):
    """Say whether this task failed before, in this run, of what more memory does not mend."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(path.read_text(encoding="utf-8"))["final"]
    return False


def _step_of(err):
    """Return the name of the innermost jwst step in which an error was raised; '' if none."""
    names = []
    while err is not None:
        for frame, _ in traceback.walk_tb(err.__traceback__):
            step = frame.f_locals.get("self")
            name = getattr(step, "name", None)
            if isinstance(name, str) and hasattr(step, "class_alias"):
                names.append(name)
        err = err.__cause__ or err.__context__
    return names[-1] if names else ""


def _records_of(plan, identities):
    """Return the records of tasks by id; None when one is missing."""
    records = {name: read_record(plan.record_path(plan.tasks[name])) for name in identities}
    return None if None in records.values() else records


def _end_with_parent():
    """Let this process end when the engine that started it is killed (Linux)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)  # it died before the signal was asked for
    # an orderly end: what is being written is put away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@contextlib.contextmanager
def _lock(plan, task):
    """Hold the lock of a task: two processes never write the same products."""
    path = plan.output / STATE / "locks" / f"{task.id.replace('/', '-')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _logging(path):
    """Send everything that is printed and logged to the log of the task."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = os.dup(1), os.dup(2)
    sys.stdout.flush()
    sys.stderr.flush()
    root = logging.getLogger()
    with open(path, "w", buffering=1, encoding="utf-8") as log:
        # by descriptor too, for libraries that are not written in Python
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                yield
        finally:
            root.removeHandler(handler)
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)


if __name__ == "__main__":
    sys.exit(main())
