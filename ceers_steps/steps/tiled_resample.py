"""Step: exposures drizzled onto one grid, tile by tile where the mosaic is large."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from jwst.datamodels import ModelLibrary
from jwst.resample import ResampleStep
from numpy.typing import NDArray
from stdatamodels import fits_support
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.drizzling.exposures import Exposures
from ceers_steps.drizzling.tiled import EXTENSIONS, TiledMosaic
from ceers_steps.errors import CeersError
from ceers_steps.files.associations import is_association_path
from ceers_steps.files.atomic import open_fits, write_atomic
from ceers_steps.files.disk import check_space
from ceers_steps.files.fits_planes import PlaneWriter, file_size, virtual_array
from ceers_steps.files.headers.provenance import ExposureRecord, record_of, write_records
from ceers_steps.kernels.mosaic.tiles import Tile, cut_grid
from ceers_steps.mosaics.grid import (
    DRIZZLE_PARAMETERS,
    GRID_PARAMETERS,
    check_grid,
    output_grid,
)
from ceers_steps.names import exposure_name
from ceers_steps.steps.base import CeersMixin
from ceers_steps.steps.inputs.exposures import (
    association_of,
    check_library_once,
    is_image_file,
    product_name,
)

__all__ = ["TiledResampleStep"]

log = logging.getLogger(__name__)


class TiledResampleStep(CeersMixin, ResampleStep):
    """
    Drizzle exposures onto one grid; with tile_size, in memory for one tile at a time.

    jwst's ResampleStep with its parameters. With tile_size the output grid is cut into tiles,
    each drizzled from the exposures that touch it and written to its place in the file, whose
    pixels and keywords are those of the mosaic drizzled at once. Writes *_i2d.fits, named after
    the product of the association.
    """

    class_alias = "ceers_tiled_resample"
    output_suffix = "i2d"
    input_types = ("ImageModel",)

    spec = """
        tile_size = integer(min=64, default=None)  # Height and width of a tile, output pixels; none: the whole mosaic at once, in memory
        keep_tiles = boolean(default=False)  # With tile_size, keep each tile as *_r<row>c<column>_i2d.fits as well, and use tiles kept by an earlier run with the same input and parameters
        tile_dir = string(default=None)  # With keep_tiles, folder of the tiles; none: beside the mosaic
        only_tile = int_list(min=2, max=2, default=None)  # With keep_tiles, make this tile (row, column, from 0) and no mosaic; another run puts the tiles together
    """  # noqa: E501

    @classmethod
    def get_config_reftype(cls) -> str:
        """Take the CRDS parameters of the step that this one extends."""
        return ResampleStep.get_config_reftype()

    def run(self, *args: Any) -> Any:
        """Run the step; the name of a product is not kept for the next run."""
        output_file = self.output_file
        try:
            return super().run(*args)
        finally:
            self.output_file = output_file

    def process(self, input_data: Any) -> Any:
        """
        Drizzle.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelLibrary` or data model
            Calibrated exposures, or an association of them. With ``tile_size`` they are not
            changed, and files are opened one at a time, whatever ``in_memory`` is.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel` or str
            Without ``tile_size`` the mosaic, as `~jwst.resample.ResampleStep` returns it. With
            ``tile_size`` the absolute path of the file, which is always written, even if
            ``save_results`` is off: it may be larger than memory. With ``only_tile`` that of the
            tile.

        Raises
        ------
        CeersError
            When the parameters contradict each other, an exposure stands in two files, none
            touches the grid, or the disk is too small.
        """
        _check_parameters(self)
        _name_after_product(self, input_data)
        if self.tile_size is None:
            check_library_once(_library_of(self, input_data), given=input_data)
            _check_layout(self, input_data)
            try:
                made = super().process(_as_stock_takes_it(self, input_data))
            except MemoryError as err:
                raise CeersError(
                    f"The mosaic needs more memory than there is ({err}). Set tile_size "
                    "(--tile_size=4096 for instance), or check pixel_scale and output_shape."
                ) from err
            if not self.single:
                if not np.any(made.wht):
                    raise _nowhere(made.data.shape)
                write_records(made, _records_of(self, input_data))
            return made

        on_disk = not isinstance(input_data, ModelLibrary)
        exposures = Exposures(_library_of(self, input_data), as_on_disk=on_disk)
        exposures.check_once()
        mosaic = TiledMosaic(
            exposures,
            _drizzle_parameters(self, input_data),
            enable_ctx=self.enable_ctx,
            enable_err=self.enable_err,
            report_var=self.report_var,
        )
        tiles = cut_grid(mosaic.shape, self.tile_size)
        if self.only_tile is not None:
            tile = _chosen(self, tiles)
            mosaic.survey(tile.box, with_digests=True)
            _kept_tile(self, mosaic, tile)
            return os.path.abspath(_tile_path(self, tile))
        return _make_mosaic(self, mosaic, tiles)


def _make_mosaic(step: TiledResampleStep, mosaic: TiledMosaic, tiles: Sequence[Tile]) -> str:
    """Drizzle all tiles into one file; return its path."""
    mosaic.survey(with_digests=step.keep_tiles)
    exposures = [len(mosaic.exposures_on(tile.box)) for tile in tiles]
    if not any(exposures):
        raise _nowhere(mosaic.shape)
    ny, nx = mosaic.shape
    log.info(
        "Mosaic of %d x %d pixels in %d tiles, at most %d exposures on one",
        nx,
        ny,
        len(tiles),
        max(exposures),
    )
    path = os.path.abspath(step.make_output_path(suffix=step.suffix))
    hdus = _layout(step, mosaic, tiles, os.path.basename(path))
    size = file_size(hdus)
    check_space(
        size * (1 + step.keep_tiles),
        os.path.dirname(path),
        "choose another folder with output_dir, or leave planes out with enable_ctx=false, "
        "report_var=false or enable_err=false",
    )
    write_atomic(path, lambda scratch: _write(step, scratch, hdus, mosaic, tiles, exposures))
    log.info("Saved mosaic in %s (%.1f GB)", path, size / 1e9)
    return path


def _check_parameters(step: TiledResampleStep) -> None:
    """Raise `CeersError` for parameters that contradict each other, and for a grid that is none."""
    names = (*GRID_PARAMETERS, *DRIZZLE_PARAMETERS, "fillval", "output_wcs")
    check_grid({name: getattr(step, name) for name in names})
    if step.tile_size is None:
        if step.keep_tiles:
            raise CeersError("keep_tiles=true needs tile_size (--tile_size=4096 for instance).")
        _check_kept_only(step)
        return
    if step.single:
        raise CeersError(
            "single=true drizzles every exposure on its own: leave tile_size out, or set "
            "single=false."
        )
    if not step.keep_tiles:
        _check_kept_only(step)


def _check_layout(step: TiledResampleStep, input_data: Any) -> None:
    """Raise `CeersError` for a grid that cannot be laid out, where one is given by numbers."""
    if step.output_wcs:
        _drizzle_parameters(step, input_data)
    given = [getattr(step, name) for name in GRID_PARAMETERS]
    if step.output_wcs or step.single or all(value in (None, 1.0) for value in given):
        return  # the grid of the exposures
    on_disk = not isinstance(input_data, ModelLibrary)
    exposures = Exposures(_library_of(step, input_data), as_on_disk=on_disk)
    output_grid(exposures, None, _drizzle_parameters(step, input_data)["wcs_pars"])


def _check_kept_only(step: TiledResampleStep) -> None:
    """Raise `CeersError` for parameters of tiles that are kept, when none is."""
    for name in ("tile_dir", "only_tile"):
        if getattr(step, name) is not None:
            raise CeersError(
                f"{name}={getattr(step, name)} is about tiles that are kept: set tile_size "
                f"and keep_tiles=true, or leave {name} out."
            )


def _name_after_product(step: TiledResampleStep, input_data: Any) -> None:
    """Give the mosaic the name of the association's product, unless it has a name."""
    is_library, products = isinstance(input_data, ModelLibrary), []
    if is_library:
        products = input_data.asn["products"]
    elif isinstance(input_data, dict) or is_association_path(input_data):
        products = (association_of(input_data) or {})["products"]
    if len(products) > 1:
        names = ", ".join(str(product.get("name")) for product in products)
        raise CeersError(
            f"The association has {len(products)} products ({names}), but a mosaic is made "
            "of one. Give one association per product, or run ceers_steps.CeersImage3."
        )
    named = step.search_attr("output_file") is not None
    if is_library or (products and step.tile_size is not None):
        name = products[0].get("name")  # filters are checked where the outlines are read
    elif products or (isinstance(input_data, Sequence) and not isinstance(input_data, str)):
        name = product_name(_library_of(step, input_data))
    else:
        return
    if not named:
        step.output_file = name


def _library_of(step: TiledResampleStep, input_data: Any) -> ModelLibrary:
    """Return the exposures as a library; files are opened when they are needed."""
    if isinstance(input_data, ModelLibrary):
        return input_data
    association = association_of(input_data)
    if association is None:
        single = isinstance(input_data, JwstDataModel)
        return ModelLibrary([input_data] if single else list(input_data))
    if step.only_tile is not None:
        # the library would read every file for its group, which only the header counts
        for member in association["products"][0]["members"]:
            group = exposure_name(member["expname"]).rpartition("_")[0]
            member.setdefault("group_id", group)
    # the library makes a folder for changed exposures, unless it has one; none is changed
    return ModelLibrary(association, on_disk=True, temp_directory=os.curdir)


def _records_of(step: TiledResampleStep, input_data: Any) -> list[ExposureRecord]:
    """Return what was done to each exposure."""
    library = _library_of(step, input_data)
    records = []
    with library:
        for index, model in enumerate(library):
            records.append(record_of(model))
            library.shelve(model, index, modify=False)
    return records


def _as_stock_takes_it(step: TiledResampleStep, input_data: Any) -> Any:
    """Return associations in YAML, and paths that are no texts, as jwst's step takes them."""
    if not isinstance(input_data, (str, os.PathLike)) or not is_association_path(input_data):
        return str(input_data) if isinstance(input_data, os.PathLike) else input_data
    if Path(input_data).suffix == ".json":
        return str(input_data)
    return ModelLibrary(association_of(input_data), on_disk=not step.in_memory)


def _drizzle_parameters(step: TiledResampleStep, input_data: Any) -> dict[str, Any]:
    """Return what jwst's step gives to its resampling."""
    try:
        parameters = step.get_drizpars()
    except ValueError as err:
        raise CeersError(f"{err} Check output_shape, crpix and output_wcs.") from err
    except (KeyError, TypeError, AttributeError) as err:
        raise CeersError(
            f"output_wcs={step.output_wcs} has no grid ({type(err).__name__}: {err}). Give an ASDF "
            "file with a wcs, as ceers associate writes."
        ) from err
    single = isinstance(input_data, JwstDataModel) or is_image_file(input_data)
    return {**parameters, "blendheaders": step.blendheaders and not single}


def _layout(
    step: TiledResampleStep, mosaic: TiledMosaic, tiles: Sequence[Tile], name: str
) -> fits.HDUList:
    """Return the file as it will be, with images that take no memory."""
    planes = {key: virtual_array(*plane) for key, plane in mosaic.planes.items()}
    model = mosaic.model(planes)
    write_records(model, mosaic.records)
    _record_tiles(step, model, note=f"{len(tiles)} tiles")
    return _to_hdus(model, name)


def _record_tiles(step: TiledResampleStep, model: JwstDataModel, **entry: Any) -> None:
    """Record what was done, as stpipe does with a result."""
    step.finalize_result(model, [])
    step.record(model, "COMPLETE", parameters={"tile_size": step.tile_size}, **entry)


def _write(
    step: TiledResampleStep,
    path: Path,
    hdus: fits.HDUList,
    mosaic: TiledMosaic,
    tiles: Sequence[Tile],
    exposures: Sequence[int],
) -> None:
    """Write the mosaic, tile by tile."""
    seen = False
    with PlaneWriter(path, hdus) as writer:
        for number, (tile, count) in enumerate(zip(tiles, exposures, strict=True), start=1):
            log.info("Tile %d of %d: %d exposures", number, len(tiles), count)
            planes = _kept_tile(step, mosaic, tile) if step.keep_tiles else None
            if planes is None:
                planes = mosaic.drizzle(tile.box)
            for name, plane in planes.items():
                writer.write(EXTENSIONS[name], tile.box.y0, tile.box.x0, plane)
            seen |= bool(np.any(planes["wht"]))
    if not seen:
        raise _nowhere(mosaic.shape)


def _chosen(step: TiledResampleStep, tiles: Sequence[Tile]) -> Tile:
    """Return the tile that is asked for."""
    for tile in tiles:
        if (tile.row, tile.column) == tuple(step.only_tile):
            return tile
    raise CeersError(
        f"only_tile={step.only_tile}: with tile_size={step.tile_size} the tiles of this mosaic "
        f"go from [0, 0] to [{tiles[-1].row}, {tiles[-1].column}] (row, column)."
    )


def _tile_path(step: TiledResampleStep, tile: Tile) -> Path:
    """Return where a tile is kept."""
    path = Path(step.make_output_path(suffix=step.suffix, tile=_place(tile)))
    return path if step.tile_dir is None else Path(step.tile_dir) / path.name


def _kept_tile(step: TiledResampleStep, mosaic: TiledMosaic, tile: Tile) -> dict[str, NDArray]:
    """Return the planes of a tile from its file, which is made if it is not there."""
    path = _tile_path(step, tile)
    fingerprint = mosaic.fingerprint(tile.box)
    planes = _read_tile(path, fingerprint, mosaic, tile, step.class_alias)
    if planes is not None:
        log.info("%s is used again", path)
        return planes
    planes = mosaic.drizzle(tile.box)
    model = mosaic.model(planes, tile.box)
    metrics = {"x0": tile.box.x0, "y0": tile.box.y0, "fingerprint": fingerprint}
    _record_tiles(step, model, metrics=metrics, note=f"tile {_place(tile)}")
    write_atomic(path, lambda scratch: model.save(str(scratch)))
    return planes


def _nowhere(shape: tuple[int, ...]) -> CeersError:
    """Return the error for a grid beside all exposures."""
    return CeersError(
        f"None of the exposures touches the output grid of {shape[1]} x {shape[0]} pixels with a "
        "usable pixel. Check crval, crpix, output_shape and output_wcs, DQ of the exposures, and a "
        "pixfrac near 0 (of which the kernel gaussian makes nothing)."
    )


def _place(tile: Tile) -> str:
    """Return the place of a tile as it stands in names."""
    return f"r{tile.row:02d}c{tile.column:02d}"


def _to_hdus(model: JwstDataModel, name: str) -> fits.HDUList:
    """Return a model as it stands in a FITS file of this name."""
    model.on_save(name)
    return fits_support.to_fits(model.instance, model.schema)


def _read_tile(
    path: Path, fingerprint: str, mosaic: TiledMosaic, tile: Tile, alias: str
) -> dict[str, NDArray] | None:
    """Return the planes of a tile from its file, or None when they are not the same."""
    if not path.is_file():
        return None
    try:
        with open_fits(path, str(path)) as hdus:
            planes = {
                name: np.array(hdus[EXTENSIONS[name]].data, dtype)
                for name, (_, dtype) in mosaic.planes.items()
            }
        # not opened as a model, which would take longer than to drizzle a small tile
        steps = datamodels.read_metadata(path, flatten=False)["meta"]["ceers_steps"]
        if steps[alias]["metrics"]["fingerprint"] != fingerprint:
            return None
    except (CeersError, OSError, KeyError, ValueError, TypeError) as err:
        log.warning("%s cannot be used and is made again: %s", path, err)
        return None
    if any(plane.shape[-2:] != tile.box.shape for plane in planes.values()):
        return None
    return planes
