"""What is checked on disk: whole files, free space, one run at a time in a folder."""

import contextlib
import fcntl
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular, unpacked_size

__all__ = ["check_space", "fits_problem", "folder_lock"]


def fits_problem(path: str | os.PathLike) -> str:
    """Say what keeps a FITS file from being complete: every header is read, no data.

    Of a file that is compressed with gzip, all is read.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        Empty when the file is complete.
    """
    end = 0
    try:
        check_regular(path, os.fspath(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            with fits.open(path, lazy_load_hdus=False, memmap=True) as hdus:
                for hdu in hdus:
                    info = hdu.fileinfo()
                    end = max(end, info["datLoc"] + info["datSpan"])
        size = _size_of(path)
    except (OSError, ValueError, TypeError, IndexError, fits.VerifyError) as err:
        return " ".join(str(err).split()) or "not a FITS file"
    except CeersError as err:
        return str(err)
    if size < end:
        return f"cut off: {size} bytes of at least {end}"
    # what astropy takes for extra bytes is a header without an end
    return f"cut off in a header: {size - end} bytes after the last extension" if size > end else ""


def _size_of(path: str | os.PathLike) -> int:
    """Return the size of a file, or of what is in it if it is compressed with gzip (whatever its
    name), in bytes."""
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return unpacked_size(path) if packed else os.path.getsize(path)


def check_space(needed: int, folder: str | os.PathLike) -> int:
    """Make sure that a disk has room.

    Parameters
    ----------
    needed
        Bytes that will be written.
    folder
        Where; it need not be there yet.

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
            f"{needed / 1e9:.2f} GB have to be fetched, but the disk of {folder} has only "
            f"{free / 1e9:.2f} GB free. Free some space, choose another folder, or fetch less at "
            "a time."
        )
    return free


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Keep a second run away from a folder; the lock ends with the process, however it ends.

    Parameters
    ----------
    folder
        Made when it is missing.

    Raises
    ------
    CeersError
        When another run holds it, or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".ceers-download.lock", "a", encoding="utf-8")  # noqa: SIM115
    except OSError as err:
        raise CeersError(f"Cannot write to {folder}: {err.strerror or err}.") from err
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise CeersError(
                f"Another 'ceers download' is writing to {folder}. Wait for its end."
            ) from err
        except OSError:
            pass  # a file system without locks
        yield
