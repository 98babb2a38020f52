"""The order in which an exposure was read: one home for NOUTPUTS, FASTAXIS and SLOWAXIS."""

from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.check import read_keywords
from ceers_steps.kernels.stripes.readout import ReadoutLayout

__all__ = ["n_outputs", "readout_layout"]


def n_outputs(model: JwstDataModel) -> int:
    """Return the number of outputs, each of which read a strip of columns at the same time.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure, at any level.

    Returns
    -------
    int
        NOUTPUTS, or what follows from the other keywords and the size of the array.

    Raises
    ------
    CeersError
        If it does not follow.
    """
    return read_keywords(model, "NOUTPUTS")["NOUTPUTS"]


def readout_layout(model: JwstDataModel) -> ReadoutLayout:
    """Return the order in which the pixels of an exposure were read.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure, at any level.

    Returns
    -------
    `~ceers_steps.kernels.stripes.readout.ReadoutLayout`
        Of ``(ny, nx)`` pixels.

    Raises
    ------
    CeersError
        If a keyword is missing and does not follow from others, or they contradict the array.
    """
    keywords = read_keywords(model, "NOUTPUTS", "FASTAXIS", "SLOWAXIS")
    try:
        return ReadoutLayout.from_keywords(
            model.data.shape[-2:],
            fast_axis=keywords["FASTAXIS"],
            slow_axis=keywords["SLOWAXIS"],
            n_outputs=keywords["NOUTPUTS"],
        )
    except ValueError as err:
        raise CeersError(f"{model.meta.filename}: {err}") from err
