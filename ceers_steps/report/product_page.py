"""The page of one product: its picture, flags over it, what was applied, metrics."""

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.figures.flags import COLOURS, Flag, flags_png, read_flags
from ceers_steps.figures.numbers import metric_rows
from ceers_steps.figures.preview import preview_png, read_preview
from ceers_steps.files.headers.provenance import read_meta
from ceers_steps.files.limits import check_regular
from ceers_steps.files.metrics import metrics_of
from ceers_steps.files.whole_files import check_begin
from ceers_steps.report.html import write_html

__all__ = ["Product", "read_product", "write_product_page"]

SIZE = 1400
"""Pixels along the longer side of the picture."""

KEYWORDS = ("TELESCOP", "INSTRUME", "DETECTOR", "FILTER", "PUPIL", "DATE-OBS", "EFFEXPTM",
            "EXP_TYPE", "SUBARRAY", "CAL_VER", "CRDS_CTX")  # fmt: skip
"""Keywords that are shown."""


@dataclass(frozen=True)
class Product:
    """What is known of a product.

    Attributes
    ----------
    path : Path
        Of the file.
    extension : str
        That is shown.
    preview : ndarray, shape (ny, nx)
        The image, binned.
    flags : dict of Flag
        By name.
    facts : dict of str
        Keywords.
    stages : list of (str, str)
        Steps of jwst and of this package by status keyword, and their status.
    steps : dict of dict
        What steps of this package have left: status, note, parameters, metrics.
    """

    path: Path
    extension: str
    preview: NDArray[np.float32]
    flags: dict[str, Flag]
    facts: dict[str, str]
    stages: list[tuple[str, str]]
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[tuple[str, str, str, str]]:
        """Name, value, unit and meaning of each metric."""
        return metric_rows(
            metrics_of({step: entry.get("metrics", {}) for step, entry in self.steps.items()})
        )


def read_product(path: str | os.PathLike, extension: str | None = None) -> Product:
    """Read a product: what is shown of it.

    Parameters
    ----------
    path
        FITS file, image or cube: of a cube the first integration, and the last group.
    extension
        Name of the image; default SCI, else the first image of the file.

    Returns
    -------
    Product

    Raises
    ------
    CeersError
        When it cannot be read, or has no such image.
    """
    path = Path(path)
    check_regular(path, os.fspath(path))
    try:
        check_begin(path)
        with fits.open(path, memmap=False) as hdus:
            names = [hdu.name for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) > 1]
            shown = extension or ("SCI" if "SCI" in names else names[0] if names else "SCI")
            header = hdus[0].header.copy()
            if shown not in names:
                raise KeyError(shown)
        entries = read_meta(path).get("ceers_steps", {})
        preview = read_preview(path, extension=shown, largest=SIZE)
        flags = read_flags(path, SIZE) if shown in {"SCI", "ERR"} else {}
    except KeyError as err:
        raise CeersError(
            f"{path} has no image {extension or 'SCI'}. Name another with --extension."
        ) from err
    except (OSError, ValueError, TypeError) as err:
        raise CeersError(f"{path} is not a FITS image that can be read ({err}).") from err
    flags = {name: each for name, each in flags.items() if each.blocks.shape == preview.shape}
    stages = [(key, str(header[key])) for key in header if key.startswith("S_")]
    facts = {key: str(header[key]) for key in KEYWORDS if key in header}
    steps = {step: entry for step, entry in entries.items() if isinstance(entry, dict)}
    return Product(path, shown, preview, flags, facts, stages, steps)


def write_product_page(path: str | os.PathLike, product: Product, stretch: str) -> Path:
    """Write the page, one file that needs nothing else.

    Parameters
    ----------
    path
        HTML file.
    product
        What is shown.
    stretch
        See `~ceers_steps.figures.preview.STRETCHES`.

    Returns
    -------
    Path
        The file.
    """
    overlays = []
    for number, (name, flag) in enumerate(product.flags.items()):
        colour = COLOURS[number % len(COLOURS)]
        layer = base64.b64encode(flags_png(flag.blocks, colour)).decode()
        overlays.append((name, colour, f"{flag.fraction:.2%}", layer))
    picture = base64.b64encode(preview_png(product.preview, stretch)).decode()
    ny, nx = product.preview.shape
    return write_html(
        path,
        "product.html",
        product=product,
        picture=picture,
        width=nx,
        height=ny,
        overlays=overlays,
        stretch=stretch,
    )
