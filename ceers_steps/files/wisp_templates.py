"""Where the wisp templates are, and reading them."""

import logging
import os
from pathlib import Path

import numpy as np

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import read_image

__all__ = [
    "AFFECTED_DETECTORS",
    "AFFECTED_FILTERS",
    "TEMPLATE_VARIABLE",
    "effective_filter",
    "find_templates",
    "read_templates",
]

log = logging.getLogger(__name__)

AFFECTED_DETECTORS = ("NRCA3", "NRCA4", "NRCB3", "NRCB4")
"""The detectors on which wisps fall."""

AFFECTED_FILTERS = ("F150W", "F150W2", "F182M", "F200W", "F210M")
"""Filters with bright wisps: to go on without a template is an error."""

TEMPLATE_VARIABLE = "NIRCAM_WISP_TEMPLATES"
"""Environment variable with directories of templates, separated as in PATH."""


def effective_filter(filter_name, pupil):
    """Return the name of the filter that decides: one in the pupil wheel beats its host.

    Parameters
    ----------
    filter_name, pupil : str
        FILTER and PUPIL of the exposure.

    Returns
    -------
    str
        ``F162M`` for F150W2 with F162M in the pupil wheel, else FILTER.
    """
    pupil = (pupil or "").upper()
    is_filter = pupil.startswith("F") and pupil[1:4].isdigit()
    return pupil if is_filter else (filter_name or "").upper()


def find_templates(detector, filter_name, template_dir):
    """Find the template of a detector and filter, with further components if there are any.

    Parameters
    ----------
    detector, filter_name : str
        As returned by `effective_filter`.
    template_dir : str or None
        Directory that is searched before those of ``$NIRCAM_WISP_TEMPLATES``.

    Returns
    -------
    list of Path
        ``wisps_<detector>_<FILTER>.fits`` and, beside it, ``..._1.fits``, ``..._2.fits`` and so
        on. Empty if there is none and the filter is not one of `AFFECTED_FILTERS`.

    Raises
    ------
    CeersError
        If there is none and the filter is one of `AFFECTED_FILTERS`.
    """
    stem = f"wisps_{detector.lower()}_{filter_name}"
    listed = os.environ.get(TEMPLATE_VARIABLE, "").split(os.pathsep)
    directories = [Path(name) for name in (template_dir, *listed) if name]
    for directory in directories:
        found = [directory / f"{stem}.fits"]
        if not found[0].is_file():
            continue
        while (further := directory / f"{stem}_{len(found)}.fits").is_file():
            found.append(further)
        return found
    if filter_name not in AFFECTED_FILTERS:
        return []
    searched = ", ".join(map(str, directories)) or f"none: ${TEMPLATE_VARIABLE} is not set either"
    raise CeersError(
        f"Wisp template {stem}.fits not found (template_dir={template_dir}; directories searched: "
        f"{searched}). Set template_dir or ${TEMPLATE_VARIABLE} to the directory that holds it, or "
        "skip the step for this exposure (skip=True, or skip_wispsub in the overrides table)."
    )


def read_templates(paths, model):
    """Read templates into one stack of components.

    Parameters
    ----------
    paths : list of path
        FITS files; the first image in each counts: ``(ny, nx)``, or ``(k, ny, nx)`` components.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure.

    Returns
    -------
    stack : ndarray
        ``(n_components, ny, nx)`` in DN/s, float32.
    start : tuple of int
        ``(y, x)`` from 0 at which the exposure begins in it.

    Raises
    ------
    CeersError
        If a file cannot be read, holds no image, is of another size than the first or does not
        cover the exposure.
    """
    stacks = []
    for path in paths:
        image = read_image(path, f"Wisp template {path}")
        if image is None or image.ndim not in (2, 3):
            found = "no image" if image is None else f"an image of shape {image.shape}"
            raise CeersError(f"Wisp template {path} holds {found}; wanted is (y, x) or (k, y, x).")
        stacks.append(image.astype(np.float32).reshape(-1, *image.shape[-2:]))
        if stacks[-1].shape[1:] != stacks[0].shape[1:]:
            raise CeersError(
                f"Wisp template {path} has {stacks[-1].shape[1:]} pixels (y, x), {paths[0]} "
                f"{stacks[0].shape[1:]}: give templates of one size."
            )
    stack = np.concatenate(stacks) if len(stacks) > 1 else stacks[0]
    size, shape, subarray = stack.shape[1:], model.data.shape[-2:], model.meta.subarray
    if size == shape:
        return stack, (0, 0)  # made for this subarray
    start = ((subarray.ystart or 1) - 1, (subarray.xstart or 1) - 1)
    if any(at + n > whole for at, n, whole in zip(start, shape, size, strict=True)):
        raise CeersError(
            f"Wisp template {paths[0]} has {size} pixels (y, x) and does not cover "
            f"{model.meta.filename} with {shape} at {start}: give a full-frame template."
        )
    return stack, start
