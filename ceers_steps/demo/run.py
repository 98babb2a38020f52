"""The demo as a whole: tasks, table, report."""

import os
import sys
import time
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ceers_steps import __version__
from ceers_steps.demo.mosaics import draw_mosaics
from ceers_steps.demo.sets import SETS, DemoSet
from ceers_steps.demo.work import build_demo, forget_incomplete, read_result
from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning.plan import Plan
from ceers_steps.survey.planning.records import read_record
from ceers_steps.survey.running.run import run_plan

__all__ = ["run_demo"]


def run_demo(
    folder: str | os.PathLike,
    *,
    seed: int = 1,
    sets: Sequence[DemoSet] = SETS,
    open_report: bool | None = None,
) -> Path:
    """Run the demo and print how the measured values compare with the true ones.

    Parameters
    ----------
    folder : path
        Where everything goes. What an earlier run did there with the same parameters and code is
        not done again.
    seed : int
        Seed of the simulation.
    sets : sequence of DemoSet
        What to simulate, a filter each, in the order of wavelength. The mosaics cover the first.
    open_report : bool, optional
        Open the report in a browser; default: when there is a desktop.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    CeersError
        When an extra is not installed, the folder cannot be written or a task fails.
    """
    _check_extras()
    folder = Path(folder).absolute()
    start = time.monotonic()
    plan = build_demo(folder, sets, seed)
    forget_incomplete(plan)
    outcome = run_plan(plan, SurveyConfig(None, (), folder, retries=0), tell=_say)
    if outcome.failures:
        first = outcome.failures[0]
        raise CeersError(f"{first.task} failed: {first.message} Log: {first.log}")
    results = [read_result(plan, f"set/{exposures.slug}") for exposures in sets]
    mosaics = [read_result(plan, f"truth/{exposures.slug}") for exposures in sets]
    facts = {"ceers_steps": __version__, "seed": str(seed)}
    for each in sets:
        facts[each.name] = (
            f"{each.dithers} dithers, {each.readpatt}, {each.n_groups} groups, {each.size}; "
            f"{_cost(plan, f'set/{each.slug}')}"
        )
    facts["mosaics"] = _cost(plan, "mosaics/all")
    pictures = draw_mosaics(mosaics, folder)
    facts |= {"time": f"{time.monotonic() - start:.0f} s", "files": str(folder)}
    return _report(folder, results, mosaics, pictures, facts, open_report)


def _say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def _cost(plan: Plan, name: str) -> str:
    """Return time and memory that a task took."""
    record = read_record(plan.record_path(plan.tasks[name]))
    return f"{record.seconds:.0f} s, {record.peak_memory / 1e9:.1f} GB" if record else ""


def _check_extras() -> None:
    """Raise, before minutes of work, if an optional package is missing."""
    from importlib.util import find_spec

    wanted = ("galsim", "pysiaf", "matplotlib", "jinja2", "snakemake")
    missing = [package for package in wanted if find_spec(package) is None]
    if missing:
        raise CeersError(
            f"The demo needs {', '.join(missing)}. "
            "Install with: pip install 'ceers_steps[simulate,report,survey]'"
        )


def _report(
    folder: Path,
    results: Sequence[Any],
    mosaics: Sequence[Any],
    pictures: Iterable[tuple[str, str, Path]],
    facts: Mapping[str, str],
    open_report: bool | None,
) -> Path:
    """Print the table, write the page and show it; return the page."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ceers_steps.report.truth import Part, Picture, Truth, write_truth
    from ceers_steps.survey.running.machine import available_cores
    from ceers_steps.survey.summary.report import write_report

    console = Console()
    if not console.is_terminal:
        console.width = 130  # a file has no width of its own
    table = Table("", "measured", "true or limit", "goal", "", box=box.SIMPLE)
    for result in (*results, *mosaics):
        table.add_row(f"[bold]{result.checks[0].exposure}")
        for check in result.checks:
            verdict = {True: "[green]reached", False: "[red]missed", None: ""}[check.reached]
            table.add_row(check.what, check.measured, check.expected, check.goal, verdict)
        table.add_section()
    console.print(table)

    _write_metrics(folder / "metrics.ecsv", [result.row for result in results])
    _write_metrics(folder / "mosaics.ecsv", [mosaic.metrics.as_row() for mosaic in mosaics])
    parts = [
        Part(
            "Mosaics",
            "The exposures of all filters, aligned to a catalogue with errors of 15 mas and "
            "combined on the same pixels, less the background, which was measured outside one "
            "mask of the sources of all filters.",
            [check for mosaic in mosaics for check in mosaic.checks],
            [Picture(heading, text, str(path)) for heading, text, path in pictures],
        ),
        Part(
            "Exposures",
            "The first exposure of each filter, as CeersDetector1 leaves it.",
            [check for result in results for check in result.checks],
            [
                Picture(heading, text, str(path))
                for result in results
                for heading, text, path in result.pictures
            ],
        ),
    ]
    truth = Truth(
        title="From raw exposures to mosaics, on a simulated field",
        intro="The exposures were simulated with sources, sky, wisps, snowballs, cosmic rays, "
        "1/f noise and errors of the pointing that are known, and reduced without that knowledge.",
        parts=parts,
        facts=facts,
    )
    write_truth(folder, truth)
    page = write_report(folder, available_cores())
    console.print(f"{facts['time']}. Report: {page}", soft_wrap=True)
    if _has_desktop() if open_report is None else open_report:
        webbrowser.open(page.as_uri())
    return page


def _write_metrics(path: Path, rows: Sequence[Mapping]) -> None:
    """Write all numbers, a row for each exposure; what an exposure does not have is masked."""
    from astropy.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(rows=[{name: row.get(name) for name in names} for row in rows])
    write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))


def _has_desktop() -> bool:
    """Say whether a browser window can be opened for somebody who is looking."""
    if not sys.stdout.isatty():
        return False
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
