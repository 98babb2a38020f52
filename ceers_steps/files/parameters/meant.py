"""Parameters that stpipe takes otherwise than they are meant."""

import logging
import os
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar

from ceers_steps.files.parameters.check import TakesParameters, value_problem

__all__ = ["as_meant"]

log = logging.getLogger(__name__)

_Given = TypeVar("_Given", bound=MutableMapping[str, Any])


def as_meant(taker: type[TakesParameters], given: _Given) -> _Given:
    """Take parameters as they are meant where stpipe takes them otherwise.

    The folder of ``output_file`` becomes the ``output_dir``: stpipe makes that folder, and writes
    elsewhere. None stands for the default where it is no value: steps would compute with it.

    Parameters
    ----------
    taker
        Step or pipeline.
    given
        Parameters, which are changed in place; those of steps, below ``steps``, are replaced.

    Returns
    -------
    same kind of mapping
        The given one. An ``output_dir`` in it stays, with a warning.
    """
    spec, steps = taker.load_spec_file(), given.get("steps")
    for name in [name for name, value in given.items() if _is_no_value(value, spec.get(name))]:
        del given[name]
    if isinstance(steps, Mapping):
        of_steps = spec.get("steps", {})
        given["steps"] = {
            step: {
                name: value
                for name, value in own.items()
                if not _is_no_value(value, of_steps.get(step, {}).get(name))
            }
            if isinstance(own, Mapping)
            else own
            for step, own in steps.items()
        }
    folder, name = os.path.split(str(given.get("output_file") or ""))
    if folder and name:
        given["output_file"] = name
        if not given.get("output_dir"):
            given["output_dir"] = folder
        elif os.path.abspath(given["output_dir"]) != os.path.abspath(folder):
            log.warning("Products go to output_dir, not to the folder of output_file, %s", folder)
    return given


def _is_no_value(value: Any, spec: Any) -> bool:
    """Say whether a value is None where that is none."""
    return value is None and isinstance(spec, str) and bool(value_problem("", spec, None, ""))
