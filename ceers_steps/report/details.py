"""What the page of an exposure shows of each step, from what the steps have left for it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.figures.looks import Look
from ceers_steps.figures.numbers import rounded, with_error
from ceers_steps.report.charts import Chart, limits, outlines

__all__ = ["Details", "Figure", "Snowballs", "read_details"]

MOST_EVENTS = 40
"""Snowballs in the table, the largest first."""

LEAST_OUTLINED = 4
"""Pixels of the small picture that a snowball has to have, to be outlined."""

ROW_TITLES = (
    ("alignment", "fit", ""),
    ("status", "status", ""),
    ("reference", "reference", ""),
    ("geometry", "geometry", ""),
    ("n_matched", "matches", ".0f"),
    ("rmse", "rms, mas", ".1f"),
    ("shift_error", "error of shift, mas", ".1f"),
    ("xshift", "shift x, mas", ".1f"),
    ("yshift", "shift y, mas", ".1f"),
    ("rotation", "roll, arcsec", ".2f"),
    ("note", "note", ""),
)
"""Columns of the table of alignment."""


@dataclass(frozen=True)
class Figure:
    """A chart with its heading and a line on what it shows."""

    heading: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Snowballs:
    """Snowballs of an exposure.

    Attributes
    ----------
    width, height : int
        Of the picture that they are outlined on.
    halos : str
        Path of the outlines of what was flagged.
    cores : list of tuple
        x, y, radius in that picture, and what is said of each.
    rows : list of tuple
        Of the table.
    more : int
        Snowballs that are not in the table.
    cutouts : list of tuple
        Picture (base64 of a PNG), outline, its width and height, core (x, y, radius), caption.
    """

    width: int
    height: int
    halos: str
    cores: list[tuple[float, float, float, str]]
    rows: list[tuple[str, ...]]
    more: int
    cutouts: list[tuple[str, str, int, int, tuple[float, float, float], str]]


@dataclass(frozen=True)
class Details:
    """All that is shown beside pictures and metrics."""

    wisp: Figure | None = None
    scales: list[tuple[str, str, str]] = field(default_factory=list)
    sky: Figure | None = None
    alignment: list[Figure] = field(default_factory=list)
    alignment_note: str = ""
    alignment_rows: tuple[list[str], list[list[str]]] = field(default_factory=lambda: ([], []))
    snowballs: Snowballs | None = None


def read_details(looks: Mapping[str, Look]) -> Details:
    """Make what is shown of what steps have left.

    Parameters
    ----------
    looks
        By kind, as `~ceers_steps.figures.looks.read_looks` gives them.

    Returns
    -------
    Details
        Without what is not there, or is not what it should be.
    """
    made: dict[str, Any] = {}
    for kind, maker in (
        ("wisp", _wisp),
        ("sky", _sky),
        ("alignment", _alignment),
        ("snowballs", _snowballs),
    ):
        if kind in looks:
            try:
                made |= maker(looks[kind])
            except (KeyError, IndexError, ValueError, TypeError):
                continue  # of another version of this package
    return Details(**made)


def _wisp(look: Look) -> dict[str, Any]:
    """Return the curve of the fit, and the scale of each template."""
    errors = look.facts["scale_errs"]
    scales = [
        (str(number + 1), rounded(scale, error or 0.0), rounded(error, error) if error else "")
        for number, (scale, error) in enumerate(zip(look.facts["scales"], errors, strict=True))
    ]
    trials, objective = look.arrays["trial_scales"], look.arrays["objective"]
    if trials.size < 2:
        return {"scales": scales}
    shown = objective - np.nanmin(objective)
    chart = Chart(
        (float(trials.min()), float(trials.max())),
        (0.0, float(np.nanmax(shown)) * 1.05),
        ("scale of the template", "objective less its least value"),
    )
    scale = float(max(look.facts["scales"]))
    error = errors[0] if len(errors) == 1 else None
    if error:
        chart.span(scale - error, scale + error, "error")
    chart.line(trials, shown, "curve")
    text = f"{scale:.3f}" if error is None else with_error(scale, error)
    chart.upright(scale, "taken", text)
    done = "subtracted" if look.facts["subtracted"] else "not significant: not subtracted"
    caption = f"What the fit minimises, against the scale. Line: the scale, {text}, {done}."
    if error:
        caption += " Band: its standard error."
    if len(scales) > 1:
        caption += " Several templates are scaled by a common factor; the strongest is on the axis."
    return {"scales": scales, "wisp": Figure("Fit of the wisp", chart.svg(caption), caption)}


def _sky(look: Look) -> dict[str, Any]:
    """Return the histogram of the sky with its fit."""
    counts, edges = look.arrays["counts"], look.arrays["edges"]
    level, sigma = look.facts["level"], look.facts["sigma"]
    unit = look.facts["unit"]
    grid = np.linspace(edges[0], edges[-1], 121)
    width = edges[1] - edges[0]
    # the side below the level is free of sources
    below = counts[(edges[:-1] + edges[1:]) / 2 < level].sum()
    peak = 2 * below * width / (sigma * np.sqrt(2 * np.pi)) if sigma > 0 else 0.0
    fit = peak * np.exp(-(((grid - level) / (sigma or 1.0)) ** 2) / 2)
    chart = Chart(
        (float(edges[0]), float(edges[-1])),
        (0.0, float(max(counts.max(), fit.max(), 1)) * 1.08),
        (f"sky, {unit}", "number"),
    )
    chart.bars(edges, counts, "bars")
    chart.line(grid, fit, "fit")
    text = with_error(level, look.facts["error"])
    chart.upright(level, "taken", text)
    caption = (
        f"Histogram of {look.facts['what']} without sources. Line: the level that was subtracted, "
        f"{text} {unit} (what overlapping exposures disagree by is in sky_err, not here); curve: a "
        f"normal distribution around it, of the width of the side without sources, {sigma:.2g}."
    )
    return {"sky": Figure("Sky", chart.svg(caption), caption)}


def _alignment(look: Look) -> dict[str, Any]:
    """Return the residuals of the matches, and what is said of each fit."""
    figures = []
    for number, title in enumerate(look.facts["titles"]):
        found = look.arrays.get(f"matches_{number}")
        if found is not None and len(found):
            figures += _residuals(title, found)
    rows = look.facts["rows"]
    used = [(key, title, form) for key, title, form in ROW_TITLES if any(key in r for r in rows)]
    cells = [
        [
            format(row[key], form) if form and key in row else str(row.get(key, ""))
            for key, _, form in used
        ]
        for row in rows
    ]
    note = "; ".join(filter(None, (look.facts["note"], look.facts["doubt"])))
    return {
        "alignment": figures,
        "alignment_note": f"{look.facts['status']}{': ' if note else ''}{note}",
        "alignment_rows": ([title for _, title, _ in used], cells),
    }


def _residuals(title: str, found: NDArray) -> list[Figure]:
    """Return vectors and scatter of the matches of one fit."""
    x, y, dx, dy, used = found.T
    fitted = used > 0
    length = np.hypot(dx, dy)
    typical = float(np.median(length[fitted])) if fitted.any() else 1.0
    typical = max(typical, 1e-3)
    span = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    scale = 0.05 * span / typical  # arcsec of the picture for a residual of 1 mas
    size = np.minimum(1.0, 4 * typical / np.maximum(length, 1e-9))
    vectors = Chart(
        limits(x, 0.08),
        limits(y, 0.12),
        ("x in the tangent plane, arcsec", "y, arcsec"),
        equal=True,
    )
    reach = max(4 * typical, 0.1)
    cloud = Chart(
        (-reach, reach), (-reach, reach), ("residual in x, mas", "residual in y, mas"), equal=True
    )
    cloud.line([-reach, reach], [0, 0], "zero")
    cloud.line([0, 0], [-reach, reach], "zero")
    for chosen, kind in ((~fitted, "clipped"), (fitted, "used")):
        if chosen.any():
            pull = scale * size[chosen]
            vectors.arrows(x[chosen], y[chosen], pull * dx[chosen], pull * dy[chosen], kind)
            cloud.points(dx[chosen], dy[chosen], kind)
    rounded = float(f"{typical:.1g}")
    vectors.key(scale * rounded, f"{rounded:g} mas")
    rms = float(np.sqrt(np.mean(length[fitted] ** 2))) if fitted.any() else float("nan")
    said = f"{int(fitted.sum())} matches in the fit (blue), {int((~fitted).sum())} clipped (orange)"
    return [
        Figure(
            f"Residuals: {title}",
            vectors.svg(f"residual vectors: {said}"),
            f"Reference less aligned position; {said}. Arrows longer than 4 times the typical one "
            "are cut.",
        ),
        Figure("", cloud.svg(f"scatter of residuals: {said}"), f"rms length {rms:.2f} mas."),
    ]


def _snowballs(look: Look) -> dict[str, Any]:
    """Return outlines on the picture of the exposure, a table, and the largest snowballs."""
    flagged, events, factor = look.arrays["flagged"], look.arrays["events"], look.facts["binning"]
    ny, nx = flagged.shape
    cores, rows, cutouts = [], [], []
    for number, (integration, group, y, x, core, halo, saturated) in enumerate(events):
        said = (
            f"integration {integration:.0f}, group {group:.0f}, x {x:.0f}, y {y:.0f}: core "
            f"{core:.1f}, halo {halo:.1f} pixels{', saturated' if saturated else ''}"
        )
        cores.append(((x + 0.5) / factor, ny - (y + 0.5) / factor, max(core / factor, 0.7), said))
        if number < MOST_EVENTS:
            cells = [f"{integration:.0f}", f"{group:.0f}", f"{x:.0f}", f"{y:.0f}"]
            cells += [f"{core:.1f}", f"{halo:.1f}", "yes" if saturated else ""]
            rows.append(tuple(cells))
        picture = look.arrays.get(f"cutout_{number}")
        if picture is not None:
            row0, column0, step = (int(v) for v in look.arrays[f"corner_{number}"])
            height, width = picture.shape
            circle = (
                (x - column0) / step + 0.5,
                height - (y - row0) / step - 0.5,
                max(core / step, 0.7),
            )
            flags = outlines(look.arrays[f"flags_{number}"])
            cutouts.append((_png(picture), flags, width, height, circle, said))
    halos = outlines(flagged, LEAST_OUTLINED)
    more = max(len(events) - MOST_EVENTS, 0)
    return {"snowballs": Snowballs(nx, ny, halos, cores, rows, more, cutouts)}


def _png(grey: NDArray[np.uint8]) -> str:
    """Return grey levels as base64 of a PNG, the first row at the bottom."""
    with optional_import("Pictures need Pillow", extra="report"):
        from PIL import Image
    buffer = io.BytesIO()
    Image.fromarray(grey[::-1]).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
