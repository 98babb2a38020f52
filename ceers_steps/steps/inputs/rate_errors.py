"""The noise of a rate that was fitted to ramps, worked out from both."""

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, RampModel, dqflags

from ceers_steps.kernels.jumps.errors import (
    GroupState,
    combined_variance,
    photon_variance,
    unknown_variance,
)
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.surroundings import expect_rate
from ceers_steps.steps.inputs.readout import readout_layout

__all__ = ["correct_photon_noise"]

JUMP, PERSISTENCE = dqflags.group["JUMP_DET"], dqflags.pixel["PERSISTENCE"]


def correct_photon_noise(
    ramp: RampModel, rate: ImageModel, rateints: CubeModel | None, noise: GroupNoise
) -> None:
    """Write the photon noise of rates into VAR_POISSON, and ERR.

    Noise of the reads that no reference knows is added to VAR_RNOISE.

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
    """
    time = ramp.meta.exposure.group_time
    bad = (rate.dq & dqflags.pixel["DO_NOT_USE"]) != 0
    known = np.isfinite(rate.data) & ~bad
    if not time or not known.any():
        return
    own = np.where(known, rate.data, 0) * np.float32(time)
    around = expect_rate(own, known, readout_layout(ramp))
    parts = []
    for groupdq in ramp.groupdq:
        variance, weight = photon_variance(states_of(groupdq), around.rate, noise)
        variance /= time**2
        parts.append((variance, weight))
    variance, weight = combined_variance(parts)
    most = weight.max()
    whole = known & (weight == most)
    unknown = most * unknown_variance(rate.data, variance + rate.var_rnoise, whole, around)
    _write(rate.var_poisson, rate.var_rnoise, rate.err, (variance, weight), unknown)
    if rateints is not None:
        for i, part in enumerate(parts):
            planes = (rateints.var_poisson[i], rateints.var_rnoise[i], rateints.err[i])
            _write(*planes, part, unknown)


def states_of(groupdq: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the fit takes a group for: good, after a jump and nothing else, or broken."""
    flags = groupdq & ~groupdq.dtype.type(PERSISTENCE)
    states = np.full(groupdq.shape, GroupState.BROKEN, np.uint8)
    states[flags == JUMP] = GroupState.JUMP
    states[flags == 0] = GroupState.GOOD
    return states


def _write(
    poisson: NDArray, read: NDArray, error: NDArray, found: tuple[NDArray, NDArray], unknown: float
) -> None:
    """Replace variances where a ramp was fitted, and the error with them.

    `found` is the photon noise and the weight of each pixel; `unknown` the variance, of weight 1,
    that reads have more than the references know.
    """
    variance, weight = found
    fitted = (weight > 0) & (read > 0) & np.isfinite(error)
    np.copyto(poisson, variance, where=fitted)
    np.add(read, unknown / np.maximum(weight, 0.5), out=read, where=fitted, casting="same_kind")
    np.copyto(error, np.sqrt(poisson + read), where=fitted)
