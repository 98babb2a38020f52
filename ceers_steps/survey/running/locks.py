"""Who works in an output folder: one run at a time, and one process on each task.

The locks are the kernel's (flock): they end with the process that holds them, however it ends, so
none is ever stale.
"""

import contextlib
import errno
import fcntl
import getpass
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import STATE, Plan, Task

__all__ = ["hold_folder", "hold_task"]

_BUSY = {errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def hold_folder(output: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold an output folder: two runs in one folder would undo each other's work.

    Parameters
    ----------
    output
        Output folder of a survey.
    shared
        Together with others who share it, as commands of ``ceers commands`` do.

    Raises
    ------
    CeersError
        When somebody else holds it (the message says who), or it cannot be written.
    """
    path = output / STATE / "lock"
    with _open(path, output) as lock:
        if not _try(lock, shared):
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            if _try(lock, shared=True):
                holder = "commands of 'ceers commands' run there"
            raise CeersError(
                f"{output} is in use: {holder}. Wait for it, or stop it, and run again."
            )
        if shared:
            yield
            return
        user = str(os.getuid())
        with contextlib.suppress(KeyError, OSError):  # a container without names
            user = getpass.getuser()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = f"process {os.getpid()} of {user} on {socket.gethostname()} since {since}"
        with contextlib.suppress(OSError):  # a full disk: told where something is lost by it
            os.truncate(lock.fileno(), 0)
            os.write(lock.fileno(), holder.encode())
        yield


@contextlib.contextmanager
def hold_task(plan: Plan, task: Task) -> Iterator[None]:
    """Hold a task, after waiting for who holds it: two processes never write the same products.

    Raises
    ------
    CeersError
        When the output folder cannot be written.
    """
    path = plan.output / STATE / "locks" / f"{task.id.replace('/', '-')}.lock"
    with _open(path, plan.output) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as err:
            if err.errno not in _NO_LOCKS:
                raise CeersError(f"Cannot lock {path}: {err.strerror}.") from err
        yield


def _open(path: Path, output: Path) -> IO[str]:
    """Open a file to lock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+", encoding="utf-8")
    except OSError as err:
        raise CeersError(
            f"Cannot write to {output}: {err.strerror}. Free some space, or choose another -o."
        ) from err


def _try(lock: IO[str], shared: bool) -> bool:
    """Lock a file unless somebody else has; return whether it is ours now."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno in _BUSY:
            return False
        if err.errno not in _NO_LOCKS:
            raise CeersError(f"Cannot lock {lock.name}: {err.strerror}.") from err
        if not shared:
            print(
                f"The file system of {lock.name} has no locks: see to it that nothing else works "
                "in this folder.",
                file=sys.stderr,
            )
    return True
