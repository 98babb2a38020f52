"""The mosaic that a perfect reduction gives, and its noise: the truth through the same drizzle.

The light of the sources that each exposure saw is drizzled to the pixels of a mosaic with the
weights that the mosaic was made with, from where the exposure truly looked.  What is left of
(mosaic - truth) is noise and the errors of the reduction; blur by the drizzle, missing pixels and
rejected outliers are the same in both.  White noise of the variance that the exposures claim, sent
the same way, has the correlations between pixels that the drizzle makes, so that predicted scatter
of blocks and apertures is read from it.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.modeling.models import RotationSequence3D
from astropy.table import Table
from drizzle.resample import Drizzle
from gwcs import WCS
from gwcs.geometry import CartesianToSpherical, SphericalToCartesian
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from stcal.resample.utils import build_driz_weight, calc_pixmap, resample_range
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.simulate.truth import Truth, read_truth
from ceers_steps.validate.true_light import true_light

__all__ = ["TrueExposure", "TrueMosaic", "make_true_mosaic", "true_wcs"]

GOOD_BITS = "~DO_NOT_USE+NON_SCIENCE"  # as in jwst's resample

DRAWS = 4
"""Of the noise: with one, the predicted scatter of blocks of 16 pixels was 1.4% off."""

MAX_MISFIT = 0.1
"""Largest distance (mas) between the places of sources and where a rotation puts them."""


@dataclass(frozen=True)
class TrueExposure:
    """Files of one exposure.

    Attributes
    ----------
    combined : Path
        The image that went into the mosaic, with its variances and flags.
    calibrated : Path
        The ``*_cal.fits`` with the WCS as commanded, before any alignment.
    simulated : Path
        Folder that the simulator wrote.
    name : str
        Name of the exposure.
    """

    combined: Path
    calibrated: Path
    simulated: Path
    name: str

    def read_truth(self) -> Truth:
        """Return the truth."""
        return read_truth(self.simulated / f"{self.name}_truth.asdf")


@dataclass(frozen=True)
class TrueMosaic:
    """A mosaic as it should be, MJy/sr; NaN without data.

    Attributes
    ----------
    sources : array, shape (ny, nx)
        Galaxies and stars, no sky.
    noise : array, shape (n_draws, ny, nx)
        Draws of the noise that the exposures claim.
    offsets : mapping of str to Table
        For each exposure the sources in it: ``east`` and ``north``, where its WCS in the end puts
        them less where they are, and ``east_before`` and ``north_before``, where the header did;
        mas on the sky.
    catalogs : tuple of Table
        The true sources of each exposure.
    filter : str
        Of the first exposure.
    """

    sources: NDArray
    noise: NDArray
    offsets: Mapping[str, Table]
    catalogs: tuple[Table, ...]
    filter: str


def make_true_mosaic(mosaic: Path, exposures: list[TrueExposure]) -> TrueMosaic:
    """Drizzle the truth to the pixels of a mosaic.

    Parameters
    ----------
    mosaic : Path
        The ``*_i2d.fits``.
    exposures : list of TrueExposure
        What it was made of.

    Returns
    -------
    TrueMosaic
        Sources, noise and errors of the WCS.

    Raises
    ------
    CeersError
        When a file is missing or the truth is not that of the exposure.
    """
    try:
        with datamodels.open(mosaic) as model:
            grid, shape = model.meta.wcs, model.data.shape
            how = model.meta.resample.instance
            scale_ratio = how.get("pixel_scale_ratio", 1.0)
    except OSError as err:
        raise CeersError(f"Cannot read {mosaic}: {err}. Run the reduction again.") from err
    kernel, pixfrac = how.get("kernel", "square"), how.get("pixfrac", 1.0)
    maps = [
        Drizzle(kernel=kernel, fillval="NAN", out_shape=shape, disable_ctx=True)
        for _ in range(1 + DRAWS)
    ]
    rng = np.random.default_rng(0)
    offsets = {}
    catalogs, filters = [], []
    for exposure in exposures:
        truth = exposure.read_truth()
        catalogs.append(truth.sources)
        filters.append(truth.exposure["filter"])
        with datamodels.open(exposure.calibrated) as model:
            commanded = model.meta.wcs
            to_mjysr = model.meta.photometry.conversion_megajanskys
            corner = (model.meta.subarray.ystart - 1, model.meta.subarray.xstart - 1)
        with datamodels.open(exposure.combined) as model:
            aligned = model.meta.wcs
            weight = build_driz_weight(
                {"data": model.data, "dq": model.dq, "var_rnoise": model.var_rnoise},
                weight_type=how.get("weight_type", "ivm"),
                good_bits=GOOD_BITS,
                flag_name_map=dqflags.pixel,
            )
            variance = np.zeros_like(model.data)
            for part in (model.var_rnoise, model.var_poisson, model.var_flat):
                variance += np.where(np.isfinite(part), part, 0)
        light = true_light(exposure.simulated, truth, corner)
        noise = rng.standard_normal((DRAWS, *variance.shape), dtype=np.float32) * np.sqrt(variance)
        wcs = true_wcs(commanded, truth.sources, exposure.name)
        offsets[exposure.name] = _offsets(aligned, commanded, truth.sources)
        # distortion is a low polynomial: every tenth pixel and a cubic spline give all of it
        pixmap = calc_pixmap(wcs, grid, variance.shape, stepsize=10, order=3)
        xmin, xmax, ymin, ymax = resample_range(variance.shape, wcs.bounding_box)
        for drizzle, image in zip(maps, (light.sources * to_mjysr, *noise), strict=True):
            drizzle.add_image(
                image.astype(np.float32),
                exptime=1.0,
                pixmap=pixmap,
                pixel_scale_ratio=scale_ratio,
                weight_map=weight,
                pixfrac=pixfrac,
                xmin=xmin,
                xmax=xmax,
                ymin=ymin,
                ymax=ymax,
            )
    sources, *draws = (drizzle.out_img for drizzle in maps)
    return TrueMosaic(sources, np.stack(draws), offsets, tuple(catalogs), filters[0])


def true_wcs(commanded: WCS, sources: Table, name: str = "exposure") -> WCS:
    """Return the WCS of where the telescope looked.

    An error of the pointing turns the sky about some axis. The axis and angle follow from the
    sources, whose pixels and places on the sky are both known.

    Parameters
    ----------
    commanded : WCS
        WCS from the header, with the right distortion.
    sources : Table
        ``x``, ``y`` (pixels from 0), ``ra`` and ``dec`` (deg) of three sources or more.
    name : str
        Name of the exposure, for errors.

    Returns
    -------
    WCS
        A copy of `commanded` with the sky turned.

    Raises
    ------
    CeersError
        When no rotation puts the sources in their places.
    """
    x, y = np.asarray(sources["x"]), np.asarray(sources["y"])
    width, height = (int(limits[1] + 1) for limits in commanded.bounding_box)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    there = _vectors(*commanded(x[inside], y[inside]))
    true = _vectors(np.asarray(sources["ra"])[inside], np.asarray(sources["dec"])[inside])
    if len(true) < 3:
        raise CeersError(f"{name} has {len(true)} sources: 3 are needed to know where it looked.")
    rotation, _ = Rotation.align_vectors(true, there)
    misfit = np.degrees(np.max(np.linalg.norm(rotation.apply(there) - true, axis=1))) * 3.6e6
    if misfit > MAX_MISFIT:
        raise CeersError(
            f"{name}: sources of the truth are up to {misfit:.3g} mas off the WCS of the exposure "
            "however it is turned. Do the truth and the calibrated image belong together?"
        )
    # astropy turns the axes, scipy the vector
    angles = -rotation.as_euler("xyz", degrees=True)
    turn = (
        SphericalToCartesian(wrap_lon_at=360)
        | RotationSequence3D(angles, axes_order="xyz")
        | CartesianToSpherical(wrap_lon_at=360)
    )
    steps = [(step.frame, step.transform) for step in commanded.pipeline]
    frame, transform = steps[-2]
    steps[-2] = (frame, transform | turn)
    turned = WCS(steps)
    turned.bounding_box = commanded.bounding_box
    return turned


def _vectors(ra: NDArray, dec: NDArray) -> NDArray:
    """Return unit vectors, shape (n, 3)."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _offsets(aligned: WCS, commanded: WCS, sources: Table) -> Table:
    """Return where two WCS put the sources less where they are, for those in the image."""
    x, y = np.asarray(sources["x"]), np.asarray(sources["y"])
    inside = np.isfinite(commanded(x, y)[0])  # NaN outside the image
    true_ra, true_dec = (np.asarray(sources[name])[inside] for name in ("ra", "dec"))
    columns = {}
    for wcs, suffix in ((aligned, ""), (commanded, "_before")):
        ra, dec = wcs(x[inside], y[inside])
        east = (ra - true_ra + 180) % 360 - 180
        columns[f"east{suffix}"] = east * np.cos(np.radians(true_dec)) * 3.6e6
        columns[f"north{suffix}"] = (dec - true_dec) * 3.6e6
    return Table(columns)
