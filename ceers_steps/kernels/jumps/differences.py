"""Differences between the groups of a ramp: their rate, their noise, which of them can be used."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.discs import grown_box
from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.settings import DIFFERENCES
from ceers_steps.kernels.parts import Slices
from ceers_steps.kernels.stats import MAD_TO_SIGMA, finite_median, nan_median

__all__ = [
    "Noise",
    "Ramp",
    "Window",
    "line_weights",
    "mean_without_largest",
    "measure_noise",
    "usable_differences",
]


@dataclass(frozen=True)
class Noise:
    """Noise of the group differences of an integration.

    Attributes
    ----------
    sigma : float
        Standard deviation of a group difference in blank sky, units of the data; NaN if no
        pixel could be used.
    levels : NDArray
        Shape ``(ngroups - 1, ny, n_outputs)``: level of every row of every output in each
        difference, over the rate (1/f noise and drifts).
    """

    sigma: float
    levels: NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """Group differences in a box; the first axis is the group in which they end, less one.

    Attributes
    ----------
    differences : NDArray
        Shape ``(ngroups - 1, ny, nx)``.
    usable : NDArray
        Same shape; True = a true difference (finite, not saturated, not a bad pixel).
    steady : NDArray
        Same shape; True = usable, and neither a jump nor flagged for an earlier event.
    """

    differences: NDArray[np.float32]
    usable: NDArray[np.bool_]
    steady: NDArray[np.bool_]

    def rate(self, without: list[int]) -> NDArray[np.float32]:
        """Median of the steady differences without some; NaN where none is left."""
        steady = np.where(self.steady, self.differences, np.float32(np.nan))
        return nan_median(np.delete(steady, without, axis=0), axis=0)


@dataclass(frozen=True)
class Ramp:
    """An integration and what is known of it.

    Attributes
    ----------
    data : NDArray
        Shape ``(ngroups, ny, nx)``.
    groupdq : NDArray
        Same shape.
    bad : NDArray
        Shape ``(ny, nx)``; True = do not use.
    flags : NDArray
        Shape of `data`; True = known to be contaminated.
    """

    data: NDArray
    groupdq: NDArray[np.uint8]
    bad: NDArray[np.bool_]
    flags: NDArray[np.bool_]

    def window(self, box: Slices, noise: Noise | None = None) -> Window:
        """Return the group differences in a box, less their levels (a strided box samples)."""
        groupdq = self.groupdq[:, *box]
        differences = np.diff(self.data[:, *box].astype(np.float32, copy=False), axis=0)
        if noise is not None:
            output = np.arange(self.bad.shape[1]) * noise.levels.shape[2] // self.bad.shape[1]
            differences -= noise.levels[:, box[0]][:, :, output[box[1]]]
        usable = usable_differences(self.data[:, *box], groupdq, self.bad[box])
        jumps = (groupdq[1:] & JUMP_DET) != 0
        return Window(differences, usable, usable & ~jumps & ~self.flags[1:, *box])


def usable_differences(
    data: NDArray, groupdq: NDArray[np.uint8], bad: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which differences between groups can be used.

    Parameters
    ----------
    data, groupdq
        Shape ``(ngroups, ny, nx)``.
    bad
        Shape ``(ny, nx)``; True = do not use.

    Returns
    -------
    NDArray
        Shape ``(ngroups - 1, ny, nx)``; True = both groups are finite and not saturated.
    """
    known = np.isfinite(data)
    known &= (groupdq & (DO_NOT_USE | SATURATED)) == 0
    known &= ~bad
    return known[1:] & known[:-1]


def line_weights(n_groups: int) -> NDArray[np.float32]:
    """Return the weights of the differences of a ramp in the slope of a straight line.

    Parameters
    ----------
    n_groups
        Groups of the ramp, at least 2.

    Returns
    -------
    NDArray
        Shape ``(n_groups - 1,)``; the sum is 1.
    """
    k = np.arange(1, n_groups)
    weights = 6 * k * (n_groups - k) / (n_groups * (n_groups**2 - 1))
    return weights.astype(np.float32)


def mean_without_largest(
    differences: NDArray[np.float32], usable: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the mean of the differences of each pixel without the largest, which may hold a hit.

    Parameters
    ----------
    differences
        Shape ``(n, ny, nx)``; 0 where they cannot be used.
    usable
        Same shape.

    Returns
    -------
    NDArray
        Shape ``(ny, nx)``; the only one if there is no other, 0 if there is none.
    """
    count = usable.sum(axis=0, dtype=np.uint16)
    largest = differences.max(axis=0)
    largest[count <= 1] = 0
    return (differences.sum(axis=0) - largest) / (np.maximum(count, 2) - 1)


def measure_noise(ramp: Ramp, events: list[tuple[int, Slices]], n_outputs: int) -> Noise:
    """Measure noise and row levels of the group differences from a sample of the columns.

    Parameters
    ----------
    ramp
        The integration.
    events
        Groups and boxes of the cores of large events: they and their surroundings are kept out
        of the levels.
    n_outputs
        Number of outputs, each of which reads a band of columns.

    Returns
    -------
    Noise
        The noise is taken from differences two groups apart, which share no read noise (from
        the scatter over the frame when there are too few).
    """
    nx = ramp.bad.shape[1]
    # an odd stride takes odd and even columns, which have levels of their own
    stride = nx // n_outputs // DIFFERENCES.sample // 2 * 2 + 1
    sample = ramp.window((slice(None), slice(None, None, stride)))
    nothing = np.float32(np.nan)
    above = sample.differences
    np.copyto(above, nothing, where=~sample.steady)
    above -= nan_median(above, axis=0)
    for group, box in events:
        margin = max(side.stop - side.start for side in box)
        rows, cols = grown_box(box, margin, ramp.bad.shape)
        columns = slice(-(-cols.start // stride), -(-cols.stop // stride))
        above[group - 1 : group + 1, rows, columns] = nothing
    output = np.arange(nx)[::stride] * n_outputs // nx
    edges = np.searchsorted(output, np.arange(n_outputs + 1))
    levels = np.empty((*above.shape[:2], n_outputs), dtype=np.float32)
    for k in range(n_outputs):
        strip = above[..., edges[k] : edges[k + 1]]
        level = nan_median(strip, axis=2)
        fewest = max(min(DIFFERENCES.fewest, strip.shape[2] // 2), 1)
        level[np.count_nonzero(np.isfinite(strip), axis=2) < fewest] = 0
        levels[..., k] = level
        strip -= levels[..., k, None]
    some = above[:, :: DIFFERENCES.noise_step]
    pairs = (some[2:] - some[:-2]) / np.float32(np.sqrt(2.0))
    if not np.isfinite(pairs).any() and not np.isfinite(above[2:] - above[:-2]).any():
        pairs = some
    return Noise(MAD_TO_SIGMA * finite_median(np.abs(pairs)), levels)
