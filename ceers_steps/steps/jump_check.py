"""Step: the jumps of a ramp judged again, and the stripes of each group taken out."""

import logging
from functools import partial
from typing import Any

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, RampModel

from ceers_steps.errors import CeersError
from ceers_steps.files.metrics import step_metrics
from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.jumps.check import CheckedJumps, check_jumps, subtract_stripes_inplace
from ceers_steps.kernels.jumps.joint import GroupNoise
from ceers_steps.kernels.jumps.settings import JUMPS
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.rate_errors import correct_photon_noise, restore_lost_noise
from ceers_steps.steps.inputs.readout import readout_layout
from ceers_steps.steps.inputs.reference_planes import gain_of, plane_of
from ceers_steps.steps.inputs.usable import bad_pixels, why_not_nircam
from ceers_steps.steps.snowball import add_halo_errors

__all__ = ["JumpCheckStep", "RateErrorsStep", "correct_rate_errors"]

log = logging.getLogger(__name__)


class JumpCheckStep(CeersStep):
    """
    Judge the jumps of a ramp again, between jump and snowball, and make cut ramps clean.

    The jump step takes the photon noise of a difference from the noisy median rate of its own
    pixel, and knows nothing of the 1/f noise of single groups: many of its jumps are noise, and
    to leave them out makes the rate too low. Here the rate comes from smooth surroundings, or
    from the other differences on sources, and the noise is measured. The stripes that a group
    has more than the rate are subtracted, so that a ramp without some groups has those of its row.
    """

    class_alias = "ceers_jump_check"
    output_suffix = "jumpcheck"
    input_types = ("RampModel",)
    reference_file_types = ("gain", "readnoise")

    spec = """
        method = option('surroundings', 'none', default='surroundings')  # surroundings: rate expected from around and from the other groups; none: keep the flags of the jump step
        threshold = float(min=2, max=20, default=4)  # excess from which a difference holds a hit, sigma of a difference
        subtract_stripes = boolean(default=True)  # subtract from each group the stripes that it has more than the rate
        correct_errors = boolean(default=True)  # in CeersDetector1: the photon noise of the rate, VAR_POISSON, is that of the rate that is expected and of the groups that were fitted; VAR_RNOISE has the 1/f noise of single pixels too
    """  # noqa: E501

    def process(self, input_data: str | RampModel) -> RampModel:
        """
        Judge the jumps.

        Parameters
        ----------
        input_data : str or `~stdatamodels.jwst.datamodels.RampModel`
            Ramps after jump detection.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.RampModel`
            The same with other JUMP_DET flags in GROUPDQ, and its groups less their stripes.
        """
        model = self.prepare_output(input_data)
        if self.has_run(model):
            log.warning("%s has its jumps checked already: nothing done", model.meta.filename)
            return model
        reason = self.reason_to_skip(model)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        try:
            found = check_jumps(
                model.data,
                model.groupdq,
                bad_pixels(model),
                noise_of(self, model),
                readout_layout(model),
                threshold=self.threshold,
            )
        except ValueError as err:
            self.record(model, "SKIPPED", note=f"{err}")
            return model
        jump = model.groupdq.dtype.type(JUMP_DET)
        model.groupdq &= ~jump
        np.bitwise_or(model.groupdq, jump, out=model.groupdq, where=found.jumps)
        stripe_noise = 0.0
        if self.subtract_stripes and found.stripes is not None:
            subtract_stripes_inplace(model.data, found.stripes)
            stripe_noise = found.stripe_noise
        model.meta.exposure.primary_cosmic_rays = hit_rate(model, found)
        metrics = {
            "cleared_fraction": found.n_cleared / found.jumps.size,
            "added_fraction": found.n_added / found.jumps.size,
            "noise_scale": found.noise_scale,
            "stripe_noise": stripe_noise,
        }
        note = f"{found.n_cleared} flags cleared, {found.n_added} added"
        parameters = {name: getattr(self, name) for name in _PARAMETERS}
        self.record(model, "COMPLETE", parameters=parameters, metrics=metrics, note=note)
        return model

    def reason_to_skip(self, model: RampModel) -> str:
        """
        Return why this exposure is left alone, or nothing.

        Parameters
        ----------
        model : `~stdatamodels.jwst.datamodels.RampModel`
            The exposure.

        Returns
        -------
        str
            Empty if its jumps can be judged.
        """
        n_groups = model.data.shape[1]
        if self.method == "none":
            return "method is 'none'"
        if reason := why_not_nircam(model):
            return reason
        if n_groups < JUMPS.fewest_groups:
            return f"{n_groups} groups (NGROUPS), {JUMPS.fewest_groups} are needed to judge jumps"
        if model.meta.cal_step.jump == "SKIPPED":
            return "the jump step was skipped, there are no jumps to judge"
        return ""


_PARAMETERS = ("method", "threshold", "subtract_stripes", "correct_errors")


def correct_rate_errors(
    step: JumpCheckStep, ramp: RampModel, rate: ImageModel, rateints: CubeModel | None
) -> None:
    """
    Write the photon noise of what was fitted to checked ramps; nothing for others.

    Parameters
    ----------
    step : JumpCheckStep
        That has checked the ramps.
    ramp : `~stdatamodels.jwst.datamodels.RampModel`
        The ramps.
    rate : `~stdatamodels.jwst.datamodels.ImageModel`
        Their rate; changed.
    rateints : `~stdatamodels.jwst.datamodels.CubeModel` or None
        The rate of each integration; changed.
    """
    if step.correct_errors and _is_checked(ramp):
        correct_photon_noise(ramp, rate, rateints, noise_of(step, ramp), **measured_noise(ramp))


class RateErrorsStep(CeersStep):
    """
    Work out the errors of a rate from the flags of its ramp, as CeersDetector1 does.

    A hook of the stock pipeline, before ramp_fit as well as after it: before, the ramp that is to
    be fitted is kept; after, the variances and ERR of its rates become those of the groups that
    were fitted and of the rate that is expected, nothing where jumps were not checked. The errors
    of subtracted halos of snowballs are added.
    """

    class_alias = "ceers_rate_errors"
    reference_file_types = ("gain", "readnoise")

    def process(self, input_data: Any) -> Any:
        """
        Keep a ramp, or correct its rates.

        Parameters
        ----------
        input_data : `~stdatamodels.jwst.datamodels.RampModel` or tuple of models
            What ramp_fit is given, or what it returns: the rate, and that of each integration.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.RampModel` or tuple of models
            The same.
        """
        owner: Any = self.parent or self
        shared = vars(owner)  # with the other hook of ramp_fit
        if isinstance(input_data, RampModel):
            shared[_RAMP] = input_data
            return input_data
        if not isinstance(input_data, tuple):
            raise CeersError(
                "RateErrorsStep needs a ramp and its rate. Give it to ramp_fit of "
                "calwebb_detector1, as one of the pre_hooks and as one of the post_hooks."
            )
        ramp, (rate, rateints) = shared.pop(_RAMP, None), input_data
        if rate is None:
            return input_data
        reason = ""
        if ramp is None:
            reason = "the ramp is not known: this has to be among the pre_hooks of ramp_fit, too"
            log.warning("%s: errors of the rate not corrected: %s", rate.meta.filename, reason)
        elif not _is_checked(ramp):
            reason = "the jumps of its ramp were not checked"
        else:
            noise = noise_of(self, ramp)
            correct_photon_noise(ramp, rate, rateints, noise, **measured_noise(ramp))
        if ramp is not None:
            restore_lost_noise(ramp, rate, rateints, partial(gain_of, self, ramp))
            add_halo_errors(ramp, rate, rateints)
        for product in (rate, rateints):
            if product is not None:
                self.record(product, "SKIPPED" if reason else "COMPLETE", note=reason)
        return input_data


_RAMP = "_ramp_of_the_rate"


def _is_checked(ramp: RampModel) -> bool:
    """Say whether the jumps of a ramp were checked."""
    return ramp.meta.cal_step.instance.get(JumpCheckStep.class_alias) == "COMPLETE"


def measured_noise(ramp: RampModel) -> dict[str, float]:
    """Return what the check has measured of the noise of differences and of their stripes."""
    metrics = step_metrics(ramp.meta.instance).get(JumpCheckStep.class_alias, {})
    names = ("stripe_noise", "noise_scale")
    return {name: float(metrics[name]) for name in names if name in metrics}


def noise_of(step: JumpCheckStep | RateErrorsStep, model: RampModel) -> GroupNoise:
    """Return the noise of a group difference of the references; pixels without get the median."""
    planes = {
        kind: plane_of(step.get_reference_file(model, kind), kind, model)
        for kind in step.reference_file_types
    }
    exposure = model.meta.exposure
    n_frames = exposure.nframes or 1
    group_frames = n_frames + (exposure.groupgap or 0)
    return GroupNoise(planes["readnoise"], planes["gain"], n_frames, group_frames)


def hit_rate(model: RampModel, found: CheckedJumps) -> float | None:
    """Return PRIMECRS as the jump step of jwst does: hits per second and thousand pixels."""
    if not model.meta.exposure.group_time:
        return None
    n_ints, n_groups, ny, nx = model.data.shape
    time = model.meta.exposure.group_time * n_ints * (n_groups - 1)
    return 1000 * found.n_hits / (time * ny * nx)
