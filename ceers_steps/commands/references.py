"""``ceers references``: are the reference files and wisp templates for a run there?"""

import argparse
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular

__all__ = ["add_parser", "run"]


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = subparsers.add_parser(
        "references",
        help="check that the reference files for a run are there, or fetch them",
        description="Find the reference files and wisp templates that exposures need from raw "
        "data to mosaics, under the chosen context of CRDS: are they there, and whole? Only "
        "headers are read. 'fetch' gets what is missing through the crds library.",
    )
    parser.add_argument("action", choices=("check", "fetch"))
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="exposures, or folders (of which all *_uncal.fits are taken)",
    )
    parser.add_argument(
        "--context",
        metavar="NAME",
        help="context of CRDS, as jwst_1293.pmap (default: $CRDS_CONTEXT, else that of jwst)",
    )
    parser.add_argument(
        "--template-dir",
        metavar="DIR",
        help="folder of wisp templates, searched before $NIRCAM_WISP_TEMPLATES",
    )
    parser.add_argument(
        "--overrides",
        metavar="TABLE",
        help="per-exposure values (.ecsv or .csv): with skip_wispsub no template is needed",
    )
    parser.add_argument(
        "--checksums",
        action="store_true",
        help="compare checksums too, not only sizes: every reference file is read",
    )
    parser.add_argument("--list", action="store_true", help="list every file, not only problems")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns
    -------
    int
        1 if anything is missing or not whole.
    """
    from ceers_steps.survey.references.check import check_references, fetch_references

    logging.getLogger("CRDS").setLevel(logging.WARNING)
    parameters = {
        "CeersDetector1": {
            "overrides": args.overrides,
            "steps": {"wispsub": {"template_dir": args.template_dir}},
        }
    }
    files = _files(args.files)

    def check() -> Any:
        return check_references(
            files, args.context, parameters=parameters, checksums=args.checksums
        )

    report = check()
    if args.action == "fetch" and report.due:
        try:
            with _progress(report.due) as tell:
                failed = fetch_references(report, tell)
        except CeersError:
            print(report.summary())
            raise
        report = check()
        for item in failed:
            print(f"could not be fetched: {item.name}: {item.note}")
    if args.list:
        _list(report)
    print(report.summary())
    return 0 if report.ok else 1


def _files(names: list[str]) -> list[Path]:
    """Return the files named, with those of folders."""
    files: list[Path] = []
    for name in names:
        path = Path(name)
        found = sorted(path.glob("*_uncal.fits")) if path.is_dir() else [path]
        packed = sorted(path.glob("*_uncal.fits.gz")) if path.is_dir() else []
        if path.name.endswith(".fits.gz"):
            raise CeersError(f"{path} is packed, and must be unpacked (gunzip).")
        if not found:
            note = f": {len(packed)} *_uncal.fits.gz must be unpacked (gunzip)" if packed else ""
            raise CeersError(f"The folder {path} has no *_uncal.fits{note}.")
        if packed:
            print(f"{path}: {len(packed)} *_uncal.fits.gz left out; unpack them (gunzip)")
        for file in found:
            check_regular(file, str(file))
        files += found
    return files


def _list(report: Any) -> None:
    """Print a table of all files."""
    rows = [("file", "used as", "exposures", "size / MB", "state")]
    for item in (*report.references, *report.templates):
        size = "" if item.size is None else f"{item.size / 1e6:.1f}"
        rows.append((item.name, ", ".join(item.types), str(item.exposures), size, item.state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, types, exposures, size, state in rows:
        print(
            f"{name:{widths[0]}}  {types:{widths[1]}}  {exposures:>{widths[2]}}  "
            f"{size:>{widths[3]}}  {state}"
        )


@contextlib.contextmanager
def _progress(due: Sequence) -> Iterator[Callable]:
    """Show how far it is: a bar on a terminal, elsewhere a line for each file."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    total = sum(item.size or 0 for item in due)
    console.print(f"{len(due)} reference files to fetch, {total / 1e6:.1f} MB", highlight=False)
    with progress:
        bar = progress.add_task("fetching", total=len(due))
        done = 0

        def tell(item: Any, problem: str) -> None:
            nonlocal done
            done += 1
            progress.update(bar, completed=done)
            if problem or not console.is_terminal:
                text = f"{done} of {len(due)}: {item.name} {problem or 'fetched'}"
                console.print(text, highlight=False, soft_wrap=True)

        yield tell
