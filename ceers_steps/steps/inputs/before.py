"""What is looked at before the outermost step or pipeline begins its work."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import check_target, first_there, protected, user_path
from ceers_steps.files.headers.check import check_input, members_of
from ceers_steps.files.parameters.instrument import check_instrument
from ceers_steps.files.parameters.ranges import order_problem
from ceers_steps.steps.inputs.given_references import check_given_references

__all__ = ["checked"]

_NO_INPUTS = ("output_file", "output_dir", "output_ext", "suffix", "pre_hooks", "post_hooks")
"""Parameters whose texts name no file that is read."""


@contextmanager
def checked(step: Any, args: Sequence[object]) -> Iterator[None]:
    """Check input and parameters of a run; within this, no product replaces a file that is read.

    Parameters
    ----------
    step : `~stpipe.Step`
        Step, or pipeline with its steps; the outermost.
    args
        What it is given.

    Raises
    ------
    CeersError
        For what the run could not use, or would replace.
    """
    name = type(step).__name__
    for argument in args:
        check_input(argument, step.wanted(), name)
        if step.config_file:
            check_instrument(step.config_file, argument, name)
        check_given_references(step, argument)
    _check_order(step)
    _check_output(step)
    inputs = [str(item) for item in _paths(args)]
    with protected([*inputs, *_texts(step.get_pars())]):
        is_pipeline = hasattr(step, "step_defs")  # whose products have suffixes of their own
        if step.output_file and not is_pipeline:
            check_target(Path(step.make_output_path(suffix=step.suffix or step.default_suffix())))
        yield


def _check_order(step: Any) -> None:
    """Raise `CeersError` for numbers of which one must be larger than another and is not."""
    of_pipeline = {f"steps.{name}.": getattr(step, name) for name in getattr(step, "step_defs", {})}
    for where, each in {"": step, **of_pipeline}.items():
        if where and each.skip:
            continue
        if problem := order_problem(each.get_pars()):
            raise CeersError(f"Parameters: {where}{problem}. Change one of them.")


def _check_output(step: Any) -> None:
    """Raise `CeersError` for a folder of products that may not be written."""
    if not (step.save_results or step.output_file):
        return
    folder = user_path(step.output_dir or os.path.dirname(step.output_file or "")).absolute()
    there = first_there(folder)
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise CeersError(
            f"{type(step).__name__}: nothing can be written to {folder}: you have no permission"
            f"{'' if there == folder else f' for {there}'}. Choose another output_dir."
        )


def _paths(args: Sequence[object]) -> Iterator[object]:
    """Yield the files of an input: associations, and the exposures in them."""
    for argument in args:
        yield from [argument] if isinstance(argument, (str, os.PathLike)) else []
        for item, _ in members_of(argument, ""):
            if isinstance(item, (str, os.PathLike)) and item is not argument:
                yield item


def _texts(parameters: object) -> Iterator[str]:
    """Yield all texts among parameters: which are files is for others to see."""
    if isinstance(parameters, Mapping):
        for name, value in parameters.items():
            if name not in _NO_INPUTS:
                yield from _texts(value)
    elif isinstance(parameters, (list, tuple)):
        for value in parameters:
            yield from _texts(value)
    elif isinstance(parameters, str):
        yield parameters
