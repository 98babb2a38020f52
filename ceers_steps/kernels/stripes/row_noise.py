"""How much 1/f noise an image has: the scatter of the means of its output rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.stats import MAD_TO_SIGMA
from ceers_steps.kernels.stripes.settings import ROW_NOISE

__all__ = ["RowNoise", "row_noise"]


@dataclass(frozen=True)
class RowNoise:
    """Scatter of output rows.

    Attributes
    ----------
    rms : float
        Standard deviation of the means of neighbouring rows of an output, in the unit of the
        image; NaN where there are too few.
    expected : float
        What white noise alone would make of it.
    masked : float
        Fraction of the rows of outputs of which too few pixels see the sky.
    """

    rms: float
    expected: float
    masked: float


def row_noise(image: NDArray, sky: NDArray[np.bool_], sigma: NDArray, n_outputs: int) -> RowNoise:
    """Measure the scatter of output rows.

    From the differences of neighbouring rows, so that neither the sky, nor a gradient, nor wide
    faint light counts.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Any unit.
    sky : ndarray of bool, shape (ny, nx)
        True = a pixel of the sky.
    sigma : ndarray, shape (ny, nx)
        White noise of the pixels.
    n_outputs : int
        Outputs, side by side along x.

    Returns
    -------
    RowNoise
    """
    ny, nx = image.shape
    parts = (ny, n_outputs, nx // n_outputs)
    count = sky.reshape(parts).sum(axis=2)
    total = np.where(sky, image, 0).reshape(parts).sum(axis=2, dtype=float)
    variance = np.where(sky, np.square(sigma), 0).reshape(parts).sum(axis=2, dtype=float)
    used = count >= max(ROW_NOISE.least_seen * parts[2], 1)
    masked = float(1 - used.mean())
    both = used[1:] & used[:-1]
    if not both.any():
        return RowNoise(np.nan, np.nan, masked)
    number = np.maximum(count, 1)
    means, errors = total / number, variance / number**2
    change = (means[1:] - means[:-1])[both] / np.sqrt(2)
    expected = np.sqrt(np.mean((errors[1:] + errors[:-1])[both] / 2))
    return RowNoise(float(MAD_TO_SIGMA * np.median(np.abs(change))), float(expected), masked)
