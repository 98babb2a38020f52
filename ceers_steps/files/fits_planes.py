"""FITS files with images larger than memory: laid out first, then filled piece by piece."""

import io
import math
import mmap
import os
import warnings
from typing import Any, Self

import numpy as np
from astropy.io import fits
from numpy.typing import DTypeLike

__all__ = ["PlaneWriter", "file_size", "virtual_array"]

_BLOCK = 2880  # bytes: headers and data of FITS files are padded to multiples of this
_COPIED_BYTES = 1 << 24  # of an image that is copied, at a time
_SIGN_BIT = np.uint32(1 << 31)  # FITS has no unsigned integers: BZERO is added to signed ones


def virtual_array(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an array that takes no memory: read-only zeros, for what looks only at its shape.

    Parameters
    ----------
    shape, dtype
        Those of an image that is to be written later.

    Returns
    -------
    ndarray
        Of this shape and type.
    """
    dtype = np.dtype(dtype)
    # memory that is only reserved for reading is not counted by the system, however large
    zeros = mmap.mmap(
        -1,
        max(math.prod(shape) * dtype.itemsize, 1),
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        prot=mmap.PROT_READ,
    )
    return np.ndarray(shape, dtype, buffer=zeros)


class PlaneWriter:
    """A FITS file whose images are written in pieces, in any order.

    Parameters
    ----------
    path
        File to be made. It has its full size from the start, so that a full disk shows at once.
    hdus
        Headers and tables are written as they are; of the images, only shape and type count
        (`virtual_array`).
    """

    def __init__(self, path: str | os.PathLike, hdus: fits.HDUList):
        hdus.update_extend()
        self._images: dict[str, tuple[int, tuple[int, ...], np.dtype]] = {}
        fixed = []
        end = 0
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU):
                piece, n_data = _table_bytes(hdu), 0
            else:
                piece, n_data = _header_bytes(hdu), hdu.size
            fixed.append((end, piece))
            end += len(piece)
            if n_data:
                dtype = np.dtype(hdu.data.dtype)
                self._images[hdu.name] = (end, hdu.data.shape, dtype)
                end += -(-n_data // _BLOCK) * _BLOCK
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115  closed by close()
        try:
            _allocate(self._file.fileno(), end)
            for offset, piece in fixed:
                self._write(offset, piece)
        except BaseException:
            self._file.close()
            raise

    def write(self, name: str, y0: int, x0: int, piece: np.ndarray) -> None:
        """Write a piece of an image.

        Parameters
        ----------
        name
            EXTNAME of the image.
        y0, x0
            Place of the first pixel of the piece.
        piece
            Shape ``(ny, nx)``, or ``(n, ny, nx)`` for an image of ``n`` planes, of the type that
            the image has.
        """
        start, shape, dtype = self._images[name]
        if piece.dtype != dtype or piece.ndim != len(shape):
            raise ValueError(
                f"{name}: {piece.ndim}-D {piece.dtype} for a {len(shape)}-D image of {dtype}"
            )
        if dtype == np.uint32:
            piece = (piece ^ _SIGN_BIT).view(np.int32)
        big_endian = np.ascontiguousarray(piece, piece.dtype.newbyteorder(">"))
        ny, nx = shape[-2:]
        for plane, image in enumerate(big_endian.reshape(-1, *piece.shape[-2:])):
            for line, pixels in enumerate(image):
                pixel = (plane * ny + y0 + line) * nx + x0
                self._write(start + pixel * dtype.itemsize, pixels)

    def copy(self, name: str, source: str | os.PathLike, offset: int) -> None:
        """Write an image as it stands in another file.

        Parameters
        ----------
        name
            EXTNAME of the image.
        source
            File that has an image of the same shape and type.
        offset
            Where its pixels begin in that file, bytes.
        """
        start, shape, dtype = self._images[name]
        rest = math.prod(shape) * dtype.itemsize
        with open(source, "rb") as stream:
            stream.seek(offset)
            while rest:
                piece = stream.read(min(rest, _COPIED_BYTES))
                if not piece:
                    raise OSError(f"{source} ends within an image")
                self._write(start, piece)
                start, rest = start + len(piece), rest - len(piece)

    def _write(self, offset: int, data: Any) -> None:
        """Write bytes at a place in the file."""
        rest = memoryview(data).cast("B")
        while rest:
            written = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[written:], offset + written

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def file_size(hdus: fits.HDUList) -> int:
    """Return the size of a FITS file in bytes, about (headers count as one block).

    Parameters
    ----------
    hdus
        Of the file.

    Returns
    -------
    int
        Bytes.
    """
    return sum(-(-hdu.size // _BLOCK) * _BLOCK + _BLOCK for hdu in hdus)


def _header_bytes(hdu: Any) -> bytes:
    """Return the header of an image as it stands in a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Card is too long")
        return hdu.header.tostring().encode("ascii")


def _table_bytes(hdu: Any) -> bytes:
    """Return a table, header and data, as it stands in a file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Card is too long")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return buffer.getvalue()[_BLOCK:]


def _allocate(descriptor: int, size: int) -> None:
    """Give a file its size, and claim the disk space where the system can."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
