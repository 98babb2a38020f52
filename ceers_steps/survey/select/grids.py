"""The pixels of a mosaic: chosen to cover exposures, or taken from a table or another mosaic."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asdf
import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from shapely import MultiPoint

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import asdf_tree_problem, check_regular
from ceers_steps.files.parameter_files import list_parameter_files, parameter_files_dir
from ceers_steps.kernels.mosaic.limits import GRID, grid_problem
from ceers_steps.survey.select.footprints import Positions, sky_center, to_plane, to_sky

__all__ = ["Grid", "check_size", "find_grid", "fit_grid", "grid_table"]

PUBLISHED = "dr05/mosaic_grids.ecsv"
"""Packaged table of the grids of CEERS NIRCam DR0.5."""

COLUMNS = ("grid", "crpix1", "crpix2", "nx", "ny", "crval1", "crval2", "rotation", "pixel_scale")
"""Columns of a table of grids."""

STEP = 10
"""Shapes that are chosen are multiples of this (pixels)."""


@dataclass(frozen=True)
class Grid:
    """Square pixels in a tangent plane, as the parameters of jwst's resample give them.

    Attributes
    ----------
    crpix : tuple of float
        x and y of the tangent point, pixels counted from 0.
    crval : tuple of float
        RA and Dec of the tangent point, deg.
    rotation : float
        Position angle of the y axis, deg east of north.
    pixel_scale : float
        Side of a pixel at the tangent point, arcsec.
    pixel_shape : tuple of int
        (nx, ny), as in gwcs.
    """

    crpix: tuple[float, float]
    crval: tuple[float, float]
    rotation: float
    pixel_scale: float
    pixel_shape: tuple[int, int]

    def problem(self) -> str:
        """Say what keeps this from being the grid of an image; empty when nothing does."""
        return grid_problem(
            crpix=self.crpix,
            crval=self.crval,
            rotation=self.rotation,
            pixel_scale=self.pixel_scale,
            output_shape=self.pixel_shape,
        )

    def to_pixel(self, positions: Positions) -> Positions:
        """Return the pixels (n, 2), counted from 0, of RA and Dec (n, 2) in deg."""
        plane = to_plane(positions, self.crval)
        # the matrix is symmetric
        return plane @ self._matrix() * 3600 / self.pixel_scale + self.crpix

    def covers(self, polygon: Positions) -> bool:
        """Say whether all corners (n, 2), RA and Dec in deg, are on the grid."""
        pixels = self.to_pixel(polygon)
        return bool(np.all((pixels > -0.5) & (pixels < np.array(self.pixel_shape) - 0.5)))

    def parameters(self) -> dict:
        """Return the parameters of jwst's resample step."""
        return {
            "crpix": list(self.crpix),
            "crval": list(self.crval),
            "rotation": self.rotation,
            "pixel_scale": self.pixel_scale,
            "output_shape": list(self.pixel_shape),
        }

    def to_asdf(self) -> bytes:
        """Return an ASDF file with the gwcs, which ``resample.output_wcs`` of jwst takes."""
        tree = {
            "wcs": self._gwcs(),
            "pixel_scale": self.pixel_scale,
            "pixel_area": self.pixel_scale**2,
            "pixel_shape": list(self.pixel_shape),
            "array_shape": list(self.pixel_shape[::-1]),
        }
        buffer = io.BytesIO()
        asdf.AsdfFile(tree).write_to(buffer)
        return buffer.getvalue()

    def _matrix(self) -> NDArray[np.float64]:
        """Return PC: the plane's (xi, eta) of (x, y). It is its own inverse."""
        cos, sin = np.cos(np.radians(self.rotation)), np.sin(np.radians(self.rotation))
        return np.array([[-cos, sin], [sin, cos]])

    def _gwcs(self) -> Any:
        """Return the WCS, of the form that jwst's resample makes of the parameters."""
        import gwcs
        from astropy import units
        from astropy.coordinates import ICRS
        from astropy.modeling.models import Pix2Sky_TAN
        from gwcs import coordinate_frames as frames

        transform = gwcs.FITSImagingWCSTransform(
            Pix2Sky_TAN(),
            crpix=self.crpix,
            crval=self.crval,
            cdelt=[self.pixel_scale / 3600] * 2,
            pc=self._matrix(),
        )
        pixels = frames.Frame2D(name="detector", axes_order=(0, 1), unit=(units.pix, units.pix))
        sky = frames.CelestialFrame(name="world", reference_frame=ICRS(), unit=(units.deg,) * 2)
        wcs = gwcs.WCS([(pixels, transform), (sky, None)])
        nx, ny = self.pixel_shape
        wcs.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
        wcs.pixel_shape = self.pixel_shape
        return wcs


def check_size(grid: Grid, group: str, n_exposures: int) -> Grid:
    """Return a grid that was fitted to a group, unless the exposures are far apart.

    Raises
    ------
    CeersError
        When it has more pixels than any mosaic.
    """
    nx, ny = grid.pixel_shape
    if nx * ny > GRID.largest:
        raise CeersError(
            f"{group}: the grid that covers its {n_exposures} exposures would have {nx} x {ny} "
            "pixels. Are they of one field? Combine less with --by pointing, or give coarser "
            "pixels with --pixel-scale, or a grid with --grid."
        )
    return grid


def fit_grid(
    polygons: Sequence[Positions],
    *,
    pixel_scale: float = 0.03,
    rotation: float | None = None,
    margin: float = 2.0,
) -> Grid:
    """Choose a grid that covers footprints.

    Parameters
    ----------
    polygons
        Corners (n, 2), RA and Dec in deg.
    pixel_scale
        arcsec.
    rotation
        Position angle of the y axis, deg. None takes that of the smallest rectangle around
        all footprints, with its longer side along x and north in the upper half.
    margin
        Left around the footprints, arcsec: alignment may move exposures by some tenths, and
        edges of detectors are a little curved.

    Returns
    -------
    Grid
        With the tangent point (rounded to 1e-4 deg) in the middle of the grid, between pixels.

    Raises
    ------
    CeersError
        For footprints that are not on one half of the sky, and for a scale or rotation that no
        image has.
    """
    low, high = GRID.pixel_scales
    if not low <= pixel_scale <= high:
        raise CeersError(
            f"--pixel-scale {pixel_scale}: give arcsec from {low:g} to {high:g}, 0.03 for instance."
        )
    if rotation is not None and not -360 <= rotation <= 360:
        raise CeersError(f"--rotation {rotation}: give degrees from -360 to 360.")
    corners = np.concatenate(polygons)
    center = sky_center(polygons)
    plane = to_plane(corners, center)
    if not np.isfinite(plane).all():
        raise CeersError(
            "The exposures are all over the sky: no grid covers them. Combine less with "
            "--by pointing."
        )
    if rotation is None:
        rotation = _rectangle_rotation(plane)
    matrix = Grid((0, 0), center, rotation, pixel_scale, (1, 1))._matrix()
    turned = plane @ matrix
    middle = matrix @ ((turned.min(axis=0) + turned.max(axis=0)) / 2)
    ra, dec = to_sky(float(middle[0]), float(middle[1]), center)
    # turned about the new tangent point, not the old one: at high declinations north differs
    grid = Grid((0, 0), (round(ra, 4), round(dec, 4)), rotation, pixel_scale, (1, 1))
    half = np.abs(grid.to_pixel(corners)).max(axis=0) + margin / pixel_scale
    nx, ny = (int(np.ceil(2 * half_side / STEP)) * STEP for half_side in half)
    return Grid(((nx - 1) / 2, (ny - 1) / 2), grid.crval, rotation, pixel_scale, (nx, ny))


def _rectangle_rotation(plane: NDArray[np.float64]) -> float:
    """Return the rotation (deg, to 0.1) of the smallest rectangle around points (n, 2)."""
    rectangle = MultiPoint(plane).minimum_rotated_rectangle
    if rectangle.geom_type != "Polygon":
        return 0.0  # the points are on one line
    corners = np.asarray(rectangle.exterior.coords)
    sides = np.diff(corners[:3], axis=0)
    x_axis = sides[int(np.argmax(np.hypot(*sides.T)))]
    # the x axis points to (-cos, sin) of the rotation in the plane
    rotation = round(float(np.degrees(np.arctan2(x_axis[1], -x_axis[0]))), 1)
    # either end may be up: take the one nearer north
    return round((rotation + 90) % 180 - 90, 1)


def find_grid(given: str, group: str) -> Grid:
    """Return a grid that the user names.

    Parameters
    ----------
    given
        Name of a published grid (``nircam1``, ``epoch1``); a table of grids (ECSV), also a
        packaged one (``dr05/mosaic_grids``), of which the row named as the group is taken, or
        the only one; an ASDF file with a ``wcs``; or a FITS mosaic with the grid.
    group
        Name of the group of exposures.

    Returns
    -------
    Grid
        The grid.

    Raises
    ------
    CeersError
        When there is none of that name, or the file does not give one.
    """
    path = Path(given)
    check_regular(path, f"--grid {given}")
    if path.is_dir():
        raise CeersError(f"--grid {given} is a folder. Give an ECSV, ASDF or FITS file.")
    if not path.is_file():
        published = _read_table(parameter_files_dir() / PUBLISHED)
        if given in published:
            return published[given]
        tables = [file for file in list_parameter_files() if file.name.endswith(".ecsv")]
        packaged = [
            file for file in tables if given in (file.name, file.name.removesuffix(".ecsv"))
        ]
        if not packaged:
            raise CeersError(
                f"--grid {given}: no such file, and no grid of that name. There are "
                f"{', '.join(published)}; or give an ECSV table, an ASDF or a FITS file."
            )
        path = packaged[0].path
    if path.suffix == ".ecsv":
        grids = _read_table(path)
        if group in grids or len(grids) == 1:
            return grids.get(group) or next(iter(grids.values()))
        raise CeersError(
            f"--grid {given}: no row {group!r}; there are {', '.join(grids)}. Add a row of that "
            "name, or give the name of a grid."
        )
    return _read_wcs(path)


def grid_table(grids: dict[str, Grid]) -> Table:
    """Return the table of grids by name that `find_grid` reads."""
    rows = [
        (name, *grid.crpix, *grid.pixel_shape, *grid.crval, grid.rotation, grid.pixel_scale)
        for name, grid in grids.items()
    ]
    table = Table(rows=rows, names=COLUMNS)
    table.meta["comments"] = [
        "0-based crpix, nx and ny in pixels, crval in deg, rotation of the y axis in deg east of "
        "north, pixel_scale in arcsec"
    ]
    return table


def _read_table(path: Path) -> dict[str, Grid]:
    """Read a table of grids."""
    try:
        table = Table.read(path, format="ascii.ecsv")
        grids = {
            str(row["grid"]): Grid(
                crpix=(float(row["crpix1"]), float(row["crpix2"])),
                crval=(float(row["crval1"]), float(row["crval2"])),
                rotation=float(row["rotation"]),
                pixel_scale=float(row["pixel_scale"]),
                pixel_shape=(int(row["nx"]), int(row["ny"])),
            )
            for row in table
        }
    except Exception as err:
        raise CeersError(
            f"--grid {path}: not a table of grids ({' '.join(str(err).split())}). It must be "
            f"ECSV with the columns {', '.join(COLUMNS)}."
        ) from err
    for name, grid in grids.items():
        if problem := grid.problem():
            raise CeersError(f"--grid {path}: row {name}: {problem}. Correct the table.")
    return grids


def _read_wcs(path: Path) -> Grid:
    """Read the grid of a mosaic, or of an ASDF file with a ``wcs``."""
    try:
        linear = _asdf_linear(path) if path.suffix == ".asdf" else _fits_linear(path)
    except (
        *(OSError, KeyError, AttributeError, TypeError, ValueError, IndexError, StopIteration),
    ) as err:
        raise CeersError(
            f"--grid {path}: no grid can be read from it ({type(err).__name__}: {err}). It must "
            "be a FITS mosaic with an image and a TAN WCS, or an ASDF file whose 'wcs' is a "
            "gwcs with pixel_shape and a FITSImagingWCSTransform."
        ) from err
    crpix, crval, matrix, shape = linear
    if not np.isfinite(matrix).all():
        raise CeersError(f"--grid {path}: its matrix (CD, or PC and CDELT) is not finite.")
    scale = float(np.sqrt(abs(np.linalg.det(matrix))))
    rotation = float(np.degrees(np.arctan2(matrix[0, 1], matrix[1, 1])))
    # the rounding errors of whoever wrote the file are left behind
    x, y = (round(float(value), 6) for value in crpix)
    grid = Grid((x, y), crval, round(rotation, 9), round(scale * 3600, 10), shape)
    if problem := grid.problem():
        raise CeersError(f"--grid {path}: {problem}. Give the file of a mosaic.")
    if not np.allclose(matrix, grid._matrix() * scale, atol=1e-6 * scale):
        raise CeersError(
            f"--grid {path}: its pixels are not square, or east is not to the left of north, "
            "which the parameters of resample cannot express. Give resample.output_wcs to the "
            "pipeline instead."
        )
    return grid


Linear = tuple[tuple[float, float], tuple[float, float], NDArray[np.float64], tuple[int, int]]
"""crpix from 0, crval (deg), matrix (deg per pixel), (nx, ny)."""


def _asdf_linear(path: str | os.PathLike) -> Linear:
    """Take apart the gwcs of an ASDF file."""
    if problem := asdf_tree_problem(Path(path)):
        raise ValueError(problem)
    with asdf.open(path, lazy_load=False, memmap=False) as file:
        wcs = file["wcs"]
        shape = wcs.pixel_shape or file.get("pixel_shape") or file["array_shape"][::-1]
        transform = wcs.forward_transform
        if transform.projection.prjprm.code != "TAN":
            raise ValueError(f"projection {transform.projection.prjprm.code} instead of TAN")
        matrix = np.asarray(transform.cdelt)[:, None] * np.asarray(transform.pc)
        x, y = map(float, np.asarray(transform.crpix))
        ra, dec = map(float, np.asarray(transform.crval))
    return (x, y), (ra, dec), matrix, (int(shape[0]), int(shape[1]))


def _fits_linear(path: str | os.PathLike) -> Linear:
    """Take apart the WCS of the first image of a FITS file."""
    with fits.open(path) as hdus:
        headers = [hdu.header for hdu in hdus if hdu.is_image]
    header = next(header for header in headers if header.get("NAXIS", 0) == 2)
    if header["CTYPE1"] != "RA---TAN":
        raise ValueError(f"CTYPE1 is {header['CTYPE1']} instead of RA---TAN")
    if "CD1_1" in header:
        matrix = np.array([[header.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)])
    else:
        pc = [[header.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
        matrix = np.array([[header["CDELT1"]], [header["CDELT2"]]]) * np.array(pc)
    crpix = (header["CRPIX1"] - 1, header["CRPIX2"] - 1)
    crval = (float(header["CRVAL1"]), float(header["CRVAL2"]))
    return crpix, crval, matrix, (header["NAXIS1"], header["NAXIS2"])
