"""A star that saturates in the first group of every dither, from raw to mosaic."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from ceers_steps import CeersDetector1, CeersImage2, CeersImage3
from ceers_steps.kernels.dq import DO_NOT_USE, SATURATED
from ceers_steps.simulate import active, read_truth, simulate

TARGET = (214.92, 52.87)
STAR = 10.0  # AB: saturated within the first group, with a halo that fills the frame

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """Two dithers of NRCB4 F150W, SUB320, with the star and faint galaxies; their folder."""
    folder = tmp_path_factory.mktemp("star")
    rng = np.random.default_rng(3)
    offsets = np.r_[np.zeros((1, 2)), rng.uniform(-5, 5, (30, 2))] / 3600
    galaxies = len(offsets) - 1
    catalog = Table(
        {
            "ra": TARGET[0] + offsets[:, 0] / np.cos(np.deg2rad(TARGET[1])),
            "dec": TARGET[1] + offsets[:, 1],
            "mag": np.r_[STAR, rng.uniform(21, 24, galaxies)],
            "star": np.r_[True, np.zeros(galaxies, bool)],
            "half_light_radius": np.full(galaxies + 1, 0.15),
            **{name: np.ones(galaxies + 1) for name in ("sersic_index", "axis_ratio")},
            **{name: np.zeros(galaxies + 1) for name in ("position_angle", "spectral_slope")},
        }
    )
    simulate(
        folder,
        ["NRCB4"],
        ["F150W"],
        dithers=2,
        size="sub320",
        catalog=catalog,
        target=TARGET,
        aperture="NRCB4_SUB320",
        n_groups=4,
        seed=7,
    )
    settings = {"output_dir": str(folder), "save_results": True}
    with active(folder):
        for uncal in sorted(folder.glob("*_uncal.fits")):
            CeersImage2.call(CeersDetector1.call(str(uncal), **settings), **settings)
        CeersImage3.call([str(path) for path in sorted(folder.glob("*_cal.fits"))], **settings)
    return folder


def test_its_centre_is_not_used_and_the_rest_is(products):
    for uncal in products.glob("*_uncal.fits"):
        with fits.open(str(uncal).replace("uncal", "rate")) as rate:
            dq, data, err = (rate[name].data for name in ("DQ", "SCI", "ERR"))
        raw = fits.getdata(uncal, "SCI")[0, 0]
        centre = raw > 55_000
        assert centre.sum() > 20
        assert (dq[centre] & SATURATED).all()
        assert (dq[centre] & DO_NOT_USE).all()
        usable = (dq & DO_NOT_USE) == 0
        assert usable.mean() > 0.99
        assert np.isfinite(data[usable]).all()
        # those that saturate later have the rate of their first groups
        truth = read_truth(uncal)
        later = usable & ((dq & SATURATED) != 0)
        assert np.median(data[later] / truth.rate[later]) == pytest.approx(1, abs=0.02)
        # half of all pixels, which stripes, wisps and flags are not to harm
        faint = usable & (truth.rate < np.median(truth.rate))
        chi = (data - truth.rate)[faint] / err[faint]
        assert abs(np.median(chi)) < 0.5


def test_the_mosaic_is_a_product(products):
    (path,) = products.glob("*_i2d.fits")
    with fits.open(path) as mosaic:
        data, weight = mosaic["SCI"].data, mosaic["WHT"].data
    hole = ~np.isfinite(data) & (weight == 0)
    ny, nx = data.shape
    # where no dither has light there is nothing, with light all around it
    inner = hole[ny // 4 : -ny // 4, nx // 4 : -nx // 4]
    assert 20 < inner.sum() < 2000
    assert np.isfinite(data).mean() > 0.6


def test_the_background_has_no_light_of_the_star(products):
    """Of the frame, of which the median is half the noise of a pixel above the sky."""
    (path,) = products.glob("*_i2d.fits")
    with fits.open(path) as mosaic, fits.open(str(path).replace("i2d", "bkgsub")) as cleaned:
        background = (mosaic["SCI"].data - cleaned["SCI"].data) / mosaic["ERR"].data
        light = np.nanmedian(mosaic["SCI"].data / mosaic["ERR"].data)
    assert light > 0.3
    assert abs(np.nanmedian(background)) < 0.1
    assert np.nanpercentile(background, 99) < light
