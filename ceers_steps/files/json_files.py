"""Small JSON files that the package writes for itself: what is not as it was written is absent.

They are notes, made again where they are missing, so a damaged one stops nobody.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["has_types", "plain_values", "read_note"]

MOST_DIGITS = 20
"""Of a whole number: bytes and nanoseconds have 19 at most. A float holds no more than 308."""


def read_note(path: str | os.PathLike, **types: Any) -> dict[str, Any]:
    """Read a note, a JSON file that holds an object.

    Parameters
    ----------
    path
        File.
    **types
        Type (or several, with ``|``) of each entry that has to be there.

    Returns
    -------
    dict
        Empty where there is no such file, or none of data, or where it is no JSON, no object,
        lacks an entry, or has one of another type.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for ever
            return {}
        text = Path(path).read_text(encoding="utf-8")
        tree = json.loads(text, parse_int=_whole_number)
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) and has_types(tree, **types) else {}


def _whole_number(text: str) -> int:
    """Return a whole number; `ValueError` for one that is none that the package writes."""
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def has_types(tree: dict, **types: Any) -> bool:
    """Say whether entries are there and have their types; true and false are no numbers.

    Parameters
    ----------
    tree
        What was read.
    **types
        As in `read_note`.

    Returns
    -------
    bool
        Whether all are.
    """
    return all(
        isinstance(tree.get(name), kind) and (kind is bool or not isinstance(tree[name], bool))
        for name, kind in types.items()
    )


def plain_values(value: Any) -> Any:
    """Return a value as the types that every reader of JSON, ASDF and FITS knows.

    Parameters
    ----------
    value
        Number, text, path, array, or groups and lists of them.

    Returns
    -------
    dict, list, str, int, float, bool or None
        The same.
    """
    if isinstance(value, dict):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    if hasattr(value, "tolist"):
        return plain_values(value.tolist())
    return str(value) if isinstance(value, os.PathLike) else value
