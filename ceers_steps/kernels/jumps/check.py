"""Jumps judged again, with a noise and a rate that do not come from the pixel alone.

The jump step of jwst takes the photon noise of a difference from the median rate of its pixel. In
faint sky that median is noisy and often near zero, so that noise peaks, and rows of 1/f noise in a
single group, pass for hits. To leave out the high one of two differences that share a read makes
the rate too low.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.judge import Judge
from ceers_steps.kernels.jumps.settings import JUMPS, JumpSettings
from ceers_steps.kernels.stripes.readout import ReadoutLayout

__all__ = ["CheckedJumps", "check_jumps", "subtract_stripes_inplace"]

Float = NDArray[np.float32]


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
    stripe_noise : float
        What the stripes of a read leave in a pixel that took no part in them: variance over that
        of the read noise of the references.
    stripes : NDArray or None
        Shape ``(nints, ngroups - 1, ny, nx / binning)``: what the stripes of each difference, its
        level included, have over those of the rate from all groups; to be subtracted from it.
    """

    jumps: NDArray[np.bool_]
    n_hits: int
    n_cleared: int
    n_added: int
    noise_scale: float
    stripe_noise: float
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
    patterns: list[Float | None] = []
    scales: list[tuple[float, float]] = []
    n_cleared = n_added = n_hits = 0
    for i in range(len(data)):
        try:
            judge = Judge(data[i], groupdq[i], bad, noise, layout, settings)
        except ValueError:  # nothing in it can be used: its flags stay
            if i == len(data) - 1 and not scales:
                raise
            patterns.append(None)
            continue
        judge.take_out_levels()
        judge.find_hits(threshold)
        if stripes:
            judge.take_out_events()
            judge.take_out_stripes()
        judge.find_rate()
        scales.append(judge.judge_together(threshold, jumps[i]))
        for flags, now in zip(groupdq[i, 1:], jumps[i, 1:], strict=True):
            before = (flags & JUMP_DET) != 0
            n_cleared += int(np.count_nonzero(before & ~now))
            n_added += int(np.count_nonzero(now & ~before))
        n_hits += int(np.count_nonzero(judge.hits))
        patterns.append(judge.release_stripes())
    scale, left = (float(value) for value in np.median(scales, axis=0))
    return CheckedJumps(jumps, n_hits, n_cleared, n_added, scale, left, _of_all(patterns))


def _of_all(patterns: list[Float | None]) -> Float | None:
    """Return the stripes of all integrations: 0 where none could be found, None if in none."""
    found = [pattern for pattern in patterns if pattern is not None]
    if not found:
        return None
    if len(patterns) == 1:  # the rule: no second copy
        return found[0][None]
    nothing = np.zeros_like(found[0])
    return np.stack([nothing if pattern is None else pattern for pattern in patterns])


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
