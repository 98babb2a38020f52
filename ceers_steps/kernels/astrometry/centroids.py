"""Source lists for astrometry: windowed centroids with their uncertainties.

The centroids are Source Extractor's XWIN and YWIN (`sep.winpos`), which for a point source come
close to a fit of its profile, and for a galaxy stay the same from one exposure to the next.
"""

from dataclasses import dataclass, fields

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ceers_steps.kernels.astrometry.settings import CENTROIDS

__all__ = [
    "BLENDED",
    "CLOSE",
    "COMPACT",
    "EDGE",
    "FAINT",
    "LOST",
    "TOUCHED",
    "CatalogSettings",
    "SourceList",
    "find_sources",
]

BLENDED = 1
"""Flag: neighbours add more than a tenth to the light in its window."""
TOUCHED = 2
"""Flag: pixels that may not be used carry weight in its centroid."""
EDGE = 4
"""Flag: its window leaves the image."""
COMPACT = 8
"""Flag: smaller than any source seen through the telescope: a cosmic ray or a bad pixel."""
FAINT = 16
"""Flag: signal to noise below the limit."""
LOST = 32
"""Flag: the centroid wandered off."""
CLOSE = 64
"""Flag: another source has the same centroid."""


@dataclass(frozen=True)
class CatalogSettings:
    """What is a source, and which sources are used.

    Attributes
    ----------
    detect_thresh : float
        Threshold of the search, in units of the noise of the smoothed image.
    detect_minarea : int
        Connected pixels above it.
    deblend_levels : int
        Levels between threshold and peak at which sources are taken apart.
    deblend_contrast : float
        Least part of the light that makes a source of its own.
    kernel_fwhm : float
        Full width at half maximum of the Gaussian of the search, pixels.
    bkg_boxsize : int
        Size of the boxes of the background, pixels.
    snr_threshold : float
        Least signal to noise, within the window of the centroid.
    min_radius : float
        Least half-light radius, pixels.
    """

    detect_thresh: float = 3.0
    detect_minarea: int = 6
    deblend_levels: int = 32
    deblend_contrast: float = 0.005
    kernel_fwhm: float = 2.5
    bkg_boxsize: int = 100
    snr_threshold: float = 5.0
    min_radius: float = 0.7


@dataclass(frozen=True)
class SourceList:
    """Sources of one image, brightest first; arrays of shape ``(n,)``.

    Attributes
    ----------
    x, y : ndarray of float64
        Windowed centroids, 0-based pixels.
    sigma : ndarray of float64
        Uncertainty of each of the two coordinates from the noise of the pixels and from their
        size, pixels.
    flux : ndarray of float64
        Light of the pixels above the threshold, in the unit of the image times pixels.
    snr : ndarray of float64
        Signal to noise within the window of the centroid.
    size : ndarray of float64
        Half-light radius, pixels.
    flags : ndarray of int
        Sum of `BLENDED`, `TOUCHED`, `EDGE`, `COMPACT`, `FAINT`, `LOST` and `CLOSE`; 0 is a source
        to use.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sigma: NDArray[np.float64]
    flux: NDArray[np.float64]
    snr: NDArray[np.float64]
    size: NDArray[np.float64]
    flags: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def at(cls, x: NDArray[np.float64], y: NDArray[np.float64], sigma: float) -> "SourceList":
        """Return sources of which only the places are known."""
        unknown = np.full(len(x), np.nan)
        flags = np.zeros(len(x), int)
        return cls(x, y, np.full(len(x), sigma), unknown, unknown, unknown, flags)

    @classmethod
    def empty(cls) -> "SourceList":
        """Return a list without sources."""
        return cls.at(np.zeros(0), np.zeros(0), 0.0)

    def good(self) -> "SourceList":
        """Return the sources to use, those without flags."""
        return self.take(self.flags == 0)

    def take(self, which: NDArray) -> "SourceList":
        """Return some of the sources, by number or by a mask."""
        return SourceList(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def find_sources(
    image: NDArray[np.floating],
    error: NDArray[np.floating],
    mask: NDArray[np.bool_],
    settings: CatalogSettings | None = None,
) -> SourceList:
    """Find sources and measure where they are.

    Parameters
    ----------
    image
        Image with its sky, shape ``(ny, nx)``.
    error
        Standard deviation of its noise, in the same unit, shape ``(ny, nx)``.
    mask
        True = do not use (bad, saturated), shape ``(ny, nx)``. What is not finite in the image or
        the error is left out as well.
    settings
        What is a source.

    Returns
    -------
    SourceList
        All sources that were found, with flags; none for an image without usable pixels.

    Raises
    ------
    ValueError
        When too much of the image is above the threshold to be taken apart into sources.
    """
    settings = settings or CatalogSettings()
    bad = mask | ~np.isfinite(image) | ~np.isfinite(error) | (error <= 0)
    if bad.all():
        return SourceList.empty()
    filled = np.where(bad, 0, image).astype(np.float32, order="C")
    noise = np.where(bad, 1, error).astype(np.float32, order="C")
    box = int(min(settings.bkg_boxsize, *image.shape))
    background = sep.Background(filled, mask=bad, bw=box, bh=box)
    filled -= background.back()
    found = _extract(filled, noise, bad, settings)
    found = found[np.isfinite(found["flux"]) & (found["flux"] > 0)]
    if len(found) == 0:
        return SourceList.empty()
    filled[bad] = _from_neighbours(filled, bad)[bad]
    return _measure(found, filled, noise, bad, settings)


def _extract(
    image: NDArray, noise: NDArray, bad: NDArray[np.bool_], settings: CatalogSettings
) -> NDArray:
    """Return what is above the threshold, taken apart into sources."""
    room = sep.get_extract_pixstack()
    # there is room for 300,000 pixels above the threshold by default; one large galaxy has more
    sep.set_extract_pixstack(max(room, image.size))
    try:
        return sep.extract(
            image,
            settings.detect_thresh,
            err=noise,
            mask=bad,
            minarea=settings.detect_minarea,
            filter_kernel=_kernel(settings.kernel_fwhm),
            deblend_nthresh=settings.deblend_levels,
            deblend_cont=settings.deblend_contrast,
        )
    except Exception as err:  # sep raises no other kind
        raise ValueError(f"sources cannot be taken apart: {err}") from err
    finally:
        sep.set_extract_pixstack(room)


def _kernel(fwhm: float) -> NDArray[np.float32]:
    """Return a Gaussian out to 2.5 sigma, of odd size."""
    sigma = fwhm / 2.3548
    half = max(1, int(np.ceil(2.5 * sigma)))
    across = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel = np.outer(across, across)
    return (kernel / kernel.sum()).astype(np.float32)


def _from_neighbours(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean of the usable pixels about each pixel, weighted by their distance."""
    weight = ndimage.gaussian_filter((~bad).astype(np.float32), 0.8, truncate=3)
    light = ndimage.gaussian_filter(np.where(bad, 0, image), 0.8, truncate=3)
    return np.where(weight > 1e-3, light / np.maximum(weight, 1e-3), 0).astype(np.float32)


def _measure(
    found: NDArray,
    image: NDArray,
    noise: NDArray,
    bad: NDArray[np.bool_],
    settings: CatalogSettings,
) -> SourceList:
    """Measure centroids, sizes and uncertainties of what was found."""
    axes, nearest, farthest = CENTROIDS.radius_reach
    reach = np.clip(axes * found["a"], nearest, farthest)
    radius, _ = sep.flux_radius(image, found["x"], found["y"], reach, 0.5, normflux=None, subpix=5)
    unusable = ~np.isfinite(radius) | (radius <= 0)
    radius = np.where(unusable, settings.min_radius, radius)
    window = np.clip(radius * CENTROIDS.window_per_radius, *CENTROIDS.window_limits)
    x, y, _ = sep.winpos(image, found["x"], found["y"], window)
    snr, sigma, touched = _window_sums(image, noise, bad, x, y, window)
    ny, nx = image.shape
    in_windows, in_pixels = CENTROIDS.margin
    margin = np.maximum(in_windows * window, in_pixels)
    added = _added_light(x, y, window, radius, found["flux"])
    flags = np.where(added > CENTROIDS.blend, BLENDED, 0)
    flags |= np.where(touched > CENTROIDS.touched_weight, TOUCHED, 0)
    inside = (x > margin) & (x < nx - 1 - margin) & (y > margin) & (y < ny - 1 - margin)
    flags |= np.where(inside & (found["flag"] & sep.OBJ_TRUNC == 0), 0, EDGE)
    flags |= np.where((radius < settings.min_radius) | unusable, COMPACT, 0)
    flags |= np.where((snr >= settings.snr_threshold) & np.isfinite(sigma), 0, FAINT)
    moved = np.hypot(x - found["x"], y - found["y"])
    flags |= np.where(moved < np.maximum(CENTROIDS.wandered, found["a"]), 0, LOST)
    order = np.argsort(-found["flux"], kind="stable")
    flags = _flag_doubles(x, y, flags, order)
    return SourceList(
        x=x[order],
        y=y[order],
        sigma=np.hypot(sigma, CENTROIDS.phase)[order],
        flux=found["flux"][order].astype(float),
        snr=snr[order],
        size=radius[order],
        flags=flags[order].astype(int),
    )


def _window_sums(
    image: NDArray,
    noise: NDArray,
    bad: NDArray[np.bool_],
    x: NDArray,
    y: NDArray,
    window: NDArray,
) -> tuple[NDArray, NDArray, NDArray]:
    """Return signal to noise, uncertainty of the centroid and the weight of unusable pixels.

    The uncertainty is that of Source Extractor's windowed centroid, taken from the noise of each
    pixel, and doubled as that centroid's steps are.
    """
    half = int(np.ceil(CENTROIDS.reach * window.max()))
    ny, nx = image.shape
    snr, sigma, touched = (np.zeros(len(x)) for _ in range(3))
    # some wander out of the image
    finite = (np.abs(x - nx / 2) < nx) & (np.abs(y - ny / 2) < ny)
    column, row = (np.rint(np.where(finite, a, 0)).astype(int) for a in (x, y))
    # stamps of similar size at once
    sizes = np.minimum(4 * np.ceil(window * CENTROIDS.reach / 4), half).astype(int)
    for size in np.unique(sizes):
        which = np.flatnonzero((sizes == size) & finite)
        offset = np.arange(-size, size + 1)
        rows = row[which, None, None] + offset[:, None]
        columns = column[which, None, None] + offset
        outside = (rows < 0) | (rows >= ny) | (columns < 0) | (columns >= nx)
        at = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
        dx, dy = columns - x[which, None, None], rows - y[which, None, None]
        distance2 = dx**2 + dy**2
        width = window[which, None, None]
        weight = np.exp(-0.5 * distance2 / width**2)
        weight[(distance2 > (CENTROIDS.reach * width) ** 2)] = 0
        total = weight.sum(axis=(1, 2))
        touched[which] = (weight * (bad[at] | outside)).sum(axis=(1, 2)) / total
        weight[outside] = 0
        light = (weight * image[at]).sum(axis=(1, 2))
        variance = (weight * noise[at]) ** 2
        snr[which] = light / np.sqrt(np.maximum(variance.sum(axis=(1, 2)), 1e-30))
        spread = 0.5 * (variance * distance2).sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma[which] = np.where(light > 0, 2 * np.sqrt(spread) / light, np.inf)
    return snr, np.where(finite, sigma, np.inf), np.where(finite, touched, 1.0)


def _added_light(
    x: NDArray, y: NDArray, window: NDArray, radius: NDArray, flux: NDArray
) -> NDArray:
    """Return what neighbours add to the light in the window of each source, relative to its own.

    All profiles are taken as Gaussians.
    """
    added = np.zeros(len(x))
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    places = np.column_stack([x, y])[finite]
    tree = cKDTree(places)
    variance = (radius / 1.1774) ** 2  # of a Gaussian with this half-light radius
    for i, near in zip(finite, tree.query_ball_point(places, 4 * window[finite]), strict=True):
        j = finite[near]
        j = j[j != i]
        width = window[i] ** 2 + variance[j]
        distance2 = (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2
        light = flux[j] * np.exp(-0.5 * distance2 / width) / width
        added[i] = light.sum() * (window[i] ** 2 + variance[i]) / flux[i]
    return added


def _flag_doubles(x: NDArray, y: NDArray, flags: NDArray, order: NDArray) -> NDArray:
    """Flag what ended on the centroid of a brighter source."""
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    flags = np.where(np.isfinite(x) & np.isfinite(y), flags, flags | LOST)
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    tree = cKDTree(np.column_stack([x[finite], y[finite]]))
    for one, other in tree.query_pairs(CENTROIDS.double):
        first, second = finite[one], finite[other]
        flags[first if rank[first] > rank[second] else second] |= CLOSE
    return flags
