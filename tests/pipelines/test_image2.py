"""Stage 2: calibration of simulated rates, parameter files, associations, clear errors."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from crds.core import utils as crds
from jwst.datamodels import ModelContainer
from jwst.pipeline import Image2Pipeline
from jwst.resample import ResampleStep
from jwst.skymatch import SkyMatchStep
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags
from stpipe import config_parser

from ceers_steps import CeersImage2, CeersImage3
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.simulate.detector.calibration import make_calibration
from ceers_steps.simulate.telescope.instrument import (
    find_subarray,
    get_band,
    get_detector,
    zero_point,
)
from ceers_steps.steps.base import StepError
from tests.pipelines.test_detector1 import pars_of, strun, strun_here

FILES = ["image2.asdf", "dr05/image2.asdf"]
RECORD = {"status": "COMPLETE", "version": "0", "parameters": {"method": "wiener"}, "metrics": {}}


def make_rate(field, kind=datamodels.ImageModel, number=1):
    """Return the true rate as stage 1 would give it, with a record of one of our steps."""
    truth = field.truth("NRCB4", "sub640").rate.astype(np.float32)
    data = truth if kind is datamodels.ImageModel else np.stack([truth, 2 * truth])
    model = kind(data=data)
    with datamodels.open(field.uncal("NRCB4", "sub640")) as raw:
        model.update(raw)
    suffix = "rate" if data.ndim == 2 else "rateints"
    name = raw.meta.filename.replace("_uncal", f"_{suffix}")
    model.meta.filename = name.replace("_00001_", f"_0000{number}_")
    model.dq = np.zeros(data.shape, np.uint32)
    model.err = np.ones(data.shape, np.float32)
    model.var_poisson = np.full(data.shape, 0.5, np.float32)
    model.var_rnoise = np.full(data.shape, 0.5, np.float32)
    model.meta.cal_step.ramp_fit = "COMPLETE"
    model.meta.cal_step.instance["ceers_remstriping"] = "COMPLETE"
    model.meta.instance["ceers_steps"] = {"ceers_remstriping": dict(RECORD)}
    return model


@pytest.fixture
def rate(simulated_field):
    return make_rate(simulated_field)


@pytest.fixture
def rate_file(rate, tmp_path):
    path = tmp_path / "in" / rate.meta.filename
    path.parent.mkdir()
    rate.save(path)
    return path


class TestCalibration:
    def test_values_and_products(self, rate_file, rate, tmp_path):
        out = tmp_path / "out"
        (result,) = CeersImage2.call(str(rate_file), save_results=True, output_dir=str(out))
        name = rate_file.name.replace("_rate", "_cal")
        assert [path.name for path in out.iterdir()] == [name]
        detector = get_detector("NRCB4")
        photmjsr, _ = zero_point(detector, get_band("F150W"))
        window = find_subarray(detector, "sub640")
        flat = (
            make_calibration("NRCB4").cut((window.y_start - 1, window.x_start - 1), (640, 640)).flat
        )
        with datamodels.open(out / name) as cal:
            good = cal.dq & dqflags.pixel["DO_NOT_USE"] == 0
            assert good.mean() > 0.9
            truth = (rate.data / flat * photmjsr)[good]
            np.testing.assert_allclose(cal.data[good], truth, rtol=1e-5)
            assert np.ptp(flat[good]) > 0.01  # the flat field shows
            assert cal.meta.bunit_data == "MJy/sr"
            assert cal.meta.wcs.available_frames[-1] == "world"
            assert cal.meta.cal_step.resample == "SKIPPED"
            # what stage 1 has recorded survives
            assert cal.meta.cal_step.instance["ceers_remstriping"] == "COMPLETE"
            assert cal.meta.ceers_steps.instance == {"ceers_remstriping": RECORD}
            assert cal.cal_logs.instance["ceers_image2"]
        assert result.meta.filename == name

    def test_an_empty_flat_variance_is_none(self, rate, rate_file):
        """As stock jwst takes it: the flat field makes its own."""
        (expected,) = CeersImage2.call(rate)
        rate.var_flat = np.zeros_like(rate.data)
        rate.save(rate_file)
        with fits.open(rate_file) as hdus:
            hdus["VAR_FLAT"].data = None
            hdus.writeto(rate_file, overwrite=True)
        (result,) = CeersImage2.call(str(rate_file))
        for plane in ("data", "err", "var_flat"):
            np.testing.assert_array_equal(result[plane], expected[plane])

    def test_input_is_left_as_it_was(self, rate):
        before = rate.data.copy()
        (result,) = CeersImage2.call(rate)
        np.testing.assert_array_equal(rate.data, before)
        assert rate.meta.cal_step.photom is None
        assert result.meta.cal_step.photom == "COMPLETE"

    @pytest.mark.slow
    def test_integrations(self, simulated_field, tmp_path):
        cube = make_rate(simulated_field, datamodels.CubeModel)
        path = tmp_path / cube.meta.filename
        cube.save(path)
        out = tmp_path / "out"
        CeersImage2.call(path, save_results=True, output_dir=str(out))
        (product,) = out.iterdir()
        assert product.name == path.name.replace("_rateints", "_calints")
        with datamodels.open(product) as calints:
            np.testing.assert_allclose(calints.data[1], 2 * calints.data[0], rtol=1e-5)
            assert calints.meta.ceers_steps.instance == {"ceers_remstriping": RECORD}


class TestAssociation:
    """Members stand relative to the folder of the association, wherever one works."""

    def write(self, folder, members, name="asn.json"):
        products = [
            {"name": each[0].split("_rate")[0], "members": self.members(each)} for each in members
        ]
        association = {
            "asn_type": "image2",
            "asn_rule": "DMSLevel2bBase",
            "asn_pool": "none",
            "program": "1345",
            "products": products,
        }
        path = folder / name
        path.write_text(json.dumps(association))
        return str(path)

    def members(self, names):
        return [{"expname": name, "exptype": "science"} for name in names]

    @pytest.mark.slow
    def test_each_exposure_becomes_a_product(self, simulated_field, rate_file, tmp_path):
        second = make_rate(simulated_field, number=2)
        second.save(rate_file.parent / second.meta.filename)
        names = [rate_file.name, second.meta.filename]
        association = self.write(rate_file.parent, [[name] for name in names])
        out = tmp_path / "out"
        wanted = [name.replace("_rate", "_cal") for name in names]
        results = CeersImage2.call(association)
        assert [result.meta.filename for result in results] == wanted
        CeersImage2.call(association, save_results=True, output_dir=str(out))
        assert sorted(path.name for path in out.iterdir()) == wanted
        assert results[0].meta.asn.table_name == "asn.json"

    @pytest.mark.slow
    @pytest.mark.parametrize("save_results", [True, False])
    @pytest.mark.parametrize("form", ["models", "files", "container"])
    def test_list(self, simulated_field, tmp_path, save_results, form):
        """Each gets its own name, saved or not: jwst calls them all step_Image2Pipeline_cal."""
        models = [make_rate(simulated_field, number=number) for number in (1, 2)]
        models[1].data[:] = 1.0
        given = ModelContainer(models) if form == "container" else models
        if form == "files":
            given = [str(model.save(tmp_path / model.meta.filename)) for model in models]
        out = tmp_path / "out"
        results = CeersImage2.call(given, save_results=save_results, output_dir=str(out))
        wanted = [model.meta.filename.replace("_rate", "_cal") for model in models]
        assert [result.meta.filename for result in results] == wanted
        assert sorted(path.name for path in out.iterdir()) == (wanted if save_results else [])
        assert not np.array_equal(results[0].data, results[1].data, equal_nan=True)

    def test_what_is_neither_file_nor_model_is_named(self, rate_file):
        path = self.write(rate_file.parent, [[rate_file.name]])
        association = json.loads(Path(path).read_text())
        with pytest.raises(StepError, match=r"cannot read a dict: .* the file of a level-2 assoc"):
            CeersImage2.call(association)

    def test_of_stage_3(self, rate_file):
        other = rate_file.with_name("other_rate.fits")
        shutil.copy(rate_file, other)
        association = self.write(rate_file.parent, [[rate_file.name, other.name]])
        with pytest.raises(StepError, match=r"has 2 science members.*level-2 association"):
            CeersImage2.call(association)

    def test_member_that_does_not_exist(self, rate_file):
        association = self.write(rate_file.parent, [[rate_file.name], ["jw_gone_rate.fits"]])
        with pytest.raises(StepError, match=r"do not exist: .*jw_gone_rate\.fits"):
            CeersImage2.call(association)

    def test_no_association(self, tmp_path):
        path = tmp_path / "asn.json"
        path.write_text("{}")
        with pytest.raises(StepError, match=r"asn\.json is not an association"):
            CeersImage2.call(str(path))


class TestResampleIsOffByDefault:
    def skip(self, config):
        return config["steps"]["resample"]["skip"]

    def test_instance(self):
        assert CeersImage2().resample.skip is True
        assert CeersImage2(steps={"resample": {"skip": False}}).resample.skip is False

    def test_crds_cannot_turn_it_on(self, rate, monkeypatch):
        def from_crds(parameters, observatory):
            return config_parser.ConfigObj({"skip": False, "kernel": "gaussian"})

        monkeypatch.setattr(ResampleStep, "_get_config_from_parameters", from_crds)
        config, _ = CeersImage2.build_config(rate)
        assert self.skip(config) is True
        assert config["steps"]["resample"]["kernel"] == "gaussian"  # the rest applies

    def test_the_user_can(self, rate):
        config, _ = CeersImage2.build_config(rate, steps={"resample": {"skip": False}})
        assert self.skip(config) is False

    def test_a_parameter_file_can(self, rate, tmp_path):
        text = (parameter_files_dir() / "image2.asdf").read_text()
        assert "skip: true" in text
        (tmp_path / "mine.asdf").write_text(text.replace("skip: true", "skip: false"))
        path = str(tmp_path / "mine.asdf")
        config, _ = CeersImage2.build_config(rate, config_file=path)
        assert str(self.skip(config)).lower() == "false"

    @pytest.mark.slow
    def test_on_the_command_line(self, rate_file, tmp_path):
        out = tmp_path / "out"
        process = strun(
            *("ceers_image2", rate_file, f"--output_dir={out}", "--steps.resample.skip=false")
        )
        assert process.returncode == 0, process.stderr[-2000:]
        names = {rate_file.name.replace("_rate", suffix) for suffix in ("_cal", "_i2d")}
        assert {path.name for path in out.iterdir()} == names


class TestSky:
    """A constant sky is subtracted on request, recorded, and not subtracted again in stage 3."""

    SKY, NOISE = 0.5, 0.02  # DN/s

    def rate(self, field, number=1, light=0.0):
        model = make_rate(field, number=number)
        noise = np.random.default_rng(number).normal(0, self.NOISE, model.data.shape)
        model.data += (self.SKY + light + noise).astype(np.float32)
        model.err[:] = self.NOISE
        model.var_poisson[:] = model.var_rnoise[:] = self.NOISE**2 / 2
        return model

    def test_off_unless_asked_for(self, rate, monkeypatch):
        def from_crds(parameters, observatory):
            pars = {"skip": False, "skymethod": "match", "subtract": False, "nclip": 3}
            return config_parser.ConfigObj(pars)

        assert CeersImage2().skymatch.skip is True
        monkeypatch.setattr(SkyMatchStep, "_get_config_from_parameters", from_crds)
        config, _ = CeersImage2.build_config(rate)
        part = config["steps"]["skymatch"]
        assert (part["skip"], part["skymethod"], part["subtract"]) == (True, "local", True)
        assert part["nclip"] == 3  # the rest applies

    @pytest.mark.slow
    def test_subtracted_once(self, simulated_field, tmp_path, caplog):
        model = self.rate(simulated_field)
        (plain,) = CeersImage2.call(model)
        (cal,) = CeersImage2.call(model, steps={"skymatch": {"skip": False}})
        background = cal.meta.background
        assert (background.subtracted, background.method) == (True, "local")
        assert cal.meta.cal_step.skymatch == "COMPLETE"
        np.testing.assert_allclose(cal.data, plain.data - background.level, atol=1e-6)
        cal.save(tmp_path / cal.meta.filename)
        header = fits.getheader(tmp_path / cal.meta.filename)
        assert header["S_SKYMAT"] == "COMPLETE"
        assert (header["BKGSUB"], header["BKGMETH"]) == (True, "local")
        assert "sky" in str(header["HISTORY"])

        steps = {name: {"skip": True} for name in ("tweakreg", "outlier_detection", "resample")}
        matched = []
        for exposure in (cal, plain):
            exposure.save(tmp_path / exposure.meta.filename)
            out = tmp_path / f"out{len(matched)}"
            CeersImage3.call(
                str(tmp_path / exposure.meta.filename),
                steps={**steps, "mosaic_background": {"skip": True}},
                save_results=True,
                output_dir=str(out),
            )
            matched.append(next(out.glob("*_match.fits")))
        assert "skymatch is left out" in caplog.text
        with datamodels.open(matched[0]) as once, datamodels.open(matched[1]) as later:
            error = later.meta.ceers_steps.instance["ceers_skyvar"]["metrics"]["sky_err"]
            assert once.meta.background.level == pytest.approx(
                later.meta.background.level, abs=0.2 * error
            )
            good = np.isfinite(once.data) & np.isfinite(later.data)
            assert np.abs((once.data - later.data)[good]).max() < 0.2 * error

    def test_stage_3_of_jwst_does_not_subtract_it_again(self, simulated_field, tmp_path):
        (cal,) = CeersImage2.call(self.rate(simulated_field), steps={"skymatch": {"skip": False}})
        level, data = cal.meta.background.level, cal.data.copy()
        with pytest.raises(ValueError, match="inconsistent with background info"):
            SkyMatchStep.call([cal.copy()])
        again = SkyMatchStep.call([cal], subtract=True, skymethod="local")
        with again:
            model = again.borrow(0)
            assert model.meta.background.level == pytest.approx(level, rel=1e-2)
            np.testing.assert_allclose(model.data, data, atol=0.01 * level)
            again.shelve(model, 0, modify=False)

    def test_no_sky_is_seen(self, simulated_field, caplog):
        y, x = np.mgrid[:640, :640]
        galaxy = 60 * self.SKY * np.exp(-np.hypot(y - 300, x - 340) / 170.0)
        model = self.rate(simulated_field, light=galaxy)
        (plain,) = CeersImage2.call(model)
        (cal,) = CeersImage2.call(model, steps={"skymatch": {"skip": False}})
        assert "no sky is seen" in caplog.text
        np.testing.assert_array_equal(cal.data, plain.data)
        assert cal.meta.background.level == 0.0
        assert cal.meta.background.subtracted

    @pytest.mark.slow
    def test_integrations_keep_it(self, simulated_field):
        cube = make_rate(simulated_field, datamodels.CubeModel)
        (plain,) = CeersImage2.call(cube)
        (calints,) = CeersImage2.call(cube, steps={"skymatch": {"skip": False}})
        np.testing.assert_array_equal(calints.data, plain.data)
        assert calints.meta.cal_step.skymatch == "SKIPPED"


def test_steps_and_crds_parameters_are_those_of_the_parent():
    assert CeersImage2.step_defs == {**Image2Pipeline.step_defs, "skymatch": SkyMatchStep}
    assert CeersImage2.get_config_reftype() == "pars-image2pipeline"


class TestParameterFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_parameters_are_known(self, name):
        spec = CeersImage2.load_spec_file()
        for step, parameters in pars_of(parameter_files_dir() / name).items():
            assert set(parameters) <= set(spec["steps"][step] if step else spec), step

    def test_dr05_names_every_step(self):
        named = set(pars_of(parameter_files_dir() / "dr05/image2.asdf")) - {""}
        assert named == set(CeersImage2.step_defs)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", FILES)
    def test_every_parameter_takes_effect(self, name, rate_file, tmp_path):
        out = tmp_path / "out"
        strun_here(
            parameter_files_dir() / name,
            rate_file,
            f"--output_dir={out}",
            f"--save-parameters={tmp_path / 'used.asdf'}",
        )
        assert [path.name for path in out.iterdir()] == [rate_file.name.replace("_rate", "_cal")]
        used = pars_of(tmp_path / "used.asdf")
        for step, parameters in pars_of(parameter_files_dir() / name).items():
            assert {key: used[step][key] for key in parameters} == parameters, step


class TestBadInput:
    """One message that names what is wrong; no product."""

    def test_raw_exposure(self, simulated_field):
        with pytest.raises(StepError, match=r"holds a Level1bModel.*_rate"):
            CeersImage2.call(str(simulated_field.uncal("NRCB4", "sub640")))

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_calibrated_already(self, rate, tmp_path, in_memory):
        rate.meta.cal_step.flat_field = rate.meta.cal_step.photom = "COMPLETE"
        given = rate if in_memory else str(rate.save(tmp_path / "x_cal.fits"))
        with pytest.raises(StepError, match=r"flat_field, photom COMPLETE.*_rate\.fits"):
            CeersImage2.call(given)

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_calibrated_by_its_unit(self, rate, tmp_path, in_memory):
        """Another program may lose the statuses; flux would be calibrated twice."""
        rate.meta.bunit_data = "MJy/sr"
        given = rate if in_memory else str(rate.save(tmp_path / "x_rate.fits"))
        with pytest.raises(StepError, match=r"calibrated already \(BUNIT MJy/sr\).*_rate\.fits"):
            CeersImage2.call(given)

    @pytest.mark.parametrize("unit", ["electron/s", "abc"])
    def test_a_rate_of_another_unit(self, rate, unit):
        """Its numbers would be taken for data numbers per second."""
        rate.meta.bunit_data = unit
        with pytest.raises(StepError, match=f"BUNIT is {unit}.*DN/s"):
            CeersImage2.call(rate)

    def test_missing_reference(self, rate, monkeypatch, simulated_field, tmp_path):
        monkeypatch.setenv("CRDS_PATH", str(tmp_path))
        with pytest.raises(StepError, match="CRDS has no usable"):
            CeersImage2.call(rate)

    @pytest.mark.parametrize("context", ["x", "jwst_9999.pmap"])
    def test_context_that_is_none(self, rate, monkeypatch, request, capfd, context):
        """CRDS asserts what it is, or prints two tracebacks for each type of reference."""
        monkeypatch.setenv("CRDS_CONTEXT", context)
        crds.clear_function_caches()  # they hold the context of the tests before
        request.addfinalizer(crds.clear_function_caches)
        with pytest.raises(StepError, match=rf"CRDS has no usable .* under {context}"):
            CeersImage2.call(rate, configure_log=False)
        assert "Traceback" not in capfd.readouterr().err

    def test_full_disk_while_a_step_saves_its_result(self, rate, tmp_path, monkeypatch):
        def save(self, path, *args, **kwargs):
            with open(path, "w") as file:
                file.write("SIMPLE")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(datamodels.ImageModel, "save", save)
        with pytest.raises(StepError, match=r"Cannot write .*No space left"):
            CeersImage2.call(
                rate, output_dir=str(tmp_path / "out"), steps={"assign_wcs": {"save_results": True}}
            )
        assert not list((tmp_path / "out").iterdir())
