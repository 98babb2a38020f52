"""Raw files, their truth, and what the unmodified pipeline makes of them."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.cli import main
from ceers_steps.commands.simulate import read_config
from ceers_steps.errors import CeersError
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate
from ceers_steps.simulate.config.simulation import PersistenceConfig, SkyConfig
from ceers_steps.simulate.header import metadata
from ceers_steps.simulate.telescope.instrument import (
    find_subarray,
    get_band,
    get_detector,
    zero_point,
)
from ceers_steps.simulate.telescope.patterns import READ_PATTERNS
from ceers_steps.simulate.telescope.plan import ExposurePlan

KEYWORDS = Path(__file__).parents[1] / "data" / "nircam_uncal_keywords.ecsv"


def small(out, **arguments):
    """A quick simulation: 160 x 160 pixels, three groups."""
    defaults = {"dithers": 1, "size": "sub160", "n_groups": 3}
    return simulate(out, ["NRCB4"], ["F150W"], **(defaults | arguments))


def digest(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()


class TestRawFile:
    def test_keywords_of_a_real_file(self, simulated_field):
        real = Table.read(KEYWORDS)
        with fits.open(simulated_field.uncal("NRCB4", "sub640")) as file:
            for extension in ("PRIMARY", "SCI"):
                expected = set(real["keyword"][real["extension"] == extension])
                assert set(file[extension].header) - {"", "COMMENT"} == expected
            assert [hdu.name for hdu in file] == ["PRIMARY", "SCI", "GROUP", "INT_TIMES", "ASDF"]
            assert file["SCI"].data.dtype == np.uint16
            assert file["SCI"].data.shape == (1, 5, 640, 640)

    def test_header_agrees_with_itself(self, simulated_field):
        path = simulated_field.uncal("NRCBLONG", "sub640")
        with datamodels.Level1bModel(path) as model:
            meta = model.meta
            assert meta.filename == path.name
            assert (meta.instrument.detector, meta.instrument.channel) == ("NRCBLONG", "LONG")
            assert (meta.instrument.filter, meta.instrument.pupil) == ("F277W", "CLEAR")
            assert (meta.subarray.fastaxis, meta.subarray.slowaxis) == (1, -2)
            exposure = meta.exposure
            assert exposure.frame_time == pytest.approx(4.18584)
            assert exposure.group_time == pytest.approx(10 * 4.18584)
            assert exposure.integration_time == pytest.approx((5 * 10 - 2) * 4.18584)
            seconds = (exposure.end_time - exposure.start_time) * 86400
            # the exposure begins with a reset
            assert seconds == pytest.approx(exposure.duration + exposure.frame_time, abs=1e-3)
            assert len(model.group) == 5
            assert meta.aperture.name == "NRCB5_SUB640"

    def test_roll_aperture_and_pc_matrix(self, simulated_field):
        with datamodels.Level1bModel(simulated_field.uncal("NRCB4", "sub640")) as model:
            wcs = model.meta.wcsinfo
            angle = np.deg2rad(model.meta.aperture.position_angle)
            assert (wcs.roll_ref + wcs.v3yangle) % 360 == pytest.approx(np.rad2deg(angle))
            matrix = [[wcs.pc1_1, wcs.pc1_2], [wcs.pc2_1, wcs.pc2_2]]
            cos, sin = np.cos(angle), np.sin(angle)
            np.testing.assert_allclose(matrix, [[-cos, sin], [sin, cos]], atol=1e-12)

    @pytest.mark.slow
    def test_pupil_filter_and_integrations(self, tmp_path):
        (exposure,) = simulate(
            tmp_path,
            ["NRCA5"],
            ["F405N"],
            dithers=1,
            size="sub64p",
            read_pattern="bright2",
            n_groups=4,
            n_ints=3,
        )
        with datamodels.Level1bModel(exposure.uncal) as model:
            assert model.data.shape == (3, 4, 64, 64)
            assert (model.meta.instrument.filter, model.meta.instrument.pupil) == ("F444W", "F405N")
            assert model.meta.exposure.readpatt == "BRIGHT2"
            assert len(model.int_times) == 3
            assert len(model.group) == 12
            begin, end = model.int_times["int_start_MJD_UTC"], model.int_times["int_end_MJD_UTC"]
            frame = model.meta.exposure.frame_time
            np.testing.assert_allclose((begin[1:] - end[:-1]) * 86400, frame, atol=1e-3)
        assert exposure.filter == "F405N"

    @pytest.mark.parametrize("pattern", READ_PATTERNS.values(), ids=READ_PATTERNS)
    def test_every_read_pattern(self, pattern):
        detector = get_detector("NRCB4")
        plan = ExposurePlan(
            detector=detector,
            band=get_band("F150W"),
            window=find_subarray(detector, "full"),
            pattern=pattern,
            n_groups=4,
            n_ints=1,
            dither=0,
            n_dithers=1,
            offset=(0.0, 0.0),
            aperture="NRCB4_FULL",
            target_ra=0.0,
            target_dec=0.0,
            roll=0.0,
            start=59751.0,
        )
        exposure = {
            name.removeprefix("meta.exposure."): value for name, value in metadata(plan).items()
        }
        assert exposure["readpatt"] == pattern.name
        assert exposure["group_time"] == pytest.approx(
            10.73676 * (pattern.n_frames + pattern.group_gap)
        )
        frames = 4 * pattern.n_frames + 3 * pattern.group_gap
        assert exposure["integration_time"] == pytest.approx(10.73676 * frames)


@pytest.mark.slow
class TestReproducible:
    def test_same_bits(self, tmp_path):
        one = small(tmp_path / "one", dithers=2)
        two = small(tmp_path / "two", dithers=2)
        for a, b in zip(one, two, strict=True):
            assert digest(a.uncal) == digest(b.uncal)
            assert digest(a.truth) == digest(b.truth)
        assert digest(one[0].uncal) != digest(one[1].uncal)
        references = sorted((tmp_path / "one" / "crds_cache" / "references").rglob("*.fits"))
        assert references
        for path in references:
            assert digest(path) == digest(tmp_path / "two" / path.relative_to(tmp_path / "one"))

    def test_seed_changes_the_noise_but_not_the_detector(self, tmp_path):
        (one,) = small(tmp_path)
        (two,) = small(tmp_path, seed=2, observation=2)
        first, second = (fits.getdata(e.uncal).astype(float) for e in (one, two))
        noise = (first - second)[0, 0, 50:110, 50:110].std()
        assert noise > 5  # read and reset noise of some 15 DN each
        assert np.corrcoef(first[0, 0].ravel(), second[0, 0].ravel())[0, 1] > 0.9  # superbias

    def test_filters_do_not_depend_on_each_other(self, tmp_path):
        both = simulate(
            tmp_path / "both",
            ["NRCB4"],
            ["F115W", "F150W"],
            dithers=1,
            size="sub160",
            n_groups=3,
        )
        (alone,) = small(tmp_path / "alone")
        assert both[1].name == alone.name
        assert digest(both[1].uncal) == digest(alone.uncal)


class TestTruth:
    def test_round_trip(self, simulated_field):
        truth = simulated_field.truth("NRCB4", "sub640")
        assert truth.rate.shape == (640, 640)
        assert truth.stripe_rate.shape == (1, 640, 640)
        sky = get_band("F150W").sky / zero_point(get_detector("NRCB4"), get_band("F150W"))[0]
        assert truth.sky == pytest.approx(sky)
        assert len(truth.wisp_scales) == 1
        assert {"ra", "dec", "x", "y", "flux", "mag", "star"} <= set(truth.sources.colnames)
        assert (truth.rate[-4:] == 0).all()  # reference pixels see no light
        assert np.median(truth.rate) == pytest.approx(sky, rel=0.1)

    def test_events_have_their_pixels(self, simulated_field):
        truth = simulated_field.truth("NRCB4", "sub640")
        rays = truth.cosmic_rays.rays
        assert len(rays.pixel_charge) > 100
        total = sum(truth.cosmic_ray_charge(0, group).sum(dtype=float) for group in range(5))
        shown = truth.cosmic_rays.fractions[rays.pixel_event, -1] * rays.pixel_charge
        assert total == pytest.approx(shown.sum(dtype=float), rel=1e-4)
        for ball in truth.snowballs:
            assert ball.stamp.prompt.sum() > 0
            assert truth.snowball_charge(0, ball.group)[ball.stamp.slices].sum() > 0

    def test_found_from_another_product(self, simulated_field, tmp_path):
        uncal = simulated_field.uncal("NRCB4", "sub640")
        truth = read_truth(uncal.with_name(uncal.name.replace("_uncal", "_rate")))
        assert truth.exposure["name"] == uncal.name.removesuffix("_uncal.fits")
        with pytest.raises(CeersError, match="truth"):
            read_truth(tmp_path / "nothing_rate.fits")

    def test_rounding_is_below_the_noise(self, simulated_field):
        truth = simulated_field.truth("NRCB4", "sub640")
        assert np.unique(truth.rate % 2.0**-20).size == 1
        assert truth.stripe_rate.std() > 100 * 2.0**-18

    def test_effects_that_are_off(self, tmp_path):
        (exposure,) = small(tmp_path, config=SimulationConfig().only("sky"))
        truth = read_truth(exposure.truth)
        assert truth.cosmic_rays is None
        assert truth.snowballs == ()
        assert truth.wisp_scales == ()
        assert len(truth.sources) == 0
        assert not truth.stripe_rate.any()
        np.testing.assert_allclose(truth.rate[20:-20, 20:-20], truth.sky, atol=1e-6)

    def test_sky_level_and_gradient(self, tmp_path):
        config = replace(
            SimulationConfig().only("sky"),
            sky=SkyConfig(surface_brightness=1.0, gradient=(0.2, 0.0)),
        )
        (exposure,) = small(tmp_path, config=config)
        truth = read_truth(exposure.truth)
        assert truth.sky == pytest.approx(1 / 2.056)
        column = truth.rate[80, 10:150]
        np.testing.assert_allclose(np.diff(column), truth.sky * 0.2 / 2048, atol=2e-6)


@pytest.fixture(scope="module")
def products(simulated_field, tmp_path_factory):
    """Rate image, calibrated image and truth of NRCB4, by the unmodified pipeline."""
    from jwst.pipeline import Detector1Pipeline, Image2Pipeline

    out = tmp_path_factory.mktemp("products")
    uncal = simulated_field.uncal("NRCB4", "sub640")
    rate = Detector1Pipeline.call(str(uncal), output_dir=str(out), save_results=True)
    name = out / uncal.name.replace("_uncal", "_rate")
    steps = {"resample": {"skip": True}}
    cal = Image2Pipeline.call(str(name), output_dir=str(out), steps=steps)[0]
    return rate, cal, simulated_field.truth("NRCB4", "sub640")


@pytest.mark.slow
class TestPipeline:
    """What calwebb_detector1 and _image2 make of the files, without any change to them."""

    def test_every_step_ran(self, products):
        rate, cal, _ = products
        status = rate.meta.cal_step
        for step in ("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_sub"):
            assert getattr(status, step) == "COMPLETE", step
        for step in ("assign_wcs", "flat_field", "photom"):
            assert getattr(cal.meta.cal_step, step) == "COMPLETE", step

    def test_rate_is_the_truth_with_noise(self, products):
        rate, _, truth = products
        good = (rate.dq & dqflags.pixel["DO_NOT_USE"]) == 0
        pull = (rate.data - truth.rate)[good] / rate.err[good]
        # 1/f noise comes on top of the quoted errors; jumps make tails
        assert abs(np.median(pull)) < 0.15
        assert 0.85 < 1.4826 * np.median(abs(pull - np.median(pull))) < 1.4

    def test_sources_are_where_the_wcs_says(self, products):
        _, cal, truth = products
        table = truth.sources
        inside = (abs(table["x"] - 320) < 320) & (abs(table["y"] - 320) < 320)
        table = table[inside]
        assert len(table) > 5
        ra, dec = cal.meta.wcs(table["x"], table["y"])
        error = np.hypot((ra - table["ra"]) * np.cos(np.deg2rad(dec)), dec - table["dec"])
        assert error.max() * 3.6e6 < 0.01  # mas

    def test_surface_brightness(self, products):
        rate, cal, truth = products
        conversion = cal.meta.photometry.conversion_megajanskys
        assert cal.meta.bunit_data == "MJy/sr"
        assert conversion == pytest.approx(2.056, rel=1e-5)
        assert truth.sky * conversion == pytest.approx(get_band("F150W").sky, rel=1e-3)
        # the truth, calibrated as the noisy image was; most pixels show nothing but sky
        light = truth.rate * cal.data / rate.data
        assert np.nanquantile(light, 0.25) == pytest.approx(get_band("F150W").sky, rel=1e-4)

    def test_dithers_agree_on_the_sky(self, tmp_path):
        from jwst.assign_wcs import AssignWcsStep

        exposures = simulate(
            tmp_path,
            dithers=2,
            size="sub160",
            n_groups=2,
            config=SimulationConfig().only("sources"),
        )
        with active(tmp_path):
            for exposure in exposures:
                with datamodels.Level1bModel(exposure.uncal) as raw:
                    image = datamodels.ImageModel(np.zeros(raw.data.shape[-2:], np.float32))
                    image.update(raw)
                    wcs = AssignWcsStep.call(image).meta.wcs
                table = read_truth(exposure.truth).sources
                inside = (abs(table["x"] - 80) < 79) & (abs(table["y"] - 80) < 79)
                table = table[inside]
                ra, dec = wcs(table["x"], table["y"])
                error = np.hypot((ra - table["ra"]) * np.cos(np.deg2rad(dec)), dec - table["dec"])
                assert (error * 3.6e6 < 0.01).all()


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"detectors": ["NRCB4", "NRCBLONG"], "filters": ["F150W"]}, "NRCBLONG is a long"),
            ({"detectors": ["NRCB4"], "filters": ["F150W", "F277W"]}, "F277W is a long"),
            ({"detectors": ["NRCB4"], "filters": ["F150W"], "dithers": 0}, "dithers is 0"),
            ({"detectors": ["NRCB4"], "filters": ["F150W"], "n_groups": 0}, "n_groups is 0"),
            ({"target": (np.inf, 1.0)}, "target_ra is inf"),
            ({"target": (1.0, 90.1)}, "target_dec is 90.1: it must be between -90 and 90"),
            ({"roll": np.nan}, "roll is nan"),
            ({"detectors": ["NRCB4"], "filters": ["F150W"], "size": "sub99"}, "no subarray"),
            ({"detectors": ["NRCB4"], "filters": ["F150W"], "start": "now"}, "start is 'now'"),
            ({"detectors": ["NRCB4"], "filters": ["F150W"], "aperture": "X"}, "aperture"),
        ],
    )
    def test_bad_arguments(self, tmp_path, arguments, message):
        with pytest.raises(CeersError, match=message):
            simulate(tmp_path, **arguments)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("package", ["galsim", "pysiaf"])
    def test_missing_package(self, tmp_path, monkeypatch, package):
        from ceers_steps.simulate.telescope.instrument import load_siaf

        load_siaf.cache_clear()
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(CeersError, match=r"pip install 'ceers_steps\[simulate\]'"):
            small(tmp_path)

    @pytest.mark.slow
    def test_catalogue_sets_the_target(self, tmp_path):
        path = tmp_path / "sources.ecsv"
        ra = (np.array([-0.001, 0.0, 0.001]) + 360) % 360  # across 0 h
        Table({"RA": ra, "DEC": [30.0, 30.0, 30.0], "MAG": [20.0, 20.0, 20.0]}).write(path)
        (exposure,) = small(tmp_path, catalog=path, aperture="NRCB4_SUB160")
        header = fits.getheader(exposure.uncal)
        assert (header["TARG_RA"], header["TARG_DEC"]) == (0.0, 30.0)
        table = read_truth(exposure.truth).sources
        middle = table[table["source"] == 1]
        np.testing.assert_allclose((middle["x"][0], middle["y"][0]), 79.5, atol=0.01)

    def test_dithers_move_the_sky(self, tmp_path):
        exposures = small(tmp_path, dithers=3)
        headers = [fits.getheader(e.uncal, 1) for e in exposures]
        pointings = {(round(h["RA_REF"], 7), round(h["DEC_REF"], 7)) for h in headers}
        assert len(pointings) == 3
        times = [h["MJD-BEG"] for h in headers]
        assert times == sorted(times)

    @pytest.mark.slow
    def test_persistence_goes_on_in_the_next_dither(self, tmp_path):
        star = Table({"RA": [214.92], "DEC": [52.87], "MAG": [12.0], "star": [True]})
        star["half_light_radius"] = 0.1
        star.write(tmp_path / "star.ecsv")
        arguments = {
            "catalog": tmp_path / "star.ecsv",
            "aperture": "NRCB4_SUB160",
            "dithers": 2,
            "n_groups": 4,
        }
        quiet = replace(
            SimulationConfig().only("sources", "saturation", "persistence"),
            persistence=PersistenceConfig(time_constant=20.0),  # an exposure here takes 11 s
        )
        with_traps = small(tmp_path / "on", config=quiet, **arguments)
        without = small(tmp_path / "off", config=quiet.without("persistence"), **arguments)
        assert digest(with_traps[0].uncal) == digest(without[0].uncal)
        trapped = fits.getdata(with_traps[1].uncal).astype(int) - fits.getdata(without[1].uncal)
        # the star has moved on: what is left glows where it was
        assert trapped[0, -1, 75:85, 75:85].max() > 10
        assert trapped.min() >= -1


class TestCommand:
    def test_writes_and_tells_the_files(self, tmp_path, capsys):
        config = tmp_path / "config.toml"
        config.write_text("[snowballs]\nrate = 0.02\ncore_radius = [3, 8]\n")
        out = tmp_path / "out"
        code = main(
            f"simulate {out} --detectors NRCB4 --filters F150W --dithers 1 --size sub160 "
            f"--groups 2 --seed 3 --config {config} --without cosmic_rays".split()
        )
        assert code == 0
        printed = capsys.readouterr().out.splitlines()
        assert len(list(out.glob("*_uncal.fits"))) == 1
        assert printed[0] == str(next(out.glob("*_uncal.fits")))
        assert "env.sh" in printed[1]
        truth = read_truth(printed[0])
        assert truth.cosmic_rays is None
        assert truth.exposure["seed"] == 3
        assert (out / "wisp_templates" / "wisps_nrcb4_F150W.fits").exists()

    def test_user_error(self, tmp_path, capsys):
        assert main(["simulate", str(tmp_path), "--filters", "F150W"]) == 1
        assert "NRCBLONG" in capsys.readouterr().err

    def test_config_file(self, tmp_path):
        path = tmp_path / "c.toml"
        path.write_text("[sky]\nsurface_brightness = 0.5\n[one_over_f]\nenabled = false\n")
        config = read_config(path)
        assert config.sky.surface_brightness == 0.5
        assert not config.one_over_f.enabled
        assert config.snowballs == SimulationConfig().snowballs

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[sky", "not TOML"),
            ("[clouds]\n", "no section"),
            ("sky = 3\n", "no section"),
            ("[sky]\nlevel = 1\n", "not known"),
            ("[sky]\ngradient = 1\n", "give a value like"),
            ("[sky]\nenabled = 1\n", "give a value like"),
            ("[dark]\nscatter = 'x'\n", "give a value like"),
            ("[dark]\nscatter = -1\n", "scatter"),
        ],
    )
    def test_bad_config_files(self, tmp_path, text, message):
        path = tmp_path / "bad.toml"
        path.write_text(text)
        with pytest.raises(CeersError, match=message):
            read_config(path)
        with pytest.raises(CeersError, match="Cannot read"):
            read_config(tmp_path / "none.toml")


@pytest.mark.slow
class TestFullFrame:
    def test_bright_source_fluxes(self, full_frame):
        """Detector1 recovers the flux of sources on a full frame."""
        from jwst.pipeline import Detector1Pipeline

        uncal = full_frame.uncal("NRCBLONG", "full")
        # what was hit is left out by the truth
        without = {"jump": {"skip": True}}
        rate = Detector1Pipeline.call(str(uncal), save_results=False, steps=without)
        truth = full_frame.truth("NRCBLONG", "full")
        good = (truth.rate > 2 * truth.sky) & ((rate.dq & dqflags.pixel["DO_NOT_USE"]) == 0)
        events = np.zeros(good.shape, np.float32)
        for group in range(9):
            events += truth.cosmic_ray_charge(0, group) + truth.snowball_charge(0, group)
        good &= events < 5
        assert good.sum() > 4000
        ratio = rate.data[good].sum(dtype=float) / truth.rate[good].sum(dtype=float)
        # white noise averages to 2e-4, stripes that the sources lie on to 1e-3
        assert ratio == pytest.approx(1, abs=3e-3)

    def test_wisp_is_the_template_times_its_scale(self, full_frame):
        truth = full_frame.truth("NRCB4", "full")
        template = fits.getdata(full_frame.folder / "wisp_templates" / "wisps_nrcb4_F150W.fits")
        (scale,) = truth.wisp_scales
        blank = (template > 0.3 * template.max()) & (truth.rate > 0)
        flat = datamodels.FlatModel(
            full_frame.folder / "crds_cache/references/jwst/nircam/jwst_nircam_flat_nrcb4_full.fits"
        ).data
        light = truth.rate[blank] / flat[blank] - truth.sky
        assert np.median(light / template[blank]) == pytest.approx(scale, rel=0.02)


def test_no_source_on_the_subarray_is_a_warning(tmp_path, caplog):
    away = Table({"ra": [214.9], "dec": [53.5], "mag": [22.0], "half_light_radius": [0.2]})
    path = tmp_path / "sources.ecsv"
    away.write(path)
    simulate(
        tmp_path,
        ["NRCB4"],
        ["F150W"],
        dithers=1,
        size="sub160",
        n_groups=2,
        seed=1,
        catalog=path,
        target=(214.9, 52.9),
    )
    (record,) = [each for each in caplog.records if "none of the 1 sources" in each.message]
    assert "SUB160 of NRCB4" in record.message
    assert "target RA 214.90000, Dec 52.90000" in record.message
