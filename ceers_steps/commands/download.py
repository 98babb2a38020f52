"""``ceers download``: exposures from the archive (MAST)."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser", "run"]

TOKEN_VARIABLE = "MAST_API_TOKEN"
"""Environment variable with the token for data that are not public yet, as for astroquery."""


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = subparsers.add_parser(
        "download",
        help="fetch exposures of a program from the archive (MAST)",
        description="Fetch NIRCam imaging exposures of a program from MAST into one folder. Give "
        "the same command again after any interruption: what is complete is left, what is partial "
        f"is continued. For data that are not public yet set {TOKEN_VARIABLE}.",
    )
    parser.add_argument(
        "program",
        metavar="PROGRAM|LIST",
        help="number of the program (1345), or ceers; or a list of products that the archive has "
        "exported (.csv, .ecsv, .parquet, .vot): its exposures, without a query",
    )
    parser.add_argument(
        "--observation",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="only these observations (default: all)",
    )
    parser.add_argument(
        "--filter", nargs="+", default=[], metavar="NAME", help="only these filters (default: all)"
    )
    parser.add_argument(
        "--pointing",
        nargs="+",
        default=[],
        metavar="N",
        help="only these CEERS pointings (numbers, or all of DR0.5)",
    )
    parser.add_argument(
        "--product",
        choices=("uncal", "rate", "cal"),
        default="uncal",
        help="level of the data (default: uncal)",
    )
    parser.add_argument(
        "--sort",
        action="store_true",
        help="a folder for each pointing (nircam1), or for each observation (o004)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would be fetched, and its size"
    )
    parser.add_argument(
        "--at-a-time", type=int, default=3, metavar="N", help="transfers side by side (default: 3)"
    )
    parser.add_argument(
        "-o", "--output", default=".", metavar="DIR", help="folder to write to (default: here)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns
    -------
    int
        1 if anything could not be fetched.
    """
    from rich.console import Console

    from ceers_steps.files import disk
    from ceers_steps.survey.archive import mast as archive
    from ceers_steps.survey.archive import transfer
    from ceers_steps.survey.archive.listing import is_listing, read_listing
    from ceers_steps.survey.select.pointings import read_pointings

    if args.at_a_time < 1:
        raise CeersError(f"--at-a-time {args.at_a_time}: give 1 or more.")
    console = Console(stderr=True)
    if is_listing(args.program):
        program = None
        products, note = read_listing(
            args.program, args.product, observations=args.observation, filters=args.filter
        )
        if note:
            console.print(note, highlight=False)
    else:
        program = archive.program_number(args.program)
    pointings = read_pointings() if program == archive.CEERS_PROGRAM else None
    chosen = _exposures(args, pointings)
    if program is not None:
        products = archive.find_products(
            program,
            args.product,
            observations=sorted({int(name[7:10]) for name in chosen} or args.observation),
            filters=args.filter,
            tell=lambda text: console.print(text, highlight=False),
        )
    absent = sorted(set(chosen) - {item.exposure for item in products})
    if chosen:
        products = [item for item in products if item.exposure in set(chosen)]
    plan = archive.plan_transfers(products, args.output, pointings=pointings, sort=args.sort)
    if args.dry_run:
        _list(products, plan)
        return _tell_absent(absent)

    with disk.folder_lock(args.output):
        archive.adopt_elsewhere(plan, args.output)
        due = [item for item in plan if not item.complete]
        needed = transfer.still_due(plan)
        free = disk.check_space(
            needed, args.output, "choose another folder, or fetch less at a time"
        )
        listed = sum(item.size or 0 for item in plan)
        print(
            f"{len(plan)} files, {_size(listed)}; {len(plan) - len(due)} are there, "
            f"{len(due)} to fetch ({_size(needed)}; {_size(free)} free in {args.output})"
        )
        token = os.environ.get(TOKEN_VARIABLE)
        closed = sum(not item.public for item in products)
        if closed and not token:
            print(f"{closed} of them are not public yet, and {TOKEN_VARIABLE} is not set")
        try:
            with _progress(console, due) as tell:
                outcomes = transfer.fetch(due, at_a_time=args.at_a_time, token=token, tell=tell)
        except KeyboardInterrupt:
            print("What has come so far is kept; the same command continues.")
            raise
    code = _summary(outcomes, len(plan) - len(due))
    return max(code, _tell_absent(absent))


def _exposures(args: argparse.Namespace, pointings: Any) -> list[str]:
    """Return the exposures of the pointings asked for; empty when none is."""
    if not args.pointing:
        return []
    if pointings is None:
        raise CeersError(
            f"--pointing is for CEERS (program 1345); from {args.program} choose by --observation "
            "and --filter."
        )
    return pointings.choose(args.pointing, observations=args.observation, filters=args.filter)


def _tell_absent(exposures: Sequence[str]) -> int:
    """Say which exposures of the pointings the archive does not have; return the exit code."""
    if not exposures:
        return 0
    shown = ", ".join(exposures[:3]) + (" and others" if len(exposures) > 3 else "")
    print(f"{len(exposures)} exposures of the pointings are not in the archive: {shown}")
    return 1


def _list(products: Sequence, plan: Sequence) -> None:
    """Print what would be fetched."""
    from ceers_steps.survey.archive import transfer

    for product, item in zip(products, plan, strict=True):
        state = "there" if item.complete else "part" if item.fetched else "to fetch"
        closed = "" if product.public else "  not public"
        size = "size unknown" if item.size is None else _size(item.size)
        print(f"{product.filter or '-':6} {size:>12}  {state:8}  {item.path}{closed}")
    total = sum(item.size or 0 for item in plan)
    unknown = sum(item.size is None for item in plan)
    more = f" and {unknown} of unknown size" if unknown else ""
    due = _size(transfer.still_due(plan))
    print(f"{len(plan)} files, {_size(total)}{more}; still to fetch {due}{more}")


def _summary(outcomes: Sequence, there: int) -> int:
    """Print how it went; return the exit code."""
    fetched = [item for item in outcomes if item.status == "fetched"]
    failed = [item for item in outcomes if item.status == "failed"]
    there += len(outcomes) - len(fetched) - len(failed)
    for item in outcomes:
        if item.message and item.status != "failed":
            print(f"{item.transfer.path.name}: {item.message}")
    print(f"{len(fetched)} fetched, {there} were there, {len(failed)} failed")
    for item in failed:
        print(f"  {item.transfer.path.name}: {item.message}")
    if failed:
        print("The same command tries these again.")
    return 1 if failed else 0


@contextlib.contextmanager
def _progress(console: Any, due: Sequence) -> Iterator[Callable]:
    """Show how far it is: bars on a terminal, elsewhere a line for each file."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    reached = {item.path: item.fetched for item in due}
    bars: dict = {}
    total = sum(item.size or 0 for item in due)
    done = 0

    def tell(kind: str, item: Any, value: Any) -> None:
        nonlocal done
        name = item.path.name
        if kind == "at":
            if item.path not in bars:
                exposure = name.rpartition("_")[0]  # short, for a narrow terminal
                bars[item.path] = progress.add_task(exposure, total=item.size)
            progress.update(bars[item.path], completed=value)
            reached[item.path] = value
            progress.update(whole, completed=sum(reached.values()))
        elif kind == "again" or (kind == "done" and value.status == "failed"):
            text = value if kind == "again" else value.message
            again = "; trying again" if kind == "again" else ""
            console.print(f"{name}: {text}{again}", highlight=False, soft_wrap=True)
        if kind == "done":
            done += 1
            progress.update(whole, description=f"{done} of {len(due)} files")
            if item.path in bars:
                progress.remove_task(bars.pop(item.path))
            if not console.is_terminal and value.status != "failed":
                text = f"{done} of {len(due)}: {name} {value.status}"
                console.print(text, highlight=False, soft_wrap=True)

    with progress:
        whole = progress.add_task(f"0 of {len(due)} files", total=total, completed=0)
        progress.update(whole, completed=sum(reached.values()))
        yield tell


def _size(n_bytes: int) -> str:
    """Return a number of bytes for people."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
