"""Aperture corrections and Vega offsets, and stage 3 of jwst to its end with them."""

import os

import numpy as np
import pytest
from astropy.stats import SigmaClip
from astropy.table import Table
from jwst.pipeline import Image3Pipeline
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from stdatamodels.jwst import datamodels

from ceers_steps import CeersImage2
from ceers_steps.simulate.detector.calibration import make_calibration
from ceers_steps.simulate.references.crds_cache import CrdsCache
from ceers_steps.simulate.references.files import write_photometry_references
from ceers_steps.simulate.sky.photometry import ENCIRCLED, aperture_corrections, vega_offset
from ceers_steps.simulate.sky.psf import OVERSAMPLING, point_spread_function
from ceers_steps.simulate.telescope.instrument import (
    FILTERS,
    find_subarray,
    get_band,
    get_detector,
    zero_point,
)
from tests.pipelines.test_image2 import make_rate

B4, BLONG = get_detector("NRCB4"), get_detector("NRCBLONG")
KEY = ("NRC_IMAGE",)


def rows_of(cache):
    with datamodels.NrcImgApcorrModel(cache.get("apcorr", KEY)) as model:
        return Table(np.asarray(model.apcorr_table))


class TestApertures:
    @pytest.mark.parametrize(("band", "scale"), [("F150W", 0.031), ("F444W", 0.063)])
    def test_flux_of_a_star_on_pixels(self, band, scale):
        """Photometry as the source catalogue does it, with stars anywhere on their pixels."""
        image = point_spread_function(get_band(band), scale)
        middle = image.shape[0] // 2
        table = np.array(aperture_corrections(get_band(band), scale))
        totals = []
        for phase in np.ndindex(OVERSAMPLING, OVERSAMPLING):
            first = (middle - np.array(phase)) % OVERSAMPLING
            star = 1000 * image[first[0] :: OVERSAMPLING, first[1] :: OVERSAMPLING] + 0.7  # sky
            y, x = ((middle - first) / OVERSAMPLING).tolist()
            annulus = CircularAnnulus((x, y), *table[0, 3:])
            sky = ApertureStats(star, annulus, sigma_clip=SigmaClip(3.0)).median
            apertures = [CircularAperture((x, y), radius) for radius in table[:, 1]]
            fluxes = [each.do_photometry(star)[0][0] - sky * each.area for each in apertures]
            totals.append(fluxes * table[:, 2])
        np.testing.assert_allclose(np.mean(totals, axis=0), 1000, rtol=0.01)

    def test_order(self):
        table = np.array(aperture_corrections(get_band("F200W"), 0.031))
        np.testing.assert_allclose(table[:, 0], ENCIRCLED)
        assert np.all(np.diff(table[:, 1]) > 0)  # radii
        assert np.all(np.diff(table[:, 2]) < 0)  # corrections
        assert np.all(table[:, 2] > 1)
        assert len(np.unique(table[:, 3:])) == 2  # one annulus, as the pipeline wants it
        assert table[-1, 1] < table[0, 3] < table[0, 4]


@pytest.mark.parametrize(
    ("band", "offset"),
    [("F090W", 0.50), ("F150W", 1.22), ("F200W", 1.68), ("F277W", 2.32), ("F444W", 3.24)],
)
def test_vega_offset(band, offset):
    """Against those of the real filters, rounded."""
    assert vega_offset(get_band(band)) == pytest.approx(offset, abs=0.1)


class TestReferences:
    def test_bands_are_added(self, tmp_path):
        cache = CrdsCache(tmp_path)
        write_photometry_references(cache, {get_band("F150W"): B4})
        first = rows_of(cache)
        assert len(first) == len(ENCIRCLED)
        write_photometry_references(cache, {get_band("F277W"): BLONG, get_band("F162M"): B4})
        both = rows_of(cache)
        assert len(both) == 3 * len(ENCIRCLED)
        np.testing.assert_array_equal(both[: len(first)].as_array(), first.as_array())
        pairs = {(str(row["filter"]).strip(), str(row["pupil"]).strip()) for row in both}
        assert pairs == {("F150W", "CLEAR"), ("F277W", "CLEAR"), ("F150W2", "F162M")}

    def test_known_bands_leave_the_file_alone(self, tmp_path):
        cache = CrdsCache(tmp_path)
        write_photometry_references(cache, {get_band("F150W"): B4})
        path = cache.get("apcorr", KEY)
        before = path.stat().st_mtime_ns
        write_photometry_references(cache, {get_band("F150W"): B4})
        assert path.stat().st_mtime_ns == before

    def test_contents_and_size(self, tmp_path):
        cache = CrdsCache(tmp_path)
        write_photometry_references(cache, {get_band("F150W"): B4})
        path = cache.get("abvegaoffset", KEY)
        with datamodels.ABVegaOffsetModel(path) as model:
            table = model.abvega_offset
            assert len(table) == len(FILTERS)
            row = table[(table["filter"] == "F150W2") & (table["pupil"] == "F162M")]
            assert float(row["abvega_offset"][0]) == pytest.approx(vega_offset(get_band("F162M")))
        assert path.stat().st_size < 20_000
        assert cache.get("apcorr", KEY).stat().st_size < 20_000

    @pytest.mark.parametrize("detector", ["NRCB4", "NRCBLONG"])
    def test_crds_finds_them(self, simulated_field, detector):
        import crds

        with datamodels.open(simulated_field.uncal(detector, "sub640")) as model:
            parameters = model.get_crds_parameters()
        found = crds.getreferences(
            parameters, reftypes=["apcorr", "abvegaoffset"], observatory="jwst"
        )
        assert all(os.path.exists(path) for path in found.values())


@pytest.mark.slow
def test_stock_stage_3_finds_the_flux_of_stars(simulated_field, tmp_path):
    """Unmodified, no step skipped: the last one is the source catalogue."""
    band = get_band("F150W")
    photmjsr, solid_angle = zero_point(B4, band)
    pixel_scale = np.sqrt(solid_angle) * 180 / np.pi * 3600
    rate = make_rate(simulated_field)
    flux, noise = 50.0, 0.01  # DN/s
    rate.data[:] = 0.1 + np.random.default_rng(1).normal(0, noise, (640, 640))
    rate.err[:] = noise
    rate.var_rnoise[:] = rate.var_poisson[:] = noise**2 / 2
    image = point_spread_function(band, round(float(pixel_scale), 5))
    middle = image.shape[0] // 2
    phases = np.ndindex(OVERSAMPLING, OVERSAMPLING)
    places = np.ndindex(3, 3)
    for (py, px), (row, column) in zip(phases, places, strict=True):
        star = image[(middle - py) % 3 :: 3, (middle - px) % 3 :: 3]
        half = 90
        y0, x0 = (middle - (middle - py) % 3) // 3, (middle - (middle - px) % 3) // 3
        stamp = star[y0 - half : y0 + half, x0 - half : x0 + half]
        top, left = 20 + 200 * row, 20 + 200 * column
        rate.data[top : top + 2 * half, left : left + 2 * half] += flux * stamp
    window = find_subarray(B4, "sub640")
    calibration = make_calibration("NRCB4")
    rate.data *= calibration.cut((window.y_start - 1, window.x_start - 1), (640, 640)).flat
    (cal,) = CeersImage2.call(rate, save_results=True, output_dir=str(tmp_path))
    path = str(tmp_path / cal.meta.filename)
    Image3Pipeline.call(path, save_results=True, output_dir=str(tmp_path), output_file="mosaic")

    catalog = Table.read(tmp_path / "mosaic_cat.ecsv")
    stars = catalog[catalog["aper70_flux"] > 50 * catalog["aper70_flux_err"]]
    assert len(stars) == 9
    total = flux * photmjsr * solid_angle * 1e6  # Jy
    # the mosaic is a little less sharp than the image: 2% at most in an aperture of 2.5 pixels
    assert np.median(stars["aper_total_flux"]) == pytest.approx(total, rel=0.03)
    colour = stars["aper_total_abmag"] - stars["aper_total_vegamag"]
    np.testing.assert_allclose(colour, vega_offset(band), rtol=1e-5)
