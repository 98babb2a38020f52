"""Stage 3 of the demo: aligned mosaics of all sets, and how far they are from the truth."""

import gc
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ceers_steps.demo.exposures import SetResult
from ceers_steps.demo.sets import CATALOG_SCATTER
from ceers_steps.files.atomic import write_atomic

if TYPE_CHECKING:
    from ceers_steps.validate.mosaic_records import AperturePhotometry
    from ceers_steps.validate.mosaics import MosaicMetrics, Positions

__all__ = ["MosaicResult", "combine", "draw_mosaics", "measure"]

FAINTEST_REFERENCE = 26.0
"""Faintest magnitude in the reference catalogue (AB)."""

POSITIONS = {"pixmap_stepsize": 10.0, "pixmap_order": 3}
"""Positions of pixels are interpolated, as in ``image3.asdf``: 20 times faster, to 9e-9 pixel."""


@dataclass(frozen=True)
class MosaicResult:
    """How good one mosaic is.

    Attributes
    ----------
    metrics : MosaicMetrics
        All numbers.
    photometry, magnitudes, positions
        As in `~ceers_steps.validate.mosaics.MosaicComparison`.
    product : Path
        The mosaic without background.
    sky_noise : float
        Its noise per pixel, MJy/sr.
    checks : list of Check
        Lines of the table.
    pictures : list of (str, str, Path)
        Heading, caption and PNG file.
    """

    metrics: "MosaicMetrics"
    photometry: "AperturePhotometry"
    magnitudes: np.ndarray
    positions: "Positions"
    product: Path
    sky_noise: float
    checks: list
    pictures: list


def combine(results: Sequence[SetResult], folder: Path, *, seed: int = 1) -> list[Path]:
    """Make the mosaics of all sets on one grid.

    Parameters
    ----------
    results : list of SetResult
        The exposures; the grid covers those of the first.
    folder : Path
        Gets the associations and the products.
    seed : int
        Seed of the errors of the reference catalogue.

    Returns
    -------
    list of Path
        The ``*_i2d.fits``, in the order of the sets.
    """
    from ceers_steps.simulate.references.crds_cache import activate

    activate(results[0].simulated)
    from ceers_steps.pipelines.image3 import CeersImage3

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    association, parameters, products = _associate(results, folder)
    reference = _reference_catalog(results[0].simulated, folder, seed)
    gc.freeze()  # what importing has made need not be looked through after every step
    CeersImage3.call(
        str(association),
        config_file=str(parameters),
        output_dir=str(folder),
        save_results=True,
        configure_log=False,
        steps={
            "tweakreg": {"abs_refcat": str(reference)},
            "outlier_detection": POSITIONS,
            "resample": POSITIONS,
        },
    )
    return [folder / f"{name}_i2d.fits" for name in products]


def _associate(results: Sequence[SetResult], folder: Path) -> tuple[Path, Path, list[str]]:
    """Write associations and a grid; return the association, parameter file, product names."""
    from ceers_steps.survey.select.association_files import write_associations
    from ceers_steps.survey.select.associations import ALL, Group, name_products
    from ceers_steps.survey.select.exposures import read_exposures
    from ceers_steps.survey.select.grids import fit_grid

    files = [result.products / f"{name}_cal.fits" for result in results for name in result.names]
    exposures, _ = read_exposures(files)
    first = [exposure for exposure in exposures if exposure.name in results[0].names]
    footprint = [polygon for exposure in first for polygon in exposure.footprint]
    group = Group("demo", tuple(exposures), grid=fit_grid(footprint))
    (group,) = name_products([group], None)
    write_associations([group], folder)
    names = [group.products[result.exposures.filter] for result in results]
    return folder / f"{group.products[ALL]}_asn.json", folder / f"{group.name}_image3.asdf", names


def _reference_catalog(simulated: Path, folder: Path, seed: int) -> Path:
    """Write a reference catalogue: true positions with errors."""
    from astropy.table import Table

    (path,) = simulated.glob("*_catalog.ecsv")
    catalog = Table.read(path)
    catalog = catalog[catalog["mag"] < FAINTEST_REFERENCE]
    rng = np.random.default_rng(seed)
    east, north = rng.normal(0, CATALOG_SCATTER / 3600, (2, len(catalog)))
    dec = np.asarray(catalog["dec"])
    ra = np.asarray(catalog["ra"]) + east / np.cos(np.radians(dec))
    table = Table({"RA": ra, "DEC": dec + north})
    return write_atomic(
        folder / "reference_catalog.ecsv",
        lambda scratch: table.write(scratch, format="ascii.ecsv"),
    )


def measure(
    result: SetResult,
    mosaic: Path,
    figures: Path,
    *,
    tell: Callable[[str], object] = lambda text: None,
) -> MosaicResult:
    """Compare one mosaic with the truth and draw it.

    Parameters
    ----------
    result : SetResult
        The exposures it was made of.
    mosaic : Path
        The ``*_i2d.fits``.
    figures : Path
        Folder for the figures.
    tell : callable
        Called with what is done next, in a few words.

    Returns
    -------
    MosaicResult
        What was found.
    """
    from ceers_steps.validate.mosaic_checks import describe_mosaic
    from ceers_steps.validate.mosaic_figures import background_figure, residual_figure
    from ceers_steps.validate.mosaics import compare_mosaic
    from ceers_steps.validate.true_mosaic import TrueExposure

    tell("comparing with the truth")
    folder, stem = mosaic.parent, mosaic.name.removesuffix("_i2d.fits")
    product = next(
        path
        for suffix in ("mbkgsub", "bkgsub")
        if (path := folder / f"{stem}_{suffix}.fits").exists()
    )
    exposures = [
        TrueExposure(
            combined=next(folder.glob(f"{name}*_match.fits")),
            calibrated=result.products / f"{name}_cal.fits",
            simulated=result.simulated,
            name=name,
        )
        for name in result.names
    ]
    found = compare_mosaic(mosaic, product, exposures)
    tell("figures")
    slug, name = result.exposures.slug, result.exposures.filter
    background = background_figure(
        figures / f"background_{slug}.png",
        found.before,
        found.background,
        found.after,
        found.mask,
        title=f"Mosaic {name}",
    )
    residual = residual_figure(
        figures / f"residual_{slug}.png",
        found.residual,
        found.truth,
        found.sky_noise,
        title=f"Mosaic {name} against the truth",
    )
    return MosaicResult(
        metrics=found.metrics,
        photometry=found.photometry,
        magnitudes=found.magnitudes,
        positions=found.positions,
        product=product,
        sky_noise=found.sky_noise,
        checks=describe_mosaic(found.metrics, _limit(folder, result.names)),
        pictures=[
            (
                "Background",
                f"{name}: the mosaic before and after its background was subtracted, and the "
                "background with the mask of all filters",
                background,
            ),
            (
                "Left when the truth is taken off",
                f"{name}: the truth is the light of the sources through the same drizzle. Left: "
                "the whole mosaic; right: around its brightest source",
                residual,
            ),
        ],
    )


def _limit(folder: Path, names: Sequence[str]) -> float:
    """Return the statistical limit of the absolute position (mas)."""
    from astropy.table import Table, vstack

    tables = vstack(
        [Table.read(path) for path in folder.glob("*_alignment.ecsv")], metadata_conflicts="silent"
    )
    matched = [
        row["n_matched"]
        for row in tables
        if row["alignment"] == "absolute" and row["exposure"] in names
    ]
    return 1000 * CATALOG_SCATTER * float(np.sqrt(2 / max(np.mean(matched), 1)))


def draw_mosaics(mosaics: Sequence[MosaicResult], figures: Path) -> list[tuple[str, str, Path]]:
    """Draw what shows all mosaics together.

    Parameters
    ----------
    mosaics : list of MosaicResult
        In the order of wavelength.
    figures : Path
        Folder for the figures.

    Returns
    -------
    list of (str, str, Path)
        Heading, caption and PNG file.
    """
    from astropy.io import fits

    from ceers_steps.validate import mosaic_figures

    names = [mosaic.metrics.filter for mosaic in mosaics]
    images = [fits.getdata(mosaic.product, "SCI") for mosaic in mosaics]
    pictures = []
    if len(mosaics) > 1:
        path = mosaic_figures.colour_figure(
            figures / "mosaic.png", images, names, [mosaic.sky_noise for mosaic in mosaics]
        )
        caption = f"{names[0]} and {names[-1]} on the same pixels, background subtracted"
        pictures.append(("In colour", caption, path))
    pictures += [picture for mosaic in mosaics for picture in mosaic.pictures]
    chi = mosaic_figures.chi_figure(
        figures / "chi.png", [(mosaic.metrics.filter, mosaic.metrics.chi) for mosaic in mosaics]
    )
    photometry = mosaic_figures.photometry_figure(
        figures / "photometry.png",
        [
            (
                mosaic.metrics.filter,
                mosaic.photometry,
                mosaic.magnitudes,
                mosaic.metrics.photometry,
            )
            for mosaic in mosaics
        ],
    )
    positions = mosaic_figures.position_figure(
        figures / "positions.png",
        [
            (mosaic.metrics.filter, mosaic.positions, list(mosaic.metrics.wcs.values()))
            for mosaic in mosaics
        ],
    )
    return [
        *pictures,
        (
            "Noise of the sky",
            "Scatter of the blank sky in blocks. Drizzled pixels share noise: the prediction is "
            "the error array of the exposures as white noise through the same drizzle. Dotted: "
            "the error array of the mosaic alone, as if its pixels were independent",
            chi,
        ),
        (
            "Photometry",
            "Flux in apertures of 0.2 arcsec less the true flux in the same aperture, and its "
            "scatter over the predicted error, correlated noise included",
            photometry,
        ),
        (
            "Astrometry",
            "Centroids in the mosaic less those in the true mosaic, and the WCS of each exposure "
            "after alignment less the true one",
            positions,
        ),
    ]
