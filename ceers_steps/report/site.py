"""The report of a survey: a folder of pages that need no network and no server."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from math import nan
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ceers_steps.figures import looks
from ceers_steps.figures.numbers import metric_rows, metric_text
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import read_note
from ceers_steps.files.metrics import METRICS, write_metrics
from ceers_steps.processes import end_with_parent
from ceers_steps.report.details import read_details
from ceers_steps.report.html import write_html
from ceers_steps.report.mosaics.pictures import draw_mosaics
from ceers_steps.report.parameters import PARAMETERS, in_force
from ceers_steps.report.pictures import make_pictures
from ceers_steps.report.survey_data import Exposure, SurveyData
from ceers_steps.report.trends import find_trends
from ceers_steps.report.truth import read_truth

__all__ = ["write_site"]

FORMAT = 5
"""Of the pages: with another one, all are made again."""

SHARED = ("report.css", "exposure.css", "overview.css", "report.js", "trends.js", "zoom.js")
"""Files that pages share."""

LOG_LINES = 40

LOOKS = ".ceers/looks"
"""Folder below the output folder of a survey in which steps leave what a page shows of them."""

Mark = Callable[[Sequence[Exposure], str], Sequence[bool]]


@dataclass(frozen=True)
class _Page:
    """What is needed for the page of one exposure."""

    exposure: Exposure
    marked: tuple[str, ...]
    before: str
    after: str
    path: Path
    folder: Path
    given: dict[str, Any]

    @property
    def survey(self) -> str:
        """The folder of the survey, for the browser to know it by."""
        return str(self.folder.resolve())

    @property
    def looks(self) -> Path:
        """Folder of what steps have left."""
        return self.folder / LOOKS


def write_site(data: SurveyData, *, mark: Mark, few: str = "", cores: int = 1) -> Path:
    """Write ``report/`` and the tables of metrics; only pages of what has changed.

    Parameters
    ----------
    data
        What `read_survey` found.
    mark
        Given the exposures and the name of a metric, says for each whether it is unusual.
    few
        Says which exposures are too few to be compared with each other.
    cores
        Processes.

    Returns
    -------
    Path
        ``report/index.html``.

    Raises
    ------
    CeersError
        When the extra ``report`` is missing or a file cannot be written.
    """
    folder = data.folder / "report"
    names = [metric.name for metric in METRICS]
    marks = {name: mark(data.exposures, name) for name in names}
    marked = [
        tuple(name for name in names if marks[name][row]) for row in range(len(data.exposures))
    ]
    write_metrics(
        folder,
        [
            {"product": exposure.name, **exposure.facts, **exposure.metrics}
            for exposure in data.exposures
        ]
        + [{"product": mosaic.name, **mosaic.metrics} for mosaic in data.mosaics],
    )
    for name in SHARED:
        source = files("ceers_steps.report") / "templates" / name
        write_atomic(folder / name, partial(_copy, source.read_bytes()))
    _write_exposures(data, marked, folder, cores)
    return _write_index(data, marked, folder, few, cores)


def _copy(contents: bytes, path: Path) -> None:
    """Write contents to a file."""
    path.write_bytes(contents)


def _write_exposures(
    data: SurveyData, marked: list[tuple[str, ...]], folder: Path, cores: int
) -> None:
    """Write the pages of exposures that are not what they would be now."""
    stamps_path = folder / "stamps.json"
    stamps = read_note(stamps_path)
    given = read_note(data.folder / PARAMETERS)
    names = [exposure.name for exposure in data.exposures]
    pages, now = [], {}
    for row, exposure in enumerate(data.exposures):
        page = _Page(
            exposure,
            marked[row],
            names[row - 1] if row else "",
            names[row + 1] if row + 1 < len(names) else "",
            folder / "exposures" / f"{exposure.name}.html",
            data.folder,
            given,
        )
        now[exposure.name] = _stamp(page)
        if stamps.get(exposure.name) != now[exposure.name] or not page.path.exists():
            pages.append(page)
    if cores > 1 and len(pages) > 1:
        with ProcessPoolExecutor(cores, initializer=end_with_parent) as pool:
            list(pool.map(_write_exposure, pages))
    else:
        for page in pages:
            _write_exposure(page)
    for old in {name for name in stamps if Path(name).name == name} - set(now):
        (folder / "exposures" / f"{old}.html").unlink(missing_ok=True)
    write_atomic(stamps_path, lambda path: path.write_text(json.dumps(now), encoding="utf-8"))


def _stamp(page: _Page) -> str:
    """Return a digest of what a page is made of."""
    exposure = page.exposure
    paths = [*exposure.products.values(), *([exposure.log] if exposure.log else [])]
    paths += looks.look_files(page.looks, exposure.name)
    states = [(str(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths]
    known = [FORMAT, states, exposure.metrics, exposure.facts, page.marked, page.before, page.after]
    known.append(in_force({}, page.given, exposure.name))
    return hashlib.blake2b(json.dumps(known).encode(), digest_size=12).hexdigest()


def _write_exposure(page: _Page) -> None:
    """Write the page of one exposure."""
    exposure = page.exposure
    found = looks.read_looks(page.looks, exposure.name)
    warnings, log = _log_excerpt(exposure.log)
    write_html(
        page.path,
        "exposure.html",
        page=page,
        exposure=exposure,
        pictures=make_pictures(exposure.products, found, exposure.metrics.get("wisp_scale", 0.0)),
        details=read_details(found),
        parameters=in_force(found, page.given, exposure.name),
        metrics=metric_rows(exposure.metrics),
        links={
            suffix: quote(os.path.relpath(path, page.path.parent))
            for suffix, path in exposure.products.items()
        },
        warnings=warnings,
        log=log,
        log_link=quote(os.path.relpath(exposure.log, page.path.parent)) if exposure.log else "",
    )


def _log_excerpt(path: Path | None) -> tuple[list[str], list[str]]:
    """Return the warnings and errors in a log, and its last lines."""
    if path is None:
        return [], []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    bad = [line for line in lines if " WARNING " in line or " ERROR " in line]
    return list(dict.fromkeys(bad))[:LOG_LINES], lines[-LOG_LINES:]


def _write_index(
    data: SurveyData, marked: list[tuple[str, ...]], folder: Path, few: str, cores: int
) -> Path:
    """Write the first page."""
    shown = [m for m in METRICS if any(m.name in e.metrics for e in data.exposures)]
    cards = []
    for mosaic in data.mosaics:
        link = quote(os.path.relpath(mosaic.path, folder))
        beyond = {m.name for m in METRICS if m.beyond(mosaic.metrics.get(m.name, nan))}
        cards.append((mosaic, link, metric_rows(mosaic.metrics), beyond))
    truth = read_truth(data.folder, folder)
    return write_html(
        folder / "index.html",
        "report.html",
        title=truth.title if truth else f"Survey {data.folder.resolve().name}",
        survey=str(data.folder.resolve()),
        exposures=list(zip(data.exposures, marked, strict=True)),
        columns=shown,
        metric_text=metric_text,
        trends=find_trends(data.exposures),
        mosaics=draw_mosaics(data, folder, cores),
        cards=cards,
        few=few,
        truth=truth,
    )
