"""When the charge of cosmic rays and snowballs shows up in the groups of an exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ceers_steps.simulate.config.simulation import CosmicRayConfig, SnowballConfig
from ceers_steps.simulate.detector.events import (
    CosmicRays,
    Snowball,
    SnowballStamp,
    draw_cosmic_rays,
    draw_snowballs,
    snowball_stamp,
)
from ceers_steps.simulate.telescope.patterns import Readout, ReadPattern

__all__ = [
    "RayDeposits",
    "SnowballDeposit",
    "deposit_cosmic_rays",
    "deposit_snowballs",
    "group_fractions",
    "spill_fractions",
]


@dataclass(frozen=True)
class RayDeposits:
    """The cosmic rays of an exposure and when their charge shows up.

    Attributes
    ----------
    rays : CosmicRays
        The events and the pixels they hit.
    fractions : numpy.ndarray
        Part of the charge of each event that each group shows, shape
        ``(n_events, n_groups)``, float32.
    """

    rays: CosmicRays
    fractions: np.ndarray

    @property
    def group(self) -> np.ndarray:
        """First group that shows each event, from 0; -1 if none does. Shape ``(n_events,)``."""
        return np.where(self.fractions[:, -1] > 0, np.argmax(self.fractions > 0, axis=1), -1)

    def add_arriving(self, charge: np.ndarray, integration: int, group: int) -> None:
        """Add to an image the charge that a group has more than the one before.

        Parameters
        ----------
        charge : numpy.ndarray
            Image that is added to (e-), shape ``(ny, nx)``.
        integration, group : int
            Which group, both from 0.
        """
        part = _step(self.fractions.T, group)
        part = np.where(self.rays.integration == integration, part, 0)[self.rays.pixel_event]
        arrived = np.flatnonzero(part)
        where = self.rays.pixel_y[arrived], self.rays.pixel_x[arrived]
        np.add.at(charge, where, part[arrived] * self.rays.pixel_charge[arrived])


@dataclass(frozen=True)
class SnowballDeposit:
    """A snowball and when its charge shows up.

    Attributes
    ----------
    ball : Snowball
        The event.
    stamp : SnowballStamp
        Its charge inside the array.
    prompt_fraction, ring_fraction : numpy.ndarray
        Part of the prompt and of the spilled charge that each group shows, shape
        ``(n_groups,)``, float32.
    """

    ball: Snowball
    stamp: SnowballStamp
    prompt_fraction: np.ndarray
    ring_fraction: np.ndarray

    @property
    def group(self) -> int:
        """First group that shows the event, from 0."""
        return int(np.argmax(self.prompt_fraction > 0))

    def arriving(self, group: int) -> np.ndarray:
        """Return the charge (e-) that `group` has more than the one before, as a stamp."""
        prompt = _step(self.prompt_fraction, group) * self.stamp.prompt
        return prompt + _step(self.ring_fraction, group) * self.stamp.ring


def deposit_cosmic_rays(
    readout: Readout,
    pattern: ReadPattern,
    *,
    n_groups: int,
    n_ints: int,
    rng: np.random.Generator,
    config: CosmicRayConfig,
) -> RayDeposits:
    """Draw the cosmic rays of an exposure and time them.

    Parameters
    ----------
    readout : Readout
        Order and timing of the read-out: the clock of a pixel starts with its reset.
    pattern : ReadPattern
        Read pattern.
    n_groups, n_ints : int
        Groups per integration and integrations.
    rng : numpy.random.Generator
        Source of the draws.
    config : CosmicRayConfig
        Rates and charges.

    Returns
    -------
    RayDeposits
        Every event between the first reset and the last read of each integration.
    """
    rays = draw_cosmic_rays(
        readout.shape,
        duration=_duration(readout, pattern, n_groups),
        n_ints=n_ints,
        rng=rng,
        config=config,
    )
    time = rays.time - readout.read_delay(rays.y, rays.x)
    return RayDeposits(rays, group_fractions(time, pattern, n_groups, readout.frame_time))


def deposit_snowballs(
    readout: Readout,
    pattern: ReadPattern,
    *,
    n_groups: int,
    n_ints: int,
    full_well: float,
    rng: np.random.Generator,
    config: SnowballConfig,
) -> tuple[SnowballDeposit, ...]:
    """Draw the snowballs of an exposure and time them.

    Every pixel of a snowball takes the time of its centre.

    Parameters
    ----------
    readout, pattern, n_groups, n_ints
        See `deposit_cosmic_rays`.
    full_well : float
        Charge that fills a pixel (e-).
    rng, config
        See `deposit_cosmic_rays`.

    Returns
    -------
    tuple of SnowballDeposit
        Those that leave charge in the data, in the order of integration and time.
    """
    balls = draw_snowballs(
        readout.shape,
        duration=_duration(readout, pattern, n_groups),
        n_ints=n_ints,
        rng=rng,
        config=config,
        full_well=full_well,
    )
    deposits = []
    for ball in balls:
        time = ball.time - float(readout.read_delay(ball.y, ball.x))
        prompt = group_fractions(time, pattern, n_groups, readout.frame_time)
        stamp = snowball_stamp(ball, readout.shape)
        if stamp is not None and prompt[-1] > 0:
            ring = spill_fractions(time, ball.ring_time, pattern, n_groups, readout.frame_time)
            deposits.append(SnowballDeposit(ball, stamp, prompt, ring))
    return tuple(deposits)


def _step(fractions: np.ndarray, group: int) -> np.ndarray:
    """Return how much a fraction grows from the group before to `group`."""
    return fractions[group] - fractions[group - 1] if group else fractions[0]


def _duration(readout: Readout, pattern: ReadPattern, n_groups: int) -> float:
    """Return the time from the first reset to the last read of an integration (s)."""
    return (pattern.total_frames(n_groups) + 1) * readout.frame_time


def group_fractions(
    time: np.ndarray | float, pattern: ReadPattern, n_groups: int, frame_time: float
) -> np.ndarray:
    """Return the part of each group's frames that is read after an event.

    Charge that arrives while the frames of a group are taken is seen only by those read
    later, and so shows up in part in the averaged group.

    Parameters
    ----------
    time : array_like
        Seconds since the reset of the pixels hit, shape ``(n_events,)`` or a number.
    pattern : ReadPattern
        Read pattern.
    n_groups : int
        Number of groups.
    frame_time : float
        Frame time (s).

    Returns
    -------
    numpy.ndarray
        0 before the event, 1 after it, shape ``(n_events, n_groups)`` (or ``(n_groups,)``),
        float32. All 0 for an event before the reset.
    """
    time = np.asarray(time, dtype=float)[..., np.newaxis]
    # Frame j is read (j + 1) frame times after the reset.
    first_seen = np.maximum(np.ceil(time / frame_time) - 1, 0)
    missed = np.clip(first_seen - pattern.first_frames(n_groups), 0, pattern.n_frames)
    return np.where(time < 0, 0, 1 - missed / pattern.n_frames).astype(np.float32)


def spill_fractions(
    time: float, scale: float, pattern: ReadPattern, n_groups: int, frame_time: float
) -> np.ndarray:
    """Return the part of the spilled charge that each group has seen.

    A time ``t`` after the event, ``1 - exp(-t / scale)`` of the ring has filled.

    Parameters
    ----------
    time : float
        Event, seconds since the reset of the pixels hit.
    scale : float
        Time scale of the spill (s).
    pattern : ReadPattern
        Read pattern.
    n_groups : int
        Number of groups.
    frame_time : float
        Frame time (s).

    Returns
    -------
    numpy.ndarray
        Shape ``(n_groups,)``, float32. All 0 for an event before the reset.
    """
    if time < 0:
        return np.zeros(n_groups, dtype=np.float32)
    frames = pattern.first_frames(n_groups)[:, np.newaxis] + np.arange(pattern.n_frames)
    since = np.maximum((frames + 1) * frame_time - time, 0)
    return -np.expm1(-since / scale).mean(axis=1).astype(np.float32)
