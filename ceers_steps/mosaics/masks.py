"""Masks of mosaics: each its own, one merged from all filters, one that a user gives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.files.fits_planes import virtual_array
from ceers_steps.kernels.rows import flagged, row_blocks
from ceers_steps.kernels.sources.mosaic_background import BORDER, REGION
from ceers_steps.kernels.sources.mosaic_tiers import mask_mosaic
from ceers_steps.mosaics.images import Mosaic, pixel_map
from ceers_steps.mosaics.regions import read_regions, sample_mask

__all__ = ["BIT_CARDS", "MaskOptions", "apply_masks", "merge_inplace", "without_pixels"]

BIT_CARDS = [
    ["BIT0", "border", "no detector has seen this pixel"],
    ["BIT1TO4", "tiers", "sources, from the widest tier to the smallest"],
    ["BIT5", "outskirts", "of sources, where their light fades"],
    ["BIT6", "regions", "drawn by hand"],
    ["BIT7", "core", "above the threshold of a tier"],
]
"""FITS cards that say what the bits mean."""


@dataclass(frozen=True)
class MaskOptions:
    """What masks are made of, beside the mosaics.

    Attributes
    ----------
    parameter : str
        Name of the parameter by which mosaics share a mask, for messages.
    mask_regions, exclude_regions : str or None
        Files of what is added, and of what is cleared.
    n_threads : int
        Strips that are searched at a time.
    """

    parameter: str
    mask_regions: str | None
    exclude_regions: str | None
    n_threads: int


def merge_inplace(masks: list[Mosaic], mosaic: Mosaic, n_threads: int) -> None:
    """Add the sources of a mosaic to the mask on its grid, or as a new one.

    Parameters
    ----------
    masks : list of Mosaic
        One for each grid; changed.
    mosaic : Mosaic
        Whose sources are searched.
    n_threads : int
        Strips that are searched at a time.
    """
    bits = _search(mosaic, n_threads)
    for mask in masks:
        if pixel_map(mosaic, mask) is None:
            np.bitwise_or(mask.image, bits, out=mask.image)
            return
    masks.append(replace(without_pixels(mosaic), image=bits))


def apply_masks(
    mosaic: Mosaic, masks: Sequence[Mosaic], reference: Mosaic | None, options: MaskOptions
) -> tuple[Mosaic, NDArray[np.bool_] | None]:
    """Return a mosaic with the bits of the mask that is used, and the pixels cleared by hand.

    Parameters
    ----------
    mosaic : Mosaic
        What is masked.
    masks : sequence of Mosaic
        Its masks; none for its own sources.
    reference : Mosaic or None
        Whose pixels are meant by regions in image coordinates.
    options : MaskOptions
        Regions and threads.

    Returns
    -------
    mosaic : Mosaic
        With its bits.
    cleared : ndarray of bool, shape (ny, nx), or None
        True = sky whatever masked it.
    """
    bits = mosaic.border[: mosaic.shape[0]].astype(np.uint8)
    every: list[Mosaic | None] = [*masks] or [None]
    for mask in every:
        if mask is None:
            values = _search(mosaic, options.n_threads)
        else:
            values = sample_mask(mask, mosaic, options.parameter)
        for rows in row_blocks(bits.shape):
            bits[rows] |= values[rows] & ~BORDER
        del values
    if options.mask_regions:
        inside = read_regions(options.mask_regions, "mask_regions", mosaic, reference)
        bits[inside] |= REGION
    cleared = None
    if options.exclude_regions:
        cleared = read_regions(options.exclude_regions, "exclude_regions", mosaic, reference)
        bits[cleared] &= BORDER
    return replace(mosaic, border=flagged(bits, int(BORDER)), bits=bits), cleared


def without_pixels(mosaic: Mosaic) -> Mosaic:
    """Return a mosaic without its pixels: its grid.

    Parameters
    ----------
    mosaic : Mosaic
        Any.

    Returns
    -------
    Mosaic
        Its image and border take no memory.
    """
    nothing: Any = virtual_array(mosaic.shape, bool)
    return replace(mosaic, image=nothing, border=nothing, noise=None)


def _search(mosaic: Mosaic, n_threads: int) -> NDArray[np.uint8]:
    """Return the bits of a mosaic's own sources."""
    try:
        return mask_mosaic(
            mosaic.image,
            mosaic.border,
            mosaic.tiers,
            predicted_noise=mosaic.noise,
            follow_borders=mosaic.follow_borders,
            n_threads=n_threads,
        )
    except ValueError as err:
        raise CeersError(f"{mosaic.name}: no sources can be searched: {err}.") from err
