"""Mosaics in files, larger than memory: read and written in blocks of rows."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from stdatamodels import fits_support
from stdatamodels.jwst.datamodels import ImageModel

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.fits_planes import PlaneWriter, file_size, virtual_array
from ceers_steps.kernels.rows import row_blocks

__all__ = ["FileRows", "MosaicFile", "rows_or_data"]

log = logging.getLogger(__name__)

_TYPES = {8: "u1", 16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}
"""Types of pixels in a FITS file, by BITPIX."""
_UNSIGNED = {16: np.uint16, 32: np.uint32}
"""Types that they stand for with BZERO."""


@dataclass(frozen=True)
class FileRows:
    """Rows of an image in a FITS file, read when they are asked for.

    They are read and not mapped: mapped pages count as memory of the process.

    Attributes
    ----------
    path : Path
        The file, not compressed.
    offset : int
        Where the pixels begin, bytes.
    shape : tuple of int
        Shape of the image.
    dtype : dtype
        Of its pixels in the file.
    """

    path: Path
    offset: int
    shape: tuple
    dtype: np.dtype

    def __getitem__(self, rows: Any) -> NDArray:
        """Return the pixels of a slice of rows, in the byte order of the machine."""
        start, stop, _ = rows.indices(self.shape[0])
        width = self.shape[1]
        pixels = np.fromfile(
            self.path,
            self.dtype,
            count=max(stop - start, 0) * width,
            offset=self.offset + start * width * self.dtype.itemsize,
        )
        pixels = pixels.reshape(stop - start, width)
        return pixels.astype(self.dtype.newbyteorder("="), copy=False)


def _file_rows(path: Any) -> Any:
    """Return the images of a FITS file, as they can be read in pieces.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        `FileRows` by EXTNAME; empty for a file that is compressed, or has two images of one name.
    """
    if _is_compressed(path):
        return {}
    with fits.open(path, memmap=True) as hdus:
        images = [hdu for hdu in hdus if type(hdu) is fits.ImageHDU and hdu.size]
        if len({hdu.name for hdu in images}) < len(images):
            return {}
        return {hdu.name: _rows_of(path, hdu) for hdu in images}


def rows_or_data(path: Any, hdu: Any) -> Any:
    """Return the pixels of an image in an open FITS file, read in pieces where that is possible.

    Parameters
    ----------
    path : Path
        The file.
    hdu : `~astropy.io.fits.ImageHDU` or `~astropy.io.fits.PrimaryHDU`

    Returns
    -------
    FileRows or ndarray

    Raises
    ------
    OSError
        When the file ends within the image.
    """
    encoded = type(hdu) not in {fits.ImageHDU, fits.PrimaryHDU} or _is_compressed(path)
    if (
        encoded
        or hdu.header["BITPIX"] > 0
        or {"BSCALE", "BZERO"} & set(hdu.header)
        or len(hdu.shape) != 2
    ):
        return hdu.data
    rows = _rows_of(path, hdu)
    if path.stat().st_size < rows.offset + hdu.size:
        raise OSError(f"the file ends within the image {hdu.name}")
    return rows


def _is_compressed(path: Any) -> bool:
    """Say whether a file is anything but plain FITS."""
    with path.open("rb") as stream:
        return stream.read(6) != b"SIMPLE"


def _rows_of(path: Any, hdu: Any) -> Any:
    """Return the rows of an image in an open FITS file."""
    dtype = np.dtype(_TYPES[hdu.header["BITPIX"]])
    return FileRows(path, hdu.fileinfo()["datLoc"], hdu.shape, dtype)


class MosaicFile:
    """A mosaic in a file, of which only what is not pixels is in memory.

    Attributes
    ----------
    path : Path
    model : `~stdatamodels.jwst.datamodels.ImageModel`
        The mosaic with arrays that take no memory, and hold no pixels.
    rows : dict
        `FileRows` by EXTNAME.
    product : Path or None
        What `save` has written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path).absolute()
        self.product: Path | None = None
        self.rows = _file_rows(self.path)
        self.model = self._open()
        self.model.meta.filename = self.path.name

    @staticmethod
    def n_pixels(path: Any) -> int:
        """Return the pixels of a mosaic that can be read in pieces; 0 for one that cannot."""
        image = _file_rows(Path(path)).get("SCI")
        readable = image is not None and len(image.shape) == 2 and image.dtype == ">f4"
        return image.shape[0] * image.shape[1] if readable else 0

    def _open(self) -> Any:
        """Return the model, without pixels."""
        empty = fits.HDUList()
        with fits.open(self.path, memmap=True) as hdus:
            for hdu in hdus:
                if hdu.name in self.rows:
                    data = virtual_array(hdu.shape, _type(hdu.header))
                    empty.append(fits.ImageHDU(data, hdu.header))
                else:
                    empty.append(hdu.copy())
            return ImageModel(empty)

    def save(self, path: Any, changed: Any) -> None:
        """Write the mosaic with other pixels, and the planes of the file that are not changed.

        Parameters
        ----------
        path : str or Path
            File to be made; written aside and then renamed.
        changed : callable
            Takes a slice of rows, returns their pixels in planes that are new or changed, by
            EXTNAME. The model has arrays for all planes.

        Raises
        ------
        CeersError
            When the file cannot be written, or a plane would change its type.
        """
        path = Path(path).absolute()
        self.model.on_save(path.name)
        hdus = fits_support.to_fits(self.model.instance, self.model.schema)
        self.product = write_atomic(path, lambda scratch: self._write(scratch, hdus, changed))
        log.info("Saved mosaic in %s (%.1f GB)", path, file_size(hdus) / 1e9)

    def _write(self, path: Any, hdus: Any, changed: Any) -> None:
        """Write the file block by block."""
        shape = self.rows["SCI"].shape
        with PlaneWriter(path, hdus) as writer:
            written = set()
            for rows in row_blocks(shape):
                for name, pixels in changed(rows).items():
                    writer.write(name, rows.start, 0, pixels)
                    written.add(name)
            for hdu in hdus:
                if isinstance(hdu, fits.ImageHDU) and hdu.size and hdu.name not in written:
                    source = self.rows.get(hdu.name)
                    if source is None or np.dtype(_TYPES[hdu.header["BITPIX"]]) != source.dtype:
                        raise CeersError(
                            f"{self.path}: the plane {hdu.name} is not of the type that jwst "
                            "gives it. Open and save the file with jwst.datamodels first."
                        )
                    writer.copy(hdu.name, source.path, source.offset)


def _type(header: Any) -> np.dtype:
    """Return the type of the pixels of an image, as astropy reads them."""
    bits = header["BITPIX"]
    if header.get("BZERO") == 2 ** (bits - 1) if bits in _UNSIGNED else False:
        return np.dtype(_UNSIGNED[bits])
    return np.dtype(_TYPES[bits]).newbyteorder("=")
