"""Masks from outside, on the pixels of a mosaic: DS9 regions drawn by hand, FITS masks."""

import logging
import math
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.typing import NDArray
from regions import (
    LinePixelRegion,
    LineSkyRegion,
    PixCoord,
    PixelRegion,
    PointPixelRegion,
    PointSkyRegion,
    Regions,
)

from ceers_steps.errors import CeersError
from ceers_steps.files.given.tables import read_text
from ceers_steps.files.limits import check_regular
from ceers_steps.kernels.mosaic.mask_grids import sample_nearest
from ceers_steps.kernels.rows import row_blocks
from ceers_steps.mosaics.images import Mosaic, open_image, pixel_map

__all__ = ["read_fits_mask", "read_regions", "sample_mask"]

LARGEST = 1e8
"""Bytes of a region file; 100,000 regions have 1e7."""

MUCH_LARGER = 4
"""Area of the box around a region, in that of the image, above which only the image is drawn."""

_SHAPE = re.compile(
    r"\s*[+-]?\s*(circle|ellipse|box|annulus|polygon)\b\s*\(?([^)]*)", re.IGNORECASE
)

_WITHOUT_AREA = (PointPixelRegion, PointSkyRegion, LinePixelRegion, LineSkyRegion)
"""Points, lines, and labels, which are kinds of points."""

_MARK = re.compile(r"[\s#+-]*(text|point|line)\b\s*[(\d]", re.IGNORECASE)
"""A line of one of them."""

_NUMBERS = {
    "circle": ("3", lambda count: count == 3),
    "annulus": ("4, or one more for each further radius", lambda count: count >= 4),
    "ellipse": ("5, or two more for each further size", lambda count: count >= 5 and count % 2),
    "box": ("5, or two more for each further size", lambda count: count >= 5 and count % 2),
    "polygon": ("two for each of its corners, three or more", lambda n: n >= 6 and not n % 2),
}
"""How many numbers shapes have: more of them are left out by their reader without a word."""

log = logging.getLogger(__name__)


def read_regions(
    path: str | os.PathLike, parameter: str, mosaic: Mosaic, reference: Any
) -> NDArray[np.bool_]:
    """Return the pixels of a mosaic that lie inside regions.

    Parameters
    ----------
    path : str
        DS9 region file, or a FITS mask (not 0 = inside) with a WCS. Regions in sky coordinates lie
        where the sky is; those in image coordinates count pixels of the reference. Excluded
        regions (with a minus) are cut out of those before them. Points, lines and labels have no
        area, and are left out.
    parameter : str
        Name of the parameter that gives the path, for messages.
    mosaic, reference : Mosaic
        Whose pixels are wanted; the first mosaic of the run.

    Returns
    -------
    ndarray of bool, shape (ny, nx)

    Raises
    ------
    CeersError
        When the file cannot be read, holds no region with an area, or one with too few or too
        many numbers, or with one that is not finite.
    """
    name = f"{parameter}={path}"
    if Path(path).suffix.lower() in {".fits", ".gz", ".fit"}:
        return sample_mask(read_fits_mask(path, parameter), mosaic, parameter) != 0
    regions = _read_ds9(path, name)
    inside = np.zeros(mosaic.shape, bool)
    to_reference = pixel_map(mosaic, reference)
    behind = 0
    for region in regions:
        try:
            if not isinstance(region, PixelRegion):
                drawn_here = region.to_pixel(mosaic.wcs)
                if _is_behind(drawn_here):
                    behind += 1
                else:
                    _paint_inplace(inside, drawn_here, region.meta)
            elif to_reference is None:
                _paint_inplace(inside, region, region.meta)
            else:
                drawn = np.zeros(reference.shape, np.uint8)
                _paint_inplace(drawn, region, {})
                rows = slice(0, mosaic.shape[0])
                values, _ = sample_nearest(drawn, to_reference, rows, mosaic.shape[1])
                inside[values != 0] = bool(region.meta.get("include", 1))
        except (
            NotImplementedError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as err:
            raise CeersError(
                f"{name}: {type(region).__name__} cannot be made a mask ({err}). Use "
                "circles, ellipses, boxes, polygons and annuli."
            ) from err
    if behind:
        log.warning("%s: %d regions are more than 90 deg from %s", name, behind, mosaic.name)
    if not inside.any():
        log.warning("%s: no region lies in %s", name, mosaic.name)
    return inside


def _read_ds9(path: str | os.PathLike, name: str) -> list[Any]:
    """Return the regions of a DS9 file that have an area; what is left out goes to the log."""
    check_regular(path, name, LARGEST)
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always", AstropyUserWarning)
            text = read_text(path)
            _check_numbers(text, name)
            regions = Regions.parse(text, format="ds9")
    except (OSError, ValueError, KeyError, TypeError, UnicodeDecodeError) as err:
        raise CeersError(
            f"{name} cannot be read as DS9 regions: {err}. Save them again in DS9 (Region, Save "
            "Regions, format ds9), or give a FITS mask."
        ) from err
    skipped = [" ".join(str(each.message).split()) for each in complaints]
    if skipped:
        log.warning(
            "%s: %d lines are not understood and left out: %s%s",
            name,
            len(skipped),
            "; ".join(skipped[:3]),
            "; ..." if len(skipped) > 3 else "",
        )
    with_area = [each for each in regions if not isinstance(each, _WITHOUT_AREA)]
    if len(with_area) < len(regions):
        skipped.append(f"points, lines and labels have no area ({_lines_of_marks(text)})")
        log.warning("%s: %s, and mark nothing", name, skipped[-1])
    if not with_area:
        why = f" that is understood ({skipped[0]})" if skipped else ""
        raise CeersError(f"{name} holds no region{why}. Give another file, or leave it out.")
    return with_area


def _check_numbers(text: str, name: str) -> None:
    """Raise `CeersError` for a shape with too few or too many numbers, or one that is no number."""
    for number, line in enumerate(text.splitlines(), start=1):
        for part in line.split("#")[0].split(";"):
            if not (match := _SHAPE.match(part)):
                continue
            shape, words = match[1].lower(), match[2].replace(",", " ").split()
            wanted, fits = _NUMBERS[shape]
            problem = "" if fits(len(words)) else f"{len(words)} numbers; a {shape} has {wanted}"
            wrong = next((word for word in words if _is_endless(word)), "")
            if problem or wrong:
                raise CeersError(
                    f"{name}, line {number}: {' '.join(part.split())[:60]}: "
                    f"{problem or f'{wrong:.20} is no finite number'}. Write decimals with a point "
                    "and hours and degrees with colons, or save the regions again in DS9."
                )


def _lines_of_marks(text: str) -> str:
    """Say in which lines points, lines and labels stand."""
    lines = text.splitlines()
    numbers = [n for n, line in enumerate(lines, start=1) if any(map(_MARK.match, line.split(";")))]
    more = ", ..." if len(numbers) > 5 else ""
    return f"line {', '.join(map(str, numbers[:5]))}{more}"


def _is_endless(word: str) -> bool:
    """Say whether a word is a number that is not finite."""
    try:
        return not math.isfinite(float(word.rstrip("\"'drip")))
    except ValueError:
        return False  # sexagesimal; or no number at all, which the reader tells


def _is_behind(region: Any) -> bool:
    """Say whether all of a region lies where the projection shows nothing."""
    place = getattr(region, "center", getattr(region, "vertices", None))
    return place is not None and not np.isfinite([place.x, place.y]).any()


def _paint_inplace(inside: NDArray[np.bool_], region: Any, meta: Any) -> None:
    """Set the pixels of a region; those of an excluded one are cleared."""
    value, box = bool(meta.get("include", 1)), region.bounding_box
    if math.prod(map(float, box.shape)) <= MUCH_LARGER * inside.size:
        mask = region.to_mask(mode="center")
        large, small = mask.get_overlap_slices(inside.shape)
        if large is not None:
            inside[large][mask.data[small] > 0] = value
        return
    # its mask would be drawn whole, whatever part of it lies in the image
    for rows in row_blocks(inside.shape):
        y, x = np.mgrid[rows, : inside.shape[1]]
        inside[rows][region.contains(PixCoord(x, y))] = value


def read_fits_mask(path: str | os.PathLike, parameter: str) -> Mosaic:
    """Read a mask with its WCS.

    Parameters
    ----------
    path : str
        FITS image of integers: bits of tiers, or not 0 = source.
    parameter : str
        For messages.

    Returns
    -------
    Mosaic
        The mask as its image.

    Raises
    ------
    CeersError
        When it cannot be read or has no celestial WCS.
    """
    with open_image(path, f"{parameter}={path}") as (hdus, hdu):
        data, wcs = hdu.data, WCS(hdu.header, hdus)
    if data.ndim != 2 or not wcs.has_celestial:
        raise CeersError(
            f"{parameter}={path} has no celestial WCS, or is no image. Give a mask with the WCS of "
            "its mosaic in the header, like the *_mergedmask.fits of this step."
        )
    data = _as_bits(data)
    return Mosaic(str(path), data, np.zeros(data.shape, bool), wcs.celestial, None)


def _as_bits(data: NDArray) -> NDArray[np.uint8]:
    """Return a mask as uint8: its bits if they fit, else 2 for what is not 0.

    A mask of nothing but 0 and 1 has no bits: 1 = source, not the border.
    """
    whole = data if data.dtype == np.uint8 else np.nan_to_num(data, nan=0.0)
    if whole.dtype.kind in "iu" and whole.min() >= 0 and 1 < whole.max() < 256:
        return whole.astype(np.uint8)
    return np.where(whole != 0, np.uint8(2), np.uint8(0))


def sample_mask(source: Mosaic, mosaic: Mosaic, parameter: str) -> NDArray[np.uint8]:
    """Return a mask on the pixels of a mosaic.

    Parameters
    ----------
    source, mosaic : Mosaic
        The mask, and whose pixels are wanted.
    parameter : str
        Where the mask comes from, for messages.

    Returns
    -------
    ndarray of uint8, shape (ny, nx)
        0 where the mask has no pixel.

    Raises
    ------
    CeersError
        When they do not overlap.
    """
    to_source = pixel_map(mosaic, source)
    if to_source is None:
        return source.image
    values = np.empty(mosaic.shape, source.image.dtype)
    n_seen = n_wanted = 0
    for rows in row_blocks(mosaic.shape):
        values[rows], covered = sample_nearest(source.image, to_source, rows, mosaic.shape[1])
        wanted = ~mosaic.border[rows]
        n_seen += int(np.count_nonzero(covered & wanted))
        n_wanted += int(np.count_nonzero(wanted))
    if not n_seen:
        raise CeersError(
            f"{parameter}: {source.name} and {mosaic.name} do not overlap on the sky. "
            "Give images of one field."
        )
    fraction = n_seen / n_wanted
    if fraction < 0.99:
        log.warning("%s covers %.0f%% of %s", source.name, 100 * fraction, mosaic.name)
    return values
