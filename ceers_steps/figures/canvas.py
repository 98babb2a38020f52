"""What every figure needs: a figure without pyplot, binning, stretch, outlines, writing.

Uses no kernel on purpose: figures are also drawn by `ceers_steps.validate`, which must not check
kernels with their own code. So the medians of blocks and the noise stand here again.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.errors import optional_import
from ceers_steps.files.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Of Okabe and Ito's colours, which every kind of colour vision can tell apart.
ORANGE, SKY_BLUE, GREEN = "#E69F00", "#56B4E9", "#009E73"

PANEL_PIXELS = 512
"""Frames are binned to at most this size."""

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a normal distribution in units of its median absolute deviation."""

Region = tuple[slice, slice]


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Return an empty figure, in inches, drawn by Agg whatever the display.

    Raises
    ------
    CeersError
        When matplotlib is not installed.
    """
    with optional_import("Figures need matplotlib", extra="report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="compressed", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def write(figure: Figure, path: str | os.PathLike, greys: int | None = None) -> Path:
    """Write a figure as PNG and return the path.

    With `greys`, colours are reduced to so many greys and `ORANGE`, for a small file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    if greys is not None:
        from PIL import Image

        levels = np.linspace(0, 255, greys).round().astype(np.uint8)
        orange = bytes.fromhex(ORANGE.removeprefix("#"))
        palette = Image.new("P", (1, 1))
        palette.putpalette(np.repeat(levels, 3).tobytes() + orange)
        picture = Image.open(buffer).convert("RGB")
        buffer = io.BytesIO()
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(
            buffer, format="png", optimize=True
        )
    return write_atomic(path, lambda scratch: scratch.write_bytes(buffer.getvalue()))


def binning(shape: tuple[int, ...], largest: int = PANEL_PIXELS) -> int:
    """Return the binning that brings a frame to at most `largest` pixels."""
    return max(1, -(-max(shape) // largest))


def binned(image: NDArray, factor: int) -> NDArray:
    """Return the medians of `factor` x `factor` blocks without NaN; leftover edges are dropped."""
    image = np.asarray(image, dtype=np.float32)
    if factor <= 1:
        return image
    ny, nx = (n // factor for n in image.shape)
    tiles = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    return _nanmedian(tiles.transpose(0, 2, 1, 3).reshape(ny, nx, factor * factor))


def row_medians(image: NDArray) -> NDArray:
    """Return the median of every row without NaN."""
    return _nanmedian(image)


def smooth(image: NDArray, sigma: float = 1.5) -> NDArray:
    """Return a Gaussian-smoothed image; NaN pixels do not spread."""
    good = np.isfinite(image)
    weight = ndimage.gaussian_filter(good.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(good, image, np.float32(0)), sigma)
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), np.nan)


def sky(image: NDArray) -> tuple[float, float]:
    """Return level and noise of the sky: median and scatter of the pixels below it."""
    values = image[np.isfinite(image)]
    if values.size == 0:
        return 0.0, 1.0
    level = float(np.median(values))
    below = level - values[values <= level]
    noise = float(MAD_TO_SIGMA * np.median(below))
    return level, noise if noise > 0 else float(np.ptp(values)) or 1.0


def sky_limits(image: NDArray, low: float = 3.0, high: float = 9.0) -> tuple[float, float]:
    """Return the limits of a stretch from `low` sigma below the sky to `high` above it."""
    level, noise = sky(image)
    return level - low * noise, level + high * noise


def show(
    panel: Axes,
    view: NDArray,
    low: float,
    high: float,
    *,
    shape: tuple[int, ...],
    region: Region | None = None,
    asinh: float | None = None,
) -> AxesImage:
    """Draw an image in grey, with axes in pixels of the full frame.

    Parameters
    ----------
    panel : Axes
        Where to draw.
    view : array
        Image, binned or not.
    low, high : float
        Black and white.
    shape : (ny, nx)
        Shape of the full frame.
    region : (slice, slice), optional
        Rows and columns of the frame that `view` covers; default all.
    asinh : float, optional
        Width of the linear part of an asinh stretch; default a linear one.
    """
    from matplotlib.colors import AsinhNorm, Normalize

    rows, columns = region or (slice(0, shape[0]), slice(0, shape[1]))
    norm = Normalize(low, high) if asinh is None else AsinhNorm(asinh, low, high)
    drawn = panel.imshow(
        np.ma.masked_invalid(view),
        cmap="gray",
        norm=norm,
        origin="lower",
        interpolation="nearest",
        extent=(columns.start - 0.5, columns.stop - 0.5, rows.start - 0.5, rows.stop - 0.5),
    )
    panel.set_facecolor("#404a60")
    panel.locator_params(nbins=5, integer=True)
    panel.tick_params(labelsize=8, direction="out")
    panel.set_xlabel("x [pixel]", fontsize=9)
    panel.set_ylabel("y [pixel]", fontsize=9)
    return drawn


def outline(
    panel: Axes,
    flags: NDArray,
    colour: str,
    *,
    shape: tuple[int, ...] | None = None,
    region: Region | None = None,
    style: str = "-",
) -> None:
    """Outline the True pixels of an image that covers `region` of the frame (default: all)."""
    if not flags.any() or min(flags.shape) < 2:
        return
    rows, columns = region or (
        slice(0, (shape or flags.shape)[0]),
        slice(0, (shape or flags.shape)[1]),
    )
    # A frame of False pixels closes the outlines at the edges of the view.
    step_y = (rows.stop - rows.start) / flags.shape[0]
    step_x = (columns.stop - columns.start) / flags.shape[1]
    y = rows.start - 0.5 + step_y * (np.arange(-1, flags.shape[0] + 1) + 0.5)
    x = columns.start - 0.5 + step_x * (np.arange(-1, flags.shape[1] + 1) + 0.5)
    limits = panel.axis()
    panel.contour(
        x, y, np.pad(flags, 1).astype(float), [0.5], colors=colour, linewidths=1.2, linestyles=style
    )
    panel.axis(limits)


def outline_region(panel: Axes, region: Region) -> None:
    """Draw a box around a region of the frame."""
    from matplotlib.patches import Rectangle

    rows, columns = region
    panel.add_patch(
        Rectangle(
            (columns.start - 0.5, rows.start - 0.5),
            columns.stop - columns.start,
            rows.stop - rows.start,
            fill=False,
            edgecolor=ORANGE,
            linewidth=1.5,
        )
    )


def colour_bar(
    figure: Figure,
    drawn: AxesImage,
    panels: Sequence[Axes],
    label: str,
    ticks: Sequence[float] | None = None,
) -> None:
    """Add one colour bar for the panels it holds for."""
    bar = figure.colorbar(drawn, ax=list(panels), shrink=0.85, pad=0.02, aspect=30, extend="both")
    if ticks is not None:
        bar.set_ticks(list(ticks), labels=[f"{tick:g}" for tick in ticks])
        bar.minorticks_off()
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def legend(figure: Figure, entries: Sequence[tuple[str, str, str]]) -> None:
    """Explain outlines below the panels: (name, colour, line style) each."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, ls=style, label=name) for name, colour, style in entries]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)


def _nanmedian(values: NDArray) -> NDArray:
    """Median of the last axis without NaN, NaN where there is nothing else, without a warning."""
    good = np.isfinite(values)
    count = good.sum(axis=-1)
    ordered = np.sort(np.where(good, values, np.nan), axis=-1)  # NaN goes last
    middle = np.stack([np.maximum(count - 1, 0) // 2, count // 2], axis=-1)
    middle = np.minimum(middle, values.shape[-1] - 1)
    pair = np.take_along_axis(ordered, middle, axis=-1)
    return np.where(count > 0, pair.mean(axis=-1, dtype=values.dtype), np.nan).astype(values.dtype)
