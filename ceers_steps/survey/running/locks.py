"""Who works in an output folder: one run at a time, and one process on each task."""

import contextlib
import getpass
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.disk import open_lock, take_lock
from ceers_steps.survey.planning.plan import STATE, Plan, Task

__all__ = ["hold_folder", "hold_task"]


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
    with open_lock(path) as lock:
        if not take_lock(lock, shared=shared):
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            if take_lock(lock, shared=True):
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
        with contextlib.suppress(OSError):  # a full disk: reported where something is lost by it
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
    with open_lock(path) as lock:
        take_lock(lock, wait=True)
        yield
