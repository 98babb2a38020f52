"""One task in one process: ``python -m ceers_steps.survey.running.task PLAN ID [MARK]``.

What a task makes is written in a folder of its own and renamed into place; the record comes last.
However the process ends, there is either a record of complete products or none. A task that fails
leaves the products that are there, and their record, as they are.
"""

import contextlib
import ctypes
import importlib
import json
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import user_path, write_atomic
from ceers_steps.files.json_files import read_note
from ceers_steps.names import TEMPLATE_VARIABLE
from ceers_steps.processes import end_with_parent
from ceers_steps.survey.planning.integrity import check_products
from ceers_steps.survey.planning.plan import STATE, Plan, Task, read_plan, why_stale
from ceers_steps.survey.planning.records import (
    FileState,
    Record,
    file_state,
    read_record,
    write_record,
)
from ceers_steps.survey.running.locks import hold_folder, hold_task
from ceers_steps.survey.running.now import telling

__all__ = ["main", "run_task", "running_path"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Of compiled libraries: one thread each, since tasks fill the cores already."""

FIGURES = "figures"
"""Folder of figures below the output folder."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's mallopt: memory that is free before some goes back; size of what is not shared."""

KEPT = 2**30
"""Bytes that both of these are set to: all planes of an exposure are smaller."""


class _Stopped(BaseException):
    """Asked to end; not SystemExit, which the crds library raises for a missing reference."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do one task unless it is valid.

    Parameters
    ----------
    argv : list of str, optional
        The file of the plan, the identity of the task, and, given by an engine, a file to make
        when it is valid.

    Returns
    -------
    int
        0 when the products are in place, 1 when the task failed, 143 when it was asked to end.
    """
    path, identity, *rest = sys.argv[1:] if argv is None else argv
    mark = os.path.abspath(rest[0]) if rest else ""
    if mark:
        end_with_parent()
        _reuse_memory()
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")  # tasks fill the cores; read when the work loads numpy
    try:
        # an orderly end: what is being written is put away
        signal.signal(signal.SIGTERM, _stop)
        plan = read_plan(path)
        if identity not in plan.tasks:
            raise CeersError(f"Plan {path} has no task {identity}. Make it again: ceers plan")
        task = plan.tasks[identity]
        # an engine works for a run that holds the folder; a command by itself shares it
        folder = contextlib.nullcontext() if mark else hold_folder(plan.output, shared=True)
        with folder, hold_task(plan, task):
            code = _settle(plan, task, mark)
        if code == 0 and mark:
            Path(mark).parent.mkdir(parents=True, exist_ok=True)
            Path(mark).touch()
    except (CeersError, OSError) as err:
        print(err, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, _Stopped):
        return 143
    return code


def running_path(plan: Plan, task: Task) -> Path:
    """Return the file that is there while a task runs; left behind when it is killed."""
    return plan.output / STATE / "running" / f"{task.id}.json"


def run_task(plan: Plan, task: Task, scratch: Path, seen: Path | None = None) -> Record:
    """Do the work of a task and put its products in place.

    Parameters
    ----------
    plan, task
        What to do.
    scratch
        Folder on the file system of the output, for this task alone; the working folder
        of the process should be there, since jwst leaves temporary files in it.
    seen
        Folder that remembers which products were compared with their checksums in this run.

    Returns
    -------
    Record
        Of the products, which are in place; not written yet.

    Raises
    ------
    CeersError
        When something that it needs is not done or is damaged, or a product is missing or cannot
        be put in place.
    """
    start = time.monotonic()
    before = {name: read_record(plan.record_path(plan.tasks[name])) for name in task.after}
    known = {name: record for name, record in before.items() if record is not None}
    _refuse_without(task, set(known))
    check_products(plan, known, seen)
    from ceers_steps.figures.looks import keep_looks  # numpy: not before there is work

    shared = task.arguments.get("earlier_exposures", ())  # several tasks read these
    inputs = {
        name: reference_state(plan, name) if name in shared else file_state(name)
        for name in task.inputs
    }
    work = importlib.import_module(plan.work).WORK[task.stage]
    try:
        with keep_looks(plan.output / STATE / "looks"):
            made = work(plan, task, scratch)
    except BaseException:
        _keep_figures(plan, scratch, "*_alignment.ecsv")  # says of each exposure why
        raise
    finally:
        _keep_figures(plan, scratch, "*.png")
    return Record(
        task=task.id,
        settings=task.settings,
        versions=plan.versions,
        inputs=inputs,
        references={str(path): reference_state(plan, path) for path in made.references},
        outputs=_put_in_place(plan, task, scratch),
        after={name: record.made for name, record in known.items()},
        made=uuid.uuid4().hex,
        seconds=round(time.monotonic() - start, 3),
        peak_memory=_peak_memory(),
        metrics=made.metrics,
    )


def _keep_figures(plan: Plan, scratch: Path, pattern: str) -> None:
    """Move figures that steps have drawn to their folder; they are no products."""
    for path in scratch.glob(pattern):
        with contextlib.suppress(OSError):
            target = plan.output / FIGURES / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def _refuse_without(task: Task, done: Collection[str]) -> None:
    """Raise `CeersError` if what a task needs is not among what is done."""
    missing = [name for name in task.after if name not in done]
    if missing:
        verb = "which is" if len(missing) == 1 else "which are"
        raise CeersError(f"{task.id} needs {', '.join(missing)}, {verb} not done.")


def _put_in_place(plan: Plan, task: Task, scratch: Path) -> dict[str, FileState]:
    """Give all products of a task their places, or none."""
    products = {name: scratch / Path(name).name for name in task.outputs}
    for product in products.values():
        if not product.is_file():
            raise CeersError(f"{task.id} did not make {product.name}. Look into its log.")
        _to_disk(product)
    for name in products:
        (plan.output / name).parent.mkdir(parents=True, exist_ok=True)
    # only now: what was there before is true until something else takes its place
    plan.record_path(task).unlink(missing_ok=True)
    for name, product in products.items():
        os.replace(product, plan.output / name)
    return {name: file_state(plan.output / name) for name in products}


def reference_state(plan: Plan, path: str | os.PathLike) -> FileState:
    """Return what is to be remembered of a file of many tasks; its contents are read once."""
    path = Path(path)
    cache = plan.output / STATE / "references" / f"{path.name}.json"
    status = path.stat()
    kept = read_note(cache, size=int, mtime=int, digest=str)
    if (kept.get("size"), kept.get("mtime")) == (status.st_size, status.st_mtime_ns):
        return FileState(kept["size"], kept["mtime"], kept["digest"])
    state = file_state(path)
    write_atomic(cache, lambda scratch: scratch.write_text(json.dumps(vars(state))))
    return state


def _to_disk(path: Path) -> None:
    """Have a file on the disk before its name is: the power may fail."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _peak_memory() -> int:
    """Return the most memory that this process has had, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _settle(plan: Plan, task: Task, mark: str) -> int:
    """Do a task unless it is valid, or failed in this run of what a second try does not fix."""
    # an engine starts a task when all that it needs is valid: not to be looked at for every task
    needed = [] if mark else plan.needed(task)
    if not why_stale(plan, [*needed, task]).get(task.id) and _are_there(plan, task.after):
        print(f"{task.id}: valid already")
        plan.failure_path(task).unlink(missing_ok=True)
        return 0
    if mark and read_note(plan.failure_path(task)).get("final") == mark:
        return 1
    scratch = plan.output / STATE / "scratch" / task.id.replace("/", "-")
    running = running_path(plan, task)
    before = read_note(running, attempt=int)
    attempt = before["attempt"] + 1 if mark and before.get("mark") == mark else 1
    tree = {"mark": mark, "attempt": attempt, "host": socket.gethostname(), "pid": os.getpid()}
    try:
        write_atomic(running, lambda path: path.write_text(json.dumps(tree)))
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _make_environment_absolute()
        os.chdir(scratch)
        with _logging(plan.log_path(task)), telling(plan, task):
            # beside the marks of a run, which go with it
            _do(plan, task, scratch, Path(mark).parents[1] / "seen" if mark else None)
        plan.failure_path(task).unlink(missing_ok=True)
    except (KeyboardInterrupt, _Stopped):
        raise
    except BaseException as err:  # noqa: BLE001  one exposure must not stop the others
        shutil.rmtree(scratch, ignore_errors=True)  # room on a disk that is full
        _write_failure(plan, task, err, mark)
        return 1
    finally:
        os.chdir(plan.output)
        shutil.rmtree(scratch, ignore_errors=True)
        running.unlink(missing_ok=True)
    return 0


def _do(plan: Plan, task: Task, scratch: Path, seen: Path | None) -> None:
    """Do a task and write its record."""
    try:
        if seen is None:  # an engine starts a task when all that it needs is valid
            _refuse_without(task, plan.tasks.keys() - why_stale(plan, plan.needed(task)).keys())
        record = run_task(plan, task, scratch, seen)
        write_record(plan.record_path(task), record)
        print(f"{task.id}: done in {record.seconds:.1f} s, {record.peak_memory / 1e6:.0f} MB")
    except BaseException:
        traceback.print_exc()  # into the log
        raise


def _make_environment_absolute() -> None:
    """Keep folders that variables name relative to here, before the work goes elsewhere."""
    for name in (TEMPLATE_VARIABLE, "CRDS_PATH"):
        folders = [folder for folder in os.environ.get(name, "").split(os.pathsep) if folder]
        if folders:
            os.environ[name] = os.pathsep.join(str(user_path(each).absolute()) for each in folders)


def _write_failure(plan: Plan, task: Task, err: BaseException, mark: str) -> None:
    """Write why a task failed, for the summary; a full disk must not hide the first error."""
    text = str(err) or type(err).__name__
    if not isinstance(err, CeersError):
        text = f"{type(err).__name__}: {text}"
    message = " ".join(text.split())
    tree = {
        "task": task.id,
        "step": _step_of(err) or plan.titles[task.stage],
        "message": message,
        # for the run that this mark is of; nothing is final for another
        "final": mark if isinstance(err, CeersError) else "",
        "log": str(plan.log_path(task)),
    }
    print(f"{task.id}: {message}", file=sys.stderr)
    try:
        write_atomic(plan.failure_path(task), lambda scratch: scratch.write_text(json.dumps(tree)))
    except CeersError as problem:
        print(problem, file=sys.stderr)


def _stop(number: int, frame: FrameType | None) -> None:
    """End in order."""
    raise _Stopped


def _step_of(err: BaseException | None) -> str:
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


def _are_there(plan: Plan, identities: Iterable[str]) -> bool:
    """Say whether there are records of all these tasks."""
    records = (read_record(plan.record_path(plan.tasks[name])) for name in identities)
    return all(record is not None for record in records)


def _reuse_memory() -> None:
    """Let arrays take the memory that others have left (Linux).

    Large ones have memory of their own otherwise, which the system clears anew for each: a tenth
    of the time of a task.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # of glibc
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
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
