"""Products of a mosaic's background: in models, in files block by block, beside other images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ceers_steps.kernels.rows import row_blocks
from ceers_steps.kernels.sources.mosaic_background import BORDER, MosaicBackground
from ceers_steps.mosaics.images import Mosaic, image_of
from ceers_steps.mosaics.masks import BIT_CARDS

__all__ = ["NEW_PLANES", "add_extensions", "extra_hdus", "mask_hdu", "planes_of"]

NEW_PLANES = {"BKGD": np.float32, "BKGMASK": np.uint8, "TIERMASK": np.uint8}
"""Planes that a product has beside those of its mosaic, and their types."""


def planes_of(
    mosaic: Mosaic, found: MosaicBackground, rows: slice, outside: float
) -> dict[str, NDArray]:
    """Return the planes of a product that are not those of its mosaic.

    Parameters
    ----------
    mosaic : Mosaic
        With its background.
    found : MosaicBackground
        What is subtracted.
    rows : slice
        Rows that are wanted, with first and last.
    outside : float
        Value of pixels that no detector has seen.

    Returns
    -------
    dict of str to ndarray
        By EXTNAME.
    """
    bits = found.bits[rows]
    background = found.mesh.rows(rows.start, rows.stop)
    image = mosaic.image[rows] - background
    image[mosaic.border[rows]] = outside
    mask = (bits > 0).astype(np.uint8)
    return {"SCI": image, "BKGD": background, "BKGMASK": mask, "TIERMASK": bits}


def add_extensions(model: Any, mosaic: Mosaic, arrays: dict[str, NDArray]) -> None:
    """Add the planes of `NEW_PLANES` to a model, with their headers.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.ImageModel`
        Changed.
    mosaic : Mosaic
        Its place on the sky.
    arrays : dict of str to ndarray
        Planes by EXTNAME.
    """
    header = _wcs_cards(mosaic.wcs)
    unit = [["BUNIT", model.meta.bunit_data or "MJy/sr", "of the background"]]
    extensions = model.instance.setdefault("extra_fits", {})
    headers = {"BKGD": header + unit, "BKGMASK": header, "TIERMASK": header + BIT_CARDS}
    for name, array in arrays.items():
        extensions[name] = {"header": headers[name], "data": array}


def mask_hdu(mosaic: Mosaic, bits: NDArray[np.uint8]) -> fits.PrimaryHDU:
    """Return a mask without its border, as a file of its own.

    Parameters
    ----------
    mosaic : Mosaic
        Its place on the sky.
    bits : ndarray of uint8, shape (ny, nx)
        Its mask.

    Returns
    -------
    `~astropy.io.fits.PrimaryHDU`
        To be written.
    """
    cards = [tuple(card) for card in _wcs_cards(mosaic.wcs) + BIT_CARDS]
    return fits.PrimaryHDU(bits & ~BORDER, fits.Header(cards))


def extra_hdus(
    hdus: fits.HDUList, mosaic: Mosaic, found: MosaicBackground, history: str
) -> fits.HDUList:
    """Return an image that is no JWST product, without its background.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        As they are in its file; changed.
    mosaic : Mosaic
        The image.
    found : MosaicBackground
        What is subtracted.
    history : str
        What was done.

    Returns
    -------
    `~astropy.io.fits.HDUList`
        The same, with the new extensions.
    """
    image, background = (np.empty(mosaic.shape, np.float32) for _ in range(2))
    for rows in row_blocks(mosaic.shape):
        planes = planes_of(mosaic, found, rows, outside=0.0)
        image[rows], background[rows] = planes["SCI"], planes["BKGD"]
    hdu = image_of(hdus)
    hdu.data = image
    header = fits.Header([tuple(card) for card in _wcs_cards(mosaic.wcs)])
    hdus.append(fits.ImageHDU(background, header, name="BKGD"))
    hdus.append(fits.ImageHDU((found.bits > 0).astype(np.uint8), header, name="BKGMASK"))
    header = header + fits.Header([tuple(card) for card in BIT_CARDS])
    hdus.append(fits.ImageHDU(found.bits, header, name="TIERMASK"))
    hdus[0].header["HISTORY"] = history
    return hdus


def _wcs_cards(wcs: Any) -> list[Sequence]:
    """Return the FITS cards of a WCS as lists; none for one that FITS cannot hold."""
    if not isinstance(wcs, WCS):
        return []
    return [list(card) for card in wcs.to_header().cards]
