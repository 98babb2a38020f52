"""Subtract wisps from rate images."""

import logging
from pathlib import Path
from typing import Any

from stdatamodels.jwst.datamodels import CubeModel, ImageModel, JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.figures.looks import are_kept
from ceers_steps.files.atomic import user_path, write_atomic
from ceers_steps.files.headers.other_tools import already_done
from ceers_steps.files.overrides import LIMITS
from ceers_steps.files.wisps.package import HOST_NOTE, package_label, persistence_file
from ceers_steps.files.wisps.templates import (
    AFFECTED_DETECTORS,
    INSTALL,
    WispTemplates,
    check_places,
    find_templates,
    read_templates,
)
from ceers_steps.kernels.wisps.subtract import (
    WispSettings,
    WispSubtraction,
    subtract_wisps_inplace,
)
from ceers_steps.names import effective_filter
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.flat import check_is_rate, read_flat
from ceers_steps.steps.inputs.readout import n_outputs
from ceers_steps.steps.inputs.usable import skip_unusable, why_not_nircam
from ceers_steps.steps.looks import keep_wisp

__all__ = ["WispSubStep"]

log = logging.getLogger(__name__)

LARGEST_SCALE = LIMITS["wisp_scale"][1]


class WispSubStep(CeersStep):
    """
    Subtract wisps (stray light on NRCA3, NRCA4, NRCB3 and NRCB4) from a rate image.

    The template of the detector and filter, wisps_<detector>_<FILTER>.fits or that of the package
    nmfwisp, is scaled to the image and subtracted where the wisp is significant. Other detectors,
    and filters without a template, are SKIPPED; for F150W, F150W2, F162M, F182M, F200W and F210M a
    missing template is an error.
    """

    class_alias = "ceers_wispsub"
    output_suffix = "wispsub"
    input_types = ("ImageModel", "CubeModel")
    input_planes = ("ERR", "DQ")
    reference_file_types = ["flat"]

    spec = """
        template_dir = string(default=None)  # Directory with wisps_<detector>_<FILTER>.fits (DN/s); searched before $NIRCAM_WISP_TEMPLATES and the package nmfwisp
        templates = force_list(default=None)  # Template files, one per component, instead of those found by name
        scale = float(min=0, max=100, default=None)  # Scale of the template, by hand; None fits it
        method = option('lsq', 'ceers', default='lsq')  # 'lsq': robust least squares; 'ceers': as published by CEERS
        min_significance = float(min=0, default=5.0)  # Subtract only if the wisp is this many times its error (lsq)
        template_frame = option('auto', 'flat', 'raw', default='auto')  # Whether the flat is divided out of the template ('flat') or not ('raw') (lsq); 'auto': raw for STScI's RATE, else flat
        persistence = boolean(default=False)  # Fit the persistence map of NRCA3 of the package nmfwisp as one more component (lsq)
        save_wisp_model = boolean(default=False)  # Save what is subtracted (*_wispmodel.fits)
        save_plots = boolean(default=False)  # Save a figure: before, model, after, objective (*_wisp.png)
        force = boolean(default=False)  # Run also where this step, or another program, has subtracted the wisp already
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure wisp_scale and skip_wispsub
    """  # noqa: E501

    def process(self, input_data: Any) -> JwstDataModel:
        """
        Subtract the wisp.

        Parameters
        ----------
        input_data : str, `~stdatamodels.jwst.datamodels.ImageModel` or CubeModel
            Rate image, or rates per integration (each is fitted by itself), in DN/s.

        Returns
        -------
        ImageModel or CubeModel
            The same without the wisp.
        """
        model = self.prepare_output(input_data)
        if self.has_run(model) and not self.force:
            log.warning("%s is free of wisps already: nothing done", model.meta.filename)
            return model
        row = self.overrides_row(model)
        paths, reason = self.template_files(model, row)
        if paths and not self.force and (done := already_done(model, "wisps")):
            paths, reason = [], done
        if not paths:
            self.record(model, "SKIPPED", note=reason)
            return model
        check_is_rate(model)
        if skip_unusable(self, model):
            return model
        scale = row.get("wisp_scale", self.scale)
        templates = read_templates(paths, model)
        frame = templates.frame if self.template_frame == "auto" else self.template_frame
        found = _subtract_inplace(self, model, templates, frame, paths, scale)
        _tell(model, paths, found)
        if not found.fits:
            self.record(
                model, "SKIPPED", note=f"{found.reason} subarray {model.meta.subarray.name}"
            )
            return model
        _save_extras(self, model, found, templates)
        _record(self, model, found, templates, paths, scale=scale, template_frame=frame)
        return model

    def template_files(self, model: JwstDataModel, row: dict) -> tuple[list[Path], str]:
        """Find the templates of an exposure; a missing one is an error.

        Parameters
        ----------
        model : `~stdatamodels.jwst.datamodels.JwstDataModel`
            The exposure, at any level: only its keywords count.
        row : dict
            Its overrides.

        Returns
        -------
        paths : list of Path
            Empty if it gets no correction.
        reason : str
            Why it gets none.
        """
        instrument = model.meta.instrument
        # before the long part of stage 1, which asks here first; nan passes the limits of the spec
        if self.scale is not None and not 0 <= self.scale <= LARGEST_SCALE:
            raise CeersError(
                f"{model.meta.filename}: wisp scale={self.scale}; use 0 to {LARGEST_SCALE:g}."
            )
        check_places(self.template_dir, self.templates)
        if row.get("skip_wispsub"):
            return [], "skip_wispsub is set in the overrides table"
        if reason := why_not_nircam(model):
            return [], reason
        if instrument.detector not in AFFECTED_DETECTORS:
            return [], f"{instrument.detector} has no wisps"
        if self.templates:
            return [user_path(path) for path in self.templates], ""
        filter_name = effective_filter(instrument.filter, instrument.pupil)
        paths = find_templates(instrument.detector, filter_name, self.template_dir)
        more = persistence_file(instrument.detector) if self.persistence and paths else None
        return (
            [*paths, more] if more else paths,
            f"no wisp template for {instrument.detector} {filter_name} ({INSTALL} has most)",
        )


def _record(
    step: WispSubStep,
    model: JwstDataModel,
    found: WispSubtraction,
    templates: WispTemplates,
    paths: list[Path],
    **used: Any,
) -> None:
    """Write into the model what was done."""
    package = package_label(paths[0])
    parameters = {
        "method": step.method,
        "scale": used["scale"],
        "templates": [path.name for path in paths],
        "components": len(templates.components),
        **({"template_package": package} if package else {}),
        "template_frame": used["template_frame"],
        "min_significance": step.min_significance,
    }
    status = "SKIPPED" if found.reason else "COMPLETE"
    note = f"{found.reason}: nothing subtracted" if found.reason else "wisp subtracted"
    step.record(model, status, parameters=parameters, metrics=found.metrics, note=note)


def _tell(model: JwstDataModel, paths: list[Path], found: WispSubtraction) -> None:
    """Say in the log where templates of a package are from, and what is wrong with a fit."""
    for path in paths:
        if label := package_label(path):
            note = HOST_NOTE if "_f150w2_" in path.name else ""
            log.info("Wisp template: %s of %s%s", path.name, label, note)
    if found.at_bound:
        log.warning(
            "%s: the wisp scale is at the end of the range that method='ceers' tries (0.01 to "
            "1.19): it is no minimum. Look at the exposure, or use method='lsq'.",
            model.meta.filename,
        )


def _save_extras(
    step: WispSubStep, model: JwstDataModel, found: WispSubtraction, templates: WispTemplates
) -> None:
    """Save the wisp model, the figure of (the first integration of) it, what reports show."""
    keep_wisp(model, found, templates.components, templates.start)
    if found.wisps is None:
        return
    wisps = found.wisps.reshape(model.data.shape)
    ints = "ints" if wisps.ndim == 3 else ""
    if step.save_wisp_model:
        with (CubeModel if ints else ImageModel)(data=wisps) as product:
            product.update(model, only="PRIMARY")
            path = step.extra_product_path(model, f"wispmodel{ints}")
            write_atomic(path, product.save)
            log.info("Saved the wisp model in %s", path)
    if step.save_plots:
        from ceers_steps.figures.exposures import wisp_figure

        after, wisp = (a[0] if ints else a for a in (model.data, wisps))
        fit = found.fits[0]
        wisp_figure(
            step.extra_product_path(model, f"wisp{ints}", "png"),
            after + wisp,
            wisp,
            after,
            objective=(fit.trial_scales, fit.objective) if fit.trial_scales.size else None,
            scale=float(fit.scales.max()),
            scale_err=float(fit.scale_errs[0]) if len(fit.scales) == 1 else None,
            title=model.meta.filename,
        )


def _subtract_inplace(
    step: WispSubStep,
    model: JwstDataModel,
    templates: WispTemplates,
    frame: str,
    paths: list[Path],
    scale: float | None,
) -> WispSubtraction:
    """Call the kernel; what it cannot do becomes an error that names the files."""
    if len(templates.components) > 1 and (scale is not None or step.method == "ceers"):
        raise CeersError(
            f"{len(templates.components)} wisp components are given "
            f"({', '.join(map(str, paths))}), but method={step.method!r} with scale={scale} takes "
            "one. Use method='lsq' and scale=None, or give one template (template_dir)."
        )
    # a rate image is a stack of one integration; reshaped, the arrays stay the model's own
    data, err, dq = (a.reshape(-1, *a.shape[-2:]) for a in (model.data, model.err, model.dq))
    # later steps make the error anew from its parts; some files have none, or empty ones
    part = model.var_rnoise
    whole = part is not None and part.shape == model.data.shape
    try:
        return subtract_wisps_inplace(
            data,
            err,
            dq,
            templates.components,
            detector=model.meta.instrument.detector,
            start=templates.start,
            n_outputs=n_outputs(model),
            flat=read_flat(step, model),
            template_errors=templates.errors,
            variances=part.reshape(data.shape) if whole else None,
            settings=WispSettings(
                method=step.method,
                scale=scale,
                min_significance=step.min_significance,
                flatten_template=frame == "raw",
                keep=step.save_wisp_model or step.save_plots or are_kept(),
            ),
        )
    except ValueError as problem:
        raise CeersError(
            f"{model.meta.filename}, wisp template {paths[0]}: {problem}. Look at both, or leave "
            "this exposure out (skip_wispsub in the overrides table)."
        ) from problem
