"""Grids of mosaics: chosen, read, written."""

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from jwst.resample.resample_utils import load_custom_wcs
from stcal.alignment.util import wcs_from_sregions

from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.survey.select.footprints import to_sky
from ceers_steps.survey.select.grids import Grid, find_grid, fit_grid, grid_table
from tests.survey.sky import square

GRID = Grid((1044.5, 954.5), (214.9226, 52.8704), -49.7, 0.03, (2090, 1910))
PUBLISHED = ("nircam1", "nircam2", "nircam3", "nircam6", "epoch1")


def pixels():
    return np.random.default_rng(1).uniform(0, 1900, (50, 2))


def fits_header(grid):
    """The grid as keywords, with a CD matrix whose y axis has the rotation as position angle."""
    turn = np.radians(grid.rotation)
    scale = grid.pixel_scale / 3600
    cd = scale * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    keywords = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    keywords |= {"CRPIX1": grid.crpix[0] + 1, "CRPIX2": grid.crpix[1] + 1}
    keywords |= {"CRVAL1": grid.crval[0], "CRVAL2": grid.crval[1]}
    return keywords | {f"CD{i + 1}_{j + 1}": cd[i, j] for i in (0, 1) for j in (0, 1)}


def test_pixels_are_those_of_fits():
    sky = WCS(fits.Header(fits_header(GRID))).all_pix2world(pixels(), 0)
    np.testing.assert_allclose(GRID.to_pixel(sky), pixels(), atol=1e-6)


def test_pixels_are_those_that_jwst_makes_of_the_parameters(tmp_path):
    path = tmp_path / "grid.asdf"
    path.write_bytes(GRID.to_asdf())
    ours = load_custom_wcs(str(path))
    assert ours["wcs"].array_shape == (1910, 2090)
    assert ours["pixel_scale"] == 0.03
    assert ours["pixel_area"] == pytest.approx(0.0009)
    parameters = GRID.parameters()
    theirs = wcs_from_sregions(
        [square(0, 0, 20, center=GRID.crval)],
        ref_wcs=ours["wcs"],
        # the rotation is given, so that these have no say: as they are for NRCA1
        ref_wcsinfo={"v3yangle": -0.57873665, "vparity": -1, "roll_ref": 130.6},
        pscale=parameters["pixel_scale"] / 3600,
        rotation=parameters["rotation"],
        shape=parameters["output_shape"][::-1],
        crpix=parameters["crpix"],
        crval=parameters["crval"],
    )
    sky = np.stack(theirs(*pixels().T, with_bounding_box=False), axis=1)
    np.testing.assert_allclose(GRID.to_pixel(sky), pixels(), atol=1e-6)
    np.testing.assert_allclose(np.stack(ours["wcs"](*pixels().T), axis=1), sky, atol=1e-12)


def test_a_grid_covers_its_pixels_and_no_more():
    center = to_sky(0, 0, GRID.crval)
    assert GRID.covers(square(0, 0, 20, center=center))
    assert not GRID.covers(square(0, 0, 80, center=center))
    assert not GRID.covers(square(40, 0, 20, center=center))
    assert not GRID.covers(square(0, 0, 20, center=((center[0] + 180) % 360, -center[1])))


@settings(deadline=None)
@given(
    st.floats(-89, 89),
    st.floats(0, 360, exclude_max=True),
    st.floats(-80, 80),
    st.floats(1, 3),
)
def test_the_smallest_grid_around_a_rectangle(angle, ra, dec, longer):
    """Two squares along a line at an angle: a rectangle, found with its angle and size."""
    side, center = 60.0, (ra, dec)
    turn = np.radians(angle)
    step = longer * side * np.array([np.cos(turn), np.sin(turn)])
    polygons = [square(x, y, side, angle, center) for x, y in ((0, 0), step)]
    grid = fit_grid(polygons, margin=2.0)
    assert all(grid.covers(polygon) for polygon in polygons)
    # RA grows to the left: an angle from east to north has its x axis at the opposite sign
    assert grid.rotation == pytest.approx(-angle, abs=0.2)
    nx, ny = grid.pixel_shape
    assert grid.rotation == round(grid.rotation, 1)
    # 2 arcsec of margin, 0.18 of rounding the tangent point, at most 10 pixels of rounding up
    for size, true in ((nx, (longer + 1) * side), (ny, side)):
        assert true + 4.0 < size * 0.03 < true + 4.0 + 2 * 0.4 + 0.3 + 0.01 * true
    assert grid.crpix == ((nx - 1) / 2, (ny - 1) / 2)


def test_rotation_and_scale_can_be_given():
    polygons = [square(0, 0, 60, 20), square(70, 30, 60, 20)]
    grid = fit_grid(polygons, rotation=0.0, pixel_scale=0.06)
    assert (grid.rotation, grid.pixel_scale) == (0.0, 0.06)
    assert all(grid.covers(polygon) for polygon in polygons)
    assert not all(fit_grid(polygons[:1]).covers(polygon) for polygon in polygons)


def test_a_grid_is_read_back_from_all_that_holds_it(tmp_path):
    table, wcs, mosaic = tmp_path / "g.ecsv", tmp_path / "g.asdf", tmp_path / "m_i2d.fits"
    grid_table({"other": fit_grid([square(0, 0, 60)]), "mine": GRID}).write(table)
    wcs.write_bytes(GRID.to_asdf())
    image = fits.ImageHDU(np.zeros(GRID.pixel_shape[::-1], np.uint8), name="SCI")
    image.header.update(fits_header(GRID))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(mosaic)
    assert find_grid(str(table), "mine") == GRID
    assert find_grid(str(wcs), "any") == GRID
    assert find_grid(str(mosaic), "any") == GRID


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_grids_have_names(name):
    grid = find_grid(name, "any")
    assert (grid.crval, grid.rotation, grid.pixel_scale) == ((214.825, 52.825), -49.7, 0.03)
    assert grid == find_grid("dr05/mosaic_grids", name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_files_have_the_published_grids(name):
    with asdf.open(parameter_files_dir() / "dr05" / f"image3_{name}.asdf") as file:
        steps = {step["name"]: step["parameters"] for step in file["steps"]}
    wanted = find_grid(name, "any").parameters()
    assert {key: steps["resample"][key] for key in wanted} == wanted


def test_what_is_no_grid_is_told(tmp_path):
    with pytest.raises(CeersError, match=r"no grid of that name. There are nircam1.*epoch1"):
        find_grid("nircam9", "any")
    with pytest.raises(CeersError, match="no row 'mine'; there are nircam1"):
        find_grid("dr05/mosaic_grids", "mine")
    with pytest.raises(CeersError, match=r"not a table of grids .*must be ECSV with the columns"):
        find_grid("dr05/exposures", "mine")
    for name, content in (("a.asdf", b"nonsense"), ("a.fits", b"nonsense")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CeersError, match=f"{name}: no grid can be read from it"):
            find_grid(str(tmp_path / name), "any")


def test_pixels_that_resample_cannot_have_are_told(tmp_path):
    header = fits_header(GRID)
    header |= {"CD1_1": 1e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-5}  # east to the right
    path = tmp_path / "mirrored.fits"
    image = fits.PrimaryHDU(np.zeros((4, 4), np.uint8))
    image.header.update(header)
    image.writeto(path)
    with pytest.raises(CeersError, match="not square, or east is not to the left"):
        find_grid(str(path), "any")
