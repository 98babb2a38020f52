"""What is checked on disk: whole files, free space, one run at a time in a folder."""

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular, unpacked_size

__all__ = [
    "NotWholeError",
    "check_space",
    "fits_problem",
    "folder_lock",
    "open_lock",
    "open_whole",
    "take_lock",
]

_DAMAGE = (
    *(OSError, EOFError, zlib.error, fits.VerifyError),
    *(ValueError, TypeError, IndexError, KeyError),
)
_BUSY = {errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


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


def _check_end(path: str | os.PathLike, hdus: fits.HDUList) -> None:
    """Compare the size of a file with what its headers announce."""
    places = [hdu.fileinfo() for hdu in hdus]
    end = max((place["datLoc"] + place["datSpan"] for place in places), default=0)
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"  # whatever its name
    size = unpacked_size(path) if packed else os.path.getsize(path)
    if size < end:
        raise NotWholeError(f"cut off: {size} bytes of at least {end}")
    if size > end:  # what astropy takes for extra bytes is a header without an end
        raise NotWholeError(f"cut off in a header: {size - end} bytes after the last extension")


def check_space(needed: int, folder: str | os.PathLike, remedy: str) -> int:
    """Make sure that a disk has room.

    Parameters
    ----------
    needed
        Bytes that will be written.
    folder
        Where; it need not be there yet.
    remedy
        What to do beside freeing some space, for the message.

    Returns
    -------
    int
        Free bytes.

    Raises
    ------
    CeersError
        When there is less than needed.
    """
    there = Path(folder).absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        raise CeersError(
            f"{needed / 1e9:.2f} GB are to be written, but the disk of {folder} has only "
            f"{free / 1e9:.2f} GB free. Free some space, {remedy}."
        )
    return free


def open_lock(path: Path) -> IO[str]:
    """Open a file to lock; made, with its folder, when it is missing.

    Locks are the kernel's (flock): they end with the process that holds them, however it ends, so
    none is ever stale.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    file
        To be closed by the caller, which ends the lock.

    Raises
    ------
    CeersError
        When it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+", encoding="utf-8")
    except OSError as err:
        raise CeersError(
            f"Cannot write to {path.parent}: {err.strerror or err}. Free some space, or choose "
            "another folder."
        ) from err


def take_lock(lock: IO[str], *, shared: bool = False, wait: bool = False) -> bool:
    """Lock a file.

    Parameters
    ----------
    lock
        Of `open_lock`.
    shared
        Together with others who share it.
    wait
        Until whoever has it lets it go.

    Returns
    -------
    bool
        False when somebody else has it. Where a file system has no locks, that is logged and the
        answer is True.

    Raises
    ------
    CeersError
        When locking fails.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(lock, kind)
    except OSError as err:
        if err.errno in _BUSY:
            return False
        if err.errno not in _NO_LOCKS:
            raise CeersError(f"Cannot lock {lock.name}: {err.strerror}.") from err
        if not shared and not wait:
            print(
                f"The file system of {lock.name} has no locks: see to it that nothing else works "
                "in this folder.",
                file=sys.stderr,
            )
    return True


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Keep a second download away from a folder.

    Parameters
    ----------
    folder
        Made when it is missing.

    Raises
    ------
    CeersError
        When another run holds it, or the folder cannot be written.
    """
    with open_lock(Path(folder) / ".ceers-download.lock") as lock:
        if not take_lock(lock):
            raise CeersError(f"Another 'ceers download' is writing to {folder}. Wait for its end.")
        yield
