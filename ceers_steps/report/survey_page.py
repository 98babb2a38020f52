"""The page of a survey: state, failures, mosaics, quality of exposures (extra ``report``)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.report.html import write_html

__all__ = ["Cell", "Column", "FailedTask", "Mosaic", "Row", "Stage", "write_survey_page"]


@dataclass(frozen=True)
class Stage:
    """Tasks of one stage.

    Attributes
    ----------
    title : str
        What is done.
    done, failed, waiting : int
        Numbers of tasks.
    time, longest, memory : str
        Of all tasks, of the longest one, and the highest peak; empty when nothing is done.
    """

    title: str
    done: int
    failed: int
    waiting: int
    time: str
    longest: str
    memory: str


@dataclass(frozen=True)
class FailedTask:
    """One task that failed; `log` is a link."""

    task: str
    step: str
    message: str
    log: str


@dataclass(frozen=True)
class Mosaic:
    """One mosaic.

    Attributes
    ----------
    name, state : str
        Its name; ``done``, ``failed`` or ``waiting``.
    facts : mapping of str to str
        Exposures, noise, grid and so on.
    links : mapping of str to str
        Products and logs.
    preview : bytes
        A PNG; empty if there is none.
    earlier : bool
        What is shown was made in an earlier run, and would be another one now.
    look : sequence of str
        What needs a look.
    """

    name: str
    state: str
    facts: Mapping[str, str]
    links: Mapping[str, str]
    preview: bytes = b""
    earlier: bool = False
    look: Sequence[str] = ()


@dataclass(frozen=True)
class Column:
    """A column of the table of exposures; `number` if it is sorted as numbers."""

    title: str
    unit: str = ""
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """A value of that table; `unusual` ones are marked, `link` makes it a link."""

    text: str
    unusual: bool = False
    link: str = ""


@dataclass(frozen=True)
class Row:
    """An exposure."""

    cells: Sequence[Cell]

    @property
    def unusual(self) -> bool:
        """Whether anything of it is marked."""
        return any(cell.unusual for cell in self.cells)


def write_survey_page(
    path: str | os.PathLike,
    *,
    title: str,
    stages: Sequence[Stage],
    failures: Sequence[FailedTask],
    remedy: str,
    mosaics: Sequence[Mosaic],
    columns: Sequence[Column],
    rows: Sequence[Row],
    notes: Sequence[str],
    facts: Mapping[str, str],
    links: Mapping[str, str],
    few: str = "",
) -> Path:
    """Write the page.

    Parameters
    ----------
    path
        HTML file; all links are relative to its folder.
    title
        Heading.
    stages, failures
        What is shown of each.
    remedy
        How to go on without what failed; may be empty.
    mosaics
        What is shown of each.
    columns, rows
        The table of exposures.
    notes
        What people should know.
    facts
        Versions and the like, listed at the end.
    links
        Other files of the survey.
    few
        Says which exposures are too few to be compared with each other.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CeersError
        When jinja2 is not installed or the file cannot be written.
    """
    return write_html(
        path,
        "survey.html",
        title=title,
        stages=stages,
        failures=failures,
        remedy=remedy,
        mosaics=mosaics,
        few=few,
        columns=columns,
        rows=rows,
        notes=notes,
        facts=facts,
        links=links,
    )
