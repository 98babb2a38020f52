"""A report as one HTML file that needs nothing else: figures are inside it (extra ``report``)."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic
from ceers_steps.report.findings import Finding

__all__ = ["Part", "write_page"]


@dataclass(frozen=True)
class Part:
    """One part of the page.

    Attributes
    ----------
    title, intro : str
        Heading and first paragraph.
    findings : sequence of Finding
        Rows of its table.
    pictures : mapping of str to sequence of (caption, PNG file)
        Figures by heading.
    """

    title: str
    intro: str
    findings: Sequence[Finding]
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
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as err:
        raise CeersError(
            f"The report needs jinja2 ({err}). Install it with: pip install 'ceers_steps[report]'"
        ) from err
    source = (files("ceers_steps.report") / "templates" / "demo.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
    filled = [
        {
            "title": part.title,
            "intro": part.intro,
            "findings": part.findings,
            "sections": [
                {"title": heading, "pictures": [_embedded(*entry) for entry in entries]}
                for heading, entries in part.pictures.items()
            ],
        }
        for part in parts
    ]
    html = template.render(title=title, intro=intro, parts=filled, facts=facts)
    return write_atomic(path, lambda scratch: scratch.write_text(html, encoding="utf-8"))


def _embedded(caption: str, picture: Path) -> dict[str, str]:
    """Return a caption and the picture as text."""
    return {"caption": caption, "data": base64.b64encode(picture.read_bytes()).decode()}
