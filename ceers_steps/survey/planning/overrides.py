"""What a table of per-exposure values says of a survey: who is left out, and values of steps."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.membership import LeftOut
from ceers_steps.files.overrides import read_overrides
from ceers_steps.survey.select.exposures import Exposure

__all__ = ["apply_table", "unmatched_rows"]

FOR_STEPS_NOT = {"exclude", "note"}
"""Columns that no step reads: to change one does nothing again."""


def apply_table(
    table: Path | None, exposures: Sequence[Exposure], left_out: Sequence[LeftOut]
) -> tuple[list[Exposure], dict[str, dict], tuple[LeftOut, ...]]:
    """Leave out the exposures that a table excludes.

    Parameters
    ----------
    table
        Table of per-exposure values; None for none.
    exposures
        All exposures.
    left_out
        What is left out already.

    Returns
    -------
    tuple
        The exposures that stay, the values of steps by exposure, and all that is left out.

    Raises
    ------
    CeersError
        When the table cannot be read, or leaves nothing.
    """
    rows = read_overrides(table) if table else {}
    stay = [each for each in exposures if not rows.get(each.name, {}).get("exclude")]
    reason = f"column exclude of {table}"
    gone = [
        LeftOut(each.path, each.name, f"{reason}: {note}" if note else reason)
        for each in exposures
        if (row := rows.get(each.name, {})).get("exclude")
        for note in [row.get("note")]
    ]
    if gone and not stay:
        raise CeersError(
            f"overrides={table}: column exclude leaves no exposure. Set it to false for some."
        )
    values = {
        name: {key: value for key, value in row.items() if key not in FOR_STEPS_NOT}
        for name, row in rows.items()
    }
    return stay, values, (*left_out, *gone)


def unmatched_rows(table: Path, rows: Iterable[str], known: Collection[str]) -> list[str]:
    """Say which rows of a table are of no exposure of the survey.

    Parameters
    ----------
    table
        Table of values by exposure, or by visit and filter, for the message.
    rows
        Names of what it has values for.
    known
        Those of what the survey has.

    Returns
    -------
    list of str
        One line, or none.
    """
    unknown = [name for name in rows if name not in known]
    if not unknown:
        return []
    listed = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
    return [f"warning: {len(unknown)} row(s) of {table} match no exposure: {listed}"]
