"""What is known of an exposure without its pixels: of a file or of a model in memory."""

import io
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asdf
from astropy.io import fits
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.values import PATHS
from ceers_steps.files.limits import tree_problem, why_no_file
from ceers_steps.files.whole_files import NotWholeError, open_whole
from ceers_steps.names import header_problem

__all__ = ["PLANES", "Found", "look", "look_at_model"]

PLANES = ("ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "GROUPDQ")
"""Planes that have the shape of SCI; PIXELDQ has that of one frame of it."""

_FITS = {".fits", ".fit", ".fts"}
_WCS_TAG = b"stsci.edu:gwcs/wcs-"
_REFERENCE = re.compile(rb"source: ['\"]?fits:([A-Z0-9_]+),(\d+)")
_GROUPS = ("meta.cal_step", "meta.ceers_steps.*.metrics", "meta.ceers_steps.*.parameters")
"""What steps write names and values into."""

_ONCE = {"SCI", "PIXELDQ", "ASDF", "AREA", "GROUP", "INT_TIMES", *PLANES}


@dataclass(frozen=True)
class Found:
    """What is known of an exposure without its pixels.

    Attributes
    ----------
    name, kind : str
        Path or name, and ``DATAMODL``.
    shapes : dict
        Shape of SCI and the planes beside it, by EXTNAME; empty ones count as missing.
    empty : tuple of str
        Names of extensions that are there without pixels.
    values : Mapping
        Keywords of `~ceers_steps.files.headers.values.PATHS` that are there.
    has_wcs : bool
        Whether a world coordinate system is there.
    """

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    values: Mapping[str, Any]
    has_wcs: bool
    empty: tuple[str, ...] = ()


def look(item: object, keywords: Collection[str], step_name: str) -> Found | None:
    """Look at an exposure, file or model.

    Parameters
    ----------
    item
        Path or data model.
    keywords
        Those that are needed: the ASDF extension is read only where a header lacks one.
    step_name
        For messages.

    Returns
    -------
    Found or None
        None for what is neither a data model nor, by its name, a FITS file.

    Raises
    ------
    CeersError
        When the file is not there, is not whole, or has two extensions of one name.
    """
    if isinstance(item, JwstDataModel):
        return look_at_model(item)
    if not isinstance(item, (str, os.PathLike)):
        return None
    path = Path(item)
    name = path.name.lower()
    bare = Path(name.removesuffix(".gz"))
    if bare.suffix not in {*_FITS, ""}:
        return None
    if problem := header_problem(path.name):
        raise CeersError(f"{step_name}: the name of {str(path)!r} {problem}. Rename the file.")
    if problem := why_no_file(path):
        raise CeersError(f"{step_name}: input file {path} {problem}.")
    if bare.suffix in _FITS and not path.name.endswith((".fits", ".fits.gz")):
        remedy = "Unpack it with gunzip, or rename" if name.endswith(".gz") else "Rename"
        raise CeersError(
            f"{step_name}: {path}: jwst opens only files whose names end in .fits (or .fits.gz). "
            f"{remedy} it."
        )
    return _look_at_file(path, keywords, step_name)


def _look_at_file(path: Path, keywords: Collection[str], step_name: str) -> Found:
    """Read the headers of a file; no pixels."""
    try:
        with open_whole(path) as hdus:
            found, repeated = _look_at_hdus(path, hdus, keywords)
    except NotWholeError as err:
        raise CeersError(
            f"{step_name}: {path} is not a complete FITS file ({err}). Download or copy it again."
        ) from err
    if repeated:
        raise CeersError(
            f"{step_name}: {path} has {repeated[1]} extensions {repeated[0]}, of which only the "
            "first would be used. Leave one exposure in the file, with one extension of each name."
        )
    return found


def _look_at_hdus(
    path: Path, hdus: fits.HDUList, keywords: Collection[str]
) -> tuple[Found, tuple[str, int] | None]:
    """Return what the headers say, and the first name that occurs more than once."""
    names = [hdu.name for hdu in hdus]
    counts = [(name, names.count(name)) for name in names if name in _ONCE]
    repeated = next((each for each in counts if each[1] > 1), None)
    shapes: dict[str, tuple[int, ...]] = {}
    empty = []
    for hdu in hdus:
        _check_keywords(hdu)
        if hdu.name not in {"SCI", "PIXELDQ", *PLANES}:
            continue
        if not hdu.is_image:
            raise ValueError(f"its extension {hdu.name} is a table, not an image")
        n_axes = hdu.header.get("NAXIS", 0)
        shape = tuple(int(hdu.header[f"NAXIS{axis}"]) for axis in range(n_axes, 0, -1))
        if shape and 0 not in shape:
            shapes.setdefault(hdu.name, shape)
        else:
            empty.append(hdu.name)
    headers = [hdus[0].header] + ([hdus["SCI"].header] if "SCI" in names else [])
    values: dict[str, Any] = {}
    for header in headers:
        values.update({key: header[key] for key in PATHS if key in header})
    has_wcs = False
    if "ASDF" in names:
        tree = _tree(hdus)
        has_wcs = _WCS_TAG in tree
        # jwst takes what the headers do not say from here
        if not set(keywords) <= values.keys():
            values = {**_values_in(asdf.util.load_yaml(io.BytesIO(tree))), **values}
    elif "DATAMODL" in headers[0]:
        lost = ": the WCS is lost" if headers[0].get("S_WCS") == "COMPLETE" else ""
        raise ValueError(f"its last extension, ASDF, is missing{lost}")
    kind = str(headers[0].get("DATAMODL", ""))
    return Found(str(path), kind, shapes, values, has_wcs, tuple(empty)), repeated


def _check_keywords(hdu: Any) -> None:
    """Raise `ValueError` for a damaged keyword: astropy reads it, and writes none of it."""
    wrong = next((key for key in hdu.header if not (key.isascii() and key.isprintable())), "")
    if wrong:
        raise ValueError(f"its extension {hdu.name} has the keyword {wrong!r}")


def _tree(hdus: fits.HDUList) -> bytes:
    """Return the ASDF extension; `ValueError` where jwst could not read what it stands for."""
    if hdus["ASDF"].is_image:
        raise ValueError("its extension ASDF is an image, not a table")
    tree = hdus["ASDF"].data.tobytes()
    if problem := tree_problem(tree, _GROUPS):
        raise ValueError(f"its extension ASDF cannot be read: {problem}")
    for name, version in dict.fromkeys(_REFERENCE.findall(tree)):
        if (name.decode(), int(version)) not in hdus:
            raise ValueError(f"its extension {name.decode()} is missing")
    return tree


def _values_in(tree: object) -> dict[str, Any]:
    """Return the values of the keywords in the tree of a data model."""
    values = {}
    for key, (path, _) in PATHS.items():
        node: Any = tree
        for part in ("meta", *path.split(".")):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            values[key] = node
    return values


def look_at_model(model: JwstDataModel) -> Found:
    """Look at a model in memory.

    Parameters
    ----------
    model
        The exposure.

    Returns
    -------
    Found
        Without a look at its pixels.
    """
    names = {"SCI": "data", "PIXELDQ": "pixeldq", **{name: name.lower() for name in PLANES}}
    shapes = {}
    for name, attribute in names.items():
        plane = model.instance.get(attribute)
        if getattr(plane, "size", 0):
            shapes[name] = tuple(plane.shape)
    return Found(
        name=model.meta.filename or "the input",
        kind=type(model).__name__,
        shapes=shapes,
        values=_values_in(model.instance),
        has_wcs=model.instance.get("meta", {}).get("wcs") is not None,
    )
