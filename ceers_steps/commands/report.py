"""``ceers report``: pages of a survey, to look at and to review."""

import argparse
import webbrowser
from collections.abc import Sequence
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
    from ceers_steps.report.site import write_site
    from ceers_steps.report.survey_data import read_survey
    from ceers_steps.survey.running.machine import available_cores
    from ceers_steps.survey.summary.quality import too_few

    cores = args.cores or available_cores()
    survey = read_survey(args.output)
    few = too_few([exposure.facts.get("FILTER", "") for exposure in survey.exposures])
    page = write_site(survey, mark=unusual, few=few, cores=cores)
    print(f"Report: {page}")
    if args.open:
        webbrowser.open(page.resolve().as_uri())


def unusual(exposures: Sequence[Any], name: str) -> list[bool]:
    """Say of each exposure whether a metric is far from those like it."""
    import numpy as np

    from ceers_steps.survey.summary.quality import BY_NAME, COMPARED, mark_outliers

    values = np.array([exposure.metrics.get(name, np.nan) for exposure in exposures], dtype=float)
    errors = np.array(
        [exposure.metrics.get(f"{name}_err", np.nan) for exposure in exposures], dtype=float
    )
    if name in {"snowballs", "relative_matches", "absolute_matches"}:
        errors = np.sqrt(np.clip(values, 1, None))
    filters = [exposure.facts.get("FILTER", "") for exposure in exposures]
    detectors = [exposure.facts.get("DETECTOR", "") for exposure in exposures]
    marks = mark_outliers(values, errors, filters, detectors)
    if name not in COMPARED:
        marks = np.zeros(len(values), dtype=bool)
    beyond = BY_NAME[name].beyond if name in BY_NAME else lambda value: False
    return [bool(mark or beyond(value)) for mark, value in zip(marks, values, strict=True)]
