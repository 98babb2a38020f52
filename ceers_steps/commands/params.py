"""``ceers params``: the parameter files that come with the package."""

import argparse
from typing import Any

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
    parser.set_defaults(run=run_params)


def run_params(args: argparse.Namespace) -> None:
    """List or copy parameter files."""
    from ceers_steps.files.parameter_files import copy_parameter_file, list_parameter_files

    files = list_parameter_files()
    names = [file.name for file in files] if args.all else args.names
    if names:
        for name in names:
            print(copy_parameter_file(name, args.output, force=args.force))
        return

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what", box=None, pad_edge=False)
    for file in files:
        table.add_row(file.name, file.description)
    Console().print(table)
