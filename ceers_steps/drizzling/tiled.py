"""A mosaic drizzled tile by tile with stcal's code: what `TiledResampleStep` is made of."""

import hashlib
import logging
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import numpy as np
from jwst.resample.resample import ResampleImage, copy_asn_info_from_library
from numpy.typing import NDArray
from stcal.alignment.util import compute_s_region_keyword
from stcal.resample import Resample
from stcal.resample.utils import get_tmeasure, resample_range
from stdatamodels.jwst.datamodels import ImageModel
from stdatamodels.jwst.datamodels.dqflags import pixel

from ceers_steps.code_version import code_version
from ceers_steps.drizzling.exposures import Exposures, HeaderBlender, digest_of
from ceers_steps.files.headers.provenance import ExposureRecord, record_of
from ceers_steps.files.parameters.texts import FILL_WORDS
from ceers_steps.kernels.mosaic.coadd import Coadd, context_planes
from ceers_steps.kernels.mosaic.tiles import Box, Footprint, may_fall_on
from ceers_steps.mosaics.grid import Window, output_grid, shifted_wcs

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

_VARIANCES = tuple(Resample.variance_array_names)
_KERNEL_REACH = 4  # input pixels over which a pixel is spread at most (lanczos3)
_KEPT_BYTES = 1 << 30  # drizzled exposures that are kept for the next tiles
_FINE_STEP = 16  # input pixels between nodes; cubic interpolation is exact to 1e-7 pixel then
_NODE_STEP = 64  # input pixels between the nodes of a footprint


class TiledMosaic:
    """The mosaic of some exposures, of which one tile at a time is in memory.

    Before anything is drizzled, `survey` looks at the exposures.

    Parameters
    ----------
    exposures : `~ceers_steps.drizzling.exposures.Exposures`
        None is changed, and one at a time is open if they are on disk.
    drizzle : dict
        What `~jwst.resample.ResampleStep.get_drizpars` returns.
    enable_ctx, enable_err, report_var : bool
        As in `~jwst.resample.ResampleStep`.

    Attributes
    ----------
    records : list of `~ceers_steps.files.headers.provenance.ExposureRecord`
        What was done to the exposures that `survey` has looked at.

    Raises
    ------
    CeersError
        When the grid cannot be laid out.
    """

    def __init__(
        self,
        exposures: Exposures,
        drizzle: dict,
        *,
        enable_ctx: bool,
        enable_err: bool,
        report_var: bool,
    ) -> None:
        self._exposures = exposures
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
        self._blendheaders, self._report_var = drizzle["blendheaders"], report_var
        self._grid = output_grid(exposures, drizzle["output_wcs"], drizzle["wcs_pars"])
        self._wcs = self._grid["wcs"]
        ny, nx = self._wcs.array_shape
        self.shape = int(ny), int(nx)
        # positions beyond the mosaic count as well: pixels there reach into it
        self._unbounded = deepcopy(self._wcs)
        self._unbounded.bounding_box = None
        self._box = Box(0, self.shape[0], 0, self.shape[1])
        # how far a pixel spreads, and what the distortion may add between two nodes
        ratio = self._grid["pixel_scale_ratio"] or 1.0
        self._margin = np.ceil(_KERNEL_REACH / min(ratio, 1.0)) + 2
        self._footprints: dict[int, Footprint] = {}
        self._digests: dict[int, bytes] = {}
        self._template: Any = None
        self.records: list[ExposureRecord] = []
        self._kept: OrderedDict[int, dict[str, NDArray]] = OrderedDict()

    def survey(self, box: Box | None = None, with_digests: bool = False) -> None:
        """Look at exposures once: the header of the mosaic, and what falls where.

        Parameters
        ----------
        box : `~ceers_steps.kernels.mosaic.tiles.Box`, optional
            Nothing else will be drizzled: exposures whose S_REGION is not near it are not opened,
            and the header is made of the others.
        with_digests : bool
            Read the pixels too, for `fingerprint`.

        Raises
        ------
        CeersError
            When an exposure has no WCS, is no image, or cannot be read.
        """
        small = deepcopy(self._wcs)
        small.array_shape = (2, 2)
        header = HeaderBlender(
            self._exposures,
            output_wcs={**self._grid, "wcs": small},
            blendheaders=self._blendheaders,
            report_var=self._report_var,
            enable_ctx="con" in self._planes,
            **self._options,
        )
        near = list(range(len(self._exposures)))
        if box is not None:
            near = [index for index in near if self._may_fall_on(index, box)] or [0]
        with _quiet():
            for index in near:
                with self._exposures.opened(index) as model:
                    header.add_model(model)
                    self.records.append(record_of(model))
                    self._footprints[index] = self._footprint(model)
                    if with_digests:
                        self._digests[index] = digest_of(model, self._options)
        header.finalize()
        copy_asn_info_from_library(self._exposures.library, header.output_jwst_model)
        self._template = header.output_jwst_model

    def _pixels(self, polygon: NDArray) -> tuple[NDArray, NDArray]:
        """Return where the corners of a polygon on the sky (deg) are in the mosaic."""
        return self._unbounded.world_to_pixel_values(*polygon.T)

    def _may_fall_on(self, index: int, box: Box) -> bool:
        """Say whether an exposure is near a box of the mosaic."""
        return any(
            may_fall_on(*self._pixels(polygon), box=box, margin=self._margin)
            for polygon in self._exposures.outlines(index)
        )

    def _footprint(self, model: Any) -> Footprint:
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
    def planes(self) -> dict[str, Any]:
        """Shapes and types of the planes, by the names that they have in the model."""
        types = {"con": np.int32, "dq": np.uint32}
        shapes = {"con": (context_planes(len(self._exposures)), *self.shape)}
        return {
            name: (shapes.get(name, self.shape), np.dtype(types.get(name, np.float32)))
            for name in self._planes
        }

    def exposures_on(self, box: Box) -> dict[int, Box]:
        """Return the pixels of the exposures that fall on a box of the mosaic.

        Parameters
        ----------
        box : `~ceers_steps.kernels.mosaic.tiles.Box`
            Pixels of the mosaic.

        Returns
        -------
        dict
            Number of the exposure -> `~ceers_steps.kernels.mosaic.tiles.Box` of its pixels, in
            the order of the library.
        """
        cuts = {}
        for index, footprint in self._footprints.items():
            cut = footprint.on(box, self._margin)
            if cut is not None:
                cuts[index] = cut if self._may_be_cut(footprint) else footprint.whole
        return cuts

    def _may_be_cut(self, footprint: Footprint) -> bool:
        """Say whether a part of an exposure gives the same pixels as the whole of it.

        Not where the exposure reaches beyond the mosaic: stcal leaves out pixels at the edge, and
        which ones depends on the outline of the exposure. Not with positions that are roughly
        interpolated either: the nodes depend on the outline.
        """
        reach = footprint.reach(footprint.whole, self._margin)
        inside = reach is not None and reach == reach.overlap(self._box)
        fine = self._options["pixmap_order"] == 3 and self._options["pixmap_stepsize"] <= _FINE_STEP
        return inside and (fine or self._options["pixmap_stepsize"] <= 1)

    def drizzle(self, box: Box) -> dict[str, Any]:
        """Drizzle a box of the mosaic.

        Parameters
        ----------
        box : `~ceers_steps.kernels.mosaic.tiles.Box`
            Pixels of the mosaic.

        Returns
        -------
        dict
            The planes, as they are in the whole mosaic.
        """
        fillval = self._options["fillval"]
        fill = "" if fillval is None else str(fillval).strip().upper()
        tile = Coadd(
            box.shape,
            variances=_VARIANCES if self._options["enable_var"] else (),
            n_exposures=len(self._exposures) if "con" in self._planes else None,
            with_flags="dq" in self._planes,
            fill=np.nan if fill in FILL_WORDS else float(fill),
        )
        with _quiet():
            for index, cut in self.exposures_on(box).items():
                self._add(tile, box, index, cut)
        made = {"data": tile.image, "wht": tile.weight, "con": tile.context, "dq": tile.flags}
        if "err" in self._planes:
            made["err"] = tile.error()
        return {
            name: tile.variance(name) if name in _VARIANCES else made[name] for name in self._planes
        }

    def _add(self, tile: Coadd, box: Box, index: int, cut: Box) -> None:
        """Add an exposure, drizzled on its own, to a tile."""
        if index in self._kept:
            cut = self._footprints[index].whole
        reach = self._footprints[index].reach(cut, self._margin)
        window = (reach or self._box).overlap(self._box)
        common = window.overlap(box) if window else None
        if window is None or common is None:
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

    def _alone(self, index: int, cut: Box, window: Box) -> dict[str, NDArray]:
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
        whole = self._footprints[index].whole
        entry = self._exposures.entry(index, None if cut == whole else cut, self._options)
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
        if cut == whole:
            self._kept[index] = planes
            while sum(map(_n_bytes, self._kept.values())) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return planes

    def fingerprint(self, box: Box) -> str:
        """Return a digest of all that the pixels of a box follow from.

        Parameters
        ----------
        box : `~ceers_steps.kernels.mosaic.tiles.Box`
            Pixels of the mosaic.
        """
        digest = hashlib.blake2b(digest_size=16)
        grid = [self._grid["pixel_scale"], self._grid["pixel_scale_ratio"]]
        versions = [code_version(), *map(version, ("jwst", "stcal", "drizzle"))]
        settings = [sorted(self._options.items()), self._planes, self.shape, box, grid, versions]
        digest.update(repr([*settings, len(self._exposures)]).encode())
        for index, cut in self.exposures_on(box).items():
            footprint = self._footprints[index]
            digest.update(repr((index, cut)).encode())
            digest.update(self._digests[index])
            digest.update(np.ascontiguousarray(footprint.x).data)
            digest.update(np.ascontiguousarray(footprint.y).data)
        return digest.hexdigest()

    def model(self, planes: dict, box: Box | None = None) -> Any:
        """Return the mosaic, or a box of it, as a model.

        Parameters
        ----------
        planes : dict
            Arrays, by the names that they have in the model.
        box : `~ceers_steps.kernels.mosaic.tiles.Box`, optional
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


class _OneExposure(Resample):
    """stcal's resampling with the flags of jwst, for arrays without a model around them."""

    dq_flag_name_map = pixel


@contextmanager
def _quiet() -> Iterator[None]:
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


def _n_bytes(planes: dict[str, NDArray]) -> int:
    """Return the memory that some arrays take."""
    return sum(plane.nbytes for plane in planes.values())
