"""Which exposures belong to a mosaic, and which of those to one mosaic: read off their keywords."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.names import NAME_KEYWORDS, effective_filter, identify, is_exposure_name

__all__ = [
    "KEYWORDS",
    "NAMES_IN_LINE",
    "SCI_KEYWORDS",
    "LeftOut",
    "check_once",
    "check_one_filter",
    "filter_of",
    "group_problems",
    "identity_in",
    "identity_of",
    "is_calibrated_unit",
    "is_rate_unit",
    "keywords_of",
    "left_out_reason",
    "list_left_out",
]

PATHS = {
    "INSTRUME": "meta.instrument.name",
    "EXP_TYPE": "meta.exposure.type",
    "FILTER": "meta.instrument.filter",
    "PUPIL": "meta.instrument.pupil",
    "PILIN": "meta.instrument.pupil_imaging_lens",
    "CORONMSK": "meta.instrument.coronagraph",
    "VISITYPE": "meta.visit.type",
    "PCS_MODE": "meta.guidestar.gs_pcs_mode",
    "S_WCS": "meta.cal_step.assign_wcs",
    "S_FLAT": "meta.cal_step.flat_field",
    "S_PHOTOM": "meta.cal_step.photom",
    "BUNIT": "meta.bunit_data",
}
"""Where the data models of jwst keep the keywords that are looked at."""

NAMES_IN_LINE = 3
"""Exposures that a line for people names; the others are counted."""

SCI_KEYWORDS = ("BUNIT",)
"""Those of `PATHS` that stand in the header of the image."""

KEYWORDS = tuple(name for name in PATHS if name not in SCI_KEYWORDS)
"""Those of `PATHS` that stand in the primary header."""

STEPS = {"S_WCS": "assign_wcs", "S_FLAT": "flat_field", "S_PHOTOM": "photom"}
"""Steps of stage 2 without which an exposure fits no mosaic, by the keyword of their status."""

_TYPES = {
    "DARK": "a dark",
    "FLAT": "a flat field",
    "LED": "a lamp",
    "LAMP": "a lamp",
    "FOCUS": "a focus sweep",
    "TACQ": "a target acquisition",
    "TACONFIRM": "a target acquisition",
    "WFSC": "wavefront sensing",
    "CORON": "coronagraphy",
    "GRISM": "grism spectra",
    "WFSS": "grism spectra",
    "TSGRISM": "grism spectra",
    "TSIMAGE": "a time series",
}
"""What an exposure is, by the end of EXP_TYPE."""

_NOTHING = {"", "NONE", "N/A", "NULL", "ANY"}
"""Values of keywords that say nothing."""

_LENSES = {"WLP8", "WLM8", "WLP4", "FLENS"}
"""Elements of NIRCam's wheels that put the image out of focus."""


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used.

    Attributes
    ----------
    path : Path
        The file.
    name : str
        Of the exposure.
    reason : str
        Why, for people.
    """

    path: Path
    name: str
    reason: str


def keywords_of(metadata: Any) -> dict[str, object]:
    """Return the keywords that are looked at, of a data model or its flat metadata.

    Parameters
    ----------
    metadata : mapping or `~stdatamodels.jwst.datamodels.JwstDataModel`
        Metadata by the paths of jwst's data models: ``meta.exposure.type``.

    Returns
    -------
    dict
        By FITS keyword, those that are there.
    """
    is_flat = isinstance(metadata, Mapping)
    found = {
        name: metadata.get(path) if is_flat else _value(metadata, path)
        for name, path in PATHS.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _value(model: Any, path: str) -> object:
    """Return metadata of a data model, None where there are none."""
    node = model
    for part in path.split("."):
        node = getattr(node, part, None)
    return node


def identity_of(model: Any, filename: str | None = None) -> str:
    """Return the name of the exposure that a data model holds, whatever its file is called.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Its file name counts, then its keywords.
    filename
        What counts as the file name where the model has none.

    Returns
    -------
    str
        See `~ceers_steps.names.identify`.
    """
    keywords = {name: _value(model, path) for name, path in NAME_KEYWORDS.items()}
    return identify(model.meta.filename or filename or "", keywords)


def identity_in(metadata: Mapping[str, Any]) -> str:
    """Return the name of the exposure that flat metadata are of, whatever its file is called.

    Parameters
    ----------
    metadata : mapping
        By the paths of jwst's data models, as a library returns them.

    Returns
    -------
    str
        See `~ceers_steps.names.identify`.
    """
    keywords = {name: metadata.get(path) for name, path in NAME_KEYWORDS.items()}
    return identify(metadata.get("meta.filename") or "", keywords)


def left_out_reason(keywords: Mapping[str, object]) -> str | None:
    """Say why an exposure belongs to no mosaic.

    The images of wavefront sensing are of the type NRC_IMAGE as well; only the lens in the pupil
    wheel or the kind of visit tells.

    Parameters
    ----------
    keywords
        Header of the exposure; those of `KEYWORDS` are looked at, and those that are missing say
        nothing but EXP_TYPE.

    Returns
    -------
    str or None
        The reason with the keyword that gives it; None for an image of the sky.
    """
    given = {name: str(keywords.get(name, "")).strip().upper() for name in PATHS}
    kind = given["EXP_TYPE"]
    if kind in _NOTHING:
        return "it has no EXP_TYPE"
    ending = kind.partition("_")[2]
    if ending != "IMAGE":
        what = _TYPES.get(ending, "a dark" if ending.startswith("DARK") else "no imaging")
        return f"{what} (EXP_TYPE {kind})"
    for wheel in ("PUPIL", "FILTER"):
        element = given[wheel]
        if element in _LENSES:
            return f"wavefront sensing with a weak lens ({wheel} {element})"
        if element.startswith(("GRISM", "GDHS", "GR150", "GR700")):
            return f"grism spectra ({wheel} {element})"
        if element.startswith("MASK"):
            return f"behind a coronagraph mask ({wheel} {element})"
        if element in {"FLAT", "PINHOLES"}:
            return f"a lamp ({wheel} {element})"
        if element in {"OPAQUE", "NRM"}:
            return f"no image of the sky ({wheel} {element})"
    if given["PILIN"] in {"T", "TRUE"}:
        return "an image of the pupil (PILIN T)"
    if given["CORONMSK"] not in _NOTHING:
        return f"behind a coronagraph mask (CORONMSK {given['CORONMSK']})"
    visit = given["VISITYPE"]
    if "WFSC" in visit:
        return f"wavefront sensing (VISITYPE {visit})"
    if visit in {"PARALLEL_DARK_CALIBRATION", "PARALLEL_SLEW_CALIBRATION"}:
        return f"a calibration without a field (VISITYPE {visit})"
    # NONE means that nothing was guided on
    if given["PCS_MODE"] in {"COARSE", "NONE"}:
        return f"guiding failed (PCS_MODE {given['PCS_MODE']})"
    return None


def list_left_out(left_out: Iterable[LeftOut]) -> tuple[str, ...]:
    """Return one line for each reason to leave exposures out.

    Parameters
    ----------
    left_out
        What is left out.

    Returns
    -------
    tuple of str
        Lines for people, the reason with the most exposures first.
    """
    names: dict[str, list[str]] = {}
    for each in left_out:
        names.setdefault(each.reason, []).append(each.name)
    lines = []
    for reason, members in sorted(names.items(), key=lambda item: -len(item[1])):
        listed = ", ".join(members[:NAMES_IN_LINE]) + (
            ", ..." if len(members) > NAMES_IN_LINE else ""
        )
        lines.append(f"left out, {reason}: {len(members)} ({listed})")
    return tuple(lines)


def check_once(members: Iterable[tuple[str, str]]) -> None:
    """Check that no exposure stands in two files, whatever they are called.

    Parameters
    ----------
    members
        Name of each file, and of the exposure that it holds (`identity_of`).

    Raises
    ------
    CeersError
        When two are of one exposure. Exposures without a name of the archive are not judged.
    """
    files: dict[str, str] = {}
    for name, identity in members:
        if is_exposure_name(identity) and identity in files:
            raise CeersError(
                f"{files[identity]} and {name} are both of exposure {identity}, which would count "
                "twice. Take one of them out."
            )
        files[identity] = name


def check_one_filter(members: Iterable[Mapping[str, object]], what: str) -> None:
    """Check that all exposures of a mosaic are of one filter.

    Parameters
    ----------
    members
        Keywords of each exposure; FILTER and PUPIL are looked at.
    what
        What the exposures are of, for the message: ``The list``.

    Raises
    ------
    CeersError
        When there are several filters.
    """
    filters = sorted({filter_of(keywords) for keywords in members})
    if len(filters) > 1:
        listed = " and ".join(name or "no FILTER" for name in filters)
        raise CeersError(
            f"{what} has exposures in {listed}, which would become one mosaic. Give one list per "
            "filter, or an association with one product per filter (ceers associate)."
        )


def filter_of(keywords: Mapping[str, object]) -> str:
    """Return the filter that decides, in the filter or the pupil wheel.

    Parameters
    ----------
    keywords
        Header of an exposure; FILTER and PUPIL are looked at.

    Returns
    -------
    str
        Name of the filter; empty if there is none.
    """
    wheels = (str(keywords.get(name) or "").strip() for name in ("FILTER", "PUPIL"))
    return effective_filter(*wheels)


def group_problems(
    members: Sequence[tuple[str | os.PathLike, Mapping[str, object]]],
) -> dict[str, str]:
    """Say which of the calibrated exposures of one mosaic do not fit into it, and why.

    An exposure fits when what stage 2 must do has been done, and its instrument, filter, pupil and
    unit are those of most of the others. Statuses that are missing altogether are not judged where
    BUNIT says that the image is calibrated: programs that write such files exist.

    Parameters
    ----------
    members
        Name and keywords of each exposure; those of `KEYWORDS` and `SCI_KEYWORDS` are looked at.

    Returns
    -------
    dict
        The reason by name, of those that do not fit; empty when all fit.
    """
    problems: dict[str, str] = {}
    given = {
        str(name): {key: str(keywords.get(key, "")).strip() for key in PATHS}
        for name, keywords in members
    }
    for name, values in given.items():
        statuses = {key: values[key].upper() for key in STEPS}
        lost = not any(statuses.values()) and is_calibrated_unit(values["BUNIT"])
        undone = {key: status for key, status in statuses.items() if status != "COMPLETE"}
        if undone and not lost:
            listed = ", ".join(
                f"{STEPS[key]} is {said or 'not done'}" for key, said in undone.items()
            )
            problems[name] = f"{listed}; run stage 2 (CeersImage2) again"
    for title, kinds in {
        "instrument": {name: values["INSTRUME"].upper() for name, values in given.items()},
        "filter": {name: filter_of(values) for name, values in given.items()},
        "pupil": {name: values["PUPIL"].upper() for name, values in given.items()},
        "unit (BUNIT)": {name: values["BUNIT"] for name, values in given.items()},
    }.items():
        counts = Counter(kind.replace(" ", "").upper() for kind in kinds.values())
        if len(counts) < 2:
            continue
        # of as many of both an image of counts is the one that does not fit
        usual = max(counts, key=lambda kind: (counts[kind], is_calibrated_unit(kind)))
        of_most = next(kind for kind in kinds.values() if kind.replace(" ", "").upper() == usual)
        for name, kind in kinds.items():
            if kind.replace(" ", "").upper() != usual and name not in problems:
                most = "most" if counts[usual] * 2 > len(given) else "others"
                problems[name] = (
                    f"its {title} is {kind or 'missing'}, that of {most} of the {len(given)} "
                    f"exposures {of_most or 'missing'}"
                )
    return problems


def is_calibrated_unit(unit: str | None) -> bool:
    """Say whether a unit is one of calibrated images, of flux or surface brightness.

    Parameters
    ----------
    unit
        BUNIT.

    Returns
    -------
    bool
        False for counts (``DN/s``, ``e-/s``) and for no unit.
    """
    text = (unit or "").replace(" ", "").upper()
    return "JY" in text or text.startswith("ERG")


def is_rate_unit(unit: str | None) -> bool:
    """Say whether a unit may be that of a rate image before calibration, data numbers per second.

    Some programs leave out the time.

    Parameters
    ----------
    unit
        BUNIT.

    Returns
    -------
    bool
        True where there is none; False for electrons, which photometry would take for data
        numbers, and for what is no unit.
    """
    text = re.sub(r"[\s*.()^]", "", unit or "").lower()
    return re.fullmatch(r"((dn|adu|count|ct)s?(/s(ec(ond)?)?|s-1)?)?", text) is not None
