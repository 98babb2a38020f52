"""Small dithered fields in two filters, of bright sources within an arcminute."""

import numpy as np
from astropy.table import Table
from stdatamodels.jwst import datamodels

from ceers_steps import CeersImage2
from ceers_steps.simulate import read_truth, simulate
from ceers_steps.survey.select.association_files import write_associations
from ceers_steps.survey.select.associations import group_exposures, name_products
from ceers_steps.survey.select.exposures import read_exposures

TARGET = (214.92, 52.87)

SKY = 0.3
"""Added to every exposure, MJy/sr, different for each: the pedestal that skyvar takes out."""

NOISE = 0.02
"""Standard deviation of a pixel, MJy/sr."""


def make_sources(n=170, seed=4):
    """Galaxies and some stars of 20 to 24 AB within an arcminute."""
    rng = np.random.default_rng(seed)
    dec = TARGET[1] + rng.uniform(-35, 35, n) / 3600
    ra = TARGET[0] + rng.uniform(-35, 35, n) / 3600 / np.cos(np.deg2rad(TARGET[1]))
    return Table(
        {
            "ra": ra,
            "dec": dec,
            "mag": rng.uniform(20, 24, n),
            "half_light_radius": rng.uniform(0.08, 0.3, n),
            "sersic_index": np.full(n, 1.0),
            "axis_ratio": rng.uniform(0.5, 1, n),
            "position_angle": rng.uniform(0, 180, n),
            "spectral_slope": np.zeros(n),
            "star": np.arange(n) % 8 == 0,
        }
    )


def simulate_dithers(folder, dithers, catalog=None, **settings):
    """Simulate NRCB4 F150W and NRCBLONG F277W on SUB640, both looking at the sources."""
    return simulate(
        folder,
        ["NRCB4", "NRCBLONG"],
        ["F150W", "F277W"],
        dithers=dithers,
        size="sub640",
        catalog=make_sources() if catalog is None else catalog,
        target=TARGET,
        aperture="NRCB4_FULL",
        **settings,
    )


def calibrate(folder, exposures):
    """Write calibrated exposures of known noise, and associations of them."""
    cals = []
    for number, exposure in enumerate(exposures):
        truth = read_truth(exposure.truth)
        with datamodels.open(exposure.uncal) as raw:
            model = datamodels.ImageModel(truth.rate.shape)
            model.update(raw)
        model.data = truth.rate.astype(np.float32)
        model.dq = (truth.rate == 0).astype(np.uint32)
        for name in ("err", "var_poisson", "var_rnoise"):
            setattr(model, name, np.ones(truth.rate.shape, np.float32))
        model.meta.filename = f"{exposure.name}_rate.fits"
        model.meta.cal_step.ramp_fit = "COMPLETE"
        (cal,) = CeersImage2.call(model)
        rng = np.random.default_rng(number)
        cal.data += SKY * (1 + number) + rng.normal(0, NOISE, cal.data.shape).astype(np.float32)
        cal.var_rnoise = np.full(cal.data.shape, NOISE**2, np.float32)
        cal.var_poisson = np.full(cal.data.shape, (NOISE / 10) ** 2, np.float32)
        cal.err = np.sqrt(cal.var_rnoise + cal.var_poisson)
        path = folder / f"{exposure.name}_cal.fits"
        cal.save(path)
        cals.append(path)
    found, _ = read_exposures(cals)
    groups = name_products(group_exposures(found, "program"), "field_{filter}")
    write_associations(groups, folder)
