"""The best linear estimate of stripes, which knows all but the stripes and the noise."""

import numpy as np

from ceers_steps.kernels.stripes.left_over import LearntStripes, own_part
from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.series import StripeSeries

FEW_CYCLES = 32  # per read-out, below which single waves are no spectrum: 1/f is taken there
LAW_CYCLES = 256  # up to which its level is measured
TOLERANCE = 1e-4  # of the conjugate gradients, a tenth of that of the method


def stripe_limit(image, stripes, mask, white_sigma, layout):
    """Return the most probable stripes of an image without light, for their true spectra.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Stripes and white noise, the true light subtracted.
    stripes : ndarray, shape (ny, nx)
        The true stripes, 0 where there are none.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    white_sigma : ndarray, shape (ny, nx)
        Noise of the pixels; its level is measured as the method does.
    layout : ReadoutLayout
        Order of the read-out.

    Returns
    -------
    best, as_method : ndarray, shape (ny, nx)
        The best estimate, and the same with the part returned to faint sources that the method
        returns.
    """
    samples = Samples.of(image, mask, white_sigma, layout, None)
    series = StripeSeries(samples)
    covariance = _true_covariance(series, stripes)
    modes, _ = series.solve(covariance, None, None, TOLERANCE)
    pattern = series.to_image(modes)
    all_stripes = np.ones(modes.shape[1], np.float32)
    taps, _ = LearntStripes(series, covariance, all_stripes).own_taps()
    returned = own_part(samples, taps, samples.value - pattern)
    patterns = (np.repeat(p, samples.binning, axis=1) for p in (pattern, pattern - returned))
    return tuple(p + (image - p).mean(where=samples.used, dtype=float) for p in patterns)


def _true_covariance(series, stripes):
    """Return the covariance of outputs at each frequency, from the stripes themselves."""
    ny, nx = stripes.shape
    binning, n_outputs = series.samples.binning, series.samples.layout.n_outputs
    modes = series.to_modes(stripes.reshape(ny, -1, binning).mean(axis=2, dtype=np.float32))
    length = 2 * (modes.shape[1] - 1)
    # no stripes are seen in the ticks after the rows and in the padding
    seen = ny * nx / binning / n_outputs / length
    products = [[series.mean_in_bins((a * b.conj()).real[1:]) for b in modes] for a in modes]
    covariance = np.moveaxis(np.array(products, float), 2, 0) / seen
    cycles = series.frequency * length
    some = (cycles >= FEW_CYCLES) & (cycles < LAW_CYCLES)
    law = np.mean(covariance[some] * series.frequency[some, None, None], axis=0)
    few = cycles < FEW_CYCLES
    covariance[few] = law / series.frequency[few, None, None]
    return covariance
