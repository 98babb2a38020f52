"""World coordinate systems in files of their own, as CEERS published them: ``*_tweakreg.asdf``."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asdf
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.limits import asdf_tree_problem, check_regular, why_no_file
from ceers_steps.files.membership import identity_of
from ceers_steps.names import exposure_name

__all__ = [
    "WcsFile",
    "find_wcs_file",
    "read_wcs_file",
    "wcs_file_name",
    "wcs_inputs",
    "write_wcs_file",
]

_NUMBERS = re.compile(
    r"(v2|v3|ra|dec|roll)_ref|v3yangle|vparity|velosys|wcsaxes|lonpole|latpole|mjdref"
    r"|(crpix|crval|cdelt)[12]|(cd|pc)[12]_[12]|[ab]p?_(order|[0-9]_[0-9])|sip(mx|iv)err"
)
"""Keywords of ``wcsinfo`` that must be finite numbers where they are given."""


@dataclass(frozen=True)
class WcsFile:
    """What a file holds.

    Attributes
    ----------
    path : Path
        The file.
    filename : str
        Name of the image that the WCS was taken from.
    wcs : `~gwcs.WCS`
        From pixels (from 0) to sky (degrees).
    wcsinfo : dict
        The image's ``meta.wcsinfo`` of that time.
    """

    path: Path
    filename: str
    wcs: WCS
    wcsinfo: dict[str, Any]


def wcs_file_name(image: Any, suffix: str = "tweakreg") -> str:
    """Return the name of the file that holds the WCS of an exposure.

    Parameters
    ----------
    image : `~stdatamodels.jwst.datamodels.JwstDataModel`, str or path
        The exposure, or a name of one of its products. Suffix and association id do not count.
    suffix : str
        Last part of the name.

    Returns
    -------
    str
        ``<exposure>_<suffix>.asdf``.
    """
    is_path = isinstance(image, (str, os.PathLike))
    name = exposure_name(image) if is_path else identity_of(image)
    if not name:
        raise CeersError(
            "The image has no name (meta.filename), which gives the name of its WCS file. "
            "Set meta.filename."
        )
    return f"{name}_{suffix}.asdf"


def find_wcs_file(folder: str | os.PathLike, image: Any, suffix: str = "tweakreg") -> Path | None:
    """Return the file in a folder that holds the WCS of an exposure.

    Parameters
    ----------
    folder : str or path
        Where to look.
    image : `~stdatamodels.jwst.datamodels.JwstDataModel`, str or path
        The exposure, or a name of one of its products.
    suffix : str
        Last part of the name.

    Returns
    -------
    Path or None
        ``<exposure>_<suffix>.asdf``, or that name with an association id,
        ``<exposure>_a3001_<suffix>.asdf``; None if there is neither.

    Raises
    ------
    CeersError
        When there are several with an association id and none without.
    """
    folder = Path(folder)
    name = wcs_file_name(image, suffix)
    if (folder / name).is_file():
        return folder / name
    exposure = name.removesuffix(f"_{suffix}.asdf")
    candidates = sorted(folder.glob(f"{exposure}_*_{suffix}.asdf"))
    found = [path for path in candidates if exposure_name(path) == exposure]
    if len(found) > 1:
        raise CeersError(
            f"{folder} has several WCS files of one exposure: {', '.join(p.name for p in found)}. "
            f"Name the right one {name}."
        )
    return found[0] if found else None


def wcs_inputs(
    folder: Path, exposures: Sequence[str], every_one: bool, suffix: str = "tweakreg"
) -> list[str]:
    """Return the WCS files that exposures need, as `find_wcs_file` finds them.

    Parameters
    ----------
    folder : Path
        Where they are.
    exposures : sequence of str
        Names of the exposures.
    every_one : bool
        Name those that are not there too.
    suffix : str
        Last part of their names.

    Returns
    -------
    list of str
        Their paths.
    """
    found = ((find_wcs_file(folder, name, suffix), name) for name in exposures)
    paths = [
        path or (folder / wcs_file_name(name, suffix) if every_one else None)
        for path, name in found
    ]
    return [str(path) for path in paths if path is not None]


def read_wcs_file(path: str | os.PathLike) -> WcsFile:
    """Read the WCS of an exposure.

    Parameters
    ----------
    path : str or path
        ASDF file with the keys ``filename``, ``wcs`` and ``wcsinfo``.

    Returns
    -------
    WcsFile
        What is in it, in memory as a whole.

    Raises
    ------
    CeersError
        When there is no such file, when it cannot be read, or when a key is missing or is not
        what it should be.
    """
    path = Path(path)
    if problem := why_no_file(path):
        raise CeersError(f"WCS file {path} {problem}.")
    check_regular(path, f"WCS file {path}")
    if problem := asdf_tree_problem(path):
        raise CeersError(
            f"WCS file {path} cannot be read, or is not complete ({problem}). Copy it again."
        )
    try:
        with asdf.open(path, lazy_load=False, memmap=False, validate_checksums=True) as file:
            tree = dict(file.tree)
    # a damaged file fails in any of asdf, yaml, gwcs, astropy and numpy
    except Exception as err:
        raise CeersError(
            f"WCS file {path} cannot be read, or is not complete "
            f"({type(err).__name__}: {' '.join(str(err).split())[:300]}). Copy it again."
        ) from err
    wanted = {"filename": str, "wcs": WCS, "wcsinfo": Mapping}
    for key, kind in wanted.items():
        if not isinstance(tree.get(key), kind):
            found = type(tree[key]).__name__ if key in tree else "no such key"
            raise CeersError(
                f"WCS file {path}: {key} is not a {kind.__name__} ({found}). Files of "
                f"UpdateWcsStep with save_wcs, of AlignStep and of CEERS have {', '.join(wanted)}."
            )
    wcs = tree["wcs"]
    if (wcs.pixel_n_dim, wcs.world_n_dim) != (2, 2) or not isinstance(
        wcs.output_frame, CelestialFrame
    ):
        raise CeersError(
            f"WCS file {path}: its WCS has {wcs.pixel_n_dim} axes of pixels and {wcs.world_n_dim} "
            "of the world, not two of an image and two of the sky (a celestial frame). Write the "
            "file again."
        )
    for key, value in tree["wcsinfo"].items():
        if not _NUMBERS.fullmatch(str(key)):
            continue
        number = isinstance(value, (int, float)) and math.isfinite(value)
        if value is not None and not number:
            raise CeersError(
                f"WCS file {path}: wcsinfo.{key}={value!r} is not a number. Write the file again."
            )
    return WcsFile(path, tree["filename"], tree["wcs"], dict(tree["wcsinfo"]))


def write_wcs_file(path: str | os.PathLike, model: Any) -> Path:
    """Write the WCS of an image, whole or not at all.

    Parameters
    ----------
    path : str or path
        The file; its folder is made when it is missing.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The image, with ``meta.wcs``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CeersError
        When the image has no WCS, or the file cannot be written.
    """
    if not isinstance(model.meta.wcs, WCS):
        raise CeersError(
            f"{model.meta.filename} has no WCS to write to {path}: assign_wcs has not been run. "
            "Give the *_cal.fits file of this exposure."
        )
    tree = {
        "filename": model.meta.filename,
        "wcs": model.meta.wcs,
        "wcsinfo": dict(model.meta.wcsinfo.instance),
    }
    return write_atomic(path, asdf.AsdfFile(tree).write_to)
