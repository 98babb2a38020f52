"""What the jump step of jwst does, with its flags, in a tenth of the time."""

import logging
from typing import Any

import numpy as np
from jwst.jump import JumpStep
from stcal.jump.jump_class import JumpData
from stdatamodels.jwst.datamodels import RampModel, dqflags

from ceers_steps.kernels.dq import DO_NOT_USE, JUMP_DET, SATURATED
from ceers_steps.kernels.jumps.two_point import TwoPointSettings, find_jumps

__all__ = ["detect_jumps"]

log = logging.getLogger(__name__)

FEWEST_GROUPS = 3
"""That jwst's step takes, whatever ``minimum_groups`` says."""


def detect_jumps(step: JumpStep, input_data: Any) -> RampModel:
    """Do what ``step.process`` does; its iterative method in less time.

    Parameters
    ----------
    step : `~jwst.jump.JumpStep`
        The step; its parameters are used.
    input_data : str or `~stdatamodels.jwst.datamodels.RampModel`
        Ramps.

    Returns
    -------
    `~stdatamodels.jwst.datamodels.RampModel`
        With jumps flagged in GROUPDQ.
    """
    ramp = step.prepare_output(input_data, open_as_type=RampModel)
    if not _is_plain(step, ramp):
        return type(step).process(step, ramp)
    known = step._setup_jump_data(ramp)
    if not _is_even(known):
        return type(step).process(step, ramp)
    gain = known.gain_2d
    ramp.pixeldq[~(gain > 0)] |= dqflags.pixel["NO_GAIN_VALUE"] | DO_NOT_USE
    read_variance = (known.rnoise_2d * gain) ** 2 / (0.5 * known.n_reads_groupdiff[0])
    settings = TwoPointSettings(
        threshold=step.rejection_threshold,
        threshold_three=step.four_group_rejection_threshold,
        threshold_two=step.three_group_rejection_threshold,
        neighbours=step.flag_4_neighbors,
        neighbours_from=step.min_jump_to_flag_neighbors,
        neighbours_to=step.max_jump_to_flag_neighbors,
    )
    groupdq = ramp.groupdq[0]
    unusable = (groupdq & (DO_NOT_USE | SATURATED)) != 0
    found = find_jumps(ramp.data[0], gain, unusable, read_variance, settings)
    np.bitwise_or(groupdq, groupdq.dtype.type(JUMP_DET), out=groupdq, where=found.jumps)
    exposure = ramp.meta.exposure
    n_differences = _usable_groups(groupdq) - 1
    time_and_pixels = exposure.group_time * n_differences * groupdq[0].size
    exposure.primary_cosmic_rays = 1000 * found.n_primary / time_and_pixels
    exposure.extended_emission_events = 0.0
    ramp.meta.cal_step.jump = "COMPLETE"
    log.info("Jumps: %d, and neighbours of these", found.n_primary)
    return ramp


def _is_plain(step: JumpStep, ramp: RampModel) -> bool:
    """Say whether jwst would look for jumps of single pixels only, one at a time."""
    n_ints, n_groups = ramp.data.shape[:2]
    groupdq = ramp.groupdq[0]
    usable = _usable_groups(groupdq)
    return (
        n_ints == 1
        and n_groups >= FEWEST_GROUPS
        and FEWEST_GROUPS <= usable <= step.min_diffs_single_pass
        and (step.only_use_ints or usable < step.minimum_sigclip_groups)
        and step.minimum_sigclip_groups > 1
        and step.maximum_cores in {"1", "none"}
        and not (step.after_jump_flag_time1 or step.after_jump_flag_time2)
        and not (step.expand_large_events or step.find_showers)
        and not (groupdq & JUMP_DET).any()
        and hasattr(step, "_setup_jump_data")
    )


def _usable_groups(groupdq: np.ndarray) -> int:
    """Return the number of groups of which not all pixels are flagged."""
    return sum(not ((group & DO_NOT_USE) != 0).all() for group in groupdq)


def _is_even(known: JumpData) -> bool:
    """Say whether all groups are of the same frames, and what jwst's step takes is as expected."""
    return len(known.dt_group) == len(known.n_reads_groupdiff) == 1 and known.dt_group[0] == 1
