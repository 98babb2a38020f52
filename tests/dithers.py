"""Small dithered fields in two filters, of bright sources within an arcminute."""

import numpy as np
from astropy.table import Table

from ceers_steps.simulate import simulate

TARGET = (214.92, 52.87)


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
