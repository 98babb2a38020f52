"""Where an exposure truly looked, from its sources: on a WCS of the simplest kind."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.survey.select.grids import fit_grid
from ceers_steps.validate.true_mosaic import true_wcs

CENTRE = SkyCoord(0.0005, 52.87, unit="deg")  # the image lies across 0 h


@pytest.fixture
def commanded():
    corners = CENTRE.spherical_offsets_by([0.01, -0.01] * units.deg, [0.01, -0.01] * units.deg)
    grid = fit_grid([np.column_stack([corners.ra.deg, corners.dec.deg])], rotation=20.0)
    return grid._gwcs()


def looked_elsewhere(wcs, east, north, roll, n=30):
    """Sources as a telescope sees them that is off by arcsec and turned about the middle."""
    rng = np.random.default_rng(2)
    nx, ny = wcs.pixel_shape
    x, y = rng.uniform(0, nx - 1, n), rng.uniform(0, ny - 1, n)
    seen = SkyCoord(*wcs(x, y), unit="deg")
    distance, angle = CENTRE.separation(seen), CENTRE.position_angle(seen)
    middle = CENTRE.spherical_offsets_by(east / 3600 * units.deg, north / 3600 * units.deg)
    true = middle.directional_offset_by(angle + roll / 3600 * units.deg, distance)
    return Table({"x": x, "y": y, "ra": true.ra.deg, "dec": true.dec.deg})


@pytest.mark.parametrize(("east", "north", "roll"), [(0, 0, 0), (0.3, -0.2, 30), (-20, 5, -600)])
def test_the_rotation_is_found(commanded, east, north, roll):
    sources = looked_elsewhere(commanded, east, north, roll)
    found = true_wcs(commanded, sources)
    ra, dec = found(sources["x"], sources["y"])
    places = SkyCoord(sources["ra"], sources["dec"], unit="deg")
    assert SkyCoord(ra, dec, unit="deg").separation(places).mas.max() < 0.01
    assert np.all((ra >= 0) & (ra < 360))
    x, y = found.invert(sources["ra"], sources["dec"])
    np.testing.assert_allclose([x, y], [sources["x"], sources["y"]], atol=1e-3)


def test_sources_of_another_exposure_are_told(commanded):
    sources = looked_elsewhere(commanded, 0, 0, 0)
    sources["x"] = sources["x"] * 1.001
    with pytest.raises(CeersError, match="belong together"):
        true_wcs(commanded, sources)


def test_too_few_sources(commanded):
    with pytest.raises(CeersError, match="jw1 has 2 sources"):
        true_wcs(commanded, looked_elsewhere(commanded, 0, 0, 0, n=2), "jw1")
