"""Whether a FITS file is whole: one answer for steps, ``ceers inspect``, downloads, references."""

import contextlib
import gzip
import os
import warnings
import zlib
from collections.abc import Iterator

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular, unpacked_size

__all__ = ["NotWholeError", "check_begin", "fits_problem", "open_whole"]

_BEGIN = b"SIMPLE  ="
_VALUE_END = 30
"""Bytes of the first card up to its value, T: F would mean a file of another kind."""

_GZIP = b"\x1f\x8b"
_DAMAGE = (
    *(OSError, EOFError, zlib.error, fits.VerifyError),
    *(ValueError, TypeError, IndexError, KeyError),
)


class NotWholeError(ValueError):
    """A FITS file is not complete; the message says what is missing."""


@contextlib.contextmanager
def open_whole(path: str | os.PathLike) -> Iterator[fits.HDUList]:
    """Open a FITS file that is complete: every header is read, no data.

    Of a file that is compressed with gzip, all is read.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    `~astropy.io.fits.HDUList`
        With all its headers.

    Raises
    ------
    NotWholeError
        When it is cut off, damaged or no FITS file, also where the code that it is given to
        stumbles over it.
    """
    try:
        check_regular(path, os.fspath(path))
        check_begin(path)
        with warnings.catch_warnings():
            # complaints about single cards do not stop anybody from reading the file
            warnings.simplefilter("ignore", AstropyUserWarning)
            with fits.open(path, lazy_load_hdus=False, memmap=True) as hdus:
                _check_end(path, hdus)
                yield hdus
    except NotWholeError:
        raise
    except _DAMAGE as err:
        raise NotWholeError(" ".join(str(err).split()) or "not a FITS file") from err
    except CeersError as err:
        raise NotWholeError(str(err)) from err


def fits_problem(path: str | os.PathLike) -> str:
    """Say what keeps a FITS file from being complete, as `open_whole`.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        Empty when the file is complete.
    """
    try:
        with open_whole(path):
            return ""
    except NotWholeError as err:
        return str(err)


def check_begin(path: str | os.PathLike) -> None:
    """Look at the first card: of a file of zeros astropy would look for the end of the header.

    Parameters
    ----------
    path
        The file, also one that is compressed with gzip.

    Raises
    ------
    NotWholeError
        When it does not begin as FITS files do.
    """
    with open(path, "rb") as stream:
        begin = stream.read(_VALUE_END)
    if begin.startswith(_GZIP):
        with gzip.open(path) as unpacked:
            begin = unpacked.read(_VALUE_END)
    if not begin.startswith(_BEGIN) or begin[len(_BEGIN) :].lstrip()[:1] not in (b"T", b""):
        begin = begin if begin.startswith(_BEGIN) else begin[: len(_BEGIN)]
        what = "it is empty" if not begin else f"it begins with {begin!r}, not {_BEGIN!r} and T"
        raise NotWholeError(f"not a FITS file: {what}")


def _check_end(path: str | os.PathLike, hdus: fits.HDUList) -> None:
    """Compare the size of a file with what its headers announce."""
    places = [hdu.fileinfo() for hdu in hdus]
    end = max((place["datLoc"] + place["datSpan"] for place in places), default=0)
    with open(path, "rb") as stream:
        packed = stream.read(2) == _GZIP  # whatever its name
    size = unpacked_size(path) if packed else os.path.getsize(path)
    if size < end:
        raise NotWholeError(f"cut off: {size} bytes of at least {end}")
    if size > end:  # what astropy takes for extra bytes is a header without an end
        raise NotWholeError(f"cut off in a header: {size - end} bytes after the last extension")
