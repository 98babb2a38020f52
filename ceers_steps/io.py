"""Writing files so that a product is either complete or not there."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ceers_steps.errors import CeersError

__all__ = ["write_atomic"]


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
