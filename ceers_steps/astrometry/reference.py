"""Reference catalogues: from a table, or from the STScI service."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import ConvertError, angular_separation
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray
from stcal.alignment import wcs_from_sregions
from stcal.tweakreg.astrometric_utils import create_astrometric_catalog

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.given.tables import read_table
from ceers_steps.kernels.astrometry.dithers import ReferenceFit

__all__ = [
    "ReferenceCatalog",
    "check_epoch",
    "fetch_reference",
    "read_reference_catalog",
    "remarks_on_fit",
    "save_reference",
    "why_elsewhere",
]

log = logging.getLogger(__name__)

LARGEST_ROUNDING = 1.0
"""Rounding of positions above which there is a warning, mas: 32-bit numbers round an RA by up to 55
mas."""

LARGEST_MOTION = 5.0
"""Typical motion of stars since the epoch of a catalogue above which it is refused, mas: what is
known of dithers from the guide star alone."""


@dataclass(frozen=True)
class ReferenceCatalog:
    """Positions to align to.

    Attributes
    ----------
    name : str
        Of the file or of the catalogue.
    ra, dec : ndarray, shape (n,)
        Degrees.
    epoch : float
        Decimal year of the positions; NaN if the table does not say.
    motion : float
        Typical proper motion, mas a year; 0 if the table has none.
    """

    name: str
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    epoch: float = np.nan
    motion: float = 0.0

    def __len__(self) -> int:
        return len(self.ra)

    def near(self, ra: float, dec: float, radius: float) -> NDArray[np.intp]:
        """Return which sources are within a radius (arcsec) of a place (deg)."""
        distance = angular_separation(*np.deg2rad([self.ra, self.dec]), *np.deg2rad([ra, dec]))
        return np.flatnonzero(distance < np.deg2rad(radius / 3600))


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
    table = read_table(path, f"abs_refcat={path}")
    columns = _sky_columns(table, path)
    try:
        ra, dec = (_in_unit(column, u.deg) for column in columns)
    except (TypeError, ValueError, u.UnitConversionError) as err:
        raise CeersError(
            f"abs_refcat={path}: RA and DEC are not angles ({err}). Give them in degrees."
        ) from err
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        raise CeersError(f"abs_refcat={path}: no row has a position.")
    if np.abs(dec[good]).max() > 90:
        raise CeersError(
            f"abs_refcat={path}: DEC beyond 90 degrees. Give RA and DEC in degrees, and not the "
            "one in the column of the other."
        )
    _warn_of_rounding(columns, ra[good], dec[good], path)
    places = np.stack([ra[good] % 360, dec[good]])
    once = np.sort(np.unique(places, axis=1, return_index=True)[1])
    if repeated := places.shape[1] - len(once):
        # a source with a neighbour is no match, and these would have one
        log.warning("abs_refcat=%s: %d rows repeat a position, and count once", path, repeated)
    ra, dec = places[:, once]
    return ReferenceCatalog(path.name, ra, dec, *_epoch_of(table, path))


def _in_unit(column: Any, unit: u.Unit) -> NDArray[np.float64]:
    """Return a column in a unit, in which it is if it has none; nan where there is no number."""
    given = getattr(column, "unit", None)
    cells: Any = np.ma.asarray(getattr(column, "value", column), float)
    numbers = np.asarray(np.ma.filled(cells, np.nan))
    return numbers if given is None else (numbers * u.Unit(given)).to_value(unit)


def _warn_of_rounding(
    columns: Sequence[Any], ra: NDArray[np.float64], dec: NDArray[np.float64], path: Path
) -> None:
    """Warn of positions in floats of few bits."""
    for name, column, angles in zip(("RA", "DEC"), columns, (ra, dec), strict=True):
        kind = np.asarray(getattr(column, "value", column)).dtype
        rounding = 3.6e6 * np.finfo(kind).eps * np.abs(angles).max() if kind.kind == "f" else 0.0
        if rounding > LARGEST_ROUNDING:
            log.warning(
                "abs_refcat=%s: %s is kept in %d bits, which hold it to %.0f mas. Write it in 64.",
                *(path, name, 8 * kind.itemsize, rounding),
            )


def _epoch_of(table: Table, path: Path) -> tuple[float, float]:
    """Return the epoch of a table like Gaia's (decimal year), and its motions (mas a year)."""
    names = {name.lower(): name for name in table.colnames}
    motions = [names[key] for key in ("pmra", "pmdec", "pmde") if key in names][:2]
    if len(motions) < 2:
        return np.nan, 0.0
    times = [names[key] for key in ("ref_epoch", "epoch") if key in names]
    try:
        motion = np.hypot(*(_in_unit(table[name], u.mas / u.yr) for name in motions))
        years = [np.char.lstrip(np.asarray(table[name], str), "J") for name in times[:1]]
        epoch = np.asarray(years, float)
    except (TypeError, ValueError, u.UnitConversionError):
        motion, epoch = np.zeros(0), np.zeros(0)
    if np.isfinite(motion).any() and np.isfinite(epoch).any():
        return float(np.nanmedian(epoch)), float(np.nanmedian(motion))
    log.warning(
        "abs_refcat=%s: it has proper motions (%s), but no ref_epoch that can be read. Its "
        "positions are taken to be of the time of the exposures.",
        *(path, ", ".join(motions)),
    )
    return np.nan, 0.0


def check_epoch(reference: ReferenceCatalog, time: float) -> None:
    """Raise `CeersError` for positions that have moved since their epoch.

    Parameters
    ----------
    reference : ReferenceCatalog
        The catalogue.
    time : float
        Of the exposures, MJD; NaN if it is not known, which passes.

    Raises
    ------
    CeersError
        When stars have typically moved by more than 5 mas.
    """
    if not np.isfinite(time):
        return
    year = Time(time, format="mjd").decimalyear
    moved = reference.motion * abs(year - reference.epoch)
    if moved > LARGEST_MOTION:
        raise CeersError(
            f"abs_refcat={reference.name}: its positions are of {reference.epoch:.1f}, the "
            f"exposures of {year:.1f}; the stars have moved by {moved:.0f} mas since. Give RA and "
            "DEC of the time of the exposures (and that in the column ref_epoch)."
        )


def remarks_on_fit(found: ReferenceFit, wanted: str, doubtful: float) -> str:
    """Return what is to be known of a fit to a catalogue beside its numbers.

    Parameters
    ----------
    found
        The fit.
    wanted
        Geometry that was asked for.
    doubtful
        Uncertainty of the place from which it is named, mas.

    Returns
    -------
    str
        That a simpler geometry was fitted, that the place is not well known; empty if neither.
    """
    remarks, matches = [], found.fit.n_used
    if found.geometry != wanted:
        remarks.append(f"{matches} matches are too few for {wanted}: only a shift was fitted")
    if (error := 1e3 * found.fit.shift_error) > doubtful:
        remarks.append(f"place on the sky known to {error:.1f} mas only, from {matches} matches")
    return "; ".join(remarks)


def why_elsewhere(reference: ReferenceCatalog, ra: float, dec: float, radius: float) -> str:
    """Return the reason why no source of a catalogue is in an image.

    Parameters
    ----------
    reference : ReferenceCatalog
        The catalogue.
    ra, dec : float
        Middle of the image, deg.
    radius : float
        How far it reaches, arcsec.

    Returns
    -------
    str
    """
    reason = f"none of {len(reference)} sources of {reference.name} is in the image"
    if len(reference) == 0:
        return reason
    could_be_dec = np.abs((reference.ra + 180) % 360 - 180)
    swapped = could_be_dec <= 90
    signed = (reference.ra[swapped] + 180) % 360 - 180
    other = ReferenceCatalog(reference.name, reference.dec[swapped] % 360, signed)
    if len(other.near(ra, dec, radius)):
        return f"{reason}, but with RA and DEC exchanged there are some: swapped columns"
    distance = angular_separation(
        *np.deg2rad([reference.ra, reference.dec]), *np.deg2rad([ra, dec])
    )
    nearest = np.rad2deg(distance.min())
    return f"{reason}; the nearest is {nearest:.3g} degrees from its middle"


def _sky_columns(table: Table, path: Path) -> list[Any]:
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
        try:
            sky = table[centroids[0]].icrs
        except (AttributeError, ConvertError) as err:
            raise CeersError(
                f"abs_refcat={path}: {centroids[0]} is no position on the sky ({err}). Give "
                "columns RA and DEC, in degrees."
            ) from err
        return [sky.ra, sky.dec]
    raise CeersError(
        f"abs_refcat={path}: no columns RA and DEC; found {', '.join(table.colnames)}. "
        "Rename those that hold the positions, in degrees."
    )


def fetch_reference(
    name: str, wcs: Any, wcsinfo: dict[str, Any], footprints: Sequence[Any], epoch: float
) -> ReferenceCatalog:
    """Get a catalogue of the STScI service for a field.

    Parameters
    ----------
    name : str
        Of the catalogue, GAIADR3 for instance.
    wcs : `~gwcs.WCS`
        Of one exposure.
    wcsinfo : dict
        Its ``meta.wcsinfo``.
    footprints : sequence of ndarray
        Corners of all exposures, deg.
    epoch : float
        Decimal year to which positions are moved.

    Returns
    -------
    ReferenceCatalog

    Raises
    ------
    CeersError
        When it cannot be had, or has no source here.
    """
    field = wcs_from_sregions(footprints, ref_wcs=wcs, ref_wcsinfo=wcsinfo)
    try:
        table = create_astrometric_catalog(field, epoch, catalog=name, output=None)
    # whatever a network, a service or its answer may raise
    except Exception as err:
        raise CeersError(
            f"abs_refcat={name} cannot be had from the network ({err}). Check the connection, "
            "or give a table with RA and DEC: abs_refcat=FILE."
        ) from err
    if len(table) == 0:
        raise CeersError(
            f"abs_refcat={name} has no source in this field. Give a table with RA and DEC."
        )
    return ReferenceCatalog(name, np.asarray(table["RA"]), np.asarray(table["DEC"]))


def save_reference(
    path: str | os.PathLike, reference: ReferenceCatalog, places: Sequence[tuple[float, float]]
) -> None:
    """Write the part of a reference that is within 3 arcmin of some places.

    Parameters
    ----------
    path : path
        ECSV file.
    reference : ReferenceCatalog
        The catalogue.
    places : sequence of (float, float)
        RA and DEC of the exposures, deg. (Not their mean, which is nowhere near where RA goes
        from 360 to 0.)
    """
    near = np.unique(np.concatenate([reference.near(*place, 180) for place in places]))
    table = Table({"RA": reference.ra[near], "DEC": reference.dec[near]}, units=["deg", "deg"])
    write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))
