"""Step: the sky background of mosaics, with one source mask for all filters."""

import logging
import math
import os
from dataclasses import replace

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import ASSOCIATION_SUFFIXES, write_atomic
from ceers_steps.files.fits_planes import check_space, virtual_array
from ceers_steps.kernels.rows import flagged, row_blocks
from ceers_steps.kernels.sources.background import fit_mesh
from ceers_steps.kernels.sources.mosaic_tiers import CORE, mask_mosaic
from ceers_steps.kernels.sources.outskirts import measure_outskirts
from ceers_steps.mosaics.images import (
    from_model,
    image_of,
    pixel_map,
    read_fits_mosaic,
    read_tiers,
)
from ceers_steps.mosaics.inputs import ModelList, mosaics_of
from ceers_steps.mosaics.mask_bits import (
    BIT_CARDS,
    BORDER,
    OUTSKIRTS,
    REGION,
    measure_figures,
)
from ceers_steps.mosaics.planes import MosaicFile
from ceers_steps.mosaics.regions import read_fits_mask, read_regions, sample_mask
from ceers_steps.steps.base import CeersStep

__all__ = ["MosaicBackgroundStep"]

log = logging.getLogger(__name__)

_NEW_PLANES = {"BKGD": np.float32, "BKGMASK": np.uint8, "TIERMASK": np.uint8}
"""Planes that a product has beside those of its mosaic, and their types."""


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
        in_memory = boolean(default=True)  # False: mosaics given by their file names are read and written in strips, whatever their size
        stream_above = float(min=0, default=100.0)  # The same for those of more pixels than this, millions: they need not fit into memory
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
        `~stdatamodels.jwst.datamodels.ImageModel`, `~jwst.datamodels.ModelLibrary`, str or list
            One mosaic gives one, several (and a library) a library. Mosaics that are read and
            written in strips give the paths of their products, which are always written, even
            if ``save_results`` is off.
        """
        if self.filter_size % 2 == 0:
            raise CeersError(f"filter_size={self.filter_size}: give an odd number of boxes.")
        self._tiers = read_tiers(self.tiers)
        images = self._open(input_data)
        if isinstance(images, ModelLibrary):
            with images:
                self._run_on(images)
            return images
        if isinstance(images, list):
            self._check_disk(images)
            self._run_on(ModelList([each.model for each in images]), images)
            products = [str(each.product or each.path) for each in images]
            return products if len(products) > 1 else products[0]
        self._run_on(ModelList([images]))
        return images

    def _open(self, input_data):
        """Return a data model for one mosaic, a library for more, a list for files in strips."""
        opened = self.prepare_output(input_data, open_models=False)
        if isinstance(opened, (JwstDataModel, ModelLibrary)):
            return opened
        if isinstance(opened, (str, os.PathLike)):
            if not str(opened).endswith(ASSOCIATION_SUFFIXES):
                streamed = self._is_streamed([opened])
                return [MosaicFile(opened)] if streamed else self.prepare_output(opened)
            opened = mosaics_of(opened)
        opened = list(opened)
        if not opened:
            raise CeersError("MosaicBackgroundStep: the list of mosaics is empty. Give *_i2d.fits.")
        if all(isinstance(each, (str, os.PathLike)) for each in opened):
            if self._is_streamed(opened):
                return [MosaicFile(path) for path in opened]
            # a library keeps only what an association names in files
            members = [{"expname": os.path.abspath(path), "exptype": "science"} for path in opened]
            opened = {"products": [{"name": "mosaics", "members": members}]}
        elif not self.in_memory:
            log.warning("in_memory=False: these mosaics are in memory already")
            return ModelLibrary(opened)
        return ModelLibrary(opened, on_disk=not self.in_memory)

    def _is_streamed(self, paths):
        """Say whether files are read and written in strips."""
        sizes = [MosaicFile.n_pixels(path) for path in paths]
        wanted = not self.in_memory or max(sizes) > 1e6 * self.stream_above
        return wanted and min(sizes) > 0

    def _check_disk(self, files):
        """Raise `CeersError` when there is no room for the products of files."""
        per_pixel = sum(np.dtype(dtype).itemsize for dtype in _NEW_PLANES.values())
        new = sum(math.prod(each.model.data.shape) for each in files) * per_pixel
        old = sum(each.path.stat().st_size for each in files)
        folder = os.path.dirname(self.make_output_path(basepath=files[0].path.name))
        check_space(folder, old + new, "or leave planes out of the mosaics")

    def _run_on(self, images, files=None):
        """Mask the sources of all mosaics, then subtract the background of each.

        Models are changed in place, files written where they are given.
        """
        todo = [index for index in range(len(images)) if self._is_to_do(images, index)]
        if not todo:
            return
        extras = list(self.extra_images or [])
        merged = self.merge_masks and len(todo) + len(extras) > 1
        given = self.merged_mask and read_fits_mask(self.merged_mask, "merged_mask")
        if self.suffix in {"bkgsub", "mbkgsub"}:
            self.suffix = "mbkgsub" if merged or given else "bkgsub"

        masks = [given] if given else []
        if merged and not given:
            for index in todo:
                model = images.borrow(index)
                try:
                    self._merge_inplace(masks, from_model(model, self._tiers, _rows(files, index)))
                finally:
                    images.shelve(model, index, modify=False)
            for path in extras:
                self._merge_inplace(masks, read_fits_mosaic(path, self._tiers))

        reference = None
        for number, index in enumerate(todo):
            model = images.borrow(index)
            try:
                mosaic = from_model(model, self._tiers, _rows(files, index))
                reference = reference or _grid(mosaic)
                mosaic, cleared = self._mask(mosaic, masks, reference)
                if number == 0 and self.save_mask and (merged or given):
                    self._write_mask(model, mosaic)
                mesh = self._fit_inplace(mosaic, cleared)
                del cleared
                if files:
                    self._write_file(files[index], mosaic, mesh)
                else:
                    self._subtract(model, mosaic, mesh)
            finally:
                images.shelve(model, index)
        for path in extras if self.subtract_extra else []:
            extra, cleared = self._mask(read_fits_mosaic(path, self._tiers), masks, reference)
            self._write_extra(extra, self._fit_inplace(extra, cleared))

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

    def _merge_inplace(self, masks, mosaic):
        """Add the sources of a mosaic to the mask on its grid, or as a new one."""
        bits = self._search(mosaic)
        for mask in masks:
            if pixel_map(mosaic, mask) is None:
                np.bitwise_or(mask.image, bits, out=mask.image)
                return
        masks.append(replace(_grid(mosaic), image=bits))

    def _mask(self, mosaic, masks, reference):
        """Return a mosaic with the bits of the mask that is used, and the pixels cleared by hand.

        Parameters
        ----------
        mosaic : Mosaic
        masks : list of Mosaic
            What is masked; none for a mosaic's own sources.
        reference : Mosaic
            Whose pixels are meant by regions in image coordinates.

        Returns
        -------
        mosaic : Mosaic
        cleared : ndarray of bool or None
        """
        bits = mosaic.border.astype(np.uint8)
        parameter = "merged_mask" if self.merged_mask else "merge_masks"
        for mask in masks or [None]:
            values = self._search(mosaic) if mask is None else sample_mask(mask, mosaic, parameter)
            for rows in row_blocks(bits.shape):
                bits[rows] |= values[rows] & ~BORDER
            del values
        if self.mask_regions:
            inside = read_regions(self.mask_regions, "mask_regions", mosaic, reference)
            bits[inside] |= REGION
        cleared = None
        if self.exclude_regions:
            cleared = read_regions(self.exclude_regions, "exclude_regions", mosaic, reference)
            bits[cleared] &= BORDER
        return replace(mosaic, border=flagged(bits, BORDER), bits=bits), cleared

    def _fit_inplace(self, mosaic, cleared):
        """Return the background; bits of the outskirts of sources are set."""
        image, bits = mosaic.image, mosaic.bits
        try:
            if self.method == "adaptive":
                blocks = row_blocks(bits.shape)
                searched = any(np.any(bits[rows] & CORE) for rows in blocks)
                outskirts = measure_outskirts(
                    image,
                    mosaic.border,
                    flagged(bits, ~BORDER),
                    flagged(bits, CORE if searched else ~BORDER),
                    n_threads=self.n_threads,
                )
                image = outskirts.subtract_from(image)
                for rows in blocks:
                    bits[rows] |= (outskirts.mask[rows] & ~mosaic.border[rows]) * OUTSKIRTS
                if cleared is not None:
                    bits[cleared] &= BORDER
            return fit_mesh(
                image,
                flagged(bits, 255),
                box_size=self.box_size,
                filter_size=self.filter_size,
                sigma_clip=self.sigma_clip,
                exclude_fraction=self.exclude_fraction,
                fill="gaussian" if self.method == "adaptive" else "nearest",
                n_threads=self.n_threads,
            )
        except ValueError as err:
            raise CeersError(
                f"{mosaic.name}: no background can be fitted: {err}. Look at the mask; give a "
                "larger box_size, or clear a part with exclude_regions."
            ) from err

    def _subtract(self, model, mosaic, mesh):
        """Subtract the background of a model in place, with the extensions."""
        new = {name: np.empty(mosaic.shape, dtype) for name, dtype in _NEW_PLANES.items()}
        for rows in row_blocks(mosaic.shape):
            for name, pixels in self._planes(mosaic, mesh, rows).items():
                (model.data if name == "SCI" else new[name])[rows] = pixels
        self._extend(model, mosaic, mesh, new)

    def _write_file(self, file, mosaic, mesh):
        """Write the product of a mosaic in a file, block by block."""
        new = {name: virtual_array(mosaic.shape, dtype) for name, dtype in _NEW_PLANES.items()}
        self._extend(file.model, mosaic, mesh, new)
        # stpipe does so with a result that is a model
        self.finalize_result(file.model, [])
        name = file.model.meta.filename if self.output_use_model else self.output_file
        file.save(
            self.make_output_path(basepath=name, suffix=self.suffix),
            lambda rows: self._planes(mosaic, mesh, rows),
        )

    def _planes(self, mosaic, mesh, rows):
        """Return the planes of a product that are not those of its mosaic, by EXTNAME."""
        bits = mosaic.bits[rows]
        background = mesh.rows(rows.start, rows.stop)
        image = mosaic.image[rows] - background
        image[mosaic.border[rows]] = np.nan if self.border == "nan" else 0.0
        mask = (bits > 0).astype(np.uint8)
        return {"SCI": image, "BKGD": background, "BKGMASK": mask, "TIERMASK": bits}

    def _extend(self, model, mosaic, mesh, arrays):
        """Add the extensions to a model, and record what was done."""
        header = _wcs_cards(mosaic.wcs)
        unit = [["BUNIT", model.meta.bunit_data or "MJy/sr", "of the background"]]
        extensions = model.instance.setdefault("extra_fits", {})
        headers = {"BKGD": header + unit, "BKGMASK": header, "TIERMASK": header + BIT_CARDS}
        for name, array in arrays.items():
            extensions[name] = {"header": headers[name], "data": array}
        self.record(
            model,
            "COMPLETE",
            parameters=self._parameters_used(),
            merit=measure_figures(mesh, mosaic.bits),
        )

    def _parameters_used(self):
        """Return the parameters that the result depended on."""
        names = ("method", "box_size", "filter_size", "sigma_clip", "exclude_fraction", "border")
        used = {name: getattr(self, name) for name in names}
        used["mask"] = "merged" if self.suffix == "mbkgsub" else "own"
        files = ("tiers", "merged_mask", "extra_images", "mask_regions", "exclude_regions")
        return used | {name: getattr(self, name) for name in files if getattr(self, name)}

    def _write_mask(self, model, mosaic):
        """Write the merged mask, without border."""
        cards = [tuple(card) for card in _wcs_cards(mosaic.wcs) + BIT_CARDS]
        hdu = fits.PrimaryHDU(mosaic.bits & ~BORDER, fits.Header(cards))
        write_atomic(self.extra_product_path(model, "mergedmask"), hdu.writeto)

    def _write_extra(self, mosaic, mesh):
        """Write an image that is no JWST product, without its background."""
        image, background = (np.empty(mosaic.shape, np.float32) for _ in range(2))
        for rows in row_blocks(mosaic.shape):
            background[rows] = mesh.rows(rows.start, rows.stop)
            without = mosaic.image[rows] - background[rows]
            image[rows] = np.where(mosaic.border[rows], 0.0, without)
        target = self.make_output_path(basepath=mosaic.path.name, suffix=self.suffix, ext="fits")
        with fits.open(mosaic.path, memmap=False) as hdus:
            hdu = image_of(hdus)
            hdu.data = image
            header = fits.Header([tuple(card) for card in _wcs_cards(mosaic.wcs)])
            hdus.append(fits.ImageHDU(background, header, name="BKGD"))
            mask = (mosaic.bits > 0).astype(np.uint8)
            hdus.append(fits.ImageHDU(mask, header, name="BKGMASK"))
            header = header + fits.Header([tuple(card) for card in BIT_CARDS])
            hdus.append(fits.ImageHDU(mosaic.bits, header, name="TIERMASK"))
            used = ", ".join(f"{key}={value}" for key, value in self._parameters_used().items())
            hdus[0].header["HISTORY"] = f"ceers_steps {self.class_alias}: {used}"
            write_atomic(target, hdus.writeto)
        log.info("%s without its background: %s", mosaic.name, target)


def _wcs_cards(wcs):
    """Return the FITS cards of a WCS as lists; none for one that FITS cannot hold."""
    if not isinstance(wcs, WCS):
        return []
    return [list(card) for card in wcs.to_header().cards]


def _rows(files, index):
    """Return the planes of a file by EXTNAME; None for a model in memory."""
    return files[index].rows if files else None


def _grid(mosaic):
    """Return a mosaic without its pixels."""
    nothing = virtual_array(mosaic.shape, bool)
    return replace(mosaic, image=nothing, border=nothing)
