"""Where the wisp templates are, and reading them."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import open_fits, user_path
from ceers_steps.files.limits import why_no_file
from ceers_steps.files.membership import is_rate_unit
from ceers_steps.files.wisps.package import NAME_OF_PACKAGE, package_file
from ceers_steps.names import TEMPLATE_VARIABLE, effective_filter

if TYPE_CHECKING:
    from stdatamodels.jwst.datamodels import JwstDataModel

__all__ = [
    "AFFECTED_DETECTORS",
    "AFFECTED_FILTERS",
    "WispTemplates",
    "check_places",
    "find_templates",
    "read_components",
    "read_templates",
]

log = logging.getLogger(__name__)

AFFECTED_DETECTORS = ("NRCA3", "NRCA4", "NRCB3", "NRCB4")
"""The detectors on which wisps fall."""

AFFECTED_FILTERS = ("F150W", "F150W2", "F162M", "F182M", "F200W", "F210M")
"""Filters with bright wisps: to go on without a template is an error."""

BRIGHTEST, LARGEST, LEAST = 10.0, 1e4, 1e-6
"""DN/s: of one pixel in a thousand of a template, of any, and of the brightest, at least; those of
NMFwisp have 0.03 and less, bad pixels more."""

FEWEST = 1000
"""Pixels with a value in a template."""

INSTALL = "pip install 'ceers_steps[wisps]'"
"""What brings templates of all detectors and filters with wisps."""


@dataclass(frozen=True)
class WispTemplates:
    """Templates of the wisp of an exposure, as they were read.

    Attributes
    ----------
    components : ndarray
        ``(k, ny, nx)`` in DN/s, float32.
    start : tuple of int
        ``(y, x)`` from 0 at which the exposure begins in them.
    errors : tuple of ndarray or None
        ``(ny, nx)`` standard error of each component, in DN/s; None where the file has none.
    frame : {'flat', 'raw'}
        Whether the flat field is divided out of them (flat) or not (raw).
    """

    components: NDArray[np.float32]
    errors: tuple[NDArray[np.float32] | None, ...]
    start: tuple[int, int]
    frame: str


def find_templates(
    detector: str, filter_name: str, template_dir: str | os.PathLike | None
) -> list[Path]:
    """Find the template of a detector and filter, with further components if there are any.

    Own templates win: those of `template_dir`, then those of ``$NIRCAM_WISP_TEMPLATES``, then
    those of the package nmfwisp, where it is installed.

    Parameters
    ----------
    detector, filter_name : str
        As returned by `~ceers_steps.names.effective_filter`.
    template_dir : str or None
        Directory that is searched first.

    Returns
    -------
    list of Path
        ``wisps_<detector>_<FILTER>.fits`` and, beside it, ``..._1.fits``, ``..._2.fits`` and so
        on; or a file as STScI or NMFwisp name it.  Empty if there is none and the filter is not
        one of `AFFECTED_FILTERS`.

    Raises
    ------
    CeersError
        If there is none and the filter is one of `AFFECTED_FILTERS`, or template_dir is no
        directory.
    """
    listed = os.environ.get(TEMPLATE_VARIABLE, "").split(os.pathsep)
    directories = [user_path(name) for name in (template_dir, *listed) if name]
    check_places(template_dir)
    for directory in directories:
        if found := _in_directory(directory, detector, filter_name):
            return found
    packaged = package_file(detector, filter_name)
    if packaged is not None:
        return [packaged]
    if filter_name not in AFFECTED_FILTERS:
        return []
    searched = ", ".join(map(str, directories)) or f"none: ${TEMPLATE_VARIABLE} is not set either"
    raise CeersError(
        f"Wisp template wisps_{detector.lower()}_{filter_name}.fits not found "
        f"(template_dir={template_dir}; directories searched: {searched}; the package "
        f"{NAME_OF_PACKAGE} is not installed or has none). Install the package: {INSTALL}; or set "
        f"template_dir or ${TEMPLATE_VARIABLE} to the directory that holds it, or skip the step "
        "for this exposure (skip=True, or skip_wispsub in the overrides table)."
    )


def check_places(
    template_dir: str | os.PathLike | None, templates: Sequence[str | os.PathLike] | None = None
) -> None:
    """Raise an error if what a user names is not there, whatever the exposure needs.

    Parameters
    ----------
    template_dir : str or None
        Directory of templates.
    templates : sequence of str, optional
        Files.

    Raises
    ------
    CeersError
        Naming the parameter and what is not there.
    """
    if template_dir and not os.path.isdir(directory := user_path(template_dir)):
        raise CeersError(
            f"template_dir={template_dir}: no such directory ({directory.absolute()}). Give "
            "the one that holds the wisp templates, or leave it out to use "
            f"${TEMPLATE_VARIABLE}, or the package {NAME_OF_PACKAGE}."
        )
    for path in templates or ():
        if reason := why_no_file(user_path(path)):
            raise CeersError(
                f"Wisp template {path} of templates {reason}. Give the files of the wisp "
                "templates, or leave it out to use those of the detector and filter."
            )


def _in_directory(directory: Path, detector: str, filter_name: str) -> list[Path]:
    """Return the templates in a directory: by our names, by STScI's, by NMFwisp's."""
    stem = f"wisps_{detector.lower()}_{filter_name}"
    found = [directory / f"{stem}.fits"]
    if found[0].is_file():
        while (further := directory / f"{stem}_{len(found)}.fits").is_file():
            found.append(further)
        return found
    others = [directory / f"WISP_{detector.upper()}_{filter_name}_CLEAR.fits"]
    # with a filter in the pupil wheel, its host stands first in STScI's names
    others += sorted(directory.glob(f"WISP_{detector.upper()}_*_{filter_name}.fits"))
    name = f"{detector}_{filter_name}_wisp.fits".lower()
    others += [directory / name, directory / f"{name}.gz"]
    return [path for path in others if path.is_file()][:1]


def read_templates(paths: Sequence[str | os.PathLike], model: "JwstDataModel") -> WispTemplates:
    """Read templates into one stack of components.

    Parameters
    ----------
    paths : list of path
        FITS files with one image, ``(ny, nx)`` or ``(k, ny, nx)`` components; with images WISP_0,
        WISP_1 and so on, each a component, as NMFwisp has them (512 x 512: block means of 4 x 4
        pixels, which are interpolated); or with an image RATE, as STScI has them.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`
        The exposure.

    Returns
    -------
    WispTemplates
        All components.

    Raises
    ------
    CeersError
        If a file cannot be read, holds no image or several of other names, is in another unit
        than DN/s, has infinite or no values, is of another size or frame than the first or does
        not cover the exposure.
    """
    stacks, frames = [], []
    errors: list[NDArray[np.float32] | None] = []
    for path in paths:
        stack, error, frame = read_components(path, model)
        stacks.append(stack)
        frames.append(frame)
        errors += [error] * len(stack)
        if frame != frames[0]:
            raise CeersError(
                f"Wisp templates {paths[0]} and {path}: the flat is divided out of one of them "
                "only (an image RATE of STScI has it in). Give templates of one kind."
            )
        if stacks[-1].shape[1:] != stacks[0].shape[1:]:
            raise CeersError(
                f"Wisp template {path} has {stacks[-1].shape[1:]} pixels (y, x), {paths[0]} "
                f"{stacks[0].shape[1:]}: give templates of one size."
            )
    stack = np.concatenate(stacks) if len(stacks) > 1 else stacks[0]
    size, shape, subarray = stack.shape[1:], model.data.shape[-2:], model.meta.subarray
    if size == shape:
        return WispTemplates(stack, tuple(errors), (0, 0), frames[0])  # made for this subarray
    start = ((subarray.ystart or 1) - 1, (subarray.xstart or 1) - 1)
    if any(at + n > whole for at, n, whole in zip(start, shape, size, strict=True)):
        raise CeersError(
            f"Wisp template {paths[0]} has {size} pixels (y, x) and does not cover "
            f"{model.meta.filename} with {shape} at {start}: give a full-frame template."
        )
    return WispTemplates(stack, tuple(errors), start, frames[0])


def read_components(
    path: str | os.PathLike,
    model: "JwstDataModel | None" = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, str]:
    """Read the components in one file.

    Parameters
    ----------
    path : path
        As those of `read_templates`.
    model : `~stdatamodels.jwst.datamodels.JwstDataModel`, optional
        The exposure: the file must not say that it is of another detector.

    Returns
    -------
    components : ndarray
        ``(k, ny, nx)`` in DN/s.
    error : ndarray or None
        ``(ny, nx)`` standard error of each component; None where the file has none.
    frame : {'flat', 'raw'}
        Whether the flat field is divided out of them (flat) or not (raw).

    Raises
    ------
    CeersError
        As `read_templates`.
    """
    with open_fits(path, f"Wisp template {path}") as hdus:
        if model is not None:
            _check_origin(path, hdus[0].header, model)
        found = [
            (hdu.name or "without a name", hdu.data, str(hdu.header.get("BUNIT", "")))
            for hdu in hdus
            # the masks of NMFwisp are not needed, and large
            if hdu.is_image and not hdu.name.startswith("MASK") and hdu.data is not None
        ]
    images = {name: (data, unit) for name, data, unit in found}
    if len(images) < len(found):
        names = [name for name, _, _ in found]
        raise CeersError(
            f"Wisp template {path} holds several images of one name ({', '.join(names)}): which "
            "one is the template? Give a file with that image alone."
        )
    names = [name for name in images if re.fullmatch(r"WISP_\d+", name)]
    names = sorted(names, key=lambda name: int(name[5:]))
    if not names:
        if "RATE" in images:
            names = ["RATE"]
        elif len(images) == 1:
            names = list(images)
        elif images:
            raise CeersError(
                f"Wisp template {path} holds several images ({', '.join(images)}), none of them "
                "RATE or WISP_0: which one is the template? Give a file with that image alone."
            )
        else:
            raise CeersError(f"Wisp template {path} holds no image; wanted is (y, x) or (k, y, x).")
    components = []
    for name in names:
        image, unit = images[name]
        if image.ndim not in (2, 3):
            raise CeersError(
                f"Wisp template {path} holds an image of shape {image.shape}; wanted is (y, x) or "
                "(k, y, x)."
            )
        _check_unit(path, name, unit)
        image = image.astype(np.float32).reshape(-1, *image.shape[-2:])
        _check_values(path, name, image)
        components.append(image)
    stack = np.concatenate(components) if len(components) > 1 else components[0]
    error = None
    if names[0].startswith("WISP_") and "ERR" in images:
        error = images["ERR"][0].astype(np.float32)
        # comparisons with NaN are false: only what is known must be sound
        if (error < 0).any() or (error > LARGEST).any() or not np.isfinite(error).any():
            raise CeersError(
                f"Wisp template {path}: ERR has negative, infinite, huge or no values, which no "
                "standard error has. The file is damaged: get it again."
            )
        if error.shape != stack.shape[1:]:
            raise CeersError(
                f"Wisp template {path}: ERR has {error.shape} pixels (y, x), {names[0]} "
                f"{stack.shape[1:]}. The file is not whole: get it again."
            )
    coarse = names[0].startswith("WISP_") or "_persistence.fits" in os.path.basename(path)
    if stack.shape[1:] == (512, 512) and coarse:
        stack = np.stack([_enlarge(image, 4) for image in stack])
        if error is not None:
            error = np.sqrt(_enlarge(error**2, 4, power=2))
    # STScI subtracts RATE from rate images as they are, before any flat
    return stack, error, "raw" if names == ["RATE"] else "flat"


def _check_origin(path: str | os.PathLike, header: Any, model: "JwstDataModel") -> None:
    """Raise `CeersError` for a template of another detector; warn of one of another filter."""
    instrument = model.meta.instrument
    for keyword, own in (("INSTRUME", instrument.name), ("DETECTOR", instrument.detector)):
        given = str(header.get(keyword) or own).strip().upper()
        if own and given != own:
            raise CeersError(
                f"Wisp template {path} is that of {keyword}={given}, {model.meta.filename} is of "
                f"{own}. Wisps differ from detector to detector: give its own template."
            )
    wheels = [str(header.get(keyword) or "").strip().upper() for keyword in ("FILTER", "PUPIL")]
    own = effective_filter(instrument.filter or "", instrument.pupil or "")
    if own and wheels[0] and (given := effective_filter(*wheels)) != own:
        log.warning(
            "%s: wisp template %s is that of %s, not of %s", model.meta.filename, path, given, own
        )


def _check_unit(path: str | os.PathLike, name: str, unit: str) -> None:
    """Raise `CeersError` for an image in another unit than DN/s."""
    if is_rate_unit(unit):
        return
    remedy = "Divide it by PHOTMJSR of its detector and filter, or give the image RATE."
    if "jy" not in unit.lower():
        remedy = "Convert it, and write BUNIT = DN/s, or none."
    raise CeersError(f"Wisp template {path}, image {name}, is in {unit}; wanted is DN/s. {remedy}")


def _check_values(path: str | os.PathLike, name: str, image: NDArray[np.float32]) -> None:
    """Raise `CeersError` for an image ``(k, ny, nx)`` whose values are those of no wisp."""
    for component in image:
        known = component[~np.isnan(component)]
        if np.isinf(known).any() or known.size == 0 or np.ptp(known) == 0:
            raise CeersError(
                f"Wisp template {path}, image {name}, has infinite values, no value or only one "
                "value: it holds no wisp. Give another template."
            )
        finite = np.abs(known)
        bright = np.partition(finite, -1 - finite.size // 1000)[-1 - finite.size // 1000]
        if bright > BRIGHTEST or finite.max() > LARGEST or finite.max() < LEAST:
            raise CeersError(
                f"Wisp template {path}, image {name}, has values of {bright:.3g} (its brightest "
                f"thousandth) to {finite.max():.3g}: wisps have less than 1 DN/s, and more than "
                f"{LEAST:g}. Give a template in DN/s."
            )
        if finite.size < FEWEST:
            raise CeersError(
                f"Wisp template {path}, image {name}, has values in {finite.size} pixels only, at "
                f"least {FEWEST} are needed. Give another template."
            )


def _enlarge(image: NDArray[np.float32], factor: int, power: int = 1) -> NDArray[np.float32]:
    """Interpolate means over blocks of pixels linearly to the pixels, between block centres.

    With a power of 2 the image is the variance of independent means; returned is that of what is
    interpolated between them.
    """
    for axis in (0, 1):
        size = image.shape[axis]
        place = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.minimum(place.astype(int), size - 2)
        weight = (place - low).astype(np.float32)
        weight = weight[:, np.newaxis] if axis == 0 else weight
        first, second = np.take(image, low, axis), np.take(image, low + 1, axis)
        image = first * (1 - weight) ** power + second * weight**power
    return image
