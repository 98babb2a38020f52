"""Wisp templates of the package nmfwisp, where it is installed (Wu et al. 2026, arXiv:2601.15958).

Only its data files are used; none of its code is imported.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["HOST_NOTE", "NAME_OF_PACKAGE", "package_file", "package_label", "persistence_file"]

NAME_OF_PACKAGE = "nmfwisp"

MADE_THROUGH = {"F162M": "F150W2", "F164N": "F150W2"}
"""Filters in the pupil wheel, and the host under whose name the package has their template.

Its F150W2 files are of exposures through F162M in the pupil wheel: the wisp in them is 0.48 to 0.64
times as bright as in F150W (A4, B3, B4), which the zero points of F162M predict for light of one
colour (0.5), while F150W2 alone would give 3.7.  F164N lies inside F162M.  (A3 has parts of its own
in every filter: 1.3.)"""


HOST_NOTE = " (made through F162M in the pupil wheel, see docs/steps/wispsub.md)"
"""What is said of the package's F150W2 files."""


def _folder() -> Path | None:
    """Return the folder of the templates; None where the package is not installed."""
    try:
        spec = find_spec(NAME_OF_PACKAGE)
    except ValueError:  # a module of that name that was made by hand
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "templates"
        if folder.is_dir():
            return folder
    return None


def package_file(detector: str, filter_name: str) -> Path | None:
    """Return the template of the package for a detector and filter.

    Parameters
    ----------
    detector : str
        As in the header, ``NRCB4``.
    filter_name : str
        The effective filter, ``F150W``.

    Returns
    -------
    Path or None
        The file in full resolution where there is one, else in quarter resolution; None where the
        package is not installed or has no template.
    """
    folder = _folder()
    if folder is None:
        return None
    detector = detector.lower()
    name = f"{detector}_{MADE_THROUGH.get(filter_name, filter_name).lower()}_wisp.fits"
    for resolution in (f"{detector}_org", detector):
        for ending in ("", ".gz"):
            path = folder / resolution / (name + ending)
            if path.is_file():
                return path
    return None


def persistence_file(detector: str) -> Path | None:
    """Return the persistence map of a detector in the package; None where it has none.

    Parameters
    ----------
    detector : str
        As in the header, ``NRCA3``.

    Returns
    -------
    Path or None
        An image in quarter resolution.
    """
    folder = _folder()
    if folder is None:
        return None
    name = detector.lower()
    for ending in ("", ".gz"):
        path = folder / name / f"{name}_persistence.fits{ending}"
        if path.is_file():
            return path
    return None


def package_label(path: Path) -> str:
    """Return name and version of the package that a template is part of.

    Parameters
    ----------
    path : Path
        A template.

    Returns
    -------
    str
        ``nmfwisp 1.1.4``; empty for a file that is not the package's.
    """
    folder = _folder()
    if folder is None or not path.is_relative_to(folder):
        return ""
    try:
        return f"{NAME_OF_PACKAGE} {version(NAME_OF_PACKAGE)}"
    except PackageNotFoundError:
        return f"{NAME_OF_PACKAGE} of unknown version"
