"""Jumps judged again, with a noise and a rate that do not come from the pixel alone.

The jump step of jwst takes the photon noise of a difference from the median rate of its pixel. In
faint sky that median is noisy and often near zero, so that noise peaks, and rows of 1/f noise in a
single group, pass for hits. To leave out the high one of two differences that share a read makes
the rate too low.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.settings import JUMPS, JumpSettings
from ceers_steps.kernels.parts import find_parts
from ceers_steps.kernels.stats import mad_sigma, nan_median, subsample
from ceers_steps.kernels.stripes.groups import GroupStripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout

__all__ = ["CheckedJumps", "GroupNoise", "check_jumps", "subtract_stripes_inplace"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class GroupNoise:
    """What is known of the noise of a group difference from the references.

    Attributes
    ----------
    read : NDArray
        Shape ``(ny, nx)``: standard deviation of the read noise of a difference of two single
        frames (the READNOISE reference), units of the data.
    gain : NDArray
        Shape ``(ny, nx)``, electrons per unit of the data.
    n_frames : int
        Frames averaged into a group.
    group_frames : int
        Frames from the start of a group to the start of the next.
    """

    read: Float
    gain: Float
    n_frames: int = 1
    group_frames: int = 1

    def photon_factor(self) -> float:
        """Return the variance of photons in a difference of averaged groups over their number."""
        n = self.n_frames
        return 1 - (n * n - 1) / (3 * n * max(self.group_frames, n))


@dataclass(frozen=True)
class CheckedJumps:
    """What `check_jumps` finds.

    Attributes
    ----------
    jumps : NDArray
        Shape ``(nints, ngroups, ny, nx)``; True = the difference that ends in this group holds a
        hit.
    n_hits : int
        Differences that hold a hit by themselves, not as neighbours of another.
    n_cleared, n_added : int
        Flags of the input that do not stand, and those that are new.
    noise_scale : float
        Noise of the differences over that of the references, the median of all groups.
    stripes : NDArray or None
        Shape ``(nints, ngroups - 1, ny, nx / binning)``: what the stripes of each difference, its
        level included, have over those of the rate from all groups; to be subtracted from it.
    """

    jumps: NDArray[np.bool_]
    n_hits: int
    n_cleared: int
    n_added: int
    noise_scale: float
    stripes: Float | None


def check_jumps(
    data: Float,
    groupdq: NDArray[np.uint8],
    bad: NDArray[np.bool_],
    noise: GroupNoise,
    layout: ReadoutLayout,
    *,
    threshold: float = 4.0,
    stripes: bool = True,
    settings: JumpSettings = JUMPS,
) -> CheckedJumps:
    """Judge every difference of a ramp: is there a hit?

    The rate that is expected comes from the surroundings where they are smooth, and from the
    other differences of the pixel on sources. The 1/f noise of each difference is taken out of
    it, and its noise is measured over the frame.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``, linear signal.
    groupdq
        Same shape, after jump detection.
    bad
        Shape ``(ny, nx)``; True = do not use. Their flags stay as they are.
    noise
        Of the references.
    layout
        Read-out order of an image.
    threshold
        Excess from which a difference holds a hit, sigma of a difference.
    stripes
        Find the stripes of each difference (the level of each row of each output otherwise).
    settings
        Constants of the method.

    Returns
    -------
    CheckedJumps
        New flags, and what was found.

    Raises
    ------
    ValueError
        If the ramp is too short or nothing in it can be used.
    """
    if data.shape[1] < settings.fewest_groups:
        raise ValueError(
            f"{data.shape[1]} groups (NGROUPS), {settings.fewest_groups} are needed to judge jumps"
        )
    jumps = (groupdq & JUMP_DET) != 0
    patterns: list[Float] = []
    scales: list[float] = []
    n_cleared = n_added = n_hits = 0
    for i in range(len(data)):
        before = jumps[i, 1:].copy()
        judge = _Judge(data[i], groupdq[i], bad, noise, layout, threshold, settings)
        judge.take_out_levels()
        judge.find_hits()
        if stripes:
            patterns.append(judge.take_out_stripes())
        judge.find_rate()
        scales.append(judge.find_hits(jumps[i]))
        n_cleared += int(np.count_nonzero(before & ~jumps[i, 1:]))
        n_added += int(np.count_nonzero(jumps[i, 1:] & ~before))
        n_hits += int(np.count_nonzero(judge.hits))
    scale = float(np.median(scales))
    found = np.stack(patterns) if patterns else None
    return CheckedJumps(jumps, n_hits, n_cleared, n_added, scale, found)


def subtract_stripes_inplace(data: Float, stripes: Float) -> None:
    """Subtract the stripes of differences from the groups of a ramp.

    Parameters
    ----------
    data
        Shape ``(nints, ngroups, ny, nx)``; changed. The first group stays as it is.
    stripes
        Shape ``(nints, ngroups - 1, ny, nx / binning)``, of `CheckedJumps`.
    """
    binning = data.shape[-1] // stripes.shape[-1]
    for ramp, patterns in zip(data, stripes, strict=True):
        total = np.zeros(patterns.shape[1:], np.float32)
        for group, pattern in zip(ramp[1:], patterns, strict=True):
            total += pattern
            group -= np.repeat(total, binning, axis=1)


class _Judge:
    """The differences of one integration, and what is found of them."""

    def __init__(
        self,
        data: Float,
        groupdq: NDArray[np.uint8],
        bad: NDArray[np.bool_],
        noise: GroupNoise,
        layout: ReadoutLayout,
        threshold: float,
        settings: JumpSettings,
    ) -> None:
        self.layout, self.threshold, self.settings = layout, threshold, settings
        self.differences = np.diff(data, axis=0).astype(np.float32, copy=False)
        broken = (groupdq & (DO_NOT_USE | SATURATED)) != 0
        self.usable = ~(broken[1:] | broken[:-1] | bad)
        self.usable &= np.isfinite(self.differences)
        if not self.usable.any():
            raise ValueError("no pixel has a usable difference, so that no jump can be judged")
        self.differences[~self.usable] = 0
        self.read_variance = np.square(noise.read) / noise.n_frames
        self.photons = np.float32(noise.photon_factor()) / noise.gain
        self.hits = np.zeros_like(self.usable)
        shape = len(self.differences), layout.shape[0], layout.n_outputs
        self.levels = np.zeros(shape, np.float32)
        # at first without the largest difference of each pixel, which may hold a hit
        count = self.usable.sum(axis=0, dtype=np.uint8)
        largest = self.differences.max(axis=0)
        rate = self.differences.sum(axis=0)
        more = count > 1
        rate[more] = (rate[more] - largest[more]) / (count[more] - 1)
        self.rate = rate

    def take_out_levels(self) -> None:
        """Subtract the level of each row of each output from the differences."""
        n = self.layout.n_outputs
        ny, nx = self.rate.shape
        for g, (difference, good) in enumerate(zip(self.differences, self.usable, strict=True)):
            strips = (difference - self.rate).reshape(ny, n, nx // n)
            strips[~good.reshape(strips.shape)] = np.nan
            level = _row_levels(strips, self.settings.level_sample)
            self.levels[g] = level
            difference.reshape(strips.shape)[...] -= level[:, :, None]
            difference[~good] = 0

    def take_out_stripes(self) -> Float:
        """Subtract the stripes of each difference from it, but those that the rate has.

        Returns the patterns, shape ``(ngroups - 1, ny, nx / binning)``, levels included;
        weighted as a straight line through all groups weights the differences, their sum is 0.
        """
        cut = self.hits.any(axis=0) | ~self.usable.all(axis=0) | self._near_large_events()
        n = len(self.differences)
        weights = (np.arange(1, n + 1) * np.arange(n, 0, -1)).astype(np.float32)
        weights /= weights.sum()
        rate = np.einsum("g,gyx->yx", weights, self.differences)
        sigma = np.sqrt(self.read_variance + self.photons * np.maximum(rate, 0))
        finder = GroupStripes(self.layout)
        found = [finder.find(difference - rate, cut, sigma) for difference in self.differences]
        patterns = np.stack(found)
        binning = self.layout.shape[1] // patterns.shape[-1]
        width = patterns.shape[-1] // self.layout.n_outputs
        mean = np.tensordot(weights, patterns, axes=1)
        patterns -= mean
        for difference, pattern, good in zip(self.differences, patterns, self.usable, strict=True):
            difference -= np.repeat(pattern, binning, axis=1)
            difference[~good] = 0
        patterns += np.repeat(self.levels, width, axis=2)
        patterns -= np.repeat(np.tensordot(weights, self.levels, axes=1), width, axis=1)
        return patterns

    def _near_large_events(self) -> NDArray[np.bool_]:
        """Return where the halos of large events may be, which are no stripes."""
        near, settings = np.zeros(self.rate.shape, bool), self.settings
        size = settings.core_block
        for g, hits in enumerate(self.hits):
            event = hits | ~self.usable[g]
            if g > 0:
                event &= hits | self.usable[g - 1]
            filled = block_sum(event, size) > settings.core_filled * size**2
            for core in find_parts(filled, corners=False):
                y, x = (size * (side.start + side.stop) / 2 for side in core.box)
                radius = size * np.sqrt(np.count_nonzero(core.pixels) / np.pi)
                reach = settings.halo_margin + settings.halo_slope * radius
                rows, cols = (
                    np.arange(max(int(at - reach), 0), min(int(at + reach) + 1, length))
                    for at, length in zip((y, x), near.shape, strict=True)
                )
                disc = (rows[:, None] - y) ** 2 + (cols - x) ** 2 <= reach**2
                near[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] |= disc
        return near

    def find_rate(self) -> None:
        """Expect the rate of each pixel: its own on sources, that around it elsewhere."""
        settings = self.settings
        own, count = np.zeros_like(self.rate), np.zeros_like(self.rate)
        for difference, usable, hit in zip(self.differences, self.usable, self.hits, strict=True):
            steady = usable & ~hit
            count += steady
            own += difference * steady
        own /= np.maximum(count, 1)
        known = count > 0
        weight = known.astype(np.float32)
        size = settings.smooth_box
        seen = np.maximum(ndimage.uniform_filter(weight, size, mode="constant"), 1e-3)
        smooth = ndimage.uniform_filter(own * weight, size, mode="constant") / seen
        # the stripes of the rate
        strips = (own - smooth).reshape(len(own), self.layout.n_outputs, -1)
        strips[~known.reshape(strips.shape)] = np.nan
        level = _row_levels(strips, settings.level_sample)
        smooth += np.repeat(level, own.shape[1] // self.layout.n_outputs, axis=1)
        spread = np.where(known, np.square(own - smooth), 0)
        variance = ndimage.uniform_filter(spread, size, mode="constant") / seen
        typical = float(np.median(subsample(variance[known], settings.noise_sample)))
        # what the surroundings vary by over noise, times what noise alone may give in such a box
        structure = np.maximum(variance - settings.structure_factor * typical, 0)
        share = structure / np.maximum(structure + typical, 1e-30)
        share *= known
        self.rate = smooth + share * (own - smooth)

    def find_hits(self, jumps: NDArray[np.bool_] | None = None) -> float:
        """Judge the differences; return the scale of the noise.

        With `jumps`, ``(ngroups, ny, nx)``, those that stand are written into it: hits, the
        neighbours of strong ones, flags of pixels that cannot be judged, and flags in the groups
        directly after a strong hit (that the jump step may be asked to set).
        """
        inverse = 1 / np.sqrt(self.read_variance + self.photons * np.maximum(self.rate, 0))
        excess = np.empty_like(self.rate)
        follow = np.zeros(self.rate.shape, bool)
        some = slice(None, None, max(excess.size // self.settings.noise_sample, 1))
        scales = []
        for g, difference in enumerate(self.differences):
            np.subtract(difference, self.rate, out=excess)
            excess *= inverse
            sample = excess[some][self.usable[g][some]]
            sigma = float(mad_sigma(sample) or 1.0)
            scales.append(sigma)
            np.greater(excess, self.threshold * sigma, out=self.hits[g])
            self.hits[g] &= self.usable[g]
            if jumps is not None:
                strong = excess > self.settings.neighbour_sigma * sigma
                follow &= jumps[g + 1]
                kept = follow | (jumps[g + 1] & ~self.usable[g])
                near = self.hits[g] | _with_neighbours(strong & self.usable[g])
                jumps[g + 1] = kept | (near & self.usable[g])
                follow |= strong & self.usable[g]
        return float(np.median(scales))


def _row_levels(strips: Float, sample: int) -> Float:
    """Median of a sample of each row of each output, ``(ny, n_outputs)``.

    It is 0 where half of a sample is NaN. An odd step takes odd and even columns, which have
    levels of their own.
    """
    step = max(strips.shape[2] // sample, 1)
    strips = strips[:, :, :: step - 1 + step % 2]
    known = np.count_nonzero(~np.isnan(strips), axis=2) > strips.shape[2] / 2
    return np.where(known, nan_median(strips, axis=2, lower=True), np.float32(0))


def _with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask and their four neighbours."""
    near = mask.copy()
    near[1:] |= mask[:-1]
    near[:-1] |= mask[1:]
    near[:, 1:] |= mask[:, :-1]
    near[:, :-1] |= mask[:, 1:]
    return near
