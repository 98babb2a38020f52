"""Step: persistence, charge that earlier exposures have left in the pixels of a ramp."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from stdatamodels.jwst.datamodels import RampModel

from ceers_steps.errors import CeersError
from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.snowballs.flagging import close_lost_ramps_inplace
from ceers_steps.kernels.snowballs.persistence import follow_charge_of_earlier
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.earlier import level_at_end
from ceers_steps.steps.inputs.reference_planes import plane_of
from ceers_steps.steps.inputs.usable import bad_pixels, why_not_nircam

__all__ = ["TrappedChargeStep"]


class TrappedChargeStep(CeersStep):
    """
    Flag persistence: groups in which a pixel releases charge of an earlier exposure.

    Pixels that stars or snowballs have filled trap charge and release it in the exposures that
    follow. How much, and for how long, is measured in this exposure, on all pixels that were
    full at the end of the earlier one and are dark now. The groups that it spoils get JUMP_DET;
    a pixel that has no other is not usable.
    """

    class_alias = "ceers_trapped_charge"
    output_suffix = "trapped"
    input_types = ("RampModel",)
    reference_file_types = ("saturation",)

    spec = """
        earlier_exposures = force_list(default=None)  # Raw files (*_uncal.fits) of the same detector that were exposed before this one, within an hour or so, the latest first; none: nothing is done
    """  # noqa: E501

    def process(self, input_data: str | RampModel) -> RampModel:
        """
        Flag what earlier exposures have left.

        Parameters
        ----------
        input_data : str or `~stdatamodels.jwst.datamodels.RampModel`
            Ramps after jump detection.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.RampModel`
            The same with more of GROUPDQ flagged as JUMP_DET.
        """
        model = self.prepare_output(input_data)
        reason = self.reason_to_skip(model)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        full = plane_of(self.get_reference_file(model, "saturation"), "saturation", model)
        bad = bad_pixels(model)
        flags = np.zeros(model.groupdq.shape, bool)
        for paths in _in_octaves(self.earlier_exposures):
            levels = (level_at_end(path, model, full) for path in paths)
            level = functools.reduce(np.maximum, levels)
            for mark in follow_charge_of_earlier(
                model.data,
                model.groupdq,
                bad | flags.any(axis=(0, 1)),
                level,
                full,
                group_time=model.meta.exposure.group_time,
            ):
                flags[mark.integration, 1 : mark.last_group + 1, *mark.box] |= mark.pixels
        np.bitwise_or(model.groupdq, model.groupdq.dtype.type(JUMP_DET), model.groupdq, where=flags)
        lost = close_lost_ramps_inplace(model.groupdq, flags)
        n_pixels = int(np.count_nonzero(flags.any(axis=(0, 1))))
        metrics = {"n_trapped_pixels": n_pixels, "n_trapped_lost": lost}
        parameters = {"earlier_exposures": len(self.earlier_exposures)}
        note = (
            f"{n_pixels} pixels release charge of {len(self.earlier_exposures)} earlier exposures"
        )
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
            Empty if charge of earlier exposures can be searched for.
        """
        if reason := why_not_nircam(model):
            return reason
        if not self.earlier_exposures:
            return "no earlier_exposures are given"
        if model.data.shape[1] < 2:
            return "one group (NGROUPS): what fades cannot be seen"
        if not model.meta.exposure.group_time:
            raise CeersError(
                f"{model.meta.filename}: no group time (TGROUP) in the header. Start from the "
                "*_uncal.fits file, or give no earlier_exposures."
            )
        return ""


def _in_octaves(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the latest, the two before it, the four before these ...: each has faded alike."""
    size = 1
    while paths:
        yield paths[:size]
        paths, size = paths[size:], 2 * size
