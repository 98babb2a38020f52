"""Regions of users on the pixels of a mosaic: huge ones, broken ones, lines that are none."""

import logging
import tracemalloc

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from ceers_steps.errors import CeersError
from ceers_steps.mosaics.images import Mosaic
from ceers_steps.mosaics.regions import read_regions

PIXEL = 0.1  # arcsec


@pytest.fixture
def mosaic():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10.0, 20.0]
    wcs.wcs.crpix = [150.5, 100.5]
    wcs.wcs.cdelt = [-PIXEL / 3600, PIXEL / 3600]
    shape = (200, 300)
    return Mosaic("field", np.zeros(shape, np.float32), np.zeros(shape, bool), wcs, None)


def inside(tmp_path, mosaic, *lines):
    """Return the pixels inside regions in a file."""
    path = tmp_path / "drawn.reg"
    path.write_text("\n".join(["icrs", *lines]) + "\n")
    return read_regions(path, "mask_regions", mosaic, mosaic)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_regions_far_larger_than_the_image(tmp_path, mosaic, size):
    tracemalloc.start()
    found = inside(tmp_path, mosaic, f"image; box(150,100,{size:.0f},{size:.0f},0)")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.all()
    assert peak < 50e6
    # a half plane: its edge at x = 100 (from 1)
    found = inside(
        tmp_path, mosaic, f"image; box({100 - size / 2:.1f},100,{size:.0f},{size:.0f},0)"
    )
    assert found[:, :99].all()
    assert not found[:, 101:].any()


def test_the_large_way_draws_what_the_small_one_draws(tmp_path, mosaic):
    (small,) = [inside(tmp_path, mosaic, "image; ellipse(100,80,70,30,20)")]
    both = inside(
        tmp_path,
        mosaic,
        "image; ellipse(100,80,70,30,20)",
        "-image; annulus(150,100,4000,9000)",
    )
    np.testing.assert_array_equal(both, small)


@pytest.mark.parametrize(
    "line",
    [
        'circle(nan,20,5")',
        'circle(10,20,inf")',
        "image; box(inf,100,10,10,0)",
        "image; circle(nan,nan,10)",
        "circle(10,20",
    ],
)
def test_no_numbers(tmp_path, mosaic, line):
    with pytest.raises(CeersError, match=r"mask_regions=.*drawn\.reg"):
        inside(tmp_path, mosaic, line)


def test_lines_that_are_no_regions_are_named(tmp_path, mosaic, caplog):
    with caplog.at_level(logging.WARNING):
        found = inside(tmp_path, mosaic, 'circle(10,20,5")', 'blob(10,20,5")', "banana")
    assert found.sum() * PIXEL**2 == pytest.approx(np.pi * 25, rel=0.01)
    assert "lines are not understood" in caplog.text
    assert "blob" in caplog.text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("image; circle(100,5,80,5,10)", "line 2: .*: 5 numbers; a circle has 3"),  # decimal commas
        ('circle(00 40 00, +20 00 00, 1")', "7 numbers; a circle has 3"),
        ("image; box(100,80,20,10)", "4 numbers; a box has 5"),
        ("image; polygon(1,1,2,2,3)", "5 numbers; a polygon has two for each"),
        ("image; circle(nan,80,10)", "nan is no finite number"),
        ("circle(10.0,20.0,1e309d)", "1e309d is no finite number"),
        ("physical; circle(100,80,10)", "no region that is understood .*physical"),
    ],
)
def test_numbers_that_a_shape_does_not_have(tmp_path, mosaic, line, problem):
    with pytest.raises(CeersError, match=problem):
        inside(tmp_path, mosaic, line)


MARKS = [
    "text(10,20) # text={a label; circle(1,1,500)}",
    "# text(10,20) text={a label, as DS9 writes it}",
    "point(10,20) # point=x",
    "line(10,20,10.001,20.001) # line=0 0",
    "image; point(5,5)",
]


@pytest.mark.parametrize("mark", MARKS)
def test_points_lines_and_labels_mark_nothing(tmp_path, mosaic, caplog, mark):
    circle = 'icrs; circle(10,20,5") # text={point(1)}'
    found = inside(tmp_path, mosaic, circle, mark)
    np.testing.assert_array_equal(found, inside(tmp_path, mosaic, circle))
    assert "points, lines and labels have no area (line 3), and mark nothing" in caplog.text
    with pytest.raises(CeersError, match=r"holds no region .* have no area \(line 2\)"):
        inside(tmp_path, mosaic, mark)


@pytest.mark.parametrize("frame", ["galactic", "ecliptic", "fk5", "fk4"])
def test_regions_in_other_frames_lie_where_the_sky_is(tmp_path, mosaic, frame):
    """The ecliptic of DS9 is the mean one of J2000."""
    sky = SkyCoord(10, 20, unit="deg")
    place = sky.transform_to("barycentricmeanecliptic" if frame == "ecliptic" else frame)
    x, y = place.spherical.lon.deg, place.spherical.lat.deg
    found = inside(tmp_path, mosaic, f'{frame}; circle({x:.8f},{y:.8f},5")')
    rows, columns = np.nonzero(found)
    assert (columns.mean(), rows.mean()) == pytest.approx((149.5, 99.5), abs=0.1)
    assert found.sum() * PIXEL**2 == pytest.approx(np.pi * 25, rel=0.01)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_texts_of_any_program(tmp_path, mosaic, codec, end):
    path = tmp_path / "drawn.reg"
    lines = ["# DS9", "image", "circle(100,80,10) # text={\u00e9toile; circle(1,1,500)}"]
    path.write_bytes(end.join(lines).encode(codec))
    found = read_regions(path, "mask_regions", mosaic, mosaic)
    np.testing.assert_array_equal(found, inside(tmp_path, mosaic, "image; circle(100,80,10)"))


def test_a_region_behind_the_sky_is_not_in_the_image(tmp_path, mosaic, caplog):
    found = inside(tmp_path, mosaic, "image; circle(100,80,10)", 'icrs; circle(190,-20,1")')
    assert found.sum() == 305
    assert "1 regions are more than 90 deg from field" in caplog.text
