"""Whether products still are what their records say: read and compared with their checksums.

To plan, size and time of a file are enough. They do not change when a disk loses a bit, so a task
compares the contents of what it is about to read, and ``ceers verify`` those of all products.
"""

import json
import os
import shlex
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import read_note
from ceers_steps.survey.planning.plan import STATE, Plan, read_plan
from ceers_steps.survey.planning.records import (
    DOUBTED,
    FileState,
    Record,
    file_state,
    read_record,
    write_record,
)

__all__ = [
    "Damage",
    "Integrity",
    "check_products",
    "made_by",
    "remember_command",
    "verify_products",
]

FEW = 3
"""Files that a message names."""


@dataclass(frozen=True)
class Damage:
    """One file that is not what its record says.

    Attributes
    ----------
    name : str
        Path, that of a product relative to the output folder.
    task : str
        Identity of the task that made it, or read it.
    problem : str
        What is wrong with it.
    """

    name: str
    task: str
    problem: str


@dataclass(frozen=True)
class Integrity:
    """What came of looking at all products of a survey.

    Attributes
    ----------
    files, size : int
        How many files were compared, and their bytes.
    adopted : int
        Files whose record had no checksum and has one now.
    products, inputs : list of Damage
        What is not what its record says: products, and files that users gave.
    """

    files: int
    size: int
    adopted: int
    products: list[Damage]
    inputs: list[Damage]


def check_products(plan: Plan, records: Mapping[str, Record], seen: Path | None = None) -> None:
    """Refuse products that are not what their records say, before they are read.

    Parameters
    ----------
    plan
        The plan.
    records
        Records of the tasks whose products will be read, by id.
    seen
        Folder that remembers what was looked at in this run: many tiles read the same exposures.

    Raises
    ------
    CeersError
        Names the files. Their tasks are not valid from then on, so that the next run makes them
        again.
    """
    damaged = []
    for task, record in records.items():
        mark = seen / task if seen else None
        if mark and mark.exists():
            continue
        names = [name for name in plan.tasks[task].outputs if name in record.outputs]
        found = {name: record.outputs[name].problem(plan.output / name) for name in names}
        bad = {name: problem for name, problem in found.items() if problem}
        if bad:
            _settle(plan.output, plan.record_path(plan.tasks[task]), record, bad)
            damaged += [f"{plan.output / name} {problem}" for name, problem in bad.items()]
        elif mark:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    if damaged:
        raise CeersError(
            f"{'; '.join(damaged[:FEW])}{'; ...' if len(damaged) > FEW else ''}: not what was "
            "written there. Check that disk. The same command makes it again."
        )


def verify_products(
    output: Path,
    *,
    cores: int = 1,
    inputs: bool = False,
    write: bool = True,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Integrity:
    """Compare all products of a survey with the checksums in its records.

    Parameters
    ----------
    output
        Output folder of a survey; nobody else works in it (`hold_folder`).
    cores
        Files that are read at a time.
    inputs
        The raw exposures, templates and tables, that were read, too.
    write
        Give a checksum to records without, and have tasks whose products are damaged done again
        by the next run.
    progress : callable
        Called with bytes read so far and in all, from any thread.

    Returns
    -------
    Integrity

    Raises
    ------
    CeersError
        When there is no record.
    """
    folder = output / STATE / "done"
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in _records(folder)}
    if not paths:
        raise CeersError(
            f"{output} has no records of finished tasks. Give the output folder of ceers reduce."
        )
    records = {name: read_record(path) for name, path in paths.items()}
    known = {name: record for name, record in records.items() if record is not None}
    chosen = {name: _files(output, record, inputs) for name, record in known.items()}
    wanted = {pair for files in chosen.values() for pair in files.values()}
    problems = _compare(wanted, cores, progress)
    unwanted = _unwanted(output, known)
    products = [
        Damage(f"{STATE}/done/{name}.json", name, "cannot be read as a record")
        for name, record in records.items()
        if record is None
    ]
    given: dict[str, Damage] = {}
    adopted = 0
    for task, record in known.items():
        bad = {name: problems[pair] for name, pair in chosen[task].items() if problems[pair]}
        for name, problem in bad.items():
            if name not in record.outputs:
                given.setdefault(name, Damage(name, task, problem))
            elif (output / name).exists() or name not in unwanted:
                products.append(Damage(name, task, problem))
        if write:
            adopted += _settle(output, paths[task], record, bad)
    size = sum(state.size for _, state in wanted)
    return Integrity(len(wanted), size, adopted, products, list(given.values()))


def remember_command(output: Path, command: str) -> None:
    """Note by which command a survey is made, for those who have to make a part of it again."""
    text = json.dumps({"command": command, "folder": os.getcwd()})
    write_atomic(output / STATE / "command.json", lambda scratch: scratch.write_text(text + "\n"))


def made_by(output: Path) -> str:
    """Return the command by which a survey was made the last time; empty if it is not known."""
    tree = read_note(output / STATE / "command.json", folder=str, command=str)
    return f"cd {shlex.quote(tree['folder'])} && {tree['command']}" if tree else ""


def _records(folder: Path) -> list[Path]:
    """Return the files of all records."""
    found = folder.glob("*/*.json")
    return sorted(path for path in found if not path.parent.name.startswith("."))


def _files(output: Path, record: Record, inputs: bool) -> dict[str, tuple[Path, FileState]]:
    """Return path and state of the files of a record, by the names that it gives them."""
    files = {name: (output / name, state) for name, state in record.outputs.items()}
    if inputs:
        for each in (record.inputs, record.references):
            files |= {name: (Path(name), state) for name, state in each.items()}
    return files


def _compare(
    wanted: Collection[tuple[Path, FileState]], cores: int, progress: Callable[[int, int], object]
) -> dict[tuple[Path, FileState], str]:
    """Return what is wrong with each file, read by several threads: reading holds no lock."""
    total, done = sum(state.size for _, state in wanted), 0
    lock = threading.Lock()

    def compare(pair: tuple[Path, FileState]) -> str:
        nonlocal done
        path, state = pair
        problem = state.problem(path)
        with lock:
            done += state.size
            progress(done, total)
        return problem

    # the largest first: as the last one it would keep one thread alone at the end
    pairs = sorted(wanted, key=lambda pair: (-pair[1].size, str(pair[0])))
    with ThreadPoolExecutor(max(1, cores)) as pool:
        return dict(zip(pairs, pool.map(compare, pairs), strict=True))


def _unwanted(output: Path, records: Mapping[str, Record]) -> set[str]:
    """Return products that the last plan no longer has: they may be gone."""
    paths = [output / STATE / name for name in ("engine/plan.json", "commands.json")]
    written = [path for path in paths if path.is_file()]
    if not written:
        return set()
    try:
        plan = read_plan(max(written, key=lambda path: path.stat().st_mtime_ns))
    except CeersError:
        return set()
    wanted = {name for task in plan.tasks.values() for name in task.outputs}
    return {name for record in records.values() for name in record.outputs} - wanted


def _settle(output: Path, path: Path, record: Record, bad: Mapping[str, str]) -> int:
    """Note in a record what was found; return how many checksums it was given."""
    outputs, adopted = {}, 0
    for name, state in record.outputs.items():
        if bad.get(name):
            outputs[name] = replace(state, mtime=DOUBTED)
        elif not state.digest:
            outputs[name] = file_state(output / name)
            adopted += 1
        elif state.mtime == DOUBTED:  # a disk that reads well again
            outputs[name] = replace(state, mtime=os.stat(output / name).st_mtime_ns)
        else:
            outputs[name] = state
    if outputs != record.outputs:
        write_record(path, replace(record, outputs=outputs))
    return adopted
