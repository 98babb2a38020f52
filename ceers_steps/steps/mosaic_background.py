"""Step: the sky background of mosaics, with one source mask for all filters."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io import fits
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import is_association_path
from ceers_steps.files.atomic import is_protected, write_atomic
from ceers_steps.files.disk import check_space
from ceers_steps.files.fits_planes import virtual_array
from ceers_steps.files.headers.check import Wanted
from ceers_steps.files.headers.provenance import drop_checksums, keep_table, set_card
from ceers_steps.kernels.rows import row_blocks
from ceers_steps.kernels.sources.mosaic_background import (
    BackgroundSettings,
    MosaicBackground,
    measure_mosaic_background,
    without_background,
)
from ceers_steps.mosaics.images import Mosaic, from_model, read_fits_mosaic, read_tiers
from ceers_steps.mosaics.inputs import ModelList, mosaics_of
from ceers_steps.mosaics.masks import MaskOptions, apply_masks, merge_inplace, without_pixels
from ceers_steps.mosaics.planes import MosaicFile
from ceers_steps.mosaics.products import (
    NEW_PLANES,
    add_extensions,
    extra_hdus,
    mask_hdu,
    planes_of,
)
from ceers_steps.mosaics.regions import read_fits_mask
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.exposures import association_of, is_image_file

__all__ = ["MosaicBackgroundStep"]

log = logging.getLogger(__name__)


_MOST_OUTSKIRTS = 0.15
"""Part of the sky masked as outskirts from which on a warning is given: 0.02 to 0.08 in fields of
galaxies, whatever their sky."""


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
        on_failure = option('stop', 'keep', default='stop')  # A mosaic whose background cannot be measured: stop: an error; keep: written as it is, FAILED with the reason, and the others go on
        save_mask = boolean(default=True)  # Write the merged mask on the grid of the first mosaic, *_mergedmask.fits
        n_threads = integer(min=1, default=2)  # Strips of a mosaic worked on at a time
        output_use_model = boolean(default=True)  # Name each product after its mosaic
        in_memory = boolean(default=True)  # False: mosaics given by their file names are read and written in strips, whatever their size
        stream_above = float(min=0, default=100.0)  # The same for those of more pixels than this, millions: they need not fit into memory
    """  # noqa: E501

    @classmethod
    def wanted(cls) -> Wanted:
        """Return what is needed of a mosaic: its keywords are those of an exposure."""
        return replace(super().wanted(), exposures=False)

    def process(self, input_data: Any) -> Any:
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
        tiers = read_tiers(self.tiers)
        images = _open(self, input_data)
        if isinstance(images, ModelLibrary):
            with images:
                _run_on(self, images, tiers)
            return images
        if isinstance(images, list):
            _check_disk(self, images)
            _run_on(self, ModelList([each.model for each in images]), tiers, images)
            products = [str(each.product or each.path) for each in images]
            return products if len(products) > 1 else products[0]
        _run_on(self, ModelList([images]), tiers)
        return images

    def parameters_used(self) -> dict[str, Any]:
        """Return the parameters that the result depended on."""
        names = ("method", "box_size", "filter_size", "sigma_clip", "exclude_fraction", "border")
        used = {name: getattr(self, name) for name in names}
        used["mask"] = "merged" if self.suffix == "mbkgsub" else "own"
        files = ("tiers", "merged_mask", "extra_images", "mask_regions", "exclude_regions")
        return used | {name: getattr(self, name) for name in files if getattr(self, name)}


def _open(step: MosaicBackgroundStep, input_data: Any) -> Any:
    """Return a data model for one mosaic, a library for more, a list for files in strips."""
    opened = step.prepare_output(input_data, open_models=False)
    if isinstance(opened, (JwstDataModel, ModelLibrary)):
        return opened
    if is_image_file(opened):
        return [MosaicFile(opened)] if _is_streamed(step, [opened]) else step.prepare_output(opened)
    opened = mosaics_of(opened) if is_association_path(opened) else list(opened)
    if not opened:
        raise CeersError("MosaicBackgroundStep: the list of mosaics is empty. Give *_i2d.fits.")
    association = association_of(opened, name="mosaics")
    if association is None:
        if not step.in_memory:
            log.warning("in_memory=False: these mosaics are in memory already")
        return ModelLibrary(opened)
    if _is_streamed(step, opened):
        return [MosaicFile(path) for path in opened]
    # a library keeps only what an association names in files
    return ModelLibrary(association, on_disk=not step.in_memory)


def _is_streamed(step: MosaicBackgroundStep, paths: Sequence[Any]) -> bool:
    """Say whether files are read and written in strips."""
    sizes = [MosaicFile.n_pixels(path) for path in paths]
    wanted = not step.in_memory or max(sizes) > 1e6 * step.stream_above
    return wanted and min(sizes) > 0


def _check_disk(step: MosaicBackgroundStep, files: Sequence[MosaicFile]) -> None:
    """Raise `CeersError` when there is no room for the products of files."""
    per_pixel = sum(np.dtype(dtype).itemsize for dtype in NEW_PLANES.values())
    new = sum(math.prod(each.model.data.shape) for each in files) * per_pixel
    old = sum(each.path.stat().st_size for each in files)
    folder = os.path.dirname(step.make_output_path(basepath=files[0].path.name))
    check_space(old + new, folder, "choose another folder with output_dir, or leave planes out")


def _run_on(
    step: MosaicBackgroundStep, images: Any, tiers: Any, files: list[MosaicFile] | None = None
) -> None:
    """Mask the sources of all mosaics, then subtract the background of each.

    Models are changed in place, files written where they are given.
    """
    todo = [index for index in range(len(images)) if _is_to_do(step, images, index)]
    if not todo:
        return
    extras = list(step.extra_images or [])
    merged = step.merge_masks and len(todo) + len(extras) > 1
    given = step.merged_mask and read_fits_mask(step.merged_mask, "merged_mask")
    if step.suffix in {"bkgsub", "mbkgsub"}:
        step.suffix = "mbkgsub" if merged or given else "bkgsub"
    options = MaskOptions(
        "merged_mask" if step.merged_mask else "merge_masks",
        step.mask_regions,
        step.exclude_regions,
        step.n_threads,
    )
    masks = [given] if given else []
    if merged and not given:
        for index in todo:
            model = images.borrow(index)
            try:
                mosaic = _for_method(step, from_model(model, tiers, _rows(files, index)))
                merge_inplace(masks, mosaic, step.n_threads)
            finally:
                images.shelve(model, index, modify=False)
        for path in extras:
            extra = _for_method(step, read_fits_mosaic(path, tiers))
            merge_inplace(masks, extra, step.n_threads)

    reference = None
    for number, index in enumerate(todo):
        model = images.borrow(index)
        try:
            mosaic = _for_method(step, from_model(model, tiers, _rows(files, index)))
            reference = reference or without_pixels(mosaic)
            mosaic, cleared = apply_masks(mosaic, masks, reference, options)
            if number == 0 and step.save_mask and (merged or given):
                hdu = mask_hdu(mosaic, mosaic.bits)
                path = step.extra_product_path(model, "mergedmask")
                if not is_protected(path):  # the mask that was given stays as it is
                    write_atomic(path, hdu.writeto)
            found = _measure(step, mosaic, cleared)
            del cleared
            if files:
                _write_file(step, files[index], mosaic, found)
            else:
                _subtract(step, model, mosaic, found)
        finally:
            images.shelve(model, index)
    for path in extras if step.subtract_extra else []:
        extra = _for_method(step, read_fits_mosaic(path, tiers))
        extra, cleared = apply_masks(extra, masks, reference, options)
        _write_extra(step, extra, _measure(step, extra, cleared))


def _is_to_do(step: MosaicBackgroundStep, images: Any, index: int) -> bool:
    """Say whether a mosaic still has its background."""
    model = images.borrow(index)
    try:
        done = model.meta.cal_step.instance.get(step.class_alias) == "COMPLETE"
        if done:
            log.warning("%s has no background any more: nothing done", model.meta.filename)
    finally:
        images.shelve(model, index, modify=False)
    return not done


def _for_method(step: MosaicBackgroundStep, mosaic: Mosaic) -> Mosaic:
    """Return a mosaic as a method sees it: published, one noise, and no sky at the borders."""
    if step.method == "published":
        return replace(mosaic, noise=None, follow_borders=False)
    return mosaic


def _measure(step: MosaicBackgroundStep, mosaic: Mosaic, cleared: Any) -> MosaicBackground:
    """Call the kernel; what it cannot do becomes an error that names the mosaic, if so asked."""
    settings = BackgroundSettings(
        method=step.method,
        box_size=step.box_size,
        filter_size=step.filter_size,
        sigma_clip=step.sigma_clip,
        exclude_fraction=step.exclude_fraction,
        n_threads=step.n_threads,
    )
    try:
        return measure_mosaic_background(
            mosaic.image,
            mosaic.border,
            mosaic.bits,
            predicted_noise=mosaic.noise,
            cleared=cleared,
            settings=settings,
        )
    except ValueError as err:
        reason = f"no background can be fitted: {err}"
        if step.on_failure == "keep":
            log.warning("%s keeps its background: %s", mosaic.name, reason)
            return without_background(mosaic.bits, reason)
        raise CeersError(
            f"{mosaic.name}: {reason}. Look at the mask; give a larger box_size, clear a part with "
            "exclude_regions, or go on without (on_failure='keep')."
        ) from err


def _subtract(
    step: MosaicBackgroundStep, model: JwstDataModel, mosaic: Mosaic, found: MosaicBackground
) -> None:
    """Subtract the background of a model in place, with the extensions."""
    new = {name: np.empty(mosaic.shape, dtype) for name, dtype in NEW_PLANES.items()}
    for rows in row_blocks(mosaic.shape):
        for name, pixels in planes_of(mosaic, found, rows, _outside(step)).items():
            (model.data if name == "SCI" else new[name])[rows] = pixels
    add_extensions(model, mosaic, new)
    _record(step, model, found)


def _write_file(
    step: MosaicBackgroundStep, file: MosaicFile, mosaic: Mosaic, found: MosaicBackground
) -> None:
    """Write the product of a mosaic in a file, block by block."""
    new = {name: virtual_array(mosaic.shape, dtype) for name, dtype in NEW_PLANES.items()}
    add_extensions(file.model, mosaic, new)
    _record(step, file.model, found)
    # stpipe does so with a result that is a model
    step.finalize_result(file.model, [])
    name = file.model.meta.filename if step.output_use_model else step.output_file
    file.save(
        step.make_output_path(basepath=name, suffix=step.suffix),
        lambda rows: planes_of(mosaic, found, rows, _outside(step)),
    )


def _write_extra(step: MosaicBackgroundStep, mosaic: Mosaic, found: MosaicBackground) -> None:
    """Write an image that is no JWST product, without its background."""
    target = step.make_output_path(basepath=mosaic.path.name, suffix=step.suffix, ext="fits")
    used = ", ".join(f"{key}={value}" for key, value in step.parameters_used().items())
    note = f"{_note_of(found)}; " if found.refused else ""
    with fits.open(mosaic.path, memmap=False) as hdus:
        extra_hdus(hdus, mosaic, found, f"ceers_steps {step.class_alias}: {note}{used}")
        write_atomic(target, hdus.writeto)
    log.info("%s with%s its background: %s", mosaic.name, "" if note else "out", target)


def _note_of(found: MosaicBackground) -> str:
    """Return what is to be known of a background: that there is none, or much of outskirts."""
    share = found.metrics["outskirts_fraction"]
    if found.refused:
        return f"BACKGROUND NOT SUBTRACTED ({found.refused})"
    if found.crowded:
        return "sources leave no sky but in narrow gaps: wings of them are in the background"
    if share > _MOST_OUTSKIRTS:
        return f"outskirts of sources mask {share:.0%} of the sky: is it structure of the sky?"
    return ""


def _record(step: MosaicBackgroundStep, model: JwstDataModel, found: MosaicBackground) -> None:
    """Record what was done; the share of the sky that outskirts mask is a keyword, too."""
    keep_table(model)
    drop_checksums(model)
    share = found.metrics["outskirts_fraction"]
    set_card(model, "OUTSKIRT", round(share, 4), "sky masked as outskirts of sources, fraction")
    note, metrics = _note_of(found), dict[str, Any](found.metrics)
    if found.refused:
        metrics["background_refused"] = found.refused
    elif note:
        log.warning("%s: %s Look at TIERMASK.", model.meta.filename, note)
    status = "FAILED" if found.refused else "COMPLETE"
    step.record(model, status, parameters=step.parameters_used(), metrics=metrics, note=note)


def _outside(step: MosaicBackgroundStep) -> float:
    """Return the value of pixels that no detector has seen."""
    return np.nan if step.border == "nan" else 0.0


def _rows(files: list[MosaicFile] | None, index: int) -> Any:
    """Return the planes of a file by EXTNAME; None for a model in memory."""
    return files[index].rows if files else None
