"""Charge collected from light, with the photon noise of averaged frames.

Between the last frame of one group and the last frame of the next lie `group_gap` + 1 frame
times before the first frame of the group (one after the reset), then the ``n - 1`` between
its ``n`` frames. The ``T`` electrons of this interval are one Poisson draw. Given ``T``, each
fell into any frame time with the same probability, and counts in the average with a weight
of 1 (before the first frame) or ``1 - i / n`` (before frame ``i`` of the group). The average
is therefore

    charge at the last frame before + m T + s sqrt(T) * (standard normal)

with ``m`` and ``s`` the mean and standard deviation of the weights. Mean, variance and
covariance of all groups are exactly those of averaging the frames; only the third moment
within a group is not. One Poisson draw per group takes the place of one per frame.
"""

from __future__ import annotations

import numpy as np

from ceers_steps.simulate.telescope.patterns import ReadPattern

__all__ = ["ChargeCollector", "difference_duration"]


class ChargeCollector:
    """Collects charge group by group through one integration.

    Parameters
    ----------
    electrons : numpy.ndarray
        Rate of charge from light and dark current (e-/s), shape ``(ny, nx)``.
    pattern : ReadPattern
        Read pattern.
    frame_time : float
        Frame time (s).
    rng : numpy.random.Generator, optional
        Source of the photon noise; without it there is none.
    trapped : numpy.ndarray, optional
        Charge in traps at the reset (e-), shape ``(ny, nx)``.
    trap_rng : numpy.random.Generator, optional
        Source of the noise of the released charge: a stream of its own, so that traps leave
        the photon noise as it is. Without it there is none.
    time_constant : float
        Time in which the traps release all but 1/e (s).

    Attributes
    ----------
    charge : numpy.ndarray
        Charge at the last frame read (e-), shape ``(ny, nx)``, float32.
    time : float
        Time of that frame since the reset (s).
    """

    def __init__(
        self,
        electrons: np.ndarray,
        pattern: ReadPattern,
        frame_time: float,
        *,
        rng: np.random.Generator | None = None,
        trapped: np.ndarray | None = None,
        trap_rng: np.random.Generator | None = None,
        time_constant: float = np.inf,
    ) -> None:
        self.charge = np.zeros(electrons.shape, dtype=np.float32)
        self.time = 0.0
        self._electrons = electrons.astype(float)  # what the Poisson generator works with
        self._pattern = pattern
        self._frame_time = frame_time
        self._rng = rng
        self._filled = np.flatnonzero(trapped) if trapped is not None else np.empty(0, dtype=int)
        self._trapped = None
        if trapped is not None and self._filled.size:
            self._trapped = trapped.reshape(-1)[self._filled]
        self._trap_rng = trap_rng
        self._time_constant = time_constant

    def next_group(self) -> np.ndarray:
        """Collect the charge of the next group.

        Returns
        -------
        numpy.ndarray
            Charge averaged over the frames of the group (e-), shape ``(ny, nx)``, float32.
        """
        lead = self._pattern.group_gap + 1 if self.time else 1
        duration = (lead + self._pattern.n_frames - 1) * self._frame_time
        expected = self._electrons * duration
        drawn = expected if self._rng is None else self._rng.poisson(expected)
        arriving = drawn.astype(np.float32)
        if self._trapped is not None:
            arriving.reshape(-1)[self._filled] += self._release(self._trapped, duration)
        within = np.arange(1, self._pattern.n_frames) / self._pattern.n_frames
        weights = np.concatenate([np.ones(lead), 1 - within])
        average = arriving * np.float32(weights.mean())
        average += self.charge
        self.charge += arriving
        self.time += duration
        if self._rng is not None and within.size:
            np.sqrt(arriving, out=arriving)
            arriving *= weights.std()
            arriving *= self._rng.standard_normal(arriving.shape, dtype=np.float32)
            average += arriving
        return average

    def _release(self, trapped: np.ndarray, duration: float) -> np.ndarray:
        """Return the charge that leaves traps in the next `duration` (e-)."""
        released = trapped * np.exp(-self.time / self._time_constant)
        released *= -np.expm1(-duration / self._time_constant)
        return released if self._trap_rng is None else self._trap_rng.poisson(released)


def difference_duration(pattern: ReadPattern, frame_time: float) -> float:
    """Return the time whose photons make up the variance of a difference of two groups.

    Parameters
    ----------
    pattern : ReadPattern
        Read pattern.
    frame_time : float
        Frame time (s).

    Returns
    -------
    float
        Variance of the difference of neighbouring groups over the rate (s). Shorter than the time
        between the groups when frames are averaged.
    """
    within = np.arange(1, pattern.n_frames) / pattern.n_frames
    steps = np.sum(within**2) + pattern.group_gap + 1 + np.sum((1 - within) ** 2)
    return float(steps * frame_time)
