"""Cores and memory that this process may use: of the machine, or of its container or batch job."""

import contextlib
import os
from pathlib import Path

__all__ = ["available_cores", "installed_memory_mb"]


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_memory_mb() -> int:
    """Return the memory (MB) that this process may use: of the machine, or of its container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _memory_limits():
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            limits.append(int(path.read_text()))
    return int(min(limits) / 1e6)


def _memory_limits() -> list[Path]:
    """Return the files that may have a limit of control groups (containers, batch jobs)."""
    root = Path("/sys/fs/cgroup")
    found = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            group = Path(name.lstrip("/"))
            for part in (group, *group.parents):
                if not kinds:
                    found.append(root / part / "memory.max")
                elif "memory" in kinds.split(","):
                    found.append(root / "memory" / part / "memory.limit_in_bytes")
    return found
