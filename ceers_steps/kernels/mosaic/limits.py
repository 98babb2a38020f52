"""What can be the grid of a mosaic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "GRID",
    "GridSettings",
    "drizzle_problem",
    "grid_problem",
]


@dataclass(frozen=True)
class GridSettings:
    """What a grid may be; choices, far beyond any mosaic that is made."""

    largest: int = 10_000_000_000
    """Pixels of a grid, at most: above, one plane of a mosaic takes over 40 GB."""
    pixel_scales: tuple[float, float] = (0.001, 10.0)
    """Smallest and largest side of a pixel, arcsec."""
    ratios: tuple[float, float] = (0.01, 100.0)
    """Smallest and largest side of a pixel, in pixels of the exposures."""
    rotations: tuple[float, float] = (-360.0, 360.0)
    """Smallest and largest angle of the y axis, deg."""
    farthest: float = 1e7
    """Pixels from the first one to the tangent point, at most: at 0.03 arcsec they are 83
    degrees."""
    farthest_sky: float = 30.0
    """Degrees from an exposure to the tangent point, at most: there a pixel of 0.03 arcsec is drawn
    out to 1.15 times its width and 1.33 times its height, and the mosaic with it."""


GRID = GridSettings()


def grid_problem(
    *,
    crpix: Sequence[float] | None = None,
    crval: Sequence[float] | None = None,
    rotation: float | None = None,
    pixel_scale: float | None = None,
    pixel_scale_ratio: float | None = None,
    output_shape: Sequence[float] | None = None,
) -> str:
    """Say what keeps values from being the grid of a mosaic.

    Parameters
    ----------
    crpix
        x and y of the tangent point, pixels.
    crval
        RA and Dec of the tangent point, deg.
    rotation
        Of the y axis, deg.
    pixel_scale
        Side of a pixel, arcsec.
    pixel_scale_ratio
        Side of a pixel, in pixels of the exposures.
    output_shape
        Number of pixels, ``(nx, ny)``.

    Returns
    -------
    str
        Empty when nothing does; what is None is not looked at.
    """
    for name, numbers in (("crpix", crpix), ("crval", crval)):
        if numbers is not None and not all(math.isfinite(number) for number in numbers):
            return f"{name} is {', '.join(map(str, numbers))}, not finite"
    if crpix is not None and max(map(abs, crpix)) > GRID.farthest:
        return f"crpix {', '.join(map(str, crpix))} is more than {GRID.farthest:.0e} pixels away"
    limits = [
        ("pixel_scale", pixel_scale, GRID.pixel_scales, " arcsec"),
        ("pixel_scale_ratio", pixel_scale_ratio, GRID.ratios, ""),
        ("rotation", rotation, GRID.rotations, " deg"),
    ]
    for name, value, (low, high), unit in limits:
        if value is not None and not low <= value <= high:
            return f"{name} {value}{unit} is not from {low} to {high}"
    if crval is not None and not -90 <= crval[1] <= 90:
        return f"the Dec of crval, {crval[1]} deg, is not from -90 to 90"
    if output_shape is not None:
        nx, ny = output_shape
        if nx < 1 or ny < 1:
            return f"{nx} x {ny} pixels (nx, ny) are no image"
        if nx * ny > GRID.largest:
            return f"{nx} x {ny} pixels (nx, ny) are more than {GRID.largest:.0e}"
    return ""


def drizzle_problem(
    *,
    pixfrac: float = 1.0,
    pixmap_stepsize: float = 1.0,
    pixmap_order: int = 1,
    weight_type: str | None = "ivm",
) -> str:
    """Say what keeps parameters of the drizzle from being used.

    Parameters
    ----------
    pixfrac
        Side of the drop, in pixels of the exposures.
    pixmap_stepsize
        Pixels between two whose place is worked out, 1 for all.
    pixmap_order
        Of the interpolation between them.
    weight_type
        What exposures are weighted by.

    Returns
    -------
    str
        Empty when nothing does.
    """
    if not 0 <= pixfrac <= 1:
        return f"pixfrac {pixfrac} is not from 0 to 1"
    if not 1 <= pixmap_stepsize < math.inf:
        return f"pixmap_stepsize {pixmap_stepsize} is not a number from 1 (every pixel) up"
    if pixmap_order not in (1, 3):
        return f"pixmap_order {pixmap_order} is neither 1 nor 3"
    if weight_type is None:
        return "weight_type None: stcal weights by 'ivm' or 'exptime'"
    return ""
