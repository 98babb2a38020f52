"""A mosaic drizzled tile by tile with stcal's code: what `TiledResampleStep` is made of."""

import gc
import hashlib
import logging
import warnings
from collections import OrderedDict
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version

import numpy as np
from jwst.lib.pipe_utils import match_nans_and_flags
from jwst.resample.resample import (
    ResampleImage,
    copy_asn_info_from_library,
    input_jwst_model_to_dict,
)
from stcal.alignment.util import compute_s_region_keyword
from stcal.resample import Resample
from stcal.resample.utils import compute_mean_pixel_area, get_tmeasure, resample_range
from stdatamodels.jwst.datamodels import ImageModel
from stdatamodels.jwst.datamodels.dqflags import pixel

import ceers_steps
from ceers_steps.errors import CeersError
from ceers_steps.kernels.coadd import Coadd, context_planes
from ceers_steps.kernels.tiles import Box, Footprint
from ceers_steps.steps.mosaic_grid import Window, output_grid, shifted_wcs

__all__ = ["EXTENSIONS", "TiledMosaic"]

log = logging.getLogger(__name__)

EXTENSIONS = {
    "data": "SCI",
    "err": "ERR",
    "dq": "DQ",
    "con": "CON",
    "wht": "WHT",
    "var_poisson": "VAR_POISSON",
    "var_rnoise": "VAR_RNOISE",
    "var_flat": "VAR_FLAT",
}
"""Planes of a mosaic: attributes of the model, and their EXTNAME."""

_INPUT_ARRAYS = ("data", "dq", "err", "var_rnoise", "var_poisson", "var_flat")
_VARIANCES = tuple(Resample.variance_array_names)
_KERNEL_REACH = 4  # input pixels over which a pixel is spread at most (lanczos3)
_KEPT_BYTES = 1 << 30  # drizzled exposures that are kept for the next tiles
_READS_PER_COLLECTION = 8  # models refer to themselves, and hold their arrays until collected
_NODE_STEP = 64  # input pixels between the nodes of a footprint


class TiledMosaic:
    """The mosaic of some exposures, of which one tile at a time is in memory.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        The exposures. None is changed, and one at a time is open if they are on disk.
    drizzle : dict
        What `~jwst.resample.ResampleStep.get_drizpars` returns.
    enable_ctx, enable_err, report_var : bool
        As in `~jwst.resample.ResampleStep`.

    Raises
    ------
    CeersError
        When an exposure has no WCS, is no image, or cannot be read.
    """

    def __init__(self, library, drizzle, *, enable_ctx, enable_err, report_var):
        self._library = library
        self._planes = ["data", "wht"]
        self._planes += ["con"] * enable_ctx + ["dq"] * drizzle["propagate_dq"]
        self._planes += ["err"] * enable_err + list(_VARIANCES) * (enable_err and report_var)
        self._options = {
            key: drizzle[key]
            for key in (
                "pixfrac",
                "kernel",
                "fillval",
                "weight_type",
                "good_bits",
                "propagate_dq",
                "pixmap_stepsize",
                "pixmap_order",
            )
        }
        self._options |= {
            "enable_var": enable_err,
            "compute_err": "from_var" if enable_err else None,
        }
        _check_exposures(library)
        self._grid = output_grid(library, drizzle["output_wcs"], drizzle["wcs_pars"])
        self._wcs = self._grid["wcs"]
        self.shape = tuple(int(length) for length in self._wcs.array_shape)
        # positions beyond the mosaic count as well: pixels there reach into it
        self._unbounded = deepcopy(self._wcs)
        self._unbounded.bounding_box = None
        self._kept = OrderedDict()
        self._n_read = 0
        self._box = Box(0, self.shape[0], 0, self.shape[1])
        self._survey(drizzle["blendheaders"], report_var)

    def _survey(self, blendheaders, report_var):
        """Look at every exposure once: the header of the mosaic, and what falls where."""
        small = deepcopy(self._wcs)
        small.array_shape = (2, 2)
        header = _Header(
            self._library,
            output_wcs={**self._grid, "wcs": small},
            blendheaders=blendheaders,
            report_var=report_var,
            enable_ctx="con" in self._planes,
            **self._options,
        )
        self._footprints = []
        with _quiet(), self._library:
            for index in range(len(self._library)):
                with _borrowed(self._library, index) as model:
                    header.add_model(model)
                    self._footprints.append(self._footprint(model))
        header.finalize()
        copy_asn_info_from_library(self._library, header.output_jwst_model)
        self._template = header.output_jwst_model
        self._grid["pixel_scale_ratio"] = header.pixel_scale_ratio
        # how far a pixel spreads, and what the distortion may add between two nodes
        self._margin = np.ceil(_KERNEL_REACH / min(header.pixel_scale_ratio or 1.0, 1.0)) + 2

    def _footprint(self, model):
        """Return where the pixels of an exposure fall."""
        wcs = model.meta.wcs
        x0, x1, y0, y1 = resample_range(model.data.shape, wcs.bounding_box)
        rows, columns = (
            np.unique(np.append(np.arange(low, high, _NODE_STEP), high))
            for low, high in ((y0, y1), (x0, x1))
        )
        sky = wcs.pixel_to_world_values(*np.meshgrid(columns.astype(float), rows.astype(float)))
        return Footprint(rows, columns, *self._unbounded.world_to_pixel_values(*sky))

    @property
    def planes(self):
        """Shapes and types of the planes, by the names that they have in the model."""
        types = {"con": np.int32, "dq": np.uint32}
        shapes = {"con": (context_planes(len(self._library)), *self.shape)}
        return {
            name: (shapes.get(name, self.shape), np.dtype(types.get(name, np.float32)))
            for name in self._planes
        }

    def exposures_on(self, box):
        """Return the pixels of the exposures that fall on a box of the mosaic.

        Parameters
        ----------
        box : `~ceers_steps.kernels.tiles.Box`
            Pixels of the mosaic.

        Returns
        -------
        dict
            Number of the exposure -> `~ceers_steps.kernels.tiles.Box` of its pixels, in the order
            of the library.
        """
        cuts = {}
        for index, footprint in enumerate(self._footprints):
            cut = footprint.on(box, self._margin)
            if cut is not None:
                cuts[index] = cut if self._may_be_cut(footprint) else footprint.whole
        return cuts

    def _may_be_cut(self, footprint):
        """Say whether a part of an exposure gives the same pixels as the whole of it.

        Not where the exposure reaches beyond the mosaic: stcal leaves out pixels at the edge, and
        which ones depends on the outline of the exposure. Not with interpolated positions either:
        the nodes depend on the outline.
        """
        reach = footprint.reach(footprint.whole, self._margin)
        inside = reach is not None and reach == reach.overlap(self._box)
        return inside and self._options["pixmap_stepsize"] <= 1

    def drizzle(self, box):
        """Drizzle a box of the mosaic.

        Parameters
        ----------
        box : `~ceers_steps.kernels.tiles.Box`
            Pixels of the mosaic.

        Returns
        -------
        dict
            The planes, as they are in the whole mosaic.
        """
        fill = str(self._options["fillval"]).strip().upper()
        tile = Coadd(
            box.shape,
            variances=_VARIANCES if self._options["enable_var"] else (),
            n_exposures=len(self._library) if "con" in self._planes else None,
            with_flags="dq" in self._planes,
            fill=np.nan if fill in ("INDEF", "NAN") else float(fill),
        )
        with _quiet(), self._library:
            for index, cut in self.exposures_on(box).items():
                self._add(tile, box, index, cut)
        made = {"data": tile.image, "wht": tile.weight, "con": tile.context, "dq": tile.flags}
        if "err" in self._planes:
            made["err"] = tile.error()
        return {
            name: tile.variance(name) if name in _VARIANCES else made[name] for name in self._planes
        }

    def _add(self, tile, box, index, cut):
        """Add an exposure, drizzled on its own, to a tile."""
        if index in self._kept:
            cut = self._footprints[index].whole
        reach = self._footprints[index].reach(cut, self._margin)
        window = (reach or self._box).overlap(self._box)
        common = window and window.overlap(box)
        if common is None:
            return
        part = common.within(window)
        made = {name: plane[part] for name, plane in self._alone(index, cut, window).items()}
        weight = made.get("variance_weight", 1.0)
        if self._options["enable_var"] and self._options["weight_type"] == "ivm":
            with np.errstate(divide="ignore"):
                weight = 1 / made["var_rnoise"]
        tile.add(
            common.within(box),
            index,
            image=made["data"],
            weight=made["wht"],
            seen=made["con"],
            variances={name: made[name] for name in _VARIANCES if name in made},
            variance_weight=weight,
            flags=made.get("dq"),
        )

    def _alone(self, index, cut, window):
        """Return the planes of an exposure in a window of the mosaic.

        Exposures of which nothing can be left out are kept for the next tiles, as far as there is
        room.
        """
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        single = _OneExposure(
            output_wcs={**self._grid, "wcs": Window(self._unbounded, window)},
            n_input_models=1,
            enable_ctx=True,
            **self._options,
        )
        entry = self._exposure(index, cut)
        single.add_model(entry)
        single.finalize()
        made = single.output_model
        planes = {"data": made["data"], "wht": made["wht"], "con": made["con"][0] != 0}
        if "dq" in self._planes:
            planes["dq"] = made["dq"]
        if self._options["enable_var"]:
            planes |= {name: made[name] for name in _VARIANCES}
            if self._options["weight_type"] == "exptime":
                time, _ = get_tmeasure(entry)
                planes["variance_weight"] = np.broadcast_to(np.float32(time), window.shape)
        if cut == self._footprints[index].whole:
            self._kept[index] = planes
            while sum(map(_n_bytes, self._kept.values())) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return planes

    def fingerprint(self, box):
        """Return a digest of all that the pixels of a box follow from.

        Parameters
        ----------
        box : `~ceers_steps.kernels.tiles.Box`
            Pixels of the mosaic.
        """
        digest = hashlib.blake2b(digest_size=16)
        grid = [self._grid["pixel_scale"], self._grid["pixel_scale_ratio"]]
        versions = [ceers_steps.__version__, *map(version, ("jwst", "stcal", "drizzle"))]
        settings = [sorted(self._options.items()), self._planes, self.shape, box, grid, versions]
        digest.update(repr([*settings, len(self._library)]).encode())
        with self._library:
            for index, cut in self.exposures_on(box).items():
                entry = self._exposure(index, cut)
                for name, value in sorted(entry.items()):
                    if isinstance(value, np.ndarray):
                        digest.update(np.ascontiguousarray(value))
                    elif name not in ("wcs", "wcsinfo"):
                        digest.update(repr((name, value)).encode())
                footprint = self._footprints[index]
                digest.update(repr((index, cut)).encode())
                digest.update(np.ascontiguousarray(footprint.x))
                digest.update(np.ascontiguousarray(footprint.y))
        return digest.hexdigest()

    def model(self, planes, box=None):
        """Return the mosaic, or a box of it, as a model.

        Parameters
        ----------
        planes : dict
            Arrays, by the names that they have in the model.
        box : `~ceers_steps.kernels.tiles.Box`, optional
            Pixels of the mosaic; all by default.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel`
            With the header of the whole mosaic, and the WCS of the box.
        """
        # copy() forgets the table of the exposures, which is in the schema of this model only
        model = ImageModel(schema=self._template.schema)
        ImageModel.clone(model, self._template, deepcopy=True)
        for name, array in planes.items():
            setattr(model, name, array)
        if box is None:
            model.meta.wcs = self._wcs
        else:
            model.meta.wcs = shifted_wcs(self._wcs, box)
            region = compute_s_region_keyword(model.meta.wcs.footprint())
            model.meta.wcsinfo.s_region = region
        ResampleImage.update_fits_wcsinfo(model)
        return model

    def _exposure(self, index, cut):
        """Return some pixels of an exposure as stcal takes them; the exposure is not changed."""
        self._n_read += 1
        if self._library.on_disk and self._n_read % _READS_PER_COLLECTION == 0:
            gc.collect()
        with _borrowed(self._library, index) as model:
            options = self._options
            entry = input_jwst_model_to_dict(
                model, options["weight_type"], options["enable_var"], options["compute_err"]
            )
            shape = model.data.shape
            if cut == self._footprints[index].whole:
                cut = Box(0, shape[0], 0, shape[1])
            else:
                entry["wcs"] = Window(model.meta.wcs, cut)
            piece = ImageModel()
            for name in _INPUT_ARRAYS:
                array = getattr(model, name, None)
                if array is not None and array.shape == shape:
                    setattr(piece, name, array[cut.slices].copy())
            match_nans_and_flags(piece)
            for name in _INPUT_ARRAYS:
                if entry.get(name) is not None:
                    entry[name] = getattr(piece, name)
        return entry


class _Header(ResampleImage):
    """Gathers what jwst writes into the header of a mosaic; drizzles next to nothing."""

    def input_model_to_dict(self, model, **kwargs):
        entry = super().input_model_to_dict(model, **kwargs)
        if not entry["pixelarea_steradians"]:
            # stcal would take it from the arrays, which are cut here
            entry["pixelarea_steradians"] = compute_mean_pixel_area(entry["wcs"], model.data.shape)
        for name in _INPUT_ARRAYS:
            if entry.get(name) is not None:
                entry[name] = np.zeros((2, 2), entry[name].dtype)
        entry["dq"] |= pixel["DO_NOT_USE"]
        return entry


class _OneExposure(Resample):
    """stcal's resampling with the flags of jwst, for arrays without a model around them."""

    dq_flag_name_map = pixel


@contextmanager
def _quiet():
    """Keep what stcal says of every exposure and tile out of the log; it has been said once."""
    logger = logging.getLogger("stcal.resample")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Kernel .* is not a flux-conserving kernel")
            yield
    finally:
        logger.setLevel(level)


def _n_bytes(planes):
    """Return the memory that some arrays take."""
    return sum(plane.nbytes for plane in planes.values())


@contextmanager
def _borrowed(library, index):
    """Lend an exposure of an open library for reading."""
    try:
        model = library.borrow(index)
    except OSError as err:
        name = library.asn["products"][0]["members"][index]["expname"]
        raise CeersError(f"{name} cannot be read: {err}. Copy it again.") from err
    try:
        yield model
    finally:
        library.shelve(model, index, modify=False)


def _check_exposures(library):
    """Raise `CeersError` for exposures that cannot be drizzled."""
    with library:
        for index in range(len(library)):
            with _borrowed(library, index) as model:
                name = model.meta.filename
                if model.data.ndim != 2:
                    raise CeersError(f"{name} is not a 2-D image: {model.data.ndim} dimensions.")
                if model.meta.wcs is None or model.meta.wcsinfo.s_region is None:
                    raise CeersError(
                        f"{name} has no WCS or no S_REGION. Run stage 2 on its *_rate.fits first: "
                        "strun ceers_steps.CeersImage2"
                    )
