"""One exposure or many: what a step of stage 3 was given, and where its files are."""

import logging
import os

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
from ceers_steps.names import effective_filter, exposure_name

__all__ = ["is_image_file", "open_library", "product_name"]

log = logging.getLogger(__name__)

_STEMS = (19, 13, 10, 7)
"""Lengths of the names of activity, visit, observation and program: jw01345001001_02201."""

_WHEELS = ("meta.instrument.filter", "meta.instrument.pupil")


def is_image_file(input_data):
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


def open_library(step, input_data):
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
    on_disk = not step.in_memory
    if is_association_path(models):
        models = merge_products(read_association(models))
    elif not isinstance(models, dict):
        single = isinstance(models, (str, os.PathLike, JwstDataModel))
        models = [models] if single else list(models)
        if not models:
            raise CeersError(
                f"{type(step).__name__}: the list of exposures is empty. Give *_cal.fits files."
            )
        if all(isinstance(model, (str, os.PathLike)) for model in models):
            # a library keeps on disk only what an association names
            models = list_association(models)
        else:
            on_disk = False
    library = ModelLibrary(models, asn_exptypes=["science"], on_disk=on_disk)
    if step.parent is None:
        _fill_keywords(step, library)
    return library


def _fill_keywords(step, library):
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


def product_name(library):
    """Return the name of what is made of the exposures of a library.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        Of an association or of a list.

    Returns
    -------
    str or None
        That of the product of the association; for a list what the names of its exposures have
        in common, and the filter. None for one exposure, after which its products are named.

    Raises
    ------
    CeersError
        When the exposures of a list are of several filters.
    """
    name = library.asn["products"][0].get("name")
    if name or len(library) == 1:
        return name
    with library:
        found = [library.read_metadata(index) for index in range(len(library))]
    filters = sorted({effective_filter(*(each.get(key) for key in _WHEELS)) for each in found})
    if len(filters) > 1:
        raise CeersError(
            f"The list has exposures in {' and '.join(filters)}, which would become one mosaic. "
            "Give one list per filter, or an association (ceers associate)."
        )
    names = [exposure_name(each.get("meta.filename") or "exposure") for each in found]
    common = (n for n in _STEMS if len({exposure[:n] for exposure in names}) == 1)
    parts = [names[0][: next(common, None)]]
    detectors = {exposure.rpartition("_")[2] for exposure in names}
    if len(detectors) == 1 and parts != names[:1]:
        parts += detectors
    return "_".join([*parts, filters[0].lower()])
