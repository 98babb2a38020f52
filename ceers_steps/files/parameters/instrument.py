"""Which instrument a parameter file is for, and whether the input is of it."""

import os
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.headers.check import looks_of
from ceers_steps.files.limits import read_asdf_head

__all__ = ["check_instrument", "instrument_of"]


def instrument_of(path: str | os.PathLike) -> str:
    """Return the instrument that a parameter file says it is for; empty if it does not say.

    Parameters
    ----------
    path
        ASDF file, which may say it as those of CRDS do: ``meta: {instrument: {name: NIRCAM}}``.

    Returns
    -------
    str
        In capitals.
    """
    try:
        return str(read_asdf_head(Path(path))["meta"]["instrument"]["name"]).strip().upper()
    except (OSError, KeyError, TypeError, ValueError):
        return ""  # what is wrong with the file is reported by those that read its parameters


def check_instrument(path: str | os.PathLike, dataset: object, step_name: str) -> None:
    """Check that the input of a step is of the instrument that its parameter file is for.

    Parameters
    ----------
    path
        Parameter file.
    dataset
        As `check_input` takes it.
    step_name
        For the message.

    Raises
    ------
    CeersError
        When it is of another one: parameters that measure best on one detector do not on another.
    """
    wanted = instrument_of(path)
    if not wanted:
        return
    for exposure in looks_of(dataset, step_name):
        found = str(exposure.values.get("INSTRUME") or "").strip().upper()
        if found and found != wanted:
            raise CeersError(
                f"{step_name}: parameter file {path} is for {wanted} (meta.instrument.name), but "
                f"{exposure.name} is of {found}. Leave the file out, or give one for {found}: "
                "ceers params copies one to start from."
            )
