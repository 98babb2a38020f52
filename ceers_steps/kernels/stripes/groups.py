"""Stripes of 1/f noise in the differences between groups, the light held.

A rate from all groups shows the mean of their stripes. A ramp from which groups were cut shows
another mixture, that no pattern found on the rate fits. Each difference less the rate of its pixel
holds nothing but stripes and white noise, so that its stripes are one posterior mean with a
covariance that all differences share.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ceers_steps.kernels.rows import RowImage
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.series import StripeSeries
from ceers_steps.kernels.stripes.settings import GROUPS, GroupStripeSettings

__all__ = ["GroupStripes"]

Float = NDArray[np.float32]


class GroupStripes:
    """Finds the stripes of one difference after the other.

    Parameters
    ----------
    mask : ndarray of bool
        ``(ny, nx)``, True = do not use in any difference: hits, bad pixels, cut ramps. All others
        are finite.
    white_sigma : float or ndarray
        White noise of a pixel in a difference; only its pattern matters.
    layout : ReadoutLayout
        Read-out order.
    settings : GroupStripeSettings
        Constants of the method.

    Raises
    ------
    ValueError
        If no pixel can be used.
    """

    def __init__(
        self,
        mask: NDArray[np.bool_],
        white_sigma: ArrayLike,
        layout: ReadoutLayout,
        settings: GroupStripeSettings = GROUPS,
    ) -> None:
        nothing = np.zeros(layout.shape, np.float32)
        self._samples = Samples.of(nothing, mask, white_sigma, layout, None)
        self._settings = settings
        self._covariance: NDArray[np.float64] | None = None

    def find(self, residual: RowImage, levels: Float) -> Float:
        """Return the stripes of a difference.

        Parameters
        ----------
        residual : ndarray, or what gives its rows
            ``(ny, nx)`` difference less the rate of its pixels.
        levels : ndarray
            ``(ny, n_outputs)`` levels of the rows of each output, which have been subtracted.

        Returns
        -------
        ndarray
            ``(ny, nx / binning)`` stripes, averaged over a few columns, level included.
        """
        everything = samples = self._samples.of_image(residual)
        settings, passes = self._settings, 1
        if self._covariance is None:
            # without their levels rows hardly differ, and strength is learnt slowly from below
            whole = samples.with_levels(levels)
            self._covariance = StripeSeries(whole).first_covariance()
            passes = settings.first_passes
        series, modes = StripeSeries(samples), None
        for i in range(passes):
            last = i == passes - 1
            tolerance = settings.tolerance if last else settings.first_tolerance
            modes, _ = series.solve(self._covariance, None, modes, tolerance)
            self._covariance = series.updated_covariance(self._covariance, modes)
            if not last:
                rest = samples.value - series.to_image(modes.copy())
                far = rest**2 * everything.weight > settings.clip**2
                samples = everything.without(far)
                series = StripeSeries(samples)
        assert modes is not None
        return series.to_image(modes) + np.float32(samples.level)
