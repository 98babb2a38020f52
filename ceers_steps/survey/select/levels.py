"""Which files are of a level: raw, calibrated, mosaics; read off their names alone."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import why_no_file

__all__ = ["PACKED", "find_files", "packed_note"]

KINDS = 5
"""Other kinds of files that a message names; a folder may hold thousands."""

PACKED = ".fits.gz"
"""Ending of files that must be unpacked first."""


def find_files(inputs: Iterable[str | os.PathLike], suffix: str) -> tuple[list[Path], str]:
    """Select the files of one level.

    Parameters
    ----------
    inputs
        Files, or folders of which all ``*_<suffix>.fits`` are taken.
    suffix
        What stands after the last underscore of the names: ``cal``.

    Returns
    -------
    files : list of Path
        Each once, in the order of their names.
    note : str
        What was left out, for people; empty if nothing was.

    Raises
    ------
    CeersError
        For an input that does not exist, or when no file is of that level.
    """
    found: dict[str, Path] = {}
    others: Counter[str] = Counter()
    packed: list[Path] = []
    for entry in map(Path, inputs):
        if entry.is_dir():
            files = [file for file in entry.iterdir() if file.name.endswith((".fits", PACKED))]
        elif problem := why_no_file(entry):
            raise CeersError(f"{entry} {problem}. Give FITS files or a folder with them.")
        else:
            files = [entry]
        for file in files:
            ending = file.name.partition(".")[0].rpartition("_")[2]
            if ending != suffix:
                others[ending] += 1
            elif file.name.endswith(PACKED):
                packed.append(file)
            else:
                found.setdefault(os.path.realpath(file), file)
    kinds = _list_kinds(others)
    unpack = packed_note(packed, suffix)
    if not found:
        remedy = "ceers associate takes other files with --suffix"
        if suffix == "uncal":
            remedy = "ceers download PROGRAM --product uncal fetches them"
        listed = ", ".join(filter(None, (unpack, kinds))) or "no FITS file at all"
        raise CeersError(
            f"No *_{suffix}.fits among the input ({listed}). "
            f"Give *_{suffix}.fits, or folders that hold them themselves; {remedy}."
        )
    listed = ", ".join(filter(None, (kinds, unpack)))
    note = f"left out, being no *_{suffix}.fits: {listed}" if listed else ""
    return sorted(found.values(), key=lambda file: (file.name, str(file))), note


def packed_note(packed: Sequence[Path], suffix: str) -> str:
    """Say that files are packed.

    Parameters
    ----------
    packed
        The files.
    suffix
        Their level.

    Returns
    -------
    str
        For people; empty if there is none.
    """
    return f"{len(packed)} *_{suffix}{PACKED}, which must be unpacked (gunzip)" if packed else ""


def _list_kinds(others: Counter[str]) -> str:
    """Return the kinds of files with their counts, those with the most of many."""
    shown = sorted(others.items())
    if len(shown) > KINDS:
        shown = others.most_common(KINDS)
    listed = [f"{count} *_{name}" for name, count in shown]
    rest = others.total() - sum(count for _, count in shown)
    if rest:
        listed.append(f"{rest} of {len(others) - len(shown)} other kinds")
    return ", ".join(listed)
