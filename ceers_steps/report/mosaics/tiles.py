"""A picture of any size as tiles of several resolutions, of which a page loads what is seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.figures import canvas
from ceers_steps.report.mosaics.reading import binned_mean

__all__ = ["TILE", "Stretch", "levels_of", "write_thumbnail", "write_tiles"]

TILE = 512
"""Pixels along a side of a tile."""

QUALITY = 60
"""Of JPEG: 0.15 bytes a pixel of noise."""

THUMBNAIL = 640
"""Pixels along the longer side of the small picture, at most."""

SOFTENING = 3.0
"""The stretch is linear below so many times the noise, logarithmic above."""

BLACK, WHITE = -3.0, 200.0
"""Limits of the stretch from the sky level, in units of the noise."""


@dataclass(frozen=True)
class Stretch:
    """Grey values of an image: level and noise of its sky, as in its finest picture."""

    level: float
    noise: float

    @classmethod
    def of(cls, image: NDArray) -> "Stretch":
        """Return the stretch of an image, from a part of its pixels."""
        step = max(1, max(image.shape) // 1500)
        return cls(*canvas.sky(image[::step, ::step]))

    def grey(self, image: NDArray) -> NDArray[np.uint8]:
        """Return an image in 256 greys, black where it has no data."""
        low, high = (np.float32(np.arcsinh(limit / SOFTENING)) for limit in (BLACK, WHITE))
        scaled = (image - np.float32(self.level)) * np.float32(1 / (SOFTENING * self.noise))
        grey = (np.arcsinh(scaled) - low) * (np.float32(255) / (high - low))
        return np.where(np.isfinite(image), np.clip(grey, 0, 255), 0).astype(np.uint8)


def levels_of(image: NDArray) -> Iterator[NDArray]:
    """Return an image and its means over 2, 4, 8 ... pixels, until one tile holds it.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        NaN where there are no data.

    Yields
    ------
    ndarray
        The finest first.
    """
    yield image
    while max(image.shape) > TILE:
        image = binned_mean(image, 2)
        yield image


def write_tiles(
    folder: Path, planes: Sequence[NDArray], paint: Callable[[list[NDArray]], NDArray]
) -> list[dict[str, Any]]:
    """Write the tiles of a picture, ``<level>/<row>-<column>.jpg``, from the top left corner.

    Parameters
    ----------
    folder
        Where; it is empty or new.
    planes : sequence of ndarray of float32, shape (ny, nx)
        One image, or several on the same pixels; the first row is the bottom one.
    paint
        Returns the picture of a part of each of the planes: greys, shape (ny, nx), or colours,
        shape (ny, nx, 3).

    Returns
    -------
    list of dict
        For each level, the finest first: ``w`` and ``h`` in pixels, and ``has``: for each of its
        tiles, row by row, 1 where there are data and so a file.
    """
    with optional_import("Pictures need Pillow", extra="report"):
        from PIL import Image
    written = []
    for number, level in enumerate(zip(*(levels_of(plane) for plane in planes), strict=True)):
        ny, nx = level[0].shape
        (folder / str(number)).mkdir(parents=True)
        upright = [plane[::-1] for plane in level]
        has = ""
        for row, y in enumerate(range(0, ny, TILE)):
            for column, x in enumerate(range(0, nx, TILE)):
                parts = [plane[y : y + TILE, x : x + TILE] for plane in upright]
                seen = any(np.isfinite(part).any() for part in parts)
                has += str(int(seen))
                if seen:
                    path = folder / str(number) / f"{row}-{column}.jpg"
                    Image.fromarray(paint(parts)).save(path, format="jpeg", quality=QUALITY)
        written.append({"w": nx, "h": ny, "has": has})
    return written


def write_thumbnail(
    path: Path, planes: Sequence[NDArray], paint: Callable[[list[NDArray]], NDArray]
) -> None:
    """Write a small picture; what has no data is transparent.

    Parameters
    ----------
    path
        WebP file.
    planes, paint
        As in `write_tiles`.
    """
    from PIL import Image

    factor = max(1, -(-max(planes[0].shape) // THUMBNAIL))
    small = [binned_mean(plane, factor)[::-1] for plane in planes]
    painted = paint(small)
    seen = np.any([np.isfinite(plane) for plane in small], axis=0)
    colours = painted if painted.ndim == 3 else np.repeat(painted[:, :, np.newaxis], 3, axis=2)
    alpha = np.where(seen, 255, 0).astype(np.uint8)
    picture = Image.fromarray(np.dstack([colours, alpha]))
    picture.save(path, format="webp", quality=QUALITY)
