"""Region files as a survey team keeps them: galactic and sexagesimal coordinates, many shapes."""

import re

import numpy as np
import pytest
from astropy.wcs import WCS

from ceers_steps.mosaics.images import Mosaic
from ceers_steps.mosaics.regions import read_regions

PIXEL = 0.1  # arcsec


@pytest.fixture(scope="module")
def mosaic():
    """A field of 400" around most of them."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [266.5387, -28.7200]
    wcs.wcs.crpix = [2000, 2000]
    wcs.wcs.cdelt = [-PIXEL / 3600, PIXEL / 3600]
    shape = (4000, 4000)
    return Mosaic("field", np.zeros(shape, np.float32), np.zeros(shape, bool), wcs, None)


def test_circles_and_ellipses_cover_their_area(real, mosaic, tmp_path):
    lines = (real / "regions" / "regions__manual_destar_left_405.reg").read_text().splitlines()
    shapes = [line for line in lines if line.startswith(("ellipse", "circle"))]
    assert len(shapes) > 80
    # one at a time: in the file they overlap
    for number, line in enumerate(shapes[::8]):
        sizes = [float(size) for size in re.findall(r'([\d.]+)"', line)]
        area = np.pi * sizes[0] * sizes[-1]
        path = tmp_path / f"{number}.reg"
        path.write_text(f"icrs\n{line}\n")
        found = read_regions(path, "mask_regions", mosaic, mosaic).sum() * PIXEL**2
        # pixels whose centre lies inside: a few parts of the circumference are off
        assert found == pytest.approx(area, abs=0.15 * PIXEL * 2 * np.pi * sum(sizes))


@pytest.mark.parametrize(
    "name", ["brick_polygon", "bright_stars_long", "field_edges", "manual_destar_left_405"]
)
def test_whole_files_are_understood(real, mosaic, name, caplog):
    path = real / "regions" / f"regions__{name}.reg"
    inside = read_regions(path, "mask_regions", mosaic, mosaic)
    assert 100 < inside.sum() * PIXEL**2 < 0.5 * inside.size * PIXEL**2
    assert not caplog.records
