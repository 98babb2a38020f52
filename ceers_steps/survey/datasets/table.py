"""The table of exposures: who took what, where, when, for how long, and what belongs together."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from ceers_steps.files.atomic import write_atomic
from ceers_steps.survey.datasets.files import DataSet

__all__ = ["COLUMNS", "exposure_table", "write_table"]

COLUMNS = {
    "dataset": ("", "name of the exposure and detector"),
    "program": ("", "number of the program"),
    "observation": ("", "number of the observation"),
    "visit": ("", "number of the visit"),
    "instrument": ("", "INSTRUME"),
    "filter": ("", "FILTER"),
    "pupil": ("", "PUPIL"),
    "detector": ("", "DETECTOR"),
    "exposure_type": ("", "EXP_TYPE"),
    "target": ("", "TARGPROP, name of the target in the proposal"),
    "ra": ("deg", "RA_REF, of the reference point of the aperture"),
    "dec": ("deg", "DEC_REF"),
    "date": ("", "DATE-OBS and TIME-OBS, start of the exposure, UTC"),
    "exposure_time": ("s", "EFFEXPTM, effective exposure time"),
    "footprint": ("", "S_REGION, corners on the sky"),
    "group": ("", "exposures with the same program, observation, visit and filter"),
    "file": ("", "path of the file"),
}
"""Unit and meaning of each column."""


def exposure_table(data_sets: Sequence[DataSet]) -> Table:
    """Return the table of exposures.

    Parameters
    ----------
    data_sets
        The exposures.

    Returns
    -------
    `~astropy.table.Table`
        A row for each, with the columns of `COLUMNS`. Numbers that are missing are nan.
    """
    rows = [_row(data_set) for data_set in data_sets]
    table = Table(rows=rows, names=list(COLUMNS))
    for name, (unit, meaning) in COLUMNS.items():
        table[name].description = meaning
        if unit:
            table[name].unit = unit
    return table


def _row(data_set: DataSet) -> Iterable[Any]:
    """Return the values of an exposure in the order of the columns."""
    keyword, name = data_set.keyword, data_set.name
    program, observation, visit = name[2:7], name[7:10], name[10:13]
    date = f"{keyword('DATE-OBS')}T{keyword('TIME-OBS')}".strip("T")
    return (
        name,
        program,
        observation,
        visit,
        keyword("INSTRUME"),
        keyword("FILTER"),
        keyword("PUPIL"),
        keyword("DETECTOR"),
        keyword("EXP_TYPE"),
        keyword("TARGPROP"),
        _number(keyword("RA_REF")),
        _number(keyword("DEC_REF")),
        date,
        _number(keyword("EFFEXPTM")),
        keyword("S_REGION"),
        f"jw{program}_obs{observation}_visit{visit}_{keyword('INSTRUME')}_{data_set.filter}",
        str(data_set.path),
    )


def _number(text: str) -> float:
    """Return a number; nan if there is none."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def write_table(table: Table, base: Path) -> None:
    """Write a table as ``<base>.ecsv`` and ``<base>.csv``, replacing what is there.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.
    base : Path
        Path without extension.
    """
    for ending, kind in ((".ecsv", "ascii.ecsv"), (".csv", "ascii.csv")):
        write_atomic(
            base.with_name(base.name + ending), partial(table.write, format=kind, overwrite=True)
        )
