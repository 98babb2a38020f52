"""Files: products that are complete or not there; images that a user gives."""

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular

if TYPE_CHECKING:
    import numpy as np
    from astropy.io import fits

__all__ = [
    "open_fits",
    "read_image",
    "user_path",
    "write_atomic",
]


def write_atomic(path: str | os.PathLike, writer: Callable[[Path], object]) -> Path:
    """Write a file under a temporary folder beside its final place, then rename it.

    The file has its final *name* while it is written (data models record it), in a hidden
    folder on the same file system, so the rename cannot be seen half done.

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
        When the path is a device or a pipe, the folder cannot be written or the disk is full, or
        when the writer cannot use another file, which is then named; nothing is left behind and a
        product of an earlier run is untouched.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        # a rename would put a file in its place, /dev/null included
        raise CeersError(f"Cannot write {path}: it is a device or a pipe. Give the name of a file.")
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
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
        raise CeersError(
            f"Cannot write {path}: {err.strerror or err}. Nothing was left there. {remedy} "
            "(-o of ceers, --output_dir=FOLDER of steps and pipelines)."
        ) from err
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


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
