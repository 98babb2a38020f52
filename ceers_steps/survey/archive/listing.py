"""Lists of products, as archives export them: which exposures to fetch, without a query."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import why_no_file
from ceers_steps.names import whole_number
from ceers_steps.survey.archive.mast import EXPOSURE_NAME, Product, listed_filter

__all__ = ["LISTING_SUFFIXES", "is_listing", "read_listing"]

LISTING_SUFFIXES = (".csv", ".ecsv", ".parquet", ".vot", ".xml")

_FILE_COLUMNS = ("productfilename", "filename", "datauri", "uri")
"""Columns that name the file, in lower case; the first that is there counts."""

_NOT_PUBLIC = ("TRUE", "1", "EXCLUSIVE_ACCESS", "RESTRICTED")


def is_listing(text: str) -> bool:
    """Say whether this is the name of a list of products rather than a program.

    Parameters
    ----------
    text
        What the user gave.

    Returns
    -------
    bool
        True for a name with the ending of a table.
    """
    return Path(text).suffix.lower() in LISTING_SUFFIXES


def read_listing(
    path: str | os.PathLike,
    product: str = "uncal",
    *,
    observations: Sequence[int] = (),
    filters: Sequence[str] = (),
) -> tuple[list[Product], str]:
    """Read which exposures a list of the archive holds.

    Parameters
    ----------
    path
        Table of products (CSV, also with a byte-order mark and lines that start with ``#``; ECSV;
        Parquet; VOTable), with a column of file names or of ``mast:`` addresses.
    product
        Level that is wanted. An exposure that the list has at another level only is taken too: the
        archive gives all levels of an exposure the same name, with another ending.
    observations, filters
        Only these; empty for all.

    Returns
    -------
    products : list of Product
        One for each exposure, sorted by name.
    note : str
        What was left out; empty if nothing was.

    Raises
    ------
    CeersError
        When the file cannot be read, has no column of file names, or names no exposure of NIRCam.
    """
    path = Path(path)
    rows = _read_rows(path)
    wanted_filters = {filter_name.upper() for filter_name in filters}
    chosen: dict[str, Product] = {}
    others: Counter[str] = Counter()
    for row in rows:
        name = _file_name(row)
        match = EXPOSURE_NAME.match(name)
        if match is None:
            others[name.partition(".")[0].rpartition("_")[2] or "unnamed"] += 1
            continue
        filter_name = _filter(row)
        if observations and int(match["observation"]) not in observations:
            continue
        if wanted_filters and filter_name not in wanted_filters:
            continue
        listed = match["product"] == product
        found = Product(
            name=f"{match['exposure']}_{product}.fits",
            exposure=match["exposure"],
            uri=f"mast:JWST/product/{match['exposure']}_{product}.fits",
            size=_size(row) if listed else None,
            observation=int(match["observation"]),
            filter=filter_name,
            public=_is_public(row),
        )
        before = chosen.get(found.exposure)
        if before is None or (listed and before.size is None):
            chosen[found.exposure] = found
        elif not before.filter and filter_name:
            chosen[found.exposure] = replace(before, filter=filter_name)
    left = ", ".join(f"{count} *_{ending}" for ending, count in sorted(others.items()))
    if not chosen:
        asked = [f"observation {', '.join(map(str, observations))}"] if observations else []
        asked += [f"filter {', '.join(filters)}"] if filters else []
        raise CeersError(
            f"{path}: none of its {len(rows)} rows is an exposure of NIRCam"
            f"{' (' + '; '.join(asked) + ')' if asked else ''}"
            f"{'; there are ' + left if left else ''}. Give a list with names like "
            "jw01345001001_02201_00001_nrca1_uncal.fits, or the number of the program."
        )
    note = f"left out of {path.name}, being no exposures of NIRCam: {left}" if left else ""
    return [chosen[name] for name in sorted(chosen)], note


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows with column names in lower case."""
    if problem := why_no_file(path):
        raise CeersError(f"{path} {problem}. Give a list of products.")
    try:
        rows = _read_csv(path) if path.suffix.lower() == ".csv" else _read_table(path)
    except CeersError:
        raise
    except Exception as err:  # each format has errors of its own
        raise CeersError(
            f"{path} cannot be read as a list of products ({' '.join(str(err).split())}). Export "
            "it again as CSV."
        ) from err
    columns = list(rows[0]) if rows else []
    if not set(columns) & set(_FILE_COLUMNS):
        raise CeersError(
            f"{path}: no column of file names (productFilename, filename or dataURI); found "
            f"{', '.join(columns[:8]) or 'no rows'}{', ...' if len(columns) > 8 else ''}."
        )
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    """Read a CSV file; lines that start with # are remarks."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        lines = (row for row in csv.reader(stream) if row and not row[0].startswith("#"))
        header = [name.strip().lower() for name in next(lines, [])]
        return [dict(zip(header, row, strict=False)) for row in lines]


def _read_table(path: Path) -> list[dict[str, Any]]:
    """Read a table that astropy or pyarrow knows."""
    rows: Iterable[Mapping[str, Any]]
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        from astropy.table import Table

        kind = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "votable"
        table = Table.read(path, format=kind)
        rows = [dict(zip(table.colnames, row, strict=True)) for row in table.iterrows()]
    return [{str(name).lower(): value for name, value in row.items()} for row in rows]


def _file_name(row: Mapping[str, Any]) -> str:
    """Return the name of the file of a row; empty if there is none."""
    text = next((str(row[name]) for name in _FILE_COLUMNS if row.get(name)), "")
    return text.strip().rpartition("/")[2]


def _filter(row: Mapping[str, Any]) -> str:
    """Return the filter that decides: that in the pupil wheel if there is one."""
    text = f"{row.get('filters') or row.get('filter') or ''};{row.get('pupil') or ''}"
    return listed_filter(text.replace(" ", ""))


def _size(row: Mapping[str, Any]) -> int | None:
    """Return the size in bytes, None if the listing has none."""
    text = str(row.get("size") or row.get("filesize") or "").strip()
    return whole_number(text) or None


def _is_public(row: Mapping[str, Any]) -> bool:
    """Say whether everybody may read a file."""
    rights = str(row.get("datarights") or "PUBLIC").strip().upper()
    closed = str(row.get("isrestricted") or "").strip().upper()
    return rights not in _NOT_PUBLIC and closed not in _NOT_PUBLIC
