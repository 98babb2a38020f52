"""Source masks of exposures in files, ``<exposure>_1fmask.fits``: finding and reading them."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ceers_steps.files.atomic import read_image
from ceers_steps.names import exposure_name

__all__ = ["find_mask", "read_bits"]


def find_mask(filename: str, folders: Iterable[str | os.PathLike]) -> Path | None:
    """Find the source mask of an exposure, ``<exposure>_1fmask.fits``.

    Parameters
    ----------
    filename : str
        Name of a product of the exposure; association id and suffix do not matter.
    folders : iterable of path
        Searched in this order.

    Returns
    -------
    Path or None
    """
    exposure = exposure_name(filename)
    for folder in folders:
        exact = Path(folder) / f"{exposure}_1fmask.fits"
        if exact.is_file():
            return exact
        others = sorted(Path(folder).glob(f"{exposure}_*_1fmask.fits"))
        if others:
            return others[0]
    return None


def read_bits(path: str | os.PathLike, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a source mask as bits, 0 = sky.

    Parameters
    ----------
    path : path
        FITS image; one that does not hold bytes has no tiers, only 0 and not 0.
    shape : tuple of int
        What it must have, ``(ny, nx)``.

    Returns
    -------
    ndarray of uint8, shape (ny, nx)

    Raises
    ------
    CeersError
        When it cannot be read or has another shape.
    """
    data = read_image(path, f"source_mask={path}", shape)
    return data if data.dtype == "uint8" else (data != 0).astype("uint8")
