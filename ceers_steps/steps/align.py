"""Step: exposures aligned with each other and to a reference catalogue."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from astropy.time import Time
from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging
from jwst.datamodels import ModelLibrary
from jwst.stpipe import record_step_status
from jwst.tweakreg import TweakRegStep
from stcal.tweakreg.tweakreg import SINGLE_GROUP_REFCAT
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.astrometry.alignment import Alignment, align_exposures
from ceers_steps.astrometry.exposure import (
    BORROWED,
    COMPLETE,
    FAILED,
    KEPT,
    SKIPPED,
    AlignedExposure,
)
from ceers_steps.astrometry.inputs import read_catfile
from ceers_steps.astrometry.parameters import OURS, PARAMETERS, spec_lines
from ceers_steps.astrometry.reference import (
    ReferenceCatalog,
    fetch_reference,
    read_reference_catalog,
    save_reference,
)
from ceers_steps.astrometry.results import make_results_table
from ceers_steps.astrometry.sources import SourceSearch, measure_sources
from ceers_steps.astrometry.tables import AlignmentSettings, read_alignment_table
from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.wcs_files import wcs_file_name, write_wcs_file
from ceers_steps.steps.base import CeersMixin
from ceers_steps.steps.inputs.exposures import check_library_once, open_library
from ceers_steps.steps.looks import keep_alignment
from ceers_steps.steps.update_wcs import UpdateWcsStep

__all__ = ["AlignStep"]

log = logging.getLogger(__name__)

_FEWEST = 4
"""With fewer sources an exposure shows none: that many peaks of the noise are found by chance."""


class AlignStep(CeersMixin, TweakRegStep):
    """
    Align exposures with each other, detector by detector, and then to a reference catalogue.

    Sources (galaxies as well as stars) are measured by windowed centroids. The exposures of a
    detector, filter and visit are aligned with each other in one joint fit, and together, in one
    common fit of their combined sources, to abs_refcat (Bagley et al. 2023, ApJL 946 L12, section
    3.2). Exposures that have their WCS from a file keep it, and the others are aligned with them.
    An exposure that cannot be aligned keeps its WCS and is marked FAILED. Takes an exposure, an
    association or a list; writes *_tweakreg.fits for each, and a table and a figure of the
    residuals, *_alignment.ecsv and *_alignment.png. The parameters are those of jwst's tweakreg
    and some of our own; expand_refcat and enforce_user_order have no effect.
    """

    class_alias = "ceers_align"
    output_suffix = "tweakreg"
    input_types = ("ImageModel",)

    spec = f"""
        source_lists = option('windowed', 'jwst', default='windowed')  # windowed: windowed centroids of all compact sources (sep); jwst: what starfinder finds
{spec_lines()}        alignment_table = input_file(default=None)  # Table (.ecsv or .csv) of parameters per visit and filter
        fallback = option('none', 'visit', default='none')  # What fails: none: keeps its WCS; visit: takes the pointing of the aligned exposure of its visit that is nearest in time, or (no reference, none at the same time) the mean of those of its visit
        keep_updated = boolean(default=True)  # Exposures whose WCS is from a file (UpdateWcsStep) keep it, and the others are aligned with them; false: all are aligned
        on_failure = option('keep', 'stop', default='keep')  # What could not be aligned: keep: its WCS stays; stop: an error, after the table and the figure are written
        save_wcs = boolean(default=False)  # Write the WCS of each aligned exposure, and of those for which the pointing stands (one exposure, no sources at all), <exposure>_tweakreg.asdf
        save_table = boolean(default=True)  # Write the results, *_alignment.ecsv
        save_plots = boolean(default=True)  # Draw the residuals, *_alignment.png
    """  # noqa: E501

    @classmethod
    def get_config_reftype(cls) -> str:
        """Take the CRDS parameters of the step that this one extends."""
        return TweakRegStep.get_config_reftype()

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters: Any, crds_observatory: str) -> Any:
        """Take the CRDS parameters, but for those that have a default of ours.

        Those of CRDS suit the stars that jwst finds, and would replace what suits galaxies.
        """
        config = super()._get_config_from_parameters(crds_parameters, crds_observatory)
        for name in OURS & set(config.scalars):
            del config[name]
        return config

    def process(self, input_data: Any) -> ModelLibrary:
        """
        Align exposures.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelLibrary` or data model
            Exposures with a WCS (*_cal.fits or later).

        Returns
        -------
        `~jwst.datamodels.ModelLibrary`
            The same with corrected WCS.
        """
        search = _search(self)
        given = (self.abs_refcat or "").strip()
        online = given.upper() in SINGLE_GROUP_REFCAT
        reference = read_reference_catalog(given) if given and not online else None
        library = open_library(self, input_data)
        check_library_once(library)
        kept = _kept(library) if self.keep_updated else set()
        if len(kept) == len(library):
            _leave(self, library)
            return library
        exposures = measure_sources(library, search, kept)
        if online:
            reference = _fetch(given.upper(), library, exposures)
        if reference is not None and self.save_abs_catalog:
            path = self.make_output_path(basepath=f"fit_{reference.name.lower()}", suffix="ref")
            places = [exposure.corrector.tanp_to_world(0.0, 0.0) for exposure in exposures]
            save_reference(Path(path).with_suffix(".ecsv"), reference, places)
        found = align_exposures(exposures, reference, fallback=self.fallback)
        _write_back(self, library, found.exposures, given)
        _write_results(self, library, found, given)
        return library

    def finalize_result(self, result: Any, reference_files_used: Any) -> None:
        """Finish a product; one that was skipped says so in S_TWKREG, where jwst looks."""
        super().finalize_result(result, reference_files_used)
        if not self.skip or not isinstance(result, JwstDataModel):
            return
        # a WCS from a file is an alignment that was done
        if result.meta.cal_step.tweakreg != COMPLETE:
            record_step_status(result, "tweakreg", status=SKIPPED)


def _search(step: AlignStep) -> SourceSearch:
    """Return where the sources of exposures come from."""
    table = read_alignment_table(step.alignment_table) if step.alignment_table else None
    return SourceSearch(
        settings=AlignmentSettings(**{name: getattr(step, name) for name in PARAMETERS}),
        table=table,
        custom=step.use_custom_catalogs,
        catalogs=read_catfile(step.catfile) if step.use_custom_catalogs else {},
        starfinder=step._find_sources if step.source_lists == "jwst" else None,
        catalog_path=(
            (lambda model: step.extra_product_path(model, "cat", step.catalog_format))
            if step.save_catalogs
            else None
        ),
        catalog_format=step.catalog_format,
    )


def _kept(library: ModelLibrary) -> set[int]:
    """Return which exposures have their WCS from UpdateWcsStep."""
    key = f"meta.cal_step.{UpdateWcsStep.class_alias}"
    with library:
        status = [library.read_metadata(index).get(key) for index in range(len(library))]
    return {index for index, each in enumerate(status) if each == COMPLETE}


def _leave(step: AlignStep, library: ModelLibrary) -> None:
    """Record that every exposure keeps its WCS."""
    log.info("Every exposure has its WCS from a file: nothing is aligned")
    with library:
        for index, model in enumerate(library):
            step.record(model, SKIPPED, note=KEPT)
            library.shelve(model, index)


def _fetch(
    name: str, library: ModelLibrary, exposures: Sequence[AlignedExposure]
) -> ReferenceCatalog:
    """Get a catalogue of the STScI service for the field of all exposures."""
    footprints = [exposure.corrector.wcs.footprint() for exposure in exposures]
    if not math.isfinite(exposures[0].time):
        raise CeersError(
            f"abs_refcat={name}: {exposures[0].name} has neither EXPSTART nor DATE-OBS, and stars "
            "move: without its time their places are not known. Give it one of them, or a file of "
            "positions as abs_refcat."
        )
    epoch = Time(exposures[0].time, format="mjd").decimalyear
    with library:
        first = library.borrow(0)
        try:
            return fetch_reference(
                name, first.meta.wcs, first.meta.wcsinfo.instance, footprints, epoch
            )
        finally:
            library.shelve(first, 0, modify=False)


def _write_back(
    step: AlignStep, library: ModelLibrary, exposures: Sequence[AlignedExposure], given: str
) -> None:
    """Give the exposures their WCS, and record how each ended."""
    # there is nothing better than the pointing of the guide star: it stands
    stands = {SKIPPED, FAILED} if _show_nothing(exposures) else {SKIPPED}
    with library:
        for exposure in exposures:
            model = library.borrow(exposure.index)
            try:
                if exposure.status in {COMPLETE, BORROWED}:
                    _set_wcs(step, model, exposure.corrector.wcs, exposure.reference)
                stands_still = exposure.status in stands and not exposure.kept
                if step.save_wcs and (exposure.status in {COMPLETE, BORROWED} or stands_still):
                    path = step.extra_product_path(model, "tweakreg", "asdf")
                    write_wcs_file(path.with_name(wcs_file_name(model)), model)
                status = COMPLETE if exposure.status == BORROWED else exposure.status
                # a failure is a warning of the record
                if exposure.status == BORROWED or exposure.doubt:
                    log.warning("%s: %s", exposure.name, exposure.doubt or exposure.note)
                if not exposure.kept:
                    record_step_status(model, "tweakreg", status=status)
                used = {**asdict(exposure.settings), "abs_refcat": os.path.basename(given)}
                note = "; ".join(text for text in (exposure.note, exposure.doubt) if text)
                step.record(model, status, parameters=used, metrics=exposure.metrics, note=note)
                keep_alignment(exposure)
            finally:
                library.shelve(model, exposure.index)


def _set_wcs(step: AlignStep, model: JwstDataModel, wcs: Any, reference: str) -> None:
    """Replace the WCS of a model and what follows from it."""
    if wcs.bounding_box is None:
        wcs.bounding_box = model.meta.wcs.bounding_box
    if reference:
        wcs.name = f"FIT-LVL3-{reference}"  # as TweakRegStep does
    model.meta.wcs = wcs
    update_s_region_imaging(model)
    if step.sip_approx:
        try:
            update_fits_wcsinfo(
                model,
                max_pix_error=step.sip_max_pix_error,
                degree=step.sip_degree,
                max_inv_pix_error=step.sip_max_inv_pix_error,
                inv_degree=step.sip_inv_degree,
                npoints=step.sip_npoints,
            )
        except (ValueError, RuntimeError) as err:
            log.warning("%s: no FITS keywords for its WCS: %s", model.meta.filename, err)


def _write_results(
    step: AlignStep,
    library: ModelLibrary,
    found: Alignment,
    given: str,
) -> None:
    """Write the table and the figure, and report what failed."""
    exposures = found.exposures
    product = library.asn["products"][0].get("name")
    # in the order of time, not in that of a list
    first = min(exposures, key=lambda exposure: (exposure.time, exposure.name))
    basepath = product or f"{first.name}_cal"
    if step.save_table:
        rows = [row for exposure in exposures for row in exposure.rows]
        meta = {"abs_refcat": os.path.basename(given)}
        table = make_results_table(rows, meta)
        path = step.make_output_path(basepath=basepath, suffix="alignment", ext="ecsv")
        write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))
    if step.save_plots and found.residuals:
        from ceers_steps.figures.alignment import alignment_figure

        path = step.make_output_path(basepath=basepath, suffix="alignment", ext="png")
        try:
            alignment_figure(path, found.residuals)
        except CeersError as err:
            if not isinstance(err.__cause__, ImportError):
                raise
            log.info("No figure of the alignment: %s", err)
    if any(exposure.status == FAILED for exposure in exposures):
        _report_failures(step, exposures, given)


def _show_nothing(exposures: Sequence[AlignedExposure]) -> bool:
    """Say whether no exposure at all shows sources to be aligned by."""
    return all(each.status == FAILED and len(each.sources) < _FEWEST for each in exposures)


def _report_failures(step: AlignStep, exposures: Sequence[AlignedExposure], given: str) -> None:
    """Say what could not be aligned, as an error if so asked."""
    if _show_nothing(exposures):
        log.warning(
            "None of the %d exposures shows sources to be aligned by: all keep the pointing of the "
            "guide star, whose dithers fit together",
            len(exposures),
        )
        return
    failed = [exposure for exposure in exposures if exposure.status == FAILED]
    names = ", ".join(exposure.name for exposure in failed)
    message = f"{len(failed)} of {len(exposures)} exposures are not aligned: {names}"
    if step.on_failure == "keep":
        log.warning("%s", message)
        return
    reasons = "; ".join(dict.fromkeys(exposure.note for exposure in failed))
    visits = {exposure.visit for exposure in exposures if exposure.correction is not None}
    neighbours = "take the pointing of others of their visit (fallback='visit'), "
    some = len(failed) < len(exposures)
    mixed = "Aligned and other exposures do not fit together in a mosaic. "
    raise CeersError(
        f"{message} ({reasons}). {mixed if some else ''}"
        f"Give {'another' if given else 'an'} abs_refcat or parameters that suit this field "
        "(abs_minobj, abs_searchrad), "
        f"{neighbours if visits.intersection(each.visit for each in failed) else ''}"
        f"{'leave these exposures out, ' if some else ''}"
        "or accept the pointing that they have (on_failure='keep')."
    )
