"""Names: of exposures, filters, a variable, safe parts of file names. Nothing is read from disk."""

import os
import re
from collections.abc import Mapping
from pathlib import PurePath

__all__ = [
    "INSTRUMENTS",
    "NAME_KEYWORDS",
    "TEMPLATE_VARIABLE",
    "effective_filter",
    "exposure_name",
    "header_problem",
    "identify",
    "identity_problem",
    "is_exposure_name",
    "name_problem",
    "text_problem",
    "whole_number",
]

INSTRUMENTS = ("NIRCAM", "MIRI", "NIRISS")
"""Instruments whose images are combined, as in the INSTRUME keyword."""

NAME_KEYWORDS = {
    "PROGRAM": "meta.observation.program_number",
    "OBSERVTN": "meta.observation.observation_number",
    "VISIT": "meta.observation.visit_number",
    "VISITGRP": "meta.observation.visit_group",
    "SEQ_ID": "meta.observation.sequence_id",
    "ACT_ID": "meta.observation.activity_id",
    "EXPOSURE": "meta.observation.exposure_number",
    "DETECTOR": "meta.instrument.detector",
}
"""Keywords that the name of an exposure is made of, and where the data models of jwst have them."""


TEMPLATE_VARIABLE = "NIRCAM_WISP_TEMPLATES"
"""Environment variable with directories of wisp templates, separated as in PATH."""

_EXPOSURE = re.compile(
    r"(?:^|(?<=[^A-Za-z0-9]))"
    r"(?P<name>jw\d{11}_\w{5}_\d{5}(?:-seg\d{3})?_(?:nrc|mir|nis|nrs|guider)[a-z0-9]*)(?:_|\.|$)",
    re.ASCII,
)
"""An exposure name, also after what a program has put before it (``bkgfix_jw...``)."""

_PARTS = re.compile(
    r"jw(\d{5})(\d{3})(\d{3})_(\w{2})(\w)(\w{2})_(\d{5})(?:-seg\d{3})?_([a-z0-9]+)", re.ASCII
)
"""What the name of an exposure is made of, in the order of `NAME_KEYWORDS`."""

LONGEST_PART, LONGEST_PATH = 255, 3000
"""Bytes of a file name, and of a path: file systems take 4095, with the folders before it."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)

DIGITS = 18
"""Digits of a number that comes from outside: more are no size, count or time."""

LONGEST = 200
"""Characters of a name that comes from outside: file systems take 255 with all suffixes."""


def exposure_name(filename: str | os.PathLike) -> str:
    """Return the exposure part of a JWST product name.

    Parameters
    ----------
    filename
        Name or path of a product. What stands before the exposure name does not matter.

    Returns
    -------
    str
        Of ``jw01345001001_02201_00001_nrca1_rate.fits`` the part
        ``jw01345001001_02201_00001_nrca1``. A name of another form loses its extension and what
        follows the last underscore.
    """
    name = PurePath(filename).name
    match = _EXPOSURE.search(name)
    if match:
        return match["name"]
    stem = name.split(".")[0]
    return stem.rpartition("_")[0] or stem


def identify(filename: str | os.PathLike, keywords: Mapping[str, object]) -> str:
    """Return the name of an exposure, whatever its file is called.

    Parameters
    ----------
    filename
        Name or path of the file.
    keywords
        Header of the exposure; FILENAME and `NAME_KEYWORDS` are looked at.

    Returns
    -------
    str
        The exposure name that the file name holds; else that of FILENAME; else that of the
        keywords. Where none of them has one, the file name as `exposure_name` cuts it.
    """
    name = exposure_name(filename)
    for found in (name, exposure_name(str(keywords.get("FILENAME") or "")), _joined(keywords)):
        if is_exposure_name(found):
            return found
    return name


def identity_problem(filename: str | os.PathLike, keywords: Mapping[str, object]) -> str:
    """Say where the name of an exposure, its FILENAME and its keywords are of two exposures.

    Parameters
    ----------
    filename
        Name or path of the file.
    keywords
        Header of the exposure; FILENAME and `NAME_KEYWORDS` are looked at, and those that are
        missing say nothing.

    Returns
    -------
    str
        Empty where nothing contradicts, and for names that are not of the archive.
    """
    names = {"its name": filename, "FILENAME": str(keywords.get("FILENAME") or "")}
    said = {
        source: match
        for source, name in names.items()
        if (match := _PARTS.fullmatch(exposure_name(name)))
    }
    if len({match.groups() for match in said.values()}) > 1:
        exposures = [match.group() for match in said.values()]
        return f"its name is that of exposure {exposures[0]}, its FILENAME that of {exposures[1]}"
    for source, match in said.items():
        for (key, value), part in zip(_words(keywords).items(), match.groups(), strict=True):
            if value and value.lstrip("0").lower() != part.lstrip("0").lower():
                return f"{key}={value}, but {source} is that of exposure {match.group()}"
    return ""


def _words(keywords: Mapping[str, object]) -> dict[str, str]:
    """Return `NAME_KEYWORDS` as texts; empty where one is missing or neither text nor number."""
    found = {key: keywords.get(key) for key in NAME_KEYWORDS}
    return {
        key: str(value).strip()
        if isinstance(value, (str, int)) and not isinstance(value, bool)
        else ""
        for key, value in found.items()
    }


def _joined(keywords: Mapping[str, object]) -> str:
    """Return the exposure name that keywords give; of no form where one is missing."""
    words = {key: str(keywords.get(key) or "").strip() for key in NAME_KEYWORDS}
    return (
        f"jw{words['PROGRAM']:0>5}{words['OBSERVTN']:0>3}{words['VISIT']:0>3}_"
        f"{words['VISITGRP']:0>2}{words['SEQ_ID']}{words['ACT_ID']:0>2}_"
        f"{words['EXPOSURE']:0>5}_{words['DETECTOR'].lower()}"
        if all(words.values())
        else ""
    )


def is_exposure_name(name: str) -> bool:
    """Say whether a text is the name of an exposure of JWST, without suffix and extension.

    Parameters
    ----------
    name
        The text.

    Returns
    -------
    bool
        True for ``jw01345001001_02201_00001_nrca1``.
    """
    match = _EXPOSURE.fullmatch(name)
    return match is not None and match["name"] == name


def effective_filter(filter_name: str | None, pupil: str | None) -> str:
    """Return the name of the filter that decides: one in the pupil wheel beats its host.

    Parameters
    ----------
    filter_name, pupil
        FILTER and PUPIL of the exposure.

    Returns
    -------
    str
        ``F162M`` for F150W2 with F162M in the pupil wheel, else FILTER.
    """
    pupil = (pupil or "").upper()
    is_filter = pupil.startswith("F") and pupil[1:4].isdigit()
    return pupil if is_filter else (filter_name or "").upper()


def name_problem(name: object) -> str:
    """Say what keeps a value from a header or a file from being part of a file name.

    Parameters
    ----------
    name
        The value.

    Returns
    -------
    str
        Empty when it can be: letters, digits, ``.``, ``_``, ``+`` and ``-``, the first a letter
        or a digit, at most `LONGEST` characters.
    """
    if not isinstance(name, str):
        return f"{name!r} is no text ({type(name).__name__})"
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"{name[:20]!r}... has {len(name)} characters, more than {LONGEST}"
    if not _SAFE.fullmatch(name):
        return f"{name!r} has other characters than letters, digits, '.', '_', '+' and '-'"
    return ""


def header_problem(text: str) -> str:
    """Say what keeps a text, a file name for instance, from being a value in a FITS header.

    Parameters
    ----------
    text
        The text.

    Returns
    -------
    str
        Empty when it can be: printable ASCII.
    """
    if "\n" in text or "\r" in text:
        return "has a line break, which FITS headers cannot hold"
    wrong = next((each for each in text if not (each.isascii() and each.isprintable())), "")
    return f"has {wrong!r}, which FITS headers cannot hold (only printable ASCII)" if wrong else ""


def text_problem(text: str) -> str:
    """Say what keeps a text from being a value, or a path, in files that the package writes.

    Parameters
    ----------
    text
        The text.

    Returns
    -------
    str
        Empty when it can be: no line breaks or other control characters, and no more characters
        than file systems take.
    """
    if not text.isprintable():
        return "it has a line break or another character that cannot be printed"
    parts = [len(os.fsencode(part)) for part in PurePath(text).parts]
    if max(parts, default=0) > LONGEST_PART or len(os.fsencode(text)) > LONGEST_PATH:
        return f"it has {len(text)} characters, more than a file system takes"
    return ""


def whole_number(text: str) -> int | None:
    """Return the number that a text from outside is.

    Parameters
    ----------
    text
        The text; ``str.isdigit`` takes more than ``int`` does (superscripts), and ``int`` more
        than is meant (spaces, signs, underscores, digits of other scripts).

    Returns
    -------
    int or None
        None unless it is 1 to `DIGITS` digits from 0 to 9.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None
