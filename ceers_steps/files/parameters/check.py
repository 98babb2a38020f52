"""Parameters that a user gives in a file or on a command line, before a step is made of them.

stpipe answers a wrong one with a traceback, or with the help of all parameters. Here the answer is
one message: the file, the parameter, the value found, what it takes, the name that was perhaps
meant.
"""

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import why_no_file
from ceers_steps.files.parameters.ranges import number_problem, path_problem
from ceers_steps.files.parameters.texts import text_parameter_problem
from ceers_steps.files.parameters.tree import (
    ParameterTree,
    check_opens,
    from_nested,
    read_parameters,
)
from ceers_steps.names import header_problem, name_problem, text_problem

__all__ = [
    "check_given",
    "check_parameter_files",
    "check_parameters",
    "nearest",
    "takes",
    "value_problem",
]

_OF_A_STEP = ("config_file", "name", "class")
"""What stpipe takes for every step of a pipeline beside its parameters."""

_SWITCHES = ("skip", "use_custom_catalogs")
"""Parameters that decide whether files that are named are read."""

_LARGEST = 2**31 - 1
"""Of whole numbers, as FITS keeps them."""

EXTENSIONS = ("fits", "asdf")
"""Of the files that jwst writes."""


def check_parameters(
    tree: ParameterTree, spec: Mapping[str, Any], source: str, folder: str | os.PathLike = ""
) -> None:
    """Check names and values against what a step takes.

    Parameters
    ----------
    tree
        What is given.
    spec
        Specification of the step or pipeline, as its ``load_spec_file`` returns it.
    source
        Where the values stand, for the message: ``Parameter file x.asdf``.
    folder
        To which the files that it names are relative.

    Raises
    ------
    CeersError
        For unknown steps and names, and values of another kind or beyond the limits; all of them
        in one message.
    """
    problems = list(_problems(tree, spec, folder))
    if not problems:
        return
    shown = "; ".join(problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    made_for = f" It is made for {tree.class_name}." if tree.class_name else ""
    raise CeersError(f"{source}: {shown}{more}.{made_for}")


class TakesParameters(Protocol):
    """A step or pipeline of stpipe."""

    @classmethod
    def load_spec_file(cls) -> Mapping[str, Any]:
        """Return what its parameters take.

        Returns
        -------
        mapping
            Specifications by name; of the steps of a pipeline below ``steps``.
        """


def check_parameter_files(taker: type[TakesParameters], given: Mapping[str, Any]) -> None:
    """Check the parameter files that a call names, for the whole and for steps of it.

    Parameters
    ----------
    taker
        Step or pipeline.
    given
        Keywords of the call: ``config_file``, and ``steps`` that have one each.

    Raises
    ------
    CeersError
        As by `read_parameters` and `check_parameters`.
    """
    path = given.get("config_file")
    if path:
        _check_class(path, taker)
        _check_file(path, taker.load_spec_file())
    _check_files_of_steps(taker, given.get("steps"), Path(path or "").parent)


def check_given(
    taker: type[TakesParameters], config: Mapping[str, Any], config_file: str | None
) -> None:
    """Check what ``strun`` has gathered from a parameter file and the command line.

    Parameters
    ----------
    taker
        Step or pipeline.
    config
        As nested dictionaries. Values of None, which stpipe and CRDS give, are left alone.
    config_file
        The file, if there is one. Nothing is checked where it is for another class: stpipe hands
        the file of a pipeline on to all its steps.

    Raises
    ------
    CeersError
        As by `read_parameters` and `check_parameters`.
    """
    known = ParameterTree()
    if config_file:
        known = read_parameters(config_file)
        if not _is_for(known, taker):
            return
        _check_file(config_file, taker.load_spec_file())
    _check_files_of_steps(taker, config.get("steps"), Path(config_file or "").parent)
    given = _new(from_nested(config, "Parameters"), known)
    check_parameters(given, taker.load_spec_file(), "Parameters")


def _check_files_of_steps(taker: type[TakesParameters], steps: Any, folder: Path) -> None:
    """Check the parameter files of single steps, which stand relative to a folder."""
    for name, step in steps.items() if isinstance(steps, Mapping) else ():
        inner = step.get("config_file") if isinstance(step, Mapping) else None
        known = taker.load_spec_file().get("steps", {}) if inner else {}
        if inner and name in known:
            _check_file(folder / inner, known[name])


def _is_for(tree: ParameterTree, taker: type[TakesParameters]) -> bool:
    """Say whether a file is for a step or pipeline, or one that it extends."""
    names = {base.__name__ for base in taker.__mro__}
    names |= {alias for base in taker.__mro__ if (alias := getattr(base, "class_alias", None))}
    return tree.class_name.rpartition(".")[2] in names


def _check_class(path: str | os.PathLike, taker: type[TakesParameters]) -> None:
    """Raise `CeersError` for a file of another step: stpipe would take what has the same name."""
    tree = read_parameters(path)
    if tree.class_name and not _is_for(tree, taker):
        raise CeersError(
            f"Parameter file {path} is for {tree.class_name} ('class' in it), not for "
            f"{taker.__name__}. Give the file of this step, or correct 'class'."
        )


def _check_file(path: str | os.PathLike, spec: Mapping[str, Any]) -> None:
    """Read a parameter file and check it."""
    check_parameters(read_parameters(path), spec, f"Parameter file {path}", Path(path).parent)
    check_opens(path)


def _new(tree: ParameterTree, known: ParameterTree) -> ParameterTree:
    """Return switches, and values that are not the same in a tree that was checked already."""
    own = {
        key: value
        for key, value in tree.parameters.items()
        if value is not None and (key in _SWITCHES or not _same(value, known.parameters.get(key)))
    }
    steps = {
        name: _new(step, known.steps.get(name, ParameterTree()))
        for name, step in tree.steps.items()
    }
    return ParameterTree(tree.class_name, own, steps)


def _same(one: Any, other: Any) -> bool:
    """Say whether two values are the same; data models and arrays are compared by identity."""
    plain = (str, int, float, list, tuple)
    return one is other or (isinstance(one, plain) and type(one) is type(other) and one == other)


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names was perhaps meant.

    Parameters
    ----------
    name
        What was given.
    known
        What there is.

    Returns
    -------
    str
        ``did you mean 'skip'?`` or, when none is near, the names that there are.
    """
    names = sorted(str(each) for each in known)
    lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    return f"known are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def _problems(
    tree: ParameterTree, spec: Mapping[str, Any], folder: str | os.PathLike, where: str = ""
) -> Iterator[str]:
    """Yield what is wrong, names before values."""
    steps = spec.get("steps", {})
    for name, step in tree.steps.items():
        if not steps:
            yield f"{where or 'this step'} has no steps, so none called {name!r}"
        elif name not in steps:
            yield f"unknown step {name!r}; {nearest(name, steps)}"
        else:
            yield from _problems(step, steps[name], folder, f"{where}steps.{name}.")
    own = [key for key in spec if not isinstance(spec[key], Mapping) and key not in _OF_A_STEP]
    # stpipe runs what is called by itself, skipped or not
    skipped = bool(where) and _is_on("skip", tree, spec)
    for key, value in tree.parameters.items():
        name = str(key)
        unread = name == "catfile" and not _is_on("use_custom_catalogs", tree, spec)
        look = not (skipped or unread)
        if key in steps:
            yield f"{where}{name} is a step: put its parameters below steps"
        elif key in _OF_A_STEP and (where or key == "config_file"):
            if value is not None and not isinstance(value, str):
                yield f"{where}{name} = {_short(value)}: it takes the path of a file"
        elif key not in own:
            homes = [step for step in steps if key in steps[step]]
            hint = nearest(name, own) if len(homes) != 1 else f"it belongs to steps.{homes[0]}"
            yield f"unknown parameter {where}{name}; {hint}"
        elif problem := value_problem(name, spec[key], value, folder, look=look):
            yield f"{where}{name} = {_short(value)}: {problem}; it takes {takes(spec[key])}"


def _is_on(switch: str, tree: ParameterTree, spec: Mapping[str, Any]) -> bool:
    """Say whether a step has a switch that is on, as given or else by default."""
    from configobj.validate import ValidateError, Validator

    value = tree.parameters.get(switch)
    try:
        return bool(Validator().check(spec.get(switch, ""), value, missing=value is None))
    except (ValidateError, TypeError):
        return False  # reported as a wrong value


def value_problem(
    name: str, spec: str, value: Any, folder: str | os.PathLike, *, look: bool = True
) -> str:
    """Say what is wrong with the value of a parameter.

    Parameters
    ----------
    name
        Of the parameter.
    spec
        What it takes, as the specification of the step says.
    value
        What is given; ``None`` where that is a value.
    folder
        To which files are relative.
    look
        Whether files that are to be read must be there.

    Returns
    -------
    str
        Empty if nothing is.
    """
    return (
        _name_problem(name, value)
        or _value_problem(name, spec, value, folder, look=look)
        or (text_parameter_problem(name, value) if spec.startswith("string") else "")
        or (path_problem(name, value) if look else "")
    )


def _name_problem(key: str, value: Any) -> str:
    """Return what is wrong with a part of the name of a product; empty if nothing."""
    if key == "output_ext" and value is not None and str(value).strip(".") not in EXTENSIONS:
        return f"products are {' or '.join(EXTENSIONS)} files"
    if key == "output_file" and isinstance(value, str):
        problem = header_problem(os.path.basename(value))
        return f"it {problem}" if problem else text_problem(value)
    return name_problem(value) if key == "suffix" and value is not None else ""


def _value_problem(
    name: str, spec: str, value: Any, folder: str | os.PathLike, *, look: bool
) -> str:
    """Return what is wrong with a value; empty if nothing."""
    from configobj.validate import ValidateError, Validator

    number = spec.startswith(("integer", "float"))
    default = re.search(r"default\s*=\s*([^,)]*)", spec)
    if value is None:
        has_value = default is not None and default[1].strip("'\" ") not in ("None", "")
        return "no value is not allowed" if has_value else ""
    if isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(each, (Mapping, list)) for each in value)
    ):
        return "a group of values"
    if number and isinstance(value, bool):
        return "true and false are no numbers"
    # hooks may be functions, which only their own room knows
    if spec.startswith("force_list") or (
        spec.startswith("list") and isinstance(value, (list, tuple))
    ):
        items = value if isinstance(value, (list, tuple)) else [value]
        wrong = [each for each in items if isinstance(each, (bool, int, float, type(None)))]
        return f"{wrong[0]!r} is no text" if wrong else ""
    if spec.startswith(("input_file", "output_file")):
        return _file_problem(value, folder, must_exist=look and spec.startswith("input_file"))
    if spec.startswith("is_string_or_datamodel") and isinstance(value, str):
        return _file_problem(value, folder, must_exist=look and value not in ("", "N/A", "None"))
    if spec.startswith(("is_string_or_datamodel", "is_datamodel")):
        return "" if not isinstance(value, (bool, int, float, list)) else "no path"
    try:
        made = Validator().check(spec, value)
    except ValidateError as err:
        return re.sub(r"^the value .* is", "the value is", str(err).rstrip("."), flags=re.DOTALL)
    except (TypeError, ValueError, OverflowError):
        return "a value of another kind"
    values = made if isinstance(made, list) else [made]
    if any(isinstance(each, float) and math.isnan(each) for each in values):
        return "not a number"
    if any(type(each) is int and abs(each) > _LARGEST for each in values):
        return f"more than {_LARGEST}"  # which products could not hold
    return number_problem(name, values)


def _file_problem(value: Any, folder: str | os.PathLike, *, must_exist: bool) -> str:
    """Return what is wrong with a path; empty if nothing."""
    if not isinstance(value, (str, os.PathLike)):
        return "no path"
    text = os.fspath(value)
    if "\0" in text or "\n" in text:
        return "no path"
    if not must_exist:
        return ""
    path = Path(folder, text)
    if not os.path.exists(path):
        return f"no such file ({path.absolute()})"
    return "" if path.is_dir() else why_no_file(path)


def takes(spec: str) -> str:
    """Return what a parameter takes, in the words of its specification.

    Parameters
    ----------
    spec
        Of the parameter.

    Returns
    -------
    str
        For messages.
    """
    words = re.sub(r",?\s*default\s*=.*\)\s*$", ")", spec.partition("#")[0].strip())
    return words.replace("()", "").replace("input_file", "the path of a file")


def _short(value: Any) -> str:
    """Return a value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
