"""``ceers params``: the parameter files that come with the package."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = subparsers.add_parser(
        "params",
        help="list or copy the parameter files that come with the package",
        description="Without a name: list the parameter files. With names: copy them.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="file to copy, as listed")
    parser.add_argument("--all", action="store_true", help="copy all files")
    parser.add_argument(
        "-o", "--output", default=".", metavar="DIR", help="folder to copy to (default: here)"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument(
        "--check",
        nargs="+",
        metavar="FILE",
        help="say whether strun can use these parameter files, and what is wrong with them",
    )
    parser.set_defaults(run=run_params)


def run_params(args: argparse.Namespace) -> int:
    """List, copy or check parameter files; return the exit code."""
    if args.check:
        return run_check(args.check)
    from ceers_steps.files.parameter_files import copy_parameter_file, list_parameter_files

    files = list_parameter_files()
    names = [file.name for file in files] if args.all else args.names
    if names:
        for name in names:
            print(copy_parameter_file(name, args.output, force=args.force))
        return 0

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what", box=None, pad_edge=False)
    for file in files:
        table.add_row(file.name, file.description)
    Console().print(table)
    return 0


def run_check(names: Sequence[str]) -> int:
    """Check parameter files, and print what is wrong with each.

    Parameters
    ----------
    names
        Files.

    Returns
    -------
    int
        Exit code: 0 when all can be used.
    """
    broken = 0
    for name in names:
        try:
            print(f"{name} can be used, by {_check(name)}")
        except CeersError as err:
            print(f"ceers params: {err}", file=sys.stderr)
            broken = 1
    return broken


def _check(name: str) -> str:
    """Return the class that a parameter file is for, or raise `CeersError`."""
    from stpipe import Step
    from stpipe.utilities import import_class, resolve_step_class_alias

    from ceers_steps.files.parameters.check import check_parameters
    from ceers_steps.files.parameters.tree import check_opens, read_parameters

    tree = read_parameters(name)
    wanted = tree.class_name
    try:
        # unlike stpipe, never from the folder of the file
        cls = import_class(resolve_step_class_alias(wanted), Step)
    except (ImportError, AttributeError, TypeError, ValueError) as err:
        raise CeersError(
            f"Parameter file {name}: class {wanted or '(not given)'} cannot be loaded ({err}). "
            "Write for instance class: ceers_steps.CeersDetector1"
        ) from err
    check_parameters(tree, cls.load_spec_file(), f"Parameter file {name}", Path(name).parent)
    check_opens(name)
    return wanted
