"""Small pictures of large images, read without their size in memory."""

import io
import os

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.figures.canvas import sky

__all__ = ["LARGEST", "preview_png", "read_preview"]

LARGEST = 640
"""Pixels along the longer side of a preview."""

ROWS = 4
"""Rows of the image that are read for each row of the preview."""

SOFTENING = 3.0
"""The stretch is linear below so many times the noise of the preview, logarithmic above."""

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
        ny, nx = image.shape
        factor = max(1, -(-max(ny, nx) // largest))
        columns = np.arange(0, nx, factor)
        preview = np.full((-(-ny // factor), len(columns)), np.nan, dtype=np.float32)
        for line, start in enumerate(range(0, ny, factor)):
            end = min(start + factor, ny)
            rows = np.unique(np.linspace(start, end - 1, ROWS).round().astype(int))
            total = np.zeros(len(columns))
            number = np.zeros(len(columns))
            for row in rows:
                pixels = np.asarray(image[row, :], dtype=np.float32)
                good = np.isfinite(pixels) & (pixels != 0)
                total += np.add.reduceat(np.where(good, pixels, np.float32(0)), columns)
                number += np.add.reduceat(good, columns, dtype=np.float64)
            np.divide(total, number, out=preview[line], where=number > 0, casting="same_kind")
    return preview


def preview_png(preview: NDArray) -> bytes:
    """Return a preview as a grey PNG with an asinh stretch, north of the grid up.

    Parameters
    ----------
    preview : ndarray, shape (ny, nx)
        What `read_preview` returned; pixels without data are white, as the page is.

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
        from PIL import Image
    level, noise = sky(preview)
    low, high = (np.arcsinh(limit / SOFTENING) for limit in (BLACK, WHITE))
    grey = (np.arcsinh((preview - level) / (SOFTENING * noise)) - low) / (high - low)
    grey = np.where(np.isfinite(preview), 235 * np.clip(grey, 0, 1), 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey[::-1]).save(buffer, format="png", optimize=True)
    return buffer.getvalue()
