"""What a parameter file says: ASDF, or the older lines ``name = value``; values are not checked."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from configobj import ConfigObj, ConfigObjError

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_parameter_file, why_no_file

__all__ = ["ParameterTree", "check_opens", "from_nested", "read_parameters"]

REMEDY = "Start from a copy of one that works: ceers params --all"


@dataclass(frozen=True)
class ParameterTree:
    """What a parameter file says.

    Attributes
    ----------
    class_name : str
        Of the step or pipeline that it is for; empty when the file does not say.
    parameters : dict
        Values by name.
    steps : dict
        What it says of each step of a pipeline, by name.
    """

    class_name: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, "ParameterTree"] = field(default_factory=dict)


def read_parameters(path: str | os.PathLike) -> ParameterTree:
    """Read a parameter file: ASDF, or the older lines ``name = value``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ParameterTree
        Its values, which are not checked.

    Raises
    ------
    CeersError
        When it cannot be read, or is not built as a parameter file.
    """
    path = Path(path)
    if problem := why_no_file(path):
        raise CeersError(f"Parameter file {path} {problem}. List those there are: ceers params")
    check_parameter_file(path)
    try:
        content = path.read_bytes()
    except OSError as err:
        raise CeersError(f"Parameter file {path} cannot be read: {err.strerror or err}.") from err
    if content.startswith(b"#ASDF"):
        return _from_asdf(content, path)
    if path.suffix == ".asdf" or b"\0" in content:
        found = "is empty" if not content.strip() else f"begins with {content[:20]!r}"
        raise CeersError(f"Parameter file {path} is not an ASDF file: it {found}. {REMEDY}")
    try:
        return _from_ini(ConfigObj(os.fspath(path), raise_errors=True), path)
    except (ConfigObjError, UnicodeDecodeError) as err:
        raise CeersError(
            f"Parameter file {path} is neither ASDF nor lines name = value: {_one_line(err)}. "
            f"{REMEDY}"
        ) from err


def _from_asdf(content: bytes, path: Path) -> ParameterTree:
    """Return the tree of an ASDF file."""
    text = content.partition(b"\n...")[0]
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and (twice := _named_twice(root)):
            raise CeersError(
                f"Parameter file {path}: {twice} stands twice in a group. Take one out."
            )
        tree = yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as err:
        raise CeersError(
            f"Parameter file {path} cannot be read: {_one_line(err)}. "
            f"Correct the line, or: {REMEDY}"
        ) from err
    if not isinstance(tree, dict) or not tree:
        raise CeersError(f"Parameter file {path} holds {_kind(tree)}, no parameters. {REMEDY}")
    inner = tree.get("parameters")
    if "class" not in tree and isinstance(inner, dict) and "class" in inner:
        return from_nested(inner, f"Parameter file {path}", "")  # as jwst wrote them before 2021
    if not isinstance(tree.get("class"), str) or not tree["class"].strip():
        known = ", ".join(str(key) for key in list(tree)[:6])
        raise CeersError(
            f"Parameter file {path} does not say which step it is for: 'class' is missing, "
            f"empty or no text (it has {known}). Add for instance class: ceers_steps.CeersDetector1"
        )
    if not isinstance(tree.get("name"), str):
        raise CeersError(
            f"Parameter file {path}: 'name' is missing, or no text. Add for instance "
            f"name: {tree['class'].rpartition('.')[2]}"
        )
    return _from_mapping(tree, path, "")


def check_opens(path: str | os.PathLike) -> None:
    """Let stpipe read a parameter file in which nothing else is wrong.

    Parameters
    ----------
    path
        The file, which `read_parameters` has read.

    Raises
    ------
    CeersError
        For what only stpipe stumbles over: other versions of ASDF, blocks that are cut off.
    """
    from stpipe.config_parser import load_config_file

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_config_file(os.fspath(path))
    except Exception as err:  # of any of asdf, yaml, numpy and struct
        # what asdf refuses stpipe tries to read as lines name = value
        first = err.__context__ if isinstance(err, ConfigObjError) and err.__context__ else err
        reason = f"{type(first).__name__}: {_one_line(first):.150}"
        raise CeersError(f"Parameter file {path} cannot be read ({reason}). {REMEDY}") from err


def _from_mapping(values: Any, path: Path, where: str) -> ParameterTree:
    """Return the tree of a step: ``class``, ``name``, ``parameters`` and ``steps``."""
    place = f"Parameter file {path}: {where or 'the file'}"
    if not isinstance(values, dict):
        raise CeersError(f"{place} is {_kind(values)}, not a step with name and parameters.")
    parameters = values.get("parameters")
    if not isinstance(parameters, dict):
        problem = "has no 'parameters'" if parameters is None else "'parameters' is"
        found = "" if parameters is None else f" {_kind(parameters)}"
        # what stpipe needs is there in every file that it writes
        raise CeersError(f"{place} {problem}{found}. Write parameters: {{}} where there are none.")
    if not isinstance(values.get("class"), str):
        raise CeersError(f"{place} has no 'class', or one that is no text: which step is it?")
    given = values.get("steps") or []
    if not isinstance(given, list):
        raise CeersError(
            f"{place}: 'steps' is {_kind(given)}. Write a list: '- name: jump' with its parameters."
        )
    steps: dict[str, ParameterTree] = {}
    for number, step in enumerate(given, start=1):
        name = step.get("name") if isinstance(step, dict) else None
        if not isinstance(name, str) or not name:
            raise CeersError(
                f"{place}: step number {number} has no 'name'. Each needs '- name: <step>' and "
                "'parameters:'."
            )
        if name in steps:
            raise CeersError(f"{place}: step {name!r} stands twice. Take one out.")
        steps[name] = _from_mapping(step, path, f"{where}steps.{name}")
    return ParameterTree(str(values.get("class") or ""), parameters, steps)


def from_nested(values: Mapping[str, Any], source: str, where: str = "") -> ParameterTree:
    """Return the tree of nested groups, in which ``steps`` stand among the parameters.

    Parameters
    ----------
    values
        Such as a configuration of stpipe.
    source
        Where they stand, for the message.
    where
        Of which step they are: ``steps.jump.``.

    Returns
    -------
    ParameterTree
        The same.

    Raises
    ------
    CeersError
        When ``steps`` are no groups.
    """
    steps = values.get("steps") or {}
    if not isinstance(steps, Mapping) or not all(isinstance(s, Mapping) for s in steps.values()):
        raise CeersError(
            f"{source}: {where}steps is {_kind(steps)}. Give every step its group of parameters."
        )
    own = {key: value for key, value in values.items() if key not in ("class", "name", "steps")}
    below = {key: from_nested(step, source, f"{where}steps.{key}.") for key, step in steps.items()}
    return ParameterTree(str(values.get("class") or ""), own, below)


def _from_ini(config: ConfigObj, path: Path) -> ParameterTree:
    """Return the tree of a file of lines ``name = value``."""
    if not config:
        raise CeersError(f"Parameter file {path} is empty. {REMEDY}")
    return from_nested(config.dict(), f"Parameter file {path}", "")


class _Plain(yaml.SafeLoader):
    """Reads the tree of an ASDF file; what a tag means does not matter here."""


def _plain(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Plain.add_multi_constructor("", _plain)


def _named_twice(node: yaml.Node, seen: set[int] | None = None) -> str:
    """Return a name that stands twice in a group, of which YAML takes the last; or ''."""
    seen = set() if seen is None else seen
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return ""
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for name in names if names.count(name) > 1]:
            return repr(twice[0])
        return next(filter(None, (_named_twice(value, seen) for _, value in node.value)), "")
    return next(filter(None, (_named_twice(value, seen) for value in node.value)), "")


def _one_line(err: BaseException) -> str:
    """Return the message of an error without line breaks."""
    return (" ".join(str(err).split()) or type(err).__name__)[:200]


def _kind(value: Any) -> str:
    """Return what a value is, in one word or two."""
    kinds = {dict: "a group", list: "a list", str: "a text", bool: "true or false"}
    return "nothing" if value is None else kinds.get(type(value), "a number")
