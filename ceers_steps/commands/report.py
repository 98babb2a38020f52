"""``ceers report``: pages of a survey, to look at and to review."""

import argparse
import webbrowser
from typing import Any

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        help="make pages of a survey: mosaics, table of exposures, before and after, review",
        description="Write OUT/report: a folder of pages that opens without network or server. "
        "Nothing is reduced again; pages of what has not changed are kept.",
    )
    parser.add_argument("output", metavar="OUT", help="output folder of ceers reduce or ceers demo")
    parser.add_argument("--cores", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> None:
    """Write the report."""
    from ceers_steps.survey.running.machine import available_cores
    from ceers_steps.survey.summary.report import write_report

    page = write_report(args.output, args.cores or available_cores())
    print(f"Report: {page}")
    if args.open:
        webbrowser.open(page.resolve().as_uri())
