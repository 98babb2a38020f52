"""Results of the alignment: one row per exposure and fit."""

from typing import Any

import numpy as np
from astropy.table import Table

__all__ = ["RESULT_COLUMNS", "make_results_table"]

RESULT_COLUMNS = {
    "exposure": ("str", None, "exposure"),
    "detector": ("str", None, "detector"),
    "filter": ("str", None, "filter, that in the pupil wheel if there is one"),
    "visit": ("str", None, "visit"),
    "alignment": ("str", None, "relative: to the other exposures; absolute: to the reference"),
    "status": ("str", None, "COMPLETE, BORROWED (pointing of another exposure), SKIPPED or FAILED"),
    "reference": ("str", None, "absolute: what it was aligned to"),
    "geometry": ("str", None, "what was fitted"),
    "n_sources": ("int", None, "sources that took part in the search for matches"),
    "n_matched": ("int", None, "matches in the fit, without the clipped ones"),
    "rmse": ("float", "mas", "root mean square length of the residuals"),
    "mae": ("float", "mas", "mean length of the residuals"),
    "shift_error": ("float", "mas", "uncertainty of either coordinate of the shift, from the fit"),
    "xshift": ("float", "mas", "shift at the reference point, about along V2 (right-handed plane)"),
    "yshift": ("float", "mas", "shift at the reference point, about along V3"),
    "rotation": ("float", "arcsec", "rotation from x to y"),
    "scale": ("float", None, "scale"),
    "note": ("str", None, "why it failed, or whose pointing was borrowed"),
}
"""Columns of the results: type, unit, meaning."""


def make_results_table(rows: list[dict[str, Any]], meta: dict[str, Any]) -> Table:
    """Return the results as a table with units and meanings.

    Parameters
    ----------
    rows
        Values by column of `RESULT_COLUMNS`; what is missing is empty (nan, 0 or "").
    meta
        Goes to the header.

    Returns
    -------
    Table
        One row for each of the given ones.
    """
    empty: dict[str, Any] = {"str": "", "int": 0, "float": np.nan}
    table = Table(meta=meta)
    for name, (kind, unit, meaning) in RESULT_COLUMNS.items():
        values = [row.get(name, empty[kind]) for row in rows]
        table[name] = np.array(values, dtype={"str": str, "int": int, "float": float}[kind])
        table[name].description = meaning
        if unit:
            table[name].unit = unit
        if kind == "float":
            table[name].format = ".7f" if name == "scale" else ".3f"
    return table
