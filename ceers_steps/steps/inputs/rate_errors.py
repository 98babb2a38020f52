"""The photon noise of a rate that was fitted to ramps, worked out from both."""

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, RampModel, dqflags

from ceers_steps.kernels.jumps.errors import (
    GroupState,
    combined_variance,
    photon_variance,
)
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.surroundings import expect_rate
from ceers_steps.steps.inputs.readout import readout_layout

__all__ = ["correct_photon_noise"]

JUMP, PERSISTENCE = dqflags.group["JUMP_DET"], dqflags.pixel["PERSISTENCE"]


def correct_photon_noise(
    ramp: RampModel, rate: ImageModel, rateints: CubeModel | None, noise: GroupNoise
) -> None:
    """Write the photon noise of rates into VAR_POISSON and ERR.

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
    expected = expect_rate(own, known, readout_layout(ramp)).rate
    parts = []
    for i, groupdq in enumerate(ramp.groupdq):
        variance, weight = photon_variance(states_of(groupdq), expected, noise)
        variance /= time**2
        parts.append((variance, weight))
        if rateints is not None:
            planes = (rateints.var_poisson[i], rateints.var_rnoise[i], rateints.err[i])
            _write(*planes, variance, weight > 0)
    variance, weight = combined_variance(parts)
    _write(rate.var_poisson, rate.var_rnoise, rate.err, variance, weight > 0)


def states_of(groupdq: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the fit takes a group for: good, after a jump and nothing else, or broken."""
    flags = groupdq & ~groupdq.dtype.type(PERSISTENCE)
    states = np.full(groupdq.shape, GroupState.BROKEN, np.uint8)
    states[flags == JUMP] = GroupState.JUMP
    states[flags == 0] = GroupState.GOOD
    return states


def _write(
    poisson: NDArray, read: NDArray, error: NDArray, variance: NDArray, fitted: NDArray[np.bool_]
) -> None:
    """Replace a variance where a ramp was fitted, and the error with it."""
    fitted = fitted & (read > 0) & np.isfinite(error)
    np.copyto(poisson, variance, where=fitted)
    np.copyto(error, np.sqrt(poisson + read), where=fitted)
