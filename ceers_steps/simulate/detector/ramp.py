"""From a noiseless rate image to the ramps that the detector sends down.

Saturation and non-linearity act on the average of the frames of a group, not on each frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ceers_steps.simulate.config.simulation import SimulationConfig
from ceers_steps.simulate.detector.anomalies import anomaly
from ceers_steps.simulate.detector.calibration import BadPixel, Calibration, measured_signal
from ceers_steps.simulate.detector.deposits import (
    RayDeposits,
    SnowballDeposit,
    deposit_cosmic_rays,
    deposit_snowballs,
)
from ceers_steps.simulate.detector.noise import one_over_f_groups
from ceers_steps.simulate.detector.photons import ChargeCollector, difference_duration
from ceers_steps.simulate.seeds import rng_for
from ceers_steps.simulate.telescope.patterns import Readout, ReadPattern, get_pattern

__all__ = ["SimulatedRamp", "simulate_ramp"]

_WELL_MARGIN = 1.01  # the well is full a little above the level from which data are flagged
_RESET_FRAMES = 1  # frame times between two integrations


@dataclass(frozen=True)
class SimulatedRamp:
    """Raw ramps of one exposure and the truth behind them.

    Attributes
    ----------
    data : numpy.ndarray
        Raw values (DN), shape ``(n_ints, n_groups, ny, nx)``, uint16.
    rate : numpy.ndarray
        Noiseless rate (DN/s), flat included and dark current left out, 0 where no light is seen,
        shape ``(ny, nx)``, float32.
    stripe_rate : numpy.ndarray
        The 1/f noise as it appears in the slope of an evenly weighted straight-line fit
        to all groups (DN/s), shape ``(n_ints, ny, nx)``, float32.
    difference_sigma : numpy.ndarray
        Standard deviation of the difference of two neighbouring groups from photon and
        white read noise (e-), shape ``(ny, nx)``, float32.
    cosmic_rays : RayDeposits or None
        Cosmic rays, None if the effect is off.
    snowballs : tuple of SnowballDeposit
        Snowballs that leave charge in the data.
    trapped : numpy.ndarray or None
        Charge in traps at the end (e-), shape ``(ny, nx)``: the persistence that the next exposure
        starts with. None if the effect is off.
    pattern : ReadPattern
        Read pattern.
    readout : Readout
        Order and timing of the read-out.
    """

    data: np.ndarray
    rate: np.ndarray
    stripe_rate: np.ndarray
    difference_sigma: np.ndarray
    cosmic_rays: RayDeposits | None
    snowballs: tuple[SnowballDeposit, ...]
    trapped: np.ndarray | None
    pattern: ReadPattern
    readout: Readout

    def snowball_charge(self, integration: int, group: int) -> np.ndarray:
        """Return the charge of snowballs that a group has more than the one before.

        Rings around saturated cores are included. Saturation is not: a full core counts
        the charge that arrived.

        Parameters
        ----------
        integration, group : int
            Which group, both from 0.

        Returns
        -------
        numpy.ndarray
            Charge (e-), shape ``(ny, nx)``, float32.
        """
        charge = np.zeros(self.readout.shape, dtype=np.float32)
        for deposit in self.snowballs:
            if deposit.ball.integration == integration:
                charge[deposit.stamp.slices] += deposit.arriving(group)
        return charge

    def cosmic_ray_charge(self, integration: int, group: int) -> np.ndarray:
        """Return the charge of cosmic rays that a group has more than the one before.

        Parameters
        ----------
        integration, group : int
            Which group, both from 0.

        Returns
        -------
        numpy.ndarray
            Charge (e-), shape ``(ny, nx)``, float32.
        """
        charge = np.zeros(self.readout.shape, dtype=np.float32)
        if self.cosmic_rays is not None:
            self.cosmic_rays.add_arriving(charge, integration, group)
        return charge


def simulate_ramp(
    rate: np.ndarray,
    calibration: Calibration,
    config: SimulationConfig | None = None,
    *,
    read_pattern: str,
    n_groups: int,
    n_ints: int = 1,
    readout: Readout | None = None,
    corner: tuple[int, int] = (0, 0),
    seed: int = 0,
    stream: tuple[int, ...] = (),
    persistence: np.ndarray | None = None,
) -> SimulatedRamp:
    """Simulate the raw ramps of one exposure of one detector.

    Parameters
    ----------
    rate : numpy.ndarray
        Noiseless rate as a rate product would show it (DN/s): light times flat, without
        dark current, shape ``(ny, nx)``. What it holds in reference and dead pixels is ignored.
    calibration : Calibration
        Truth of the full detector, or of the subarray.
    config : SimulationConfig, optional
        Effects. Those of the calibration itself (flat, dark, bias ...) are as `calibration` has
        them.
    read_pattern : str
        Name of the read pattern, such as ``MEDIUM8``.
    n_groups, n_ints : int
        Groups per integration and integrations.
    readout : Readout, optional
        In which order the pixels are read. Default: 4 outputs, FASTAXIS 1, SLOWAXIS 2.
    corner : tuple of int
        ``(y, x)`` of the first pixel on the detector, from 0, when `calibration` is that of
        the full detector and `rate` a subarray.
    seed : int
        Seed of the simulation.
    stream : tuple of int
        Numbers that set this exposure apart from others with the same seed.
    persistence : numpy.ndarray, optional
        Charge in traps at the start (e-), shape ``(ny, nx)``: `trapped` of the exposure before.

    Returns
    -------
    SimulatedRamp
        Raw data and truth. The same arguments give the same data to the bit.

    Raises
    ------
    ValueError
        If shapes do not agree or a number is out of range.
    """
    config = config or SimulationConfig()
    pattern = get_pattern(read_pattern)
    shape = rate.shape
    if n_groups < 1 or n_ints < 1:
        raise ValueError(f"n_groups is {n_groups} and n_ints {n_ints}: use 1 or more of each")
    if not np.isfinite(rate).all() or rate.min() < 0:
        raise ValueError("rate must be finite and not negative (DN/s, noiseless) in every pixel")
    if calibration.shape != shape:
        calibration = calibration.cut(corner, shape)
    readout = readout or Readout(shape, n_outputs=4, fast_axis=1, slow_axis=2)
    for name, given in (("persistence", persistence), ("readout", readout)):
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} has shape {given.shape}: it must be {shape} as rate")

    blind = np.flatnonzero(calibration.flagged(BadPixel.DEAD, BadPixel.REFERENCE_PIXEL))
    rate = np.array(rate, dtype=np.float32)
    rate.reshape(-1)[blind] = 0
    electrons = (rate + calibration.dark) * calibration.gain  # e-/s

    plan = _Plan(config, pattern, readout, n_groups, n_ints, seed, stream)
    rays = _draw_rays(plan)
    balls = _draw_balls(plan, calibration)
    stripes = _draw_stripes(plan)
    electronics = _Electronics(plan, calibration, blind)
    slope_weights = _slope_weights(electronics.group_times)

    data = np.empty((n_ints, n_groups, *shape), dtype=np.uint16)
    stripe_rate = np.zeros((n_ints, *shape), dtype=np.float32)
    trapped = None
    if persistence is not None and config.persistence.enabled:
        trapped = np.array(persistence, dtype=np.float32)

    for integration in range(n_ints):
        bias = _bias(plan, calibration, integration)
        deposited = np.zeros(shape, dtype=np.float32)
        collected = ChargeCollector(
            electrons,
            pattern,
            readout.frame_time,
            rng=plan.rng("photon_noise", integration) if config.photon_noise.enabled else None,
            trapped=trapped,
            trap_rng=plan.rng("persistence", integration) if config.photon_noise.enabled else None,
            time_constant=config.persistence.time_constant,
        )
        read_rng = plan.rng("read_noise", integration)
        for group in range(n_groups):
            signal = collected.next_group()
            _add_arriving(deposited, rays, balls, integration, group)
            signal += deposited
            stripe = next(stripes) if stripes is not None else None
            data[integration, group] = electronics.counts(signal, bias, group, read_rng, stripe)
            if stripe is not None:
                stripe *= slope_weights[group]
                stripe_rate[integration] += stripe
        if config.persistence.enabled:
            charge = collected.charge + deposited
            charge.reshape(-1)[blind] = 0
            trapped = _trap(charge, calibration, config, trapped, collected.time)

    return SimulatedRamp(
        data=data,
        rate=rate,
        stripe_rate=stripe_rate,
        difference_sigma=_difference_sigma(plan, electrons, calibration),
        cosmic_rays=rays,
        snowballs=balls,
        trapped=trapped,
        pattern=pattern,
        readout=readout,
    )


@dataclass(frozen=True)
class _Plan:
    """What all effects of an exposure need to know."""

    config: SimulationConfig
    pattern: ReadPattern
    readout: Readout
    n_groups: int
    n_ints: int
    seed: int
    stream: tuple[int, ...]

    def rng(self, effect: str, *indices: int) -> np.random.Generator:
        """Return the random stream of an effect in this exposure."""
        return rng_for(self.seed, effect, *self.stream, *indices)


class _Electronics:
    """What turns charge into counts, the same for all groups of an exposure."""

    def __init__(self, plan: _Plan, calibration: Calibration, blind: np.ndarray) -> None:
        """Take what all effects need, the detector, and the flat places of its blind pixels."""
        self.plan = plan
        self.calibration = calibration
        self.blind = blind
        self.group_times = plan.pattern.group_times(plan.n_groups, plan.readout.frame_time)
        self.ceiling = calibration.saturation * _WELL_MARGIN - calibration.superbias
        self.read_sigma = calibration.read_noise / np.sqrt(plan.pattern.n_frames)

    def counts(
        self,
        charge: np.ndarray,
        bias: np.ndarray,
        group: int,
        rng: np.random.Generator,
        stripe: np.ndarray | None,
    ) -> np.ndarray:
        """Return what a group shows (DN) of its charge and its 1/f noise (e-, both are changed)."""
        plan, calibration = self.plan, self.calibration
        charge.reshape(-1)[self.blind] = 0
        charge /= calibration.gain
        signal = measured_signal(charge, calibration.linearity)
        np.minimum(signal, self.ceiling, out=signal)
        signal += bias
        if calibration.reset is not None:
            time, reset = float(self.group_times[group]), calibration.reset
            signal += anomaly(reset, group, plan.n_groups, time, plan.config.reset_anomaly)
        if plan.config.read_noise.enabled:
            noise = rng.standard_normal(signal.shape, dtype=np.float32)
            noise *= self.read_sigma
            signal += noise
        if stripe is not None:
            stripe *= 1 / calibration.mean_gain
            signal += stripe
        np.rint(signal, out=signal)
        np.clip(signal, 0, 65535, out=signal)
        return signal


def _bias(plan: _Plan, calibration: Calibration, integration: int) -> np.ndarray:
    """Return the level after the reset of an integration (DN), kTC noise included."""
    if not plan.config.ktc.enabled:
        return calibration.superbias
    ktc = plan.rng("ktc", integration).standard_normal(calibration.shape, dtype=np.float32)
    ktc *= plan.config.ktc.sigma / calibration.mean_gain
    return calibration.superbias + ktc


def _add_arriving(
    charge: np.ndarray,
    rays: RayDeposits | None,
    balls: Sequence[SnowballDeposit],
    integration: int,
    group: int,
) -> None:
    """Add the charge of the events that arrive during a group (e-)."""
    if rays is not None:
        rays.add_arriving(charge, integration, group)
    for ball in balls:
        if ball.ball.integration == integration:
            charge[ball.stamp.slices] += ball.arriving(group)


def _draw_rays(plan: _Plan) -> RayDeposits | None:
    """Draw the cosmic rays, or return None if the effect is off."""
    if not plan.config.cosmic_rays.enabled:
        return None
    return deposit_cosmic_rays(
        plan.readout,
        plan.pattern,
        n_groups=plan.n_groups,
        n_ints=plan.n_ints,
        rng=plan.rng("cosmic_rays"),
        config=plan.config.cosmic_rays,
    )


def _draw_balls(plan: _Plan, calibration: Calibration) -> tuple[SnowballDeposit, ...]:
    """Draw the snowballs, none if the effect is off."""
    if not plan.config.snowballs.enabled:
        return ()
    return deposit_snowballs(
        plan.readout,
        plan.pattern,
        n_groups=plan.n_groups,
        n_ints=plan.n_ints,
        full_well=float(np.median(calibration.full_well)),
        rng=plan.rng("snowballs"),
        config=plan.config.snowballs,
    )


def _draw_stripes(plan: _Plan) -> Iterator[np.ndarray] | None:
    """Return the 1/f noise of all groups in turn (e-), or None if the effect is off."""
    one_over_f = plan.config.one_over_f
    if not one_over_f.enabled:
        return None
    frames = plan.pattern.total_frames(plan.n_groups) + _RESET_FRAMES
    starts = np.arange(plan.n_ints)[:, np.newaxis] * frames
    return one_over_f_groups(
        plan.readout,
        first_frames=(starts + plan.pattern.first_frames(plan.n_groups)).ravel(),
        n_frames=plan.pattern.n_frames,
        rng=plan.rng("one_over_f"),
        amplitude=one_over_f.amplitude,
        exponent=one_over_f.exponent,
        correlated_fraction=one_over_f.correlated_fraction,
    )


def _slope_weights(times: np.ndarray) -> np.ndarray:
    """Return the weights with which groups enter an evenly weighted straight-line fit."""
    if times.size == 1:
        return 1 / times
    centred = times - times.mean()
    return centred / np.sum(centred**2)


def _difference_sigma(plan: _Plan, electrons: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Return the noise of the difference of two neighbouring groups (e-)."""
    config, pattern = plan.config, plan.pattern
    variance = np.zeros(electrons.shape, dtype=np.float32)
    if config.photon_noise.enabled:
        variance += electrons * difference_duration(pattern, plan.readout.frame_time)
    if config.read_noise.enabled:
        variance += (2 / pattern.n_frames) * (calibration.read_noise * calibration.gain) ** 2
    return np.sqrt(variance)


def _trap(
    charge: np.ndarray,
    calibration: Calibration,
    config: SimulationConfig,
    before: np.ndarray | None,
    duration: float,
) -> np.ndarray:
    """Return the charge in traps after an integration that ended with `charge` (e-)."""
    full_well = calibration.full_well
    filled = np.minimum(charge, full_well) - config.persistence.threshold * full_well
    filled = config.persistence.trapped_fraction * np.maximum(filled, 0)
    if before is not None:
        filled += before * np.exp(-duration / config.persistence.time_constant)
    return filled
