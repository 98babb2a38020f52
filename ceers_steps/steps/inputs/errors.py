"""The errors of exposures before outliers are searched for by them."""

import logging

import numpy as np
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.files.headers.provenance import add_history
from ceers_steps.kernels.dq import DO_NOT_USE, REFERENCE_PIXEL
from ceers_steps.kernels.sky.settings import NOISE
from ceers_steps.kernels.sky.variance import neighbour_scatter

__all__ = ["scale_errors"]

log = logging.getLogger(__name__)


def scale_errors(library: ModelLibrary, *, change: bool) -> None:
    """Scale VAR_RNOISE of exposures whose errors are far too small, to the scatter of pixels.

    A single group has in it the noise of the reset, which no plane knows: by such errors outliers
    are found in a tenth of the clean pixels. Exact factors are found later, without the outliers.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        Calibrated exposures.
    change
        False: say it only.
    """
    with library:
        for index in range(len(library)):
            model = library.borrow(index)
            changed = False
            try:
                changed = _scale(model, change)
            finally:
                library.shelve(model, index, modify=changed)


def _scale(model: JwstDataModel, change: bool) -> bool:
    """Scale VAR_RNOISE of one exposure where it is needed; say whether it was changed."""
    shape = model.data.shape
    planes = [getattr(model, f"var_{name}") for name in ("rnoise", "poisson", "flat")]
    read, *others = [plane if np.shape(plane) == shape else None for plane in planes]
    if read is None:
        return False
    rest = sum((plane for plane in others if plane is not None), start=np.zeros_like(read))
    unusable = np.zeros(shape, bool)
    if np.shape(model.dq) == shape:
        unusable = (model.dq & np.uint32(DO_NOT_USE | REFERENCE_PIXEL)) > 0
    scatter = neighbour_scatter(model.data, read + rest, unusable)
    if not scatter > NOISE.wrong_errors:
        return False
    note = f"neighbouring pixels differ {scatter:.2f} times as much as their errors say"
    if not change:
        log.warning(
            "%s: %s: outlier_detection will take clean pixels for outliers. Set "
            "steps.skyvar.skip=false and steps.skyvar.scale_variance=true.",
            model.meta.filename,
            note,
        )
        return False
    usable = ~unusable & np.isfinite(read + rest) & (read > 0)
    of_read, of_rest = (float(np.median(plane[usable])) for plane in (read, rest))
    factor = (scatter**2 * (of_read + of_rest) - of_rest) / of_read
    model.var_rnoise = read * np.float32(factor)
    model.err = np.sqrt(model.var_rnoise + rest)
    note += f": VAR_RNOISE x {factor:.4g} before outliers are searched for"
    log.warning("%s: %s", model.meta.filename, note)
    add_history(model, f"ceers_steps errors: {note}")
    return True
