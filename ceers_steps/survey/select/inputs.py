"""The raw exposures that a survey names, and those that it leaves out."""

import difflib
import glob
import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from ceers_steps.errors import CeersError
from ceers_steps.files.membership import LeftOut
from ceers_steps.names import exposure_name, is_exposure_name
from ceers_steps.survey.config.checks import line_of
from ceers_steps.survey.config.layout import RAW
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.select.exposures import (
    Exposure,
    UnusableFiles,
    plan_exposures,
    read_exposures,
)
from ceers_steps.survey.select.levels import find_files

__all__ = ["FEW", "Selection", "find_exposures", "how_to_exclude", "table_exposures"]

FEW = 20
"""Exposures that are left out one by one; what more of them suffer from is to be fixed."""


@dataclass(frozen=True)
class Selection:
    """What a survey is made of.

    Attributes
    ----------
    exposures : list of Exposure
        In the order of their names.
    left_out : tuple of LeftOut
        Files of the right level that are not used, and why.
    notes : tuple of str
        What else people should know.
    """

    exposures: list[Exposure]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def find_exposures(config: SurveyConfig) -> Selection:
    """Find the raw exposures of a survey.

    Parameters
    ----------
    config
        The survey.

    Returns
    -------
    Selection
        Exposures, and what was left out.

    Raises
    ------
    CeersError
        When there is none, or a file cannot be used.
    """
    paths: list[Path] = []
    empty: dict[str, str] = {}
    for entry in config.inputs:
        if entry.exists() or not glob.has_magic(str(entry)):
            paths += _raw_files(entry, empty)
            continue
        found = [Path(name) for name in sorted(glob.glob(str(entry), recursive=True))]
        if not found:
            raise CeersError(f"inputs: no file is named like {entry}.")
        paths += found
    if not paths:
        _refuse_empty(config, empty)
    files, other_level = find_files(paths, "uncal")
    files, excluded = _leave_out(config, [path.absolute() for path in files], empty)
    _refuse_empty(config, empty)
    try:
        exposures, no_imaging = read_exposures(files)
    except UnusableFiles as err:
        if len(err.names) > FEW:
            raise
        raise CeersError(f"{err} Or leave out: {how_to_exclude(config, err.names)}.") from err
    return Selection(exposures, (*excluded, *no_imaging), (other_level,) if other_level else ())


def table_exposures(config: SurveyConfig, table: str | Path) -> Selection:
    """Take the exposures of a table, as raw files in the first input folder.

    Parameters
    ----------
    config
        The survey.
    table
        See `plan_exposures`.

    Returns
    -------
    Selection
        Exposures, and what was left out.

    Raises
    ------
    CeersError
        When the table cannot be used.
    """
    exposures = plan_exposures(table, config.inputs[0], "uncal")
    kept, excluded = _leave_out(config, [exposure.path for exposure in exposures])
    chosen = set(kept)
    return Selection([each for each in exposures if each.path in chosen], excluded)


def how_to_exclude(config: SurveyConfig, names: Iterable[str]) -> str:
    """Return what to write to leave exposures out, beside those that are left out already.

    Parameters
    ----------
    config
        The survey.
    names
        What is to be added to `exclude`.
    """
    entries = list(dict.fromkeys([*config.exclude, *names]))
    if config.path is None:
        return f"--exclude {shlex.join(entries)} (at the end of the command)"
    listed = json.dumps(entries, ensure_ascii=False)
    return f"exclude = {listed} (in {config.path}, above the first [table])"


def _raw_files(entry: Path, empty: dict[str, str]) -> list[Path]:
    """Return the raw files of data sets in a folder; the entry itself where there is none.

    Data sets without a raw file of their own are added to `empty`, with what is wrong.
    """
    folders = sorted(entry.iterdir()) if entry.is_dir() else []
    data_sets = [each for each in folders if each.is_dir() and is_exposure_name(each.name)]
    if not any((folder / RAW).is_dir() for folder in data_sets):
        return [entry]
    files = [each for each in folders if each.name.endswith("_uncal.fits")]
    for folder in data_sets:
        found = sorted((folder / RAW).glob("*_uncal.fits"))
        others = [path.name for path in found if exposure_name(path) != folder.name]
        lost = [path for path in found if not path.exists()]
        if lost:
            empty[folder.name] = f"{lost[0]} is a link to a file that is not there"
        elif others:
            empty[folder.name] = f"{others[0]} stands in its folder"
        elif not found:
            empty[folder.name] = f"no {folder.name}_uncal.fits in {folder / RAW}"
        files += [path for path in found if path not in lost]
    return files


def _refuse_empty(config: SurveyConfig, empty: Mapping[str, str]) -> None:
    """Raise `CeersError` for data sets that have no raw file of their own."""
    if empty:
        listed = "; ".join(f"{name}: {problem}" for name, problem in list(empty.items())[:3])
        more = "; ..." if len(empty) > 3 else ""
        raise CeersError(
            f"{len(empty)} data set(s) are not complete: {listed}{more}. "
            f"Put the raw files there (ceers sort), or leave out: {how_to_exclude(config, empty)}."
        )


def _leave_out(
    config: SurveyConfig, files: Sequence[Path], empty: dict[str, str] | None = None
) -> tuple[list[Path], tuple[LeftOut, ...]]:
    """Split what is excluded from files; return those that are left, and those that are not.

    What is excluded is taken out of `empty`, too.
    """
    empty = {} if empty is None else empty
    out: set[Path] = set()
    for entry in config.exclude:
        found = {path for path in files if _is_named(path, entry)}
        without = [name for name in empty if fnmatchcase(name, entry)]
        for name in without:
            del empty[name]
        if not found and not without:
            raise CeersError(f"{_place(config, entry)} {entry!r} names {_hint(entry, files)}.")
        out |= found
    kept = [path for path in files if path not in out]
    if out and not kept:
        raise CeersError(
            f"exclude = {list(config.exclude)} leaves none of the {len(files)} exposures. Take "
            "some of it out."
        )
    excluded = (LeftOut(path, exposure_name(path), "named in exclude") for path in sorted(out))
    return kept, tuple(excluded)


def _is_named(path: Path, entry: str) -> bool:
    """Say whether an entry of `exclude` is the exposure's name, its file, or a pattern of them."""
    if fnmatchcase(exposure_name(path), entry):
        return True
    return bool(PurePath(entry).name) and path.match(entry)


def _place(config: SurveyConfig, entry: str) -> str:
    """Say where an entry of `exclude` stands."""
    text = "" if config.path is None else config.path.read_text(encoding="utf-8-sig")
    if entry not in tomllib.loads(text).get("exclude", []):
        return "--exclude:"
    first = line_of(text, [], "exclude") or 1
    lines = enumerate(text.splitlines()[first - 1 :], start=first)
    number = next((number for number, line in lines if entry in line), first)
    return f"{config.path}, line {number}: exclude:"


def _hint(entry: str, files: Sequence[Path]) -> str:
    """Say how many exposures there are, and which of them was perhaps meant."""
    names = [path.name if entry.endswith(".fits") else exposure_name(path) for path in files]
    close = difflib.get_close_matches(PurePath(entry).name, names, n=1, cutoff=0.0)
    return f"none of the {len(files)} exposures; the nearest is {close[0]}"
