"""Files that a user names, before they are read: a pipe would wait for ever, a bomb fill memory.

What is no file of data (a FIFO, a device, a socket) blocks or never ends when it is read. What is
compressed may be a thousand times as large as it looks. In YAML an anchor that holds ten references
to another one, which holds ten more, stands for 10**12 values in a kilobyte ("billion laughs"):
they are counted without being followed.
"""

import errno
import gzip
import math
import os
import stat
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from ceers_steps.errors import CeersError

__all__ = [
    "LARGEST_UNPACKED",
    "asdf_tree_problem",
    "check_parameter_file",
    "check_regular",
    "read_asdf_head",
    "tree_problem",
    "unpacked_size",
    "why_no_file",
    "yaml_problem",
]

LARGEST_UNPACKED = 1 << 32
"""Bytes in a file that is compressed with gzip; those of a raw exposure are 1e9."""

LARGEST_TREE = 5_000_000
"""Bytes of the YAML part of a file; those of JWST have about 60,000."""

LARGEST_EXPANSION = 1_000_000
"""Values in a tree after all its references to anchors are followed."""

_GZIP = b"\x1f\x8b"
_OTHER = {b"BZh": "bzip2", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"\x1f\x9d": "compress"}

_BLOCK = 1 << 20


def check_regular(path: str | os.PathLike, name: str, largest: float = float("inf")) -> None:
    """Refuse what is no regular file, or is too large, before it is read.

    Parameters
    ----------
    path
        File, or a link to one. One that does not exist, and a folder, pass: opening tells.
    name
        What the user calls it, with its path, for the message.
    largest
        Bytes, as it is unpacked.

    Raises
    ------
    CeersError
        For a FIFO, device or socket, a file of more bytes, a damaged or too large gzip file, and
        other kinds of compression.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return
    if stat.S_ISDIR(status.st_mode):
        return
    if not stat.S_ISREG(status.st_mode):
        raise CeersError(f"{name} is {_kind(status)}, not a file. Give a file.")
    if status.st_size > largest:
        raise CeersError(
            f"{name} has {status.st_size:.3g} bytes, more than {largest:.3g}. Is it the right file?"
        )
    try:
        with open(path, "rb") as stream:
            head = stream.read(6)
    except OSError:
        return
    for magic, kind in _OTHER.items():
        if head.startswith(magic):
            raise CeersError(f"{name} is compressed with {kind}. Unpack it first.")
    if head.startswith(_GZIP):
        most = min(largest, LARGEST_UNPACKED)
        try:
            size = unpacked_size(path, most)
        except (OSError, EOFError, zlib.error) as err:
            raise CeersError(f"{name} is a damaged gzip file ({err}). Copy it again.") from err
        if size > most:
            raise CeersError(
                f"{name} holds more than {most:.3g} bytes, compressed. Is it the right file? If it "
                "is, unpack it first (gunzip)."
            )


def why_no_file(path: str | os.PathLike) -> str:
    """Say why a path is no file that can be read.

    Parameters
    ----------
    path
        What a user gives.

    Returns
    -------
    str
        What follows its name in a message, "does not exist"; empty if it is one.
    """
    try:
        status = os.stat(path)
    except ValueError:  # a zero byte in the name
        return "does not exist"
    except OSError as err:
        if err.errno == errno.ELOOP:
            return "is a link that leads back to itself"
        if os.path.islink(path):
            return f"is a link to {os.readlink(os.fspath(path))}, which is not there"
        missing = (errno.ENOENT, errno.ENOTDIR)
        return "does not exist" if err.errno in missing else f"cannot be read: {err.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return f"is {_kind(status)}, not a file"
    return "" if os.access(path, os.R_OK) else "cannot be read: you have no permission"


def _kind(status: os.stat_result) -> str:
    """Return what something is that is no regular file."""
    kinds = {stat.S_IFIFO: "a pipe (FIFO)", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def unpacked_size(path: str | os.PathLike, most: float = float("inf")) -> int:
    """Return the bytes of what is in a gzip file; no more than a block of it is in memory.

    Parameters
    ----------
    path
        File.
    most
        To read no further once there are more.

    Returns
    -------
    int
        Bytes; some number above `most` where there are more.

    Raises
    ------
    OSError, EOFError, zlib.error
        When it is damaged.
    """
    size = 0
    with gzip.open(Path(path)) as stream:
        while size <= most and (block := stream.read(_BLOCK)):
            size += len(block)
    return size


def asdf_tree_problem(path: Path) -> str:
    """Say what keeps the tree of an ASDF file from being read.

    Parameters
    ----------
    path
        A regular file.

    Returns
    -------
    str
        Empty if nothing does.
    """
    return tree_problem(_head(path))


def read_asdf_head(path: Path) -> dict[str, Any]:
    """Return the tree of an ASDF file as texts, lists and groups; no array is read, no tag known.

    Parameters
    ----------
    path
        A regular file.

    Returns
    -------
    dict
        The tree: every scalar is a text.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it is no ASDF file, or its tree must not be read: see `asdf_tree_problem`.
    """
    head = _head(path)
    if problem := tree_problem(head):
        raise ValueError(problem)
    try:
        tree = yaml.load(head.partition(b"\n...")[0], Loader=yaml.BaseLoader)
    except yaml.YAMLError as err:
        raise ValueError(" ".join(str(err).split())[:200]) from err
    if not isinstance(tree, dict):
        raise ValueError("its tree has no keys")
    return tree


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(LARGEST_TREE)


def tree_problem(content: bytes, groups: Collection[str] = ()) -> str:
    """Say what keeps the tree at the beginning of an ASDF file or extension from being read.

    Parameters
    ----------
    content
        The file; no more than `LARGEST_TREE` bytes of it are looked at.
    groups
        Paths of what must hold names and values where it is there: ``meta.cal_step``; with ``*``
        for every name.

    Returns
    -------
    str
        Empty if nothing does.
    """
    text, end, _ = content[:LARGEST_TREE].partition(b"\n...")
    if not content.startswith(b"#ASDF") or not end:
        return "it does not begin as an ASDF file, or its tree has no end"
    return yaml_problem(text, groups)


def check_parameter_file(path: str | os.PathLike) -> None:
    """Refuse a file of parameters (ASDF, or lines ``name = value``) that must not be read.

    Parameters
    ----------
    path
        The file; one that does not exist passes.

    Raises
    ------
    CeersError
        When it is no regular file, is too large, or has anchors that stand for gigabytes.
    """
    name = f"Parameter file {path}"
    check_regular(path, name, LARGEST_TREE)
    path = Path(path)
    if os.path.isfile(path):
        with path.open("rb") as stream:
            is_asdf = stream.read(5) == b"#ASDF"
        if is_asdf and (problem := asdf_tree_problem(path)):
            raise CeersError(f"{name} cannot be read ({problem}). Copy it again: ceers params")


def yaml_problem(text: str | bytes, groups: Collection[str] = ()) -> str:
    """Say what keeps a YAML tree from being read; what it stands for is counted, not made.

    Parameters
    ----------
    text
        The tree.
    groups
        See `tree_problem`.

    Returns
    -------
    str
        Empty if nothing does.
    """
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        size = _expanded(root, {})
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        return " ".join(str(err).split())[:200] or "its tree is nested too deeply"
    if size > LARGEST_EXPANSION:
        return f"its anchors stand for {size:.2g} values"
    return next(filter(None, (_no_group(root, path.split("."), "") for path in groups)), "")


def _no_group(node: yaml.Node | None, path: list[str], above: str) -> str:
    """Say which part of a path is there and holds no names with values; or ''."""
    if node is None or (above and _is_nothing(node)):
        return ""
    if not isinstance(node, yaml.MappingNode):
        return f"{above or 'it'} is no group of names and values"
    for key, value in node.value if path else ():
        name = str(key.value)
        if path[0] not in ("*", name):
            continue
        if problem := _no_group(value, path[1:], f"{above}.{name}".strip(".")):
            return problem
    return ""


def _is_nothing(node: yaml.Node) -> bool:
    """Say whether a node is null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _expanded(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Return the number of values of a node after all references are followed."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1.0
    if id(node) not in known:
        known[id(node)] = math.inf  # for a node that holds itself
        parts = (
            node.value
            if isinstance(node, yaml.SequenceNode)
            else [each for pair in node.value for each in pair]
        )
        known[id(node)] = 1.0 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]
