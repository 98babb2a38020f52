"""Flags of DQ as small pictures, to lie over that of the image."""

import io
import os
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.figures.preview import plane

__all__ = ["COLOURS", "FLAGS", "Flag", "flags_png", "overlaid_png", "read_flags"]

FLAGS = {
    "DO_NOT_USE": 0,
    "SATURATED": 1,
    "JUMP_DET": 2,
    "OUTLIER": 4,
    "PERSISTENCE": 5,
    "NON_SCIENCE": 9,
    "DEAD": 10,
    "HOT": 11,
    "NO_FLAT_FIELD": 18,
    "OTHER_BAD_PIXEL": 30,
}
"""Flags that are shown, and their bits."""

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
"""Of the flags, in turn (Okabe and Ito)."""


@dataclass(frozen=True)
class Flag:
    """Where pixels have a flag.

    Attributes
    ----------
    blocks : ndarray of bool, shape (ny, nx)
        True where any pixel of a block has it.
    fraction : float
        Of all pixels.
    """

    blocks: NDArray[np.bool_]
    fraction: float


def read_flags(path: str | os.PathLike, largest: int) -> dict[str, Flag]:
    """Read where pixels are flagged, binned as `~ceers_steps.figures.preview.read_preview` does.

    Parameters
    ----------
    path
        FITS file.
    largest
        Pixels along the longer side.

    Returns
    -------
    dict of Flag
        By name, those of `FLAGS` that occur. Empty for a file without DQ.
    """
    with fits.open(path, memmap=False) as hdus:
        if "DQ" not in hdus or hdus["DQ"].header.get("NAXIS", 0) < 2:
            return {}
        image = hdus["DQ"].section
        lead = plane(image.shape)
        ny, nx = image.shape[-2:]
        factor = max(1, -(-max(ny, nx) // largest))
        columns = np.arange(0, nx, factor)
        rows = []
        counts = dict.fromkeys(FLAGS, 0)
        for start in range(0, ny, factor):
            block = np.asarray(image[(*lead, slice(start, min(start + factor, ny)), slice(0, nx))])
            block = block.astype(np.uint32)
            together = np.bitwise_or.reduce(block, axis=0)
            for name, bit in FLAGS.items():
                if (together >> bit & 1).any():
                    counts[name] += int(np.count_nonzero(block >> bit & 1))
            rows.append(np.bitwise_or.reduceat(together, columns))
    bits = np.array(rows)
    return {
        name: Flag((bits >> FLAGS[name]) & 1 == 1, count / (ny * nx))
        for name, count in counts.items()
        if count
    }


def flags_png(flags: NDArray[np.bool_], colour: str) -> bytes:
    """Return flags as a PNG of one colour, transparent elsewhere, the first row at the bottom.

    Parameters
    ----------
    flags : ndarray of bool, shape (ny, nx)
    colour : str
        As ``#E69F00``.

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
    picture = Image.fromarray(flags[::-1].astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, *bytes.fromhex(colour.removeprefix("#"))])
    buffer = io.BytesIO()
    picture.save(buffer, format="png", transparency=0, optimize=True)
    return buffer.getvalue()


def overlaid_png(picture: bytes, overlays: list[bytes]) -> bytes:
    """Return a picture with others over it.

    Parameters
    ----------
    picture : bytes
        PNG.
    overlays : list of bytes
        Of the same size, transparent where the picture shows.

    Returns
    -------
    bytes
        PNG.
    """
    with optional_import("Pictures need Pillow", extra="report"):
        from PIL import Image
    whole = Image.open(io.BytesIO(picture)).convert("RGBA")
    for overlay in overlays:
        whole.alpha_composite(Image.open(io.BytesIO(overlay)).convert("RGBA"))
    buffer = io.BytesIO()
    whole.convert("RGB").save(buffer, format="png", optimize=True)
    return buffer.getvalue()
