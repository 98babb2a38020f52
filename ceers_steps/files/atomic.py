"""Files: products that are complete or not there; images that a user gives."""

import errno
import fcntl
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular

if TYPE_CHECKING:
    import numpy as np
    from astropy.io import fits

__all__ = [
    "check_target",
    "first_there",
    "is_protected",
    "open_fits",
    "protected",
    "read_image",
    "remove_abandoned",
    "user_path",
    "write_atomic",
]

_SCRATCH = ".writing-"
"""Begin of the names of hidden folders that files are written in."""

_LOCK = ".lock"
"""File in such a folder: locked (flock) as long as the process that writes there lives."""

_tidy: set[str] = set()
"""Folders in which this process has looked for what others have left behind."""

_PROTECTED: ContextVar[frozenset[tuple[int, int]]] = ContextVar("protected", default=frozenset())
"""Device and inode of files that must not be replaced."""


def write_atomic(path: str | os.PathLike, writer: Callable[[Path], object]) -> Path:
    """Write a file under a temporary folder beside its final place, then rename it.

    The file has its final *name* while it is written (data models record it), in a hidden
    folder on the same file system, so the rename cannot be seen half done. Such folders of
    processes that were killed are removed when a process first writes beside them.

    Parameters
    ----------
    path
        Final path. Its folder is made when it is missing; an existing file is replaced.
    writer
        Called with the temporary path; writes the whole file there.

    Returns
    -------
    Path
        The final path.

    Raises
    ------
    CeersError
        When the path is a device or a pipe, or a file that is `protected`, the folder cannot be
        written or the disk is full, or when the writer cannot use another file, which is then
        named; nothing is left behind and a product of an earlier run is untouched.
    """
    path = Path(path)
    check_target(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        # a rename would put a file in its place, /dev/null included
        raise CeersError(f"Cannot write {path}: it is a device or a pipe. Give the name of a file.")
    scratch = lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (folder := os.path.realpath(path.parent)) not in _tidy:
            _tidy.add(folder)
            remove_abandoned(path.parent)
        scratch, lock = _scratch_in(path.parent)
        writer(scratch / path.name)
        os.replace(scratch / path.name, path)
    except OSError as err:
        if scratch is not None and (other := _file_elsewhere(err, scratch)):
            raise CeersError(
                f"{other}: {err.strerror or err}, while {path} was written. Nothing was left "
                f"there. Check {other}, then run again."
            ) from err
        remedy = "Free some disk space or choose another folder"
        if isinstance(err, FileExistsError | NotADirectoryError):
            remedy = f"{path.parent} is no folder; choose another one"
        elif err.errno == errno.ENAMETOOLONG:
            remedy = "Choose a shorter name"
        elif err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "Choose another folder, or get the permission to write there"
        raise CeersError(
            f"Cannot write {path}: {err.strerror or err}. Nothing was left there. {remedy} "
            "(-o of ceers, --output_dir=FOLDER of steps and pipelines)."
        ) from err
    finally:
        if lock is not None:
            lock.close()  # first: NFS keeps files that are open, and their folder
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


@contextmanager
def protected(paths: Iterable[str | os.PathLike]) -> Iterator[None]:
    """Within this, `write_atomic` replaces none of these files, under whatever name.

    Parameters
    ----------
    paths
        Inputs of what is done; those that are no files are passed over.
    """
    files = set(_PROTECTED.get())
    for path in paths:
        with suppress(OSError, ValueError):  # ValueError: a zero byte in the name
            status = os.stat(path)
            files.add((status.st_dev, status.st_ino))
    before = _PROTECTED.set(frozenset(files))
    try:
        yield
    finally:
        _PROTECTED.reset(before)


def is_protected(path: str | os.PathLike) -> bool:
    """Say whether a file must not be replaced.

    Parameters
    ----------
    path
        The file; it need not be there.

    Returns
    -------
    bool
        True within `protected`, of what was named there.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return (status.st_dev, status.st_ino) in _PROTECTED.get()


def check_target(path: Path) -> None:
    """Refuse to replace a file that is `protected`.

    Parameters
    ----------
    path
        Where a file is about to be written.

    Raises
    ------
    CeersError
        When it is one of these.
    """
    if is_protected(path):
        raise CeersError(
            f"{path} is an input of this run, and a product would replace it. Inputs are never "
            "overwritten: choose another folder (output_dir) or name (output_file, suffix)."
        )


def remove_abandoned(folder: str | os.PathLike) -> None:
    """Remove hidden folders in which a process that was killed has written.

    Those of living processes are locked, and stay. Where the file system has no locks all stay.

    Parameters
    ----------
    folder
        In which `write_atomic` has put products; it need not be there.
    """
    with suppress(OSError), os.scandir(os.fspath(folder)) as entries:
        left = [Path(each.path) for each in entries if each.name.startswith(_SCRATCH)]
        for scratch in left:
            with suppress(OSError):
                with open(scratch / _LOCK, "a", encoding="utf-8") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(scratch, ignore_errors=True)
                shutil.rmtree(scratch, ignore_errors=True)


def _scratch_in(folder: Path) -> tuple[Path, IO[str]]:
    """Make a hidden folder, with a file that is locked until it is closed."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
        try:
            lock = open(scratch / _LOCK, "a", encoding="utf-8")  # noqa: SIM115  of the caller
        except FileNotFoundError:  # somebody took it for one that was left behind
            continue
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        except OSError:  # no locks on this file system
            pass
        if os.path.exists(lock.name):
            return scratch, lock
        lock.close()


def _file_elsewhere(err: OSError, scratch: Path) -> str:
    """Return the file that an error names, if it does not lie in the scratch folder; or ''."""
    if err.errno in (errno.ENOSPC, errno.EDQUOT) or not isinstance(err.filename, str | os.PathLike):
        return ""
    inside = Path(err.filename).absolute().is_relative_to(scratch.absolute())
    return "" if inside else os.fspath(err.filename)


@contextmanager
def open_fits(path: str | os.PathLike, name: str) -> Iterator["fits.HDUList"]:
    """Open a FITS file that a user gives; within this, what cannot be read is a clear error.

    Parameters
    ----------
    path
        FITS file.
    name
        What the user calls the file, with its path, for the message.

    Raises
    ------
    CeersError
        When the file cannot be read or is cut off, is no regular file or unpacks to too much.
    """
    # here, since every task of a survey starts a process that writes files but reads no image
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    check_regular(path, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            # without memory mapping, a file that is cut off fails here, not where it is used
            with fits.open(path, memmap=False) as hdus:
                yield hdus
    except (OSError, TypeError, ValueError, fits.VerifyError) as err:
        raise CeersError(f"{name} cannot be read, or is not complete: {err}.") from err


def read_image(path: str | os.PathLike, name: str, shape: tuple[int, ...]) -> "np.ndarray":
    """Return the first image of a FITS file; see `open_fits`.

    Parameters
    ----------
    path
        FITS file.
    name
        What the user calls the file, with its path, for the message.
    shape
        What the image must have, ``(ny, nx)``: nothing is read of one with another.

    Returns
    -------
    ndarray, shape (ny, nx)
        The image.

    Raises
    ------
    CeersError
        When it cannot be read, or there is none of this shape.
    """
    with open_fits(path, name) as hdus:
        first = next((hdu for hdu in hdus if hdu.is_image and hdu.shape), None)
        if first is None or first.shape != shape:
            found = "no image" if first is None else f"an image of {first.shape}"
            raise CeersError(
                f"{name}: {found}, while the exposure has {shape} pixels. Give the mask of this "
                "exposure."
            )
        return first.data


def first_there(path: Path) -> Path:
    """Return what is there of a path: itself, or the nearest of the folders above it.

    Parameters
    ----------
    path
        Absolute.

    Returns
    -------
    Path
        File, folder or link, also one to nothing.
    """
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def user_path(name: str | os.PathLike) -> Path:
    """Return a path as a user means it: with ``~`` and ``$VARIABLES``.

    Parameters
    ----------
    name
        As it was given.

    Returns
    -------
    Path
        Expanded.

    Raises
    ------
    CeersError
        For ``~name`` of a user that is not known here.
    """
    try:
        return Path(os.path.expandvars(name)).expanduser()
    except RuntimeError as err:
        raise CeersError(f"{name}: no such user. Give the path without ~.") from err
