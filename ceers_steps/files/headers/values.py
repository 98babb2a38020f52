"""Values of keywords by themselves: their types, and the range of what an exposure can have."""

import re
from datetime import datetime, time
from typing import Any

import numpy as np

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.nircam import NAMES, READ_PATTERNS

__all__ = ["PATHS", "REPAIR", "check_value", "is_missing"]

_TEXT, _WHOLE, _NUMBER = "text", "a whole number", "a number"
_WORD, _DATE, _TIME = "one word of letters, digits, - and _", "a date", "a time"

PATHS: dict[str, tuple[str, str]] = {
    "TELESCOP": ("telescope", _WORD),
    "INSTRUME": ("instrument.name", _WORD),
    "DETECTOR": ("instrument.detector", _WORD),
    "MODULE": ("instrument.module", _WORD),
    "CHANNEL": ("instrument.channel", _WORD),
    "FILTER": ("instrument.filter", _WORD),
    "PUPIL": ("instrument.pupil", _WORD),
    "EXP_TYPE": ("exposure.type", _WORD),
    "READPATT": ("exposure.readpatt", _WORD),
    "NINTS": ("exposure.nints", _WHOLE),
    "NGROUPS": ("exposure.ngroups", _WHOLE),
    "NFRAMES": ("exposure.nframes", _WHOLE),
    "GROUPGAP": ("exposure.groupgap", _WHOLE),
    "TFRAME": ("exposure.frame_time", _NUMBER),
    "TGROUP": ("exposure.group_time", _NUMBER),
    "NOUTPUTS": ("exposure.noutputs", _WHOLE),
    "SCA_NUM": ("exposure.sca_num", _WHOLE),
    "INTSTART": ("exposure.integration_start", _WHOLE),
    "EXPSTART": ("exposure.start_time", _NUMBER),
    "MJD-BEG": ("exposure.start_time_mjd", _NUMBER),
    "SUBARRAY": ("subarray.name", _WORD),
    "SUBSTRT1": ("subarray.xstart", _WHOLE),
    "SUBSTRT2": ("subarray.ystart", _WHOLE),
    "SUBSIZE1": ("subarray.xsize", _WHOLE),
    "SUBSIZE2": ("subarray.ysize", _WHOLE),
    "FASTAXIS": ("subarray.fastaxis", _WHOLE),
    "SLOWAXIS": ("subarray.slowaxis", _WHOLE),
    "DATE-OBS": ("observation.date", _DATE),
    "TIME-OBS": ("observation.time", _TIME),
    "DATE-BEG": ("observation.date_beg", _DATE),
    "VISIT_ID": ("observation.visit_id", _TEXT),
    "PROGRAM": ("observation.program_number", _TEXT),
    "OBSERVTN": ("observation.observation_number", _TEXT),
    "VISIT": ("observation.visit_number", _TEXT),
    "VISITGRP": ("observation.visit_group", _TEXT),
    "SEQ_ID": ("observation.sequence_id", _TEXT),
    "ACT_ID": ("observation.activity_id", _TEXT),
    "EXPOSURE": ("observation.exposure_number", _TEXT),
    "RA_REF": ("wcsinfo.ra_ref", _NUMBER),
    "DEC_REF": ("wcsinfo.dec_ref", _NUMBER),
    "ROLL_REF": ("wcsinfo.roll_ref", _NUMBER),
    "V2_REF": ("wcsinfo.v2_ref", _NUMBER),
    "V3_REF": ("wcsinfo.v3_ref", _NUMBER),
    "VPARITY": ("wcsinfo.vparity", _WHOLE),
    "V3I_YANG": ("wcsinfo.v3yangle", _NUMBER),
    "VA_SCALE": ("velocity_aberration.scale_factor", _NUMBER),
    "JWST_DX": ("ephemeris.velocity_x_bary", _NUMBER),
    "JWST_DY": ("ephemeris.velocity_y_bary", _NUMBER),
    "JWST_DZ": ("ephemeris.velocity_z_bary", _NUMBER),
    "EFFINTTM": ("exposure.integration_time", _NUMBER),
    "EFFEXPTM": ("exposure.exposure_time", _NUMBER),
    "CTYPE1": ("wcsinfo.ctype1", _TEXT),
    "CRVAL1": ("wcsinfo.crval1", _NUMBER),
    "CRVAL2": ("wcsinfo.crval2", _NUMBER),
    "RA_V1": ("pointing.ra_v1", _NUMBER),
    "DEC_V1": ("pointing.dec_v1", _NUMBER),
    "PA_V3": ("pointing.pa_v3", _NUMBER),
    "PA_APER": ("aperture.position_angle", _NUMBER),
    "FILENAME": ("filename", _TEXT),
    "BUNIT": ("bunit_data", _TEXT),
}
"""Place in ``meta`` of a data model and type of every keyword that is looked at."""

_LEAST = {
    **dict.fromkeys(("NINTS", "NGROUPS", "NFRAMES", "NOUTPUTS", "SUBSTRT1", "SUBSTRT2"), 1),
    **dict.fromkeys(("SUBSIZE1", "SUBSIZE2"), 1),
    "GROUPGAP": 0,
}
_POSITIVE = ("TFRAME", "TGROUP", "EFFINTTM", "EFFEXPTM")
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("RA_REF", "CRVAL1", "RA_V1", "PA_V3", "ROLL_REF", "V3I_YANG", "PA_APER"), (-360, 360)
    ),
    **dict.fromkeys(("DEC_REF", "CRVAL2", "DEC_V1"), (-90, 90)),
    # arcsec: the field of the telescope
    **dict.fromkeys(("V2_REF", "V3_REF"), (-1000, 1000)),
    # the telescope moves at 30 km/s, a ten thousandth of the speed of light
    "VA_SCALE": (0.9998, 1.0002),
    # years 1995 to 2132
    **dict.fromkeys(("EXPSTART", "MJD-BEG"), (50_000, 100_000)),
}
_ALLOWED: dict[str, tuple[object, ...]] = {
    "FASTAXIS": (-1, 1),
    "SLOWAXIS": (-2, 2),
    "VPARITY": (-1, 1),
    "NOUTPUTS": (1, 2, 4),
    "READPATT": tuple(READ_PATTERNS),
    **NAMES,
}
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
REPAIR = "Download the file again, or correct the keyword."
"""What to do, for messages."""


def is_missing(value: Any) -> bool:
    """Say whether a value counts as none.

    Parameters
    ----------
    value
        Of a keyword.

    Returns
    -------
    bool
        True for None and texts that say nothing.
    """
    return value is None or (isinstance(value, str) and value.strip().upper() in {"", "NULL"})


def check_value(name: str, key: str, value: Any) -> None:
    """Check the type and the range of a value.

    Parameters
    ----------
    name
        Of the file, for messages.
    key, value
        Keyword, one of `PATHS`, and its value.

    Raises
    ------
    CeersError
        For a value of another type, or that no exposure can have.
    """
    kind = PATHS[key][1]
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )
    if kind in {_WHOLE, _NUMBER}:
        good = is_number and bool(np.isfinite(value))
        good = good and (kind == _NUMBER or value == int(value))
    else:
        good = isinstance(value, str) and _is_text_of_kind(value, kind)
    if not good:
        raise CeersError(f"{name}: {key}={value!r} is not {kind}. {REPAIR}")
    low = _LEAST.get(key)
    if (low is not None and value < low) or (key in _POSITIVE and value <= 0):
        least = f"at least {low}" if low is not None else "above 0"
        raise CeersError(f"{name}: {key}={value}, it must be {least}. {REPAIR}")
    first, last = _RANGES.get(key, (-np.inf, np.inf))
    if is_number and not first <= value <= last:
        raise CeersError(f"{name}: {key}={value}, it must be from {first} to {last}. {REPAIR}")
    if key in _ALLOWED and value not in _ALLOWED[key]:
        allowed = ", ".join(map(str, _ALLOWED[key]))
        raise CeersError(f"{name}: {key}={value}, it must be one of {allowed}. {REPAIR}")


def _is_text_of_kind(text: str, kind: str) -> bool:
    """Say whether a text is a word, a date (with or without a time) or a time of day."""
    if kind == _WORD:
        return _NAME.fullmatch(text.strip()) is not None
    try:
        if kind == _DATE:
            datetime.fromisoformat(text)
        elif kind == _TIME:
            time.fromisoformat(text)
    except ValueError:
        return False
    return True
