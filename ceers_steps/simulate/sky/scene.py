"""What is on the sky, and its image on a detector."""

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.table import Row, Table

from ceers_steps.errors import CeersError
from ceers_steps.files.given.tables import read_table
from ceers_steps.simulate.config.simulation import SourceConfig
from ceers_steps.simulate.seeds import rng_for
from ceers_steps.simulate.sky.psf import OVERSAMPLING, point_spread_function
from ceers_steps.simulate.telescope.geometry import ExposureWcs
from ceers_steps.simulate.telescope.instrument import (
    Band,
    Detector,
    SubarrayWindow,
    import_galsim,
    zero_point,
)

__all__ = [
    "CATALOG_COLUMNS",
    "REFERENCE_WAVELENGTH",
    "RenderedSources",
    "make_catalog",
    "read_catalog",
    "render_sources",
]

REFERENCE_WAVELENGTH = 1.54
"""Wavelength (um) at which a catalogue gives magnitudes: F160W."""

CATALOG_COLUMNS = {
    "ra": "deg",
    "dec": "deg",
    "mag": "mag",
    "half_light_radius": "arcsec",
    "sersic_index": "",
    "axis_ratio": "",
    "position_angle": "deg",
    "spectral_slope": "",
    "star": "",
}
"""Columns of a catalogue with their units; all but the first three may be missing.

``half_light_radius`` is the geometric mean of the two axes, before the point spread function;
``position_angle`` is of the major axis, east of north; ``spectral_slope`` is the power of the
wavelength that the flux density (per frequency) goes with.
"""

_HST_PIXEL = 0.03  # arcsec, of the column `rh`
_HST_POINT_SOURCE = 3.5  # half-light radius of stars there, pixels
_FAINTEST = 1e-5  # DN/s: surface brightness at which an image of a source is cut off
_BIG = 40.0  # half-light radius, pixels, beyond which the point spread function is left out


def _sizes(mag: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half-light radii (arcsec) of galaxies: smaller when fainter, 0.2 dex scatter."""
    log_radius = np.log10(0.32) - 0.12 * (mag - 24) + rng.normal(0, 0.2, mag.size)
    return np.clip(10**log_radius, 0.02, 4.0)


def _draw_shapes(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "sersic_index": np.clip(rng.lognormal(np.log(1.2), 0.45, n), 0.5, 4.5).round(1),
        "axis_ratio": np.clip(rng.beta(3.0, 2.0, n), 0.15, 1.0),
        "position_angle": rng.uniform(0, 180, n),
        "spectral_slope": rng.normal(0.5, 0.6, n),
    }


def _draw_magnitudes(
    density: np.ndarray, grid: np.ndarray, number: float, rng: np.random.Generator
) -> np.ndarray:
    """Magnitudes that follow a density on a grid, `number` of them on average."""
    cumulative = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    uniform = rng.uniform(0, cumulative[-1], rng.poisson(number))
    return np.interp(uniform, cumulative, grid)


def make_catalog(
    ra: float, dec: float, seed: int, config: SourceConfig | None = None, *, radius: float = 200.0
) -> Table:
    """Make up the sources of a deep field.

    The whole field of view of NIRCam is covered, whichever detectors are simulated, so that the
    same seed and place give the same sky. Galaxies follow deep number counts (0.31 dex per
    magnitude, 0.2 beyond 26 AB), stars are as many at every magnitude.

    Parameters
    ----------
    ra, dec
        Middle of the field, deg.
    seed
        Seed of the random numbers.
    config
        Densities and limits of magnitude (AB, at `REFERENCE_WAVELENGTH`).
    radius
        Radius of the field, arcsec.

    Returns
    -------
    Table
        The columns of `CATALOG_COLUMNS`, brightest first.
    """
    config = config or SourceConfig()
    rng = rng_for(seed, "catalog")
    area = np.pi * (radius / 60) ** 2
    grid = np.linspace(config.bright_limit, config.faint_limit, 401)
    counts = 10 ** (0.31 * np.minimum(grid - 26, 0) + 0.2 * np.maximum(grid - 26, 0))
    galaxies = _draw_magnitudes(counts, grid, config.galaxy_density * area, rng)
    stars = _draw_magnitudes(np.ones(grid.size), grid, config.star_density * area, rng)
    mag = np.concatenate([galaxies, stars])
    star = np.arange(mag.size) >= galaxies.size
    distance = radius * np.sqrt(rng.uniform(size=mag.size))
    angle = rng.uniform(0, 2 * np.pi, mag.size)
    dec_of = dec + distance * np.sin(angle) / 3600
    ra_of = ra + distance * np.cos(angle) / 3600 / np.cos(np.deg2rad(dec_of))
    columns = {
        "ra": ra_of % 360,
        "dec": dec_of,
        "mag": mag,
        "half_light_radius": np.where(star, 0.0, _sizes(mag, rng)),
        **_draw_shapes(mag.size, rng),
        "star": star,
    }
    columns["spectral_slope"] = np.where(star, -1.5, columns["spectral_slope"])
    table = Table(columns)
    for name, unit in CATALOG_COLUMNS.items():
        table[name].unit = unit or None
    table.meta["reference_wavelength_um"] = REFERENCE_WAVELENGTH
    return table[np.argsort(mag, kind="stable")]


def read_catalog(path: str | os.PathLike, seed: int) -> Table:
    """Read a catalogue of sources and complete it.

    Parameters
    ----------
    path
        Any table that astropy reads by itself (ECSV, FITS, CSV). Names of columns are matched
        without regard to case. ``RA``, ``DEC`` (deg) and ``MAG`` (AB at `REFERENCE_WAVELENGTH`)
        are needed. Sizes come as ``half_light_radius`` (arcsec, before the point spread function)
        or as ``rh`` (30-mas pixels of an HST F160W image, stars at 3.5, which are recognised
        above 24 AB). The rest of `CATALOG_COLUMNS` is drawn at random when it is missing.
    seed
        Seed of the random numbers.

    Returns
    -------
    Table
        The columns of `CATALOG_COLUMNS`.

    Raises
    ------
    CeersError
        When the file cannot be read, a needed column is missing, or a value is not usable.
    """
    given = read_table(path, f"The catalogue {path}")
    lower = [name.lower() for name in given.colnames]
    if twice := sorted({name for name in lower if lower.count(name) > 1}):
        raise CeersError(f"The catalogue {path} has the column {twice[0]} twice. Take one out.")
    given.rename_columns(given.colnames, lower)
    missing = [name for name in ("ra", "dec", "mag") if name not in given.colnames]
    if missing:
        raise CeersError(
            f"The catalogue {path} has no column {', '.join(missing)} "
            f"(it has {', '.join(given.colnames)}). RA, DEC (deg) and MAG (AB) are needed."
        )
    n = len(given)
    rng = rng_for(seed, "catalog")
    columns: dict[str, np.ndarray] = {
        name: _numbers(given, name, path) for name in ("ra", "dec", "mag")
    }
    columns["half_light_radius"] = _sizes(columns["mag"], rng)
    columns |= _draw_shapes(n, rng)
    star = np.zeros(n, bool)
    if "rh" in given.colnames and "half_light_radius" not in given.colnames:
        rh = _numbers(given, "rh", path)
        star = (rh < 1.1 * _HST_POINT_SOURCE) & (columns["mag"] < 24)
        intrinsic = np.sqrt(np.maximum(rh**2 - _HST_POINT_SOURCE**2, 1.0))
        columns["half_light_radius"] = intrinsic * _HST_PIXEL
    columns["star"] = star
    for name in set(CATALOG_COLUMNS) & set(given.colnames):
        columns[name] = _numbers(given, name, path).astype(bool if name == "star" else float)
    columns["spectral_slope"] = np.where(
        star & ("spectral_slope" not in given.colnames), -1.5, columns["spectral_slope"]
    )
    _check_catalog(columns, path)
    return Table({name: columns[name] for name in CATALOG_COLUMNS})


def _numbers(given: Table, name: str, path: str | os.PathLike) -> np.ndarray:
    """Return a column of numbers; NaN where the table has no value."""
    column = np.ma.asarray(given[name])
    if column.ndim != 1 or (column.size and column.dtype.kind not in "biuf"):
        kind = f"{column.ndim} axes" if column.ndim != 1 else f"values like {column[:1].tolist()}"
        raise CeersError(f"The catalogue {path}: column {name} has {kind}, not a number a row.")
    return np.asarray(np.ma.filled(column.astype(float), np.nan))


def _check_catalog(columns: dict[str, np.ndarray], path: str | os.PathLike) -> None:
    rules = {
        "half_light_radius": lambda v: (v > 0) | columns["star"],
        "sersic_index": lambda v: (v >= 0.3) & (v <= 6.2),
        "axis_ratio": lambda v: (v > 0.02) & (v <= 1),
        "dec": lambda v: np.abs(v) <= 90,
        "ra": lambda v: np.abs(v) <= 360,
        "mag": lambda v: np.abs(v) <= 60,
    }
    for name, values in columns.items():
        good = np.isfinite(values)
        if name in rules:
            good &= rules[name](values)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise CeersError(
                f"The catalogue {path} has the value {values[row]} in column {name}, row {row}. "
                "Values must be finite, with ra up to 360, mag up to 60, half_light_radius "
                "above 0, sersic_index between 0.3 and 6.2, axis_ratio above 0.02 and up to 1."
            )


@dataclass(frozen=True)
class RenderedSources:
    """Sources as a detector would see them without noise.

    Attributes
    ----------
    image
        DN/s in the flattened frame, shape ``(ny, nx)``, float32.
    table
        One row per source that reaches the image: its row in the catalogue (``source``), ``ra``,
        ``dec``, ``x`` and ``y`` (0-based pixels of the image), ``mag`` in this band, ``flux`` (all
        of it, DN/s), ``flux_in_image`` (what the image holds, DN/s), ``half_light_radius``
        (pixels), ``sersic_index``, ``axis_ratio``, ``position_angle`` (deg) and ``star``.
    """

    image: np.ndarray
    table: Table


@lru_cache(maxsize=4)
def _galsim_psfs(band: Band, pixel_scale: float) -> tuple[Any, ...]:
    """The point spread function for stars (whole) and for galaxies (core), in pixels."""
    galsim = import_galsim()
    whole = point_spread_function(band, pixel_scale)
    middle, half = whole.shape[0] // 2, 24 * OVERSAMPLING
    core = whole[middle - half : middle + half + 1, middle - half : middle + half + 1]
    return tuple(
        galsim.InterpolatedImage(
            galsim.Image(image.astype(np.float64), scale=1 / OVERSAMPLING),
            x_interpolant="quintic",
            k_interpolant="quintic",
            flux=1.0,
            gsparams=_gsparams(),
        )
        for image in (whole, core)
    )


@lru_cache(maxsize=1)
def _gsparams() -> Any:
    # a source is cut where it fades below `_FAINTEST`, so folding at 2% of its light is harmless
    return import_galsim().GSParams(
        folding_threshold=2e-2,
        maxk_threshold=5e-3,
        kvalue_accuracy=1e-4,
        xvalue_accuracy=1e-4,
        stepk_minimum_hlr=3.0,
        maximum_fft_size=8192,
    )


def _stamp_radius(flux: np.ndarray, radius: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Distance (pixels) at which a source fades below `_FAINTEST`."""
    # wings of the point spread function: about 0.02 r^-3 of the light per pixel, spikes included
    wings = np.cbrt(0.5 * flux / _FAINTEST)
    b = 2 * index - 1 / 3 + 0.009876 / index
    # surface brightness of the disc of half the light, a little generous in the middle
    at_radius = flux / (2 * np.pi * np.maximum(radius, 0.5) ** 2 * index)
    fade = np.maximum(1 + np.log(np.maximum(at_radius / _FAINTEST, 1)) / b, 1)
    body = radius * fade**index
    return np.clip(np.hypot(np.minimum(wings, 256), body), 8, 1500)


def render_sources(
    catalog: Table,
    wcs: ExposureWcs,
    detector: Detector,
    band: Band,
    window: SubarrayWindow,
) -> RenderedSources:
    """Draw the sources of a catalogue as one exposure sees them.

    A pixel holds the surface brightness (the flattened frame): the flux of a source divided by the
    solid angle of the pixels it falls on.

    Parameters
    ----------
    catalog
        Table with the columns of `CATALOG_COLUMNS`.
    wcs
        Where the pixels lie on the sky.
    detector, band, window
        What looks: detector, imaging band, part of the detector that is read out.

    Returns
    -------
    RenderedSources
        Image and table of the sources in it.
    """
    galsim = import_galsim()
    distortion = wcs.distortion
    x, y = wcs.from_sky(np.asarray(catalog["ra"]), np.asarray(catalog["dec"]))
    x, y = x - (window.x_start - 1), y - (window.y_start - 1)

    photmjsr, _ = zero_point(detector, band)
    slope = np.asarray(catalog["spectral_slope"])
    mag = np.asarray(catalog["mag"]) - 2.5 * slope * np.log10(band.pivot / REFERENCE_WAVELENGTH)
    centre = (window.x_start - 1 + window.nx / 2, window.y_start - 1 + window.ny / 2)
    pixel_scale = float(np.sqrt(distortion.pixel_area(*centre))) * 180 / np.pi * 3600
    radius = np.where(catalog["star"], 0.0, np.asarray(catalog["half_light_radius"]) / pixel_scale)
    index = np.asarray(catalog["sersic_index"])

    # those that can reach the image, with room for the reach of each
    guess = 3631e-6 * 10 ** (-0.4 * mag) / distortion.pixel_area(*centre) / photmjsr
    reach = _stamp_radius(guess, radius, index)
    inside = (x > -reach) & (x < window.nx + reach) & (y > -reach) & (y < window.ny + reach)
    rows = np.flatnonzero(inside)
    x, y, mag, radius, index, reach = (a[rows] for a in (x, y, mag, radius, index, reach))
    # where a source outside lies, the polynomial is extrapolated: take the nearest pixel instead
    at = (
        np.clip(x + window.x_start - 1, 0, detector.shape[1] - 1),
        np.clip(y + window.y_start - 1, 0, detector.shape[0] - 1),
    )
    flux = 3631e-6 * 10 ** (-0.4 * mag) / distortion.pixel_area(*at) / photmjsr
    jacobian = wcs.sky_jacobian(*at)

    image = galsim.ImageF(window.nx, window.ny, xmin=0, ymin=0)
    psf, psf_core = _galsim_psfs(band, round(pixel_scale, 5))
    caught = np.zeros(rows.size)
    chosen = catalog[rows]
    for i in range(rows.size):
        size = 2 * int(np.ceil(reach[i])) + 1
        corner_x, corner_y = round(x[i]) - size // 2, round(y[i]) - size // 2
        bounds = galsim.BoundsI(corner_x, corner_x + size - 1, corner_y, corner_y + size - 1)
        bounds &= image.bounds
        if not bounds.isDefined():
            continue
        if chosen["star"][i]:
            profile = psf.withFlux(flux[i])
        else:
            profile = _galaxy(chosen[i], jacobian[i], index[i])
            if radius[i] < _BIG:
                profile = galsim.Convolve(profile, psf_core, gsparams=_gsparams())
            profile = profile.withFlux(flux[i])
        stamp = image[bounds]
        # the pixel is in the point spread function already; `BIG` ones do not need it
        caught[i] = profile.drawImage(
            image=stamp, center=(x[i], y[i]), scale=1.0, method="no_pixel", add_to_image=True
        ).added_flux
    hit = caught > 0
    table = chosen[hit]["ra", "dec", "sersic_index", "axis_ratio", "position_angle", "star"]
    table["source"] = rows[hit]
    table["x"], table["y"] = x[hit], y[hit]
    table["mag"] = mag[hit]
    table["flux"], table["flux_in_image"] = flux[hit], caught[hit]
    table["half_light_radius"] = radius[hit]
    return RenderedSources(image=image.array, table=table)


def _galaxy(row: Row, jacobian: np.ndarray, index: float) -> Any:
    """Profile of a galaxy in pixels; `jacobian` turns (east, north) in arcsec into (x, y)."""
    galsim = import_galsim()
    profile = galsim.Sersic(
        n=round(float(index), 1),  # tables of a few indices serve all galaxies
        half_light_radius=float(row["half_light_radius"]),
        gsparams=_gsparams(),
    )
    profile = profile.shear(
        q=float(row["axis_ratio"]), beta=(90 - float(row["position_angle"])) * galsim.degrees
    )
    return profile.transform(*(float(v) for v in jacobian.ravel()))
