"""What is true of one simulated detector, pixel by pixel.

The same arrays are written as reference files for the pipeline, so its corrections can
be right to the accuracy of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from ceers_steps.simulate.config.simulation import SimulationConfig
from ceers_steps.simulate.detector.layout import (
    DETECTOR_SIZE,
    REFERENCE_WIDTH,
    Layout,
    layout_of,
)
from ceers_steps.simulate.seeds import rng_for

__all__ = [
    "DETECTOR_SIZE",
    "REFERENCE_WIDTH",
    "BadPixel",
    "Calibration",
    "correct_linearity",
    "make_calibration",
    "measured_signal",
]

_CONVERTER_LIMIT = 65535.0
_SERIES_LIMIT = 3000.0  # DN; below, the inverse of the linearity is a short series
_LARGEST_SIGNAL = 100_000.0  # DN; beyond what the converter can show


class BadPixel(IntFlag):
    """Meaning of the bits of `Calibration.bad_pixels`; the names are those of JWST's flags."""

    DEAD = 1
    HOT = 2
    LOW_QE = 4
    REFERENCE_PIXEL = 8


@dataclass(frozen=True)
class Calibration:
    """Truth of one detector in the science orientation.

    Attributes
    ----------
    detector : str
        Name of the detector.
    mean_gain : float
        Mean gain (e-/DN), which turns noise of the electronics from e- into DN.
    gain : numpy.ndarray
        Gain (e-/DN), shape ``(ny, nx)``, float32 like all others.
    read_noise : numpy.ndarray
        Standard deviation of the white noise of a single read (DN). CRDS tabulates the noise
        of a difference of two reads, a factor of the square root of 2 more.
    superbias : numpy.ndarray
        Bias (DN).
    dark : numpy.ndarray
        Dark current, hot pixels included (DN/s).
    linearity : numpy.ndarray
        Coefficients ``c`` of ``linear = sum(c[k] * measured**k)``, both above the bias in DN,
        shape ``(4, ny, nx)``.
    saturation : numpy.ndarray
        Raw value (DN, bias included) at which a pixel saturates.
    flat : numpy.ndarray
        Response relative to the mean; 1 for reference and dead pixels.
    bad_pixels : numpy.ndarray
        Bits of `BadPixel`, uint8.
    reset : numpy.ndarray or None
        Reset anomaly of MIRI just after the reset (DN).
    """

    detector: str
    mean_gain: float
    gain: np.ndarray
    read_noise: np.ndarray
    superbias: np.ndarray
    dark: np.ndarray
    linearity: np.ndarray
    saturation: np.ndarray
    flat: np.ndarray
    bad_pixels: np.ndarray
    reset: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.gain.shape

    @property
    def full_well(self) -> np.ndarray:
        """Charge at which each pixel saturates (e-), shape ``(ny, nx)``."""
        return self.gain * correct_linearity(self.saturation - self.superbias, self.linearity)

    def flagged(self, *flags: BadPixel) -> np.ndarray:
        """Return where any of the flags is set, shape ``(ny, nx)``, bool."""
        return (self.bad_pixels & np.uint8(sum(flags))) != 0

    def cut(self, corner: tuple[int, int], shape: tuple[int, int]) -> Calibration:
        """Return the part that a subarray reads.

        Parameters
        ----------
        corner : tuple of int
            ``(y, x)`` of the first pixel, from 0.
        shape : tuple of int
            ``(ny, nx)`` of the subarray.

        Returns
        -------
        Calibration
            Views of the arrays.

        Raises
        ------
        ValueError
            If the subarray leaves the detector.
        """
        for first, size, limit in zip(corner, shape, self.shape, strict=True):
            if first < 0 or size < 1 or first + size > limit:
                raise ValueError(
                    f"subarray of shape {shape} at corner {corner} leaves the detector of shape "
                    f"{self.shape}: choose another corner (y, x), counted from 0"
                )
        window = tuple(slice(f, f + s) for f, s in zip(corner, shape, strict=True))
        return Calibration(
            detector=self.detector,
            mean_gain=self.mean_gain,
            gain=self.gain[window],
            read_noise=self.read_noise[window],
            superbias=self.superbias[window],
            dark=self.dark[window],
            linearity=self.linearity[(slice(None), *window)],
            saturation=self.saturation[window],
            flat=self.flat[window],
            bad_pixels=self.bad_pixels[window],
            reset=None if self.reset is None else self.reset[window],
        )


def make_calibration(
    detector: str, config: SimulationConfig | None = None, seed: int = 0
) -> Calibration:
    """Draw the calibration of a detector.

    Parameters
    ----------
    detector : str
        Name of the detector, such as ``NRCB4``, ``NRCBLONG``, ``MIRIMAGE`` or ``NIS``. The
        long-wavelength ones and those of other instruments have another gain and dark current.
    config : SimulationConfig, optional
        Sizes of the effects. An effect that is off has its neutral value: no dark, unit flat,
        linear response, uniform bias, saturation only at the limit of the converter.
    seed : int
        Seed; each detector and each quantity has a random stream of its own.

    Returns
    -------
    Calibration
        Arrays of the full detector.
    """
    config = config or SimulationConfig()
    detector = detector.upper()
    layout = layout_of(detector)
    shape = layout.shape
    bad_pixels, hot_current, response = _draw_bad_pixels(detector, layout, config, seed)
    reference = (bad_pixels & np.uint8(BadPixel.REFERENCE_PIXEL)) != 0
    blind = reference | ((bad_pixels & np.uint8(BadPixel.DEAD)) != 0)

    def rng(quantity: str) -> np.random.Generator:
        return rng_for(seed, f"{detector} {quantity}")

    draw = rng("gain")
    mean_gain = getattr(config.gain, layout.kind)
    gain = _normal(draw, shape, config.gain.pixel_scatter)
    gain += 1 + _per_output(draw, config.gain.output_scatter, layout)
    gain *= mean_gain

    read_noise = np.exp(_normal(rng("read noise"), shape, config.read_noise.pixel_scatter))
    sigma = config.read_noise.miri if layout.kind == "miri" else config.read_noise.sigma
    read_noise *= sigma / mean_gain
    read_noise[reference] *= config.read_noise.reference_ratio

    superbias = np.full(shape, config.superbias.level, dtype=np.float32)
    if config.superbias.enabled:
        draw = rng("superbias")
        superbias += _normal(draw, shape, config.superbias.pixel_scatter)
        superbias += _per_output(draw, config.superbias.output_scatter, layout)
        superbias += _normal(draw, (1, shape[1]), config.superbias.column_scatter)
        np.maximum(superbias, 0.3 * config.superbias.level, out=superbias)

    dark = hot_current
    if config.dark.enabled:
        level = getattr(config.dark, layout.kind)
        dark = dark + level * np.exp(_normal(rng("dark"), shape, config.dark.scatter))
    dark /= gain
    dark[blind] = 0

    flat = response
    if config.flat.enabled:
        flat = flat * _draw_flat(rng("flat"), config, layout)
    flat[blind] = 1

    saturation = np.full(shape, _CONVERTER_LIMIT, dtype=np.float32)
    if config.saturation.enabled:
        scatter = _normal(rng("saturation"), shape, config.saturation.pixel_scatter)
        np.minimum(config.saturation.level * (1 + scatter), _CONVERTER_LIMIT, out=saturation)

    reset = None
    if layout.kind == "miri" and config.reset_anomaly.enabled:
        reset = 1 + _normal(rng("reset anomaly"), shape, config.reset_anomaly.pixel_scatter)
        reset *= np.float32(config.reset_anomaly.amplitude)

    return Calibration(
        detector=detector,
        mean_gain=mean_gain,
        gain=gain,
        read_noise=read_noise,
        superbias=superbias,
        dark=dark,
        linearity=_draw_linearity(rng("nonlinearity"), config, shape),
        saturation=saturation,
        flat=flat,
        bad_pixels=bad_pixels,
        reset=reset,
    )


def correct_linearity(measured: np.ndarray, linearity: np.ndarray) -> np.ndarray:
    """Return the linear signal of a measured one.

    Parameters
    ----------
    measured : numpy.ndarray
        Signal above the bias (DN), shape ``(ny, nx)``.
    linearity : numpy.ndarray
        Coefficients, shape ``(n, ny, nx)``, as in `Calibration`.

    Returns
    -------
    numpy.ndarray
        Linear signal (DN), same shape.
    """
    linear = linearity[-1] * measured
    for coefficient in linearity[-2:0:-1]:
        linear += coefficient
        linear *= measured
    return linear + linearity[0]


def measured_signal(linear: np.ndarray, linearity: np.ndarray) -> np.ndarray:
    """Return the signal that a pixel shows: the inverse of `correct_linearity`.

    Parameters
    ----------
    linear : numpy.ndarray
        Linear signal above the bias (DN), shape ``(ny, nx)``. Above 100 000 DN, more than the
        converter can show, it is cut.
    linearity : numpy.ndarray
        Coefficients ``(0, 1, c2, c3)``, shape ``(4, ny, nx)``, as in `Calibration`.

    Returns
    -------
    numpy.ndarray
        Signal (DN), same shape. Right to 0.001 DN up to 3000 DN and to 0.02 DN above.
    """
    _, _, c2, c3 = linearity
    measured = (2 * c2**2 - c3) * linear
    measured -= c2
    measured *= linear
    measured += 1
    measured *= linear
    bright = np.flatnonzero(np.abs(linear) > _SERIES_LIMIT)
    if bright.size:
        target = np.clip(linear.ravel()[bright], -_LARGEST_SIGNAL, _LARGEST_SIGNAL).astype(float)
        c2, c3 = c2.reshape(-1)[bright], c3.reshape(-1)[bright]
        signal = target.copy()
        for _ in range(4):  # Newton's method doubles the digits each time
            value = signal * (1 + signal * (c2 + signal * c3))
            slope = 1 + signal * (2 * c2 + 3 * signal * c3)
            signal -= (value - target) / slope
        measured.reshape(-1)[bright] = signal
    return measured


def _normal(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Draw normal deviates, float32."""
    draws = rng.standard_normal(shape, dtype=np.float32)
    draws *= sigma
    return draws


def _per_output(rng: np.random.Generator, sigma: float, layout: Layout) -> np.ndarray:
    """Draw one number per output, repeated over its pixels, see `Layout.per_output`."""
    return layout.per_output(_normal(rng, (1, 4), sigma))


def _draw_flat(rng: np.random.Generator, config: SimulationConfig, layout: Layout) -> np.ndarray:
    """Draw the response: a few smooth waves, the outputs and the pixels, with a mean of 1."""
    along_y, along_x = (
        np.cos(
            np.linspace(0, np.pi, size, dtype=np.float32)
            * np.arange(5, dtype=np.float32)[:, np.newaxis]
        )
        for size in layout.shape
    )
    order = np.hypot(*np.mgrid[:5, :5])
    weights = rng.standard_normal((5, 5)) / np.maximum(order, 1) ** 1.5
    weights[0, 0] = 0
    smooth = along_y.T @ weights.astype(np.float32) @ along_x
    smooth *= config.flat.large_scale / smooth.std()
    flat = _normal(rng, smooth.shape, config.flat.pixel_scatter)
    flat += smooth
    flat += 1 + _per_output(rng, config.flat.output_scatter, layout)
    np.maximum(flat, 0.2, out=flat)
    flat /= flat.mean(dtype=float)
    return flat


def _draw_linearity(
    rng: np.random.Generator, config: SimulationConfig, shape: tuple[int, int]
) -> np.ndarray:
    """Draw the coefficients: 70% of the loss at the reference signal is quadratic, 30% cubic."""
    linearity = np.zeros((4, *shape), dtype=np.float32)
    linearity[1] = 1
    if config.nonlinearity.enabled:
        measured = config.nonlinearity.reference_signal * (1 - config.nonlinearity.loss)
        lost = config.nonlinearity.reference_signal - measured
        pixel = np.clip(1 + _normal(rng, shape, config.nonlinearity.pixel_scatter), 0.1, None)
        linearity[2] = pixel * (0.7 * lost / measured**2)
        linearity[3] = pixel * (0.3 * lost / measured**3)
    return linearity


def _draw_bad_pixels(
    detector: str, layout: Layout, config: SimulationConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the bad pixels, the current of the hot ones (e-/s) and the response of the weak ones."""
    shape = layout.shape
    bad_pixels = np.full(shape, BadPixel.REFERENCE_PIXEL, dtype=np.uint8)
    inner = layout.active
    active = bad_pixels[inner]
    active[:] = 0
    hot_current = np.zeros(shape, dtype=np.float32)
    response = np.ones(shape, dtype=np.float32)
    bad = config.bad_pixels
    if bad.enabled:
        ny, nx = active.shape

        def pick(rng: np.random.Generator, number: float) -> tuple[np.ndarray, np.ndarray]:
            if ny == nx:
                y, x = rng.integers(ny, size=(2, round(number)))
            else:
                y, x = rng.integers([[ny], [nx]], size=(2, round(number)))
            return y, x

        rng = rng_for(seed, f"{detector} hot pixels")
        where = pick(rng, bad.hot_fraction * active.size)
        active[where] |= np.uint8(BadPixel.HOT)
        weakest, strongest = np.log(bad.hot_range)
        current = np.exp(rng.uniform(weakest, strongest, where[0].size))
        hot_current[inner][where] = current

        rng = rng_for(seed, f"{detector} weak pixels")
        where = pick(rng, bad.low_response_fraction * active.size)
        active[where] |= np.uint8(BadPixel.LOW_QE)
        response[inner][where] = rng.uniform(0.1, 0.7, where[0].size)

        rng = rng_for(seed, f"{detector} dead pixels")
        number = bad.dead_fraction * active.size
        single, cluster = pick(rng, number / 2), pick(rng, number / 10)
        active[single] |= np.uint8(BadPixel.DEAD)
        for dy, dx in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
            y, x = np.clip(cluster[0] + dy, 0, ny - 1), np.clip(cluster[1] + dx, 0, nx - 1)
            active[y, x] |= np.uint8(BadPixel.DEAD)
    return bad_pixels, hot_current, response
