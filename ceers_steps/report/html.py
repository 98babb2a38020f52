"""HTML pages from templates, each one file that needs nothing else (extra ``report``)."""

import base64
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from ceers_steps.errors import optional_import
from ceers_steps.files.atomic import write_atomic

__all__ = ["write_html"]


def write_html(path: str | os.PathLike, template: str, **values: Any) -> Path:
    """Fill a template and write the page.

    Parameters
    ----------
    path : path
        HTML file to write.
    template : str
        Name of a file in ``report/templates``. Its filter ``embedded`` turns the contents of a
        picture into text that can stand in the page.
    **values
        What the template takes.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    CeersError
        When jinja2 is not installed or the file cannot be written.
    """
    with optional_import("The page needs jinja2", extra="report"):
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = lambda data: base64.b64encode(data).decode()
    html = environment.get_template(template).render(values)
    return write_atomic(path, lambda scratch: scratch.write_text(html, encoding="utf-8"))


def _source(template: str) -> str:
    """Return the text of a template; parts of pages include each other by name."""
    return (files("ceers_steps.report") / "templates" / template).read_text(encoding="utf-8")
