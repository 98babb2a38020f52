"""The noise of a rate that was fitted to ramps, worked out from both."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, RampModel, dqflags

from ceers_steps.kernels.dq import DO_NOT_USE
from ceers_steps.kernels.jumps.errors import (
    GroupState,
    combined_variance,
    lost_variance,
    photon_variance,
    read_variance,
    unknown_variance,
)
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.settings import FIT, JUMPS
from ceers_steps.kernels.jumps.surroundings import expect_rate
from ceers_steps.steps.inputs.readout import readout_layout

__all__ = ["correct_photon_noise", "restore_lost_noise"]

log = logging.getLogger(__name__)

JUMP, PERSISTENCE = dqflags.group["JUMP_DET"], dqflags.pixel["PERSISTENCE"]


def correct_photon_noise(
    ramp: RampModel,
    rate: ImageModel,
    rateints: CubeModel | None,
    noise: GroupNoise,
    stripe_noise: float = 0.0,
    noise_scale: float | None = None,
) -> None:
    """Write the photon noise of rates into VAR_POISSON, and ERR.

    Noise that no reference knows is measured in the rate. What of it differences between groups
    have is of the reads, and added to VAR_RNOISE; the rest is that of photons, as the level of the
    rate has an error of 1/f noise. VAR_RNOISE of ramps that were cut has what the stripes of single
    reads leave.

    Parameters
    ----------
    ramp : `~stdatamodels.jwst.datamodels.RampModel`
        The ramps with the flags that the fit has seen.
    rate : `~stdatamodels.jwst.datamodels.ImageModel`
        The rate of all integrations; changed.
    rateints : `~stdatamodels.jwst.datamodels.CubeModel` or None
        The rates of each; changed.
    noise : GroupNoise
        Of the references.
    stripe_noise : float
        Variance that the stripes of a read leave over that of the read noise of the references.
    noise_scale : float or None
        Noise of a difference over that of the references; if it is not known, all is of the reads.
    """
    time = ramp.meta.exposure.group_time
    bad = (rate.dq & dqflags.pixel["DO_NOT_USE"]) != 0
    known = np.isfinite(rate.data) & ~bad
    if not time or not known.any():
        return
    own = np.where(known, rate.data, 0) * np.float32(time)
    layout = readout_layout(ramp)
    around = expect_rate(own, known, layout)
    # of small sources a narrower box tells the light; but pixels that are smooth in it are those
    # with small noise, which tell no noise
    expected = expect_rate(own, known, layout, replace(JUMPS, smooth_box=FIT.smooth_box)).rate
    parts = _photons_of(ramp, expected, noise)
    variance, weight = combined_variance(parts)
    most = weight.max()
    whole = known & (weight == most)
    unknown = unknown_variance(rate.data, variance + rate.var_rnoise, whole, around)
    of_read = float(np.median(rate.var_rnoise[whole]))
    reads, photons = float(np.nan_to_num(max(unknown, 0.0))), float(np.median(variance[whole]))
    if noise_scale is not None and np.isfinite(unknown) and photons > 0:
        reads = (noise_scale**2 - 1) * noise.over_read(slice(None), expected) * of_read
        reads = min(max(reads, 0.0), max(unknown + photons, 0.0))
        expected += (unknown - reads) / photons * np.median(expected[whole])
        parts = _photons_of(ramp, expected, noise)
        variance, _ = combined_variance(parts)
    added = [
        (read_variance(weight, most * reads, most * stripe_noise * of_read), weight)
        for _, weight in parts
    ]
    planes = rate.var_poisson, rate.var_rnoise, rate.err
    _write(*planes, variance, combined_variance(added)[0], weight > 0)
    if rateints is not None:
        for i, (variance, weight) in enumerate(parts):
            planes = rateints.var_poisson[i], rateints.var_rnoise[i], rateints.err[i]
            _write(*planes, variance, added[i][0], weight > 0)


def _photons_of(
    ramp: RampModel, rate: NDArray[np.float32], noise: GroupNoise
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return photon noise, (DN/s)^2, and weight of each integration, given the expected rate."""
    parts = []
    for groupdq in ramp.groupdq:
        variance, weight = photon_variance(states_of(groupdq), rate, noise)
        variance /= ramp.meta.exposure.group_time**2
        parts.append((variance, weight))
    return parts


def restore_lost_noise(
    ramp: RampModel,
    rate: ImageModel,
    rateints: CubeModel | None,
    gain_of: Callable[[], NDArray[np.float32]],
) -> None:
    """Give bright pixels back the noise that ramp_fit drops, and flag pixels without any.

    ``ramp_fit`` of jwst (stcal 1.19) sets VAR_POISSON of 1e6 (DN/s)^2 and more to 0, and the ERR
    of integrations with it: subarrays of 64 x 64 pixels, read in 0.05 s, have such pixels.

    Parameters
    ----------
    ramp : `~stdatamodels.jwst.datamodels.RampModel`
        The ramps with the flags that the fit has seen.
    rate : `~stdatamodels.jwst.datamodels.ImageModel`
        The rate of all integrations; changed.
    rateints : `~stdatamodels.jwst.datamodels.CubeModel` or None
        The rates of each; changed.
    gain_of : callable
        Returns the gain (electrons per DN), shape ``(ny, nx)``; called only where it is needed.
    """
    cubes = [(rate, slice(None))]
    if rateints is not None:
        cubes += [(rateints, slice(i, i + 1)) for i in range(len(rateints.data))]
    n_restored, n_without = 0, 0
    for model, integrations in cubes:
        part = integrations.start if model is rateints else ...
        data, dq, error, read, poisson = (
            getattr(model, name)[part]
            for name in ("data", "dq", "err", "var_rnoise", "var_poisson")
        )
        usable = ((dq & DO_NOT_USE) == 0) & np.isfinite(data)
        y, x = np.nonzero(usable & (poisson == 0) & (data > 0) & (read > 0))
        if len(y):
            times = _exposed(ramp, integrations, y, x)
            bright = lost_variance(data[y, x], read[y, x], times, 1) > 0  # of no gain is more
            y, x, times = y[bright], x[bright], times[bright]
        if len(y):
            found = lost_variance(data[y, x], read[y, x], times, gain_of()[y, x])
            poisson[y, x] = found
            error[y, x] = np.sqrt(found + read[y, x])
            n_restored += int(np.count_nonzero(found))
        without = usable & ~(error > 0)
        dq[without] |= DO_NOT_USE
        data[without] = np.nan
        n_without += int(np.count_nonzero(without))
    name = ramp.meta.filename
    if n_restored:
        log.info("%s: photon noise of %d bright values restored", name, n_restored)
    if n_without:
        log.warning("%s: %d values without noise are not to be used", name, n_without)


def _exposed(ramp: RampModel, integrations: slice, y: NDArray, x: NDArray) -> NDArray[np.float32]:
    """Return the seconds in which the light of some pixels was gathered, as the fit counts them."""
    exposure = ramp.meta.exposure
    groups = ramp.groupdq[integrations, :, y, x]
    good = (states_of(groups) != GroupState.BROKEN).sum(axis=1)
    alone = ((exposure.nframes or 1) + 1) * (exposure.frame_time or 0) / 2
    times = np.where(good > 1, (good - 1) * (exposure.group_time or 0), (good > 0) * alone)
    return times.sum(axis=0).astype(np.float32)


def states_of(groupdq: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the fit takes a group for: good, after a jump and nothing else, or broken."""
    flags = groupdq & ~groupdq.dtype.type(PERSISTENCE)
    states = np.full(groupdq.shape, GroupState.BROKEN, np.uint8)
    states[flags == JUMP] = GroupState.JUMP
    states[flags == 0] = GroupState.GOOD
    return states


def _write(
    poisson: NDArray,
    read: NDArray,
    error: NDArray,
    photons: NDArray,
    added: NDArray,
    fitted: NDArray[np.bool_],
) -> None:
    """Replace VAR_POISSON where a ramp was fitted, add to VAR_RNOISE, and write ERR."""
    fitted = fitted & (read > 0) & np.isfinite(error)
    np.copyto(poisson, photons, where=fitted)
    np.add(read, added, out=read, where=fitted, casting="same_kind")
    np.copyto(error, np.sqrt(poisson + read), where=fitted)
