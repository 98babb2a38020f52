"""Checks of a survey file: known keys, right types, with the line of what is wrong."""

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ceers_steps.errors import CeersError
from ceers_steps.files.parameters.check import takes, value_problem
from ceers_steps.names import text_problem
from ceers_steps.survey.config.keys import INTERMEDIATES, SCHEMA, Key, key_of

__all__ = ["PIPELINES", "check_option", "check_steps", "check_tables", "line_of"]

PIPELINES = {
    "detector1": "CeersDetector1",
    "image2": "CeersImage2",
    "image3": "CeersImage3",
    "ceers_image_background": "ImageBackgroundStep",
}
"""Tables whose keys are parameters of a pipeline or step, with its class."""


_KINDS: dict[str, tuple[Any, str]] = {
    "text": (str, "a text in quotes"),
    "texts": (list, "a list of texts, ['...', '...'], none of them empty"),
    "path": (str, "a text in quotes"),
    "paths": (list, "a list of texts, ['...', '...'], none of them empty"),
    "whole": (int, "a whole number"),
    "number": ((int, float), "a number"),
    "flag": (bool, "true or false, without quotes"),
}

_OURS = {
    ("image3", "update_wcs", "wcs_dir"): "wcs_dir in table [files]",
    ("image3", "tweakreg", "abs_refcat"): "reference_catalog in table [files]",
    ("image3", "tweakreg", "alignment_table"): "alignment_table in table [files]",
    ("image3", "resample", "tile_size"): "tile_size in table [grid]",
    ("image3", "resample", "pixel_scale"): "pixel_scale in table [grid]",
    ("image3", "mosaic_background", "extra_images"): "hst_images in table [files]",
    ("image3", "mosaic_background", "mask_regions"): "mask_regions in table [files]",
    ("image3", "mosaic_background", "exclude_regions"): "exclude_regions in table [files]",
    ("detector1", "", "overrides"): "overrides in table [files]",
    ("detector1", "trapped_charge", "earlier_exposures"): "the times in the headers (EXPSTART)",
    ("detector1", "wispsub", "template_dir"): "wisp_templates in table [files]",
    ("image3", "update_wcs", "skip"): "wcs_dir in table [files]",
    ("image3", "skyvar", "skip"): "sky_method = 'none' and scale_variance = false",
}
"""Parameters for which the survey has a key of its own, or another way."""

_HOOKS = {"pre_hooks", "post_hooks"}
"""Refused: they would run any program that a file of values names, before the first task."""

_RESERVED = {"output_dir", "output_file", "output_ext", "suffix", "input_dir", "in_memory"}
_RESERVED |= {"output_use_model", "output_use_index", "search_output_file"}
_RESERVED_IN = {
    "": {"skip"},
    "resample": {"output_wcs", "crpix", "crval", "rotation", "output_shape", "pixel_scale_ratio"}
    | {"keep_tiles", "only_tile", "tile_dir", "skip", "single"},
    "skyvar": {"source_mask"},
    "tweakreg": {"on_failure"},
}
_RESERVED_OF = {"ceers_image_background": {"mosaic", "aligned_dir"}}
_NOT_RUN = {("image3", "source_catalog")}


def check_tables(tables: Mapping, text: str, path: Path | str | None) -> dict:
    """Check all tables but those of the pipelines; return their values by key.

    Parameters
    ----------
    tables
        The parsed file.
    text
        The file, for line numbers.
    path
        The file, for messages.

    Returns
    -------
    dict
        Only what the file gives.

    Raises
    ------
    CeersError
        Unknown table or key, wrong type, value out of range.
    """
    values: dict[str, Any] = {}
    known = [*SCHEMA[""], *(name for name in SCHEMA if name), *PIPELINES]
    for name, content in tables.items():
        if name in PIPELINES or (name in SCHEMA and name):
            if not isinstance(content, dict):
                _refuse(path, text, [], name, f"{name} is a table, written [{name}]")
        elif name not in SCHEMA[""]:
            _refuse(path, text, [], name, _unknown(name, known))
    values |= _check_keys(SCHEMA[""], tables, "", text, path, skip=set(known) - set(SCHEMA[""]))
    for table, keys in SCHEMA.items():
        if table and table in tables:
            values |= _check_keys(keys, tables[table], table, text, path)
    return values


def _check_keys(
    keys: Mapping[str, Key],
    content: Mapping,
    table: str,
    text: str,
    path: Path | str | None,
    skip: Collection[str] = frozenset(),
) -> dict[str, Any]:
    """Check the keys of one table; return its values."""
    values = {}
    section = [table] if table else []
    for name, value in content.items():
        if name in skip:
            continue
        if name not in keys:
            _refuse(path, text, section, name, _unknown(name, keys))
        if problem := _problem(keys[name], name, value):
            _refuse(path, text, section, name, problem)
        values[name] = value
    return values


def check_option(name: str, value: object) -> None:
    """Check an option of the command line as the key of that name in a file.

    Parameters
    ----------
    name
        Attribute of the configuration.
    value
        What was given.

    Raises
    ------
    CeersError
        Wrong type, value out of range.
    """
    if problem := _problem(key_of(name), name, value):
        option = "" if name == "inputs" else f"--{name.replace('_', '-')}: "
        raise CeersError(f"{option}{problem}.")


def _problem(key: Key, name: str, value: Any) -> str | None:
    """Say what is wrong with the value of a key, and what to do; None if nothing is."""
    python, wanted = _KINDS[key.kind]
    right = isinstance(value, python) and isinstance(value, bool) == (key.kind == "flag")
    if key.kind in {"texts", "paths"}:
        right = right and all(isinstance(item, str) and item for item in value)
    if not right or (key.kind == "number" and not math.isfinite(value)):
        return f"{name} = {value!r}: give {wanted}"
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and (wrong := text_problem(item)):
            return f"{name} = {item[:40]!r}: {wrong}"
        if key.choices and item not in key.choices:
            choices = ", ".join(map(repr, key.choices))
            return f"{name} = {item!r}: use one of {choices}"
    if key.minimum is not None and value < key.minimum and not (key.off and value == 0):
        off = ", or 0" if key.off else ""
        return f"{name} = {value!r}: use {key.minimum} or more{off}"
    if key.maximum is not None and value > key.maximum:
        return f"{name} = {value!r}: use {key.maximum} or less"
    return None


def check_steps(steps: Mapping, text: str, path: Path | str | None) -> list[tuple[str, str, str]]:
    """Check the parameters of the pipelines against what their steps take.

    Parameters
    ----------
    steps
        ``{pipeline: {step: {parameter: value}}}``.
    text, path
        For messages.

    Returns
    -------
    list of (str, str, str)
        Pipeline, step and name of the parameters whose values are files.

    Raises
    ------
    CeersError
        Unknown step or parameter, a value that the step refuses, a parameter that the survey
        sets itself.
    """
    import ceers_steps

    files = []
    for pipeline, tables in steps.items():
        cls = getattr(ceers_steps, PIPELINES[pipeline])
        spec = cls.load_spec_file()
        known = spec.get("steps", {})
        reserved = _RESERVED | _RESERVED_OF.get(pipeline, set())
        for step, parameters in tables.items():
            if step and step not in known:
                _refuse(path, text, [pipeline], step, _unknown(step, known or spec))
            if (pipeline, step) in _NOT_RUN:
                _refuse(path, text, [pipeline], step, f"a survey does not run {step}: take it out")
            keys = known[step] if step else spec
            section = [pipeline, *([step] if step else [])]
            for name, value in parameters.items():
                if own := _OURS.get((pipeline, step, name)):
                    _refuse(path, text, section, name, f"{name}: use {own}")
                if name in _HOOKS:
                    remedy = "hooks run programs of their own; give them with strun or in Python"
                    _refuse(path, text, section, name, f"{name}: a survey takes no hooks. {remedy}")
                if name == "config_file":  # which may have hooks
                    remedy = "write the parameters of the file here"
                    _refuse(path, text, section, name, f"{name}: a survey takes none. {remedy}")
                if name in reserved | _RESERVED_IN.get(step, set()):
                    _refuse(path, text, section, name, f"{name} is set by the survey: take it out")
                if name.startswith("save_") and name != "save_plots":
                    kept = ", ".join(INTERMEDIATES)
                    remedy = f"use keep in table [products] ({kept}), or run the step with strun"
                    _refuse(path, text, section, name, f"{name}: {remedy}")
                if name in known and not step:
                    _refuse(path, text, section, name, f"{name} is a step: [{pipeline}.{name}]")
                if name not in keys or name == "steps":
                    _refuse(path, text, section, name, _unknown(name, keys))
                _check_parameter(keys[name], name, value, (path, text, section))
                if keys[name].startswith("input_file") or name.startswith("override_"):
                    files.append((pipeline, step, name))
    return files


def _check_parameter(spec: str, name: str, value: Any, place: tuple) -> None:
    """Check one value against the specification of its parameter; files are looked for later."""
    path, text, section = place
    if isinstance(value, str) and (wrong := text_problem(value)):
        _refuse(path, text, section, name, f"{name} = {value[:40]!r}: {wrong}")
    if problem := value_problem(name, spec, value, "", look=False):
        _refuse(path, text, section, name, f"{name} = {value!r}: {problem}; it takes {takes(spec)}")


def line_of(text: str, section: Sequence[str], name: str) -> int | None:
    """Return the line (from 1) of a key, or of a table, in a TOML text; None if it is not there.

    Parameters
    ----------
    text
        The file.
    section
        Names of the table, outermost first.
    name
        The key; also found as a table ``[section.name]``, as a dotted key and in an inline
        table, by the line where that begins.
    """
    wanted = [*section, name]
    table: list[str] = []
    inline = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]#]+?)\s*\]", line):
            table = [part.strip().strip("\"'") for part in header[1].split(".")]
            if table[: len(wanted)] == wanted:
                return number
        elif key := re.match(r"\s*([\w\"'.\- ]+?)\s*=", line):
            parts = [part.strip().strip("\"'") for part in key[1].split(".")]
            found = [*table, *parts]
            if found[: len(wanted)] == wanted:
                return number
            if wanted[: len(found)] == found and name in line:
                inline = inline or number
    return inline


def _unknown(name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, with where it belongs or the one that was perhaps meant."""
    for table, keys in SCHEMA.items():
        if name in keys:
            place = f"in table [{table}]" if table else "above the first [table]"
            return f"unknown key {name!r}; it stands {place}"
    names = [key for key in known if key]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(names))}"
    return f"unknown key {name!r}; {hint}"


def _refuse(
    path: Path | str | None, text: str, section: Sequence[str], name: str, problem: str
) -> NoReturn:
    """Raise `CeersError` with the line."""
    line = line_of(text, section, name)
    table = f" [{'.'.join(section)}]" if section else ""
    raise CeersError(f"{path}{f', line {line}' if line else ''}:{table} {problem}.")
