"""Images of which nothing can be used: steps leave them alone, and say so."""

import logging
from typing import Any

from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.kernels.dq import why_unusable

__all__ = ["skip_unusable", "unusable_reason"]

log = logging.getLogger(__name__)


def unusable_reason(model: JwstDataModel) -> str:
    """Return why no pixel of an exposure can be used.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        Image, or integrations.

    Returns
    -------
    str
        The plane and what is wrong with it; empty if some pixel of some integration can be used.
    """
    variances = {name: getattr(model, name.lower(), None) for name in ("VAR_RNOISE", "VAR_POISSON")}
    shape = model.data.shape
    given = {
        name: plane if getattr(plane, "shape", None) == shape else None
        for name, plane in variances.items()
    }
    dq = getattr(model, "dq", None)
    dq = dq if getattr(dq, "shape", None) == shape else None
    return why_unusable(model.data, dq, given) or ""


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
