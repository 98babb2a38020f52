"""What `MosaicBackgroundStep` knows of a mosaic: pixels, border, place on the sky, search tiers."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import open_fits, user_path
from ceers_steps.files.given.tables import read_table
from ceers_steps.kernels.rows import LazyRows, row_blocks
from ceers_steps.kernels.sources.mosaic_tiers import MOSAIC_TIERS
from ceers_steps.kernels.sources.tiers import Tier, TierSet
from ceers_steps.mosaics.planes import rows_or_data

__all__ = ["Mosaic", "from_model", "open_image", "pixel_map", "read_fits_mosaic", "read_tiers"]

PIXEL_OF_TIERS = 0.03
"""Pixel (arcsec) in which lengths of tiers are given."""

TIER_LIMITS = {"sigma": (0.1, 200), "nsigma": (0.01, 1e6), "npixels": (1, 1e9), "growth": (0, 500)}
"""Smallest and largest values of a search tier: beyond, smoothing takes days or all of memory."""

LARGEST_TABLE = 1e6
"""Bytes of a table of tiers; one has a few rows."""

_COMPANION = re.compile(r"_(?:sci|drz|drc|i2d|data)(?=[._])")
_FILTER = re.compile(r"[fF]\d{3}(?:[wWmMnN]|[lL][pP])")
_QUALITY = ("RMS", "ERR", "WHT")
"""Images of the noise or the weight of each pixel, by EXTNAME."""
_NO_DATA_RMS = 1e9
"""Noise maps give pixels without data a value above this."""


@dataclass(frozen=True)
class Mosaic:
    """One mosaic.

    Attributes
    ----------
    name : str
        For messages.
    image : ndarray or `~ceers_steps.kernels.rows.RowImage`, shape (ny, nx)
    border : ndarray of bool, shape (ny, nx)
        True = no detector has seen this pixel.
    wcs : `~astropy.wcs.WCS` or `~gwcs.wcs.WCS`
        Place on the sky.
    tiers : TierSet
        How its sources are searched, lengths in its pixels.
    path : Path or None
        File of an image that is no JWST product.
    bits : ndarray of uint8, shape (ny, nx), or None
        Mask that is used on it.
    noise : ndarray or `~ceers_steps.kernels.rows.RowImage`, shape (ny, nx), or None
        Noise of each pixel in any unit: of the weights if there are any, which know nothing of
        the light of sources, or else of the errors.
    follow_borders : bool
        A sky that rises along the border is no source; false: as published.
    """

    name: str
    image: Any
    border: Any
    wcs: Any
    tiers: Any
    path: Any = None
    bits: Any = None
    noise: Any = None
    follow_borders: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx)."""
        return self.image.shape


def from_model(model: Any, tiers: dict, rows: dict | None = None) -> Mosaic:
    """Describe the mosaic of a data model.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.ImageModel`
    tiers : dict
        Of `read_tiers`.
    rows : dict, optional
        Planes by EXTNAME, `~ceers_steps.kernels.rows.RowImage`, of a model that has none.

    Returns
    -------
    Mosaic
        Its image is that of the model, or of the rows.

    Raises
    ------
    CeersError
        When it is not a mosaic or has no WCS.
    """
    name = model.meta.filename or "the input"
    weight = model.wht if model.hasattr("wht") else None
    if model.meta.cal_step.resample != "COMPLETE" and weight is None:
        raise CeersError(
            f"{name} is not a mosaic: it has not been resampled and has no WHT. Give *_i2d.fits."
        )
    wcs = _model_wcs(model)
    if wcs is None:
        raise CeersError(f"{name} has no WCS. Give the *_i2d.fits that resample wrote.")
    image, noise = model.data, model.err if model.hasattr("err") else None
    if rows is not None:
        image, noise, weight = (rows.get(plane) for plane in ("SCI", "ERR", "WHT"))
    border = np.empty(image.shape, bool)
    for block in row_blocks(image.shape):
        border[block] = ~np.isfinite(image[block])
        if noise is not None:
            border[block] |= np.isnan(noise[block])
        if weight is not None:
            border[block] |= weight[block] == 0
    instrument = model.meta.instrument
    used = _choose_tiers(tiers, instrument.name or "NIRCAM", instrument.filter or "", name)
    planes = {"WHT": weight, "ERR": noise}
    return Mosaic(name, image, border, wcs, _scaled(used, wcs), noise=_noise_of(planes))


def read_fits_mosaic(path: str | os.PathLike, tiers: dict) -> Mosaic:
    """Read a drizzled image that is no JWST product: HST, or a cutout.

    The image is in the extension SCI or the first one with data; weights or noise in an extension
    WHT, RMS or ERR, or in a file whose name has ``_wht``, ``_rms`` or ``_err`` in place of
    ``_sci``, ``_drz`` or ``_drc``. Without either, pixels that are exactly 0 are border.

    Parameters
    ----------
    path : str or Path
    tiers : dict
        Of `read_tiers`.

    Returns
    -------
    Mosaic

    Raises
    ------
    CeersError
        When the file cannot be read, or has no image or no celestial WCS.
    """
    path = user_path(path)
    with open_image(path, f"extra_images: {path}") as (hdus, hdu):
        header = hdus[0].header + hdu.header
        image = rows_or_data(path, hdu)
        wcs = WCS(hdu.header, hdus)
        quality = {hdu.name: rows_or_data(path, hdu) for hdu in hdus if hdu.name in _QUALITY}
    if len(image.shape) != 2 or not wcs.has_celestial:
        raise CeersError(
            f"extra_images: {path} holds an array of {image.shape} with axes "
            f"{', '.join(wcs.wcs.ctype)}; an image with a celestial WCS is needed."
        )
    quality |= _companions(path, quality)
    border = np.empty(image.shape, bool)
    for rows in row_blocks(image.shape):
        pixels = image[rows]
        border[rows] = ~np.isfinite(pixels)
        for name, plane in quality.items():
            value = plane[rows]
            border[rows] |= ~(value > 0)
            if name != "WHT":
                border[rows] |= ~(value < _NO_DATA_RMS)
        if not quality:
            border[rows] |= pixels == 0
    if border.all():
        raise CeersError(f"extra_images: {path} has no pixel with data.")
    instrument, filter_name = _instrument(header, path)
    used = _choose_tiers(tiers, instrument, filter_name, str(path))
    noise = _noise_of(quality)
    wcs = wcs.celestial
    return Mosaic(str(path), image, border, wcs, _scaled(used, wcs), path, noise=noise)


def _noise_of(planes: dict[str, Any]) -> Any:
    """Return the noise of each pixel in some unit from weights or errors; None without."""
    weight = planes.get("WHT")
    if weight is None:
        return next((planes[name] for name in ("RMS", "ERR") if planes.get(name) is not None), None)

    def work(rows: slice) -> NDArray[np.float32]:
        part = np.asarray(weight[rows], np.float32)
        return np.where(part > 0, part, np.nan) ** np.float32(-0.5)

    return LazyRows(weight.shape, work)


@contextmanager
def open_image(path: str | os.PathLike, name: str) -> Iterator[Any]:
    """Open a FITS file; yields all of it and its image.

    Parameters
    ----------
    path : path
        The file.
    name : str
        What the user calls it, for messages.
    """
    with open_fits(path, name) as hdus:
        hdu = image_of(hdus)
        if hdu is None:
            raise CeersError(f"{name} holds no image.")
        yield hdus, hdu


def image_of(hdus: fits.HDUList) -> Any:
    """Return the extension SCI, or the first one with data; None without."""
    if "SCI" in hdus:
        return hdus["SCI"]
    return next((hdu for hdu in hdus if hdu.is_image and hdu.size), None)


def _companions(path: Path, known: Any) -> dict[str, Any]:
    """Return weights or noise from files beside an image, where they are not in it."""
    found: dict[str, Any] = {}
    for name in _QUALITY:
        other = path.with_name(_COMPANION.sub(f"_{name.lower()}", path.name))
        if known or found or other == path or not other.is_file():
            continue
        with open_image(other, f"extra_images: {other}") as (_, hdu):
            found[name] = rows_or_data(other, hdu)
    return found


def _instrument(header: Any, path: Any) -> Any:
    """Return instrument and filter of an image, from its header or its name."""
    named = _FILTER.search(path.name)
    values = [str(header.get(key, "")) for key in ("FILTER", "FILTER1", "FILTER2")]
    filter_name = (
        next((value for value in values if _FILTER.fullmatch(value)), named and named[0]) or ""
    )
    return str(header.get("INSTRUME", "ACS")).upper(), filter_name.upper()


def read_tiers(path: str | os.PathLike | None) -> dict[str, TierSet]:
    """Return the search tiers: those of the package, or of a table.

    Parameters
    ----------
    path : str or None
        Table (.ecsv or .csv) with columns ``name`` (an instrument, or a filter of ACS), ``sigma``
        (30-mas pixels), ``nsigma``, ``npixels`` and ``growth`` (30-mas pixels), a row per tier.

    Returns
    -------
    dict
        Tiers by name.

    Raises
    ------
    CeersError
        When the table cannot be used.
    """
    if not path:
        return dict(MOSAIC_TIERS)
    columns = ("name", "sigma", "nsigma", "npixels", "growth")
    table = read_table(path, f"tiers={path}", LARGEST_TABLE)
    try:
        rows = [tuple(row[name] for name in columns) for row in table]
        found: dict[str, Any] = {}
        for name, sigma, nsigma, npixels, growth in rows:
            tier = Tier(float(sigma), float(nsigma), int(npixels), int(growth))
            for column, (least, most) in TIER_LIMITS.items():
                if not least <= getattr(tier, column) <= most:  # NaN too
                    raise ValueError(f"{name}: {column} is not from {least:g} to {most:g}: {tier}")
            found.setdefault(str(name).upper(), []).append(tier)
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        raise CeersError(
            f"tiers={path}: {type(err).__name__} {err}. Give a table with the columns "
            f"{', '.join(columns)}, a row for each tier."
        ) from err
    many = [name for name, tiers in found.items() if len(tiers) > 4]
    if many:
        raise CeersError(f"tiers={path}: more than 4 tiers for {', '.join(many)}.")
    base = MOSAIC_TIERS["NIRCAM"]
    return MOSAIC_TIERS | {name: replace(base, tiers=tuple(t)) for name, t in found.items()}


def _choose_tiers(tiers: dict, instrument: Any, filter_name: Any, name: str) -> TierSet:
    """Return the tiers for an image."""
    if instrument == "ACS":
        return tiers.get(filter_name, tiers["F814W"])
    if instrument not in tiers:
        known = ", ".join(tiers)
        raise CeersError(
            f"{name}: there are no search tiers for instrument {instrument} (only for {known}). "
            "Give them with a table: tiers=FILE."
        )
    return tiers[instrument]


def _scaled(tiers: TierSet, wcs: Any) -> TierSet:
    """Return tiers with their lengths in the pixels of an image."""
    x, y = 0.0, np.array([0.0, 1.0])
    first, second = wcs.pixel_to_world(np.array([x, x]), y)
    ratio = PIXEL_OF_TIERS / first.separation(second).arcsec
    # 1% is the accuracy of a header; it must not change published pixels
    if abs(ratio - 1.0) < 0.01:
        return tiers
    scaled = tuple(
        Tier(tier.sigma * ratio, tier.nsigma, tier.npixels, round(tier.growth * ratio))
        for tier in tiers.tiers
    )
    return replace(
        tiers,
        tiers=scaled,
        ring_radius=tiers.ring_radius * ratio,
        ring_width=max(tiers.ring_width * ratio, 1.0),
    )


def _model_wcs(model: Any) -> Any:
    """Return the WCS of a mosaic as FITS keywords have it, which for a tangent plane is exact."""
    info = model.meta.wcsinfo.instance if model.meta.hasattr("wcsinfo") else {}
    keywords = {key.upper(): value for key, value in info.items() if key != "s_region"}
    plain = None
    if keywords.get("CTYPE1") and keywords.get("CRVAL1") is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            plain = WCS(fits.Header(keywords)).celestial
        plain.array_shape = model.data.shape
    exact = deepcopy(model.meta.wcs)
    if exact is None:
        return plain
    # jwst limits it to the exposures: beyond, no pixel would have a place on the sky
    exact.bounding_box = None
    if plain is None:
        return exact
    ny, nx = model.data.shape
    x, y = np.array([0, nx - 1, nx - 1, 0]), np.array([0, 0, ny - 1, ny - 1])
    offset = plain.pixel_to_world(x, y).separation(exact.pixel_to_world(x, y)).arcsec
    return plain if np.all(offset < 0.1 * proj_plane_pixel_scales(plain)[0] * 3600) else exact


def pixel_map(wanted: Mosaic, source: Mosaic) -> Any:
    """Return a `~ceers_steps.kernels.mosaic.mask_grids.PixelMap`; None for grids that are the same.

    Parameters
    ----------
    wanted, source : Mosaic
        From pixels of one to pixels of the other.

    Returns
    -------
    PixelMap or None
        Takes and returns x and y from 0.
    """

    def to_source(x: NDArray, y: NDArray) -> Any:
        return source.wcs.world_to_pixel(wanted.wcs.pixel_to_world(x, y))

    if wanted.shape == source.shape:
        ny, nx = wanted.shape
        x, y = np.array([0.0, nx - 1, nx - 1, 0]), np.array([0.0, 0, ny - 1, ny - 1])
        if np.allclose(to_source(x, y), (x, y), rtol=0, atol=0.05):
            return None
    return to_source
