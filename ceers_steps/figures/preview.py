"""Small pictures of large images, read without their size in memory."""

import io
import os

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.figures.canvas import sky

__all__ = ["LARGEST", "STRETCHES", "plane", "preview_png", "read_preview"]

LARGEST = 640
"""Pixels along the longer side of a preview."""

ROWS = 4
"""Rows of the image that are read for each row of the preview."""

SOFTENING = 3.0
"""The stretch is linear below so many times the noise of the preview, logarithmic above."""

STRETCHES = ("zscale", "asinh")
"""How values become grey levels: linear between limits around the sky, or for bright and faint."""

BLACK, WHITE = -2.0, 200.0
"""Limits of the stretch from the sky level, in units of that noise."""


def read_preview(
    path: str | os.PathLike, *, extension: str = "SCI", largest: int = LARGEST
) -> NDArray[np.float32]:
    """Read an image binned to at most `largest` pixels along each side.

    A part of its rows is read and averaged: a mosaic of 46200 x 15400 pixels takes 20 MB.

    Parameters
    ----------
    path
        FITS file.
    extension
        Name of the image.
    largest
        Size of the result.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Means over the pixels with data; NaN where there are none (NaN or 0 in the image).
    """
    with fits.open(path, memmap=False) as hdus:
        image = hdus[extension].section
        lead = plane(image.shape)
        ny, nx = image.shape[-2:]
        factor = max(1, -(-max(ny, nx) // largest))
        columns = np.arange(0, nx, factor)
        preview = np.full((-(-ny // factor), len(columns)), np.nan, dtype=np.float32)
        for line, start in enumerate(range(0, ny, factor)):
            end = min(start + factor, ny)
            rows = np.unique(np.linspace(start, end - 1, ROWS).round().astype(int))
            total = np.zeros(len(columns))
            number = np.zeros(len(columns))
            for row in rows:
                pixels = np.asarray(image[(*lead, row, slice(0, nx))], dtype=np.float32)
                good = np.isfinite(pixels) & (pixels != 0)
                total += np.add.reduceat(np.where(good, pixels, np.float32(0)), columns)
                number += np.add.reduceat(good, columns, dtype=np.float64)
            np.divide(total, number, out=preview[line], where=number > 0, casting="same_kind")
    return preview


def plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return which plane of a cube is shown: the first integration, the last group of a ramp.

    Parameters
    ----------
    shape
        Of the array.

    Returns
    -------
    tuple of int
        Its indices before row and column; empty for an image.

    Raises
    ------
    ValueError
        When it is no image.
    """
    if len(shape) < 2:
        raise ValueError(f"an array of shape {shape} is no image")
    return (
        ()
        if len(shape) == 2
        else (0,) * (len(shape) - 3) + ((shape[-3] - 1,) if len(shape) == 4 else (0,))
    )


def preview_png(preview: NDArray, stretch: str = "asinh") -> bytes:
    """Return a preview as a grey PNG, north of the grid up.

    Parameters
    ----------
    preview : ndarray, shape (ny, nx)
        What `read_preview` returned; pixels without data are white, as the page is.
    stretch : {'asinh', 'zscale'}
        One of `STRETCHES`.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    CeersError
        When the extra ``report`` is not installed.
    """
    with optional_import("Pictures need Pillow", extra="report"):
        import PIL  # noqa: F401
    if stretch == "zscale":
        limits = _zscale(preview)
        return _grey_png((preview - limits[0]) / (limits[1] - limits[0]))
    level, noise = sky(preview)
    low, high = (np.arcsinh(limit / SOFTENING) for limit in (BLACK, WHITE))
    grey = (np.arcsinh((preview - level) / (SOFTENING * noise)) - low) / (high - low)
    return _grey_png(grey)


def _zscale(preview: NDArray) -> tuple[float, float]:
    """Return black and white as IRAF's zscale has them."""
    from astropy.visualization import ZScaleInterval

    values = preview[np.isfinite(preview)]
    if not values.size:
        return 0.0, 1.0
    low, high = ZScaleInterval().get_limits(values)
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _grey_png(grey: NDArray) -> bytes:
    """Return values of 0 to 1 as a PNG, the first row at the bottom, NaN white."""
    from PIL import Image

    grey = np.where(np.isfinite(grey), 235 * np.clip(grey, 0, 1), 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey[::-1]).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
