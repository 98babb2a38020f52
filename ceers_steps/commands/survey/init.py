"""``ceers init``: a commented survey.toml."""

import argparse
import os
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.names import text_problem

__all__ = ["add_parser"]

SURVEY_FILE = "survey.toml"


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    init = subparsers.add_parser(
        "init",
        help="write a commented survey.toml",
        description="Write a survey file with every setting, its default and what it means. "
        "Afterwards: ceers reduce survey.toml",
    )
    init.add_argument(
        "inputs", nargs="*", default=["uncal"], metavar="UNCALS", help="raw files or folders"
    )
    init.add_argument("-o", "--output", default="reduced", metavar="OUT", help="output folder")
    init.add_argument("--preset", choices=("best", "dr05"), default="best", help="start from")
    init.add_argument(
        "--file",
        default=SURVEY_FILE,
        metavar="FILE",
        help=f"file to write (default: {SURVEY_FILE})",
    )
    init.add_argument("--force", action="store_true", help="replace an existing file")
    init.set_defaults(run=run_init)


def run_init(args: argparse.Namespace) -> None:
    """Write a survey file."""
    from ceers_steps.files.atomic import write_atomic
    from ceers_steps.survey.config.template import template

    for name in (args.output, *args.inputs):
        if problem := text_problem(name) if name else "it is empty":
            raise CeersError(f"{name[:60]!r} as a path in a survey file: {problem}. Give another.")
    path = Path(args.file)
    if path.exists() and not args.force:
        raise CeersError(f"{path} exists. Replace it with --force, or choose another --file.")
    # paths in it are relative to its folder
    output, *inputs = (
        name if os.path.isabs(name) else os.path.relpath(name, path.parent)
        for name in (args.output, *args.inputs)
    )
    text = template({"inputs": inputs, "output": output, "preset": args.preset})
    write_atomic(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))
    print(f"{path} is written. Look through it, then: ceers reduce {path}")
