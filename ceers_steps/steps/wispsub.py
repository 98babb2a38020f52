"""Subtract wisps from rate images."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.wisp_templates import (
    AFFECTED_DETECTORS,
    effective_filter,
    find_templates,
    read_templates,
)
from ceers_steps.kernels.wisps.fit import WispFit, fit_wisp
from ceers_steps.kernels.wisps.published import (
    cold_source_mask,
    fit_wisp_published,
    published_box,
)
from ceers_steps.kernels.wisps.template import prepare_template
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.flat import check_is_rate, read_flat

__all__ = ["WispSubStep"]

log = logging.getLogger(__name__)

DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]


class WispSubStep(CeersStep):
    """
    Subtract wisps (stray light on NRCA3, NRCA4, NRCB3 and NRCB4) from a rate image.

    The template of the detector and filter, wisps_<detector>_<FILTER>.fits, is scaled to the image
    and subtracted where the wisp is significant. Other detectors, and filters without a template,
    are SKIPPED; for F150W, F150W2, F182M, F200W and F210M a missing template is an error.
    """

    class_alias = "ceers_wispsub"
    output_suffix = "wispsub"
    input_types = ("ImageModel", "CubeModel")
    reference_file_types = ["flat"]

    spec = """
        template_dir = string(default=None)  # Directory with wisps_<detector>_<FILTER>.fits (DN/s); searched before $NIRCAM_WISP_TEMPLATES
        templates = force_list(default=None)  # Template files, one per component, instead of those found by name
        scale = float(min=0, default=None)  # Scale of the template, by hand; None fits it
        method = option('lsq', 'ceers', default='lsq')  # 'lsq': robust least squares; 'ceers': as published by CEERS
        min_significance = float(min=0, default=5.0)  # Subtract only if the wisp is this many times its error (lsq)
        template_frame = option('flat', 'raw', default='flat')  # Whether the flat is divided out of the template ('flat') or not ('raw') (lsq)
        save_wisp_model = boolean(default=False)  # Save what is subtracted (*_wispmodel.fits)
        save_plots = boolean(default=False)  # Save a figure: before, model, after, objective (*_wisp.png)
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure wisp_scale and skip_wispsub
    """  # noqa: E501

    def process(self, input_data):
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
        if model.meta.cal_step.instance.get(self.class_alias) == "COMPLETE":
            log.warning("%s is free of wisps already: nothing done", model.meta.filename)
            return model
        row = self.overrides_row(model)
        scale = row.get("wisp_scale", self.scale)
        measure = None
        paths, reason = self.template_files(model, row)
        if paths:
            check_is_rate(model)
            measure, reason = self._prepare(model, paths, scale)
        if measure is None:
            self.record(model, "SKIPPED", note=reason)
            return model

        # a rate image is a stack of one integration; reshaped, the arrays stay the model's own
        planes = [a.reshape(-1, *a.shape[-2:]) for a in (model.data, model.err, model.dq)]
        wisps = np.zeros_like(planes[0]) if self.save_wisp_model or self.save_plots else None
        usable = np.isfinite(planes[0]) & (planes[2] & DO_NOT_USE == 0)
        if scale is None and not usable.any():
            raise CeersError(
                f"{model.meta.filename}: every pixel is NaN or DO_NOT_USE, so that no wisp can be "
                "fitted. Look at the image and its DQ, or leave this exposure out (skip_wispsub in "
                "the overrides table)."
            )
        results = []
        for number, (image, err, dq) in enumerate(zip(*planes, strict=True)):
            fit, wisp = measure(image, err, dq)
            results.append((fit, wisp is not None))
            if wisp is not None:
                image -= wisp
                if wisps is not None:
                    wisps[number] = wisp
        if wisps is not None:
            self._save_extras(model, wisps.reshape(model.data.shape), results[0][0])

        done = any(subtracted for _, subtracted in results)
        found = any(fit.n_pixels for fit, _ in results)
        reason = "no significant wisp" if found else "no usable pixel on the wisp"
        self.record(
            model,
            "COMPLETE" if done else "SKIPPED",
            parameters={
                "method": self.method,
                "scale": scale,
                "templates": [path.name for path in paths],
                "template_frame": self.template_frame,
                "min_significance": self.min_significance,
            },
            merit=_merit(results),
            note="wisp subtracted" if done else f"{reason}: nothing subtracted",
        )
        return model

    def template_files(self, model, row):
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
        if row.get("skip_wispsub"):
            return [], "skip_wispsub is set in the overrides table"
        if model.meta.exposure.type != "NRC_IMAGE":
            return [], f"not NIRCam imaging (EXP_TYPE {model.meta.exposure.type})"
        if instrument.detector not in AFFECTED_DETECTORS:
            return [], f"{instrument.detector} has no wisps"
        if self.templates:
            return [Path(path) for path in self.templates], ""
        band = effective_filter(instrument.filter, instrument.pupil)
        paths = find_templates(instrument.detector, band, self.template_dir)
        return paths, f"no wisp template for {instrument.detector} {band}"

    def _prepare(self, model, paths, scale):
        """Return the function that measures one image, or None and the reason."""
        stack, start = read_templates(paths, model)
        if len(stack) > 1 and (scale is not None or self.method == "ceers"):
            raise CeersError(
                f"{len(stack)} wisp components are given ({', '.join(map(str, paths))}), but "
                f"method={self.method!r} with scale={scale} takes one. Use method='lsq' and "
                "scale=None, or give one template."
            )
        shape = model.data.shape[-2:]
        outside = f"the wisp does not reach subarray {model.meta.subarray.name}"
        flat = read_flat(self, model)
        if self.method == "ceers":
            box = published_box(model.meta.instrument.detector, start, shape)
            if box is None:
                return None, outside
            part = [slice(at, at + n) for at, n in zip(start, shape, strict=True)]
            template = stack[0][*part]
            return partial(
                _measure_published, template=template, box=box, flat=flat, scale=scale
            ), ""
        try:
            template = prepare_template(stack).cut(*start, shape)
        except ValueError as err:
            raise CeersError(f"Wisp template {paths[0]}: {err}.") from err
        if template is None:
            return None, outside
        return partial(
            _measure_lsq,
            template=template,
            flat=flat,
            scale=scale,
            flatten_template=self.template_frame == "raw",
            min_significance=self.min_significance,
            n_outputs=model.meta.exposure.noutputs or (4 if shape[1] == 2048 else 1),
        ), ""

    def _save_extras(self, model, wisps, fit):
        """Save the wisp model and the figure of (the first integration of) it."""
        ints = "ints" if wisps.ndim == 3 else ""
        if self.save_wisp_model:
            with (CubeModel if ints else ImageModel)(data=wisps) as product:
                product.update(model, only="PRIMARY")
                path = self.extra_product_path(model, f"wispmodel{ints}")
                write_atomic(path, product.save)
                log.info("Saved the wisp model in %s", path)
        if self.save_plots:
            from ceers_steps.figures.exposures import wisp_figure

            after, wisp = (a[0] if ints else a for a in (model.data, wisps))
            single = len(fit.scales) == 1
            wisp_figure(
                self.extra_product_path(model, f"wisp{ints}", "png"),
                after + wisp,
                wisp,
                after,
                objective=(fit.trial_scales, fit.objective) if fit.trial_scales.size else None,
                scale=float(fit.scales.max()),
                scale_err=float(fit.scale_errs[0]) if single else None,
                title=model.meta.filename,
            )


def _measure_lsq(
    image, err, dq, *, template, flat, scale, flatten_template, min_significance, n_outputs
):
    """Return the fit and the wisp to subtract, None if there is none."""
    if scale is None:
        fit = fit_wisp(
            image,
            err,
            (dq & DO_NOT_USE) != 0,
            template,
            n_outputs=n_outputs,
            flat=flat,
            flatten_template=flatten_template,
        )
        if not fit.scales.any() or fit.significance < min_significance:
            return fit, None
    else:
        fit = WispFit.by_hand(scale)
    wisp = np.zeros(image.shape, np.float32)
    wisp[template.box] = template.model(fit.scales)
    if flat is not None and not flatten_template:
        part = flat[template.box]
        wisp[template.box] *= np.where(np.isfinite(part), part, 1)
    return fit, wisp


def _measure_published(image, err, dq, *, template, box, flat, scale):
    """Return the fit and the wisp to subtract, as published."""
    if scale is None:
        unusable = dq > 0
        if flat is not None:
            unusable |= ~np.isfinite(flat)
            gain = np.where(np.isfinite(flat), flat, 1)
            image, err = image / gain, err / gain
        mask = unusable | cold_source_mask(image, err)
        fit = fit_wisp_published(image, mask, template, box)
    else:
        fit = WispFit.by_hand(scale)
    wisp = np.float32(fit.scales[0]) * np.nan_to_num(template, nan=0.0)
    wisp[image == 0] = 0
    return fit, wisp


def _merit(results):
    """Return the figures of merit; numbers for one template and image, else lists."""

    def plain(values):
        return np.squeeze(np.array(values)).tolist()

    return {
        "scale": plain([fit.scales * subtracted for fit, subtracted in results]),
        "measured_scale": plain([fit.scales for fit, _ in results]),
        "scale_err": plain([fit.scale_errs for fit, _ in results]),
        "significance": plain([fit.significance for fit, _ in results]),
        "chi2": plain([fit.chi2 for fit, _ in results]),
        "n_pixels": plain([fit.n_pixels for fit, _ in results]),
    }
