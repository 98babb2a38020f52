"""Files: products that are either complete or not there, images that a user gives."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from ceers_steps.errors import CeersError

__all__ = ["read_image", "write_atomic"]


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
        When the folder cannot be written or the disk is full; nothing is left behind and a
        product of an earlier run is untouched.
    """
    path = Path(path)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
        writer(scratch / path.name)
        os.replace(scratch / path.name, path)
    except OSError as err:
        raise CeersError(
            f"Cannot write {path}: {err.strerror or err}. Nothing was left there. Free some disk "
            "space or choose another folder with output_dir (--output_dir=FOLDER)."
        ) from err
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


def read_image(path: str | os.PathLike, name: str) -> np.ndarray | None:
    """Read the first image of a FITS file.

    Parameters
    ----------
    path
        FITS file.
    name
        What the user calls the file, with its path, for the message.

    Returns
    -------
    ndarray or None
        The image; None if there is none.

    Raises
    ------
    CeersError
        When the file cannot be read or is cut off.
    """
    try:
        # without memory mapping, a file that is cut off fails here, not where it is used
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)
            with fits.open(path, memmap=False) as hdus:
                images = (hdu.data for hdu in hdus if hdu.is_image)
                return next((data for data in images if data is not None), None)
    except (OSError, TypeError, ValueError, fits.VerifyError) as err:
        raise CeersError(f"{name} cannot be read, or is not complete: {err}.") from err
