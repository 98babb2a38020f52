"""Step: exposures aligned with each other and to a reference catalogue."""

import logging
import os
import re
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.time import Time
from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging
from jwst.stpipe import record_step_status
from jwst.tweakreg import TweakRegStep
from stcal.alignment import wcs_from_sregions
from stcal.tweakreg.astrometric_utils import create_astrometric_catalog
from stcal.tweakreg.tweakreg import SINGLE_GROUP_REFCAT
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.astrometry.alignment import (
    BORROWED,
    COMPLETE,
    FAILED,
    KEPT,
    SKIPPED,
    align_group,
    borrow_pointings,
    catalog_of,
)
from ceers_steps.astrometry.inputs import (
    describe,
    from_table,
    grouped,
    read_catalog,
    read_catfile,
)
from ceers_steps.astrometry.tables import (
    AlignmentSettings,
    ReferenceCatalog,
    make_results_table,
    read_alignment_table,
    read_reference_catalog,
)
from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.wcs_files import wcs_file_name, write_wcs_file
from ceers_steps.kernels.astrometry.centroids import SourceList, find_sources
from ceers_steps.steps.base import CeersMixin
from ceers_steps.steps.exposures import open_library
from ceers_steps.steps.update_wcs import UpdateWcsStep

__all__ = ["AlignStep"]

log = logging.getLogger(__name__)

NOT_FOR_CENTROIDS = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["SATURATED"]


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

    spec = """
        source_lists = option('windowed', 'jwst', default='windowed')  # windowed: windowed centroids of all compact sources (sep); jwst: what starfinder finds
        detect_thresh = float(min=0, default=3.0)  # windowed: threshold of the search, in standard deviations of the smoothed image
        detect_minarea = integer(min=1, default=6)  # windowed: connected pixels above the threshold that make a source
        deblend_levels = integer(min=1, default=32)  # windowed: levels at which blended sources are taken apart
        kernel_fwhm = float(min=0.5, default=2.5)  # Full width at half maximum of the Gaussian of the search, pixels
        snr_threshold = float(min=0, default=5.0)  # Least signal to noise of a source, within the window of its centroid
        bkg_boxsize = integer(min=8, default=100)  # Size of the boxes in which the background is measured, pixels
        minobj = integer(min=1, default=4)  # Least number of matches of an exposure with the others
        fitgeometry = option('shift', 'rshift', 'rscale', 'general', default='shift')  # What is fitted between exposures: shift, with rotation, with scale, any linear map
        searchrad = float(min=0, default=1.0)  # Largest shift between exposures, arcsec
        separation = float(min=0, default=0.1)  # Sources of one list that are closer together are left out, arcsec
        tolerance = float(min=0, default=0.1)  # Largest distance of a match after the shift, arcsec; shrinks to what the scatter asks for
        max_rmse = float(min=0, default=50.0)  # Largest residual (rms length) of an exposure from the others, mas; above, it is FAILED; 0: any
        abs_minobj = integer(min=1, default=5)  # Least number of matches with the reference
        abs_fitgeometry = option('auto', 'shift', 'rshift', 'rscale', 'general', default='auto')  # What is fitted to the reference; auto: rshift (short wavelengths) or rscale (long), held near what a telescope does where few sources say otherwise
        abs_searchrad = float(min=0, default=2.0)  # Largest shift to the reference, arcsec
        abs_separation = float(min=0, default=0.2)  # Sources of one list that are closer together are left out, arcsec
        abs_tolerance = float(min=0, default=0.3)  # Largest distance of a match with the reference after the shift, arcsec
        abs_max_rmse = float(min=0, default=100.0)  # Largest residual (rms length) from the reference, mas; above, the exposures are FAILED; 0: any
        alignment_table = input_file(default=None)  # Table (.ecsv or .csv) of parameters per visit and filter
        fallback = option('none', 'visit', default='none')  # What fails: none: keeps its WCS; visit: takes the pointing of the aligned exposure of its visit that is nearest in time
        keep_updated = boolean(default=True)  # Exposures whose WCS is from a file (UpdateWcsStep) keep it, and the others are aligned with them; false: all are aligned
        on_failure = option('keep', 'stop', default='keep')  # What could not be aligned: keep: its WCS stays; stop: an error, after the table and the figure are written
        save_wcs = boolean(default=False)  # Write the WCS of each aligned exposure, <exposure>_tweakreg.asdf
        save_table = boolean(default=True)  # Write the results, *_alignment.ecsv
        save_plots = boolean(default=True)  # Draw the residuals, *_alignment.png
    """  # noqa: E501

    @classmethod
    def get_config_reftype(cls):
        """Take the CRDS parameters of the step that this one extends."""
        return TweakRegStep.get_config_reftype()

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters, crds_observatory):
        """Take the CRDS parameters, but for those that have a default of ours.

        Those of CRDS suit the stars that jwst finds, and would replace what suits galaxies.
        """
        config = super()._get_config_from_parameters(crds_parameters, crds_observatory)
        for name in _OURS & set(config.scalars):
            del config[name]
        return config

    def process(self, input_data):
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
        settings = AlignmentSettings(**{f.name: getattr(self, f.name) for f in _SETTINGS})
        table = read_alignment_table(self.alignment_table) if self.alignment_table else None
        given = (self.abs_refcat or "").strip()
        online = given.upper() in SINGLE_GROUP_REFCAT
        reference = read_reference_catalog(given) if given and not online else None
        library = open_library(self, input_data)
        kept = self._kept(library)
        if len(kept) == len(library):
            self._leave(library)
            return library
        exposures = self._measure_sources(library, settings, table, kept)
        if online:
            reference = self._fetch_reference(given.upper(), library, exposures)
        if reference is not None and self.save_abs_catalog:
            self._save_reference(reference, exposures)
        references = [reference] if reference is not None else []
        if kept:
            log.info("%d of %d exposures keep their WCS from a file", len(kept), len(exposures))
            references.insert(0, catalog_of([each for each in exposures if each.kept]))
        residuals = []
        for group in grouped(exposures, by_visit=bool(references)):
            log.info("Aligning %s", ", ".join(exposure.name for exposure in group))
            residuals += align_group(group, references)
        if self.fallback == "visit" and references:
            borrow_pointings(exposures)
        self._write_back(library, exposures, given)
        self._write_results(library, exposures, residuals, given)
        return library

    def _kept(self, library):
        """Return which exposures keep the WCS that UpdateWcsStep has given them."""
        key = f"meta.cal_step.{UpdateWcsStep.class_alias}"
        if not self.keep_updated:
            return set()
        with library:
            status = [library.read_metadata(index).get(key) for index in range(len(library))]
        return {index for index, each in enumerate(status) if each == COMPLETE}

    def _leave(self, library):
        """Record that every exposure keeps its WCS."""
        log.info("Every exposure has its WCS from a file: nothing is aligned")
        with library:
            for index, model in enumerate(library):
                self.record(model, SKIPPED, note=KEPT)
                library.shelve(model, index)

    def _measure_sources(self, library, settings, table, kept):
        """Return all exposures, each with its sources and parameters."""
        custom = read_catfile(self.catfile) if self.use_custom_catalogs else {}
        exposures = []
        with library:
            for index, model in enumerate(library):
                try:
                    exposure = describe(model, index, settings)
                    if table is not None:
                        exposure.settings = table.apply(settings, exposure.visit, exposure.band)
                        if (exposure.visit, exposure.band) not in table.rows:
                            log.warning(
                                "%s has no row for visit %s, filter %s: the parameters of the "
                                "step are used",
                                table.path,
                                exposure.visit,
                                exposure.band,
                            )
                    catalog = custom.get(model.meta.filename) or model.meta.tweakreg_catalog
                    if self.use_custom_catalogs and catalog:
                        sources = from_table(read_catalog(catalog), catalog)
                    else:
                        sources = self._find(model, exposure)
                    if len(sources) > 0:
                        # outside the bounding box there is no sky
                        world = exposure.corrector.det_to_world(sources.x, sources.y)
                        exposure.sources = sources.take(np.isfinite(world).all(axis=0))
                    if index in kept:
                        exposure.keep()
                    exposures.append(exposure)
                finally:
                    library.shelve(model, index, modify=False)
        return exposures

    def _find(self, model, exposure):
        """Return the sources to use of one exposure."""
        if self.source_lists == "jwst":
            return from_table(self._find_sources(model), "starfinder")
        mask = (model.dq & NOT_FOR_CENTROIDS) != 0
        try:
            found = find_sources(model.data, model.err, mask, exposure.settings.catalog)
        except ValueError as err:
            log.warning("%s: %s. Raise detect_thresh.", exposure.name, err)
            return SourceList.empty()
        if self.save_catalogs:
            self._save_catalog(model, found)
        good = found.good()
        log.info("%s: %d sources, %d of them good", exposure.name, len(found), len(good))
        return good

    def _save_catalog(self, model, found):
        """Write a source list, *_cat.ecsv or *_cat.fits."""
        table = Table(asdict(found))
        table["x"].unit = table["y"].unit = table["sigma"].unit = table["size"].unit = "pixel"
        path = self.extra_product_path(model, "cat", self.catalog_format)
        kind = "ascii.ecsv" if self.catalog_format == "ecsv" else self.catalog_format
        write_atomic(path, lambda scratch: table.write(scratch, format=kind))

    def _fetch_reference(self, name, library, exposures):
        """Get a catalogue of the STScI service for the field of all exposures."""
        footprints = [exposure.corrector.wcs.footprint() for exposure in exposures]
        with library:
            first = library.borrow(0)
            try:
                wcsinfo = first.meta.wcsinfo.instance
                field = wcs_from_sregions(footprints, ref_wcs=first.meta.wcs, ref_wcsinfo=wcsinfo)
            finally:
                library.shelve(first, 0, modify=False)
        epoch = Time(exposures[0].time, format="mjd").decimalyear
        try:
            table = create_astrometric_catalog(field, epoch, catalog=name, output=None)
        # whatever a network, a service or its answer may raise
        except Exception as err:
            raise CeersError(
                f"abs_refcat={name} cannot be had from the network ({err}). Check the connection, "
                "or give a table with RA and DEC: abs_refcat=FILE."
            ) from err
        if len(table) == 0:
            raise CeersError(
                f"abs_refcat={name} has no source in this field. Give a table with RA and DEC."
            )
        return ReferenceCatalog(name, np.asarray(table["RA"]), np.asarray(table["DEC"]))

    def _save_reference(self, reference, exposures):
        """Write the part of the reference that was used."""
        # not the mean of the corners, which is nowhere near where RA goes from 360 to 0
        places = [exposure.corrector.tanp_to_world(0.0, 0.0) for exposure in exposures]
        near = np.unique(np.concatenate([reference.near(*place, 180) for place in places]))
        table = Table({"RA": reference.ra[near], "DEC": reference.dec[near]}, units=["deg", "deg"])
        path = self.make_output_path(basepath=f"fit_{reference.name.lower()}", suffix="ref")
        path = Path(path).with_suffix(".ecsv")
        write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))

    def _write_back(self, library, exposures, given):
        """Give the exposures their WCS, and record how each ended."""
        with library:
            for exposure in exposures:
                model = library.borrow(exposure.index)
                try:
                    if exposure.status in {COMPLETE, BORROWED}:
                        self._set_wcs(model, exposure.corrector.wcs, exposure.reference)
                    status = COMPLETE if exposure.status == BORROWED else exposure.status
                    if exposure.status in {FAILED, BORROWED}:
                        log.warning("%s: %s", exposure.name, exposure.note)
                    if not exposure.kept:
                        record_step_status(model, "tweakreg", status=status)
                    used = {**asdict(exposure.settings), "abs_refcat": os.path.basename(given)}
                    self.record(
                        model, status, parameters=used, merit=exposure.merit, note=exposure.note
                    )
                finally:
                    library.shelve(model, exposure.index)

    def _set_wcs(self, model, wcs, reference):
        """Replace the WCS of a model and what follows from it, and write it where asked for."""
        if wcs.bounding_box is None:
            wcs.bounding_box = model.meta.wcs.bounding_box
        if reference:
            wcs.name = f"FIT-LVL3-{reference}"  # as TweakRegStep does
        model.meta.wcs = wcs
        update_s_region_imaging(model)
        if self.sip_approx:
            try:
                update_fits_wcsinfo(
                    model,
                    max_pix_error=self.sip_max_pix_error,
                    degree=self.sip_degree,
                    max_inv_pix_error=self.sip_max_inv_pix_error,
                    inv_degree=self.sip_inv_degree,
                    npoints=self.sip_npoints,
                )
            except (ValueError, RuntimeError) as err:
                log.warning("%s: no FITS keywords for its WCS: %s", model.meta.filename, err)
        if self.save_wcs:
            path = self.extra_product_path(model, "tweakreg", "asdf")
            write_wcs_file(path.with_name(wcs_file_name(model)), model)

    def _write_results(self, library, exposures, residuals, given):
        """Write the table and the figure, and tell what failed."""
        product = library.asn["products"][0].get("name")
        # in the order of time, not in that of a list
        first = min(exposures, key=lambda exposure: (exposure.time, exposure.name))
        basepath = product or f"{first.name}_cal"
        if self.save_table:
            rows = [row for exposure in exposures for row in exposure.rows]
            meta = {"abs_refcat": os.path.basename(given)}
            table = make_results_table(rows, meta)
            path = self.make_output_path(basepath=basepath, suffix="alignment", ext="ecsv")
            write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))
        if self.save_plots and residuals:
            from ceers_steps.figures.alignment import alignment_figure

            path = self.make_output_path(basepath=basepath, suffix="alignment", ext="png")
            try:
                alignment_figure(path, residuals)
            except CeersError as err:
                if not isinstance(err.__cause__, ImportError):
                    raise
                log.info("No figure of the alignment: %s", err)
        failed = [exposure for exposure in exposures if exposure.status == FAILED]
        if failed:
            self._tell(failed, len(exposures))

    def _tell(self, failed, total):
        """Say what could not be aligned, as an error if so asked."""
        names = ", ".join(exposure.name for exposure in failed)
        message = f"{len(failed)} of {total} exposures are not aligned: {names}"
        if self.on_failure == "keep":
            log.warning("%s", message)
            return
        reasons = "; ".join(dict.fromkeys(exposure.note for exposure in failed))
        raise CeersError(
            f"{message} ({reasons}). Aligned and other exposures do not fit together in a mosaic. "
            "Give another abs_refcat or parameters that suit this field, take the pointing of "
            "neighbours in time (fallback='visit'), leave these exposures out, or accept the "
            "pointing that they have (on_failure='keep')."
        )


_SETTINGS = fields(AlignmentSettings)
_OURS = set(re.findall(r"^ *(\w+) = ", AlignStep.spec, re.MULTILINE))
"""Parameters that have a default of ours."""
