"""What follows from what in the header of an image of NIRCam: one rule a keyword.

A rule returns the value and the reason, or None if it cannot tell.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ceers_steps.files.headers.nircam import (
    DETECTORS,
    FLIPPED_X,
    FRAME_TOLERANCE,
    READ_PATTERNS,
    SUBARRAYS,
    frame_time,
)
from ceers_steps.names import is_exposure_name

__all__ = ["RULES", "Rule", "Shape", "Values", "sizes_of"]

Values = Mapping[str, Any]
Shape = tuple[int, ...]
Rule = Callable[[Values], tuple[Any, str] | None]


def sizes_of(shape: Shape | None) -> dict[str, int]:
    """Return the keywords that follow from the shape of an array.

    Parameters
    ----------
    shape
        ``(..., ny, nx)``; None if it is not known.

    Returns
    -------
    dict of int
        By keyword; NINTS and NGROUPS of four axes only.
    """
    if shape is None or len(shape) not in (2, 3, 4):
        return {}
    sizes = {"SUBSIZE1": shape[-1], "SUBSIZE2": shape[-2]}
    return sizes | ({"NINTS": shape[0], "NGROUPS": shape[1]} if len(shape) == 4 else {})


def _instrument(known: Values) -> tuple[Any, str] | None:
    return ("NIRCAM", "from DETECTOR") if known.get("DETECTOR") in DETECTORS else None


def _detector(known: Values) -> tuple[Any, str] | None:
    number = known.get("SCA_NUM", 0) - 481
    return (DETECTORS[number], "from SCA_NUM") if 0 <= number < len(DETECTORS) else None


def _of_detector(value: Callable[[str], Any]) -> Rule:
    def rule(known: Values) -> tuple[Any, str] | None:
        detector = known.get("DETECTOR")
        return (value(detector), f"from DETECTOR {detector}") if detector in DETECTORS else None

    return rule


def _subarray(known: Values) -> tuple[Any, str] | None:
    size = known.get("SUBSIZE1"), known.get("SUBSIZE2")
    if size == (2048, 2048):
        return "FULL", "from SUBSIZE1 and SUBSIZE2"
    window = known.get("SUBSTRT1"), known.get("SUBSTRT2"), size[0]
    for name, known_window in SUBARRAYS.get(known.get("DETECTOR", ""), {}).items():
        if window == known_window and size[0] == size[1]:
            return name, "from its place and size"
    return None


def _start(axis: int) -> Rule:
    def rule(known: Values) -> tuple[Any, str] | None:
        if known.get("SUBARRAY") == "FULL":
            return 1, "full frame"
        windows = SUBARRAYS.get(known.get("DETECTOR", ""), {})
        window = windows.get(known.get("SUBARRAY", ""))
        return None if window is None else (window[axis], "from SUBARRAY and DETECTOR")

    return rule


def _outputs(known: Values) -> tuple[Any, str] | None:
    size = known.get("SUBSIZE1"), known.get("SUBSIZE2")
    if {"SUBSIZE1", "SUBSIZE2", "TFRAME"} <= known.keys():
        for number in (1, 4):
            expected = frame_time(known["SUBSIZE2"], known["SUBSIZE1"], number)
            if abs(known["TFRAME"] / expected - 1) < FRAME_TOLERANCE / 10:
                return number, "from TFRAME and the size"
    if known.get("SUBARRAY") == "FULL" or size == (2048, 2048):
        return 4, "full frame"
    if any(known.get("SUBARRAY") in windows for windows in SUBARRAYS.values()):
        return 1, f"SUBARRAY {known['SUBARRAY']}"
    return None


def _of_pattern(index: int) -> Rule:
    def rule(known: Values) -> tuple[Any, str] | None:
        pattern = READ_PATTERNS.get(known.get("READPATT", ""))
        return None if pattern is None else (pattern[index], f"READPATT {known['READPATT']}")

    return rule


def _pattern(known: Values) -> tuple[Any, str] | None:
    frames = known.get("NFRAMES"), known.get("GROUPGAP")
    names = [name for name, pattern in READ_PATTERNS.items() if pattern == frames]
    return (names[0], "from NFRAMES and GROUPGAP") if names else None


def _frame_time(known: Values) -> tuple[Any, str] | None:
    if {"TGROUP", "NFRAMES", "GROUPGAP"} <= known.keys():
        value = known["TGROUP"] / (known["NFRAMES"] + known["GROUPGAP"])
        return round(value, 5), "from TGROUP, NFRAMES and GROUPGAP"
    if {"SUBSIZE1", "SUBSIZE2", "NOUTPUTS"} <= known.keys():
        value = frame_time(known["SUBSIZE2"], known["SUBSIZE1"], known["NOUTPUTS"])
        return round(value, 5), "from the size and NOUTPUTS"
    return None


def _group_time(known: Values) -> tuple[Any, str] | None:
    if not {"TFRAME", "NFRAMES", "GROUPGAP"} <= known.keys():
        return None
    value = known["TFRAME"] * (known["NFRAMES"] + known["GROUPGAP"])
    return round(value, 5), "from TFRAME, NFRAMES and GROUPGAP"


def _begin(part: int) -> Rule:
    def rule(known: Values) -> tuple[Any, str] | None:
        if "DATE-BEG" in known and "T" in known["DATE-BEG"]:
            return known["DATE-BEG"].split("T")[part], "from DATE-BEG"
        if "EXPSTART" in known:
            start = _EPOCH + timedelta(days=float(known["EXPSTART"]))
            return start.isoformat(timespec="milliseconds").split("T")[part], "from EXPSTART"
        return None

    return rule


_EPOCH = datetime(1858, 11, 17)
"""Start of the modified Julian date."""


def _start_time(known: Values) -> tuple[Any, str] | None:
    if "MJD-BEG" in known:
        return known["MJD-BEG"], "from MJD-BEG"
    parts = [known[key] for key in ("DATE-OBS", "TIME-OBS") if key in known]
    text, reason = known.get("DATE-BEG", ""), "from DATE-BEG"
    if not text and len(parts) == 2:
        text, reason = "T".join(parts), "from DATE-OBS and TIME-OBS"
    try:
        return (datetime.fromisoformat(text) - _EPOCH) / timedelta(days=1), reason
    except ValueError:
        return None


def _identity(first: int, last: int) -> Rule:
    def rule(known: Values) -> tuple[Any, str] | None:
        visit = known.get("VISIT_ID", "")
        if len(visit) == 11 and visit.isdigit():
            return visit[first:last], "from VISIT_ID"
        stem = known.get("FILENAME", "").rpartition("_")[0]
        return (stem[2 + first : 2 + last], "from FILENAME") if is_exposure_name(stem) else None

    return rule


def _reference_point(other: str) -> Rule:
    def rule(known: Values) -> tuple[Any, str] | None:
        # stage 2 moves the reference point of the FITS keywords, and adds -SIP to their type
        if other in known and str(known.get("CTYPE1", "")).strip() == "RA---TAN":
            return known[other], f"from {other}"
        return None

    return rule


def _integration_time(known: Values) -> tuple[Any, str] | None:
    if not {"TFRAME", "NFRAMES", "GROUPGAP", "NGROUPS"} <= known.keys():
        return None
    gaps = (known["NGROUPS"] - 1) * known["GROUPGAP"]
    value = known["TFRAME"] * (known["NGROUPS"] * known["NFRAMES"] + gaps)
    return round(value, 5), "from NGROUPS, TFRAME, NFRAMES and GROUPGAP"


def _exposure_time(known: Values) -> tuple[Any, str] | None:
    if not {"EFFINTTM", "NINTS"} <= known.keys():
        return None
    return round(known["EFFINTTM"] * known["NINTS"], 3), "from EFFINTTM and NINTS"


def _angle(known: Values, other: str) -> tuple[Any, str] | None:
    if not {"PA_APER", other} <= known.keys():
        return None
    return (known["PA_APER"] - known[other]) % 360, f"PA_APER less {other}"


def _roll(known: Values) -> tuple[Any, str] | None:
    return _angle(known, "V3I_YANG")


def _ideal_angle(known: Values) -> tuple[Any, str] | None:
    found = _angle(known, "ROLL_REF")
    return None if found is None else ((found[0] + 180) % 360 - 180, found[1])


def _aberration(known: Values) -> tuple[Any, str] | None:
    if not {*_VELOCITY, "RA_REF", "DEC_REF"} <= known.keys():
        return None
    ra, dec = math.radians(known["RA_REF"]), math.radians(known["DEC_REF"])
    towards = math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)
    beta = [known[key] / _LIGHT for key in _VELOCITY]
    if math.hypot(*beta) > _FASTEST:
        return None
    along = sum(part * one for part, one in zip(beta, towards, strict=True))
    scale = (1 + along) / math.sqrt(1 - math.hypot(*beta) ** 2)
    return scale, "from JWST_DX, JWST_DY, JWST_DZ, RA_REF and DEC_REF"


_VELOCITY = ("JWST_DX", "JWST_DY", "JWST_DZ")
"""Of the telescope, about the barycentre of the solar system (km/s)."""
_LIGHT = 299_792.458
"""Speed of light (km/s)."""
_FASTEST = 2e-4
"""Of the speed of light: twice that of the Earth; numbers beyond are in other units."""


RULES: dict[str, Rule] = {
    "DETECTOR": _detector,
    "INSTRUME": _instrument,
    "MODULE": _of_detector(lambda detector: detector[3]),
    "CHANNEL": _of_detector(lambda detector: "LONG" if detector.endswith("LONG") else "SHORT"),
    "FASTAXIS": _of_detector(lambda detector: -1 if detector in FLIPPED_X else 1),
    "SLOWAXIS": _of_detector(lambda detector: 2 if detector in FLIPPED_X else -2),
    "VPARITY": _of_detector(lambda detector: -1),
    "SUBARRAY": _subarray,
    "SUBSTRT1": _start(0),
    "SUBSTRT2": _start(1),
    "NFRAMES": _of_pattern(0),
    "GROUPGAP": _of_pattern(1),
    "READPATT": _pattern,
    "NOUTPUTS": _outputs,
    "TFRAME": _frame_time,
    "TGROUP": _group_time,
    "EFFINTTM": _integration_time,
    "EFFEXPTM": _exposure_time,
    "EXPSTART": _start_time,
    "DATE-OBS": _begin(0),
    "TIME-OBS": _begin(1),
    "PROGRAM": _identity(0, 5),
    "OBSERVTN": _identity(5, 8),
    "VISIT": _identity(8, 11),
    "RA_REF": _reference_point("CRVAL1"),
    "DEC_REF": _reference_point("CRVAL2"),
    "ROLL_REF": _roll,
    "V3I_YANG": _ideal_angle,
    "VA_SCALE": _aberration,
}
