"""The rate that is expected of a pixel, from those around it where they are smooth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ceers_steps.kernels.jumps.settings import JUMPS, JumpSettings
from ceers_steps.kernels.stats import nan_median, subsample
from ceers_steps.kernels.stripes.readout import ReadoutLayout

__all__ = ["Surroundings", "expect_rate", "odd_step", "row_levels"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Surroundings:
    """What the surroundings of each pixel say of its rate; planes of shape ``(ny, nx)``.

    Attributes
    ----------
    rate : NDArray
        Its own on sources, `smooth` elsewhere, with a smooth passage between the two.
    smooth : NDArray
        Mean of those around, with the level that the rate has in each row of each output.
    structure : NDArray
        Variance of the rates around that noise does not explain.
    typical : float
        Variance of the rates about `smooth` in most places.
    """

    rate: Float
    smooth: Float
    structure: Float
    typical: float


def expect_rate(
    own: Float,
    known: NDArray[np.bool_],
    layout: ReadoutLayout,
    settings: JumpSettings = JUMPS,
) -> Surroundings:
    """Expect the rate of each pixel: its own on sources, that around it elsewhere.

    Parameters
    ----------
    own
        Shape ``(ny, nx)``: rates.
    known
        Same shape; False = has no rate.
    layout
        Read-out order.
    settings
        Constants of the method.

    Returns
    -------
    Surroundings
    """
    size = settings.smooth_box
    own = np.where(known, own, np.float32(0))
    weight = known.astype(np.float32)
    seen = uniform_filter(weight, size, mode="constant")
    np.maximum(seen, 1e-3, out=seen)
    smooth = uniform_filter(np.multiply(own, weight, out=weight), size, mode="constant")
    smooth /= seen
    # the stripes of the rate
    above = np.subtract(own, smooth, out=weight)
    above[~known] = np.nan
    shape = len(own), layout.n_outputs, -1
    level = row_levels(above.reshape(shape), settings.level_sample)
    smooth.reshape(shape)[...] += level[:, :, None]
    own -= smooth
    own[~known] = 0
    variance = uniform_filter(np.square(own, out=weight), size, mode="constant")
    variance /= seen
    typical = float(np.median(subsample(variance[known], settings.noise_sample)))
    # what the surroundings vary by over noise, times what noise alone may give in such a box
    variance -= np.float32(settings.structure_factor * typical)
    structure = np.maximum(variance, 0, out=variance)
    share = np.maximum(np.add(structure, np.float32(typical), out=weight), 1e-30, out=weight)
    np.divide(structure, share, out=share)
    own *= share
    return Surroundings(np.add(smooth, own, out=own), smooth, structure, typical)


def odd_step(width: int, sample: int) -> int:
    """Return the step from one to the next of a sample of columns.

    Odd and even columns have levels of their own: an odd step takes both.

    Parameters
    ----------
    width
        Columns that there are.
    sample
        Columns that are wanted, at least.

    Returns
    -------
    int
        Columns from one to the next, odd.
    """
    step = max(width // sample, 1)
    return step - 1 + step % 2


def row_levels(strips: Float, sample: int) -> Float:
    """Return the median of a sample of each row of each output.

    Parameters
    ----------
    strips
        Shape ``(ny, n_outputs, width)``; NaN = do not use.
    sample
        Pixels of each that are taken.

    Returns
    -------
    NDArray
        Shape ``(ny, n_outputs)``; 0 where half of a sample is NaN.
    """
    strips = strips[:, :, :: odd_step(strips.shape[2], sample)]
    known = np.count_nonzero(~np.isnan(strips), axis=2) > strips.shape[2] / 2
    return np.where(known, nan_median(strips, axis=2, lower=True), np.float32(0))
