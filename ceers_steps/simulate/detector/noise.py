"""Correlated read-out noise in the order in which the pixels are read.

The noise of one output is a time series with the one-sided power spectral density

.. math:: S(f) = A^2 (f / 1 Hz)^{-\\alpha} / (1 Hz)   [e-^2 / Hz]

so that for the usual exponent of 1, `amplitude` ``A`` is the rms noise per e-folding of
frequency. The spectrum reaches from half the sampling frequency of the pixels (50 kHz)
down to a period of twice the whole exposure. A fraction of the variance is common to all
outputs (the same value at the same tick); the rest is independent.

White noise of standard deviation ``s`` per read has ``S = 2 s^2 * 1e-5`` and so meets the
1/f noise at the knee frequency ``A^2 / (2 s^2 * 1e-5)`` (see `knee_frequency`).

How a group, the average of ``n`` consecutive frames, is made
--------------------------------------------------------------
Noise slower than 16 cycles per frame is drawn as one continuous series, a sample per row
time, over all frames of the exposure, and averaged over the frames of each group: the
pedestals and drifts of neighbouring frames and groups are correlated as they should be.
Faster noise is drawn once per group with its power divided by ``n``. For a stationary
series the Fourier coefficients of neighbouring frames at ``k`` cycles per frame are
correlated only by about ``1 / k^2`` (less than 0.5% here), so this has the right power and
costs one transform per group instead of one per frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft

from ceers_steps.simulate.telescope.patterns import PIXEL_TIME, Readout

__all__ = ["knee_frequency", "one_over_f_frame", "one_over_f_groups"]

_SLOW_CYCLES = 16.0
"""Cycles per frame below which the noise is one continuous series."""


def knee_frequency(amplitude: float, read_noise: float, exponent: float = 1.0) -> float:
    """Return the frequency at which the 1/f noise is as strong as the white read noise.

    Parameters
    ----------
    amplitude : float
        Amplitude of the 1/f noise (e-).
    read_noise : float
        Standard deviation of one read (e-).
    exponent : float
        Exponent of the power spectrum.

    Returns
    -------
    float
        Frequency (Hz).
    """
    return (amplitude**2 / (2 * read_noise**2 * PIXEL_TIME)) ** (1 / exponent)


def one_over_f_frame(
    shape: tuple[int, int],
    *,
    n_outputs: int,
    fast_axis: int,
    slow_axis: int,
    rng: np.random.Generator,
    amplitude: float = 2.0,
    exponent: float = 1.0,
    correlated_fraction: float = 0.4,
) -> np.ndarray:
    """Draw the 1/f noise of one frame.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the frame.
    n_outputs, fast_axis, slow_axis : int
        Read-out of the detector, see `~ceers_steps.simulate.telescope.patterns.Readout`.
    rng : numpy.random.Generator
        Source of the draws.
    amplitude : float
        Rms noise per e-folding of frequency, at 1 Hz (e-).
    exponent : float
        Exponent of the power spectrum.
    correlated_fraction : float
        Fraction of the variance that is common to all outputs, 0 to 1.

    Returns
    -------
    numpy.ndarray
        Noise in e-, shape ``(ny, nx)``, float32, pedestal of the frame included.
    """
    readout = Readout(shape, n_outputs, fast_axis, slow_axis)
    return next(
        one_over_f_groups(
            readout,
            first_frames=[0],
            n_frames=1,
            rng=rng,
            amplitude=amplitude,
            exponent=exponent,
            correlated_fraction=correlated_fraction,
        )
    )


def one_over_f_groups(
    readout: Readout,
    *,
    first_frames: Sequence[int] | np.ndarray,
    n_frames: int,
    rng: np.random.Generator,
    amplitude: float = 2.0,
    exponent: float = 1.0,
    correlated_fraction: float = 0.4,
) -> Iterator[np.ndarray]:
    """Draw the 1/f noise of the groups of an exposure, one after the other.

    Parameters
    ----------
    readout : Readout
        Order and timing of the read-out.
    first_frames : sequence of int
        Index of the first frame of each group, counted through the whole exposure
        (dropped frames and the resets between integrations included), increasing.
    n_frames : int
        Consecutive frames averaged into each group.
    rng : numpy.random.Generator
        Source of the draws.
    amplitude, exponent, correlated_fraction : float
        See `one_over_f_frame`.

    Yields
    ------
    numpy.ndarray
        Averaged noise of the next group in e-, shape ``(ny, nx)``, float32.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    if not 0 <= correlated_fraction <= 1:
        raise ValueError(f"correlated_fraction is {correlated_fraction}: use a value from 0 to 1")
    if amplitude < 0:
        raise ValueError(f"amplitude is {amplitude} e-: use 0 or more")
    if n_frames < 1:
        raise ValueError(f"n_frames is {n_frames}: use 1 or more")
    slow_limit = _SLOW_CYCLES / readout.frame_time
    n_outputs = readout.n_outputs
    own, common = np.sqrt(np.array([1 - correlated_fraction, correlated_fraction], np.float32))
    n_series = n_outputs + 1 if n_outputs > 1 else 1

    total_rows = (int(max(first_frames)) + n_frames) * readout.frame_rows
    row_time = readout.row_ticks * PIXEL_TIME
    # Twice as long as needed: the transform makes a periodic series, the noise is not.
    n_slow = fft.next_fast_len(2 * total_rows, real=True)
    slow_sigma = _coefficient_sigma(n_slow, row_time, amplitude, exponent, 0.0, slow_limit)
    slow = _mix(_draw_series(n_slow, n_series, slow_sigma, rng)[:, : total_rows + 1], own, common)

    n_fast = fft.next_fast_len(readout.frame_ticks, real=True)
    fast_sigma = _coefficient_sigma(
        n_fast, PIXEL_TIME, amplitude / np.sqrt(n_frames), exponent, slow_limit, np.inf
    )
    n_used = readout.rows * readout.row_ticks
    for first in first_frames:
        series = _mix(_draw_series(n_fast, n_series, fast_sigma, rng)[:, :n_used], own, common)
        start = int(first) * readout.frame_rows
        frames = np.lib.stride_tricks.sliding_window_view(
            slow[:, start:], readout.rows + 1, axis=1
        )[:, : n_frames * readout.frame_rows : readout.frame_rows]
        rows = frames.mean(axis=1)
        ramp = np.arange(readout.row_ticks, dtype=np.float32) / readout.row_ticks
        drift = np.diff(rows, axis=1)[:, :, np.newaxis] * ramp
        drift += rows[:, :-1, np.newaxis]
        series += drift.reshape(n_outputs, n_used)
        yield readout.series_to_image(series)


def _mix(series: np.ndarray, own: float, common: float) -> np.ndarray:
    """Add the last series, common to all outputs, to the independent ones."""
    if len(series) == 1:
        return series.copy()
    return own * series[:-1] + common * series[-1]


def _coefficient_sigma(
    n_samples: int, step: float, amplitude: float, exponent: float, low: float, high: float
) -> np.ndarray:
    """Return the standard deviation of the Fourier coefficients for ``low <= f < high``.

    Each harmonic carries the variance ``S(f) df``, half in each of its two quadratures.
    """
    frequency = fft.rfftfreq(n_samples, step)
    used = (frequency >= low) & (frequency < high) & (frequency > 0)
    sigma = np.zeros(frequency.size, dtype=np.float32)
    spacing = 1 / (n_samples * step)
    sigma[used] = 0.5 * amplitude * np.sqrt(spacing * frequency[used] ** -exponent)
    return sigma


def _draw_series(
    n_samples: int, n_series: int, sigma: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw series of shape ``(n_series, n_samples)`` with the given coefficients."""
    normal = rng.standard_normal((n_series, sigma.size, 2), dtype=np.float32)
    coefficients = normal.view(np.complex64)[..., 0]
    coefficients *= sigma
    return fft.irfft(coefficients, n_samples, axis=1, norm="forward", overwrite_x=True)
