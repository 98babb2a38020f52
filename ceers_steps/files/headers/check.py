"""One look at the input of a step: whole files, planes that fit, keywords that are there."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import is_association_path, read_association
from ceers_steps.files.headers.keywords import Completed, complete_keywords
from ceers_steps.files.headers.look import Found, look, look_at_model
from ceers_steps.files.headers.values import PATHS
from ceers_steps.files.limits import why_no_file

__all__ = [
    "Wanted",
    "check_input",
    "fill_keywords",
    "filled_metadata",
    "filled_values",
    "looks_of",
    "members_of",
    "read_keywords",
]

AXES = {"Level1bModel": 4, "RampModel": 4, "ImageModel": 2, "CubeModel": 3}
"""Axes of the science array by data model."""

_STUMBLES = {"ImageModel": ("ERR", "DQ")}
"""Planes without pixels over which jwst stumbles: of ramps and integrations it makes them anew, and
without a VAR_FLAT it can do."""

SMALLEST = 8
"""Rows and columns that an image has at least; the smallest subarray of NIRCam has 8."""


@dataclass(frozen=True)
class Wanted:
    """What a step or a pipeline needs of its input.

    Attributes
    ----------
    types : tuple of str
        ``DATAMODL`` values that are taken; empty takes all.
    planes : tuple of str
        EXTNAME of planes that have to be there beside SCI.
    filled : tuple of str
        Planes that must have pixels where their extension is there.
    keywords : tuple of str
        Keywords without which the work cannot be done.
    later_keywords : tuple of str
        Keywords that only later stages need.
    wcs : bool
        Whether a world coordinate system has to be there.
    exposures : bool
        False for mosaics: their headers have the keywords of an exposure, which do not agree with
        their arrays.
    """

    types: tuple[str, ...] = ()
    planes: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    later_keywords: tuple[str, ...] = ()
    wcs: bool = False
    exposures: bool = True

    @property
    def all_keywords(self) -> tuple[str, ...]:
        """Keywords of both kinds."""
        return (*self.keywords, *self.later_keywords)


def check_input(dataset: object, wanted: Wanted, step_name: str) -> None:
    """Check that exposures are there, are whole, and have what a step needs.

    Parameters
    ----------
    dataset
        A path, an association file or a data model; or a list of these. Anything else is left to
        the step.
    wanted
        What the step takes.
    step_name
        For the message.

    Raises
    ------
    CeersError
        The message says what was found and what is wanted.
    """
    for item, prefix in members_of(dataset, step_name):
        found = look(item, wanted.all_keywords, prefix)
        if found is not None:
            _check(found, wanted, prefix)


def looks_of(dataset: object, step_name: str) -> Iterator[Found]:
    """Return what is known of the exposures of an input without their pixels.

    Parameters
    ----------
    dataset
        As `check_input` takes it.
    step_name
        For messages.

    Yields
    ------
    Found
        Of each exposure.
    """
    for item, prefix in members_of(dataset, step_name):
        found = look(item, ("INSTRUME", "DETECTOR"), prefix)
        if found is not None:
            yield found


def filled_values(dataset: object, wanted: Wanted) -> dict[str, Any]:
    """Return what is filled in for (the first exposure of) an input.

    Parameters
    ----------
    dataset
        As `check_input` takes it.
    wanted
        What the step takes.

    Returns
    -------
    dict
        By path in the data model, ``meta.exposure.noutputs``.

    Raises
    ------
    CeersError
        As `check_input`.
    """
    for item, _ in members_of(dataset, ""):
        found = look(item, wanted.all_keywords, "")
        if found is None or not wanted.exposures:
            return {}
        return _by_path(_complete(found, wanted))
    return {}


def fill_keywords(model: JwstDataModel, wanted: Wanted) -> tuple[str, ...]:
    """Fill keywords of an exposure in that follow from others.

    Parameters
    ----------
    model
        Changed in place.
    wanted
        What the step takes.

    Returns
    -------
    tuple of str
        What was done, for the log.
    """
    if not wanted.all_keywords:
        return ()
    completed = _complete(look_at_model(model), wanted)
    for path, value in _by_path(completed).items():
        model[path] = value
    return completed.notes


def read_keywords(model: JwstDataModel, *keywords: str) -> dict[str, Any]:
    """Return the values of keywords of an exposure, also of those that only follow from others.

    Parameters
    ----------
    model
        The exposure.
    *keywords
        Their names.

    Returns
    -------
    dict
        Value by keyword.

    Raises
    ------
    CeersError
        When one is missing and does not follow from others, or they contradict each other.
    """
    found = look_at_model(model)
    completed = _complete(found, Wanted(keywords=keywords))
    return {key: completed.values.get(key, found.values.get(key)) for key in keywords}


def members_of(dataset: object, step_name: str) -> Iterator[tuple[object, str]]:
    """Return the exposures of an input, each with what names the step in messages.

    Parameters
    ----------
    dataset
        As `check_input` takes it.
    step_name
        For messages.

    Yields
    ------
    item : object
        Path or data model, or what is neither.
    prefix : str
        The step, and the association.

    Raises
    ------
    CeersError
        For an association that cannot be read.
    """
    if isinstance(dataset, (list, tuple)):
        for member in dataset:
            yield from members_of(member, step_name)
    elif isinstance(dataset, (str, os.PathLike)) and is_association_path(dataset):
        if problem := why_no_file(dataset):
            raise CeersError(f"{step_name}: input file {dataset} {problem}.")
        for product in read_association(dataset)["products"]:
            for member in product["members"]:
                yield member["expname"], f"{step_name}: {dataset}"
    else:
        yield dataset, step_name


def _check(found: Found, wanted: Wanted, step_name: str) -> None:
    """Raise `CeersError` for what a step cannot work with."""
    _check_level(found, wanted.types, step_name)
    name = f"{step_name}: {found.name}"
    if found.kind in AXES:
        _check_planes(found, wanted, name)
    if wanted.wcs and not found.has_wcs and found.kind in AXES:
        raise CeersError(
            f"{name} has no world coordinate system (assign_wcs has not run, or the ASDF extension "
            "is lost). Give *_cal.fits files, made with: strun ceers_image2 <exposure>_rate.fits"
        )
    if wanted.exposures:
        _complete(found, wanted)


def _check_level(found: Found, types: tuple[str, ...], step_name: str) -> None:
    """Raise `CeersError` for data that are not of one of the types."""
    if types and found.kind not in types:
        suffix = {"Level1bModel": "uncal", "RampModel": "ramp"}.get(types[0], "rate or *_cal")
        raise CeersError(
            f"{step_name}: {found.name} holds a {found.kind or 'file without DATAMODL'}; this "
            f"takes {' or '.join(types)}. Give it the product of the right level "
            f"(*_{suffix}.fits for instance)."
        )


def _check_planes(found: Found, wanted: Wanted, name: str) -> None:
    """Raise `CeersError` for planes that are missing or do not fit each other."""
    shapes = found.shapes
    # of other modes nothing is computed: steps leave them as they are
    imaging = found.values.get("EXP_TYPE", "NRC_IMAGE") == "NRC_IMAGE"
    needed = ("SCI", *wanted.planes) if imaging else ("SCI",)
    missing = [plane for plane in needed if plane not in shapes]
    if missing:
        raise CeersError(
            f"{name} has no {' and no '.join(missing)} (found: {', '.join(shapes) or 'no image'}). "
            "Was the file cut off? Download or make it again."
        )
    filled = (*_STUMBLES.get(found.kind, ()), *wanted.filled)
    empty = [plane for plane in found.empty if plane in filled]
    if empty and imaging:
        raise CeersError(
            f"{name}: no pixels in its extension {' and '.join(empty)}. Make or download "
            "the file again."
        )
    shape = shapes["SCI"]
    if len(shape) != AXES[found.kind]:
        raise CeersError(
            f"{name}: SCI has {len(shape)} axes, {_told(shape)}; a {found.kind} has "
            f"{AXES[found.kind]}. Give the file as jwst wrote it."
        )
    for plane, its_shape in shapes.items():
        expected = shape[-2:] if plane == "PIXELDQ" else shape
        if its_shape != expected:
            raise CeersError(
                f"{name}: {plane} has {_told(its_shape)} pixels, but SCI {_told(shape)}. Planes "
                "of an exposure have one shape: make or download the file again."
            )
    if min(shape[-2:]) < SMALLEST:
        raise CeersError(
            f"{name}: the image has {_told(shape[-2:])} pixels (rows x columns); at least "
            f"{SMALLEST} x {SMALLEST} are needed. Was it cut?"
        )


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _complete(found: Found, wanted: Wanted) -> Completed:
    """Check the keywords; return what is filled in."""
    shape = found.shapes.get("SCI")
    return complete_keywords(
        found.values, shape, found.name, needs=wanted.keywords, later=wanted.later_keywords
    )


def filled_metadata(metadata: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Return what is filled in for an exposure of which only the metadata are known.

    Parameters
    ----------
    metadata
        By path, ``meta.exposure.noutputs``, as a library returns them.
    wanted
        What the step takes.

    Returns
    -------
    dict
        By path, too.
    """
    values = {key: metadata.get(f"meta.{path}") for key, (path, _) in PATHS.items()}
    name = str(metadata.get("meta.filename") or "the exposure")
    return _by_path(
        complete_keywords(values, None, name, needs=wanted.keywords, later=wanted.later_keywords)
    )


def _by_path(completed: Completed) -> dict[str, Any]:
    return {f"meta.{PATHS[key][0]}": value for key, value in completed.values.items()}
