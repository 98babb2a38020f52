"""Figures of mosaics and of how far they are from the truth (extra ``report``).

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ceers_steps.figures import canvas
from ceers_steps.figures.canvas import GREEN, ORANGE, SKY_BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ceers_steps.validate.mosaic_records import (
        AperturePhotometry,
        BlockChi,
        PhotometryBin,
        PositionOffset,
    )
    from ceers_steps.validate.mosaics import Positions

__all__ = [
    "background_figure",
    "chi_figure",
    "colour_figure",
    "photometry_figure",
    "position_figure",
    "residual_figure",
]

COLOURS = (SKY_BLUE, ORANGE, GREEN)
"""Of the filters, in the order of wavelength."""
RESIDUAL_BLOCK = 16
"""Side of the blocks of the residual map, pixels."""
DETAIL, SOURCE_DETAIL = 600, 400
"""Sides of the middle of a picture, and of what is shown around the brightest source, pixels."""


def colour_figure(
    path: str | os.PathLike,
    images: Sequence[NDArray],
    names: Sequence[str],
    noises: Sequence[float],
) -> Path:
    """Draw mosaics on the same pixels as one colour picture, and the middle of it larger.

    Parameters
    ----------
    path : path
        PNG file to write.
    images : sequence of array, shape (ny, nx)
        Mosaics without background, shortest wavelength first: it becomes blue, the longest red,
        and what lies between, or their mean, green.
    names : sequence of str
        Their filters.
    noises : sequence of float
        Noise per pixel of blank sky, for the stretch; equal brightness is grey.

    Returns
    -------
    Path
        The file written.
    """
    noise = np.float32(np.exp(np.mean(np.log(noises))))
    blue, *between, red = (image / noise for image in images)
    green = np.mean(between, axis=0) if between else (blue + red) / 2
    figure = canvas.new_figure(12.0, 6.2)
    whole, part = figure.subplots(1, 2)
    shape = images[0].shape
    side = min(DETAIL, *shape)
    corner = [(n - side) // 2 for n in shape]
    box = (slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side))
    factor = canvas.binning(shape, 900)
    for panel, region in ((whole, None), (part, box)):
        planes = [plane if region is None else plane[region] for plane in (red, green, blue)]
        if region is None:
            planes = [canvas.binned(plane, factor) for plane in planes]
        rows, columns = region or (slice(0, shape[0]), slice(0, shape[1]))
        panel.imshow(
            _colours(planes, gain=1 if region is not None else factor**0.5),
            origin="lower",
            interpolation="nearest",
            extent=(columns.start - 0.5, columns.stop - 0.5, rows.start - 0.5, rows.stop - 0.5),
        )
        panel.tick_params(labelsize=8)
        panel.set_xlabel("x [pixel]", fontsize=9)
        panel.set_ylabel("y [pixel]", fontsize=9)
    whole.set_title(f"{names[0]} blue, {names[-1]} red")
    part.set_title("middle")
    canvas.outline_region(whole, box)
    return canvas.write(figure, path)


def background_figure(
    path: str | os.PathLike,
    before: NDArray,
    background: NDArray,
    after: NDArray,
    mask: NDArray,
    *,
    title: str = "",
) -> Path:
    """Draw a mosaic before and after its background was subtracted, and the background.

    Parameters
    ----------
    path : path
        PNG file to write.
    before, background, after : array, shape (ny, nx)
        MJy/sr.
    mask : bool array, shape (ny, nx)
        True = source, left out of the background.
    title : str
        Title of the figure.

    Returns
    -------
    Path
        The file written.
    """
    factor = canvas.binning(before.shape, 400)
    views = [canvas.smooth(canvas.binned(image, factor), 1.0) for image in (before, after)]
    noise = max(canvas.sky(view)[1] for view in views)
    seen = np.isfinite(before)
    model = canvas.binned(np.where(seen, background, np.float32(np.nan)), factor)
    figure = canvas.new_figure(12.0, 4.6, title)
    panels = figure.subplots(1, 3)
    for panel, view, name in zip(
        panels, (views[0], model, views[1]), ("mosaic", "background", "subtracted"), strict=True
    ):
        drawn = canvas.show(panel, view, -4 * noise, 8 * noise, shape=before.shape)
        panel.set_title(name)
    share = canvas.binned((mask & seen).astype(np.float32), factor) > 0.5
    canvas.outline(panels[1], share, ORANGE, shape=before.shape)
    canvas.colour_bar(figure, drawn, list(panels), "MJy/sr, smoothed")
    canvas.legend(figure, [("masked: sources of all filters", ORANGE, "-")])
    return canvas.write(figure, path)


def residual_figure(
    path: str | os.PathLike,
    residual: NDArray,
    truth: NDArray,
    sky_noise: float,
    *,
    title: str = "",
) -> Path:
    """Draw what is left of a mosaic when the truth is taken off.

    Parameters
    ----------
    path : path
        PNG file to write.
    residual, truth : array, shape (ny, nx)
        Product less truth, and truth, MJy/sr.
    sky_noise : float
        Noise per pixel of blank sky, MJy/sr.
    title : str
        Title of the figure.

    Returns
    -------
    Path
        The file written.
    """
    figure = canvas.new_figure(12.0, 4.6, title)
    panels = figure.subplots(1, 3)
    side = min(SOURCE_DETAIL, *residual.shape)
    box = _around_brightest(truth, side)
    blocks = canvas.binned(residual / sky_noise, RESIDUAL_BLOCK)
    drawn = canvas.show(panels[0], blocks, -0.5, 0.5, shape=residual.shape)
    panels[0].set_title(f"{RESIDUAL_BLOCK}-pixel blocks")
    canvas.outline_region(panels[0], box)
    canvas.colour_bar(figure, drawn, panels[:1], "(mosaic - truth) / sky noise")
    for panel, image, name in zip(
        panels[1:], (truth + residual, residual), ("mosaic", "mosaic - truth"), strict=True
    ):
        view = image[box] / sky_noise
        drawn = canvas.show(panel, view, -5, 15, shape=residual.shape, region=box)
        panel.set_title(f"{name}, detail")
    canvas.colour_bar(figure, drawn, list(panels[1:]), "sky noise per pixel")
    return canvas.write(figure, path)


def photometry_figure(
    path: str | os.PathLike,
    fluxes: Sequence[tuple[str, AperturePhotometry, NDArray, Sequence[PhotometryBin]]],
) -> Path:
    """Draw flux errors by magnitude, and their scatter against what was predicted.

    Parameters
    ----------
    path : path
        PNG file to write.
    fluxes : sequence of (filter, AperturePhotometry, magnitudes, bins)
        What was measured; magnitudes of its sources, shape (n,).

    Returns
    -------
    Path
        The file written.
    """
    figure = canvas.new_figure(5.5 * len(fluxes), 7.2)
    axes = figure.subplots(
        2, len(fluxes), squeeze=False, sharex=True, sharey="row", height_ratios=(2, 1)
    )
    for (above, below), (name, photometry, magnitudes, bins), colour in zip(
        axes.T, fluxes, COLOURS, strict=False
    ):
        relative = 100 * photometry.error / photometry.true
        predicted = 100 * photometry.sigma / photometry.true
        order = np.argsort(magnitudes)
        above.plot(magnitudes, relative, ".", color=colour, ms=5, alpha=0.7, label="sources")
        middle = [0.5 * (each.bright + each.faint) for each in bins]
        rms = _running_median(predicted[order])
        above.fill_between(
            magnitudes[order], -rms, rms, color="0.85", lw=0, label="predicted 1 sigma", zorder=0
        )
        above.errorbar(
            middle,
            [100 * each.bias for each in bins],
            [100 * each.bias_err for each in bins],
            fmt="ks",
            ms=4,
            capsize=3,
            label="all of a bin",
        )
        above.axhline(0, color="0.4", lw=0.8)
        above.set_ylim(-20, 20)
        above.set_title(name)
        below.errorbar(
            middle, [each.chi for each in bins], [each.chi_err for each in bins], fmt="ks", ms=4
        )
        below.axhline(1, color="0.4", lw=0.8)
        below.set_ylim(0, 2.5)
        below.set_xlabel("AB magnitude")
        for panel in (above, below):
            panel.grid(color="0.9", lw=0.5)
    axes[0, 0].set_ylabel("flux error [%]")
    axes[1, 0].set_ylabel("scatter / predicted")
    axes[0, 0].legend(loc="upper left", fontsize=8)
    return canvas.write(figure, path)


def position_figure(
    path: str | os.PathLike,
    places: Sequence[tuple[str, Positions, Sequence[PositionOffset]]],
) -> Path:
    """Draw errors of positions in mosaics, and of the WCS of the exposures.

    Parameters
    ----------
    path : path
        PNG file to write.
    places : sequence of (filter, Positions, sequence of PositionOffset)
        Sources in each mosaic, and the mean error of the WCS of each exposure.

    Returns
    -------
    Path
        The file written.
    """
    figure = canvas.new_figure(5.2 * len(places), 5.4)
    axes = figure.subplots(1, len(places), squeeze=False, sharex=True, sharey=True)[0]
    distances = np.concatenate([np.hypot(each.east, each.north) for _, each, _ in places])
    found = distances[np.isfinite(distances)]
    reach = max(5.0, 4 * float(np.median(found))) if found.size else 5.0
    for panel, (name, positions, exposures), colour in zip(axes, places, COLOURS, strict=False):
        bright = positions.mag < 23
        for chosen, size, label in ((bright, 26, "sources to 23 AB"), (~bright, 7, "to 25 AB")):
            panel.scatter(
                positions.east[chosen], positions.north[chosen], s=size, c=colour, label=label
            )
        panel.plot(
            [each.east for each in exposures],
            [each.north for each in exposures],
            "k+",
            ms=9,
            mew=1.5,
            label="WCS of the exposures",
        )
        _cross(panel, reach)
        panel.set_title(name)
        panel.set_xlabel("east, measured - true [mas]")
    axes[0].set_ylabel("north, measured - true [mas]")
    axes[0].legend(loc="upper left", fontsize=8)
    return canvas.write(figure, path)


def chi_figure(path: str | os.PathLike, chis: Sequence[tuple[str, Sequence[BlockChi]]]) -> Path:
    """Draw the scatter of blank sky over the predicted one against the size of blocks.

    Parameters
    ----------
    path : path
        PNG file to write.
    chis : sequence of (filter, sequence of BlockChi)
        What was measured.

    Returns
    -------
    Path
        The file written.
    """
    figure = canvas.new_figure(6.5, 4.4)
    panel = figure.subplots()
    panel.axhspan(0.98, 1.02, color="0.88", lw=0, label="goal")
    panel.axhline(1, color="0.4", lw=0.8)
    for (name, blocks), colour in zip(chis, COLOURS, strict=False):
        sides = [each.block for each in blocks]
        panel.errorbar(
            sides,
            [each.chi for each in blocks],
            [each.chi_err for each in blocks],
            fmt="o-",
            color=colour,
            capsize=3,
            label=name,
        )
        claimed = [each.claimed for each in blocks]
        panel.plot(sides, claimed, ":", color=colour, label=f"{name}, error array alone")
    panel.set_xscale("log", base=2)
    panel.set_xticks(sides, [str(side) for side in sides])
    panel.set_xlabel("side of the blocks [pixel]")
    panel.set_ylabel("scatter / predicted")
    panel.set_ylim(0.4, 1.2)
    panel.legend(loc="lower right", fontsize=8)
    return canvas.write(figure, path)


def _colours(planes: Sequence[NDArray], gain: float) -> NDArray:
    """Return red, green and blue (in units of their noise) as colours from 0 to 1.

    All are scaled by one function of their mean, so that hue does not depend on brightness.
    """
    seen = np.all([np.isfinite(plane) for plane in planes], axis=0)
    colour = np.stack([np.where(seen, plane, 0) for plane in planes], axis=-1) * gain
    mean = np.maximum(colour.mean(axis=-1, keepdims=True), 2.0)  # or noise has strong hues
    bright = np.arcsinh(mean / 3.0) / np.arcsinh(80.0)
    colour = np.clip(0.07 + colour / mean * bright, 0, None)
    return colour / np.maximum(colour.max(axis=-1, keepdims=True), 1.0) * seen[..., None]


def _around_brightest(truth: NDArray, side: int) -> tuple[slice, slice]:
    """Return a box of a side around the brightest pixel that has it whole."""
    margin = side // 2
    ny, nx = truth.shape
    inner = truth[margin : ny - margin + 1, margin : nx - margin + 1]
    if np.isfinite(inner).any():
        row, column = np.unravel_index(np.nanargmax(inner), inner.shape)
    else:
        row, column = inner.shape[0] // 2, inner.shape[1] // 2
    return slice(row, row + side), slice(column, column + side)


def _running_median(values: NDArray) -> NDArray:
    """Return the median of neighbours, of an ordered series."""
    from scipy.ndimage import median_filter

    return median_filter(values, size=min(15, len(values)), mode="nearest")


def _cross(panel: Axes, reach: float) -> None:
    """Draw the origin, with equal axes."""
    panel.axhline(0, color="0.6", lw=0.8, zorder=0)
    panel.axvline(0, color="0.6", lw=0.8, zorder=0)
    panel.set_xlim(reach, -reach)  # east to the left, as on the sky
    panel.set_ylim(-reach, reach)
    panel.set_aspect("equal")
    panel.grid(color="0.9", lw=0.5)
