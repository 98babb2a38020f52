"""What a step of stage 3 was given: one image or many, in files, open, or in an association."""

import json
import logging
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import (
    is_association_path,
    list_association,
    merge_products,
    read_association,
)
from ceers_steps.files.headers.check import filled_metadata
from ceers_steps.files.membership import (
    check_once,
    check_one_filter,
    filter_of,
    group_problems,
    identity_in,
    keywords_of,
    left_out_reason,
)
from ceers_steps.names import exposure_name
from ceers_steps.steps.inputs.usable import unusable_reason

__all__ = [
    "association_of",
    "check_library_once",
    "is_image_file",
    "open_library",
    "product_name",
    "without_strangers",
    "without_unusable",
]

log = logging.getLogger(__name__)

_STEMS = (19, 13, 10, 7)
"""Lengths of the names of activity, visit, observation and program: jw01345001001_02201."""


def is_image_file(input_data: object) -> bool:
    """Say whether this is the path of one image, not of an association.

    Parameters
    ----------
    input_data : object
        What a step is given.

    Returns
    -------
    bool
        True for the path of an image.
    """
    return isinstance(input_data, (str, os.PathLike)) and not is_association_path(input_data)


def association_of(input_data: Any, name: str | None = None) -> dict[str, Any] | None:
    """Return the association that is meant by what a step is given.

    Parameters
    ----------
    input_data : str, list, dict, data model or container of models
        Path of an association or of an image, a list of paths, or an association; the latter is
        copied.
    name : str, optional
        Of the product that a list of paths becomes.

    Returns
    -------
    dict or None
        None for models that are open, of which an association cannot name the files.

    Raises
    ------
    CeersError
        For an association that cannot be used.
    """
    if isinstance(input_data, dict):
        return deepcopy(input_data)
    if is_association_path(input_data):
        return {**read_association(input_data), "table_name": Path(input_data).name}
    paths = [input_data] if isinstance(input_data, (str, os.PathLike)) else input_data
    if isinstance(paths, JwstDataModel) or not all(
        isinstance(path, (str, os.PathLike)) for path in paths
    ):
        return None
    return list_association(paths, name)


def open_library(step: Any, input_data: Any) -> ModelLibrary:
    """Return exposures as a library; of an association, those of all products, each once.

    Parameters
    ----------
    step : `~ceers_steps.steps.base.CeersMixin`
        With a parameter ``in_memory``. Outermost, it works on copies of open models.
    input_data : str, list, dict, data model, `~jwst.datamodels.ModelContainer` or \
                 `~jwst.datamodels.ModelLibrary`
        A library comes back as it is. Files stay on disk if ``in_memory`` is off; models that
        are open already are in memory always.

    Returns
    -------
    `~jwst.datamodels.ModelLibrary`

    Raises
    ------
    CeersError
        When there is no exposure.
    """
    models = step.prepare_output(input_data, open_models=False)
    if isinstance(models, ModelLibrary):
        return models
    association = association_of(models)
    if association is None:
        # a library keeps on disk only what an association names
        models = [models] if isinstance(models, JwstDataModel) else list(models)
    elif not association["products"][0]["members"]:
        raise CeersError(
            f"{type(step).__name__}: the list of exposures is empty. Give *_cal.fits files."
        )
    else:
        models = merge_products(association)
    on_disk = association is not None and not step.in_memory
    library = ModelLibrary(models, asn_exptypes=["science"], on_disk=on_disk)
    if step.parent is None:
        _fill_keywords(step, library)
    return library


def _fill_keywords(step: Any, library: ModelLibrary) -> None:
    """Fill keywords in that the step needs and that follow from others."""
    wanted = step.wanted()
    if not wanted.keywords:
        return
    with library:
        for index in range(len(library)):
            filled = filled_metadata(library.read_metadata(index), wanted)
            if filled:
                model = library.borrow(index)
                for path, value in filled.items():
                    model[path] = value
                    log.warning("%s: %s=%s is filled in", model.meta.filename, path, value)
                library.shelve(model, index)


def check_library_once(library: ModelLibrary, given: Any = None) -> None:
    """Check that no exposure stands in a library twice, whatever its files are called.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        Exposures of which one knows of the others.
    given
        What it was made of. Of models in memory, which jwst takes twice, a warning is enough.

    Raises
    ------
    CeersError
        When two files are of one exposure.
    """
    members = library.asn["products"][0]["members"]
    names = [os.path.basename(str(member["expname"])) for member in members]
    with library:
        found = [identity_in(library.read_metadata(index)) for index in range(len(library))]
    try:
        check_once(zip(names, found, strict=True))
    except CeersError as err:
        several = given if isinstance(given, (list, tuple)) else [given]
        if not any(isinstance(each, (ModelLibrary, JwstDataModel)) for each in several):
            raise
        log.warning("%s", err)


def without_strangers(step: Any, library: ModelLibrary, name: str | None = None) -> ModelLibrary:
    """Leave out the exposures that belong to no mosaic; refuse those that do not fit into this one.

    Parameters
    ----------
    step : `~ceers_steps.steps.base.CeersMixin`
        With which the library was opened.
    library : `~jwst.datamodels.ModelLibrary`
        Exposures of one product.
    name : str or None
        Of the product, for messages.

    Returns
    -------
    `~jwst.datamodels.ModelLibrary`
        The same, or a new one where an exposure is left out; why is a warning.

    Raises
    ------
    CeersError
        When no exposure is left, or one is not calibrated or of another filter, pupil or unit than
        most.
    """
    with library:
        found = [library.read_metadata(index) for index in range(len(library))]
    keywords = [keywords_of(each) for each in found]
    reasons = [left_out_reason(each) for each in keywords]
    # the names of the files: a copy has the FILENAME of its original
    members = library.asn["products"][0]["members"]
    names = [os.path.basename(str(member["expname"])) for member in members]
    listed = [f"{each}: {why}" for each, why in zip(names, reasons, strict=True) if why]
    for line in listed:
        log.warning("Left out of %s: %s", name or "the mosaic", line)
    keep = [index for index, why in enumerate(reasons) if why is None]
    if not keep:
        raise CeersError(
            f"No exposure of {name or 'the list'} belongs to a mosaic: {'; '.join(listed[:3])}"
            f"{'; ...' if len(listed) > 3 else ''}. Give calibrated images of the sky."
        )
    check_once((names[index], identity_in(found[index])) for index in keep)
    check_one_filter((keywords[index] for index in keep), f"Product {name}" if name else "The list")
    problems = group_problems([(f"{index} {names[index]}", keywords[index]) for index in keep])
    if problems:
        lines = [f"{each.partition(' ')[2]}: {why}" for each, why in problems.items()]
        raise CeersError(
            f"{len(lines)} of the {len(keep)} exposures of {name or 'the list'} do not fit into "
            f"one mosaic: {'; '.join(lines[:3])}{'; ...' if len(lines) > 3 else ''}. Or take them "
            "out of the association."
        )
    return library if len(keep) == len(found) else _part(step, library, keep)


def without_unusable(step: Any, library: ModelLibrary, *, weighed: bool) -> ModelLibrary:
    """Leave out the exposures of which no pixel can be used.

    Parameters
    ----------
    step : `~ceers_steps.steps.base.CeersMixin`
        With which the library was opened.
    library : `~jwst.datamodels.ModelLibrary`
        Exposures of one product.
    weighed : bool
        Whether SkyVarStep gives them their weights.

    Returns
    -------
    `~jwst.datamodels.ModelLibrary`
        The same, or a new one where an exposure is left out; why is a warning.

    Raises
    ------
    CeersError
        When no exposure is left.
    """
    reasons = {}
    with library:
        for index in range(len(library)):
            model = library.borrow(index)
            if why := unusable_reason(model, weighed=weighed):
                reasons[index] = f"{model.meta.filename}: {why}"
            library.shelve(model, index, modify=False)
    for reason in reasons.values():
        log.warning("Nothing is usable, left out of the mosaic: %s", reason)
    keep = [index for index in range(len(library)) if index not in reasons]
    if not keep:
        raise CeersError(
            f"Nothing is usable in any of the {len(reasons)} exposures: "
            f"{'; '.join(list(reasons.values())[:3])}. Look at them, and make them again."
        )
    return _part(step, library, keep) if reasons else library


def _part(step: Any, library: ModelLibrary, keep: list[int]) -> ModelLibrary:
    """Return the library of some of the exposures."""
    if library.asn_dir is None:
        with library:
            models = [library.borrow(index) for index in keep]
            for index, model in zip(keep, models, strict=True):
                library.shelve(model, index, modify=False)
        return ModelLibrary(models)
    association = json.loads(json.dumps(library.asn, default=dict))
    product = association["products"][0]
    product["members"] = [product["members"][index] for index in keep]
    part = ModelLibrary(association, on_disk=library.on_disk)
    if step.parent is None:
        _fill_keywords(step, part)
    return part


def product_name(library: ModelLibrary) -> str | None:
    """Return the name of what is made of the exposures of a library.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        Of an association or of a list.

    Returns
    -------
    str or None
        That of the product of the association; for a list what the names of its exposures have
        in common, and the filter. For one exposure its own; None if it has none.

    Raises
    ------
    CeersError
        When the exposures are of several filters.
    """
    name = library.asn["products"][0].get("name")
    with library:
        found = [library.read_metadata(index) for index in range(len(library))]
    if len(library) == 1:
        filename = found[0].get("meta.filename")
        return name or (exposure_name(filename) if filename else None)
    keywords = [keywords_of(each) for each in found]
    check_one_filter(keywords, f"Product {name}" if name else "The list")
    if name:
        return name
    names = [exposure_name(each.get("meta.filename") or "exposure") for each in found]
    common = (n for n in _STEMS if len({exposure[:n] for exposure in names}) == 1)
    parts = [names[0][: next(common, None)]]
    detectors = {exposure.rpartition("_")[2] for exposure in names}
    if len(detectors) == 1 and parts != names[:1]:
        parts += detectors
    return "_".join([*parts, filter_of(keywords[0]).lower()])
