"""The raw exposures that a survey names."""

import glob
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.survey.config import SurveyConfig
from ceers_steps.survey.exposures import Exposure, find_files, read_exposures

__all__ = ["find_exposures"]


def find_exposures(config: SurveyConfig) -> tuple[list[Exposure], tuple[str, ...]]:
    """Find the raw exposures of a survey.

    Parameters
    ----------
    config
        The survey.

    Returns
    -------
    exposures : list of Exposure
        In the order of their names.
    notes : tuple of str
        What was left out.

    Raises
    ------
    CeersError
        When there is none, or a file cannot be used.
    """
    paths: list[Path] = []
    for entry in config.inputs:
        if entry.exists() or not glob.has_magic(str(entry)):
            paths.append(entry)
            continue
        found = [Path(name) for name in sorted(glob.glob(str(entry), recursive=True))]
        if not found:
            raise CeersError(f"inputs: no file is named like {entry}.")
        paths += found
    files, other_level = find_files(paths, "uncal")
    exposures, other_kind = read_exposures([path.absolute() for path in files])
    return exposures, tuple(note for note in (other_level, other_kind) if note)
