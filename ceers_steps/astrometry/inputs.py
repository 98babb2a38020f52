"""What `AlignStep` is given: exposures, and source lists from elsewhere."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.time import Time
from tweakwcs.correctors import JWSTWCSCorrector

from ceers_steps.astrometry.exposure import AlignedExposure
from ceers_steps.astrometry.tables import AlignmentSettings
from ceers_steps.errors import CeersError
from ceers_steps.files.given.tables import read_text
from ceers_steps.files.limits import check_regular, why_no_file
from ceers_steps.files.membership import identity_of
from ceers_steps.kernels.astrometry.centroids import SourceList
from ceers_steps.names import effective_filter

__all__ = ["describe", "from_table", "read_catfile"]

LARGEST = 1e8
"""Bytes of a list of files."""

CUSTOM_SIGMA = 0.05
"""Uncertainty of centroids from elsewhere, pixels."""


def describe(model: Any, index: int, settings: AlignmentSettings) -> AlignedExposure:
    """Return what the alignment needs to know of an exposure.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.ImageModel`
        With a WCS.
    index : int
        Its place in the library.
    settings : AlignmentSettings
        Parameters of the step.

    Returns
    -------
    AlignedExposure
        Without sources yet.

    Raises
    ------
    CeersError
        Without a WCS.
    """
    if model.meta.wcs is None:
        raise CeersError(
            f"{model.meta.filename} has no WCS: assign_wcs has not been run. "
            "Give the *_cal.fits file of this exposure."
        )
    wcsinfo = model.meta.wcsinfo
    instrument, observation = model.meta.instrument, model.meta.observation
    numbers = (
        observation.program_number,
        observation.observation_number,
        observation.visit_number,
    )
    corrector = JWSTWCSCorrector(
        model.meta.wcs,
        {"roll_ref": wcsinfo.roll_ref, "v2_ref": wcsinfo.v2_ref, "v3_ref": wcsinfo.v3_ref},
    )
    return AlignedExposure(
        index=index,
        name=identity_of(model),
        detector=instrument.detector,
        channel=instrument.channel,
        filter_name=effective_filter(instrument.filter, instrument.pupil),
        visit="jw" + "".join(number or "" for number in numbers),
        time=_time_of(model),
        corrector=corrector,
        sources=SourceList.empty(),
        settings=settings,
    )


def _time_of(model: Any) -> float:
    """Return the start of an exposure, MJD, or else its day; NaN where neither is known."""
    start, day = model.meta.exposure.start_time, model.meta.observation.date
    if start is not None:
        return float(start)
    return float(Time(day).mjd) if day else math.nan


def read_catfile(catfile: str) -> dict[str, str]:
    """Return the source lists that a file names, as TweakRegStep reads it.

    Parameters
    ----------
    catfile : str
        Text file of two columns, image and source list; blank for none.

    Returns
    -------
    dict
        Path of the source list by name of the image.

    Raises
    ------
    CeersError
        When it cannot be read or has more columns.
    """
    path = Path(catfile)
    if not catfile.strip():
        return {}
    if problem := why_no_file(path):
        raise CeersError(f"catfile={catfile} {problem}. Give a text file: images, source lists.")
    check_regular(path, f"catfile={catfile}", LARGEST)
    lines = [line.split() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line[0].startswith("#")]
    if any(len(line) > 2 for line in lines):
        raise CeersError(f"catfile={catfile}: more than two columns. Give image and source list.")
    return {line[0]: str(path.parent / line[1]) for line in lines if len(line) == 2}


def from_table(table: Table, name: str | os.PathLike) -> SourceList:
    """Return sources with positions from elsewhere, all with the same uncertainty.

    Parameters
    ----------
    table : Table
        With columns x and y, or xcentroid and ycentroid, 0-based pixels.
    name : str or path
        Of the table, for the message.

    Returns
    -------
    SourceList

    Raises
    ------
    CeersError
        Without such columns.
    """
    columns = []
    for axis in "xy":
        names = [n for n in (axis, f"{axis}centroid", f"{axis}_centroid") if n in table.colnames]
        if not names:
            raise CeersError(
                f"Source list {name}: no column {axis}, {axis}centroid or {axis}_centroid; "
                f"found {', '.join(table.colnames)}."
            )
        columns.append(np.asarray(table[names[0]], float))
    good = np.isfinite(columns[0]) & np.isfinite(columns[1])
    x, y = (column[good] for column in columns)
    return SourceList.at(x, y, CUSTOM_SIGMA)
