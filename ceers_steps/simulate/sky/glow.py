"""Background of MIRI that stands still on the detector: a smooth glow and a fixed pattern."""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from ceers_steps.simulate.config.scene import GlowConfig, PatternConfig
from ceers_steps.simulate.config.simulation import SimulationConfig
from ceers_steps.simulate.seeds import rng_for
from ceers_steps.simulate.telescope.instrument import Band, Detector

__all__ = ["fixed_light"]

_PATTERN_WIDTH = 5.0  # rms width of the blotches, pixels


def fixed_light(detector: Detector, band: Band, config: SimulationConfig) -> np.ndarray:
    """Light of the background that is fixed to the detector.

    Parameters
    ----------
    detector, band
        What looks. The pattern is the same in every simulation, one for each band.
    config
        Glow and pattern.

    Returns
    -------
    ndarray, shape (ny, nx)
        Fraction of the sky at the centre of the full detector, float32. Read only.
    """
    return _fixed_light(detector, band, config.glow, config.pattern)


@lru_cache(maxsize=2)
def _fixed_light(
    detector: Detector, band: Band, glow: GlowConfig, pattern: PatternConfig
) -> np.ndarray:
    ny, nx = detector.shape
    light = np.zeros((ny, nx), np.float32)
    if glow.enabled:
        # brighter towards one corner of the imager, as light of the telescope is
        y, x = np.arange(ny)[:, None] / ny, np.arange(nx) / nx
        light += glow.amplitude * np.exp(-0.5 * ((x - 0.8) ** 2 + (y - 0.2) ** 2) / 0.35**2)
    if pattern.enabled:
        light += pattern.rms * _pattern(detector, band)
    light.flags.writeable = False
    return light


def _pattern(detector: Detector, band: Band) -> np.ndarray:
    """Blotches, columns, rows and pixels in equal parts, mean 0 and rms 1, shape ``(ny, nx)``."""
    rng = rng_for(0, f"{detector.name} pattern", band.index)
    ny, nx = detector.shape
    blotches = gaussian_filter(rng.standard_normal((ny, nx), dtype=np.float32), _PATTERN_WIDTH)
    parts = (
        blotches / blotches.std(),
        rng.standard_normal((1, nx), dtype=np.float32),
        rng.standard_normal((ny, 1), dtype=np.float32),
        rng.standard_normal((ny, nx), dtype=np.float32),
    )
    pattern = 0.5 * (parts[0] + parts[1] + parts[2] + parts[3])
    pattern -= pattern.mean()
    return pattern / pattern.std()
