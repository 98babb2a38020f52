"""A mosaic of simulated exposures against its truth.

Reads what `~ceers_steps.CeersImage3` and the simulator wrote; runs no step again.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.coordinates import angular_separation
from astropy.table import Table, unique, vstack
from gwcs import WCS
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels

from ceers_steps.errors import CeersError
from ceers_steps.validate import mosaic_background, mosaic_metrics
from ceers_steps.validate.mosaic_records import (
    AperturePhotometry,
    BackgroundResidual,
    BlockChi,
    PhotometryBin,
    PositionOffset,
)
from ceers_steps.validate.true_mosaic import TrueExposure, make_true_mosaic

__all__ = ["MosaicComparison", "MosaicMetrics", "Positions", "compare_mosaic"]

BLANK_SIGMA = 0.2
"""Pixels in which sources are fainter than this many sigma of the noise count as blank sky."""
SOURCE_SIGMA = 1.0
"""Pixels in which they are brighter count as source."""
FAINT = 24.0
"""Sources fainter than this (AB) are those under which the background is looked at."""
RADIUS = 0.2
"""Radius of the apertures, arcsec."""
WINDOW = 0.075
"""Width (sigma) of the window of the centroids, arcsec."""
CENTRED = 25.0
"""Faintest magnitude (AB) of the sources whose positions are compared."""
EDGES = (18.0, 22.0, 24.0, 25.0, 26.0, 27.0, 28.0)
"""Magnitude bins of the photometry (AB)."""


@dataclass(frozen=True)
class Positions:
    """Places of sources, measured less true, mas, shape (n,) each.

    Attributes
    ----------
    mag : array
        True magnitude.
    east, north : array
        Mosaic less truth through the same drizzle, NaN where a centroid was not found.
    """

    mag: NDArray
    east: NDArray
    north: NDArray


@dataclass(frozen=True)
class MosaicMetrics:
    """How good a mosaic is.

    Attributes
    ----------
    product, filter : str
        Which mosaic.
    n_exposures : int
        What it was made of.
    chi : tuple of BlockChi
        Scatter of blank sky against the error array, in blocks.
    outliers : float
        Fraction of blank pixels beyond 5 sigma.
    photometry : tuple of PhotometryBin
        By magnitude.
    all_sources : PhotometryBin
        All together.
    positions : PositionOffset
        Centroids in the mosaic less those in the true mosaic.
    wcs : dict of str to PositionOffset
        For each exposure, where its WCS puts the sources in it less where they are: free of
        noise.
    commanded : dict of str to PositionOffset
        The same of the WCS in the header before any alignment.
    under, outside : BackgroundResidual
        Background left under sources fainter than `FAINT`, and in blank sky, without outliers.
    """

    product: str
    filter: str
    n_exposures: int
    chi: tuple[BlockChi, ...]
    outliers: float
    photometry: tuple[PhotometryBin, ...]
    all_sources: PhotometryBin
    positions: PositionOffset
    wcs: dict[str, PositionOffset]
    commanded: dict[str, PositionOffset]
    under: BackgroundResidual
    outside: BackgroundResidual

    @property
    def absolute(self) -> tuple[float, float]:
        """Mean error of the WCS of all exposures, mas to the east and north."""
        east, north = ([each[i] for each in self._places()] for i in (0, 1))
        return float(np.mean(east)), float(np.mean(north))

    @property
    def relative(self) -> float:
        """Scatter of the WCS of the exposures about it along one axis, mas."""
        places = np.array(self._places())
        return float(places.std(axis=0, ddof=1).mean()) if len(places) > 1 else 0.0

    def _places(self) -> list[tuple[float, float]]:
        return [(each.east, each.north) for each in self.wcs.values()]

    def as_row(self) -> dict[str, float | int | bool | str]:
        """Return all numbers as a flat dictionary for a table."""
        east, north = self.absolute
        row: dict[str, float | int | bool | str] = {
            "product": self.product,
            "filter": self.filter,
            "n_exposures": self.n_exposures,
            "outliers": self.outliers,
            "wcs_east": east,
            "wcs_north": north,
            "wcs_relative": self.relative,
        }
        for chi in self.chi:
            row |= {f"chi_{chi.block}": chi.chi, f"chi_{chi.block}_err": chi.chi_err}
        for each in self.photometry:
            row |= each.as_row(f"phot_{each.bright:g}_{each.faint:g}_")
        row |= self.all_sources.as_row("phot_")
        row |= self.positions.as_row("positions_")
        return row | self.under.as_row("under_") | self.outside.as_row("outside_")


@dataclass(frozen=True)
class MosaicComparison:
    """What `compare_mosaic` found: metrics, and what the figures need.

    Attributes
    ----------
    metrics : MosaicMetrics
        Metrics.
    photometry : AperturePhotometry
        All fluxes.
    magnitudes : array, shape (n,)
        Of the sources in `photometry`.
    positions : Positions
        All positions.
    before, background, after : array, shape (ny, nx)
        Mosaic, what was subtracted, product; MJy/sr.
    mask : bool array, shape (ny, nx)
        True = source, for the background.
    residual : array, shape (ny, nx)
        Product less truth, MJy/sr.
    truth : array, shape (ny, nx)
        True sources, MJy/sr.
    sky_noise : float
        Noise per pixel of blank sky, MJy/sr.
    """

    metrics: MosaicMetrics
    photometry: AperturePhotometry
    magnitudes: NDArray
    positions: Positions
    before: NDArray
    background: NDArray
    after: NDArray
    mask: NDArray
    residual: NDArray
    truth: NDArray
    sky_noise: float


def compare_mosaic(
    mosaic: Path, product: Path, exposures: Sequence[TrueExposure]
) -> MosaicComparison:
    """Compare a mosaic with the truth of its exposures.

    Parameters
    ----------
    mosaic : Path
        ``*_i2d.fits``.
    product : Path
        The same with its background subtracted, ``*_mbkgsub.fits`` or ``*_bkgsub.fits``.
    exposures : sequence of TrueExposure
        What it was made of.

    Returns
    -------
    MosaicComparison
        Metrics, and what the figures need.

    Raises
    ------
    CeersError
        When a file is missing or cannot be read.
    """
    exposures = list(exposures)
    true = make_true_mosaic(mosaic, exposures)
    before, _, _ = _read(mosaic)
    after, err, wcs = _read(product)
    background, mask = _background(product)
    seen = np.isfinite(after) & np.isfinite(true.sources) & (err > 0)
    residual = np.where(seen, after - true.sources, np.float32(np.nan))
    truth = np.where(seen, true.sources, np.float32(np.nan))
    draws = np.where(seen, true.noise, np.float32(np.nan))
    noise = draws[0]
    sources = _sources(true.catalogs, wcs)
    scale = _pixel_scale(wcs)

    quiet = np.nanmedian(err)
    lit = ~seen | ~(truth < BLANK_SIGMA * quiet)
    sky_noise = mosaic_metrics.robust_scatter(noise[~lit])
    blank = seen & (truth < BLANK_SIGMA * sky_noise)
    far = mosaic_metrics.outliers(residual, noise, err)

    x, y, mag = (np.asarray(sources[name]) for name in ("x", "y", "mag"))
    alone = mosaic_metrics.isolated(x, y, -mag, 2 * RADIUS / scale)
    x, y, mag = x[alone], y[alone], mag[alone]
    photometry = mosaic_metrics.aperture_photometry(
        after, truth, noise, err, x, y, radius=RADIUS / scale
    )
    bins = mosaic_metrics.bin_photometry(photometry, mag, EDGES)
    (everything,) = mosaic_metrics.bin_photometry(photometry, mag, (EDGES[0], EDGES[-1]))
    positions = _positions(after, truth, wcs, x, y, mag, WINDOW / scale)
    faint = mosaic_background.faint_source_pixels(
        truth,
        SOURCE_SIGMA * sky_noise,
        np.asarray(sources["x"]),
        np.asarray(sources["y"]),
        np.asarray(sources["mag"]) < FAINT,
    )
    metrics = MosaicMetrics(
        product=product.name,
        filter=true.filter,
        n_exposures=len(exposures),
        chi=tuple(mosaic_metrics.block_chi(residual, draws, err, mask=~blank)),
        outliers=float(far[blank].mean()),
        photometry=tuple(bins),
        all_sources=everything,
        positions=mosaic_metrics.position_offset(positions.east, positions.north),
        wcs={
            name: mosaic_metrics.position_offset(table["east"], table["north"])
            for name, table in true.offsets.items()
        },
        commanded={
            name: mosaic_metrics.position_offset(table["east_before"], table["north_before"])
            for name, table in true.offsets.items()
        },
        under=mosaic_background.background_residual(
            residual, noise, faint & ~far, sky_noise=sky_noise
        ),
        outside=mosaic_background.background_residual(
            residual, noise, blank & ~far, sky_noise=sky_noise
        ),
    )
    return MosaicComparison(
        metrics=metrics,
        photometry=photometry,
        magnitudes=mag[photometry.used],
        positions=positions,
        before=before,
        background=background,
        after=after,
        mask=mask,
        residual=residual,
        truth=truth,
        sky_noise=sky_noise,
    )


def _read(path: Path) -> tuple[NDArray, NDArray, WCS]:
    """Return image, error and WCS of a mosaic."""
    try:
        with datamodels.open(path) as model:
            wcs = deepcopy(model.meta.wcs)
            wcs.bounding_box = None  # of the exposures: the grid reaches further
            return model.data.copy(), model.err.copy(), wcs
    except OSError as err:
        raise CeersError(f"Cannot read {path}: {err}. Run the reduction again.") from err


def _background(path: Path) -> tuple[NDArray, NDArray]:
    """Return the background that was subtracted and the mask (True = source)."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        return hdus["BKGD"].data.copy(), hdus["BKGMASK"].data > 0


def _sources(catalogs: Sequence[Table], wcs: WCS) -> Table:
    """Return all sources once, with their pixels in the mosaic."""
    columns = ["source", "ra", "dec", "mag", "star"]
    table = unique(vstack([catalog[columns] for catalog in catalogs]), keys="source")
    table["x"], table["y"] = wcs.invert(table["ra"], table["dec"])
    return table


def _pixel_scale(wcs: WCS) -> float:
    """Return the side of a pixel at the origin, arcsec."""
    (ra0, ra1), (dec0, dec1) = wcs([0, 0], [0, 1])
    return float(np.rad2deg(angular_separation(*np.deg2rad([ra0, dec0, ra1, dec1]))) * 3600)


def _positions(
    after: NDArray, truth: NDArray, wcs: WCS, x: NDArray, y: NDArray, mag: NDArray, sigma: float
) -> Positions:
    """Return positions measured in the mosaic less those measured in the truth."""
    chosen = mag < CENTRED
    x, y, mag = x[chosen], y[chosen], mag[chosen]
    ny, nx = truth.shape
    inside = (x > 4 * sigma) & (x < nx - 4 * sigma) & (y > 4 * sigma) & (y < ny - 4 * sigma)
    x, y, mag = x[inside], y[inside], mag[inside]
    (ra, dec), (true_ra, true_dec) = (
        wcs(*mosaic_metrics.windowed_positions(image, x, y, sigma=sigma))
        for image in (after, truth)
    )
    east = (ra - true_ra) * np.cos(np.radians(true_dec)) * 3.6e6
    return Positions(mag, east, (dec - true_dec) * 3.6e6)
