"""Outskirts of large sources, which the search for sources leaves unmasked.

The search takes a median over a ring for the sky. Of a source larger than the ring it subtracts
the outskirts, so that they stay outside the mask: light of tens of rows, which goes with the
stripes and is then missing in the source. Here each source that is bright over a large area is
followed outwards. Its light is averaged over ellipses of the shape that its bright part has, which
know nothing of the direction of rows, and the exponential in which this profile ends tells where
it has become too faint to matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import as_blocks, block_sum
from ceers_steps.kernels.parts import EIGHT_NEIGHBOURS, find_parts, moments_of
from ceers_steps.kernels.sources.exponential import (
    OuterExponential,
    fit_outer_exponential,
    radius_at_level,
)
from ceers_steps.kernels.stats import mad_sigma
from ceers_steps.kernels.stripes.settings import LARGE_SOURCES

__all__ = [
    "Ellipse",
    "LargeSource",
    "SourceBlocks",
    "find_large_sources",
    "outskirts_light",
    "outskirts_mask",
]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Ellipse:
    """The bright part of a source: an ellipse of its shape and area.

    Attributes
    ----------
    y, x : float
        Centre, blocks.
    axis, ratio : float
        Half the major axis, blocks; minor over major axis.
    cosine, sine : float
        Of the angle of the major axis, from +x towards +y.
    """

    y: float
    x: float
    axis: float
    ratio: float
    cosine: float
    sine: float

    @classmethod
    def of(cls, y: NDArray, x: NDArray) -> Ellipse:
        """Return the ellipse of blocks at these places.

        Parameters
        ----------
        y, x : ndarray, shape (n,)
            Blocks of the bright part.
        """
        y0, x0, yy, xx, xy = moments_of(y, x)
        (minor, major), vectors = np.linalg.eigh([[yy, xy], [xy, xx]])
        ratio = max(float(np.sqrt(minor / major)), LARGE_SOURCES.least_ratio)
        axis = float(np.sqrt(y.size / np.pi / ratio))
        sine, cosine = vectors[:, 1]
        return cls(y0, x0, axis, ratio, float(cosine), float(sine))

    def distance(self, y: NDArray, x: NDArray) -> NDArray[np.float64]:
        """Return how far places lie outside, on similar ellipses, along the major axis.

        Parameters
        ----------
        y, x : ndarray
            Places, blocks; broadcast against each other.

        Returns
        -------
        ndarray
            Blocks; negative inside.
        """
        dy, dx = y - self.y, x - self.x
        along = dx * self.cosine + dy * self.sine
        across = dy * self.cosine - dx * self.sine
        return np.hypot(along, across / self.ratio) - self.axis


@dataclass(frozen=True)
class LargeSource:
    """A source that is bright over a large area.

    Attributes
    ----------
    ellipse : Ellipse
        Of its bright part.
    profile : OuterExponential
        In which its light ends, from that ellipse outwards along the major axis, in steps of
        ``LARGE_SOURCES.step`` blocks.
    """

    ellipse: Ellipse
    profile: OuterExponential

    @property
    def length(self) -> float:
        """Scale length of its outskirts along the major axis, blocks."""
        return LARGE_SOURCES.step * self.profile.length

    @property
    def reach(self) -> float:
        """How far they reach beyond the ellipse along the major axis, blocks."""
        return float(radius_at_level(self.profile.level, self.length, LARGE_SOURCES.faintest))

    @property
    def is_slow(self) -> bool:
        """Whether they fade too slowly to be masked."""
        return self.length * LARGE_SOURCES.block > LARGE_SOURCES.longest


class SourceBlocks:
    """An image with its sources in blocks, from which patterns can be subtracted.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Rate image.
    seen : ndarray of bool, shape (ny, nx)
        True = the pixel has a value, be it of a source.
    flat : ndarray, shape (ny, nx), or None
        Response to light.
    binning : int
        Columns per sample of what is subtracted.
    """

    def __init__(
        self, image: NDArray, seen: NDArray[np.bool_], flat: NDArray | None, binning: int
    ) -> None:
        side = LARGE_SOURCES.block
        if flat is not None:
            seen = seen & np.isfinite(flat) & (flat > 0)
        self._binning = binning
        self._count = block_sum(seen, side, beyond=0.0, dtype=np.float32)
        self._sum = block_sum(np.where(seen, image, np.float32(0)), side, beyond=0.0)
        self._response = self._count
        if flat is not None:
            response = np.where(seen, flat, np.float32(0))
            self._response = block_sum(response, side, beyond=0.0, dtype=np.float32)
        self.seen = self._count > 0.5 * side**2

    def light(self, stripes: Float, sky: Float) -> Float:
        """Return the mean light of each block, before the flat.

        Parameters
        ----------
        stripes, sky : ndarray, shape (ny, nx / binning)
            What is subtracted: as pixels see it, and before the flat.

        Returns
        -------
        ndarray of float32
            One value a block, 0 where there is none.
        """
        side = LARGE_SOURCES.block
        block = side, max(1, side // self._binning)
        stripes, sky = (as_blocks(a, block, "edge").mean(axis=(2, 3)) for a in (stripes, sky))
        light = (self._sum - self._count * stripes) / np.maximum(self._response, 1e-3) - sky
        return np.where(self.seen, light, 0).astype(np.float32)

    def to_samples(self, blocks: NDArray, shape: tuple[int, ...]) -> NDArray:
        """Return what is known of blocks for samples.

        Parameters
        ----------
        blocks : ndarray
            One value a block.
        shape : tuple of int
            Of the samples, ``(ny, nx / binning)``.
        """
        side = LARGE_SOURCES.block
        rows = np.repeat(blocks, side, axis=0)[: shape[0]]
        return np.repeat(rows, max(1, side // self._binning), axis=1)[:, : shape[1]]


def find_large_sources(light: Float, seen: NDArray[np.bool_]) -> list[LargeSource]:
    """Find the sources that are bright over a large area, and how their light ends.

    Parameters
    ----------
    light : ndarray, shape (ny, nx)
        Means over blocks of ``LARGE_SOURCES.block`` pixels of an image without sky and stripes, in
        units of the noise of a pixel.
    seen : ndarray of bool, shape (ny, nx)
        True = the block has a value, be it of a masked source.

    Returns
    -------
    list of LargeSource
        Only those whose light is seen to end.
    """
    bright = (light > LARGE_SOURCES.level) & seen
    others = ndimage.binary_dilation(bright, EIGHT_NEIGHBOURS, LARGE_SOURCES.gap)
    least = LARGE_SOURCES.least_area / LARGE_SOURCES.block**2
    parts = [part for part in find_parts(bright) if part.pixels.sum() >= least]
    parts.sort(key=lambda part: -part.pixels.sum())
    found = []
    for part in parts[: LARGE_SOURCES.most]:
        y, x = np.nonzero(part.pixels)
        ellipse = Ellipse.of(y + part.box[0].start, x + part.box[1].start)
        near = _surroundings(ellipse, light.shape)
        own = np.zeros(light.shape, bool)
        own[part.box][part.pixels] = True
        own = own[near]  # a long and winding part reaches farther than its ellipse
        own = ndimage.binary_dilation(own, EIGHT_NEIGHBOURS, LARGE_SOURCES.gap)
        usable = seen[near] & (own | ~others[near])
        distance = ellipse.distance(*np.ogrid[near])
        profile = _profile(distance[usable], light[near][usable])
        if profile.length > 0.0:
            found.append(LargeSource(ellipse, profile))
    return found


def outskirts_mask(sources: list[LargeSource], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return where sources are too bright to be taken for sky.

    Sources that fade slowly are left out: they are smooth, and have a model (or `outskirts_light`).

    Parameters
    ----------
    sources : list of LargeSource
    shape : tuple of int
        In blocks.

    Returns
    -------
    ndarray of bool, shape `shape`
        True = light of a source.
    """
    mask = np.zeros(shape, bool)
    for source in sources:
        if not source.is_slow:
            near = _surroundings(source.ellipse, shape)
            mask[near] |= source.ellipse.distance(*np.ogrid[near]) < source.reach
    return mask


def outskirts_light(sources: list[LargeSource], shape: tuple[int, ...]) -> Float:
    """Return the outskirts of narrow sources that fade slowly.

    They reach over more rows and outputs than a mask may take, and end sooner along the minor axis
    than the model of smooth light can follow. Inside of the bright part they have the light of its
    edge: the rest is left to that model.

    Parameters
    ----------
    sources : list of LargeSource
    shape : tuple of int
        In blocks.

    Returns
    -------
    ndarray of float32, shape `shape`
        Light, units of the noise of a pixel.
    """
    light = np.zeros(shape, np.float32)
    for source in sources:
        width = source.ellipse.ratio * (source.ellipse.axis + source.reach)
        if source.is_slow and width * LARGE_SOURCES.block <= LARGE_SOURCES.widest:
            outside = np.maximum(source.ellipse.distance(*np.ogrid[: shape[0], : shape[1]]), 0)
            light += np.exp(source.profile.level - outside / source.length).astype(np.float32)
    return light


def _surroundings(ellipse: Ellipse, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns in which the profile of a source is measured."""
    reach = _reach(ellipse) + ellipse.axis
    rows, columns = (
        slice(max(0, int(centre - reach)), min(size, int(centre + reach) + 1))
        for centre, size in zip((ellipse.y, ellipse.x), shape, strict=True)
    )
    return rows, columns


def _profile(distance: NDArray, light: NDArray) -> OuterExponential:
    """Return how light ends, from blocks outside the ellipse."""
    step = LARGE_SOURCES.step
    number = np.floor(distance / step).astype(int)
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(max(number.max(initial=0), 0) + 2))
    places, means, errors = [], [], []
    for ring, (first, last) in enumerate(pairwise(edges)):
        values = light[order[first:last]]
        if values.size < LARGE_SOURCES.least_blocks:
            continue
        # other sources are in the way
        limit = LARGE_SOURCES.clip * (mad_sigma(values) + LARGE_SOURCES.shape_scatter)
        values = values[np.abs(values - np.median(values)) < limit]
        places.append(ring + 0.5)
        means.append(values.mean())
        errors.append(np.hypot(values.std() / np.sqrt(values.size), LARGE_SOURCES.sky_error))
    return fit_outer_exponential(
        np.array(places), np.array(means), np.array(errors), LARGE_SOURCES.faintest
    )


def _reach(ellipse: Ellipse) -> float:
    """Return the distance to which the profile of a source is followed, blocks."""
    return LARGE_SOURCES.reach_axes * ellipse.axis + LARGE_SOURCES.reach / LARGE_SOURCES.block
