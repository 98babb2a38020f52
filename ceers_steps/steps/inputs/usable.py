"""What steps leave alone, and say so: exposures of other kinds, those without a usable pixel."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel, RampModel, dqflags

from ceers_steps.kernels.dq import why_unusable

__all__ = ["NIRCAM_IMAGING", "bad_pixels", "skip_unusable", "unusable_reason", "why_not_nircam"]

log = logging.getLogger(__name__)

NIRCAM_IMAGING = "NRC_IMAGE"
"""EXP_TYPE of what the corrections are for."""


def bad_pixels(model: RampModel) -> NDArray[np.bool_]:
    """Return the pixels that are not used in any group: bad ones and reference pixels.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.RampModel`
        The ramps.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True = do not use.
    """
    return (model.pixeldq & (dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["REFERENCE_PIXEL"])) != 0


def why_not_nircam(model: JwstDataModel) -> str:
    """Return why the corrections do not apply to an exposure: it is not NIRCam imaging.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure, at any level: only its keywords count.

    Returns
    -------
    str
        Empty for NIRCam imaging.
    """
    kind = model.meta.exposure.type
    if model.meta.instrument.name == "NIRCAM" and kind == NIRCAM_IMAGING:
        return ""
    return f"not NIRCam imaging (EXP_TYPE {kind})"


def unusable_reason(model: JwstDataModel, *, weighed: bool = False) -> str:
    """Return why no pixel of an exposure can be used.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Image, or integrations.
    weighed : bool
        Whether its pixels get weights from their errors: these need a read noise, and errors of
        the flat field where it states any.

    Returns
    -------
    str
        The plane and what is wrong with it; empty if some pixel of some integration can be used.
    """
    names = ("VAR_RNOISE", "VAR_POISSON", *(["VAR_FLAT"] if weighed else []))
    variances = {name: getattr(model, name.lower(), None) for name in names}
    shape = model.data.shape
    given = {
        name: plane if getattr(plane, "shape", None) == shape else None
        for name, plane in variances.items()
    }
    dq = getattr(model, "dq", None)
    dq = dq if getattr(dq, "shape", None) == shape else None
    above_zero = ("VAR_RNOISE",) if weighed else ()
    return why_unusable(model.data, dq, given, above_zero) or ""


def skip_unusable(step: Any, model: JwstDataModel) -> bool:
    """Record that a step leaves an exposure alone of which no pixel can be used.

    Parameters
    ----------
    step : `~ceers_steps.steps.base.CeersMixin`
        The step.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Image, or integrations.

    Returns
    -------
    bool
        True if it is so: the step has nothing to do.
    """
    reason = unusable_reason(model)
    if reason:
        log.warning("%s: nothing is usable: %s", model.meta.filename, reason)
        step.record(model, "SKIPPED", note=f"nothing is usable: {reason}")
    return bool(reason)
