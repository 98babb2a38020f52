"""Sources of each exposure of a library, found here or given by the user."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from jwst.datamodels import ModelLibrary
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.astrometry.exposure import AlignedExposure
from ceers_steps.astrometry.inputs import describe, from_table
from ceers_steps.astrometry.tables import AlignmentSettings, AlignmentTable
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.given.tables import read_table
from ceers_steps.kernels.astrometry.centroids import SourceList, find_sources
from ceers_steps.kernels.sky.settings import NOISE
from ceers_steps.kernels.sky.variance import neighbour_scatter

__all__ = ["SourceSearch", "measure_sources"]

log = logging.getLogger(__name__)

NOT_FOR_CENTROIDS = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["SATURATED"]


@dataclass(frozen=True)
class SourceSearch:
    """Where the sources of exposures come from.

    Attributes
    ----------
    settings : AlignmentSettings
        Parameters of the step.
    table : AlignmentTable or None
        Parameters per visit and filter.
    custom : bool
        Source lists of the user are taken where there are some.
    catalogs : mapping
        Source list of each exposure, by the name of its file.
    starfinder : callable or None
        Function of a model that replaces the search of this package.
    catalog_path : callable or None
        Function of a model that gives the path of the source list to write; None writes none.
    catalog_format : str
        Of what is written.
    """

    settings: AlignmentSettings
    table: AlignmentTable | None = None
    custom: bool = False
    catalogs: Mapping[str, str] = field(default_factory=dict)
    starfinder: Callable[[Any], Table] | None = None
    catalog_path: Callable[[Any], Path] | None = None
    catalog_format: str = "ecsv"


def measure_sources(
    library: ModelLibrary, search: SourceSearch, kept: set[int]
) -> list[AlignedExposure]:
    """Return all exposures of a library, each with its sources and parameters.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        Exposures with a WCS; not changed.
    search : SourceSearch
        Where the sources come from.
    kept : set of int
        Which of them keep their WCS.

    Returns
    -------
    list of AlignedExposure
        In the order of the library.
    """
    exposures = []
    members = [member["expname"] for member in library.asn["products"][0]["members"]]
    with library:
        for index, model in enumerate(library):
            try:
                exposure = describe(model, index, search.settings)
                exposure = replace(exposure, settings=_settings_of(exposure, search.table))
                catalog = _catalog_of(model, search.catalogs, Path(members[index]).parent)
                if search.custom and catalog:
                    sources = from_table(read_table(catalog, f"Source list {catalog}"), catalog)
                else:
                    sources = _find(model, exposure, search)
                if len(sources) > 0:
                    # outside the bounding box there is no sky
                    world = exposure.corrector.det_to_world(sources.x, sources.y)
                    sources = sources.take(np.isfinite(world).all(axis=0))
                exposure = replace(exposure, sources=sources)
                if index in kept:
                    exposure.keep()
                exposures.append(exposure)
            finally:
                library.shelve(model, index, modify=False)
    return exposures


def _settings_of(exposure: AlignedExposure, table: AlignmentTable | None) -> AlignmentSettings:
    """Return the parameters of the visit and filter of an exposure."""
    if table is None:
        return exposure.settings
    if (exposure.visit, exposure.filter_name) not in table.rows:
        log.warning(
            "%s has no row for visit %s, filter %s: the parameters of the step are used",
            table.path,
            exposure.visit,
            exposure.filter_name,
        )
    return table.apply(exposure.settings, exposure.visit, exposure.filter_name)


def _catalog_of(model: Any, catalogs: Mapping[str, str], folder: Path) -> str | None:
    """Return the source list of the user; one that an association names may lie beside it."""
    catalog = catalogs.get(model.meta.filename) or model.meta.tweakreg_catalog
    if catalog and not os.path.isfile(catalog) and os.path.isfile(folder / catalog):
        return str(folder / catalog)
    return catalog or None


def _find(model: Any, exposure: AlignedExposure, search: SourceSearch) -> SourceList:
    """Return the sources to use of one exposure."""
    if search.starfinder is not None:
        return from_table(search.starfinder(model), "starfinder")
    mask = np.zeros(model.data.shape, bool) if model.dq is None else _not_for_centroids(model.dq)
    error = _error_of(model, mask, exposure.name)
    try:
        found = find_sources(model.data, error, mask, exposure.settings.catalog)
    except ValueError as err:
        log.warning("%s: %s. Raise detect_thresh.", exposure.name, err)
        return SourceList.empty()
    if search.catalog_path is not None:
        _save_catalog(search.catalog_path(model), found, search.catalog_format)
    good = found.good()
    log.info("%s: %d sources, %d of them good", exposure.name, len(found), len(good))
    return good


def _not_for_centroids(dq: NDArray) -> NDArray[np.bool_]:
    return (dq & NOT_FOR_CENTROIDS) != 0


def _error_of(model: Any, mask: NDArray[np.bool_], name: str) -> NDArray:
    """Return the noise of each pixel: ERR, or that of the differences of neighbours.

    ERR of a single group is several times too small, and noise would pass for sources: it is
    scaled to the differences.
    """
    if model.err is None:
        one = np.ones(model.data.shape, np.float32)
        return one * np.float32(neighbour_scatter(model.data, one, mask))
    scatter = neighbour_scatter(model.data, np.square(model.err), mask)
    if not scatter > NOISE.wrong_errors:
        return model.err
    log.warning(
        "%s: neighbouring pixels differ %.2f times as much as their errors say: sources are "
        "searched for with errors scaled by this",
        name,
        scatter,
    )
    return model.err * np.float32(scatter)


def _save_catalog(path: Path, found: SourceList, kind: str) -> None:
    """Write a source list."""
    table = Table(asdict(found))
    table["x"].unit = table["y"].unit = table["sigma"].unit = table["size"].unit = "pixel"
    kind = "ascii.ecsv" if kind == "ecsv" else kind
    write_atomic(path, lambda scratch: table.write(scratch, format=kind))
