"""What was done to an exposure or a mosaic, in its header: statuses, HISTORY, the table HDRTAB.

jwst blends only keywords that it knows into the header of a mosaic: what our steps have done to
the exposures is gathered here.
"""

import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from asdf.tags.core import HistoryEntry
from asdf.util import load_yaml
from astropy.io import fits

__all__ = [
    "ExposureRecord",
    "add_history",
    "drop_checksums",
    "keep_table",
    "read_meta",
    "record_of",
    "set_card",
    "status_keyword",
    "write_records",
]

_CARD = 72
"""Characters of HISTORY in one card; a longer line goes on in the next."""

CHECKSUMS = ("CHECKSUM", "DATASUM")
"""Keywords of the sums of an extension."""

MIXED = "PARTIAL"
"""Status of a step that was done to some exposures of a mosaic, and not to others."""


@dataclass(frozen=True)
class ExposureRecord:
    """What was done to an exposure.

    Attributes
    ----------
    steps : dict
        Entries of ``meta.ceers_steps`` by the alias of the step, in the order of the work.
    history : tuple of str
        Lines of HISTORY that are not those of our steps.
    """

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: tuple[str, ...] = ()


def read_meta(path: str | os.PathLike) -> dict[str, Any]:
    """Return ``meta`` of a product, from the text of its ASDF tree.

    A data model would take a second to make its WCS.

    Parameters
    ----------
    path
        FITS file.

    Returns
    -------
    dict
        Empty for a file that no data model has written.

    Raises
    ------
    OSError, ValueError, TypeError
        When it cannot be read.
    """
    with fits.open(path) as hdus:
        tree = load_yaml(io.BytesIO(hdus["ASDF"].data.tobytes())) if "ASDF" in hdus else {}
    meta = tree.get("meta") if isinstance(tree, Mapping) else None
    return dict(meta) if isinstance(meta, Mapping) else {}


def status_keyword(alias: str) -> str:
    """Return the FITS keyword of the status of a step of ours, of at most eight characters.

    Parameters
    ----------
    alias
        Of the step.

    Returns
    -------
    str
        Keyword.
    """
    return "S_" + alias.removeprefix("ceers_").replace("_", "").upper()[:6]


def set_card(model: Any, keyword: str, value: Any, comment: str) -> None:
    """Write a keyword that jwst does not know into the primary header of a model.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Changed in place.
    keyword, value, comment
        Of the card.
    """
    primary = model.instance.setdefault("extra_fits", {}).setdefault("PRIMARY", {})
    others = [card for card in primary.get("header", []) if card[0] != keyword]
    primary["header"] = [*others, [keyword, value, comment]]


def add_history(model: Any, text: str) -> None:
    """Add a HISTORY line.

    ``model.add_history_entry`` of stdatamodels 6.0 writes into a tree that is no longer the
    model's once the model has been saved; the line would be lost. FITS takes printable ASCII only:
    other characters, of paths, are written as escapes.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Changed in place.
    text
        The line.
    """
    text = text.encode("unicode_escape").decode("ascii")
    history = model.instance.setdefault("history", {})
    entries = history if isinstance(history, list) else history.setdefault("entries", [])
    entries.append(HistoryEntry({"description": text, "time": datetime.now(UTC)}))


def keep_table(model: Any) -> None:
    """See to it that the table of exposures of a mosaic is written with it.

    jwst describes HDRTAB in the schema of the one model that it makes: read again, a mosaic still
    has the table, and is saved without it.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Its schema is changed; nothing happens to one that is no mosaic.
    """
    table = model.instance.get("hdrtab")
    if table is None or "hdrtab" in model.schema.get("properties", {}):
        return
    # once more, where its header has cards that jwst does not know
    model.instance.get("extra_fits", {}).get("HDRTAB", {}).pop("data", None)
    types = np.asarray(table).dtype
    columns = [{"name": name, "datatype": _asdf_type(types[name])} for name in types.names or ()]
    entry = {"title": "Combined header table", "fits_hdu": "HDRTAB", "datatype": columns}
    model.add_schema_entry("hdrtab", entry)


def drop_checksums(model: Any) -> None:
    """Leave out the checksums of the file that a model was read from: its data are others now.

    jwst keeps all cards that it does not know, and programs that check sums would take each
    product for a damaged file.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Changed in place.
    """
    for part in model.instance.get("extra_fits", {}).values():
        if "header" in part:
            part["header"] = [card for card in part["header"] if card[0] not in CHECKSUMS]


def _asdf_type(dtype: np.dtype) -> Any:
    """Return a type of a column as ASDF calls it."""
    if dtype.kind in "SU":
        return ["ascii", dtype.itemsize // np.dtype(f"{dtype.kind}1").itemsize]
    return "bool8" if dtype.kind == "b" else dtype.newbyteorder("=").name


def record_of(model: Any) -> ExposureRecord:
    """Return what was done to an exposure.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure.

    Returns
    -------
    ExposureRecord
    """
    steps = model.meta.instance.get("ceers_steps", {})
    history = model.instance.get("history", [])
    entries = history if isinstance(history, list) else history.get("entries", [])
    lines: list[str] = []
    whole = True
    for entry in entries:
        text = str(entry["description"] if isinstance(entry, Mapping) else entry)
        if whole or not lines:
            lines.append(text)
        else:
            lines[-1] += text
        whole = len(text) != _CARD  # read from FITS, a line is in pieces
    ours = ("ceers_steps ",)
    return ExposureRecord(
        {alias: dict(entry) for alias, entry in steps.items()},
        tuple(line for line in lines if not line.startswith(ours)),
    )


def write_records(model: Any, records: Sequence[ExposureRecord]) -> None:
    """Write into a mosaic what was done to its exposures: statuses and HISTORY, a line per step.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The mosaic, changed in place.
    records
        Of its exposures.
    """
    if not records:
        return
    shared = [line for line in records[0].history if all(line in each.history for each in records)]
    for line in dict.fromkeys(shared):
        add_history(model, line)
    for alias in dict.fromkeys(alias for each in records for alias in each.steps):
        entries = [each.steps[alias] for each in records if alias in each.steps]
        counts = Counter(str(entry.get("status")) for entry in entries)
        counts["not run"] += len(records) - len(entries)
        found = {status: count for status, count in counts.items() if count}
        status = MIXED if len(found) > 1 else next(iter(found))
        model.meta.cal_step.instance[alias] = status
        set_card(model, status_keyword(alias), status, f"{alias} of ceers_steps")
        add_history(model, _line(alias, entries, found, len(records)))


def _line(
    alias: str, entries: Sequence[Mapping[str, Any]], found: Mapping[str, int], total: int
) -> str:
    """Return what a step has done to the exposures of a mosaic, in one line."""
    versions = " and ".join(sorted({str(entry.get("version")) for entry in entries}))
    statuses = ", ".join(f"{status} in {count}" for status, count in found.items())
    parts = [f"ceers_steps {versions} {alias} {statuses} of {total} exposures"]
    done = [entry for entry in entries if entry.get("status") == "COMPLETE"]
    left = [entry for entry in entries if entry.get("status") != "COMPLETE"]
    reasons = list(dict.fromkeys(str(entry["note"]) for entry in left if entry.get("note")))
    parts += [*reasons[:3], *(["..."] if len(reasons) > 3 else [])]
    used = [dict(entry.get("parameters") or {}) for entry in done]
    parts.append(
        ", ".join(
            f"{key}={value}"
            for key, value in (used[0] if used else {}).items()
            if all(each.get(key) == value for each in used)
        )
    )
    measured = [dict(entry.get("metrics") or {}) for entry in done]
    names = dict.fromkeys(name for each in measured for name in each)
    parts.append(", ".join(filter(None, (_range(name, measured) for name in names))))
    return "; ".join(part for part in parts if part)


def _range(name: str, measured: Sequence[Mapping[str, Any]]) -> str:
    """Return the range of a number over exposures; empty for what is no number."""
    values = [each[name] for each in measured if name in each]
    if not all(isinstance(value, (int, float)) for value in values) or name == "version":
        return ""
    low, high = min(values), max(values)
    text = f"{low:.5g}" if low == high else f"{low:.5g} to {high:.5g}"
    return f"{name}={text}"
