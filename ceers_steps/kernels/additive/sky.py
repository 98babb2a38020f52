"""Steep sky of a mosaic that is the sum of a few profiles: along rows, along columns, inwards.

Flats, stray light and steps between amplifiers or detectors follow rows and columns, glow and
vignetting the border. A profile has hundreds of pixels for each of its places: it can be as fine as
a pixel without following any source, where boxes that are small enough for a step would. What one
group of rows has and the others have not is light of sources, or other structure, and no profile.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.additive.profiles import common_profile
from ceers_steps.kernels.additive.settings import ADDITIVE
from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.parts import nearest_large_part
from ceers_steps.kernels.rows import LazyRows, RowImage, Strip, for_each_strip
from ceers_steps.kernels.stats import mad_sigma

__all__ = ["AdditiveSky", "fit_additive_sky"]

Array = NDArray[np.float64]

_TURNS = (("down", "across"), ("inward",))
"""Profiles that are found together: the better of these is taken in each round."""


@dataclass(frozen=True)
class AdditiveSky:
    """A sky that is the sum of three profiles.

    Attributes
    ----------
    down, across : ndarray of float64, shape (ny,) and (nx,)
        Of each row and of each column, in the unit of the image.
    inward : ndarray of float64, shape (n,)
        At growing distances from the border, blocks.
    distance : ndarray of float32, shape (ny / side, nx / side)
        Distance of the middle of each block from the border, blocks; 0 in those beside it.
    side : int
        Of a block, pixels.
    """

    down: Array
    across: Array
    inward: Array
    distance: NDArray[np.float32]
    side: int

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the sky where some rows and columns cross.

        Parameters
        ----------
        rows, columns : ndarray of int, shape (n,) and (m,)
            Pixels.

        Returns
        -------
        ndarray of float32, shape (n, m)
        """
        sky = self.down[rows].astype(np.float32)[:, np.newaxis]
        sky = sky + self.across[columns].astype(np.float32)
        if self.inward.any():
            distance = _between_blocks(self.distance, rows, self.side)
            distance = _between_blocks(distance.T, columns, self.side).T
            # goes on beyond the middles of the outermost blocks
            known = np.append(2.0 * self.inward[0] - self.inward[1], self.inward)
            sky += np.interp(distance, np.arange(-1, len(known) - 1), known).astype(np.float32)
        return sky

    def subtract_from(self, image: RowImage) -> LazyRows:
        """Return an image without this sky."""
        ny, nx = image.shape
        columns = np.arange(nx)
        return LazyRows(
            (ny, nx),
            lambda rows: image[rows] - self.at(np.arange(rows.start, rows.stop), columns),
        )


def fit_additive_sky(
    image: RowImage,
    mask: RowImage,
    coverage_mask: RowImage,
    *,
    core: RowImage | None = None,
    n_threads: int = 1,
) -> AdditiveSky | None:
    """Find the sum of profiles that explains the structure of a sky, if one does.

    Parameters
    ----------
    image : ndarray or RowImage, shape (ny, nx)
        In any unit. NaN and infinities count as masked.
    mask : ndarray of bool or RowImage, shape (ny, nx)
        True = do not use: sources, not seen.
    coverage_mask : ndarray of bool or RowImage, shape (ny, nx)
        True = no detector has seen this pixel: where the mosaic has its border.
    core : ndarray of bool or RowImage, shape (ny, nx), optional
        True = above a threshold of a search: what lies around large sources is not used either.
    n_threads : int
        Strips worked on at a time.

    Returns
    -------
    AdditiveSky or None
        None where the sky is flat, or no sum of profiles.
    """
    if min(image.shape) < ADDITIVE.fewest_groups * ADDITIVE.cell:
        return None
    blocks = _Blocks.measure(image, mask, coverage_mask, core, n_threads)
    around = _around_large(blocks.bright, blocks.side)
    trials = [(blocks.weight, ADDITIVE.explained)]
    if around.any():
        outside = np.where(around, 0.0, blocks.weight)
        trials = [(outside, ADDITIVE.explained_beside), (blocks.weight, ADDITIVE.explained_near)]
    for weight, explained in trials:
        if np.count_nonzero(weight) * 4 < weight.size:
            continue
        found = _Fit(replace(blocks, weight=weight)).found(explained)
        if found is not None:
            return _sharpened(found, image, mask, blocks.level, n_threads)
    return None


@dataclass(frozen=True)
class _Blocks:
    """Means of blocks outside the mask.

    Attributes
    ----------
    value, weight : ndarray of float64
        Means less their median, and the pixels in each; 0 = too few.
    seen, bright : ndarray of bool
        True where a detector has seen most of a block; where a source is above a threshold.
    level : float
        The median.
    side, pixels : int and tuple of int
        Of a block, and shape of the image.
    """

    value: Array
    weight: Array
    seen: NDArray[np.bool_]
    bright: NDArray[np.bool_]
    level: float
    side: int
    pixels: tuple[int, ...]

    @classmethod
    def measure(
        cls,
        image: RowImage,
        mask: RowImage,
        coverage_mask: RowImage,
        core: RowImage | None,
        n_threads: int,
    ) -> "_Blocks":
        """Take means of the image."""
        side = ADDITIVE.side
        while image.shape[0] * image.shape[1] > ADDITIVE.most_blocks * side**2:
            side *= 2

        def work(strip: Strip) -> tuple[NDArray, NDArray, NDArray, NDArray]:
            part = np.asarray(image[strip.rows], np.float32)
            good = ~mask[strip.rows] & np.isfinite(part)
            total = block_sum(np.where(good, part, np.float32(0)), side, beyond=0.0)
            n, seen = (
                block_sum(each, side, beyond=0) for each in (good, ~coverage_mask[strip.rows])
            )
            bright = n < 0 if core is None else block_sum(core[strip.rows], side, beyond=0) > 0
            return total, n, 2 * seen > side**2, bright

        parts = for_each_strip(work, image.shape, 0, n_threads)
        total, n, seen, bright = (np.concatenate(each) for each in zip(*parts, strict=True))
        weight = np.where(n >= ADDITIVE.least_pixels * side**2, n, 0.0)
        value = total / np.maximum(n, 1.0)
        level = float(np.median(value[weight > 0.0])) if weight.any() else 0.0
        value = np.where(weight > 0.0, value - level, 0.0)
        return cls(value, weight, seen, bright, level, side, tuple(image.shape))

    def distance(self) -> NDArray[np.float32]:
        """Return the distances from the border, from 0 in the blocks beside it."""
        filled = ndimage.binary_fill_holes(self.seen)
        ny, nx = filled.shape
        y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (ny, nx))
        distance = np.minimum(y[:, np.newaxis], x).astype(np.float32)
        if not filled.all():
            inside = ndimage.distance_transform_edt(filled) - 1.0
            distance = np.minimum(distance, np.maximum(inside, 0.0)).astype(np.float32)
        return distance

    def noise(self) -> float:
        """Return the noise of a block, as neighbours tell it."""
        used = self.weight > 0.0
        pairs = [
            (self.value[1:] - self.value[:-1])[used[1:] & used[:-1]],
            (self.value[:, 1:] - self.value[:, :-1])[used[:, 1:] & used[:, :-1]],
        ]
        difference = np.concatenate(pairs)
        return mad_sigma(difference) / np.sqrt(2.0) if difference.size else 0.0


class _Fit:
    """Profiles of blocks, found by turns."""

    def __init__(self, blocks: _Blocks) -> None:
        self.blocks = blocks
        self.distance = blocks.distance()
        indices: NDArray[np.intp] = np.indices(blocks.value.shape)
        rows, columns = indices[0], indices[1]
        seen = np.argwhere(blocks.seen)
        middle = seen.mean(axis=0) if seen.size else np.zeros(2)
        turn = np.arctan2(rows - middle[0], columns - middle[1]) / (2.0 * np.pi) + 0.5
        sector = np.minimum((turn * ADDITIVE.sectors).astype(np.intp), ADDITIVE.sectors - 1)
        down, across = (_group_side(n) // blocks.side for n in blocks.pixels)
        self.places: dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]] = {
            "down": (rows, columns // max(across, 1)),
            "across": (columns, rows // max(down, 1)),
            "inward": (self.distance.astype(np.intp), sector),
        }

    def found(self, explained: float) -> AdditiveSky | None:
        """Return the sum of profiles, if it explains enough of the structure."""
        blocks = self.blocks
        value, weight, used = blocks.value, blocks.weight, blocks.weight > 0.0
        noise = blocks.noise()
        # structure in units of the noise of a pixel
        unit = noise * blocks.side
        before = _structure(value, weight, noise, unit)
        if not noise > 0.0 or before < ADDITIVE.least**2:
            return None
        profiles = {name: np.zeros(place.max() + 1) for name, (place, _) in self.places.items()}
        rest, limit = value, np.inf
        for _ in range(ADDITIVE.rounds):
            scatter = mad_sigma(rest[used])
            best = None
            for names in _TURNS:
                new, left = self._turn(names, rest, limit)
                gain = _sum_of_squares(rest, weight, scatter) - _sum_of_squares(
                    left, weight, scatter
                )
                if gain > 0.0 and (best is None or gain > best[0]):
                    best = gain, new, left
            if best is None:
                break
            for name, profile in best[1].items():
                profiles[name] += profile
            rest = best[2]
            limit = ADDITIVE.clip * mad_sigma(rest[used])
        after = _structure(rest, weight, noise, unit)
        if before - after < explained * (before - ADDITIVE.faintest**2):
            return None
        down, across = (
            _between_blocks(profiles[name][:, np.newaxis], np.arange(n), blocks.side)[:, 0]
            for name, n in zip(("down", "across"), blocks.pixels, strict=True)
        )
        return AdditiveSky(down, across, profiles["inward"], self.distance, blocks.side)

    def _turn(
        self, names: tuple[str, ...], rest: Array, limit: float
    ) -> tuple[dict[str, Array], Array]:
        """Return profiles of some kinds, and what they leave."""
        weight = self.blocks.weight
        new = {name: np.zeros(self.places[name][0].max() + 1) for name in names}
        for _ in range(ADDITIVE.repeats if len(names) > 1 else 1):
            for name in names:
                place, group = self.places[name]
                level = np.median(rest[weight > 0.0])
                profile = _profile(np.clip(rest - level, -limit, limit), weight, place, group)
                if name == "inward":
                    # galaxies in the middle of a mosaic are brighter there, and no sky
                    profile = np.minimum.accumulate(profile)
                    rest = rest - np.interp(self.distance, np.arange(len(profile)), profile)
                else:
                    rest = rest - profile[place]
                new[name] += profile
        return new, rest


def _group_side(n_pixels: int) -> int:
    """Return the height of a group of rows (or columns), pixels."""
    side = ADDITIVE.cell
    if n_pixels >= 2 * ADDITIVE.fewest_groups * side:
        side *= 2
    while n_pixels > ADDITIVE.most_groups * side:
        side *= 2
    return side


def _around_large(bright: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return large sources with what lies around them, where their light is expected."""
    distance, size = nearest_large_part(bright, ADDITIVE.large / side**2)
    return distance <= ADDITIVE.hidden * size


def _sum_of_squares(rest: Array, weight: Array, scatter: float) -> float:
    """Return how far blocks are off their median, outliers no more than a few times the scatter."""
    off = np.abs(rest - np.median(rest[weight > 0.0]))
    return float(np.sum(weight * np.minimum(off, ADDITIVE.clip * scatter) ** 2))


def _structure(value: Array, weight: Array, noise: float, unit: float) -> float:
    """Return the variance of blocks about a plane, less that of the noise, in some unit squared."""
    y, x = (np.linspace(-1.0, 1.0, n) for n in value.shape)
    slopes = (each.ravel() for each in np.meshgrid(y, x, indexing="ij"))
    terms = np.stack([np.ones(value.size), *slopes])
    flat, total = value.ravel(), weight.ravel()
    kept, rest = total, flat
    for _ in range(2):
        products = terms * kept
        rest = flat - np.linalg.lstsq(products @ terms.T, products @ flat, rcond=None)[0] @ terms
        kept = np.where(np.abs(rest) < ADDITIVE.clip * mad_sigma(rest[total > 0.0]), total, 0.0)
    off = np.minimum(np.abs(rest), ADDITIVE.most * unit)
    variance = np.sum(total * off**2) / max(total.sum(), 1.0) - noise**2
    return float(max(variance, 0.0) / max(unit, np.finfo(float).tiny) ** 2)


def _profile(value: Array, weight: Array, place: NDArray, group: NDArray) -> Array:
    """Return what all groups of blocks have in common at each place."""
    shape = int(group.max()) + 1, int(place.max()) + 1
    key = (group * shape[1] + place).ravel()
    n, total = (
        np.bincount(key, each.ravel(), shape[0] * shape[1]).reshape(shape).astype(float)
        for each in (weight, weight * value)
    )
    return common_profile(total, n, max(int(np.log2(shape[1] / 4)), 1), ADDITIVE.degree)


def _sharpened(
    sky: AdditiveSky, image: RowImage, mask: RowImage, level: float, n_threads: int
) -> AdditiveSky:
    """Add the details of single rows and columns, which blocks do not show."""
    ny, nx = image.shape
    sides = [_group_side(n) for n in (ny, nx)]
    flat, cells = sky.subtract_from(image), np.arange(0, nx, sides[1])

    def work(strip: Strip) -> tuple[NDArray, NDArray]:
        value = flat[strip.rows] - np.float32(level)
        good = ~mask[strip.rows] & np.isfinite(value)
        value = np.where(good, value, np.float32(0.0))
        both = value, good.astype(np.float32)
        groups = np.arange(0, strip.stop - strip.start, ADDITIVE.cell)
        rows = np.stack([np.add.reduceat(each, cells, axis=1).T for each in both])
        return rows, np.stack([np.add.reduceat(each, groups, axis=0) for each in both])

    parts = for_each_strip(work, (ny, nx), 0, n_threads, alignment=ADDITIVE.cell)
    rows: NDArray = np.concatenate([part[0] for part in parts], axis=2).astype(float)
    columns = np.concatenate([part[1] for part in parts], axis=1).astype(float)
    first = np.arange(0, columns.shape[1], sides[0] // ADDITIVE.cell)
    groups: Array = np.add.reduceat(columns, first, axis=1).astype(float)
    n_scales = int(np.log2(sky.side)) + 1
    down, across = (common_profile(each[0], each[1], n_scales) for each in (rows, groups))
    return replace(sky, down=sky.down + down, across=sky.across + across)


def _between_blocks(values: NDArray, pixels: NDArray[np.intp], side: int) -> NDArray:
    """Return values of blocks at pixels of the first axis, in straight lines between middles."""
    place = (pixels + 0.5) / side - 0.5
    last = max(len(values) - 2, 0)
    first = np.clip(np.floor(place).astype(np.intp), 0, last)
    part = (place - first)[:, np.newaxis].astype(values.dtype)
    second = np.minimum(first + 1, len(values) - 1)
    return np.asarray(values[first] * (1 - part) + values[second] * part)
