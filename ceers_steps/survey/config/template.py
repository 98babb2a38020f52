"""The template of a survey file, and the page of its keys: made of the table of keys."""

import json
from collections.abc import Mapping
from typing import Any

from ceers_steps.survey.config.keys import SCHEMA

__all__ = ["keys_docs", "template"]

_TITLES = {
    "groups": "exposures that become one mosaic in each filter",
    "grid": "of the mosaics, the same for all filters of a group",
    "files": "tables and folders that steps read",
    "products": "",
    "run": "changes nothing of what comes out",
}

_BEGIN = """\
# A survey for `ceers reduce survey.toml`. What is commented out shows the default.
# Paths are relative to the folder of this file. Options of the command line override it.
"""

_END = """\
# Parameters of every step, named as in the parameter files (ceers params) and in strun --help.
# [detector1]
# [detector1.remstriping]
# method = "wiener"
# [image2]
# [image3.outlier_detection]
# snr = "5.0 4.0"
# [ceers_image_background]
# scaling = "multiply"
"""


def template(given: Mapping[str, Any]) -> str:
    """Return a survey file with every key, its default and what it means.

    Parameters
    ----------
    given
        Values that stand in it; what is not there is commented out and shows the default.

    Returns
    -------
    str
    """
    lines = [_BEGIN]
    for table, keys in SCHEMA.items():
        if table:
            title = _TITLES[table]
            lines += ["", _line(f"[{table}]", title) if title else f"[{table}]"]
        for name, key in keys.items():
            value = given.get(name, key.default)
            sign = "" if name in given else "# "
            lines.append(_line(f"{sign}{name} = {_toml(value)}", key.meaning))
    return "\n".join([*lines, "", _END])


def keys_docs(table: str) -> str:
    """Return the keys of a table for the documentation, in Markdown.

    Parameters
    ----------
    table
        One of `SCHEMA`.

    Returns
    -------
    str
    """
    lines = ["| key | default | option | what it is |", "|---|---|---|---|"]
    for name, key in SCHEMA[table].items():
        default = "" if key.default is None else f"`{_toml(key.default)}`"
        option = f"`{key.option}`" if key.option else ""
        if name == "inputs":
            option = "first arguments"
        meaning = key.meaning.replace("<", "&lt;").replace("*", "\\*") + key.more
        lines.append(f"| `{name}` | {default} | {option} | {meaning} |")
    return "\n".join(lines) + "\n"


def _line(text: str, meaning: str) -> str:
    """Return a line of the template."""
    return f"{text:<31} # {meaning}"


def _toml(value: Any) -> str:
    """Return a value as TOML."""
    value = list(value) if isinstance(value, tuple) else value
    return json.dumps(value, ensure_ascii=False)
