"""What was done: one record a task, by which it is known what is still valid.

A record is written after the last product of a task is in its place, so a product without a record
is never taken as done. It holds all that the products depend on: settings, the contents of the
input files, versions, reference files. What has changed since is found by comparing.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import has_types, read_note
from ceers_steps.survey.planning.checksums import checksum, has_checksum

__all__ = [
    "FileState",
    "Made",
    "Record",
    "changed_settings",
    "file_state",
    "read_record",
    "write_record",
]

DOUBTED = -1
"""In the place of the time of a file that was found damaged: its contents are always compared."""


@dataclass(frozen=True)
class FileState:
    """What is remembered of a file.

    Attributes
    ----------
    size : int
        Bytes.
    mtime : int
        Time of the last change, ns; `DOUBTED` once it was found damaged.
    digest : str
        Checksum of the contents; empty where it was not wanted, and in records of before there
        were any.
    """

    size: int
    mtime: int
    digest: str = ""

    def matches(self, path: str | os.PathLike) -> bool:
        """Say whether a file is still what it was.

        Size and time of change decide when both are the same, or the size is not; a file that was
        copied or touched is compared by its contents.
        """
        try:
            now = os.stat(path)
            if now.st_size != self.size:
                return False
            if now.st_mtime_ns == self.mtime:
                return True
            return bool(self.digest) and has_checksum(path, self.digest)
        except OSError:
            return False

    def problem(self, path: str | os.PathLike) -> str:
        """Say what is wrong with a file, all of which is read; empty if it is what it was.

        Without a checksum, size and time of change have to be the same.
        """
        try:
            now = os.stat(path)
            if now.st_size != self.size:
                cut = "is cut off: " if now.st_size < self.size else ""
                return f"{cut or 'has '}{now.st_size} bytes, not {self.size}"
            same = has_checksum(path, self.digest) if self.digest else now.st_mtime_ns == self.mtime
        except FileNotFoundError:
            return "is missing"
        except OSError as err:
            return f"cannot be read ({err.strerror or err})"
        return "" if same else "has other contents"


@dataclass(frozen=True)
class Made:
    """What is known of finished work beside its products.

    Attributes
    ----------
    references : set of Path
        Reference files that were used.
    metrics : dict
        Metrics, ``{exposure or mosaic: {step: {metric: value}}}``.
    """

    references: set[Path] = field(default_factory=set)
    metrics: dict[str, dict[str, dict]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What a finished task depended on and what it made.

    Attributes
    ----------
    task : str
        Identity of the task.
    settings : dict
        All values that the products depend on.
    versions : dict
        Packages and the CRDS context.
    inputs, references, outputs : dict of FileState
        By path; outputs relative to the output folder of the survey.
    after : dict of str
        Tasks whose products were read, with `made` of their records.
    made : str
        Identity of this run of the task: another when it is done again.
    seconds : float
        Wall time.
    peak_memory : int
        Bytes.
    metrics : dict
        Metrics, ``{exposure or mosaic: {step: {metric: value}}}``; empty in records of
        before there were any.
    """

    task: str
    settings: dict
    versions: dict[str, str]
    inputs: dict[str, FileState]
    references: dict[str, FileState]
    outputs: dict[str, FileState]
    after: dict[str, str]
    made: str
    seconds: float = 0.0
    peak_memory: int = 0
    metrics: dict = field(default_factory=dict)

    def why_stale(
        self,
        settings: Mapping,
        versions: Mapping[str, str],
        inputs: Iterable[str],
        outputs: Iterable[str],
        folder: Path,
    ) -> str | None:
        """Say why the task has to be done again; None when it has not.

        Parameters
        ----------
        settings, versions
            What they are now.
        inputs, outputs
            Paths of the files that the task reads and makes now.
        folder
            Output folder of the survey.
        """
        outputs = tuple(outputs)
        for name in outputs:
            if name not in self.outputs:
                return f"{name} is wanted too"
        for name in outputs:  # others are no longer wanted, and may be gone
            if not self.outputs[name].matches(folder / name):
                gone = "changed" if (folder / name).exists() else "missing"
                return f"{name} is {gone}"
        if difference := changed_settings(self.settings, settings):
            return difference
        for name in sorted({*self.versions, *versions}):
            before, now = self.versions.get(name, "none"), versions.get(name, "none")
            if before != now:
                return f"{name} {before} -> {now}"
        wanted = set(inputs)
        if added := wanted - set(self.inputs):
            return f"new input {min(added)}"
        if removed := set(self.inputs) - wanted:
            return f"{min(removed)} is no longer an input"
        for kind, files in (("input", self.inputs), ("reference file", self.references)):
            for name, state in files.items():
                if not state.matches(name):
                    return f"{kind} {name} changed"
        return None


def file_state(path: str | os.PathLike) -> FileState:
    """Return what is to be remembered of a file.

    Parameters
    ----------
    path
        File.
    """
    status = os.stat(path)
    return FileState(status.st_size, status.st_mtime_ns, checksum(path))


def changed_settings(before: Mapping, now: Mapping, prefix: str = "") -> str | None:
    """Name the first setting that differs, ``name: before -> now``; None if there is none."""
    for key in sorted({*before, *now}):
        name = f"{prefix}{key}"
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if difference := changed_settings(old, new, f"{name}."):
                return difference
        elif old != new:
            return f"{name}: {_short(old)} -> {_short(new)}"
    return None


def read_record(path: str | os.PathLike) -> Record | None:
    """Read a record; None when there is none or it cannot be used."""
    mappings = ("settings", "versions", "inputs", "references", "outputs", "after")
    tree = read_note(path, task=str, made=str, **dict.fromkeys(mappings, dict))
    try:
        for kind in ("inputs", "references", "outputs"):
            tree[kind] = {name: FileState(**state) for name, state in tree[kind].items()}
        record = Record(**tree)
    except (TypeError, KeyError):
        return None
    return record if _is_sound(record) else None


def _is_sound(record: Record) -> bool:
    """Say whether what is inside of a record has the types that it should have."""
    states = [*record.inputs.values(), *record.references.values(), *record.outputs.values()]
    texts = (*record.versions.values(), *record.after.values())
    return (
        all(has_types(vars(state), size=int, mtime=int, digest=str) for state in states)
        and all(isinstance(text, str) for text in texts)
        and has_types(vars(record), seconds=int | float, peak_memory=int, metrics=dict)
        and isfinite(record.seconds)
        and all(isinstance(steps, dict) for steps in record.metrics.values())
        and all(
            isinstance(values, dict) for each in record.metrics.values() for values in each.values()
        )
    )


def write_record(path: str | os.PathLike, record: Record) -> None:
    """Write a record, all or nothing."""
    text = json.dumps(asdict(record), indent=1, sort_keys=True)
    write_atomic(path, lambda scratch: scratch.write_text(text + "\n", encoding="utf-8"))


def _short(value: object) -> str:
    """Return a value as it stands in one line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
