"""Emission that is seen in a mosaic, on the pixels of its exposures."""

import os
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from stdatamodels.jwst import datamodels

from ceers_steps.errors import CeersError
from ceers_steps.files.whole_files import fits_problem
from ceers_steps.kernels.mosaic.mask_grids import sample_nearest
from ceers_steps.kernels.sources.tiers import Tier, TierSet, mask_sources

__all__ = ["EMISSION_TIERS", "Emission", "find_emission"]

EMISSION_TIERS = TierSet(
    # a wider Gaussian would spread compact sources over much of the frame: what is wider than this
    # and below the noise of one exposure is diluted by the number of the others
    tiers=(Tier(8, 3, 15, 4), Tier(4, 3, 8, 4), Tier(1.5, 3, 5, 3)),
    ring_radius=60,
    ring_width=4,
    noise="smoothed",
    footprint="disc",
)
"""Search for the emission, lengths in pixels of the mosaic."""


@dataclass(frozen=True)
class Emission:
    """Where a mosaic shows emission.

    Attributes
    ----------
    mask : ndarray of bool, shape (ny, nx)
        True = emission.
    wcs : `~gwcs.wcs.WCS`
        Of the mosaic.
    """

    mask: NDArray[np.bool_]
    wcs: Any

    def on_exposure(self, wcs: Any, shape: tuple[int, int], growth: int = 0) -> NDArray[np.bool_]:
        """Return the emission on the pixels of an exposure, distortion and alignment included.

        Parameters
        ----------
        wcs : `~gwcs.wcs.WCS`
            Of the exposure.
        shape : tuple of int
            Of the exposure, ``(ny, nx)``.
        growth : int
            Pixels of the exposure by which the mask grows: a blurred edge, an error of the WCS.

        Returns
        -------
        ndarray of bool, shape (ny, nx)
            True = emission. Pixels outside the mosaic are False.
        """

        def to_mosaic(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
            return self.wcs.world_to_pixel_values(*wcs(x, y, with_bounding_box=False))

        found, _ = sample_nearest(self.mask, to_mosaic, slice(0, shape[0]), shape[1])
        if growth > 0:
            found = ndimage.binary_dilation(found, iterations=growth)
        return found


def find_emission(path: str | os.PathLike) -> Emission:
    """Find the emission in a mosaic.

    Parameters
    ----------
    path
        Mosaic (``*_i2d.fits``) with the WCS of jwst.

    Returns
    -------
    Emission
        Mask and WCS.

    Raises
    ------
    CeersError
        When the file is no mosaic or holds no data.
    """
    if problem := fits_problem(path):
        raise CeersError(f"mosaic={path} cannot be read: {problem}. Give the *_i2d.fits file.")
    with datamodels.open(path) as mosaic:
        if mosaic.meta.wcs is None or getattr(mosaic, "wht", None) is None:
            raise CeersError(f"mosaic={path} is no mosaic with a WCS. Give the *_i2d.fits file.")
        bad = ~np.isfinite(mosaic.data) | (mosaic.wht == 0)
        if bad.all():
            raise CeersError(f"mosaic={path} holds no data.")
        bits = mask_sources(mosaic.data, bad, EMISSION_TIERS)
        wcs = deepcopy(mosaic.meta.wcs)
        # beyond it positions are NaN, and with them all that is interpolated from one of them
        wcs.bounding_box = None
        return Emission(bits > 1, wcs)
