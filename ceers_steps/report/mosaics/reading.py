"""Mosaics of any size, read once from top to bottom: binned, and as sums over squares."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.mosaic.depth import square_side, square_sums
from ceers_steps.names import effective_filter

__all__ = ["Frame", "Head", "binned_mean", "read_head", "read_mosaic"]

STRIP = 512
"""Rows, about, that are read at a time."""


@dataclass(frozen=True)
class Frame:
    """The pixels of a mosaic and where they lie on the sky (a tangent plane).

    Attributes
    ----------
    nx, ny : int
        Pixels.
    crval, crpix : tuple of float
        The point where the plane touches the sky: degrees, and pixels that count from 0.
    cd : tuple of tuple of float
        Degrees a pixel.
    """

    nx: int
    ny: int
    crval: tuple[float, float] | None = None
    crpix: tuple[float, float] | None = None
    cd: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def key(self) -> str:
        """The same for mosaics on the same pixels."""
        return repr(asdict(self))

    def wcs(self) -> WCS:
        """Return the WCS; pixels count from 0. `ValueError` for a frame that has none."""
        if self.crval is None or self.crpix is None or self.cd is None:
            raise ValueError("the frame has no WCS")
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = self.crval
        wcs.wcs.crpix = np.add(self.crpix, 1)
        wcs.wcs.cd = self.cd
        wcs.array_shape = (self.ny, self.nx)
        return wcs


@dataclass(frozen=True)
class Head:
    """What the headers of a mosaic say: filter, frame, area of a pixel (sr, NaN if unknown)."""

    filter: str
    frame: Frame
    pixel_area: float


def read_head(path: str | os.PathLike) -> Head:
    """Read the headers of a mosaic.

    Parameters
    ----------
    path
        FITS file with an image SCI.

    Returns
    -------
    Head
        The frame has no sky where the header has no tangent plane.
    """
    with fits.open(path, memmap=False) as hdus:
        primary, header = hdus[0].header, hdus["SCI"].header
    name = effective_filter(primary.get("FILTER"), primary.get("PUPIL"))
    nx, ny = header["NAXIS1"], header["NAXIS2"]
    frame = Frame(nx, ny)
    area = float(header.get("PIXAR_SR", math.nan))
    if str(header.get("CTYPE1")).startswith("RA---TAN"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header, naxis=2)
        cd = wcs.pixel_scale_matrix
        frame = Frame(
            nx,
            ny,
            (float(wcs.wcs.crval[0]), float(wcs.wcs.crval[1])),
            (float(wcs.wcs.crpix[0] - 1), float(wcs.wcs.crpix[1] - 1)),
            ((float(cd[0, 0]), float(cd[0, 1])), (float(cd[1, 0]), float(cd[1, 1]))),
        )
        if math.isnan(area):
            area = abs(float(np.linalg.det(cd))) * math.radians(1) ** 2
    return Head(name, frame, area)


def read_mosaic(path: Path, factor: int, pixel_area: float) -> tuple[NDArray, NDArray | None]:
    """Read a mosaic in strips.

    Parameters
    ----------
    path
        FITS file with an image SCI; NaN or 0 where there are no data.
    factor
        Binning.
    pixel_area
        Of its pixels, sr.

    Returns
    -------
    binned : ndarray of float32, shape (ny / factor, nx / factor), rounded up
        Means over the pixels with data, NaN where there are none.
    sums : ndarray of float32 or None
        Of `~ceers_steps.kernels.mosaic.depth.square_sums`; None where the area is unknown.
    """
    side = 0
    if math.isfinite(pixel_area) and pixel_area > 0:
        side = square_side(math.degrees(math.sqrt(pixel_area)) * 3600)
    step = math.lcm(factor, max(side, 1))
    step *= max(1, round(STRIP / step))
    binned, sums = [], []
    with fits.open(path, memmap=False) as hdus:
        section = hdus["SCI"].section
        for start in range(0, section.shape[0], step):
            strip = np.array(section[start : start + step, :], dtype=np.float32)
            strip[strip == 0] = np.nan
            binned.append(binned_mean(strip, factor))
            if side:
                sums.append(square_sums(strip, side))
    return np.concatenate(binned), np.concatenate(sums) if side else None


def binned_mean(image: NDArray, factor: int) -> NDArray:
    """Return the means of blocks without NaN.

    Parameters
    ----------
    image : ndarray of float32, shape (ny, nx)
        NaN where there are no data.
    factor
        Side of a block, pixels.

    Returns
    -------
    ndarray of float32, shape (ny / factor, nx / factor), rounded up
        NaN where a block has no data.
    """
    if factor == 1:
        return image
    good = np.isfinite(image)
    number = block_sum(good, factor, beyond=0, dtype=np.float32)
    total = block_sum(np.where(good, image, np.float32(0)), factor, beyond=0, dtype=np.float32)
    mean = np.full(total.shape, np.nan, dtype=np.float32)
    np.divide(total, number, out=mean, where=number > 0)
    return mean
