"""The sky of the simulator: geometry, point spread function, sources, wisps."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.errors import CeersError
from ceers_steps.simulate.config.simulation import SourceConfig
from ceers_steps.simulate.sky.psf import OVERSAMPLING, point_spread_function
from ceers_steps.simulate.sky.scene import (
    CATALOG_COLUMNS,
    make_catalog,
    read_catalog,
    render_sources,
)
from ceers_steps.simulate.sky.wisps import WISP_REGIONS, wisp_template, wisp_templates
from ceers_steps.simulate.telescope.geometry import (
    ExposureWcs,
    Pointing,
    attitude_matrix,
    distortion_model,
    get_distortion,
)
from ceers_steps.simulate.telescope.instrument import (
    DETECTORS,
    FILTERS,
    find_subarray,
    get_band,
    get_detector,
    load_siaf,
    zero_point,
)

RA, DEC = 214.92, 52.87
DETECTOR, BAND = get_detector("NRCB4"), get_band("F150W")
WINDOW = find_subarray(DETECTOR, "sub640")


def make_wcs(detector=DETECTOR, roll=130.0, ra=RA, dec=DEC):
    """An exposure with the given place in the middle of its SUB640."""
    aperture = load_siaf()[find_subarray(detector, "sub640").aperture]
    matrix = attitude_matrix(aperture.V2Ref, aperture.V3Ref, ra, dec, roll)
    return ExposureWcs(
        get_distortion(detector), Pointing(matrix), aperture.V2Ref, aperture.V3Ref, 1.00003
    )


def catalog_of(**columns):
    defaults = {
        "ra": RA,
        "dec": DEC,
        "mag": 22.0,
        "half_light_radius": 0.3,
        "sersic_index": 1.0,
        "axis_ratio": 1.0,
        "position_angle": 0.0,
        "spectral_slope": 0.0,
        "star": False,
    }
    n = max((np.size(v) for v in columns.values()), default=1)
    return Table({name: np.resize(columns.get(name, d), n) for name, d in defaults.items()})


class TestInstrument:
    def test_read_out_directions_are_those_of_the_siaf(self):
        for detector in DETECTORS.values():
            aperture = load_siaf()[f"{detector.siaf_name}_FULL"]
            assert detector.fast_axis == (-1 if aperture.DetSciYAngle == 0 else 1)
            assert detector.slow_axis == (2 if aperture.DetSciYAngle == 0 else -2)

    def test_every_band_has_a_zero_point_on_every_detector_of_its_channel(self):
        for band in FILTERS.values():
            for detector in DETECTORS.values():
                if band.channel == detector.channel:
                    photmjsr, area = zero_point(detector, band)
                    assert photmjsr > 0
                    assert 2e-14 < area < 1e-13

    def test_filter_in_the_pupil_wheel(self):
        assert (get_band("F405N").filter, get_band("F405N").pupil) == ("F444W", "F405N")

    @pytest.mark.parametrize(("name", "corner"), [("NRCB4", (1409, 1409)), ("NRCB1", (1, 1))])
    def test_subarray_corner(self, name, corner):
        window = find_subarray(get_detector(name), "sub640")
        assert (window.x_start, window.y_start) == corner
        assert (window.nx, window.ny, window.n_outputs) == (640, 640, 1)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: get_detector("NRCC1"), "not a NIRCam detector"),
            (lambda: get_band("F814W"), "not a NIRCam imaging filter"),
            (lambda: find_subarray(DETECTOR, "sub64p"), "has no subarray"),
            (lambda: zero_point(DETECTOR, get_band("F277W")), "long-wavelength"),
        ],
    )
    def test_unknown_names(self, call, message):
        with pytest.raises(CeersError, match=message):
            call()


class TestGeometry:
    @pytest.mark.parametrize("name", DETECTORS)
    def test_same_as_pysiaf(self, name):
        detector = get_detector(name)
        aperture = load_siaf()[f"{detector.siaf_name}_FULL"]
        x, y = np.random.default_rng(1).uniform(0, 2047, (2, 50))
        expected = aperture.sci_to_tel(x + 1, y + 1)
        np.testing.assert_allclose(get_distortion(detector).to_v2v3(x, y), expected, atol=1e-9)
        model = distortion_model(detector)
        np.testing.assert_allclose(model(x, y), expected, atol=1e-9)
        # the inverse of the reference file is a fit: pysiaf's own is only good to 0.13 pixels
        np.testing.assert_allclose(model.inverse(*model(x, y)), (x, y), atol=2e-3)

    @settings(deadline=None, max_examples=30)
    @given(
        ra=st.floats(0, 360),
        dec=st.floats(-89, 89),
        roll=st.floats(0, 360),
        name=st.sampled_from(sorted(DETECTORS)),
        x=st.floats(0, 2047),
        y=st.floats(0, 2047),
    )
    def test_there_and_back(self, ra, dec, roll, name, x, y):
        wcs = make_wcs(get_detector(name), roll=roll, ra=ra, dec=dec)
        np.testing.assert_allclose(wcs.from_sky(*wcs.to_sky(x, y)), (x, y), atol=1e-6)

    def test_roll_at_the_reference_point(self):
        pointing = Pointing(attitude_matrix(-54.0, -525.0, RA, DEC, 130.0))
        assert pointing.roll(-54.0, -525.0) == pytest.approx(130.0)
        np.testing.assert_allclose(pointing.to_sky(-54.0, -525.0), (RA, DEC))

    def test_sky_jacobian_is_the_derivative(self):
        wcs = make_wcs()
        step = 0.1 / 3600
        x0, y0 = wcs.from_sky(RA, DEC)
        x1, y1 = wcs.from_sky(RA + step / np.cos(np.deg2rad(DEC)), DEC)
        x2, y2 = wcs.from_sky(RA, DEC + step)
        expected = np.array([[x1 - x0, x2 - x0], [y1 - y0, y2 - y0]]) / 0.1
        np.testing.assert_allclose(wcs.sky_jacobian(x0, y0), expected, rtol=1e-3, atol=1e-2)


class TestPointSpreadFunction:
    @pytest.mark.parametrize(
        ("name", "scale"), [("F090W", 0.031), ("F200W", 0.031), ("F444W", 0.063)]
    )
    def test_width_and_total(self, name, scale):
        band = get_band(name)
        psf = point_spread_function(band, scale)
        assert psf.sum() == pytest.approx(OVERSAMPLING**2, rel=1e-4)
        middle = psf.shape[0] // 2
        assert np.unravel_index(psf.argmax(), psf.shape) == (middle, middle)
        row = psf[middle]
        width = np.count_nonzero(row > row.max() / 2) * scale / OVERSAMPLING
        # the published widths do not have the pixel in them
        assert width == pytest.approx(np.hypot(band.fwhm, 0.6 * scale), rel=0.25)

    def test_one_position_at_every_radius(self):
        psf = point_spread_function(BAND, 0.031)
        np.testing.assert_array_equal(psf, psf[::-1, ::-1])

    def test_six_spikes(self):
        psf = point_spread_function(BAND, 0.031)
        middle = psf.shape[0] // 2
        angle = np.deg2rad(np.arange(0, 360, 5))
        radius = np.arange(200, 400)[:, None]
        y = np.rint(middle + radius * np.sin(angle)).astype(int)
        x = np.rint(middle + radius * np.cos(angle)).astype(int)
        profile = psf[y, x].mean(axis=0)
        brightest = np.sort(np.argsort(profile)[-6:] * 5)
        np.testing.assert_array_equal(brightest, [30, 90, 150, 210, 270, 330])


class TestCatalog:
    def test_made_up(self):
        config = SourceConfig()
        catalog = make_catalog(RA, DEC, 1, config, radius=200)
        area = np.pi * (200 / 60) ** 2
        expected = (config.galaxy_density + config.star_density) * area
        assert len(catalog) == pytest.approx(expected, abs=5 * np.sqrt(expected))
        assert list(catalog.colnames) == list(CATALOG_COLUMNS)
        assert catalog["mag"].min() >= config.bright_limit
        assert catalog["mag"].max() <= config.faint_limit
        offset = (catalog["ra"] - RA) * np.cos(np.deg2rad(DEC))
        assert np.hypot(offset, catalog["dec"] - DEC).max() * 3600 < 201

    def test_same_seed_same_sky(self):
        first, again, other = (make_catalog(RA, DEC, seed) for seed in (1, 1, 2))
        assert (first["ra"] == again["ra"]).all()
        assert len(first) != len(other) or (first["ra"] != other["ra"]).any()

    def test_columns_of_an_hst_catalogue(self, tmp_path):
        path = tmp_path / "hst.ecsv"
        table = Table({"RA": [RA, RA], "DEC": [DEC, DEC], "MAG": [18.0, 25.0], "rh": [3.5, 7.0]})
        table.write(path)
        catalog = read_catalog(path, 1)
        assert list(catalog["star"]) == [True, False]
        # quadratic difference with the size of a star, 30-mas pixels
        assert catalog["half_light_radius"][1] == pytest.approx(0.03 * np.sqrt(7**2 - 3.5**2))
        again = read_catalog(path, 1)
        np.testing.assert_array_equal(catalog["axis_ratio"], again["axis_ratio"])

    def test_given_columns_are_kept(self, tmp_path):
        path = tmp_path / "own.fits"
        given = catalog_of(mag=[20.0, 21.0], sersic_index=2.5, position_angle=33.0)
        given.write(path)
        catalog = read_catalog(path, 1)
        for name in CATALOG_COLUMNS:
            np.testing.assert_array_equal(catalog[name], given[name], err_msg=name)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"RA": [1.0], "DEC": [1.0]}, "has no column mag"),
            ({"RA": [1.0], "DEC": [1.0], "MAG": [np.nan]}, "column mag, row 0"),
            ({"RA": [1.0], "DEC": [91.0], "MAG": [20.0]}, "column dec"),
            (
                {"RA": [1.0], "DEC": [1.0], "MAG": [20.0], "half_light_radius": [-1.0]},
                "half_light_radius",
            ),
        ],
    )
    def test_bad_catalogues(self, tmp_path, columns, message):
        path = tmp_path / "bad.ecsv"
        Table(columns).write(path)
        with pytest.raises(CeersError, match=message):
            read_catalog(path, 1)

    def test_no_table(self, tmp_path):
        path = tmp_path / "text.ecsv"
        path.write_text("no table")
        with pytest.raises(CeersError, match=r"text\.ecsv"):
            read_catalog(path, 1)


class TestRendering:
    @pytest.mark.parametrize(
        "source",
        [
            {"star": True, "half_light_radius": 0.0},
            {"half_light_radius": 0.1},
            {"half_light_radius": 0.4, "axis_ratio": 0.4, "position_angle": 20.0},
            {"half_light_radius": 1.5, "sersic_index": 0.5},
        ],
    )
    def test_flux_and_position(self, source):
        wcs = make_wcs()
        drawn = render_sources(catalog_of(**source), wcs, DETECTOR, BAND, WINDOW)
        # surface brightness times solid angle of every pixel is the flux density of 22 AB
        photmjsr, _ = zero_point(DETECTOR, BAND)
        area = wcs.distortion.pixel_area(*np.meshgrid(np.arange(640) + 1408, np.arange(640) + 1408))
        flux = (drawn.image.astype(float) * area).sum() * photmjsr * 1e6
        # cut where it fades below 1e-5 DN/s: up to 0.3% of 22 AB
        assert flux == pytest.approx(3631 * 10 ** (-0.4 * 22), rel=5e-3)
        row = drawn.table[0]
        assert row["flux_in_image"] == pytest.approx(drawn.image.sum(dtype=float), rel=1e-4)
        y, x = np.indices(drawn.image.shape)
        total = drawn.image.sum(dtype=float)
        centroid = (drawn.image * x).sum(dtype=float) / total, (drawn.image * y).sum() / total
        np.testing.assert_allclose(centroid, (row["x"], row["y"]), atol=0.15)
        np.testing.assert_allclose(
            wcs.to_sky(row["x"] + 1408, row["y"] + 1408), (RA, DEC), rtol=0, atol=1e-10
        )

    @pytest.mark.parametrize("radius", [0.0, 0.15])
    def test_one_position_in_any_window(self, radius):
        y, x = np.indices((WINDOW.ny, WINDOW.nx))
        offsets = []
        for ra in RA + np.arange(3) * 0.01 / 3600:  # other places within a pixel
            catalog = catalog_of(ra=ra, mag=17.0, star=radius == 0, half_light_radius=radius)
            drawn = render_sources(catalog, make_wcs(), DETECTOR, BAND, WINDOW)
            position = np.array([drawn.table["x"][0], drawn.table["y"][0]])
            for width in (1.5, 3.0, 10.0, 30.0):
                found = position
                for _ in range(10):
                    dx, dy = x - found[0], y - found[1]
                    light = drawn.image * np.exp(-(dx**2 + dy**2) / (2 * width**2))
                    found = found + 2 * np.array([(light * dx).sum(), (light * dy).sum()]) / (
                        light.sum()
                    )
                offsets.append((found - position) * 31)
        # mas: what sampling a star with pixels leaves in the smallest window
        np.testing.assert_allclose(offsets, 0.0, atol=0.01)

    def test_shape_and_orientation(self):
        wcs = make_wcs(roll=75.0)
        catalog = catalog_of(half_light_radius=0.6, axis_ratio=0.3, position_angle=40.0, mag=18.0)
        image = render_sources(catalog, wcs, DETECTOR, BAND, WINDOW).image.astype(float)
        y, x = np.indices(image.shape) + 1408.0
        ra, dec = wcs.to_sky(x, y)
        east, north = (ra - RA) * np.cos(np.deg2rad(DEC)), dec - DEC
        core = image * (np.hypot(east, north) < 2.0 / 3600)
        xx, yy, xy = ((core * a).sum() for a in (east**2, north**2, east * north))
        # position angle from north to east
        angle = np.rad2deg(0.5 * np.arctan2(2 * xy, yy - xx)) % 180
        assert angle == pytest.approx(40.0, abs=1.5)

    def test_big_galaxy(self):
        radius = 150 * 0.0312
        catalog = catalog_of(half_light_radius=radius, mag=18.0)
        drawn = render_sources(catalog, make_wcs(), DETECTOR, BAND, WINDOW)
        row = drawn.table[0]
        y, x = np.indices(drawn.image.shape)
        within = np.hypot(x - row["x"], y - row["y"]) < row["half_light_radius"]
        assert row["half_light_radius"] == pytest.approx(150, rel=0.01)
        assert drawn.image[within].sum() / row["flux"] == pytest.approx(0.5, abs=0.01)

    def test_filters_and_spectral_slope(self):
        wcs = make_wcs()
        fluxes = []
        for slope in (0.0, 2.0):
            for name in ("F150W", "F200W"):
                catalog = catalog_of(spectral_slope=slope)
                table = render_sources(catalog, wcs, DETECTOR, get_band(name), WINDOW).table
                fluxes.append(table["flux"][0] * zero_point(DETECTOR, get_band(name))[0])
        assert fluxes[0] == pytest.approx(fluxes[1])
        assert fluxes[3] / fluxes[2] == pytest.approx((1.990 / 1.501) ** 2)

    def test_source_outside_reaches_in(self):
        wcs = make_wcs()
        corner = wcs.to_sky(1408 - 5, 1408 + 300)
        catalog = catalog_of(ra=corner[0], dec=corner[1], mag=19.0)
        drawn = render_sources(catalog, wcs, DETECTOR, BAND, WINDOW)
        assert 0 < drawn.table["flux_in_image"][0] < drawn.table["flux"][0]
        assert drawn.table["x"][0] == pytest.approx(-5, abs=1e-6)

    def test_nothing_to_draw(self):
        drawn = render_sources(catalog_of()[:0], make_wcs(), DETECTOR, BAND, WINDOW)
        assert not drawn.image.any()
        assert len(drawn.table) == 0


class TestWisps:
    @pytest.mark.parametrize("name", WISP_REGIONS)
    def test_place_and_brightness(self, name):
        detector = get_detector(name)
        template = wisp_template(detector, BAND)
        sky = BAND.sky / zero_point(detector, BAND)[0]
        assert template.min() == 0
        assert 0.1 < np.percentile(template[template > 0], 98) / sky < 0.25
        region = WISP_REGIONS[name]
        y, x = np.indices(template.shape)
        inside = (abs(x - region.x) < 1.2 * region.radius_x) & (
            abs(y - region.y) < 1.2 * region.radius_y
        )
        assert template[inside].sum() > 0.97 * template.sum()

    def test_filaments_have_structure(self):
        template = wisp_template(DETECTOR, BAND)
        bright = template > 0.1 * template.max()
        assert template[bright].std() > 0.3 * template[bright].mean()

    def test_components_differ(self):
        first, second = (wisp_template(DETECTOR, BAND, component=i) for i in (0, 1))
        assert np.corrcoef(first[first > 0], second[first > 0])[0, 1] < 0.8

    def test_real_components_where_the_package_is_installed(self, wisp_package):
        components, origin = wisp_templates(DETECTOR, BAND)
        assert origin == "nmfwisp 9.8.7 nrcb4_f150w_wisp.fits.gz"
        with fits.open(wisp_package / "nrcb4_org" / "nrcb4_f150w_wisp.fits.gz") as hdus:
            for k, component in enumerate(components):
                np.testing.assert_array_equal(component, hdus[f"WISP_{k}"].data)
        assert len(components) == 2
        made, origin = wisp_templates(DETECTOR, BAND, source="made up")
        assert origin == "made up"
        np.testing.assert_array_equal(made[0], wisp_template(DETECTOR, BAND))

    def test_made_up_without_the_package(self):
        made, origin = wisp_templates(DETECTOR, BAND, 2)
        assert (len(made), origin) == (2, "made up")
        with pytest.raises(CeersError, match=r"wisps\.templates is 'package'"):
            wisp_templates(DETECTOR, BAND, source="package")

    @pytest.mark.parametrize(("detector", "band"), [("NRCB1", "F150W"), ("NRCBLONG", "F277W")])
    def test_detectors_without(self, detector, band):
        with pytest.raises(CeersError, match="has no wisps"):
            wisp_template(get_detector(detector), get_band(band))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"mag": ["a", "b"]}, r"column mag has values like \['a'\]"),
        ({"mag": MaskedColumn([22.0, 23.0], mask=[True, False])}, "the value nan in column mag"),
        ({"ra": np.ones((2, 2))}, "column ra has 2 axes"),
        ({"RA": [1.0, 2.0]}, "the column ra twice"),
        ({"star": ["no", "yes"]}, "column star has values like"),
        ({"rh": ["a", "b"]}, "column rh has values like"),
        ({"ra": [1e30, 1.0]}, "in column ra"),
        ({"mag": [-300.0, 20.0]}, "in column mag"),
    ],
)
def test_columns_that_are_no_numbers(tmp_path, changed, problem):
    """A value that is missing was taken for what is stored below its mask."""
    table = Table({"ra": [215.0, 215.01], "dec": [53.0, 53.01], "mag": [22.0, 23.0], **changed})
    table.write(tmp_path / "c.ecsv", format="ascii.ecsv")
    with pytest.raises(CeersError, match=problem):
        read_catalog(tmp_path / "c.ecsv", 1)
