"""What is checked on disk: free space, one run at a time in a folder."""

import contextlib
import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from ceers_steps.errors import CeersError

__all__ = ["check_space", "files_below", "folder_lock", "open_lock", "take_lock"]

MOST_FILES = 1_000_000
"""Files and folders among which products are searched: choice, far beyond a survey."""

_BUSY = {errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


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


def files_below(folder: Path, skip: Collection[str] = ()) -> list[Path]:
    """Return the files in a folder and the folders in it, however deep.

    Parameters
    ----------
    folder
        Where the search begins. Links to folders are not followed.
    skip
        Names of folders that are not looked into.

    Returns
    -------
    list of Path
        In the order of their names.

    Raises
    ------
    CeersError
        For the root of the file system, and when there are more than `MOST_FILES`: it is a whole
        disk, or the home of all users.
    """
    advice = "Give the folder of the survey or of the exposures itself."
    if os.path.realpath(folder) == os.sep:
        raise CeersError(f"{folder} is the root of the file system. {advice}")
    found: list[Path] = []
    seen = 0
    for place, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MOST_FILES:
            raise CeersError(f"{folder} holds more than {MOST_FILES:,} files and folders. {advice}")
        folders[:] = [name for name in folders if name not in skip]
        found += [Path(place, name) for name in files]
    return sorted(found)


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
