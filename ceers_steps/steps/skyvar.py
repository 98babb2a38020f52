"""Step: sky pedestal and variances of calibrated exposures, before they are combined."""

import logging
from pathlib import Path

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import JwstDataModel, dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.overrides import exposure_name
from ceers_steps.files.source_masks import find_mask, read_bits
from ceers_steps.kernels.sky.noise_scale import (
    BLOCKS,
    WIDE_TIERS,
    published_noise_scale,
    sky_noise_scale,
)
from ceers_steps.kernels.sky.pedestal import find_pedestal, pedestal_image
from ceers_steps.kernels.sky.variance import (
    level_saturated,
    mend_variances,
    smooth_sky,
    split_sky_photons,
)
from ceers_steps.kernels.sources.tiers import mask_sources
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.exposures import is_image_file, open_library

__all__ = ["SkyVarStep"]

log = logging.getLogger(__name__)

DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
SATURATED = dqflags.pixel["SATURATED"]
NOT_SKY = DO_NOT_USE | dqflags.pixel["REFERENCE_PIXEL"]

UNEVEN = 0.02
"""Block sizes whose scatter is off by more than this after the scaling are told."""


class SkyVarStep(CeersStep):
    """
    Subtract the sky pedestal of calibrated exposures and make their variances right.

    The level of the empty sky is subtracted; VAR_RNOISE becomes the variance of the empty sky, as
    it is seen in blocks of 1 to 16 pixels, and VAR_POISSON keeps the photon noise of sources;
    pixels without a variance get one or are not used (Bagley et al. 2023, ApJL 946 L12, section
    3.2). Takes an exposure, an association or a list; writes *_match.fits for each.
    """

    class_alias = "ceers_skyvar"
    output_suffix = "match"
    input_types = ("ImageModel",)

    spec = """
        sky_method = option('mode', 'gaussian', 'none', default='mode')  # mode: of block means; gaussian: peak of a Gaussian fitted to the histogram of pixels, as published; none: the sky stays
        per_amplifier = boolean(default=False)  # A level of its own for each output of the detector
        scale_variance = boolean(default=True)  # Scale VAR_RNOISE to the scatter of the sky
        variance_method = option('sky', 'published', default='sky')  # sky: VAR_RNOISE is the variance of the sky, VAR_POISSON that of sources, both together the scatter; published: VAR_RNOISE alone is the scatter, VAR_POISSON stays
        variance_blocks = int_list(min=1, default=None)  # sky: sides of the blocks on which the noise is measured, pixels; default 1,2,4,8,16
        fill_holes = boolean(default=True)  # Pixels without a valid variance get that of the sky, or are flagged DO_NOT_USE
        level_saturated = boolean(default=True)  # Pixels that lost groups to saturation by their own light weigh as their neighbours do: else the peaks of bright stars are lost
        source_mask = input_file(default=None)  # Mask of sources, FITS, not 0 = source, or a folder with <exposure>_1fmask.fits; default: looked for beside the input, or made
        force = boolean(default=False)  # Measure again what has been done already: only what is left is corrected
        save_background = boolean(default=False)  # Write the smooth background that is left after the pedestal, *_skybkg.fits, in the unit of the image
        output_use_model = boolean(default=True)  # Name each product after its exposure
        in_memory = boolean(default=True)  # Keep all exposures of an association in memory; false: temporary files
    """  # noqa: E501

    def process(self, input_data):
        """
        Subtract the sky and scale the variances.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelLibrary` or data model
            Exposure or exposures (*_cal.fits or *_crf.fits).

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel` or `~jwst.datamodels.ModelLibrary`
            One exposure gives one, several (and a library) a library.
        """
        if isinstance(input_data, JwstDataModel) or is_image_file(input_data):
            model = self.prepare_output(input_data)
            self._correct(model, [self.input_dir or "."])
            return model
        library = open_library(self, input_data)
        if self._mask_path is not None and self._mask_path.is_file() and len(library) > 1:
            raise CeersError(
                f"source_mask={self.source_mask} is one file for {len(library)} exposures. Give "
                "the folder that holds <exposure>_1fmask.fits of each."
            )
        members = [each["expname"] for each in library.asn["products"][0]["members"]]
        with library:
            for index, name in enumerate(members):
                model = library.borrow(index)
                try:
                    folder = Path(self.input_dir or ".")
                    self._correct(model, dict.fromkeys([(folder / name).parent, folder]))
                finally:
                    library.shelve(model, index)
        return library

    @property
    def _mask_path(self):
        return Path(self.source_mask) if self.source_mask else None

    def _correct(self, model, folders):
        """Correct one exposure in place."""
        name = model.meta.filename
        if model.meta.cal_step.resample == "COMPLETE":
            raise CeersError(f"{name} is a mosaic. Give the *_cal.fits files of its exposures.")
        if self._is_done(model) and not self.force:
            log.warning("%s has been through this step already: nothing done", name)
            return
        try:
            bits, origin = self._source_bits(model, folders)
            merit, notes = self._subtract_sky(model, bits)
            if self.level_saturated:
                self._level_saturated(model, bits, merit)
            self._mend_and_scale(model, bits, merit, notes)
            if self.save_background:
                self._save_background(model, bits)
        except ValueError as err:
            raise CeersError(
                f"{name}: the sky cannot be measured: {err}. Look at the image, its DQ and its "
                "source mask; give another source_mask, or leave this exposure out."
            ) from err
        parameters = {
            "sky_method": self.sky_method,
            "per_amplifier": self.per_amplifier,
            "scale_variance": self.scale_variance,
            "variance_method": self.variance_method,
            "variance_blocks": self._blocks,
            "fill_holes": self.fill_holes,
            "level_saturated": self.level_saturated,
            "source_mask": origin,
            "force": self.force,
        }
        self.record(model, "COMPLETE", parameters=parameters, merit=merit, note=", ".join(notes))

    @property
    def _blocks(self):
        return tuple(self.variance_blocks or BLOCKS)

    def _is_done(self, model):
        """Say whether status or HISTORY (which survives more programs) tell of an earlier run."""
        if model.meta.cal_step.instance.get(self.class_alias) == "COMPLETE":
            return True
        return any(f"{self.class_alias} COMPLETE" in str(entry) for entry in _history(model))

    def _source_bits(self, model, folders):
        """Return the mask of sources as bits, and where it is from."""
        name, shape = model.meta.filename, model.data.shape
        path = self._mask_path
        if path is None or path.is_dir():
            found = find_mask(name, folders if path is None else [path])
            if found is None and path is not None:
                raise CeersError(
                    f"source_mask={path}: no {exposure_name(name)}_1fmask.fits in this folder. "
                    "RemStripingStep writes it; without source_mask one is made here."
                )
            path = found
        if path is not None:
            return read_bits(path, shape), str(path)
        log.info("%s: no *_1fmask.fits beside the input, so sources are searched for here", name)
        return mask_sources(model.data, ~_sees_sky(model)), "made here"

    def _subtract_sky(self, model, bits):
        """Subtract the pedestal; return the figures, and what to say."""
        if self.sky_method == "none":
            return {}, ["sky not subtracted"]
        n_strips = self._n_outputs(model) if self.per_amplifier else 1
        mask = ~_sees_sky(model) | (bits > 0)
        if self.sky_method == "gaussian":
            mask |= model.dq != 0  # as published
        pedestal = find_pedestal(model.data, mask, method=self.sky_method, n_strips=n_strips)
        model.data -= pedestal_image(pedestal, model.data.shape)

        background = model.meta.background
        # what an earlier run or skymatch has subtracted is part of the sky
        before = (background.level or 0.0) if background.subtracted else 0.0
        background.level = before + pedestal.level
        background.subtracted = True
        background.method = f"{self.class_alias} {self.sky_method}"
        merit = {"sky": background.level, "sky_err": pedestal.uncertainty}
        if n_strips > 1:
            merit["sky_levels"] = [before + level for level in pedestal.levels]
        note = f"sky {background.level:.6g} +- {pedestal.uncertainty:.2g} {_unit(model)} subtracted"
        return merit, [note]

    def _n_outputs(self, model):
        """Return the number of outputs, each of which read a strip of columns."""
        n_outputs = model.meta.exposure.noutputs
        if n_outputs is None:
            raise CeersError(
                f"{model.meta.filename}: no NOUTPUTS, so the amplifiers are not known. Run stage 1 "
                "on the original *_uncal.fits, or use per_amplifier=false."
            )
        return n_outputs

    def _level_saturated(self, model, bits, merit):
        """Level the read noise of pixels that their own light saturated, in place."""
        before = model.var_rnoise
        after = level_saturated(
            model.data,
            before,
            model.var_poisson,
            (model.dq & SATURATED) > 0,
            ~_sees_sky(model) | (bits > 0),
        )
        changed = after < before
        merit["saturated_levelled"] = int(np.count_nonzero(changed))
        model.var_rnoise = after
        total = after + model.var_poisson + model.var_flat
        model.err = np.where(changed, np.sqrt(total), model.err)

    def _mend_and_scale(self, model, bits, merit, notes):
        """Fill holes in the variances and scale them, in place; add to the figures."""
        if not (self.fill_holes or self.scale_variance):
            return
        before = model.var_rnoise, model.var_poisson, model.var_flat
        mended = mend_variances(
            *before,
            ~np.isfinite(model.data) | _flagged(model),
            bits > 0,
            poisson_may_be_zero=self._sky_is_in_rnoise(model),
        )
        if mended.unusable.all():
            raise ValueError("no pixel has a read noise (VAR_RNOISE)")
        if self._sky_is_in_rnoise(model):
            merit["sky_photons"] = "VAR_RNOISE"
        planes = mended.rnoise, mended.poisson, mended.flat
        if self.scale_variance:
            planes = self._scaled(model, bits, mended, merit, notes)
        if self.fill_holes:
            n_dropped = np.count_nonzero(mended.unusable & ~_flagged(model))
            model.dq[mended.unusable] |= DO_NOT_USE
            model.data[mended.unusable] = np.nan
            merit.update(variances_filled=mended.n_filled, pixels_dropped=int(n_dropped))
        else:
            holes = [~np.isfinite(plane) | (plane <= 0.0) for plane in before]
            planes = [
                np.where(hole, old, new)
                for hole, old, new in zip(holes, before, planes, strict=True)
            ]
        model.var_rnoise, model.var_poisson, model.var_flat = planes
        model.err = np.sqrt(sum(planes))

    def _scaled(self, model, bits, mended, merit, notes):
        """Return the variance planes of which the scatter of the sky follows."""
        rnoise, poisson, flat = mended.rnoise, mended.poisson, mended.flat
        try:
            if self.variance_method == "published":
                scale = published_noise_scale(model.data, rnoise, mended.unusable)
            else:
                # wide tiers would take the noise of large blocks with them
                mask = mended.unusable | ((bits & ~np.uint8(WIDE_TIERS)) > 0)
                if not self._sky_is_in_rnoise(model):
                    sky, poisson = split_sky_photons(poisson, mask)
                    rnoise = rnoise + sky
                    merit["sky_photons"] = "VAR_RNOISE"
                scale = sky_noise_scale(
                    model.data, rnoise, poisson + flat, mask, blocks=self._blocks
                )
        except ValueError as err:
            if not self._sky_is_in_rnoise(model):
                merit.pop("sky_photons", None)
            log.warning("%s: variances not scaled: %s", model.meta.filename, err)
            notes.append(f"VARIANCES NOT SCALED ({err})")
            return mended.rnoise, mended.poisson, mended.flat
        merit["variance_factor"] = scale.factor
        merit["variance_factor_err"] = scale.uncertainty
        for key in ("blocks", "before", "after", "errors"):
            merit[f"scatter_{key}"] = list(getattr(scale, key))
        notes.append(f"variance x {scale.factor:.4g} +- {scale.uncertainty:.2g}")
        uneven = [
            f"{ratio:.3f} in blocks of {side}"
            for side, ratio, error in zip(scale.blocks, scale.after, scale.errors, strict=True)
            if abs(ratio - 1.0) > UNEVEN + 2.0 * error
        ]
        if uneven:
            log.warning(
                "%s: noise is correlated, one factor does not fit all blocks; scatter over "
                "predicted: %s",
                model.meta.filename,
                ", ".join(uneven),
            )
        return rnoise * np.float32(scale.factor), poisson, flat

    def _sky_is_in_rnoise(self, model):
        """Say whether an earlier run has put the photon noise of the sky into VAR_RNOISE."""
        entry = model.meta.instance.get("ceers_steps", {}).get(self.class_alias, {})
        return entry.get("merit", {}).get("sky_photons") == "VAR_RNOISE"

    def _save_background(self, model, bits):
        """Write what is left of the background."""
        mask = ~_sees_sky(model) | (bits > 0)
        background = smooth_sky(model.data, mask)
        header = fits.Header([("BUNIT", _unit(model))])
        hdu = fits.PrimaryHDU(background, header)
        write_atomic(self.extra_product_path(model, "skybkg"), hdu.writeto)


def _sees_sky(model):
    """Return the pixels that may be used."""
    return np.isfinite(model.data) & (model.dq & NOT_SKY == 0)


def _flagged(model):
    """Return the pixels that are not to be used."""
    return (model.dq & DO_NOT_USE) > 0


def _unit(model):
    return model.meta.bunit_data or ""


def _history(model):
    """Return the HISTORY lines."""
    history = model.instance.get("history", [])
    return history if isinstance(history, list) else history.get("entries", [])
