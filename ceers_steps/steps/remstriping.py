"""Step: 1/f stripes out of a rate image."""

import logging
from dataclasses import dataclass, replace

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import read_image, write_atomic
from ceers_steps.kernels.sources.tiers import RATE_TIERS, mask_sources
from ceers_steps.kernels.stripes.frame import (
    add_tilted,
    find_by_median,
    find_by_wiener,
    with_zero_mean,
)
from ceers_steps.kernels.stripes.median import flatten, rough_stripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.flat import check_is_rate, read_flat

__all__ = ["RemStripingStep"]

log = logging.getLogger(__name__)

DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
NO_SKY = DO_NOT_USE | dqflags.pixel["REFERENCE_PIXEL"]

WIDEST_TIER = 0b10
"""Bit of the source mask that 'wiener' does without: wide faint light is in its model, and where
such light is masked nothing tells it from stripes."""


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
    reference_file_types = ["flat"]

    spec = """
        method = option('wiener', 'median', default='wiener')  # wiener: most probable read-out time series, beside smooth light; median: clipped medians of rows and columns, as published
        mask_threshold = pass(default='auto')  # median: masked fraction (0 to 1) of an output's row above which the whole row is used; auto: what has the smaller predicted error
        pedestal = option('kept', 'published', default='kept')  # kept: stripes have zero mean, so that the sky keeps its level; published (median): they are measured from the peak of a Gaussian fitted to the histogram
        tilted_angles = float_list(default=None)  # Directions of further stripes, degrees from +x towards +y (30,150), after rows and columns
        source_mask = input_file(default=None)  # FITS image, not 0 = source (an edited *_1fmask.fits), in place of the search for sources
        search_destriped = boolean(default=True)  # Search for sources after a rough removal of stripes, which hide faint wide ones
        apply_flat = boolean(default=True)  # Allow for the flat field in the fit; the result is not flat-fielded
        save_patterns = boolean(default=False)  # Write what is subtracted, DN/s: *_horiz.fits, *_vert.fits, and *_tilt.fits with tilted_angles (*_horizints.fits ... of rateints)
        save_mask = boolean(default=True)  # Write the source mask, *_1fmask.fits, which stage 3 uses again
        save_plots = boolean(default=False)  # Draw the (first) frame before and after, *_1f.png
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure values: mask_threshold, skip_remstriping
    """  # noqa: E501

    def process(self, input_data):
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
        if model.meta.cal_step.instance.get(self.class_alias) == "COMPLETE":
            log.warning("%s is free of stripes already: nothing done", model.meta.filename)
            return model
        row = self.overrides_row(model)
        reason = _why_not(model, row)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        check_is_rate(model)
        threshold = _parse_threshold(row.get("mask_threshold", self.mask_threshold))
        layout = _layout(model)
        flat = read_flat(self, model) if self.apply_flat else None
        planes = _planes(model)
        patterns, figures = [], []
        try:
            bits = self._source_bits(planes, flat, layout.n_outputs)
            for plane in planes:
                sky = plane.sees_sky & (bits == 0)
                if not sky.any():
                    sky = plane.sees_sky
                stripes = self._find(plane, bits, flat, layout, threshold)
                if self.pedestal == "kept" or self.method == "wiener":
                    stripes = with_zero_mean(stripes, sky)
                if self.save_plots and not figures:
                    self._draw(model, plane, stripes, bits)
                self._subtract_inplace(plane, stripes.total)
                figures.append(_figures(stripes, sky))
                if self.save_patterns:
                    patterns.append(replace(stripes, rest=None))
        except ValueError as err:
            raise CeersError(
                f"{model.meta.filename}: no stripes can be fitted: {err}. Look at the image, "
                "its DQ and its variances; give a source_mask that leaves some sky, or leave this "
                "exposure out (skip_remstriping in the overrides table)."
            ) from err
        self._write_products(model, bits, patterns)
        self.record(
            model,
            "COMPLETE",
            parameters=self._parameters_used(threshold, flat),
            merit={key: np.mean([each[key] for each in figures]) for key in figures[0]},
        )
        return model

    def _parameters_used(self, threshold, flat):
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

    def _source_bits(self, planes, flat, n_outputs):
        """Return the mask of the mean of all integrations: bit 0 bad, higher bits sources."""
        shape = planes[0].image.shape
        if self.source_mask:
            return _read_mask(self.source_mask, shape)
        total, count = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        for plane in planes:
            np.add(total, plane.image, out=total, where=plane.sees_sky)
            count += plane.sees_sky
        mean = total / np.maximum(count, 1)
        if flat is not None:
            mean = flatten(mean, flat)
        if self.search_destriped:
            mean -= rough_stripes(mean, count == 0, n_outputs)
        return mask_sources(mean, count == 0, RATE_TIERS)

    def _find(self, plane, bits, flat, layout, threshold):
        """Find the stripes of one integration."""
        if self.method == "median":
            mask = (bits > 0) | (plane.dq != 0)
            stripes = find_by_median(
                plane.image,
                mask,
                layout.n_outputs,
                flat=flat,
                mask_threshold=threshold,
                published_pedestal=self.pedestal == "published",
            )
        else:
            # a mask from a file is taken as it is
            used_bits = bits if self.source_mask else bits & ~np.uint8(WIDEST_TIER)
            mask = (used_bits > 0) | ~plane.sees_sky
            stripes = find_by_wiener(plane.image, mask, plane.white_sigma, layout, flat=flat)
        return add_tilted(stripes, mask, self.tilted_angles) if self.tilted_angles else stripes

    def _subtract_inplace(self, plane, total):
        """Subtract the stripes; pixels without a value stay without."""
        zero = plane.image == 0
        plane.image -= total
        plane.image[zero] = 0
        bad = ~np.isfinite(plane.image)
        plane.dq[bad] |= DO_NOT_USE
        if self.method == "median":
            # as published; with 'wiener' they are NaN, as jwst 3 has them
            plane.image[bad] = 0

    def _write_products(self, model, bits, patterns):
        """Write the mask and the patterns, where asked for."""
        # in a pipeline the mask of the rate image stands for that of its integrations too
        if self.save_mask and (model.data.ndim == 2 or self.parent is None):
            header = fits.Header([("COMMENT", "bit 0: bad pixel; bit k: source of tier k")])
            for number, tier in enumerate(RATE_TIERS.tiers, start=1):
                header[f"TIER{number}"] = (tier.sigma, "[pixel] sigma of the smoothing Gaussian")
            self._write(model, "1fmask", bits, header)
        if self.save_patterns:
            shape = model.data.shape
            images = {
                "horiz": [stripes.horizontal for stripes in patterns],
                "vert": [np.broadcast_to(stripes.vertical, shape[-2:]) for stripes in patterns],
            }
            if self.tilted_angles:
                images["tilt"] = [stripes.tilted for stripes in patterns]
            for suffix, stack in images.items():
                header = fits.Header([("BUNIT", "DN/s")])
                name = f"{suffix}{_ints(model)}"
                self._write(model, name, np.stack(stack).reshape(shape), header)

    def _write(self, model, suffix, data, header):
        """Write one image."""
        hdu = fits.PrimaryHDU(data, header)
        write_atomic(self.extra_product_path(model, suffix), hdu.writeto)

    def _draw(self, model, plane, stripes, bits):
        """Draw one frame before and after."""
        from ceers_steps.figures.exposures import striping_figure  # matplotlib is an extra

        total = stripes.total
        striping_figure(
            self.extra_product_path(model, f"1f{_ints(model)}", "png"),
            plane.image,
            total,
            plane.image - total,
            mask=bits > 0,
            title=model.meta.filename,
        )


@dataclass
class _Plane:
    """One integration: views of the model's arrays, and what follows from them."""

    image: np.ndarray
    dq: np.ndarray
    sees_sky: np.ndarray
    white_sigma: np.ndarray


def _planes(model):
    """Return the integrations of a model, in a list of one for an image."""

    def split(array):
        return array.reshape(-1, *model.data.shape[-2:])

    arrays = (model.data, model.dq, model.var_rnoise, model.var_poisson)
    planes = []
    for image, dq, var_rnoise, var_poisson in zip(*map(split, arrays), strict=True):
        sees_sky = np.isfinite(image) & (dq & NO_SKY == 0)
        # the photon noise of single pixels follows their values: it must not weight them
        photon = np.median(var_poisson[sees_sky]) if sees_sky.any() else 0.0
        planes.append(_Plane(image, dq, sees_sky, np.sqrt(var_rnoise + photon)))
    return planes


def _ints(model):
    """Return what ends the suffix of an extra product of rateints: that of rate is another file."""
    return "ints" if model.data.ndim == 3 else ""


def _figures(stripes, sky):
    """Return the figures of merit of one integration, from the pixels of the sky."""
    total = stripes.total[sky]
    return {
        "sky": stripes.sky,
        "sky_change": -np.mean(total, dtype=float),
        "stripe_rms": np.std(total, dtype=float),
        **stripes.figures,
    }


def _why_not(model, row):
    """Return why this exposure is left alone, or None."""
    if row.get("skip_remstriping"):
        return "the overrides table says so"
    if model.meta.instrument.name != "NIRCAM" or model.meta.exposure.type != "NRC_IMAGE":
        return f"not NIRCam imaging (EXP_TYPE {model.meta.exposure.type})"
    return None


def _layout(model):
    """Return the order in which the pixels were read."""
    shape = model.data.shape[-2:]
    keywords = {
        "FASTAXIS": model.meta.subarray.fastaxis,
        "SLOWAXIS": model.meta.subarray.slowaxis,
        "NOUTPUTS": model.meta.exposure.noutputs,
    }
    missing = [name for name, value in keywords.items() if value is None]
    if missing:
        raise CeersError(
            f"{model.meta.filename}: no {', '.join(missing)}; without these keywords the order "
            "of the read-out is not known. Run stage 1 on the original *_uncal.fits."
        )
    fast, slow, n_outputs = keywords.values()
    try:
        return ReadoutLayout.from_keywords(
            shape, fast_axis=fast, slow_axis=slow, n_outputs=n_outputs
        )
    except ValueError as err:
        raise CeersError(f"{model.meta.filename}: {err}") from err


def _parse_threshold(value):
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


def _read_mask(path, shape):
    """Return the first image of a FITS file, as bits."""
    data = read_image(path, f"source_mask={path}")
    if data is None or data.shape != shape:
        found = "no image" if data is None else f"an image of {data.shape}"
        raise CeersError(f"source_mask={path}: {found}, while the exposure has {shape} pixels.")
    return data if data.dtype == np.uint8 else (data != 0).astype(np.uint8)
