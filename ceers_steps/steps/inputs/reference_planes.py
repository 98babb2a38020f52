"""Planes of reference files at the pixels of an exposure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import GainModel, RampModel, ReadnoiseModel, SaturationModel

from ceers_steps.errors import CeersError

__all__ = ["gain_of", "plane_of"]

_MODELS: dict[str, Any] = {
    "gain": GainModel,
    "readnoise": ReadnoiseModel,
    "saturation": SaturationModel,
}


def plane_of(path: str, kind: str, model: RampModel) -> NDArray[np.float32]:
    """Return a reference at the pixels of an exposure.

    Parameters
    ----------
    path : str
        The reference file.
    kind : {'gain', 'readnoise', 'saturation'}
        Its type.
    model : `~stdatamodels.jwst.datamodels.RampModel`
        The exposure.

    Returns
    -------
    ndarray
        Shape ``(ny, nx)``; where it has no value, its median.

    Raises
    ------
    CeersError
        If it does not cover the exposure, or has no value at all.
    """
    with _MODELS[kind](path) as reference:
        plane, shape = reference.data, model.data.shape[-2:]
    if plane.shape != shape:
        window, whole = model.meta.subarray, plane.shape
        x, y = (window.xstart or 1) - 1, (window.ystart or 1) - 1
        plane = plane[y : y + shape[0], x : x + shape[1]]
        if plane.shape != shape:
            raise CeersError(
                f"{model.meta.filename}: the image of {shape} pixels at SUBSTRT1={x + 1}, "
                f"SUBSTRT2={y + 1} is not within the {kind} reference {path} of {whole} pixels. "
                "Check these keywords."
            )
    good = np.isfinite(plane) & (plane > 0)
    if not good.any():
        raise CeersError(f"{path}: no pixel has a {kind} above 0. Fetch it again.")
    found = plane.astype(np.float32)
    if not good.all():
        found[~good] = np.median(plane[good])
    return found


def gain_of(step: Any, model: RampModel) -> NDArray[np.float32]:
    """Return the gain at the pixels of an exposure, of the reference file that a step uses.

    Parameters
    ----------
    step : `~stpipe.Step`
        One that has a gain among its references.
    model : `~stdatamodels.jwst.datamodels.RampModel`
        The exposure.

    Returns
    -------
    ndarray
        Shape ``(ny, nx)``: electrons per DN.

    Raises
    ------
    CeersError
        As `plane_of`.
    """
    return plane_of(step.get_reference_file(model, "gain"), "gain", model)
