"""Reference files that a user gives in place of those of CRDS: are they what they are given for?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.check import looks_of
from ceers_steps.files.headers.look import Found
from ceers_steps.files.limits import check_regular, read_asdf_head

__all__ = ["check_given_references"]

_NOTHING = {"", "ANY", "N/A", "NONE", "GENERIC", "MULTIPLE"}
"""Values of keywords that say nothing."""

_PLANES = {"flat", "gain", "readnoise", "saturation", "mask", "superbias", "area", "linearity"}
"""Types with a value for each pixel of an exposure of NIRCam."""

_FLATS = (0.1, 10.0)
"""Median of a flat field, which is near 1."""


def check_given_references(step: Any, dataset: object) -> None:
    """Check reference files of ``override_<type>``: kind, instrument, detector, size.

    What a file does not say in its header is not judged. Nothing is read where none is given.

    Parameters
    ----------
    step : `~stpipe.Step`
        Step, or pipeline with its steps.
    dataset
        Its input, as `~ceers_steps.files.headers.check.check_input` takes it.

    Raises
    ------
    CeersError
        For a file that cannot be read, or is of another kind, instrument, detector or size.
    """
    given = {(kind, os.fspath(path)) for kind, path in _given(step)}
    if not given:
        return
    exposures = list(looks_of(dataset, type(step).__name__))
    for kind, path in sorted(given):
        header, shape = _header_of(kind, Path(path))
        for exposure in exposures:
            if problem := _mismatch(kind, header, shape, exposure):
                raise CeersError(
                    f"override_{kind}={path}: {problem}. Give the {kind} file of this exposure, or "
                    "leave it to CRDS."
                )


def _given(step: Any) -> Iterator[tuple[str, str]]:
    """Yield type and path of what is given; models in memory are the user's own."""
    steps = [getattr(step, name) for name in getattr(step, "step_defs", {})]
    for each in (step, *(one for one in steps if not one.skip)):
        for kind in each.reference_file_types:
            path = each.get_ref_override(kind)
            if path and path != "N/A" and not isinstance(path, JwstDataModel):
                yield kind, path


def _header_of(kind: str, path: Path) -> tuple[dict[str, str], tuple[int, ...]]:
    """Return the keywords of a reference file, and the shape of its SCI, empty if it has none."""
    name = f"override_{kind}={path}"
    check_regular(path, name)
    keys = ("REFTYPE", "INSTRUME", "DETECTOR")
    shape: tuple[int, ...] = ()
    try:
        if path.suffix == ".asdf":
            meta = read_asdf_head(path).get("meta") or {}
            instrument = meta.get("instrument") or {}
            values = (meta.get("reftype"), instrument.get("name"), instrument.get("detector"))
        else:
            with fits.open(path) as hdus:
                values = tuple(hdus[0].header.get(key) for key in keys)
                if not values[0] and "EXPSTART" in hdus[0].header:
                    raise ValueError("it is an exposure")
                if "SCI" in hdus and hdus["SCI"].is_image:
                    shape = hdus["SCI"].shape
                if kind == "flat" and shape:
                    _check_flat(hdus["SCI"].data)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as err:
        reason = " ".join(str(err).split())[:200]
        raise CeersError(
            f"{name} cannot be used ({reason}). Give a reference file, or leave it to CRDS."
        ) from err
    header = {
        key: str(value or "").strip().upper() for key, value in zip(keys, values, strict=True)
    }
    return header, shape


def _check_flat(values: np.ndarray) -> None:
    """Raise `ValueError` for values that are no response to light."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        raise ValueError("no pixel is above 0")
    middle = float(np.median(positive))
    if not _FLATS[0] <= middle <= _FLATS[1]:
        raise ValueError(f"its median is {middle:.3g}, that of a flat field is near 1")


def _mismatch(kind: str, header: dict[str, str], shape: tuple[int, ...], exposure: Found) -> str:
    """Say what keeps a reference from being that of an exposure; empty if nothing does."""
    if header["REFTYPE"] not in {*_NOTHING, kind.upper()}:
        return f"its REFTYPE is {header['REFTYPE']}"
    for key in ("INSTRUME", "DETECTOR"):
        found, own = header[key], str(exposure.values.get(key) or "").strip().upper()
        if found not in _NOTHING and own and found != own:
            return f"its {key} is {found}, that of {exposure.name} {own}"
    image = exposure.shapes.get("SCI", ())[-2:]
    if exposure.values.get("INSTRUME") != "NIRCAM" or kind not in _PLANES or not image:
        return ""
    # a larger one is that of the detector, or of a larger subarray: jwst cuts it
    if shape and (shape[-2] < image[0] or shape[-1] < image[1]):
        sizes = f"{shape[-2]} x {shape[-1]} pixels (rows x columns)"
        return f"it has {sizes}, {exposure.name} {image[0]} x {image[1]}"
    return ""
