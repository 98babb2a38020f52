"""What exposures there are: read from the headers of files, or from a table, fast."""

import contextlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import ASN_ID
from ceers_steps.files.limits import check_regular
from ceers_steps.files.membership import (
    KEYWORDS,
    SCI_KEYWORDS,
    LeftOut,
    filter_of,
    group_problems,
    left_out_reason,
    list_left_out,
)
from ceers_steps.names import (
    INSTRUMENTS,
    NAME_KEYWORDS,
    effective_filter,
    exposure_name,
    identify,
    identity_problem,
    name_problem,
)

__all__ = ["Exposure", "UnusableFiles", "parse_s_region", "plan_exposures", "read_exposures"]

BLOCK = 2880
"""Bytes of a FITS block."""

CARD = 80
"""Bytes of a header card."""

PRIMARY = (*KEYWORDS, *NAME_KEYWORDS, "FILENAME", "TARGPROP", "S_RESAMP", "NAXIS")
PRIMARY += ("EXPSTART", "EXPEND", "NINTS", "NGROUPS")
"""Keywords of the primary header that are looked at."""

AFTER_STAGE_3 = ("crf", "match")
"""Suffixes before which names carry the id of the association."""

_NAME = re.compile(r"jw(?P<program>\d{5})(?P<observation>\d{3})(?P<visit>\d{3})_(?P<rest>.+)")


class UnusableFiles(CeersError):
    """Files cannot be used; ``names`` are what could be left out: exposures, or paths."""

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


@dataclass(frozen=True)
class Exposure:
    """One file of one detector.

    Attributes
    ----------
    path : Path
        The file; it need not exist when planned from a table.
    name : str
        Exposure name, ``jw01345001001_02201_00001_nrca1``.
    program, observation, visit : str
        With leading zeros: ``01345``, ``001``, ``001``.
    detector, filter : str
        The filter in the pupil wheel if there is one, else that of the filter wheel.
    target : str
        Name of the target in the proposal; empty if unknown.
    pointing : str
        Name of the pointing from a table; empty if there is none.
    footprint : tuple of ndarray
        Polygons of (n, 2) corners, RA and Dec in deg; empty if unknown.
    start, end : float
        Of the exposure, MJD; NaN if unknown.
    n_integrations, n_groups : int
        Of the exposure; 0 if unknown.
    contradiction : str
        Where the name of the file and the header are those of two exposures; empty if nowhere.
    """

    path: Path
    name: str
    program: str
    observation: str
    visit: str
    detector: str
    filter: str
    target: str = ""
    pointing: str = ""
    footprint: tuple[NDArray[np.float64], ...] = ()
    start: float = np.nan
    end: float = np.nan
    n_integrations: int = 0
    n_groups: int = 0
    contradiction: str = ""

    @property
    def instrument(self) -> str:
        """``MIRI``, ``NIRISS`` or ``NIRCAM``, by the detector."""
        return {"MIRIMAGE": "MIRI", "NIS": "NIRISS"}.get(self.detector.upper(), "NIRCAM")

    @property
    def dither(self) -> str:
        """Name of the exposure without its detector: all detectors exposed at that time."""
        return self.name.rpartition("_")[0] or self.name


def read_exposures(
    files: Iterable[Path], calibrated: bool = False
) -> tuple[list[Exposure], list[LeftOut]]:
    """Read what belongs to what from the headers of files.

    Only the cards that are needed are parsed, and no data are read.

    Parameters
    ----------
    files
        FITS files of NIRCam, MIRI or NIRISS.
    calibrated
        They are to be calibrated, and those of one filter alike.

    Returns
    -------
    exposures : list of Exposure
        In the order of their names.
    left_out : list of LeftOut
        What belongs to no mosaic, and why.

    Raises
    ------
    UnusableFiles
        When files cannot be read, an exposure occurs twice, or one is not calibrated.
    CeersError
        When no imaging is among them.
    """
    exposures: list[Exposure] = []
    left_out: list[LeftOut] = []
    unreadable: dict[Path, Exception] = {}
    of_filter: dict[tuple[str, str], list[tuple[Path, fits.Header]]] = {}
    for file in files:
        try:
            header = _read_header(file)
            instrument = str(header.get("INSTRUME", "no INSTRUME")).strip()
            reason = left_out_reason(header)
            if instrument not in INSTRUMENTS:
                reason = f"{instrument}, not NIRCam, MIRI or NIRISS"
            if reason is None:
                exposures.append(_from_header(file, header))
                kind = (instrument, filter_of(header))
                of_filter.setdefault(kind, []).append((file, header))
            else:
                left_out.append(LeftOut(file, exposure_name(file), reason))
        except (OSError, EOFError, ValueError, KeyError, fits.VerifyError) as err:
            unreadable[file] = err
    if unreadable:
        listed = [
            f"{file} ({getattr(err, 'strerror', None) or err})" for file, err in unreadable.items()
        ]
        raise UnusableFiles(
            f"{len(listed)} file(s) cannot be used: {'; '.join(listed[:3])}"
            f"{'; ...' if len(listed) > 3 else ''}. Make or fetch them again, or move them away.",
            [exposure_name(file) for file in unreadable],
        )
    if not exposures:
        lines = "; ".join(list_left_out(left_out)) or "no file"
        raise CeersError(f"No imaging of NIRCam, MIRI or NIRISS among the files ({lines}).")
    _check_unique(exposures)
    problems: dict[str, str] = {}
    for members in of_filter.values() if calibrated else ():
        problems |= group_problems(members)
    if problems:
        listed = [f"{file}: {reason}" for file, reason in problems.items()]
        raise UnusableFiles(
            f"{len(listed)} exposure(s) fit into no mosaic: {'; '.join(listed[:3])}"
            f"{'; ...' if len(listed) > 3 else ''}. Or move them away.",
            [exposure_name(file) for file in problems],
        )
    return sorted(exposures, key=lambda exposure: exposure.name), left_out


def plan_exposures(
    table: str | os.PathLike, folder: str | os.PathLike, suffix: str
) -> list[Exposure]:
    """Take the exposures of a table, whether their files exist already or not.

    Parameters
    ----------
    table
        ECSV with the columns ``exposure`` and ``filter``; ``pointing`` is used if it is there.
    folder
        Where the files will be.
    suffix
        Their level, ``cal``. Names after stage 3 carry the association's id.

    Returns
    -------
    list of Exposure
        Without footprints, in the order of their names.

    Raises
    ------
    CeersError
        When the table cannot be used.
    """
    check_regular(table, f"--exposures {table}")
    try:
        rows = Table.read(table, format="ascii.ecsv")
    except Exception as err:
        raise CeersError(f"--exposures {table}: not a readable ECSV table ({err}).") from err
    missing = {"exposure", "filter"} - set(rows.colnames)
    if missing:
        raise CeersError(
            f"--exposures {table}: no column {' nor '.join(sorted(missing))}; "
            f"found {', '.join(rows.colnames)}."
        )
    middle = f"_{ASN_ID}_" if suffix in AFTER_STAGE_3 else "_"
    exposures = []
    for row in rows:
        name = exposure_name(str(row["exposure"]).strip())
        match = _NAME.fullmatch(name)
        if match is None:
            raise CeersError(
                f"--exposures {table}: {name!r} is no exposure name. It must look like "
                "jw01345001001_02201_00001_nrca1."
            )
        exposures.append(
            Exposure(
                path=Path(folder) / f"{name}{middle}{suffix}.fits",
                name=name,
                program=match["program"],
                observation=match["observation"],
                visit=match["visit"],
                detector=name.rpartition("_")[2].upper(),
                filter=str(row["filter"]).upper(),
                pointing=str(row["pointing"]) if "pointing" in rows.colnames else "",
            )
        )
    if not exposures:
        raise CeersError(f"--exposures {table}: the table has no rows.")
    _check_unique(exposures)
    return sorted(exposures, key=lambda exposure: exposure.name)


def parse_s_region(text: str) -> tuple[NDArray[np.float64], ...]:
    """Return the polygons of an S_REGION.

    Parameters
    ----------
    text
        ``POLYGON ICRS  ra dec ra dec ...``, one or several; anything else, numbers that are none or
        no place on the sky too, gives no polygon.

    Returns
    -------
    tuple of ndarray
        Each (n, 2): RA and Dec, deg.
    """
    polygons = []
    for part in text.upper().split("POLYGON")[1:]:
        try:
            corners = np.array(part.replace("ICRS", " ").split(), dtype=float).reshape(-1, 2)
        except ValueError:  # a text, or an odd number of numbers
            continue
        if len(corners) >= 3 and (np.abs(corners) <= (360, 90)).all():
            polygons.append(corners)
    return tuple(polygons)


def _from_header(file: Path, header: fits.Header) -> Exposure:
    """Make an `Exposure` of header cards; a missing keyword is taken from the file name."""
    # a mosaic has the keywords of one of its exposures
    is_mosaic = header.get("S_RESAMP") == "COMPLETE" or file.stem.endswith("_i2d")
    name = exposure_name(file) if is_mosaic else identify(file, header)
    match = _NAME.match(name)
    named = match.groupdict() if match else {}
    numbers = {}
    for key, keyword in (("program", "PROGRAM"), ("observation", "OBSERVTN"), ("visit", "VISIT")):
        value = _word(header, keyword, numbers=True) or named.get(key)
        if not value:
            raise ValueError(f"no keyword {keyword}")
        _check_safe(keyword, value)
        numbers[key] = value.zfill(5 if key == "program" else 3)
    detector = _word(header, "DETECTOR")
    # every exposure but those of MIRI has a PUPIL; without it stage 2 finds no photometry and
    # goes on
    if detector != "MIRIMAGE" and "PUPIL" not in header:
        raise KeyError("Keyword 'PUPIL' not found.")
    filter_name = effective_filter(_word(header, "FILTER"), _word(header, "PUPIL"))
    _check_safe("FILTER and PUPIL", filter_name)
    _check_safe("DETECTOR", detector)
    return Exposure(
        path=file,
        name=name,
        **numbers,
        detector=detector,
        filter=filter_name,
        target=str(header.get("TARGPROP", "")).strip(),
        footprint=parse_s_region(str(header.get("S_REGION", ""))),
        start=_number(header, "EXPSTART", np.nan),
        end=_number(header, "EXPEND", np.nan),
        n_integrations=int(_number(header, "NINTS", 0)),
        n_groups=int(_number(header, "NGROUPS", 0)),
        contradiction="" if is_mosaic else identity_problem(file, header),
    )


def _word(header: fits.Header, keyword: str, *, numbers: bool = False) -> str:
    """Return a text; empty where there is none. With `numbers`, whole ones are texts too."""
    value = header.get(keyword)
    kinds = (str, int) if numbers else (str,)
    if value is None or isinstance(value, fits.card.Undefined):
        return ""
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{keyword}={value!r} is no text")
    return str(value).strip()


def _number(header: fits.Header, keyword: str, unknown: float) -> float:
    """Return a number; `unknown` where it is missing or none."""
    value = header.get(keyword)
    return float(value) if isinstance(value, (int, float)) else unknown


def _check_safe(keyword: str, value: str) -> None:
    """Raise `ValueError` for a value that cannot be a part of names of files and folders."""
    problem = name_problem(value)
    if problem:
        raise ValueError(f"{keyword}: {problem}")


def _check_unique(exposures: list[Exposure]) -> None:
    """Raise `CeersError` when an exposure stands in two files."""
    counts = Counter(exposure.name for exposure in exposures)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        paths = {
            name: [str(exposure.path) for exposure in exposures if exposure.name == name]
            for name in twice
        }
        raise UnusableFiles(
            f"{len(twice)} exposure(s) occur twice, {twice[0]} as {' and '.join(paths[twice[0]])}. "
            "Give each exposure once.",
            [path for _, *others in paths.values() for path in others],
        )


def _read_header(file: Path) -> fits.Header:
    """Read the cards of interest of the primary header and the first extension."""
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError("a pipe or device, no file")  # which would wait for ever
    with open(file, "rb", buffering=16 * BLOCK) as stream:
        primary = _read_cards(stream, PRIMARY)
        if primary.get("NAXIS", 0) != 0:
            return primary
        with contextlib.suppress(EOFError):
            primary.update(_read_cards(stream, ("S_REGION", *SCI_KEYWORDS)))
        return primary


def _read_cards(stream: BinaryIO, keywords: tuple[str, ...]) -> fits.Header:
    """Read one header to its end; parse the cards of some keywords, which takes most of the time.

    Raises
    ------
    EOFError
        When nothing is left to read.
    OSError
        When this is no FITS header, or it is cut off.
    """
    wanted = {keyword.ljust(8).encode() for keyword in keywords}
    kept: list[bytes] = []
    keep = first = True
    while True:
        block = stream.read(BLOCK)
        if first and not block:
            raise EOFError("nothing there")
        if len(block) < BLOCK or (first and block[:8] not in (b"SIMPLE  ", b"XTENSION")):
            raise OSError("not a complete FITS file")
        first = False
        for start in range(0, BLOCK, CARD):
            key = block[start : start + 8]
            if key == b"END     ":
                return fits.Header.fromstring(b"".join(kept).decode("ascii", errors="replace"))
            # long strings go on in CONTINUE cards
            keep = keep and bool(kept) if key == b"CONTINUE" else key in wanted
            if keep:
                kept.append(block[start : start + CARD])
