"""What can be the grid of a mosaic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["GRID", "GridSettings", "grid_problem"]


@dataclass(frozen=True)
class GridSettings:
    """What a grid may be; choices, far beyond any mosaic that is made."""

    largest: int = 10_000_000_000
    """Pixels of a grid, at most: above, one plane of a mosaic takes over 40 GB."""
    pixel_scales: tuple[float, float] = (0.001, 10.0)
    """Smallest and largest side of a pixel, arcsec."""
    ratios: tuple[float, float] = (0.01, 100.0)
    """Smallest and largest side of a pixel, in pixels of the exposures."""
    farthest: float = 1e7
    """Pixels from the first one to the tangent point, at most: at 0.03 arcsec they are 83
    degrees."""


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
    if rotation is not None and not math.isfinite(rotation):
        return f"rotation is {rotation}, not finite"
    limits = [
        ("pixel_scale", pixel_scale, GRID.pixel_scales, " arcsec"),
        ("pixel_scale_ratio", pixel_scale_ratio, GRID.ratios, ""),
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
