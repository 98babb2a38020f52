"""``ceers verify``: are the products of a survey what was written."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]

SHOWN = 20
"""Files that are named; the rest is counted."""

INTERVAL = 30.0
"""Seconds between two lines of progress where there is no terminal."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check that every product of a survey is what was written",
        description="Read all products of ceers reduce and compare them with the checksums in "
        "their records: missing, cut off and changed files are named, with the command that makes "
        "them again. Exit code 1 if there are any.",
    )
    parser.add_argument("output", metavar="OUT", help="output folder of ceers reduce")
    parser.add_argument(
        "--inputs",
        action="store_true",
        help="also the raw exposures, templates, tables and reference files that were read",
    )
    parser.add_argument("--all", action="store_true", help=f"name more than {SHOWN} files")
    parser.add_argument("--cores", type=int, metavar="N", help="files at a time (default: cores)")
    parser.set_defaults(run=run_verify)


def run_verify(args: argparse.Namespace) -> int:
    """Verify a survey.

    Parameters
    ----------
    args
        Of the parser.

    Returns
    -------
    int
        Exit code: 1 when something is damaged.
    """
    from ceers_steps.survey.planning.integrity import made_by, verify_products
    from ceers_steps.survey.planning.plan import STATE
    from ceers_steps.survey.running.locks import hold_folder
    from ceers_steps.survey.running.machine import available_cores

    output = Path(args.output).absolute()
    # an archive may be read-only: it is looked at all the same
    writable = os.access(output / STATE, os.W_OK)
    start = time.monotonic()
    with hold_folder(output) if writable else contextlib.nullcontext(), _progress() as progress:
        found = verify_products(
            output,
            cores=args.cores or available_cores(),
            inputs=args.inputs,
            write=writable,
            progress=progress,
        )
    took = max(time.monotonic() - start, 1e-3)
    rate = found.size / 1e9 / took
    print(f"{found.files} files, {found.size / 1e9:.2f} GB, in {took:.1f} s ({rate:.2f} GB/s).")
    if found.adopted:
        print(f"{found.adopted} files without a checksum have one now.")
    for title, damages in (("", found.products), ("input ", found.inputs)):
        shown = damages if args.all else damages[:SHOWN]
        for damage in shown:
            print(f"{title}{damage.name} {damage.problem} ({damage.task})", file=sys.stderr)
        if rest := len(damages) - len(shown):
            print(f"... and {rest} more; all of them with --all", file=sys.stderr)
    if found.products:
        command = made_by(output) or "ceers reduce, as the survey was made"
        them = "it" if len(found.products) == 1 else f"these {len(found.products)}"
        print(f"To make {them} again, and what follows: {command}", file=sys.stderr)
        if not writable:
            print(
                f"{output} cannot be written: delete there what has other contents, since size and "
                "time of these files are as they were.",
                file=sys.stderr,
            )
    if found.inputs:
        print("Fetch the inputs again, then run the same command.", file=sys.stderr)
    if not (found.products or found.inputs):
        print("All are what was written.")
    return 1 if found.products or found.inputs else 0


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], object]]:
    """Give what shows how far it is: a bar on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(
            BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
        ) as bars:
            bar = bars.add_task("", total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
        return
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > INTERVAL:
            last = time.monotonic()
            print(f"{done / 1e9:.1f} of {total / 1e9:.1f} GB", file=sys.stderr)

    yield tell
