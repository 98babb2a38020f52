"""Step: 1/f stripes out of a rate image."""

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic
from ceers_steps.kernels.robust import subsample
from ceers_steps.kernels.sky import gaussian_peak, sky_level
from ceers_steps.kernels.source_mask import RATE_TIERS, mask_sources
from ceers_steps.kernels.striping import flatten, median_stripes, rough_stripes, tilted_stripes
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.flat import read_flat

__all__ = ["RemStripingStep"]

DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
NO_SKY = DO_NOT_USE | dqflags.pixel["REFERENCE_PIXEL"]

PUBLISHED_HISTOGRAM = (-1.0, 1.5, 0.001)
"""Bins of the published pedestal: from, to, width, DN/s."""


class RemStripingStep(CeersStep):
    """
    Subtract 1/f stripes from a NIRCam rate image, or from each integration of rateints.

    Sources are masked from the widest to the smallest. 'wiener' models the read-out as a time
    series together with the smooth sky; 'median' takes clipped medians along the rows of each
    output, then along columns (Bagley et al. 2023, ApJL 946 L12, section 3.1.3).
    """

    class_alias = "ceers_remstriping"
    output_suffix = "remstriping"
    input_types = ("ImageModel", "CubeModel")
    reference_file_types = ["flat"]

    spec = """
        method = option('median', default='median')  # median: clipped medians of rows and columns, as published
        mask_threshold = pass(default='auto')  # median: masked fraction (0 to 1) of an output's row above which the whole row is used; auto: what has the smaller predicted error
        pedestal = option('kept', 'published', default='kept')  # median: stripes of zero mean, so that the sky keeps its level; or measured from the peak of a Gaussian fitted to the histogram
        tilted_angles = float_list(default=None)  # Directions of further stripes, degrees from +x towards +y (30,150), after rows and columns
        source_mask = input_file(default=None)  # FITS image, not 0 = source (an edited *_1fmask.fits), in place of the search for sources
        search_destriped = boolean(default=True)  # Search for sources after a rough removal of stripes, which hide faint wide ones
        apply_flat = boolean(default=True)  # Allow for the flat field in the fit; the result is not flat-fielded
        save_patterns = boolean(default=False)  # Write what is subtracted, DN/s: *_horiz.fits, *_vert.fits, and *_tilt.fits with tilted_angles
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
        row = self.overrides_row(model)
        reason = _why_not(model, row)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        threshold = _parse_threshold(row.get("mask_threshold", self.mask_threshold))
        flat = read_flat(self, model) if self.apply_flat else None
        n_outputs = _n_outputs(model)
        images, flags = (a.reshape(-1, *a.shape[-2:]) for a in (model.data, model.dq))
        first = images[0].copy() if self.save_plots else None
        try:
            bits = self._source_bits(images, flags, flat, n_outputs)
            results = [
                self._clean_inplace(image, dq, bits, flat, n_outputs, threshold)
                for image, dq in zip(images, flags, strict=True)
            ]
        except ValueError as err:
            raise CeersError(
                f"{model.meta.filename}: no stripes can be fitted: {err}. Look at the image and "
                "its DQ; give a source_mask that leaves some sky, or leave this exposure out "
                "(skip_remstriping in the overrides table)."
            ) from err
        patterns = [patterns for patterns, _ in results]
        self._write_products(model, bits, patterns)
        if self.save_plots:
            self._draw(model, first, images[0], patterns[0], bits)
        self.record(
            model,
            "COMPLETE",
            parameters={
                "method": self.method,
                "mask_threshold": "auto" if threshold is None else threshold,
                "pedestal": self.pedestal,
                "tilted_angles": self.tilted_angles or [],
                "source_mask": self.source_mask or "",
                "search_destriped": self.search_destriped,
                "apply_flat": flat is not None,
            },
            merit={
                key: np.mean([merit[key] for _, merit in results], axis=0) for key in results[0][1]
            },
        )
        return model

    def _source_bits(self, images, flags, flat, n_outputs):
        """Return the source mask of all integrations: bit 0 bad, higher bits sources."""
        shape = images.shape[1:]
        if self.source_mask:
            return _read_mask(self.source_mask, shape)
        total, count = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        for image, dq in zip(images, flags, strict=True):
            good = np.isfinite(image) & (dq & NO_SKY == 0)
            np.add(total, image, out=total, where=good)
            count += good
        mean = total / np.maximum(count, 1)
        if flat is not None:
            mean = flatten(mean, flat)
        if self.search_destriped:
            mean -= rough_stripes(mean, count == 0, n_outputs)
        return mask_sources(mean, count == 0, RATE_TIERS)

    def _clean_inplace(self, image, dq, bits, flat, n_outputs, threshold):
        """Subtract the stripes of one integration; return the patterns and figures of merit."""
        work = image if flat is None else flatten(image, flat)
        usable = np.isfinite(work) & (dq == 0) & (bits == 0)
        sky = sky_level(subsample(work[usable], 1_000_000))
        pedestal = None
        if self.pedestal == "published":
            pedestal = gaussian_peak(work[usable], *PUBLISHED_HISTOGRAM)
        fit = median_stripes(work, ~usable, n_outputs, threshold, pedestal)
        patterns = {"horiz": fit.horizontal, "vert": np.broadcast_to(fit.vertical, image.shape)}
        pattern = fit.total
        if self.tilted_angles:
            patterns["tilt"] = np.zeros_like(pattern)
            for angle in self.tilted_angles:
                rest = work - np.float32(sky.value) - pattern
                tilted = tilted_stripes(rest, ~usable, angle)
                patterns["tilt"] += tilted
                pattern += tilted
        merit = {
            "sky": sky.value,
            "sky_change": -np.mean(pattern, where=usable, dtype=float) / sky.value,
            "stripe_rms": np.std(pattern, where=usable, dtype=float),
            "masked_fraction": 1.0 - np.mean(usable),
            "mask_threshold": fit.threshold,
            "full_rows": fit.full_rows,
        }
        zero = image == 0
        image -= pattern
        image[zero] = 0
        bad = ~np.isfinite(image)
        # as published; the flat-field step turns every DO_NOT_USE pixel into NaN again
        image[bad] = 0
        dq[bad] |= DO_NOT_USE
        return patterns, merit

    def _write_products(self, model, bits, patterns):
        """Write the mask and the patterns, where asked for."""
        # in a pipeline the mask of the rate image stands for that of its integrations too
        if self.save_mask and (model.data.ndim == 2 or self.parent is None):
            header = fits.Header([("COMMENT", "bit 0: bad pixel; bit k: source of tier k (sigma)")])
            for number, tier in enumerate(RATE_TIERS.tiers, start=1):
                header[f"TIER{number}"] = (tier.sigma, "[pixel] sigma of the smoothing Gaussian")
            self._write(model, "1fmask", bits, header)
        if self.save_patterns:
            for suffix in patterns[0]:
                stack = np.stack([pattern[suffix] for pattern in patterns])
                header = fits.Header([("BUNIT", "DN/s")])
                self._write(model, suffix, stack.reshape(model.data.shape), header)

    def _write(self, model, suffix, data, header):
        """Write one image."""
        hdu = fits.PrimaryHDU(data, header)
        write_atomic(self.extra_product_path(model, suffix), hdu.writeto)

    def _draw(self, model, before, after, patterns, bits):
        """Draw one frame before and after."""
        from ceers_steps.report.figures import striping_figure  # matplotlib is an extra

        striping_figure(
            self.extra_product_path(model, "1f", "png"),
            before,
            sum(patterns.values()),
            after,
            mask=bits > 0,
            title=model.meta.filename,
        )


def _why_not(model, row):
    """Return why this exposure is left alone, or None."""
    if row.get("skip_remstriping"):
        return "the overrides table says so"
    if model.meta.instrument.name != "NIRCAM" or model.meta.exposure.type != "NRC_IMAGE":
        return f"not NIRCam imaging (EXP_TYPE {model.meta.exposure.type})"
    return None


def _n_outputs(model):
    """Return the number of read-out outputs: NOUTPUTS, or what the width of the image says."""
    return model.meta.exposure.noutputs or (4 if model.data.shape[-1] == 2048 else 1)


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
    try:
        with fits.open(path) as hdus:
            data = next((hdu.data for hdu in hdus if hdu.data is not None), None)
    except OSError as err:
        raise CeersError(f"source_mask={path}: not a readable FITS file ({err}).") from err
    if data is None or data.shape != shape:
        found = "no image" if data is None else f"an image of {data.shape}"
        raise CeersError(f"source_mask={path}: {found}, while the exposure has {shape} pixels.")
    return data if data.dtype == np.uint8 else (data != 0).astype(np.uint8)
