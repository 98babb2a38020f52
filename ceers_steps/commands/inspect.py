"""``ceers inspect``: what the package would do with files, before a night of computing."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser", "run"]

STARTS = (".fits", ".fits.gz", ".fit")
"""Endings of the files of a folder that are looked at."""


SHOWN = 20
"""Files that cannot be read which are named; the rest is counted."""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = commands.add_parser(
        "inspect",
        help="say what the package would do with files of any origin, step by step",
        description="Read the headers of JWST files and say of each what it is, which pipeline "
        "takes it, what each step would do or leave alone and why, and what is missing: keywords, "
        "wisp templates, reference files. Files that get the same answer are shown together. "
        "Nothing is computed, and nothing written.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="FILES|DIR", help="FITS files, or folders of them"
    )
    parser.add_argument(
        "--template-dir", metavar="DIR", help="folder of wisp templates, as the wisp step takes it"
    )
    parser.add_argument(
        "--context", metavar="NAME", help="context of CRDS (default: as the pipelines choose it)"
    )
    parser.add_argument(
        "--no-references", action="store_true", help="do not ask CRDS which reference files exist"
    )
    parser.add_argument("--json", action="store_true", help="an entry for each file, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns
    -------
    int
        1 if a file cannot be used as it is, or something that it needs is missing.
    """
    from ceers_steps.survey.inspection.headers import read_headers
    from ceers_steps.survey.inspection.verdicts import inspect_file

    found, unreadable = [], []
    for path in _files(args.inputs):
        try:
            found.append(inspect_file(read_headers(path), args.template_dir))
        except CeersError as err:
            unreadable.append(str(err))
    groups: dict[tuple, list] = {}
    for item in found:
        groups.setdefault(item.same, []).append(item)
    references = (
        {}
        if args.no_references
        else {key: _references(members, args) for key, members in groups.items()}
    )
    if args.json:
        print(json.dumps([_entry(item, references.get(item.same, [])) for item in found], indent=1))
    else:
        for key, members in groups.items():
            _show(members, references.get(key, []))
    for message in unreadable[:SHOWN]:
        print(message)
    if rest := len(unreadable) - len(unreadable[:SHOWN]):
        print(f"... and {rest} more files that cannot be read")
    stops = any(v.state == "stops" for item in found for v in item.verdicts)
    missing = any(line.startswith("missing") for lines in references.values() for line in lines)
    return 1 if unreadable or stops or missing or any(item.problems for item in found) else 0


def _files(inputs: list[str]) -> Iterator[Path]:
    """Return the files, with those of folders."""
    for entry in map(Path, inputs):
        if not entry.is_dir():
            yield entry
            continue
        files = sorted(path for path in entry.iterdir() if path.name.lower().endswith(STARTS))
        if not files:
            raise CeersError(f"The folder {entry} has no FITS files. Give files, or another one.")
        yield from files


def _references(members: list, args: argparse.Namespace) -> list[str]:
    """Say which reference files are missing for files that are treated alike."""
    first = members[0]
    if first.takes_it not in ("CeersDetector1", "CeersImage2"):
        return []
    if first.headers.primary.get("INSTRUME") != "NIRCAM":
        return ["not looked up: the rules are read for NIRCam only"]
    if not os.environ.get("CRDS_PATH"):
        return ["not looked up: CRDS_PATH is not set"]
    from ceers_steps.survey.references.check import check_references

    pipelines = ["CeersDetector1", "CeersImage2", "CeersImage3"]
    try:
        report = check_references(
            [first.headers.path],
            args.context,
            pipelines=pipelines[pipelines.index(first.takes_it) :],
        )
    except CeersError as err:
        return [f"not looked up: {err}"]
    good = sum(item.state == "ok" for item in report.references)
    lines = [f"{good} of {len(report.references)} are there ({report.context})"]
    lines += [
        f"{item.state}: {item.name} ({', '.join(item.types)})"
        for item in report.references
        if item.state != "ok"
    ]
    return lines


def _show(members: list, references: list[str]) -> None:
    """Print what files that are treated alike are, and what becomes of them."""
    first = members[0]
    names = [str(item.headers.path) for item in members]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    print(f"{names[0]}{more}\n  {first.summary}")
    for problem in first.problems:
        print(f"  cannot be used: {problem}")
    for line in first.filled:
        print(f"  filled in: {line}")
    width = max((len(verdict.step) for verdict in first.verdicts), default=0)
    for verdict in first.verdicts:
        note = f": {verdict.note}" if verdict.note else ""
        print(f"  {verdict.step:{width}}  {verdict.state}{note}")
    for line in references:
        print(f"  references {line}")
    if first.takes_it:
        print(f"  next: strun ceers_steps.{first.takes_it} {names[0]}")
    print()


def _entry(item: Any, references: list[str]) -> dict[str, Any]:
    """Return what is known of a file for programs."""
    return {
        "file": str(item.headers.path),
        "level": item.headers.level,
        "summary": item.summary,
        "problems": list(item.problems),
        "filled": list(item.filled),
        "steps": [vars(verdict) for verdict in item.verdicts],
        "references": references,
        "next": item.takes_it,
    }
