"""What is wrong at both ends of a MIRI ramp: the reset anomaly, the first and the last group."""

from __future__ import annotations

import numpy as np

from ceers_steps.simulate.config.simulation import ResetAnomalyConfig

__all__ = ["RESET_LIMIT", "anomaly", "reset_decay"]

RESET_LIMIT = 1e-3
"""Fraction of the reset anomaly that is no longer worth a correction."""


def reset_decay(time: float, config: ResetAnomalyConfig) -> float:
    """Return the fraction of the reset anomaly that is left.

    Parameters
    ----------
    time : float
        Since the reset (s).
    config : ResetAnomalyConfig
        Its time constant.
    """
    return float(np.exp(-time / config.time_constant))


def anomaly(
    reset: np.ndarray, group: int, n_groups: int, time: float, config: ResetAnomalyConfig
) -> np.ndarray:
    """Return what a group has too much.

    Parameters
    ----------
    reset : numpy.ndarray
        Reset anomaly at the reset (DN), shape ``(ny, nx)``.
    group, n_groups : int
        Number of the group, from 0, and how many there are.
    time : float
        Of the group since the reset (s).
    config : ResetAnomalyConfig
        Time constant, offsets of the first and the last group.

    Returns
    -------
    numpy.ndarray
        DN, shape ``(ny, nx)``, float32. Even rows of the last group go up, odd rows down.
    """
    offset = reset * np.float32(reset_decay(time, config))
    if group == 0:
        offset += np.float32(config.first_group)
    if group == n_groups - 1:
        offset[::2] += np.float32(config.last_group)
        offset[1::2] -= np.float32(config.last_group)
    return offset
