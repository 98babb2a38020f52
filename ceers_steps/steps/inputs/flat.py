"""The flat field for steps that work on rate images, before the flat field is applied."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import FlatModel, JwstDataModel, dqflags

from ceers_steps.errors import CeersError

__all__ = ["check_is_rate", "read_flat"]

log = logging.getLogger(__name__)

_UNUSABLE = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["NO_FLAT_FIELD"]


def check_is_rate(model: JwstDataModel) -> None:
    """Check that an image is in DN/s still: a cal image has the same data model as a rate image.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure.

    Raises
    ------
    CeersError
        If the flat field or the photometric calibration has been applied.
    """
    status = model.meta.cal_step.instance
    done = [name for name in ("flat_field", "photom") if status.get(name) == "COMPLETE"]
    if done:
        raise CeersError(
            f"{model.meta.filename}: {' and '.join(done)} applied already; wisps and stripes are "
            "subtracted before. Give the *_rate.fits file of this exposure."
        )


def read_flat(step: Any, model: JwstDataModel) -> NDArray[np.float32] | None:
    """Read the flat field of an exposure, cut to its subarray.

    Parameters
    ----------
    step : CeersStep
        With "flat" among its ``reference_file_types``.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure.

    Returns
    -------
    ndarray or None
        ``(ny, nx)``, nan where the flat is flagged or not positive; None if CRDS has no flat
        for this mode ("N/A").

    Raises
    ------
    CeersError
        If the flat does not cover the subarray.
    """
    path = step.get_reference_file(model, "flat")
    if path in ("", "N/A"):  # no text: override_flat that is empty
        log.warning("There is no flat for %s: it is not flattened", model.meta.filename)
        return None
    with FlatModel(path) as flat:
        ny, nx = model.data.shape[-2:]
        x = (model.meta.subarray.xstart or 1) - (flat.meta.subarray.xstart or 1)
        y = (model.meta.subarray.ystart or 1) - (flat.meta.subarray.ystart or 1)
        if x < 0 or y < 0 or x + nx > flat.data.shape[1] or y + ny > flat.data.shape[0]:
            raise CeersError(
                f"The flat {path} ({flat.data.shape[1]} x {flat.data.shape[0]} pixels) does not "
                f"cover {model.meta.filename} ({nx} x {ny} at {x + 1}, {y + 1}). "
                "Give another with override_flat."
            )
        part = slice(y, y + ny), slice(x, x + nx)
        values = flat.data[part].astype(np.float32)
        usable = ((flat.dq[part] & _UNUSABLE) == 0) & (values > 0)
    values[~usable] = np.nan
    return values
