"""Diagnostic figures: pictures of arrays, written as PNG (extra ``report``).

Each function draws one figure from arrays ``[y, x]`` and writes it atomically.  No state of
pyplot is touched, so they work in threads, in workers and without a display.  Images that are to
be compared share one stretch, set by the sky noise; large frames are shown as block medians, so
that stripes and wisps of a fraction of the pixel noise can be seen.  NaN pixels are left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from ceers_steps.figures import canvas
from ceers_steps.figures.canvas import GREEN, ORANGE, SKY_BLUE
from ceers_steps.figures.numbers import with_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["before_after_figure", "snowball_figure", "striping_figure", "wisp_figure"]


MIN_OUTLINED = 30
"""Smallest group of flagged pixels that is outlined."""

N_CUTOUTS = 6
"""Snowballs in a figure, the largest of a group."""

PARTS = 5
"""The detail of a pair of images has a fifth of each side."""


def before_after_figure(
    path: str | os.PathLike,
    before: NDArray,
    after: NDArray,
    *,
    labels: tuple[str, str] = ("before", "after"),
    title: str = "",
    greys: int | None = None,
) -> Path:
    """Draw two images side by side with one stretch, and below them the detail that changed most.

    Parameters
    ----------
    path : path
        PNG file to write.
    before, after : array, shape (ny, nx)
        Images, DN/s.
    labels : (str, str)
        Titles of the two columns.
    title : str
        Title of the figure.
    greys : int, optional
        Reduce the PNG to so many greys and one colour, for a small file.

    Returns
    -------
    Path
        The file written.
    """
    zoom = _most_changed(before, after)
    binning = canvas.binning(before.shape)
    frames = [canvas.binned(image, binning) for image in (before, after)]
    details = [
        canvas.binned(image[zoom], canvas.binning(image[zoom].shape, 256))
        for image in (before, after)
    ]
    figure = canvas.new_figure(9.0, 9.2, title)
    axes = figure.subplots(2, 2)
    for row, views, region in ((0, frames, None), (1, details, zoom)):
        limits = canvas.sky_limits(views[1])
        for panel, view, label in zip(axes[row], views, labels, strict=True):
            drawn = canvas.show(panel, view, *limits, shape=before.shape, region=region)
            panel.set_title(label if region is None else f"{label}, detail")
            if region is None:
                canvas.outline_region(panel, zoom)
        canvas.colour_bar(figure, drawn, list(axes[row]), "DN/s")
    return canvas.write(figure, path, greys)


def wisp_figure(
    path: str | os.PathLike,
    before: NDArray,
    model: NDArray,
    after: NDArray,
    *,
    objective: tuple[NDArray, NDArray] | None = None,
    scale: float | None = None,
    scale_err: float | None = None,
    title: str = "",
) -> Path:
    """Draw a frame before and after the subtraction of wisps, the model, and how it was scaled.

    Parameters
    ----------
    path : path
        PNG file to write.
    before, model, after : array, shape (ny, nx)
        Rate image, wisp model that was subtracted, result; DN/s.
    objective : (array, array), optional
        Scales tried and the value that was minimised at each; drawn in a fourth panel.
    scale, scale_err : float, optional
        Scale taken and its uncertainty, marked in the fourth panel.
    title : str
        Title of the figure.

    Returns
    -------
    Path
        The file written.
    """
    binning = canvas.binning(before.shape)
    views = [canvas.smooth(canvas.binned(image, binning)) for image in (before, model, after)]
    sky, noise = canvas.sky(views[2])
    lit = views[1][np.isfinite(views[1]) & (views[1] > 0)]
    peak = max(5 * noise, float(np.percentile(lit, 99.8)) if lit.size else 0.0)
    figure = canvas.new_figure(*((9.0, 9.2) if objective else (11.0, 4.4)), title)
    axes = figure.subplots(2, 2) if objective else figure.subplots(1, 3)
    panels = list(axes.flat)
    for panel, view, level, name in zip(
        panels, views, (sky, 0.0, sky), ("before", "wisp model", "after"), strict=False
    ):
        drawn = canvas.show(panel, view - level, -0.4 * peak, peak, shape=before.shape)
        panel.set_title(name)
    if objective:
        canvas.colour_bar(figure, drawn, panels[:2], "DN/s above sky, smoothed")
        _objective_panel(panels[3], *objective, scale, scale_err)
    else:
        canvas.colour_bar(figure, drawn, panels, "DN/s above sky, smoothed")
    return canvas.write(figure, path)


def striping_figure(
    path: str | os.PathLike,
    before: NDArray,
    stripes: NDArray,
    after: NDArray,
    *,
    mask: NDArray | None = None,
    title: str = "",
) -> Path:
    """Draw a frame before and after the subtraction of 1/f stripes, the stripes and row means.

    Parameters
    ----------
    path : path
        PNG file to write.
    before, stripes, after : array, shape (ny, nx)
        Rate image, pattern that was subtracted, result; DN/s.
    mask : bool array, shape (ny, nx), optional
        True = source or bad pixel, left out of the fit; outlined in the first panel and left
        out of the row means.
    title : str
        Title of the figure.

    Returns
    -------
    Path
        The file written.
    """
    binning = canvas.binning(before.shape)
    views = [canvas.binned(image, binning) for image in (before, stripes, after)]
    sky, noise = canvas.sky(views[2])
    figure = canvas.new_figure(9.0, 9.2, title)
    panels = list(figure.subplots(2, 2).flat)
    for panel, view, level, name in zip(
        panels,
        views,
        (sky, canvas.sky(views[1])[0], sky),
        ("before", "stripes", "after"),
        strict=False,
    ):
        drawn = canvas.show(panel, view - level, -3 * noise, 5 * noise, shape=before.shape)
        panel.set_title(name)
    if mask is not None:
        hidden = canvas.binned(mask.astype(np.float32), binning) > 0.5
        canvas.outline(panels[0], hidden, ORANGE, shape=before.shape)
        panels[0].set_title("before (orange: masked)")
    canvas.colour_bar(figure, drawn, panels[:2], "DN/s above sky")
    _row_panel(panels[3], before, after, mask)
    return canvas.write(figure, path)


def snowball_figure(
    path: str | os.PathLike,
    difference: NDArray,
    flags: NDArray,
    *,
    jumps: NDArray | None = None,
    contaminated: NDArray | None = None,
    events: Sequence[tuple[float, float, float]] = (),
    title: str = "",
) -> Path:
    """Draw the largest snowballs of a group difference with the outlines of their flags.

    Flags of cosmic rays (groups of fewer than `MIN_OUTLINED` pixels) are not outlined.

    Parameters
    ----------
    path : path
        PNG file to write.
    difference : array, shape (ny, nx)
        Difference of two groups, DN.
    flags : bool array, shape (ny, nx)
        True = flagged after the snowball step.
    jumps : bool array, shape (ny, nx), optional
        True = flagged before it.
    contaminated : bool array, shape (ny, nx), optional
        True = truly contaminated (simulations).
    events : sequence of (y, x, radius)
        Centres and outer radii in pixels; default: the largest connected groups of `flags`.
    title : str
        Title of the figure.

    Returns
    -------
    Path
        The file written.
    """
    events = sorted(events or _regions(flags), key=lambda event: -event[2])[:N_CUTOUTS]
    figure = canvas.new_figure(9.6, 3.0 * max(1, -(-len(events) // 3)) + 0.8, title)
    if not events:
        figure.text(0.5, 0.5, "no snowball in this group", ha="center", va="center")
        return canvas.write(figure, path)
    panels = list(figure.subplots(-(-len(events) // 3), 3, squeeze=False).flat)
    level, noise = canvas.sky(difference)
    for panel in panels[len(events) :]:
        panel.set_axis_off()
    outlines = (
        ("flagged", flags, ORANGE, "-"),
        ("jump step", jumps, SKY_BLUE, "-"),
        ("truly contaminated", contaminated, GREEN, "--"),
    )
    for panel, (y, x, radius) in zip(panels, events, strict=False):
        region = _cutout(y, x, 1.6 * radius + 12, difference.shape)
        drawn = canvas.show(
            panel,
            difference[region] - level,
            -2 * noise,
            1000 * noise,
            shape=difference.shape,
            region=region,
            asinh=2 * noise,
        )
        for _, flagged, colour, style in outlines:
            if flagged is not None:
                large = _regions_above(flagged[region], MIN_OUTLINED)
                canvas.outline(panel, large, colour, region=region, style=style)
    powers = 10.0 ** np.arange(np.ceil(np.log10(5 * noise)), np.log10(1000 * noise))
    canvas.colour_bar(figure, drawn, panels, "DN in one group, asinh scale", [0, *powers])
    canvas.legend(figure, [(n, c, s) for n, flagged, c, s in outlines if flagged is not None])
    return canvas.write(figure, path)


def _objective_panel(
    panel: Axes, scales: NDArray, values: NDArray, scale: float | None, scale_err: float | None
) -> None:
    """Draw the function that the wisp scale minimises."""
    panel.plot(scales, values, color="black", lw=1.5)
    if scale is not None:
        text = with_error(scale, scale_err or 0.0)
        panel.axvline(scale, color=ORANGE, lw=1.5, label=f"taken: {text}")
        if scale_err is not None:
            panel.axvspan(scale - scale_err, scale + scale_err, color=ORANGE, alpha=0.3, lw=0)
        panel.legend(loc="best", frameon=False)
    panel.set_title("what the scale minimises")
    panel.set_xlabel("template scale")
    panel.set_ylabel("objective")
    panel.set_box_aspect(1)


def _row_panel(panel: Axes, before: NDArray, after: NDArray, mask: NDArray | None) -> None:
    """Draw the row means of the first quarter of the columns before and after."""
    columns = slice(0, max(1, before.shape[1] // 4))
    rows = slice(*_middle(before.shape[0], 256))
    for image, colour, label, width in (
        (before, ORANGE, "before", 1.0),
        (after, "black", "after", 1.4),
    ):
        part = np.array(image[rows, columns], dtype=np.float64)
        if mask is not None:
            part[mask[rows, columns]] = np.nan
        level = canvas.row_medians(part)
        panel.plot(
            np.arange(rows.start, rows.stop),
            level - canvas.sky(level)[0],
            color=colour,
            lw=width,
            label=label,
        )
    panel.set_title(f"row medians, columns 0 to {columns.stop - 1}")
    panel.set_xlabel("row [pixel]")
    panel.set_ylabel("DN/s above sky")
    panel.margins(y=0.12)
    panel.legend(loc="upper right", ncols=2, frameon=False)
    panel.set_box_aspect(1)


def _middle(size: int, length: int) -> tuple[int, int]:
    """Return the bounds of the middle `length` elements of an axis."""
    length = min(size, length)
    start = (size - length) // 2
    return start, start + length


def _most_changed(before: NDArray, after: NDArray) -> tuple[slice, slice]:
    """Return the region, a fraction of each side, in which the change varies most."""
    ny, nx = (max(1, n // PARTS) for n in before.shape)
    if min(before.shape) < 4 * PARTS:
        return slice(0, before.shape[0]), slice(0, before.shape[1])
    change = before - after
    # every half of a region, but not along the edges
    tiles = [
        (slice(y, y + ny), slice(x, x + nx))
        for y in range(ny // 2, before.shape[0] - ny, ny // 2)
        for x in range(nx // 2, before.shape[1] - nx, nx // 2)
    ]
    return max(tiles, key=lambda tile: canvas.sky(change[tile])[1])


def _regions_above(flags: NDArray, size: int) -> NDArray:
    """Return the flags without connected groups of fewer than `size` pixels."""
    labels = measure.label(flags, connectivity=1)
    large = np.bincount(labels.ravel()) >= size
    large[0] = False
    return large[labels]


def _regions(flags: NDArray) -> list[tuple[float, float, float]]:
    """Return centre and radius of every connected group of flags."""
    labels = measure.label(flags, connectivity=1)
    found = []
    for rows, columns in ndimage.find_objects(labels):
        radius = max(rows.stop - rows.start, columns.stop - columns.start) / 2
        found.append(
            ((rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2, radius)
        )
    return found


def _cutout(y: float, x: float, half: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return a square region around a point, cut at the edges of the array."""
    bounds = []
    for centre, size in ((y, shape[0]), (x, shape[1])):
        start = min(max(int(centre - half), 0), size - 1)
        bounds.append(slice(start, max(min(int(centre + half) + 1, size), start + 1)))
    return bounds[0], bounds[1]
