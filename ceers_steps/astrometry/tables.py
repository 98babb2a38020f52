"""Parameters of the alignment: settings of a visit and filter, and tables of them."""

import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ceers_steps.astrometry.parameters import PARAMETERS, check_value
from ceers_steps.errors import CeersError
from ceers_steps.files.given.tables import read_table
from ceers_steps.kernels.astrometry.centroids import CatalogSettings
from ceers_steps.kernels.astrometry.fit import FitSettings
from ceers_steps.kernels.astrometry.matching import MatchSettings

__all__ = ["AlignmentSettings", "AlignmentTable", "read_alignment_table"]


def _default(name: str) -> Any:
    """Return the declared default of a parameter."""
    return PARAMETERS[name].default


@dataclass(frozen=True)
class AlignmentSettings:
    """Parameters that can differ from visit to visit; names and units are those of AlignStep.

    Their defaults, units and limits stand in `PARAMETERS`; a value beyond them is a `CeersError`.
    """

    detect_thresh: float = _default("detect_thresh")
    detect_minarea: int = _default("detect_minarea")
    deblend_levels: int = _default("deblend_levels")
    kernel_fwhm: float = _default("kernel_fwhm")
    snr_threshold: float = _default("snr_threshold")
    bkg_boxsize: int = _default("bkg_boxsize")
    minobj: int = _default("minobj")
    fitgeometry: str = _default("fitgeometry")
    nclip: int = _default("nclip")
    sigma: float = _default("sigma")
    searchrad: float = _default("searchrad")
    separation: float = _default("separation")
    tolerance: float = _default("tolerance")
    use2dhist: bool = _default("use2dhist")
    xoffset: float = _default("xoffset")
    yoffset: float = _default("yoffset")
    max_rmse: float = _default("max_rmse")
    dither_error: float = _default("dither_error")
    abs_minobj: int = _default("abs_minobj")
    abs_fitgeometry: str = _default("abs_fitgeometry")
    abs_nclip: int = _default("abs_nclip")
    abs_sigma: float = _default("abs_sigma")
    abs_searchrad: float = _default("abs_searchrad")
    abs_separation: float = _default("abs_separation")
    abs_tolerance: float = _default("abs_tolerance")
    abs_use2dhist: bool = _default("abs_use2dhist")
    abs_max_rmse: float = _default("abs_max_rmse")

    def __post_init__(self) -> None:
        for name in PARAMETERS:
            check_value(name, getattr(self, name))

    @property
    def catalog(self) -> CatalogSettings:
        """What is a source."""
        names = {f.name for f in fields(CatalogSettings)} & {f.name for f in fields(self)}
        return CatalogSettings(**{name: getattr(self, name) for name in names})

    @property
    def match(self) -> MatchSettings:
        """How exposures are matched."""
        return MatchSettings(
            search_radius=self.searchrad if self.use2dhist else 0.0,
            tolerance=self.tolerance,
            separation=self.separation,
            minimum=self.minobj,
            offset=(self.xoffset, self.yoffset),
        )

    @property
    def fit(self) -> FitSettings:
        """How exposures are fitted."""
        return FitSettings(
            self.fitgeometry, self.nclip, self.sigma, dither_error=1e-3 * self.dither_error
        )

    @property
    def abs_match(self) -> MatchSettings:
        """How the reference is matched."""
        return MatchSettings(
            search_radius=self.abs_searchrad if self.abs_use2dhist else 0.0,
            tolerance=self.abs_tolerance,
            separation=self.abs_separation,
            minimum=self.abs_minobj,
        )

    def abs_fit(self, channel: str | None) -> FitSettings:
        """How the reference is fitted, for a detector of the ``SHORT`` or the ``LONG`` channel."""
        auto = self.abs_fitgeometry == "auto"
        geometry = ("rscale" if channel == "LONG" else "rshift") if auto else self.abs_fitgeometry
        return FitSettings(geometry, self.abs_nclip, self.abs_sigma, expected_rotation=auto)


@dataclass(frozen=True)
class AlignmentTable:
    """Parameters per visit and filter.

    Attributes
    ----------
    path : Path
        The file.
    rows : dict
        ``{(visit, filter): {parameter: value}}``.
    """

    path: Path
    rows: dict[tuple[str, str], dict[str, Any]]

    def apply(self, settings: AlignmentSettings, visit: str, filter_name: str) -> AlignmentSettings:
        """Return the settings of a visit and filter; as they are if the table has none."""
        return replace(settings, **self.rows.get((visit, filter_name), {}))


def read_alignment_table(path: str | os.PathLike) -> AlignmentTable:
    """Read a table of parameters per visit and filter.

    Parameters
    ----------
    path
        ECSV or CSV file with the columns ``visit`` (jw01345001001) and ``filter``, any of the
        parameters of `AlignmentSettings`, and ``pointing``, which is a label. An empty cell gives
        no value: the step's own parameter is used then.

    Returns
    -------
    AlignmentTable

    Raises
    ------
    CeersError
        For a file that cannot be read, a missing or unknown column, a value of the wrong type,
        or a visit and filter that stand in two rows.
    """
    path = Path(path)
    table = read_table(path, f"alignment_table={path}")
    kinds = {name: type(parameter.default) for name, parameter in PARAMETERS.items()}
    for name in ("visit", "filter"):
        if name not in table.colnames:
            raise CeersError(
                f"alignment_table={path}: no column {name!r}; found {', '.join(table.colnames)}."
            )
    unknown = [n for n in table.colnames if n not in {"pointing", "visit", "filter", *kinds}]
    if unknown:
        raise CeersError(
            f"alignment_table={path}: unknown column(s) {', '.join(unknown)}. "
            f"Allowed: pointing, visit, filter, {', '.join(kinds)}."
        )
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number, row in enumerate(table, start=1):
        key = (str(row["visit"]).strip().lower(), str(row["filter"]).strip().upper())
        if not re.fullmatch(r"jw\d{11}", key[0], re.ASCII):
            raise CeersError(
                f"alignment_table={path}: row {number}, column visit: {key[0]!r:.40} is no visit, "
                "which is jw and 11 digits (jw01345001001)."
            )
        if row["filter"] is np.ma.masked or not key[1]:
            raise CeersError(f"alignment_table={path}: row {number}, column filter: it is empty.")
        if key in rows:
            raise CeersError(
                f"alignment_table={path}: visit {key[0]}, filter {key[1]} stands in two rows."
            )
        values = {name: row[name] for name in table.colnames if name in kinds}
        rows[key] = {
            name: _cell(value, kinds[name], f"alignment_table={path}: row {number}, column {name}")
            for name, value in values.items()
            if value is not np.ma.masked and str(value).strip().lower() not in {"", "nan", "--"}
        }
        for name, value in rows[key].items():
            check_value(name, value, f"alignment_table={path}: row {number}")
    return AlignmentTable(path, rows)


def _cell(value: Any, kind: type, where: str) -> Any:
    """Return a cell as a type."""
    text = str(value).strip()
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if kind is int:
            if float(text) != int(float(text)):
                raise ValueError(text)
            return int(float(text))
        return kind(text)
    except (KeyError, ValueError, OverflowError) as err:
        name = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
        raise CeersError(f"{where}: {text!r} is not {name}.") from err
