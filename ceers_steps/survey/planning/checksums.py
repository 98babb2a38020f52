"""Checksums of files, by which a changed bit is found.

XXH3 of 128 bits: it is as fast as a file can be read, and what it has to find is damage, not
forgery. Records of before it was used have BLAKE2b, which is still understood.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import xxhash

__all__ = ["checksum", "has_checksum"]

_BLOCK = 1 << 22
_NAME = "xxh3:"


def checksum(path: str | os.PathLike) -> str:
    """Return the checksum of the contents of a file.

    Parameters
    ----------
    path
        File.

    Returns
    -------
    str
        ``xxh3:`` and 32 hexadecimal digits.
    """
    return _NAME + _digest(path, xxhash.xxh3_128())


def has_checksum(path: str | os.PathLike, expected: str) -> bool:
    """Say whether the contents of a file are those of a checksum.

    Parameters
    ----------
    path
        File.
    expected
        Of `checksum`, or 32 hexadecimal digits of BLAKE2b, as older records have them.

    Returns
    -------
    bool
        False for a checksum of another kind.
    """
    if expected.startswith(_NAME):
        return checksum(path) == expected
    return _digest(path, hashlib.blake2b(digest_size=16)) == expected


def _digest(path: str | os.PathLike, digest: Any) -> str:
    """Return the digest of a file, read in blocks."""
    with open(Path(path), "rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
