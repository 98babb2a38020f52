"""Level of the empty sky: the mode of pixel values that have a tail of sources."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from ceers_steps.kernels.sky.settings import LEVEL
from ceers_steps.kernels.stats import finite_values

__all__ = ["SkyLevel", "gaussian_peak", "sky_level"]


@dataclass(frozen=True)
class SkyLevel:
    """Mode of a distribution.

    Attributes
    ----------
    value : float
        The mode, in the units of the values.
    uncertainty : float
        Its standard error if the values are independent (correlated noise makes it larger).
    sigma : float
        Standard deviation of the Gaussian core.
    n : int
        Number of finite values.
    fitted : bool
        Whether a Gaussian was fitted; False where the median stands for its peak.
    """

    value: float
    uncertainty: float
    sigma: float
    n: int
    fitted: bool = True


def sky_level(values: NDArray) -> SkyLevel:
    """Return the mode of the finite values with its uncertainty, whatever their unit and level.

    A Gaussian is fitted to the histogram around its peak by maximum likelihood (Poisson counts,
    logarithm of a Gaussian is a parabola). Bins and window are in units of the fitted width, so
    nothing depends on the unit. The window reaches 2 sigma below the mode but only 1 above, where
    sources begin to count; it is centred again until the mode is steady to a tenth of its
    uncertainty.

    Parameters
    ----------
    values : ndarray
        Any shape; NaN and infinities are left out.

    Returns
    -------
    SkyLevel
        Fewer than 200 values, or values without a Gaussian core, give the median.

    Raises
    ------
    ValueError
        Without a finite value.
    """
    values = _finite(values)
    lower, median = np.quantile(values, [0.158655, 0.5])
    centre, sigma = float(median), float(median - lower)
    fallback = SkyLevel(centre, 1.2533 * sigma / values.size**0.5, sigma, values.size, False)
    if values.size < LEVEL.least_values or sigma == 0.0:
        return fallback
    for _ in range(LEVEL.max_iterations):
        edges = np.linspace(*LEVEL.window, LEVEL.n_bins + 1)
        counts, _ = np.histogram(values, bins=centre + sigma * edges)
        fit = _fit_log_parabola(0.5 * (edges[1:] + edges[:-1]), counts)
        if fit is None:
            return fallback
        shift, uncertainty, width = fit
        # half a window at most: a poor start must not throw the window off the data
        step = float(np.clip(shift, -1.0, 1.0))
        centre += sigma * step
        uncertainty *= sigma
        steady = abs(sigma * step) < 0.1 * uncertainty
        sigma *= float(np.clip(width, 0.5, 2.0))
        if steady:
            break
    # values that change bins can keep it moving by a part of its uncertainty
    moved = abs(sigma * step) > uncertainty
    return fallback if moved else SkyLevel(centre, uncertainty, sigma, values.size)


def gaussian_peak(values: NDArray, lower: float, upper: float, step: float) -> float:
    """Return the peak of a Gaussian fitted to a histogram of fixed bins: the published pedestal.

    Bagley et al. 2023, section 3.1 (bins from -1 to 1.5 in steps of 0.001 DN/s for rate images).
    Use `sky_level` where the published values need not be matched.

    Parameters
    ----------
    values : ndarray
        Any shape.
    lower, upper, step : float
        Range and width of the bins, in the units of the values.

    Returns
    -------
    float
        The median of the finite values where the fit does not converge or its peak is out of range.

    Raises
    ------
    ValueError
        Without a finite value.
    """
    values = _finite(values)
    n_bins = int(np.ceil((upper - lower) / step)) - 1
    counts, edges = np.histogram(values, bins=n_bins, range=(lower, lower + n_bins * step))
    centres = 0.5 * (edges[1:] + edges[:-1])
    if not counts.any():
        return float(np.median(values))
    try:
        best, _ = curve_fit(
            lambda x, a, mu, sigma: a * np.exp(-((x - mu) ** 2) / (2 * sigma**2)),
            centres,
            counts,
            p0=[10.0, centres[np.argmax(counts)], 10 * step],
        )
    except RuntimeError:
        return float(np.median(values))
    return float(best[1]) if lower < best[1] < upper else float(np.median(values))


def _finite(values: NDArray) -> NDArray:
    """Return the finite values, flattened; an error without any."""
    values = finite_values(values)
    if values.size == 0:
        raise ValueError("the sky level needs at least one finite value, found none")
    return values


def _fit_log_parabola(x: NDArray, counts: NDArray) -> tuple[float, float, float] | None:
    """Fit ``log(mean count) = a + b x + c x**2``; return the peak, its error and the width."""
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    log_mean = np.log(np.maximum(counts, 0.5))
    for _ in range(8):
        mean = np.exp(log_mean)
        weighted = design * mean[:, np.newaxis]
        covariance = np.linalg.pinv(design.T @ weighted)
        best = covariance @ (weighted.T @ (log_mean + (counts - mean) / mean))
        log_mean = np.clip(design @ best, -20.0, 40.0)
    _, slope, curvature = best
    if not curvature < 0.0:
        return None
    peak = -0.5 * slope / curvature
    gradient = np.array([0.0, -0.5 / curvature, -peak / curvature])
    return (
        float(peak),
        float(np.sqrt(gradient @ covariance @ gradient)),
        float(np.sqrt(-0.5 / curvature)),
    )
