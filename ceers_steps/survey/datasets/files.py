"""Which raw exposures there are, of any instrument, below any folders: keywords by data set."""

import filecmp
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.disk import files_below
from ceers_steps.files.limits import why_no_file
from ceers_steps.names import effective_filter, exposure_name, is_exposure_name
from ceers_steps.survey.inspection.headers import FileHeaders, read_headers
from ceers_steps.survey.select.levels import PACKED, packed_note

__all__ = ["Choice", "DataSet", "find_data_sets", "same_file"]


@dataclass(frozen=True)
class Choice:
    """Which exposures are wanted; empty takes all.

    Attributes
    ----------
    instruments, filters, exposure_types : tuple of str
        INSTRUME, the filter that decides, EXP_TYPE.
    """

    instruments: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    exposure_types: tuple[str, ...] = ()

    def takes(self, data_set: "DataSet") -> bool:
        """Say whether a data set is wanted."""
        pairs = (
            (self.instruments, data_set.keyword("INSTRUME")),
            (self.filters, data_set.filter),
            (self.exposure_types, data_set.keyword("EXP_TYPE")),
        )
        return all(not wanted or value in wanted for wanted, value in pairs)


@dataclass(frozen=True)
class DataSet:
    """One exposure of one detector: what products of all levels are made of.

    Attributes
    ----------
    name : str
        ``jw01345002001_14201_00001_nrcb4``
    headers : FileHeaders
        Of its file.
    """

    name: str
    headers: FileHeaders = field(compare=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self.headers.path

    @property
    def filter(self) -> str:
        """The filter that decides: that in the pupil wheel if there is one."""
        return effective_filter(self.keyword("FILTER"), self.keyword("PUPIL"))

    def keyword(self, name: str) -> str:
        """Return a keyword as text; empty if it is missing."""
        value = self.headers.primary.get(name)
        return "" if value is None else str(value).strip()


def find_data_sets(
    inputs: Iterable[str | os.PathLike], suffix: str, choice: Choice | None = None
) -> tuple[list[DataSet], list[str]]:
    """Find the exposures of a level below folders.

    Parameters
    ----------
    inputs
        Files, or folders, which are searched with all folders in them (as MAST makes them).
    suffix
        Level: ``uncal``, ``rate`` or ``cal``.
    choice
        Which of them are wanted; None takes all.

    Returns
    -------
    data_sets : list of DataSet
        Sorted by name, each once.
    notes : list of str
        What was left out and why, a line for each kind.

    Raises
    ------
    CeersError
        When nothing is found, an input does not exist, or a data set is there in two files that
        differ.
    """
    paths, packed = _files(inputs, suffix)
    found: dict[str, DataSet] = {}
    notes = [f"left out: {note}" for note in [packed_note(packed, suffix)] if note]
    left = 0
    for path in paths:
        name = exposure_name(path)
        if not is_exposure_name(name):
            notes.append(f"{path}: left out, its name is that of no JWST exposure")
            continue
        try:
            data_set = DataSet(name, read_headers(path))
        except CeersError as err:
            notes.append(f"{err} Left out.")
            continue
        if choice is not None and not choice.takes(data_set):
            left += 1
            continue
        before = found.setdefault(name, data_set)
        if before is not data_set and not same_file(before.path, path):
            raise CeersError(
                f"{name} is in two files that differ: {before.path} and {path}. Move one away."
            )
    if left:
        notes.append(f"{left} exposures of another instrument, filter or type left out")
    if not found:
        raise CeersError(
            f"No *_{suffix}.fits that is wanted among {len(paths)} files"
            f"{' (' + notes[0] + ')' if notes else ''}. Give other folders, or choose less."
        )
    return [found[name] for name in sorted(found)], notes


def _files(inputs: Iterable[str | os.PathLike], suffix: str) -> tuple[list[Path], list[Path]]:
    """Return the files of a level, each once, and those that are packed."""
    found: dict[str, Path] = {}
    packed: list[Path] = []
    for entry in map(Path, inputs):
        if not entry.is_dir() and (problem := why_no_file(entry)):
            raise CeersError(f"{entry} {problem}. Give files, or folders of them.")
        paths = files_below(entry) if entry.is_dir() else [entry]
        for path in paths:
            if path != entry and f"_{suffix}.fits" not in path.name:
                continue
            if path.name.endswith(PACKED):
                packed.append(path)
            elif path == entry or path.suffix == ".fits":
                found.setdefault(os.path.realpath(path), path)
    return list(found.values()), packed


def same_file(first: Path, second: Path) -> bool:
    """Say whether two paths lead to the same bytes; only files of one size are read.

    Parameters
    ----------
    first, second
        Files that exist.
    """
    return os.path.samefile(first, second) or filecmp.cmp(first, second, shallow=False)
