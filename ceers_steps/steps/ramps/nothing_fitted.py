"""Exposures in which no ramp can be fitted: jwst makes no product of them, or one of nothing."""

import logging

import numpy as np
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, RampModel, dqflags

from ceers_steps.kernels.dq import why_no_ramp

__all__ = ["empty_rates", "flag_unexposed"]

log = logging.getLogger(__name__)


def flag_unexposed(ramp: RampModel) -> None:
    """Flag the groups of integrations that measured nothing, so that they get no rate.

    Parameters
    ----------
    ramp : `~stdatamodels.jwst.datamodels.RampModel`
        The raw exposure; DO_NOT_USE is set in its GROUPDQ.
    """
    for number, groups in enumerate(ramp.data):
        if reason := why_no_ramp(groups):
            log.warning(
                "%s: integration %d measured nothing: %s. It gets no rate; download the file again",
                *(ramp.meta.filename, number + 1, reason),
            )
            ramp.groupdq[number] |= dqflags.group["DO_NOT_USE"]


def empty_rates(ramp: RampModel) -> tuple[ImageModel, CubeModel]:
    """Return rates without a usable pixel, so that what follows can name the exposure.

    Parameters
    ----------
    ramp : `~stdatamodels.jwst.datamodels.RampModel`
        The ramps, of which none has a usable group.

    Returns
    -------
    rate : `~stdatamodels.jwst.datamodels.ImageModel`
        NaN, DO_NOT_USE everywhere, and what flags the pixels and all of their groups.
    rateints : `~stdatamodels.jwst.datamodels.CubeModel`
        The same for each integration.
    """
    log.warning(
        "%s: no ramp could be fitted (every group is saturated or not to be used): its rate has no "
        "usable pixel",
        ramp.meta.filename,
    )
    flags = np.bitwise_and.reduce(ramp.groupdq, axis=1).astype(np.uint32)
    flags |= ramp.pixeldq | dqflags.pixel["DO_NOT_USE"]
    rate, rateints = ImageModel(flags.shape[1:]), CubeModel(flags.shape)
    for model, dq in ((rate, np.bitwise_or.reduce(flags, axis=0)), (rateints, flags)):
        model.update(ramp)
        model.dq = dq
        for plane in ("data", "err", "var_poisson", "var_rnoise"):
            setattr(model, plane, np.full(dq.shape, np.nan, np.float32))
        model.meta.bunit_data = model.meta.bunit_err = "DN/s"
        model.meta.cal_step.ramp_fit = "COMPLETE"  # by which products are named
    rateints.int_times = ramp.int_times
    return rate, rateints
