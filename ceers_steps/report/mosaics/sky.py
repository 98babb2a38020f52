"""Where exposures and mosaics lie: on the sky, and on the pixels of a mosaic."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from ceers_steps.report.mosaics.maps import Region
from ceers_steps.report.mosaics.reading import Frame

__all__ = ["SkyMap", "corners_of", "draw_sky", "filter_colours", "footprints_on"]

PALETTE = ("#8a63d2", "#3a7bdc", "#0f9494", "#3a9440", "#97820a", "#dd7a0c", "#d6453c", "#b8458f")
"""Of filters, in the order of wavelength; on white and on black they can be told from the page."""

APART = 0.5
"""Fields that are further from each other have a map each, degrees."""


@dataclass(frozen=True)
class SkyMap:
    """One map, north up and east to the left, in arcsec from its centre.

    Attributes
    ----------
    center : tuple of float
        RA and Dec, degrees.
    box : tuple of float
        Left, top, width, height.
    footprints : mapping of str to list of (name, points)
        By filter; points as SVG has them.
    pictures : list of (filter, name, link, nx, ny, matrix)
        Of mosaics: pixels and how they get into the map.
    bar : float
        Length of the scale bar, arcsec.
    """

    center: tuple[float, float]
    box: tuple[float, float, float, float]
    footprints: Mapping[str, list[tuple[str, str]]]
    pictures: list[tuple[str, str, str, int, int, str]]
    bar: float


def corners_of(region: str) -> tuple[tuple[float, float], ...]:
    """Return the corners of a footprint.

    Parameters
    ----------
    region
        S_REGION: ``POLYGON ICRS ra dec ra dec ...``.

    Returns
    -------
    tuple of (RA, Dec)
        Degrees; empty where it is no polygon.
    """
    words = region.split()
    if len(words) < 8 or words[0].upper() != "POLYGON" or len(words) % 2:
        return ()
    try:
        values = [float(word) for word in words[2:]]
    except ValueError:
        return ()
    pairs = tuple(zip(values[::2], values[1::2], strict=True))
    inside = all(-360 <= ra <= 360 and -90 <= dec <= 90 for ra, dec in pairs)
    return pairs if inside else ()


def filter_colours(filters: Iterable[str]) -> dict[str, str]:
    """Return a colour for every filter, by wavelength.

    Parameters
    ----------
    filters
        Names as F150W.

    Returns
    -------
    dict
        In the order of wavelength.
    """
    ordered = sorted(set(filters), key=lambda name: (name[1:4], name))
    # the last colour is like the first: it is for many filters only
    end = len(PALETTE) - 1 - (len(ordered) < len(PALETTE))
    steps = [round(i * end / max(len(ordered) - 1, 1)) for i in range(len(ordered))]
    return {name: PALETTE[step] for name, step in zip(ordered, steps, strict=True)}


def footprints_on(frame: Frame, regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Return the exposures that reach a mosaic, in its pixels from the top left corner.

    Parameters
    ----------
    frame
        Of the mosaic.
    regions
        Footprints.

    Returns
    -------
    list of dict
        ``n`` name, ``f`` filter, ``p`` pixels: x, y, x, y ...
    """
    if frame.crval is None or not regions:
        return []
    wcs = frame.wcs()
    found = []
    sky = np.concatenate([np.array(region.corners) for region in regions])
    pixels = wcs.all_world2pix(sky, 0)
    end = np.cumsum([len(region.corners) for region in regions])
    for region, corners in zip(regions, np.split(pixels, end[:-1]), strict=True):
        x, y = corners[:, 0] + 0.5, frame.ny - 0.5 - corners[:, 1]
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            continue
        if x.max() > 0 and x.min() < frame.nx and y.max() > 0 and y.min() < frame.ny:
            points = np.stack([x, y], axis=1).round().astype(int).ravel().tolist()
            found.append({"n": region.name, "f": region.filter, "p": points})
    return found


def draw_sky(
    regions: Sequence[Region], mosaics: Sequence[tuple[str, str, str, Frame]]
) -> list[SkyMap]:
    """Return maps of all exposures and mosaics, one for each field on the sky.

    Parameters
    ----------
    regions
        Footprints of exposures.
    mosaics
        Filter, name, link of the picture, and frame.

    Returns
    -------
    list of SkyMap
        Largest first.
    """
    placed = [mosaic for mosaic in mosaics if mosaic[3].crval is not None]
    outlines = [np.array(region.corners) for region in regions]
    outlines += [_outline(mosaic[3]) for mosaic in placed]
    if not outlines:
        return []
    fields = _fields(outlines)
    maps = []
    for field in sorted(set(fields), key=lambda each: -fields.count(each)):
        here = [i for i, other in enumerate(fields) if other == field]
        maps.append(
            _draw(
                [regions[i] for i in here if i < len(regions)],
                [placed[i - len(regions)] for i in here if i >= len(regions)],
                np.concatenate([outlines[i] for i in here]),
            )
        )
    return maps


def _outline(frame: Frame) -> NDArray:
    """Return RA and Dec of the corners of a frame."""
    x, y = np.array([0, frame.nx, frame.nx, 0]) - 0.5, np.array([0, 0, frame.ny, frame.ny]) - 0.5
    return np.stack(frame.wcs().all_pix2world(x, y, 0), axis=1)


def _fields(outlines: Sequence[NDArray]) -> list[int]:
    """Return a number for each outline, the same for those that are near each other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    points = np.array([_unit(outline).mean(axis=0) for outline in outlines])
    pairs = KDTree(points).query_pairs(2 * np.sin(np.radians(APART) / 2), output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(points),) * 2)
    return connected_components(links, directed=False)[1].tolist()


def _unit(sky: NDArray) -> NDArray:
    """Return unit vectors of RA and Dec."""
    ra, dec = np.radians(sky).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _draw(
    regions: Sequence[Region], mosaics: Sequence[tuple[str, str, str, Frame]], sky: NDArray
) -> SkyMap:
    """Return the map of one field."""
    x, y, z = _unit(sky).mean(axis=0)
    ra, dec = np.degrees([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))])
    center = float(ra % 360), float(dec)
    plane = WCS(naxis=2)
    plane.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    plane.wcs.crval, plane.wcs.crpix = center, (0, 0)
    plane.wcs.cdelt = (-1 / 3600, -1 / 3600)  # x to the west, y down, as pages have them

    def place(positions: NDArray) -> NDArray:
        return plane.all_world2pix(positions, 0) + 1

    everything = place(sky)
    low, high = everything.min(axis=0), everything.max(axis=0)
    edge = 0.05 * float((high - low).max()) + 5
    width, height = (float(x) for x in high - low)
    footprints: dict[str, list[tuple[str, str]]] = {}
    for region in regions:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in place(np.array(region.corners)))
        footprints.setdefault(region.filter, []).append((region.name, points))
    pictures = []
    for filter_name, name, link, frame in mosaics:
        # lower left, lower right, upper right, upper left; pictures start at the upper left
        lower_left, _, upper_right, upper_left = place(_outline(frame))
        along_x = (upper_right - upper_left) / frame.nx
        along_y = (lower_left - upper_left) / frame.ny
        matrix = " ".join(f"{value:.7g}" for value in (*along_x, *along_y, *upper_left))
        pictures.append((filter_name, name, link, frame.nx, frame.ny, matrix))
    bar = _round_length(0.25 * width)
    return SkyMap(
        center,
        (float(low[0]) - edge, float(low[1]) - edge, width + 2 * edge, height + 2 * edge),
        dict(sorted(footprints.items())),
        pictures,
        bar,
    )


def _round_length(length: float) -> float:
    """Return the largest of 1, 2, 5, 10 ... that is not longer."""
    power = 10.0 ** np.floor(np.log10(max(length, 1)))
    return float(max(f * power for f in (1, 2, 5) if f * power <= max(length, 1)))
