"""The grid of a mosaic: chosen as jwst does, and seen from a part of it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation
from astropy.modeling.models import Shift
from gwcs import WCS
from gwcs.fitswcs import FITSImagingWCSTransform
from jwst.resample.resample_utils import resampled_wcs_from_models
from numpy.typing import NDArray
from stcal.resample.utils import compute_mean_pixel_area

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import asdf_tree_problem, check_regular, why_no_file
from ceers_steps.files.parameters.texts import text_parameter_problem
from ceers_steps.kernels.mosaic.limits import GRID, drizzle_problem, grid_problem
from ceers_steps.kernels.mosaic.tiles import Box

__all__ = [
    "DRIZZLE_PARAMETERS",
    "GRID_PARAMETERS",
    "Window",
    "check_grid",
    "output_grid",
    "shifted_wcs",
]


class Window:
    """A WCS seen from a box of its image, as far as stcal looks at it."""

    def __init__(self, wcs: Any, box: Box) -> None:
        self._wcs = wcs
        self._x0, self._y0 = box.x0, box.y0
        self.array_shape = box.shape
        self.pixel_shape = box.shape[::-1]
        self.output_frame = wcs.output_frame
        self.bounding_box = None

    def pixel_to_world_values(self, x: NDArray, y: NDArray) -> Any:
        return self._wcs.pixel_to_world_values(x + self._x0, y + self._y0)

    def world_to_pixel_values(self, *sky: NDArray) -> tuple[NDArray, NDArray]:
        x, y = self._wcs.world_to_pixel_values(*sky)
        return x - self._x0, y - self._y0


GRID_PARAMETERS = (
    *("crpix", "crval", "rotation"),
    *("pixel_scale", "pixel_scale_ratio", "output_shape"),
)
"""Parameters of resample that lay out a grid."""

DRIZZLE_PARAMETERS = ("pixfrac", "pixmap_stepsize", "pixmap_order", "weight_type")
"""Those of how exposures are drizzled onto it."""


def check_grid(parameters: dict[str, Any]) -> None:
    """Refuse a grid that is none, before anything is read.

    Parameters
    ----------
    parameters
        Of ResampleStep: `GRID_PARAMETERS`, None where they are not given, ``output_wcs``,
        ``fillval`` and `DRIZZLE_PARAMETERS`.

    Raises
    ------
    CeersError
        Names the value.
    """
    if problem := grid_problem(**{name: parameters.get(name) for name in GRID_PARAMETERS}):
        raise CeersError(
            f"The output grid: {problem}. Correct {', '.join(GRID_PARAMETERS)} of resample."
        )
    drizzle = {name: parameters[name] for name in DRIZZLE_PARAMETERS if name in parameters}
    if problem := drizzle_problem(**drizzle):
        raise CeersError(f"resample: {problem}. Correct it, or leave it out.")
    fill = str(parameters.get("fillval") or "")
    if problem := text_parameter_problem("fillval", fill):
        raise CeersError(f"resample: fillval {fill!r}: {problem}. Correct it, or leave it out.")
    if path := parameters.get("output_wcs"):
        if problem := why_no_file(path):
            raise CeersError(f"output_wcs={path} {problem}. Give an ASDF file with a wcs.")
        check_regular(path, f"output_wcs={path}")
        if problem := asdf_tree_problem(Path(path)):
            raise CeersError(f"output_wcs={path} cannot be read ({problem}). Give an ASDF file.")


def output_grid(exposures: Any, custom: dict | None, pars: dict) -> dict[str, Any]:
    """Return WCS, pixel scale (arcsec) and ratio of the mosaic, as `ResampleImage` chooses them.

    Of the exposures the first is opened, the others count with their S_REGION.

    Parameters
    ----------
    exposures : Exposures
        Those of the mosaic.
    custom : dict or None
        Grid that is given: ``wcs``, and maybe ``pixel_scale`` and ``pixel_scale_ratio``.
    pars : dict
        Parameters of the grid, as ResampleStep has them.

    Returns
    -------
    dict
        ``wcs``, ``pixel_scale`` (arcsec) and ``pixel_scale_ratio``.
    """
    if custom is None:
        if pars["crval"] and (problem := _tangent_problem(pars["crval"], exposures.corners())):
            raise CeersError(
                f"The output grid: {problem}. Give a crval near the exposures, or leave it out."
            )
        scale = pars["pixel_scale"]
        try:
            wcs, _, scale, ratio = resampled_wcs_from_models(
                exposures, **{**pars, "pixel_scale": scale and scale / 3600}
            )
        except ValueError as err:
            given = ", ".join(f"{name}={pars[name]}" for name in GRID_PARAMETERS if pars[name])
            raise CeersError(
                f"The output grid cannot be laid out ({err.args[0]}). Check {given or 'S_REGION'}."
            ) from err
        ny, nx = wcs.array_shape
        if problem := grid_problem(output_shape=(nx, ny)):
            raise CeersError(
                f"The output grid: {problem}. Are the exposures of one field? Check crval, "
                "pixel_scale and pixel_scale_ratio."
            )
        return {"wcs": wcs, "pixel_scale": 3600 * scale, "pixel_scale_ratio": ratio}
    wcs, scale = custom["wcs"], custom.get("pixel_scale")
    if scale is None:
        scale = _side(compute_mean_pixel_area(wcs))
    ratio = custom.get("pixel_scale_ratio")
    if ratio is None:
        with exposures.opened(0) as first:
            area = first.meta.photometry.pixelarea_steradians
            ratio = scale / _side(area or compute_mean_pixel_area(first.meta.wcs, first.data.shape))
    return {"wcs": wcs, "pixel_scale": scale, "pixel_scale_ratio": ratio}


def _side(area: float) -> float:
    """Return the side (arcsec) of a square of so many steradians."""
    return 3600 * np.rad2deg(np.sqrt(area))


def _tangent_problem(crval: Sequence[float], places: Mapping[str, Sequence[float]]) -> str:
    """Say whether the tangent point is too far from an exposure; both RA and Dec, deg."""
    for name, (ra, dec) in places.items():
        distance = np.rad2deg(angular_separation(*np.deg2rad([*crval, ra, dec])))
        if distance > GRID.farthest_sky:
            return (
                f"crval {', '.join(map(str, crval))} (RA, Dec) is {distance:.0f} degrees from "
                f"{name} at {ra:.4f}, {dec:.4f}, more than {GRID.farthest_sky:.0f}"
            )
    return ""


def shifted_wcs(wcs: Any, box: Box) -> Any:
    """Return the WCS of a box of an image.

    Parameters
    ----------
    wcs : `~gwcs.wcs.WCS`
        Of the whole.
    box : Box
        Part of it.

    Returns
    -------
    `~gwcs.wcs.WCS`
        Of the part.
    """
    transform = wcs.forward_transform
    if isinstance(transform, FITSImagingWCSTransform):
        crpix = (transform.crpix[0] - box.x0, transform.crpix[1] - box.y0)
        others = {key: getattr(transform, key).value for key in ("crval", "cdelt", "pc")}
        moved = FITSImagingWCSTransform(transform.projection, crpix=crpix, **others)
        shifted = WCS([(wcs.input_frame, moved), (wcs.output_frame, None)])
    else:
        shifted = deepcopy(wcs)
        offset = Shift(box.x0) & Shift(box.y0)
        shifted.insert_transform(shifted.input_frame, offset, after=True)
    ny, nx = box.shape
    shifted.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    shifted.array_shape = box.shape
    return shifted
