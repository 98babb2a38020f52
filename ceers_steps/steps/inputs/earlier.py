"""What an earlier exposure of the same detector has left in its pixels."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import RampModel

from ceers_steps.errors import CeersError
from ceers_steps.files.whole_files import NotWholeError, open_whole

__all__ = ["check_is_earlier", "level_at_end"]


def level_at_end(path: str, model: RampModel, full: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read how full the pixels of an exposure were at the end of an earlier one.

    Only the last groups are read.

    Parameters
    ----------
    path : str
        The raw file of the earlier exposure, ``*_uncal.fits``.
    model : `~stdatamodels.jwst.datamodels.RampModel`
        The exposure.
    full : array, shape (ny, nx)
        Signal at which a pixel saturates, DN with bias, at the pixels of `model`.

    Returns
    -------
    array, shape (ny, nx)
        Highest signal at the end of an integration over `full`; 0 where the earlier exposure did
        not look.

    Raises
    ------
    CeersError
        If the file cannot be read, is not raw, of another detector, or not earlier.
    """
    check_is_earlier(path, model)
    with fits.open(path, memmap=False) as hdus:  # a section of unsigned integers is read so
        last = hdus["SCI"].section[:, -1].max(axis=0)
        start = [int(hdus[0].header.get(f"SUBSTRT{axis}") or 1) for axis in (2, 1)]
    window = model.meta.subarray
    level = np.zeros(full.shape, np.float32)
    here, there = [], []
    for axis, own in enumerate((window.ystart or 1, window.xstart or 1)):
        shift = own - start[axis]
        first, stop = max(0, -shift), min(full.shape[axis], last.shape[axis] - shift)
        here.append(slice(first, max(stop, first)))
        there.append(slice(first + shift, max(stop, first) + shift))
    level[tuple(here)] = last[tuple(there)] / full[tuple(here)]
    return level


def check_is_earlier(path: str, model: RampModel) -> None:
    """Check that an exposure can have left charge in the pixels of another.

    Parameters
    ----------
    path : str
        The raw file of the earlier exposure.
    model : `~stdatamodels.jwst.datamodels.RampModel`
        The later one.

    Raises
    ------
    CeersError
        As `level_at_end`.
    """
    try:
        with open_whole(Path(path)) as hdus:
            header = hdus[0].header
            axes = hdus["SCI"].header.get("NAXIS") if "SCI" in hdus else 0
            detector, start = str(header.get("DETECTOR", "")).strip(), header.get("EXPSTART")
            own = model.meta.exposure.start_time
            problem = ""
            if axes != 4:
                problem = f"SCI has {axes} axes, a raw exposure (*_uncal.fits) has 4"
            elif detector != model.meta.instrument.detector:
                problem = (
                    f"DETECTOR is {detector or 'missing'}, that of {model.meta.filename} is "
                    f"{model.meta.instrument.detector}"
                )
            elif not isinstance(start, float | int) or own is None or not start < own:
                problem = (
                    f"EXPSTART is {start}, that of {model.meta.filename} is {own}: it was not "
                    "exposed before"
                )
            if problem:
                raise CeersError(f"{path}: {problem}. Take it out of earlier_exposures.")
    except NotWholeError as err:
        raise CeersError(
            f"{path}: not readable ({err}). Fetch it again, or take it out of earlier_exposures."
        ) from err
