"""Simulate exposures, their truth, wisp templates and reference files into one folder."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.simulate.arguments import (
    DEFAULTS,
    check_numbers,
    choose_instrument,
    default_aperture,
    pair,
)
from ceers_steps.simulate.config.simulation import SimulationConfig
from ceers_steps.simulate.detector.calibration import make_calibration
from ceers_steps.simulate.exposure import expose, make_scene, write_raw
from ceers_steps.simulate.references.crds_cache import CrdsCache, write_environment
from ceers_steps.simulate.references.files import (
    calibration_fingerprint,
    write_photometry_references,
    write_references,
)
from ceers_steps.simulate.seeds import rng_for
from ceers_steps.simulate.sky.scene import make_catalog, read_catalog
from ceers_steps.simulate.sky.wisps import template_name, wisp_templates
from ceers_steps.simulate.telescope.instrument import (
    find_subarray,
    import_galsim,
    load_siaf,
)
from ceers_steps.simulate.telescope.plan import DAY, ExposurePlan, PointingError
from ceers_steps.simulate.truth import write_truth

__all__ = ["DEFAULTS", "SimulatedExposure", "simulate"]

log = logging.getLogger(__name__)


CEERS_FIELD = (214.92, 52.87)
"""Right ascension and declination (deg) looked at when nothing else is said."""

_DITHER_STEP = 5.83  # arcsec
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_OVERHEAD = 120.0  # s between exposures

Tell = Callable[[int, int, str], object]


@dataclass(frozen=True)
class SimulatedExposure:
    """One exposure that was written.

    Attributes
    ----------
    name
        Name without suffix, e.g. ``jw01345001001_02105_00001_nrcb4``.
    detector, filter
        Detector and the element that defines the band.
    uncal, truth
        The raw file and the truth.
    """

    name: str
    detector: str
    filter: str
    uncal: Path
    truth: Path


def simulate(
    out: str | os.PathLike,
    detectors: Sequence[str] | None = None,
    filters: Sequence[str] | None = None,
    *,
    instrument: str | None = None,
    dithers: int = 3,
    seed: int = 1,
    catalog: str | os.PathLike | Table | None = None,
    size: str = "full",
    read_pattern: str | None = None,
    n_groups: int = 9,
    n_ints: int = 1,
    config: SimulationConfig | None = None,
    target: tuple[float, float] | None = None,
    roll: float = 130.0,
    aperture: str | None = None,
    start: str = "2022-06-21T00:00:00",
    observation: int = 1,
    wisp_components: int = 1,
    tell: Tell | None = None,
) -> list[SimulatedExposure]:
    """Simulate exposures and everything the pipeline needs to calibrate them.

    Those of one call are of one instrument: NIRCam, MIRI (detector ``MIRIMAGE``) or NIRISS
    (``NIS``); a call for another adds to the same folder. Short-wavelength filters are used on
    short-wavelength detectors, long on long. The folder gets
    ``*_uncal.fits``, ``*_truth.asdf``, ``*_catalog.ecsv``, ``wisp_templates/``, ``crds_cache/`` and
    ``env.sh``. A later call adds to it; the same arguments give the same files to the bit.
    Detectors, telescope and wisp templates are the same in every simulation: the seed decides the
    sky, the noise and the events.

    Parameters
    ----------
    out
        Folder to write to.
    detectors, filters
        Names of detectors and bands; those of `DEFAULTS` by default.
    instrument
        ``NIRCAM``, ``MIRI`` or ``NIRISS``; by default that of the detectors.
    dithers
        Number of dither positions.
    seed
        Seed of the random numbers.
    catalog
        Sources: a file (see `ceers_steps.simulate.sky.scene.read_catalog`), a table as
        `ceers_steps.simulate.sky.scene.make_catalog` makes one, or None to make one up.
    size
        Subarray, e.g. ``full``, ``sub640`` or (MIRI) ``brightsky``.
    read_pattern, n_groups, n_ints
        Read pattern (that of `DEFAULTS` by default), groups per integration, integrations.
    config
        Effects and their sizes.
    target
        Right ascension and declination, deg. The CEERS field by default, or the middle of
        the catalogue.
    roll
        Position angle of the V3 axis at the target, deg.
    aperture
        SIAF aperture that the target is put on: by default the short-wavelength detectors of
        the module, or of both when both are used; of other instruments what is read out.
    start
        Time of the first exposure (UTC).
    observation
        Number of the observation in the file names, which keeps simulations of several seeds apart.
    wisp_components
        Number of components of each wisp template that is made up (`WispConfig.templates`).
    tell
        Called with the number of exposures done, of all, and the name of the next.

    Returns
    -------
    list of SimulatedExposure
        What was written, in the order of detector, filter and dither.

    Raises
    ------
    CeersError
        When an optional package is missing, or an argument cannot be used.
    """
    load_siaf()
    import_galsim()
    out = Path(out)
    instrument, detectors = choose_instrument(instrument, detectors)
    filters = filters or DEFAULTS[instrument].filters
    config = config or SimulationConfig()
    ra, dec = CEERS_FIELD if target is None else target
    pattern = check_numbers(
        read_pattern or DEFAULTS[instrument].read_pattern,
        instrument,
        dithers=(dithers, 1, 999),
        n_groups=(n_groups, 1, 1000),
        n_ints=(n_ints, 1, 1000),
        seed=(seed, 0, 2**63),
        observation=(observation, 1, 999),
        wisp_components=(wisp_components, 1, 9),
        target_ra=(ra, -360, 360),
        target_dec=(dec, -90, 90),
        roll=(roll, -360, 360),
    )
    pairs = pair(detectors, filters, instrument)
    sources = _sources(catalog, target, config, seed)
    if target is None:
        target = CEERS_FIELD if catalog is None else _middle(sources)
    usual = default_aperture(pairs, size)
    aperture = aperture or usual
    if aperture not in load_siaf(instrument).apernames:
        raise CeersError(
            f"aperture is '{aperture}': it must be a {instrument.replace('CAM', 'Cam')} aperture "
            f"of the SIAF, such as {usual} or {pairs[0][0].full_aperture}."
        )
    plans = [
        ExposurePlan(
            detector=detector,
            band=band,
            window=find_subarray(detector, size),
            pattern=pattern,
            n_groups=n_groups,
            n_ints=n_ints,
            dither=dither,
            n_dithers=dithers,
            offset=_dither_offset(dither),
            aperture=aperture,
            target_ra=float(target[0]),
            target_dec=float(target[1]),
            roll=float(roll),
            start=0.0,
            observation=f"{observation:03d}",
        )
        for detector, band in pairs
        for dither in range(dithers)
    ]
    first = _start_time(start)
    plans = [
        replace(_at_its_time(plan, first), pointing_error=_pointing_error(plan, config, seed))
        for plan in plans
    ]
    return _run(out, plans, sources, config, seed, wisp_components, tell or _silent)


def _silent(done: int, total: int, name: str) -> None:
    """Tell nobody."""


def _sources(
    catalog: str | os.PathLike | Table | None,
    target: tuple[float, float] | None,
    config: SimulationConfig,
    seed: int,
) -> Table:
    if catalog is None:
        return make_catalog(*(target or CEERS_FIELD), seed, config.sources)
    return catalog if isinstance(catalog, Table) else read_catalog(catalog, seed)


def _middle(catalog: Table) -> tuple[float, float]:
    """Median place of a catalogue, deg."""
    if len(catalog) == 0:
        raise CeersError("The catalogue has no rows: give the target as well.")
    ra = np.asarray(catalog["ra"])
    # about the first source, or a catalogue across 0 h would have its middle at 12 h
    offset = np.median((ra - ra[0] + 180) % 360 - 180)
    return float((ra[0] + offset) % 360), float(np.median(catalog["dec"]))


def _dither_offset(dither: int) -> tuple[float, float]:
    """Points on a spiral: any number of them is spread evenly, at all fractions of a pixel."""
    radius, angle = _DITHER_STEP * np.sqrt(dither), _GOLDEN_ANGLE * dither
    return float(radius * np.cos(angle)), float(radius * np.sin(angle))


def _start_time(start: str) -> float:
    try:
        return float(Time(start, scale="utc").mjd)
    except ValueError as err:
        raise CeersError(f"start is '{start}': give a time such as 2022-06-21T00:00:00.") from err


def _at_its_time(plan: ExposurePlan, first: float) -> ExposurePlan:
    """The same plan at the time of its turn: bands one after the other, whichever are simulated."""
    turn = (plan.band.index - 1) * 10 + plan.dither
    return replace(plan, start=first + turn * (plan.duration + _OVERHEAD) / DAY)


def _pointing_error(plan: ExposurePlan, config: SimulationConfig, seed: int) -> PointingError:
    """The error of a visit, the same for all detectors and bands, and that of an exposure."""
    pointing = config.pointing
    if not pointing.enabled:
        return PointingError()
    visit = rng_for(seed, "pointing_visit", int(plan.observation), int(plan.visit))
    exposure = rng_for(seed, "pointing_jitter", int(plan.observation), *plan.stream[1:])
    v2, v3 = (
        pointing.visit_shift
        + pointing.visit_scatter * visit.standard_normal(2)
        + pointing.jitter * exposure.standard_normal(2)
    )
    return PointingError(float(v2), float(v3), float(pointing.roll))


def _run(
    out: Path,
    plans: list[ExposurePlan],
    sources: Table,
    config: SimulationConfig,
    seed: int,
    wisp_components: int,
    tell: Tell,
) -> list[SimulatedExposure]:
    cache = CrdsCache(out / "crds_cache")
    fingerprint = calibration_fingerprint(config)
    config = config.for_instrument(plans[0].detector.instrument)
    for detector in {plan.detector for plan in plans}:
        cache.check_calibration(detector.name, fingerprint)
    bands = {plan.band: plan.detector for plan in plans}
    write_photometry_references(cache, bands, plans[0].window.name)
    write_atomic(
        out / f"jw{plans[0].program}{plans[0].observation}_catalog.ecsv",
        lambda path: sources.write(path, format="ascii.ecsv", overwrite=True),
    )
    written = []
    calibration, persistence = None, None
    templates: tuple[np.ndarray, ...] = ()
    for i, plan in enumerate(plans):
        tell(i, len(plans), plan.root)
        if calibration is None or calibration.detector != plan.detector.name:
            calibration = make_calibration(plan.detector.name, config)
            write_references(
                cache, plan.detector, plan.window, plan.pattern, plan.n_groups, calibration, config
            )
            cache.commit()
            write_environment(out)
        if plan.dither == 0:
            persistence = None  # the exposures before were of another band, long ago
            templates = _write_templates(
                out / "wisp_templates", plan, wisp_components, config.wisps.templates
            )
        scene = make_scene(plan, sources, config, seed, templates)
        if config.sources.enabled and not len(scene.sources.table):
            _warn_of_empty(plan, sources)
        ramp = expose(plan, scene, calibration, config, seed, persistence)
        persistence = ramp.trapped
        uncal = write_atomic(
            out / f"{plan.root}_uncal.fits",
            partial(write_raw, plan=plan, ramp=ramp),
        )
        truth = write_truth(out / f"{plan.root}_truth.asdf", plan, scene, ramp, seed)
        written.append(
            SimulatedExposure(plan.root, plan.detector.name, plan.band.name, uncal, truth)
        )
    tell(len(plans), len(plans), "")
    return written


def _warn_of_empty(plan: ExposurePlan, sources: Table) -> None:
    """Say that no source falls on what is read out, and where that is."""
    window = plan.window
    centre = (window.x_start - 1 + window.nx / 2, window.y_start - 1 + window.ny / 2)
    ra, dec = (float(value) for value in plan.true_wcs.to_sky(*map(np.array, centre)))
    log.warning(
        "%s: none of the %d sources falls on %s of %s, whose centre is at RA %.5f, Dec %.5f "
        "(target RA %.5f, Dec %.5f). Give another target, aperture, size or catalogue if it is to "
        "show any.",
        plan.root,
        len(sources),
        window.name,
        plan.detector.name,
        ra,
        dec,
        plan.target_ra,
        plan.target_dec,
    )


def _write_templates(
    folder: Path, plan: ExposurePlan, n_made_up: int, source: str
) -> tuple[np.ndarray, ...]:
    """Make the wisp templates of a detector and band and write them; none when it has no wisps."""
    if not plan.detector.has_wisps or plan.band.channel != "SHORT":
        return ()
    templates, origin = wisp_templates(plan.detector, plan.band, n_made_up, source)
    for component, template in enumerate(templates):
        hdu = fits.PrimaryHDU(template)
        hdu.header["DETECTOR"] = plan.detector.name
        hdu.header["FILTER"] = (plan.band.filter, "filter wheel")
        hdu.header["PUPIL"] = (plan.band.pupil, "pupil wheel")
        hdu.header["BUNIT"] = ("DN/s", "flat field divided out")
        hdu.header["ORIGIN"] = origin
        write_atomic(
            folder / template_name(plan.detector, plan.band, component),
            hdu.writeto,
        )
    return templates
