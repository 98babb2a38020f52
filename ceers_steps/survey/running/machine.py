"""Cores and memory that this process may use: of the machine, or of its container or batch job."""

import contextlib
import os
from pathlib import Path

__all__ = ["available_cores", "installed_memory_mb"]


def available_cores() -> int:
    """Return the number of cores that this process may use: of the machine, or of its container."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for path in _core_limits():
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max": no limit
            time, period = map(int, path.read_text().split())
            cores = min(cores, max(1, time // period))
    return cores


def installed_memory_mb() -> int:
    """Return the memory (MB) that this process may use: of the machine, or of its container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _memory_limits():
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            limits.append(int(path.read_text()))
    return int(min(limits) / 1e6)


def _memory_limits() -> list[Path]:
    """Return the files that may have a limit of control groups (containers, batch jobs)."""
    folders = _groups("memory")
    return [folder / "memory.max" for folder in folders] + [
        folder / "memory.limit_in_bytes" for folder in folders
    ]


def _core_limits() -> list[Path]:
    """Return the files that may have a limit: time that may be used in a period, microseconds."""
    return [folder / "cpu.max" for folder in _groups("cpu")]


def _groups(controller: str) -> list[Path]:
    """Return the folders of the control groups of this process, of both versions of Linux."""
    root = Path("/sys/fs/cgroup")
    found = [root, root / controller]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            group = Path(name.lstrip("/"))
            for part in (group, *group.parents):
                if not kinds:
                    found.append(root / part)
                elif controller in kinds.split(","):
                    found.append(root / controller / part)
    return found
