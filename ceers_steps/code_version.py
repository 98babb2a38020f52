"""The version of the code that makes products: release number and a digest of the code itself.

A checkout that is updated, or edited, keeps its release number; its products may differ. The
commits since the release, which the version of an installed checkout counts, are left out: a
commit that only changes the docs makes no product invalid.
"""

import re
from functools import cache
from hashlib import blake2b
from pathlib import Path

from ceers_steps import __version__

__all__ = ["code_digest", "code_version", "release_number"]

ROOMS = ("astrometry", "drizzling", "files", "kernels", "mosaics", "pipelines", "steps")
"""Rooms whose code decides what is in a product."""


def code_digest(package: Path) -> str:
    """Return a digest of the code in `ROOMS`.

    Parameters
    ----------
    package : Path
        Folder of the package.

    Returns
    -------
    str
        Ten hexadecimal digits; names and contents of all modules count.
    """
    digest = blake2b(digest_size=5)
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()


@cache
def code_version() -> str:
    """Return ``<release>+<digest>`` of this installation, worked out once a process."""
    return f"{release_number(__version__)}+{code_digest(Path(__file__).parent)}"


def release_number(version: str) -> str:
    """Return the release of a version: 0.1.0 of ``0.1.0.post1.dev3+g0123abc.d20261128``.

    Parameters
    ----------
    version : str
        As installed.

    Returns
    -------
    str
        The numbers that it begins with; 0 when it begins with none.
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return found[0] if found else "0"
