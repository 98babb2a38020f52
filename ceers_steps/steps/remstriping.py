"""Step: 1/f stripes out of a rate image."""

import logging
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.figures.looks import are_kept
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.headers.other_tools import already_done
from ceers_steps.files.source_masks import read_bits
from ceers_steps.kernels.sources.tiers import RATE_TIERS
from ceers_steps.kernels.stripes.exposure import Destriping, StripeSettings, destripe_inplace
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.flat import check_is_rate, read_flat
from ceers_steps.steps.inputs.readout import readout_layout
from ceers_steps.steps.inputs.usable import skip_unusable, why_not_nircam
from ceers_steps.steps.looks import keep_stripes

__all__ = ["RemStripingStep"]

log = logging.getLogger(__name__)

OTHER_IMAGING = ("MIR_IMAGE", "NIS_IMAGE")
"""EXP_TYPE of what is treated on request."""

HIDDEN = "light hides the stripes of at least one integration: none are subtracted there"


class RemStripingStep(CeersStep):
    """
    Subtract 1/f stripes from a NIRCam rate image, or from each integration of rateints.

    Sources are masked from the widest to the smallest. 'wiener' models the read-out as a time
    series together with the smooth light; 'median' takes clipped medians along the rows of each
    output, then along columns (Bagley et al. 2023, ApJL 946 L12, section 3.1.3).
    """

    class_alias = "ceers_remstriping"
    output_suffix = "remstriping"
    input_types = ("ImageModel", "CubeModel")
    input_planes = ("DQ", "VAR_RNOISE", "VAR_POISSON")
    reference_file_types = ["flat"]

    spec = """
        method = option('wiener', 'median', default='wiener')  # wiener: most probable read-out time series, beside smooth light; median: clipped medians of rows and columns, as published
        mask_threshold = pass(default='auto')  # median: masked fraction (0 to 1) of an output's row above which the whole row is used; auto: what has the smaller predicted error
        pedestal = option('kept', 'published', default='kept')  # kept: stripes have zero mean, so that the sky keeps its level; published (median): they are measured from the peak of a Gaussian fitted to the histogram
        tilted_angles = float_list(default=None)  # Directions of further stripes, degrees from +x towards +y (30,150), after rows and columns
        other_instruments = boolean(default=False)  # Also MIRI and NIRISS imaging, whose frames are taken as read by one output
        source_mask = input_file(default=None)  # FITS image, not 0 = source (an edited *_1fmask.fits), in place of the search for sources
        search_destriped = boolean(default=True)  # Search for sources after a rough removal of stripes, which hide faint wide ones
        apply_flat = boolean(default=True)  # Allow for the flat field in the fit; the result is not flat-fielded
        save_patterns = boolean(default=False)  # Write what is subtracted, DN/s: *_horiz.fits, *_vert.fits, and *_tilt.fits with tilted_angles (*_horizints.fits ... of rateints)
        save_mask = boolean(default=True)  # Write the source mask, *_1fmask.fits, which stage 3 uses again
        save_plots = boolean(default=False)  # Draw the (first) frame before and after, *_1f.png
        force = boolean(default=False)  # Run also where this step, or another program, has taken the stripes out already
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure values: mask_threshold, skip_remstriping
    """  # noqa: E501

    def process(self, input_data: Any) -> JwstDataModel:
        """
        Remove the stripes.

        Parameters
        ----------
        input_data : str or `~stdatamodels.jwst.datamodels.JwstDataModel`
            Rate image (ImageModel) or its integrations (CubeModel), DN/s.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.JwstDataModel`
            The same without stripes.
        """
        model = self.prepare_output(input_data)
        if self.has_run(model) and not self.force:
            log.warning("%s is free of stripes already: nothing done", model.meta.filename)
            return model
        row = self.overrides_row(model)
        reason = self.reason_to_skip(model)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        check_is_rate(model)
        if skip_unusable(self, model):
            return model
        threshold = _parse_threshold(row.get("mask_threshold", self.mask_threshold))
        flat = read_flat(self, model) if self.apply_flat else None
        found = _destripe_inplace(self, model, threshold, flat)
        _add_errors(model, found)
        _write_products(self, model, found)
        self.record(
            model,
            "COMPLETE",
            parameters=self._parameters_used(threshold, flat),
            metrics=found.metrics,
            note=HIDDEN if found.hidden else "",
        )
        return model

    def reason_to_skip(self, model: JwstDataModel) -> str:
        """Return why this exposure is left alone; empty if its stripes can be taken out.

        Parameters
        ----------
        model : `~stdatamodels.jwst.datamodels.JwstDataModel`
            The exposure, at any level: only its keywords count.
        """
        if self.overrides_row(model).get("skip_remstriping"):
            return "the overrides table says so"
        if reason := why_not_nircam(model):
            if model.meta.exposure.type not in OTHER_IMAGING:
                return reason
            if not self.other_instruments:
                return f"{reason}; other_instruments=true takes it"
        return "" if self.force else already_done(model, "stripes")

    def _parameters_used(self, threshold: float | None, flat: NDArray | None) -> dict[str, Any]:
        """Return the parameters that this run depended on."""
        used = {
            "method": self.method,
            "tilted_angles": self.tilted_angles or [],
            "source_mask": self.source_mask or "",
            "apply_flat": flat is not None,
        }
        if not self.source_mask:
            used["search_destriped"] = self.search_destriped
        if self.method == "median":
            used["mask_threshold"] = "auto" if threshold is None else threshold
            used["pedestal"] = self.pedestal
        return used


def _destripe_inplace(
    step: RemStripingStep, model: JwstDataModel, threshold: float | None, flat: NDArray | None
) -> Destriping:
    """Call the kernel; what it cannot do becomes an error that names the exposure."""
    shape = model.data.shape[-2:]
    # a rate image is a stack of one integration; reshaped, the arrays stay the model's own
    data, dq, var_rnoise, var_poisson = (
        array.reshape(-1, *shape)
        for array in (model.data, model.dq, model.var_rnoise, model.var_poisson)
    )
    try:
        return destripe_inplace(
            data,
            dq,
            var_rnoise,
            var_poisson,
            _layout(model),
            flat=flat,
            source_bits=read_bits(step.source_mask, shape) if step.source_mask else None,
            settings=StripeSettings(
                method=step.method,
                mask_threshold=threshold,
                published_pedestal=step.pedestal == "published",
                tilted_angles=tuple(step.tilted_angles or ()),
                search_destriped=step.search_destriped,
                keep_patterns=step.save_patterns,
                keep_first=step.save_plots or are_kept(),
            ),
        )
    except ValueError as err:
        raise CeersError(
            f"{model.meta.filename}: no stripes can be fitted: {err}. Look at the image, "
            "its DQ and its variances; give a source_mask that leaves some sky, or leave this "
            "exposure out (skip_remstriping in the overrides table)."
        ) from err


def _add_errors(model: JwstDataModel, found: Destriping) -> None:
    """Add what is left of stripes under sources to VAR_POISSON and ERR.

    Not to VAR_RNOISE, from which the weights of mosaics follow: what a peak of the noise has put
    into the mask would weigh less.
    """
    planes = [model.var_poisson] if model.err is None else [model.var_poisson, model.err]
    shape = model.data.shape[-2:]
    stacks = [plane.reshape(-1, *shape) for plane in planes]
    for number, variance in enumerate(found.masked_variances):
        if variance is not None:
            stacks[0][number] += variance
            for err in stacks[1:]:
                err[number] = np.sqrt(err[number] ** 2 + variance)


def _layout(model: JwstDataModel) -> ReadoutLayout:
    """Return the order of read-out; other detectors than NIRCam's have none that stripes follow."""
    if model.meta.exposure.type in OTHER_IMAGING:
        return ReadoutLayout(model.data.shape[-2:], n_outputs=1)
    return readout_layout(model)


def _write_products(step: RemStripingStep, model: JwstDataModel, found: Destriping) -> None:
    """Write the mask, the patterns and the figure, where asked for."""
    ints = "ints" if model.data.ndim == 3 else ""  # the products of rate are other files
    # in a pipeline the mask of the rate image stands for that of its integrations too
    if step.save_mask and (not ints or step.parent is None):
        header = fits.Header([("COMMENT", "bit 0: bad pixel; bit k: source of tier k")])
        for number, tier in enumerate(RATE_TIERS.tiers, start=1):
            header[f"TIER{number}"] = (tier.sigma, "[pixel] sigma of the smoothing Gaussian")
        _write(step, model, "1fmask", found.bits, header)
    if step.save_patterns:
        shape = model.data.shape
        images: dict[str, list] = {
            "horiz": [stripes.horizontal for stripes in found.patterns],
            "vert": [np.broadcast_to(stripes.vertical, shape[-2:]) for stripes in found.patterns],
        }
        if step.tilted_angles:
            images["tilt"] = [stripes.tilted for stripes in found.patterns]
        for suffix, stack in images.items():
            header = fits.Header([("BUNIT", "DN/s")])
            _write(step, model, f"{suffix}{ints}", np.stack(stack).reshape(shape), header)
    if found.first is not None:
        keep_stripes(model, found.first[1])
    if found.first is not None and step.save_plots:
        from ceers_steps.figures.exposures import striping_figure  # matplotlib is an extra

        before, total = found.first
        striping_figure(
            step.extra_product_path(model, f"1f{ints}", "png"),
            before,
            total,
            before - total,
            mask=found.bits > 0,
            title=model.meta.filename,
        )


def _write(
    step: RemStripingStep, model: JwstDataModel, suffix: str, data: NDArray, header: fits.Header
) -> None:
    """Write one image."""
    hdu = fits.PrimaryHDU(data, header)
    write_atomic(step.extra_product_path(model, suffix), hdu.writeto)


def _parse_threshold(value: Any) -> float | None:
    """Return the masked fraction, None for 'auto'."""
    if value == "auto":
        return None
    try:
        threshold = float(value)
    except (TypeError, ValueError):
        threshold = np.nan
    if not 0.0 <= threshold <= 1.0:
        raise CeersError(f"mask_threshold={value!r}: use a fraction from 0 to 1, or 'auto'.")
    return threshold
