"""``ceers demo``: simulate, reduce, compare with the truth, report."""

import json
import logging
import os
import resource
import shutil
import sys
import time
import webbrowser
from dataclasses import asdict, dataclass
from pathlib import Path

from ceers_steps import __version__
from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic
from ceers_steps.workers import Job, jobs_at_a_time, run_jobs

__all__ = ["EXPOSURES", "DemoExposure", "ExposureResult", "run_demo", "run_exposure"]

MEMORY_PER_EXPOSURE = 3.5e9
"""Bytes that one exposure needs at most; decides how many are worked on at a time."""


@dataclass(frozen=True)
class DemoExposure:
    """One exposure of the demo.

    Attributes
    ----------
    detector, filter : str
        As in the headers.
    readpatt : str
        Read pattern.
    n_groups : int
        Number of groups.
    size : str
        Subarray, ``full`` for the whole detector.
    """

    detector: str
    filter: str
    readpatt: str = "MEDIUM8"
    n_groups: int = 9
    size: str = "full"

    @property
    def name(self):
        """Name for people."""
        return f"{self.detector} {self.filter}"

    @property
    def slug(self):
        """Name for folders."""
        return f"{self.detector}_{self.filter}".lower()


@dataclass(frozen=True)
class ExposureResult:
    """What came of one exposure.

    Attributes
    ----------
    exposure : DemoExposure
        Which one.
    findings : list of Finding
        Lines of the table.
    row : dict
        All numbers.
    pictures : list of (str, str, Path)
        Heading, caption and PNG file.
    seconds, peak_memory : float
        Wall time (s) and peak memory (bytes) of the process.
    """

    exposure: DemoExposure
    findings: list
    row: dict
    pictures: list
    seconds: float
    peak_memory: float


EXPOSURES = (DemoExposure("NRCB4", "F150W"), DemoExposure("NRCBLONG", "F277W"))
"""A short-wavelength exposure with wisps, a long-wavelength one without."""


def run_demo(folder, *, seed=1, exposures=EXPOSURES, open_report=None):
    """Run the demo and print how the measured values compare with the true ones.

    Parameters
    ----------
    folder : path
        Where everything goes. Exposures that an earlier run simulated there with the same
        parameters are used again.
    seed : int
        Seed of the simulation.
    exposures : sequence of DemoExposure
        What to simulate.
    open_report : bool, optional
        Open the report in a browser; default: when there is a desktop.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    CeersError
        When an extra is not installed, the folder cannot be written or an exposure fails.
    """
    _check_extras()
    folder = Path(folder).absolute()
    start = time.monotonic()
    jobs = [
        Job(
            exposure.slug,
            exposure.name,
            run_exposure,
            {"exposure": exposure, "folder": folder / exposure.slug, "seed": seed},
        )
        for exposure in exposures
    ]
    results = run_jobs(jobs, folder / "logs", at_a_time=jobs_at_a_time(MEMORY_PER_EXPOSURE))
    return _report(folder, results, seed, time.monotonic() - start, open_report)


def _check_extras():
    """Raise, before minutes of work, if an optional package is missing."""
    from importlib.util import find_spec

    wanted = ("galsim", "pysiaf", "matplotlib", "jinja2")
    missing = [package for package in wanted if find_spec(package) is None]
    if missing:
        raise CeersError(
            f"The demo needs {', '.join(missing)}. "
            "Install with: pip install 'ceers_steps[simulate,report]'"
        )


def run_exposure(exposure, folder, *, seed=1, tell=lambda done, total, stage: None):
    """Simulate and reduce one exposure and compare it with the truth.

    Parameters
    ----------
    exposure : DemoExposure
        What to simulate.
    folder : Path
        Gets ``simulated/``, ``products/`` and figures.
    seed : int
        Seed of the simulation.
    tell : callable
        Called with the stages done, all stages and the name of the next one.

    Returns
    -------
    ExposureResult
        What was found, and where the figures are.
    """
    start = time.monotonic()
    tell(0, 1, "starting")
    simulated, products = folder / "simulated", folder / "products"
    uncal = _simulate_once(exposure, simulated, seed, tell)
    root = uncal.name.removesuffix("_uncal.fits")
    shutil.rmtree(products, ignore_errors=True)
    _reduce(uncal, simulated, products, tell)

    from ceers_steps.report.compare import compare
    from ceers_steps.report.findings import describe

    comparison = compare(products, simulated, root)
    for ramp in ("jump", "snowball"):  # 400 MB each, needed for the comparison only
        (products / f"{root}_{ramp}.fits").unlink()
    return ExposureResult(
        exposure=exposure,
        findings=describe(comparison.metrics),
        row=comparison.metrics.as_row(),
        pictures=_draw(comparison, exposure, folder, products, root),
        seconds=time.monotonic() - start,
        peak_memory=_peak_memory(),
    )


def _peak_memory():
    """Return the peak memory of this process, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _simulate_once(exposure, folder, seed, tell):
    """Simulate, unless the folder holds the same already; return the raw file."""
    from ceers_steps.simulate.api import simulate

    wanted = {"version": __version__, "seed": seed, **asdict(exposure)}
    note = folder / "demo.json"
    if note.exists():
        known = json.loads(note.read_text())
        uncal = folder / known.pop("uncal")
        if known == wanted and uncal.exists():
            return uncal
    tell(0, 1, "simulate")
    shutil.rmtree(folder, ignore_errors=True)
    (written,) = simulate(
        folder,
        [exposure.detector],
        [exposure.filter],
        dithers=1,
        seed=seed,
        size=exposure.size,
        read_pattern=exposure.readpatt,
        n_groups=exposure.n_groups,
    )
    text = json.dumps({**wanted, "uncal": written.uncal.name}, indent=1)
    write_atomic(note, lambda path: path.write_text(text))
    return written.uncal


def _reduce(uncal, simulated, products, tell):
    """Run CeersDetector1 on a raw file."""
    from ceers_steps.simulate.crds_cache import activate

    activate(simulated)  # before crds is imported
    from ceers_steps.pipelines.detector1 import BEFORE_RAMP_FIT, CeersDetector1

    products.mkdir(parents=True)
    steps = (*BEFORE_RAMP_FIT, "ramp_fit", "gain_scale", "wispsub", "remstriping")
    watch = _StepWatch(steps, tell)
    logging.getLogger("stpipe").addHandler(watch)
    try:
        CeersDetector1.call(
            str(uncal),
            output_dir=str(products),
            save_results=True,
            save_intermediates=True,
            configure_log=False,
            steps={
                "jump": {"save_results": True},
                "snowball": {"save_results": True, "save_events": True},
                "wispsub": {"save_plots": True},
                "remstriping": {"save_plots": True, "save_patterns": True},
            },
        )
    finally:
        logging.getLogger("stpipe").removeHandler(watch)
    tell(len(steps), len(steps), "compare with the truth")


class _StepWatch(logging.Handler):
    """Tells which step runs; stpipe announces each with its name as the argument of a message."""

    def __init__(self, steps, tell):
        super().__init__()
        self._steps, self._tell = steps, tell

    def emit(self, record):
        if str(record.msg).startswith("Step %s running") and record.args[0] in self._steps:
            step = record.args[0]
            self._tell(self._steps.index(step), len(self._steps), step)


def _draw(comparison, exposure, folder, products, root):
    """Draw the figures; return (heading, caption, file) of these and of those of the steps."""
    from ceers_steps.report.figures import before_after_figure, snowball_figure

    title = f"{exposure.name}, simulated"
    pictures = [
        (
            "Before and after",
            f"{exposure.name}: rate image before wisps and stripes were taken out, and the product "
            "(flat divided out, to look at)",
            before_after_figure(
                folder.parent / f"before_after_{exposure.slug}.png",
                comparison.before,
                comparison.after,
                labels=("before", "CeersDetector1"),
                title=title,
                greys=32,
            ),
        )
    ]
    view = comparison.view
    if view is not None:
        caption = (
            f"{exposure.name}: the largest snowballs of group {view.group + 1}, what the jump step "
            "flags, what is flagged in the end and what is truly hit"
        )
        path = snowball_figure(
            folder.parent / f"snowballs_{exposure.slug}.png",
            view.difference,
            view.flags,
            jumps=view.jumps,
            contaminated=view.contaminated,
            events=view.events,
            title=f"{title}: group {view.group + 1} less group {view.group}",
        )
        pictures.append(("Snowballs", caption, path))
    for suffix, heading in (("wisp", "Wisps"), ("1f", "Stripes")):
        path = products / f"{root}_{suffix}.png"
        if path.exists():
            pictures.append((heading, f"{exposure.name}, drawn by the step (save_plots)", path))
    return pictures


def _report(folder, results, seed, seconds, open_report):
    """Print the table, write the page and show it; return the page."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ceers_steps.report.page import write_page

    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file has no width of its own
    table = Table("", "measured", "true or limit", "goal", "", box=box.SIMPLE)
    for result in results:
        table.add_row(f"[bold]{result.exposure.name}")
        for finding in result.findings:
            verdict = {True: "[green]reached", False: "[red]missed", None: ""}[finding.reached]
            table.add_row(finding.what, finding.measured, finding.expected, finding.goal, verdict)
        table.add_section()
    console.print(table)

    _write_metrics(folder / "metrics.ecsv", [result.row for result in results])
    pictures = {}
    for result in results:
        for heading, caption, path in result.pictures:
            pictures.setdefault(heading, []).append((caption, path))
    facts = {"ceers_steps": __version__, "seed": str(seed), "time": f"{seconds:.0f} s"}
    for result in results:
        exposure = result.exposure
        facts[exposure.name] = (
            f"{exposure.readpatt}, {exposure.n_groups} groups, {exposure.size}; "
            f"{result.seconds:.0f} s, {result.peak_memory / 1e9:.1f} GB"
        )
    facts["files"] = str(folder)
    page = write_page(
        folder / "report.html",
        title="CeersDetector1 on simulated exposures",
        intro="Each exposure was simulated with sources, sky, wisps, snowballs, cosmic rays and "
        "1/f noise that are known, and reduced without that knowledge.",
        findings=[finding for result in results for finding in result.findings],
        pictures=pictures,
        facts=facts,
    )
    console.print(f"{seconds:.0f} s. Report: {page}", soft_wrap=True)
    if _has_desktop() if open_report is None else open_report:
        webbrowser.open(page.as_uri())
    return page


def _write_metrics(path, rows):
    """Write all numbers, a row for each exposure; what an exposure does not have is masked."""
    from astropy.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(rows=[{name: row.get(name) for name in names} for row in rows])
    write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))


def _has_desktop():
    """Say whether a browser window can be opened for somebody who is looking."""
    if not sys.stdout.isatty():
        return False
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
