"""Per-exposure values: the table that takes the place of by-eye lists in scripts."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.files.given.tables import read_csv_lines, read_text
from ceers_steps.files.limits import check_regular
from ceers_steps.names import exposure_name, is_exposure_name

__all__ = ["COLUMNS", "LIMITS", "read_overrides"]

COLUMNS = {
    "wisp_scale": float,
    "mask_threshold": float,
    "skip_wispsub": bool,
    "skip_remstriping": bool,
    "skip_snowball": bool,
    "exclude": bool,
    "note": str,
}
"""Columns a table may have beside ``exposure``, with their types.

``exclude`` leaves an exposure out of a survey; ``note`` is for people, and changes nothing.
"""

LARGEST = 1e8
"""Bytes of a table; a row for each of 10,000 exposures has 1e6."""

LIMITS = {"wisp_scale": (0.0, 100.0), "mask_threshold": (0.0, 1.0)}
"""Least and largest values: of the wisp scale any more is a mistake, templates are means of real
exposures; of the threshold by its meaning."""

_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}


def read_overrides(path: str | os.PathLike) -> dict[str, dict[str, float | bool | str]]:
    """Read a table of per-exposure values.

    Parameters
    ----------
    path
        ECSV or CSV file with a column ``exposure`` (a product name works too) and any of
        `COLUMNS`. An empty cell, a masked one or nan gives no value: the step's own
        parameter is used then.

    Returns
    -------
    dict
        ``{exposure: {column: value}}``, only with the values that are given.

    Raises
    ------
    CeersError
        For a file that cannot be read, a missing ``exposure`` column, an unknown column, a
        value of the wrong type or an exposure that stands in two rows.
    """
    path = Path(path)
    kind = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}.get(path.suffix.lower())
    if kind is None:
        raise CeersError(
            f"overrides={path}: {_describe_json(path)}the table must be a .ecsv or .csv file with "
            f"the column exposure and any of {', '.join(COLUMNS)}."
        )
    check_regular(path, f"overrides={path}", LARGEST)
    try:
        is_csv = kind == "ascii.csv"
        lines = read_csv_lines(path, f"overrides={path}") if is_csv else read_text(path).split("\n")
        table = Table.read(lines, format=kind)
    except CeersError:
        raise
    except Exception as err:
        raise CeersError(f"overrides={path}: not a readable table ({err}).") from err
    if "exposure" not in table.colnames:
        raise CeersError(f"overrides={path}: no column 'exposure'; found {_few(table.colnames)}.")
    unknown = [name for name in table.colnames if name != "exposure" and name not in COLUMNS]
    if unknown:
        raise CeersError(
            f"overrides={path}: unknown column(s) {_few(unknown)}. "
            f"Allowed: exposure, {', '.join(COLUMNS)}."
        )
    rows: dict[str, dict[str, float | bool | str]] = {}
    for number, row in enumerate(table, start=1):
        exposure = _exposure(row["exposure"])
        if not exposure:
            raise CeersError(
                f"overrides={path}: row {number}, column exposure: {str(row['exposure'])!r:.60} is "
                "no name. Give the name of one exposure, jw01345001001_02201_00001_nrca1 for "
                "instance; a pattern stands for none."
            )
        if exposure in rows:
            raise CeersError(f"overrides={path}: exposure {exposure} stands in two rows.")
        rows[exposure] = {
            column: value
            for column in table.colnames
            if column != "exposure"
            and (value := _cell(row[column], COLUMNS[column], path, column, number)) is not None
        }
    return rows


def _few(names: list[str]) -> str:
    """Return the first of many names."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _exposure(cell: object) -> str:
    """Return the exposure that a cell names; empty where it names none, or many."""
    text = "" if cell is np.ma.masked else str(cell).strip().strip("'\"\0")
    if not text or set(text) & set("*?["):
        return ""
    lower = exposure_name(text.lower())
    return lower if is_exposure_name(lower) else exposure_name(text)


def _describe_json(path: Path) -> str:
    """Say what a JSON file of values by exposure holds: what its numbers are, it does not say."""
    if path.suffix.lower() != ".json" or not os.path.isfile(path):
        return ""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        name, first = next(iter(values.items()))
    except (OSError, ValueError, AttributeError, StopIteration, RecursionError):
        return ""
    return (
        f"JSON does not say what its {len(values)} values are (the first, of "
        f"{exposure_name(name)}: {json.dumps(first)[:40]}). Write them into named columns: "
    )


def _cell(value: object, kind: type, path: Path, column: str, number: int) -> Any:
    """Return one cell as ``kind``, None when it is empty."""
    if value is np.ma.masked:
        return None
    text = str(value).strip()
    if text.lower() in {"", "nan", "none", "--"}:
        return None
    if kind is str:
        if "\n" in text:
            raise CeersError(
                f"overrides={path}: row {number}, column {column}: a line break in the text. Close "
                "its quote: the rows below would be part of it."
            )
        return text
    if kind is bool:
        # 1.0 and 0.0: a column of whole numbers with gaps is read as floats
        flag = text.lower().removesuffix(".0")
        if flag in _TRUE | _FALSE:
            return flag in _TRUE
    else:
        try:
            given: float = kind(text)
        except ValueError:
            pass
        else:
            low, high = LIMITS.get(column, (-np.inf, np.inf))
            if low <= given <= high:
                return given
            raise CeersError(
                f"overrides={path}: row {number}, column {column}: {text}, use {low:g} to {high:g}."
            )
    raise CeersError(
        f"overrides={path}: row {number}, column {column}: {text!r} is not a "
        f"{'true/false value' if kind is bool else 'number'}."
    )
