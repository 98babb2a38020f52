"""Keywords of NIRCam images: what is missing but follows from others is filled in, or it is named.

Pure functions on header values and the shape of the array: no file is read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation, offset_by

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.nircam import (
    CENTRES,
    DETECTORS,
    FRAME_TOLERANCE,
    HALF_SIDES,
    KINDS,
    SUBARRAYS,
)
from ceers_steps.files.headers.rules import RULES, Shape, Values, sizes_of
from ceers_steps.files.headers.values import PATHS, REPAIR, check_value, is_missing
from ceers_steps.names import exposure_name, identity_problem, is_exposure_name

__all__ = ["Completed", "complete_keywords"]

_OF_DETECTOR = ("MODULE", "CHANNEL")
_DISPERSED = ("NRC_WFSS", "NRC_TSGRISM")
_INSTRUMENTS = ("NIRCAM", "NIRISS", "NIRSPEC", "MIRI", "FGS")


@dataclass(frozen=True)
class Completed:
    """What was missing and follows from the rest.

    Attributes
    ----------
    values : dict
        New values by keyword.
    notes : tuple of str
        What was filled in, and from what; what a later stage will miss; a name that is that of
        another exposure. For the log.
    """

    values: dict[str, Any]
    notes: tuple[str, ...]


def complete_keywords(
    values: Values,
    shape: Shape | None,
    name: str,
    *,
    needs: Iterable[str] = (),
    later: Iterable[str] = (),
) -> Completed:
    """Check the keywords of an image of NIRCam; fill in what is missing and follows from others.

    Other instruments and modes are left to jwst: nothing is checked, nothing filled in.

    Parameters
    ----------
    values
        By keyword (`PATHS`); what is missing, None or an empty text counts as missing.
    shape
        Of the science array, ``(..., ny, nx)``; None if it is not known.
    name
        Of the file, for messages.
    needs
        Keywords without which the work cannot be done.
    later
        Keywords that only later stages need: those that do not follow are noted.

    Returns
    -------
    Completed
        New values of `needs` and `later`.

    Raises
    ------
    CeersError
        When a keyword is missing and does not follow from others, has another type, or does not
        agree with others or with the array.
    """
    known = {key: value for key, value in values.items() if not is_missing(value)}
    needs, later = list(needs), list(later)
    _check_instrument(name, known)
    if "V2_REF" in needs:
        _check_coordinates(name, known)
    if not _is_nircam_image(known):
        return Completed({}, ())
    for key in PATHS:  # in this order: of several that are wrong the same one is named each time
        if key in known:
            check_value(name, key, known[key])
    sizes = {key: size for key, size in sizes_of(shape).items() if key not in known}
    filled: dict[str, tuple[Any, str]] = {
        key: (size, "from the array") for key, size in sizes.items()
    }
    known |= sizes
    # a value may follow from one that has only just been found
    for _ in range(2):
        for key, rule in RULES.items():
            if key not in known and (found := rule(known)) is not None:
                filled[key] = found
                known[key] = found[0]
    _check_agreement(name, known, shape)
    if "V2_REF" in (*needs, *later):
        _check_place(name, known, shape)
    missing = [key for key in needs if key not in known]
    if missing:
        plural = "" if len(missing) == 1 else "s"
        raise CeersError(
            f"{name}: no keyword{plural} {', '.join(missing)}, and the others do not tell "
            "the value. Download the file again, or write it into the file: "
            f"astropy.io.fits.setval(FILE, {missing[0]!r}, value=...)."
        )
    wanted = [key for key in dict.fromkeys([*needs, *later]) if key in filled]
    notes = [f"{key}={filled[key][0]} is filled in ({filled[key][1]})" for key in wanted]
    notes += [f"no {key}: {_without(key)}" for key in later if key not in known]
    if problem := identity_problem(name, known):
        notes.append(f"{problem}. Is the file that of another exposure?")
    return Completed({key: filled[key][0] for key in wanted}, tuple(notes))


def _without(key: str) -> str:
    """Return what happens without a keyword that only later stages need."""
    if key == "VA_SCALE":
        return "1 stands for it, which moves the corners by up to 10 mas"
    return "a later stage needs it"


def _is_nircam_image(known: Values) -> bool:
    """Say whether these are the keywords of an image of NIRCam, as far as they tell."""
    detector = known.get("DETECTOR")
    if known.get("INSTRUME", "NIRCAM") != "NIRCAM" or known.get("EXP_TYPE") not in (
        None,
        "NRC_IMAGE",
    ):
        return False
    return "INSTRUME" in known or detector is None or detector in DETECTORS


def _check_instrument(name: str, known: Values) -> None:
    """Raise `CeersError` for a telescope, instrument or kind of exposure that is none of JWST."""
    if known.get("TELESCOP", "JWST") != "JWST":
        raise CeersError(f"{name}: TELESCOP={known['TELESCOP']!r}, it must be JWST. {REPAIR}")
    instrument, kind = known.get("INSTRUME", "NIRCAM"), known.get("EXP_TYPE", "NRC_IMAGE")
    if instrument not in _INSTRUMENTS:
        raise CeersError(
            f"{name}: INSTRUME={instrument!r}, it must be one of {', '.join(_INSTRUMENTS)}. "
            f"{REPAIR}"
        )
    if not isinstance(kind, str) or (instrument == "NIRCAM" and kind not in (*KINDS, "ANY")):
        raise CeersError(
            f"{name}: EXP_TYPE={kind!r} is none of {instrument}; images have NRC_IMAGE. {REPAIR}"
        )


def _check_coordinates(name: str, known: Values) -> None:
    """Raise `CeersError` for kinds of exposures of which jwst cannot make coordinates."""
    kind, pupil = known.get("EXP_TYPE"), str(known.get("PUPIL", "GRISMR"))
    if kind in _DISPERSED and not pupil.startswith(("GRISM", "GDHS")):
        problem = f"is that of spectra, but PUPIL={pupil} disperses nothing"
    elif kind == "NRC_WFSC":
        problem = "is one of which jwst makes no coordinates"
    else:
        return
    raise CeersError(f"{name}: EXP_TYPE={kind} {problem}. Images have NRC_IMAGE. {REPAIR}")


def _check_agreement(name: str, known: Values, shape: Shape | None) -> None:
    """Raise `CeersError` where keywords contradict each other or the array."""
    if shape is not None and len(shape) >= 2:
        array = f"the array has {shape[-1]} columns and {shape[-2]} rows"
        size = known.get("SUBSIZE1", shape[-1]), known.get("SUBSIZE2", shape[-2])
        if size != (shape[-1], shape[-2]):
            raise CeersError(
                f"{name}: SUBSIZE1={size[0]} and SUBSIZE2={size[1]}, but {array}. Was the image "
                f"cut or turned? {REPAIR}"
            )
        named = _size_of(known.get("SUBARRAY"))
        if named is not None and named != size:
            raise CeersError(
                f"{name}: SUBARRAY={known['SUBARRAY']} has {named[0]} columns and {named[1]} rows, "
                f"but {array}. {REPAIR}"
            )
        for axis, start in (("1", "SUBSTRT1"), ("2", "SUBSTRT2")):
            if known.get(start, 1) + size[int(axis) - 1] - 1 > 2048:
                raise CeersError(
                    f"{name}: {start}={known[start]}, but {array}: that is not within the 2048 "
                    f"pixels of the detector. {REPAIR}"
                )
    if shape is not None and len(shape) == 4:
        counted = {"NGROUPS": shape[1]}
        if "INTSTART" not in known:  # of a segment NINTS counts those of all segments
            counted["NINTS"] = shape[0]
        for key, number in counted.items():
            if known.get(key, number) != number:
                what = "groups" if key == "NGROUPS" else "integrations"
                raise CeersError(
                    f"{name}: {key}={known[key]}, but the array has {number} {what}. {REPAIR}"
                )
    for key in _OF_DETECTOR:
        follows = RULES[key](known)
        if follows is not None and known.get(key, follows[0]) != follows[0]:
            raise CeersError(
                f"{name}: {key}={known[key]}, but that of DETECTOR={known['DETECTOR']} is "
                f"{follows[0]}. {REPAIR}"
            )
    times = [known[key] for key in ("TGROUP", "TFRAME", "NFRAMES", "GROUPGAP") if key in known]
    if len(times) == 4:
        group, frame, n_frames, gap = times
        if abs(group / (frame * (n_frames + gap)) - 1) > FRAME_TOLERANCE:
            raise CeersError(
                f"{name}: TGROUP={group} s is not TFRAME={frame} s times NFRAMES={n_frames} plus "
                f"GROUPGAP={gap}. {REPAIR}"
            )


def _check_place(name: str, known: Values, shape: Shape | None) -> None:
    """Raise `CeersError` for a reference point off the detector, or where it does not look.

    Only of exposures of the archive, by FILENAME: headers made up for a test have any place.
    """
    if not is_exposure_name(exposure_name(str(known.get("FILENAME", "")))):
        return
    detector = known.get("DETECTOR")
    masked = str(known.get("PUPIL", "")).startswith("MASK")  # its wedge moves the image
    if detector in CENTRES and {"V2_REF", "V3_REF"} <= known.keys() and not masked:
        half = HALF_SIDES["LONG" if detector.endswith("LONG") else "SHORT"]
        for key, centre in zip(("V2_REF", "V3_REF"), CENTRES[detector], strict=True):
            if abs(known[key] - centre) > half:
                raise CeersError(
                    f"{name}: {key}={known[key]} is not on {detector}, which reaches from "
                    f"{centre - half:.0f} to {centre + half:.0f} arcsec. Is it that of another "
                    f"detector? {REPAIR}"
                )
    if {"RA_REF", "DEC_REF", "V2_REF", "V3_REF", *_AXIS} <= known.keys() and not masked:
        seen = np.deg2rad([known["RA_REF"], known["DEC_REF"]])
        distance = np.rad2deg(angular_separation(*seen, *_place_of(known))) * 3600
        if distance > _IN_IMAGE:
            raise CeersError(
                f"{name}: RA_REF={known['RA_REF']}, DEC_REF={known['DEC_REF']} are {distance:.4g} "
                f"arcsec from where RA_V1={known['RA_V1']}, DEC_V1={known['DEC_V1']} and "
                f"PA_V3={known['PA_V3']} put V2_REF and V3_REF, more than {_IN_IMAGE:g}. Is one "
                f"that of another exposure? {REPAIR}"
            )
    if {"RA_REF", "DEC_REF", "CRVAL1", "CRVAL2"} <= known.keys():
        places = np.deg2rad([known[key] for key in ("RA_REF", "DEC_REF", "CRVAL1", "CRVAL2")])
        distance = np.rad2deg(angular_separation(*places)) * 3600
        # a raw file has one place twice; in calibrated ones CRVAL is that of the middle
        most = _SAME_PLACE if shape is not None and len(shape) == 4 else _IN_IMAGE
        if distance > most:
            raise CeersError(
                f"{name}: RA_REF={known['RA_REF']}, DEC_REF={known['DEC_REF']} and "
                f"CRVAL1={known['CRVAL1']}, CRVAL2={known['CRVAL2']} are {distance:.4g} arcsec "
                f"apart, more than {most:g}. Is one that of another exposure? {REPAIR}"
            )


_AXIS = ("RA_V1", "DEC_V1", "PA_V3")


def _place_of(known: Values) -> tuple[float, float]:
    """Return right ascension and declination (rad) of V2_REF, V3_REF, from the telescope's axis.

    In 13 raw and calibrated exposures of the archive they are RA_REF, DEC_REF to 0.1 mas.
    """
    v2, v3 = np.deg2rad([known["V2_REF"] / 3600, known["V3_REF"] / 3600])
    ra, dec, angle = np.deg2rad([known[key] for key in _AXIS])
    distance = np.arccos(np.cos(v2) * np.cos(v3))
    bearing = angle + np.arctan2(np.cos(v3) * np.sin(v2), np.sin(v3))
    place = offset_by(ra, dec, bearing, distance)
    return float(place[0].rad), float(place[1].rad)


_SAME_PLACE, _IN_IMAGE = 1.0, 100.0
"""Arcsec between two references of one pixel, and of two pixels of one image."""


def _size_of(subarray: str | None) -> tuple[int, int] | None:
    """Return columns and rows of a subarray that is known by its name."""
    if subarray == "FULL":
        return 2048, 2048
    sides = {window[2] for windows in SUBARRAYS.values() if (window := windows.get(subarray or ""))}
    return (side := sides.pop(), side) if sides else None
