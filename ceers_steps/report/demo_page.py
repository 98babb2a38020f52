"""A report as one HTML file that needs nothing else: figures are inside it (extra ``report``)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.report.html import write_html
from ceers_steps.validate.checks import Check

__all__ = ["Part", "write_page"]


@dataclass(frozen=True)
class Part:
    """One part of the page.

    Attributes
    ----------
    title, intro : str
        Heading and first paragraph.
    checks : sequence of Check
        Rows of its table.
    pictures : mapping of str to sequence of (caption, PNG file)
        Figures by heading.
    """

    title: str
    intro: str
    checks: Sequence[Check]
    pictures: Mapping[str, Sequence[tuple[str, Path]]]


def write_page(
    path: str | os.PathLike,
    *,
    title: str,
    intro: str,
    parts: Sequence[Part],
    facts: Mapping[str, str],
) -> Path:
    """Write the report page.

    Parameters
    ----------
    path : path
        HTML file to write.
    title, intro : str
        Heading and first paragraph.
    parts : sequence of Part
        What it consists of.
    facts : mapping of str to str
        Versions, parameters and files, listed at the end.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CeersError
        When jinja2 is not installed or the file cannot be written.
    """
    return write_html(path, "demo.html", title=title, intro=intro, parts=parts, facts=facts)
