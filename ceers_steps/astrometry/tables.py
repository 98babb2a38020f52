"""Tables of the alignment: parameters per visit, reference catalogues, results."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.kernels.astrometry.centroids import CatalogSettings
from ceers_steps.kernels.astrometry.fit import FitSettings
from ceers_steps.kernels.astrometry.matching import MatchSettings

__all__ = [
    "RESULT_COLUMNS",
    "AlignmentSettings",
    "AlignmentTable",
    "ReferenceCatalog",
    "make_results_table",
    "read_alignment_table",
    "read_reference_catalog",
]

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


@dataclass(frozen=True)
class AlignmentSettings:
    """Parameters that can differ from visit to visit; names and units are those of AlignStep.

    Lengths are in arcsec, sizes of sources in pixels, limits of the residuals in mas.
    """

    detect_thresh: float = 3.0
    detect_minarea: int = 6
    deblend_levels: int = 32
    kernel_fwhm: float = 2.5
    snr_threshold: float = 5.0
    bkg_boxsize: int = 100
    minobj: int = 4
    fitgeometry: str = "shift"
    nclip: int = 3
    sigma: float = 3.0
    searchrad: float = 1.0
    separation: float = 0.1
    tolerance: float = 0.1
    use2dhist: bool = True
    xoffset: float = 0.0
    yoffset: float = 0.0
    max_rmse: float = 50.0
    abs_minobj: int = 5
    abs_fitgeometry: str = "auto"
    abs_nclip: int = 3
    abs_sigma: float = 3.0
    abs_searchrad: float = 2.0
    abs_separation: float = 0.2
    abs_tolerance: float = 0.3
    abs_use2dhist: bool = True
    abs_max_rmse: float = 100.0

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
        return FitSettings(self.fitgeometry, self.nclip, self.sigma)

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

    def apply(self, settings: AlignmentSettings, visit: str, band: str) -> AlignmentSettings:
        """Return the settings of a visit and filter; as they are if the table has none."""
        return replace(settings, **self.rows.get((visit, band), {}))


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
    table = _read_table(path, "alignment_table")
    kinds = {f.name: type(f.default) for f in fields(AlignmentSettings)}
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
        key = (str(row["visit"]).strip(), str(row["filter"]).strip().upper())
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
        _check_row(rows[key], f"alignment_table={path}: row {number}")
    return AlignmentTable(path, rows)


def _check_row(values, where):
    """Raise `CeersError` for values that no alignment can be made with."""
    for name, value in values.items():
        if name.endswith("fitgeometry"):
            allowed = ["shift", "rshift", "rscale", "general", *(["auto"] * ("abs" in name))]
            if value not in allowed:
                raise CeersError(f"{where}: {name}={value!r}; use one of {', '.join(allowed)}.")
        elif name not in {"xoffset", "yoffset"} and value < 0:
            raise CeersError(f"{where}: {name}={value}; use 0 or more.")


def _cell(value, kind, where):
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
    except (KeyError, ValueError) as err:
        name = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
        raise CeersError(f"{where}: {text!r} is not {name}.") from err


def _read_table(path: Path, name: str) -> Table:
    """Read any table that astropy knows."""
    if not path.is_file():
        raise CeersError(f"{name}={path}: no such file.")
    formats = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}
    try:
        return Table.read(path, format=formats.get(path.suffix.lower()))
    except Exception as err:  # astropy raises many kinds for a file that is no table
        raise CeersError(
            f"{name}={path}: not a readable table ({' '.join(str(err).split())[:300]})."
        ) from err


@dataclass(frozen=True)
class ReferenceCatalog:
    """Positions to align to.

    Attributes
    ----------
    name : str
        Of the file or of the catalogue.
    ra, dec : ndarray, shape (n,)
        Degrees.
    """

    name: str
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ra)

    def near(self, ra: float, dec: float, radius: float) -> NDArray[np.intp]:
        """Return which sources are within a radius (arcsec) of a place (deg)."""
        lon, lat = np.deg2rad(self.ra), np.deg2rad(self.dec)
        to = np.deg2rad([ra, dec])
        half = (
            np.sin((lat - to[1]) / 2) ** 2
            + np.cos(lat) * np.cos(to[1]) * np.sin((lon - to[0]) / 2) ** 2
        )
        return np.flatnonzero(2 * np.arcsin(np.sqrt(half)) < np.deg2rad(radius / 3600))


def read_reference_catalog(path: str | os.PathLike) -> ReferenceCatalog:
    """Read a catalogue of positions.

    Parameters
    ----------
    path
        Any table that astropy reads by itself (ECSV, FITS, CSV), with columns ``RA`` and ``DEC``
        in any case, in degrees unless they have another unit, or a ``sky_centroid`` as source
        catalogues of jwst do. Rows without a position are left out.

    Returns
    -------
    ReferenceCatalog

    Raises
    ------
    CeersError
        For a file that cannot be read, and without such columns or any position.
    """
    path = Path(path)
    table = _read_table(path, "abs_refcat")
    columns = _sky_columns(table, path)
    try:
        ra, dec = (_degrees(column) for column in columns)
    except (TypeError, ValueError, u.UnitConversionError) as err:
        raise CeersError(
            f"abs_refcat={path}: RA and DEC are not angles ({err}). Give them in degrees."
        ) from err
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        raise CeersError(f"abs_refcat={path}: no row has a position.")
    if np.abs(dec[good]).max() > 90:
        raise CeersError(f"abs_refcat={path}: DEC beyond 90 degrees. Give RA and DEC in degrees.")
    return ReferenceCatalog(path.name, ra[good] % 360, dec[good])


def _sky_columns(table, path):
    """Return the two columns of positions."""
    found: list[Any] = []
    for wanted in ("ra", "dec"):
        names = [name for name in table.colnames if name.lower() == wanted]
        if len(names) > 1:
            raise CeersError(
                f"abs_refcat={path}: several columns are called {wanted.upper()} "
                f"({', '.join(names)}). Keep one."
            )
        found += [table[name] for name in names]
    if len(found) == 2:
        return found
    centroids = [name for name in table.colnames if name.lower() == "sky_centroid"]
    if centroids:
        return [table[centroids[0]].ra, table[centroids[0]].dec]
    raise CeersError(
        f"abs_refcat={path}: no columns RA and DEC; found {', '.join(table.colnames)}. "
        "Rename those that hold the positions, in degrees."
    )


def _degrees(column) -> NDArray[np.float64]:
    """Return a column of angles in degrees, nan where there is none."""
    unit = getattr(column, "unit", None)
    values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), float), np.nan)
    return values if unit is None else (values * u.Unit(unit)).to_value(u.deg)


def make_results_table(rows: list[dict[str, Any]], meta: dict[str, Any]) -> Table:
    """Return the results as a table with units and meanings.

    Parameters
    ----------
    rows
        Values by column of `RESULT_COLUMNS`; what is missing is empty (nan, 0 or "").
    meta
        Goes to the header.
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
