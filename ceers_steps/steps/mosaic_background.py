"""Step: the sky background of mosaics, with one source mask for all filters."""

import logging
import os
from dataclasses import replace

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.io import ASSOCIATION_SUFFIXES, read_association, write_atomic
from ceers_steps.kernels.background import fit_mesh
from ceers_steps.kernels.mosaic_mask import CORE, mask_mosaic
from ceers_steps.kernels.source_wings import measure_outskirts
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.mask_regions import read_fits_mask, read_regions, sample_mask
from ceers_steps.steps.mosaic_images import (
    from_model,
    image_index,
    read_fits_mosaic,
    read_tiers,
)

__all__ = ["MosaicBackgroundStep"]

log = logging.getLogger(__name__)

BORDER, OUTSKIRTS, REGION = np.uint8(1), np.uint8(32), np.uint8(64)
"""Bits of the mask beside those of the tiers (1 to 4) and `CORE` (7)."""
FAINT = np.uint8(0b11000)
"""Bits of the tiers of faint sources."""


class MosaicBackgroundStep(CeersStep):
    """
    Subtract the sky background of mosaics, measured outside a mask of their sources.

    Sources are searched in tiers from the widest to the smallest (Bagley et al. 2023, ApJL 946
    L12, section 3.3), in every filter given, and all mosaics share the merged mask. Takes an
    *_i2d.fits, a list, or an association. Writes *_bkgsub.fits (own mask) or *_mbkgsub.fits
    (merged mask) with the extensions BKGD, BKGMASK and TIERMASK, and *_mergedmask.fits.
    """

    class_alias = "ceers_mosaic_background"
    output_suffix = "bkgsub"
    input_types = ("ImageModel",)

    spec = """
        method = option('adaptive', 'published', default='adaptive')  # adaptive: the outskirts of sources, measured on the mosaic, are masked or allowed for, and the sky under a source comes from as far as it is wide; published: the dilations of the tiers, holes filled from the nearest boxes
        box_size = integer(min=2, default=20)  # Side of the boxes in which the sky is measured, pixels
        filter_size = integer(min=1, default=5)  # Side of the median filter over boxes, odd, 1: none
        sigma_clip = float(min=1, default=3.0)  # Pixels further than this from the median of their box, in standard deviations, are left out
        exclude_fraction = float(min=0, max=1, default=0.9)  # A box with more than this fraction of its pixels masked is filled from others
        tiers = input_file(default=None)  # Table (.ecsv, .csv) of search tiers in place of the published ones: name (NIRCAM, WFC3, F606W, ...), sigma, nsigma, npixels, growth, in 30-mas pixels
        merge_masks = boolean(default=True)  # All mosaics of a list share the union of their masks; false: each has its own
        merged_mask = input_file(default=None)  # Mask (FITS with WCS, not 0 = source; an edited *_mergedmask.fits) in place of any search
        extra_images = string_list(default=None)  # Drizzled images with plain FITS WCS (HST; SCI with WHT or RMS) whose sources are masked too
        subtract_extra = boolean(default=False)  # Subtract the background of extra_images too, and write them
        mask_regions = input_file(default=None)  # DS9 regions (or FITS mask with WCS) added to the mask
        exclude_regions = input_file(default=None)  # DS9 regions (or FITS mask with WCS) cleared from the mask, whatever masked them
        border = option('nan', 'zero', default='nan')  # Value of pixels that no detector has seen; zero: as published
        save_mask = boolean(default=True)  # Write the merged mask on the grid of the first mosaic, *_mergedmask.fits
        n_threads = integer(min=1, default=2)  # Strips of a mosaic worked on at a time
        output_use_model = boolean(default=True)  # Name each product after its mosaic
        in_memory = boolean(default=True)  # False: mosaics of a list are kept in temporary files
    """  # noqa: E501

    def process(self, input_data):
        """
        Subtract the background.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelLibrary` or data model
            Mosaic or mosaics.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel` or `~jwst.datamodels.ModelLibrary`
            One mosaic gives one, several (and a library) a library.
        """
        if self.filter_size % 2 == 0:
            raise CeersError(f"filter_size={self.filter_size}: give an odd number of boxes.")
        self._tiers = read_tiers(self.tiers)
        images = self._open(input_data)
        if isinstance(images, ModelLibrary):
            with images:
                self._run_on(images)
            return images
        self._run_on(_Single(images))
        return images

    def _open(self, input_data):
        """Return a data model for one mosaic, a library for more."""
        opened = self.prepare_output(input_data, open_models=False)
        if isinstance(opened, (JwstDataModel, ModelLibrary)):
            return opened
        if isinstance(opened, (str, os.PathLike)):
            if not str(opened).endswith(ASSOCIATION_SUFFIXES):
                return self.prepare_output(opened)
            opened = _mosaics_of(opened)
        if not opened:
            raise CeersError("MosaicBackgroundStep: the list of mosaics is empty. Give *_i2d.fits.")
        opened = list(opened)
        if all(isinstance(each, (str, os.PathLike)) for each in opened):
            # a library keeps only what an association names in files
            members = [{"expname": os.path.abspath(path), "exptype": "science"} for path in opened]
            opened = {"products": [{"name": "mosaics", "members": members}]}
        elif not self.in_memory:
            log.warning("in_memory=False: these mosaics are in memory already")
            return ModelLibrary(opened)
        return ModelLibrary(opened, on_disk=not self.in_memory)

    def _run_on(self, images):
        """Mask the sources of all mosaics, then subtract the background of each in place."""
        todo = [index for index in range(len(images)) if self._is_to_do(images, index)]
        if not todo:
            return
        extras = list(self.extra_images or [])
        merged = self.merge_masks and len(todo) + len(extras) > 1
        given = self.merged_mask and read_fits_mask(self.merged_mask, "merged_mask")
        if self.suffix in {"bkgsub", "mbkgsub"}:
            self.suffix = "mbkgsub" if merged or given else "bkgsub"

        found = []
        for index in () if given else todo:
            model = images.borrow(index)
            try:
                mosaic = from_model(model, self._tiers)
                # of a mosaic only the mask is needed by the others
                found.append(replace(mosaic, image=self._search(mosaic)))
            finally:
                images.shelve(model, index, modify=False)
        for path in () if given else extras:
            extra = read_fits_mosaic(path, self._tiers)
            found.append(replace(extra, image=self._search(extra)))

        reference = None
        for number, index in enumerate(todo):
            model = images.borrow(index)
            try:
                mosaic = from_model(model, self._tiers)
                reference = reference or replace(mosaic, image=mosaic.border)
                own = None if given else found[number]
                combined = self._combine(mosaic, own, found if merged else [], given, reference)
                if number == 0 and self.save_mask and (merged or given):
                    self._write_mask(model, mosaic, combined[0])
                self._subtract(model, mosaic, *combined)
            finally:
                images.shelve(model, index)
        for number, path in enumerate(extras if self.subtract_extra else [], start=len(todo)):
            extra = read_fits_mosaic(path, self._tiers)
            own = None if given else found[number]
            combined = self._combine(extra, own, found if merged else [], given, reference)
            self._write_extra(extra, *combined)

    def _is_to_do(self, images, index):
        """Say whether a mosaic still has its background."""
        model = images.borrow(index)
        try:
            done = model.meta.cal_step.instance.get(self.class_alias) == "COMPLETE"
            if done:
                log.warning("%s has no background any more: nothing done", model.meta.filename)
        finally:
            images.shelve(model, index, modify=False)
        return not done

    def _search(self, mosaic):
        """Return the bits of a mosaic's own sources."""
        try:
            return mask_mosaic(mosaic.image, mosaic.border, mosaic.tiers, n_threads=self.n_threads)
        except ValueError as err:
            raise CeersError(f"{mosaic.name}: no sources can be searched: {err}.") from err

    def _combine(self, mosaic, own, others, given, reference):
        """Return the bits of the mask that is used on a mosaic, and the pixels cleared by hand."""
        bits = mosaic.border.astype(np.uint8)
        if given:
            bits |= sample_mask(given, mosaic, "merged_mask") & ~BORDER
        else:
            bits |= own.image & ~BORDER
        for other in others:
            if other is not own:
                bits |= sample_mask(other, mosaic, "merge_masks") & ~BORDER
        if self.mask_regions:
            inside = read_regions(self.mask_regions, "mask_regions", mosaic, reference)
            bits[inside] |= REGION
        cleared = None
        if self.exclude_regions:
            cleared = read_regions(self.exclude_regions, "exclude_regions", mosaic, reference)
            bits[cleared] &= BORDER
        return bits, cleared

    def _fit_inplace(self, mosaic, bits, cleared):
        """Return the background; bits of the outskirts of sources are set."""
        image = mosaic.image
        try:
            if self.method == "adaptive":
                sources = (bits & ~BORDER) > 0
                core = (bits & CORE) > 0 if np.any(bits & CORE) else sources
                outskirts = measure_outskirts(
                    image, mosaic.border, sources, core, n_threads=self.n_threads
                )
                image = outskirts.subtract_from(image)
                bits[outskirts.mask & ~mosaic.border] |= OUTSKIRTS
                if cleared is not None:
                    bits[cleared] &= BORDER
            mesh = fit_mesh(
                image,
                bits > 0,
                box_size=self.box_size,
                filter_size=self.filter_size,
                sigma_clip=self.sigma_clip,
                exclude_fraction=self.exclude_fraction,
                fill="pyramid" if self.method == "adaptive" else "nearest",
                n_threads=self.n_threads,
            )
        except ValueError as err:
            raise CeersError(
                f"{mosaic.name}: no background can be fitted: {err}. Look at the mask; give a "
                "larger box_size, or clear a part with exclude_regions."
            ) from err
        return mesh.rows(0, mosaic.shape[0])

    def _subtract(self, model, mosaic, bits, cleared):
        """Subtract the background of a mosaic in place, add the extensions, and record it."""
        background = self._fit_inplace(mosaic, bits, cleared)
        model.data -= background
        model.data[mosaic.border] = np.nan if self.border == "nan" else 0.0
        header = _wcs_cards(mosaic.wcs)
        extensions = model.instance.setdefault("extra_fits", {})
        unit = [["BUNIT", model.meta.bunit_data or "MJy/sr", "of the background"]]
        extensions["BKGD"] = {"header": header + unit, "data": background}
        extensions["BKGMASK"] = {"header": header, "data": (bits > 0).astype(np.uint8)}
        extensions["TIERMASK"] = {"header": header + _BITS, "data": bits}
        self.record(
            model,
            "COMPLETE",
            parameters=self._parameters_used(),
            merit=_figures(background, bits),
        )

    def _parameters_used(self):
        """Return the parameters that the result depended on."""
        names = ("method", "box_size", "filter_size", "sigma_clip", "exclude_fraction", "border")
        used = {name: getattr(self, name) for name in names}
        used["mask"] = "merged" if self.suffix == "mbkgsub" else "own"
        files = ("tiers", "merged_mask", "extra_images", "mask_regions", "exclude_regions")
        return used | {name: getattr(self, name) for name in files if getattr(self, name)}

    def _write_mask(self, model, mosaic, bits):
        """Write the merged mask, without border."""
        cards = [tuple(card) for card in _wcs_cards(mosaic.wcs) + _BITS]
        hdu = fits.PrimaryHDU(bits & ~BORDER, fits.Header(cards))
        write_atomic(self.extra_product_path(model, "mergedmask"), hdu.writeto)

    def _write_extra(self, mosaic, bits, cleared):
        """Write an image that is no JWST product, without its background."""
        background = self._fit_inplace(mosaic, bits, cleared)
        image = np.where(mosaic.border, np.float32(0.0), mosaic.image - background)
        target = self.make_output_path(basepath=mosaic.path.name, suffix=self.suffix, ext="fits")
        with fits.open(mosaic.path, memmap=False) as hdus:
            hdu = hdus[image_index(hdus)]
            hdu.data = image.astype(np.float32)
            header = fits.Header([tuple(card) for card in _wcs_cards(mosaic.wcs)])
            hdus.append(fits.ImageHDU(background, header, name="BKGD"))
            hdus.append(fits.ImageHDU((bits > 0).astype(np.uint8), header, name="BKGMASK"))
            header = header + fits.Header([tuple(card) for card in _BITS])
            hdus.append(fits.ImageHDU(bits, header, name="TIERMASK"))
            used = ", ".join(f"{key}={value}" for key, value in self._parameters_used().items())
            hdus[0].header["HISTORY"] = f"ceers_steps {self.class_alias}: {used}"
            write_atomic(target, hdus.writeto)
        log.info("%s without its background: %s", mosaic.name, target)


class _Single:
    """One data model, with what is used of a library."""

    def __init__(self, model):
        self._model = model

    def __len__(self):
        return 1

    def borrow(self, _index):
        return self._model

    def shelve(self, *_args, **_kwargs):
        pass


_BITS = [
    ["BIT0", "border", "no detector has seen this pixel"],
    ["BIT1TO4", "tiers", "sources, from the widest tier to the smallest"],
    ["BIT5", "outskirts", "of sources, where their light fades"],
    ["BIT6", "regions", "drawn by hand"],
    ["BIT7", "core", "above the threshold of a tier"],
]


def _mosaics_of(path):
    """Return the mosaics of an association: its members, or what its products became."""
    association = read_association(path)
    folder = os.path.dirname(os.path.abspath(path))
    files = []
    for product in association["products"]:
        mosaic = os.path.join(folder, f"{product.get('name')}_i2d.fits")
        members = [
            member["expname"]
            for member in product["members"]
            if member.get("exptype", "science") == "science"
        ]
        made = os.path.isfile(mosaic) and not all("_i2d" in name for name in members)
        files += [mosaic] if made else members
    return list(dict.fromkeys(files))


def _wcs_cards(wcs):
    """Return the FITS cards of a WCS as lists; none for one that FITS cannot hold."""
    if not isinstance(wcs, WCS):
        return []
    return [list(card) for card in wcs.to_header().cards]


def _figures(background, bits):
    """Return figures of merit: the background under sources and outside, as published."""
    seen = (bits & BORDER) == 0
    sources = seen & (bits > BORDER)
    outside = seen & ~sources
    faint = seen & (bits & FAINT > 0) & (bits & ~(FAINT | OUTSKIRTS | BORDER | CORE) == 0)
    level = np.mean(background[outside], dtype=float) if outside.any() else np.nan
    figures = {"masked_fraction": np.count_nonzero(sources) / max(np.count_nonzero(seen), 1)}
    figures["sky"] = level
    figures["sky_rms"] = np.std(background[outside], dtype=float) if outside.any() else np.nan
    for name, where in (("under_sources", sources), ("under_faint_sources", faint)):
        if where.any():
            figures[name] = np.mean(background[where], dtype=float) - level
    return figures
