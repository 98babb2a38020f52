"""Stage 1 on simulated exposures: parameter files, products, other data, clear errors."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from jwst.jump import JumpStep
from jwst.stpipe import Step
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags
from stpipe import config_parser

from ceers_steps import CeersDetector1
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.pipelines.detector1 import CUSTOM_STEPS
from ceers_steps.simulate import SimulationConfig, read_truth, simulate
from ceers_steps.steps.base import StepError

ALIASES = [step.class_alias for step in CUSTOM_STEPS.values()]


def strun(*arguments, before=(), **environment):
    """Run ``strun`` as a user does; `before` is a command that runs it."""
    return subprocess.run(
        [*before, Path(sys.executable).with_name("strun"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def strun_here(*arguments):
    """Do what ``strun`` does in this process: where the test is not about the process.

    Importing jwst takes longer than many a pipeline on a small subarray.
    """
    return Step.from_cmdline([str(argument) for argument in arguments])


def environment_of(folder):
    """Return the variables that a simulation's ``env.sh`` sets."""
    script = f"source {folder}/env.sh && env"
    lines = subprocess.check_output(["bash", "-c", script], text=True).splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key: value for key, _, value in pairs if key.startswith(("CRDS_", "NIRCAM_"))}


def pars_of(path):
    """Return ``{step or "": {parameter: value}}`` of a parameter file."""
    with asdf.open(path) as file:
        tree = file.tree
    steps = {step["name"]: step["parameters"] for step in tree.get("steps", [])}
    return {"": tree["parameters"], **steps}


@pytest.fixture(scope="module")
def runs(simulated_field, tmp_path_factory):
    """Each parameter file through ``strun``, with the parameters it says it used."""
    done = {}
    for name in ("detector1.asdf", "dr05/detector1.asdf"):
        out = tmp_path_factory.mktemp(name.replace("/", "_"))
        process = strun(
            parameter_files_dir() / name,
            simulated_field.uncal("NRCB4", "sub640"),
            f"--output_dir={out}",
            "--save_intermediates=true",
            f"--save-parameters={out / 'used.asdf'}",
        )
        assert process.returncode == 0, process.stderr[-3000:]
        done[name] = out, process.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector1.asdf", "dr05/detector1.asdf"])
def test_every_parameter_of_the_file_takes_effect(runs, name):
    out, _ = runs[name]
    wanted, used = pars_of(parameter_files_dir() / name), pars_of(out / "used.asdf")
    wanted[""].pop("save_intermediates")  # given on the command line
    if "overrides" in wanted[""]:
        assert used[""].pop("overrides") == str(parameter_files_dir() / "dr05/exposures.ecsv")
        wanted[""].pop("overrides")
    for step, parameters in wanted.items():
        assert {key: used[step][key] for key in parameters} == parameters, step


@pytest.mark.parametrize("name", ["detector1.asdf", "dr05/detector1.asdf"])
def test_parameters_differ_from_a_default_or_are_known(name):
    """A parameter with a mistyped name would be ignored by nobody: stpipe must refuse it."""
    spec = CeersDetector1.load_spec_file()
    for step, parameters in pars_of(parameter_files_dir() / name).items():
        known = spec["steps"][step] if step else spec
        assert set(parameters) <= set(known), step


def test_dr05_names_every_step_of_the_sequence():
    near_infrared = set(CeersDetector1.step_defs) - {
        *("emicorr", "rscd", "firstframe", "lastframe", "reset")  # MIRI only
    }
    assert set(pars_of(parameter_files_dir() / "dr05/detector1.asdf")) - {""} == near_infrared


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detector1.asdf", "dr05/detector1.asdf"])
def test_products_and_provenance(runs, simulated_field, name):
    out, log = runs[name]
    exposure = simulated_field.uncal("NRCB4", "sub640").name.removesuffix("_uncal.fits")
    products = {path.name for path in out.iterdir()} - {"used.asdf"}
    suffixes = {"rate", "rateints", "1fmask", "prewisp", "pre1f"}
    assert products == {f"{exposure}_{suffix}.fits" for suffix in suffixes}
    assert "Snowballs are left to the snowball step" in log
    for suffix in ("rate", "rateints"):
        with datamodels.open(out / f"{exposure}_{suffix}.fits") as model:
            done = model.meta.ceers_steps.instance
            # a step that a file leaves out has its status alone
            left_out = {"ceers_trapped_charge"} if name.startswith("dr05") else set()
            assert set(done) == set(ALIASES) - left_out
            assert model.meta.cal_step.instance["ceers_trapped_charge"] == "SKIPPED"
            for alias in done:
                assert model.meta.cal_step.instance[alias] == done[alias]["status"]
            if suffix == "rate":
                logs = model.cal_logs.instance["ceers_detector1"]
                assert any("ceers_steps.steps.base" in line for line in logs)
        history = "".join(map(str, fits.getheader(out / f"{exposure}_{suffix}.fits")["HISTORY"]))
        for alias in done:
            assert alias in history
    method = {"detector1.asdf": "adaptive", "dr05/detector1.asdf": "ceers"}[name]
    assert done["ceers_snowball"]["parameters"]["method"] == method
    rate = fits.getdata(out / f"{exposure}_rate.fits", "SCI")
    np.testing.assert_array_equal(
        fits.getdata(out / f"{exposure}_rateints.fits", "SCI")[0], rate, strict=True
    )


FOLLOW = (
    *("instrument.name", "instrument.module", "instrument.channel"),
    *("exposure.nints", "exposure.ngroups", "exposure.nframes", "exposure.groupgap"),
    *("exposure.frame_time", "exposure.noutputs", "observation.date", "observation.time"),
    *("subarray.xstart", "subarray.ystart", "subarray.xsize", "subarray.ysize"),
    *("subarray.fastaxis", "subarray.slowaxis"),
)
"""Keywords that follow from others in a raw exposure, by their place in ``meta``."""


def remove(path, out, names):
    """Write a copy of an exposure without some of its metadata."""
    with datamodels.open(path) as model:
        for name in names:
            section, key = name.split(".")
            del model.meta.instance[section][key]
        return str(model.save(out / Path(path).name))


@pytest.mark.slow
def test_keywords_that_follow_from_others_are_filled_in(runs, simulated_field, tmp_path, caplog):
    """The rate image is that of the whole header, to the bit."""
    path = remove(simulated_field.uncal("NRCB4", "sub640"), tmp_path, FOLLOW)
    config = str(parameter_files_dir() / "detector1.asdf")
    with caplog.at_level(logging.WARNING):
        rate = CeersDetector1.call(path, config_file=config)
    assert "NOUTPUTS=1 is filled in (SUBARRAY SUB640)" in caplog.text
    (expected,) = runs["detector1.asdf"][0].glob("*_rate.fits")
    np.testing.assert_array_equal(rate.data, fits.getdata(expected, "SCI"))
    assert rate.meta.exposure.frame_time == fits.getval(expected, "TFRAME")
    assert rate.meta.observation.date == fits.getval(expected, "DATE-OBS")


@pytest.mark.parametrize(
    ("name", "keyword"),
    [("exposure.type", "EXP_TYPE"), ("instrument.filter", "FILTER"), ("instrument.pupil", "PUPIL")],
)
def test_keywords_that_do_not_follow_are_named(simulated_field, tmp_path, name, keyword):
    path = remove(simulated_field.uncal("NRCB4", "sub640"), tmp_path, [name])
    with pytest.raises(StepError, match=rf"_uncal\.fits: no keyword {keyword}, .*setval"):
        CeersDetector1.call(path)


def test_a_header_of_another_subarray(simulated_field, tmp_path):
    path = shutil.copy(simulated_field.uncal("NRCB4", "sub640"), tmp_path)
    for keyword, value in (("SUBARRAY", "SUB320"), ("SUBSIZE1", 320), ("SUBSIZE2", 320)):
        fits.setval(path, keyword, value=value)
    with pytest.raises(StepError, match=r"SUBSIZE1=320 and SUBSIZE2=320, but the array has 640"):
        CeersDetector1.call(path)


@pytest.mark.slow
def test_stripes_are_gone_and_the_sky_is_kept(runs, simulated_field):
    """Row-to-row scatter of sky pixels about the truth falls towards the white-noise limit."""
    out, _ = runs["detector1.asdf"]
    truth = simulated_field.truth("NRCB4", "sub640")
    (after,), (before,) = (list(out.glob(f"*_{name}.fits")) for name in ("rate", "pre1f"))
    sky = truth.rate < np.median(truth.rate) * 1.05
    good = sky & (fits.getdata(after, "DQ") == 0)
    white = np.median(fits.getdata(after, "ERR")[good])

    def row_scatter(path):
        residual = np.where(good, fits.getdata(path, "SCI") - truth.rate, np.nan)
        rows = np.nanmean(residual[good.sum(axis=1) > 200], axis=1)
        return np.std(rows)

    count = np.median(good.sum(axis=1))
    limit = white / np.sqrt(count)
    assert row_scatter(before) > 1.5 * limit
    # excess variance of the rows (stripes) falls by a factor of ten at least
    assert row_scatter(after) ** 2 - limit**2 < 0.1 * (row_scatter(before) ** 2 - limit**2)
    change = np.mean((fits.getdata(after, "SCI") - fits.getdata(before, "SCI"))[good], dtype=float)
    assert abs(change) < 0.01 * truth.sky


@pytest.mark.slow
def test_each_integration_is_cleaned_by_itself(simulated_field, tmp_path):
    (exposure,) = simulate(
        simulated_field.folder,
        ["NRCB4"],
        ["F150W"],
        dithers=1,
        size="sub640",
        n_groups=3,
        n_ints=2,
        observation=7,
        config=SimulationConfig().without("snowballs", "cosmic_rays"),
    )
    CeersDetector1.call(
        str(exposure.uncal), save_results=True, output_dir=str(tmp_path), save_intermediates=True
    )
    stem = exposure.uncal.name.removesuffix("_uncal.fits")
    with datamodels.open(tmp_path / f"{stem}_rateints.fits") as cube:
        assert cube.data.shape == (2, 640, 640)
        assert cube.meta.cal_step.instance["ceers_remstriping"] == "COMPLETE"
        removed = fits.getdata(tmp_path / f"{stem}_pre1fints.fits", "SCI") - cube.data
    rows = np.nan_to_num(np.nanmedian(removed[..., 4:-4], axis=2)[:, 4:-4])
    # the 1/f noise of the two integrations has nothing to do with each other
    assert np.all(rows.std(axis=1) > 0)
    assert abs(np.corrcoef(rows)[0, 1]) < 0.5


class TestOneTreatmentOfEachKind:
    """jwst's own snowball and 1/f corrections."""

    def test_crds_cannot_turn_them_on(self, simulated_field, monkeypatch):
        def from_crds(parameters, observatory):
            return config_parser.ConfigObj({"expand_large_events": True, "min_jump_area": 7.0})

        monkeypatch.setattr(JumpStep, "_get_config_from_parameters", from_crds)
        uncal = str(simulated_field.uncal("NRCB4", "sub640"))
        config = CeersDetector1.build_config(uncal)[0]["steps"]
        assert config["jump"]["expand_large_events"] is False
        assert config["jump"]["min_jump_area"] == 7.0  # the rest of CRDS's parameters applies
        assert config["clean_flicker_noise"]["skip"] is True

    def test_crds_decides_where_ours_do_not_apply(self, simulated_field, tmp_path, monkeypatch):
        def from_crds(parameters, observatory):
            return config_parser.ConfigObj({"expand_large_events": True})

        monkeypatch.setattr(JumpStep, "_get_config_from_parameters", from_crds)
        path = tmp_path / "jw01345001001_02105_00001_nrcblong_uncal.fits"
        shutil.copy(simulated_field.uncal("NRCBLONG", "sub640"), path)
        fits.setval(path, "EXP_TYPE", value="NRC_TACONFIRM")
        config = CeersDetector1.build_config(str(path))[0]["steps"]
        assert config["jump"]["expand_large_events"] is True
        assert "skip" not in config["clean_flicker_noise"]

    def test_the_user_can_and_is_warned(self, caplog):
        pipeline = CeersDetector1(
            steps={"jump": {"expand_large_events": True}, "clean_flicker_noise": {"skip": False}}
        )
        with caplog.at_level(logging.WARNING, "ceers_steps"):
            pipeline._warn_of_double_treatment()
        assert "where it finds snowballs: flagged twice" in caplog.text
        assert "1/f noise would be fitted twice" in caplog.text

    def test_one_alone_is_no_reason_to_warn(self, caplog):
        pipeline = CeersDetector1(
            steps={
                "jump": {"expand_large_events": True},
                "snowball": {"method": "none"},
                "clean_flicker_noise": {"skip": False},
                "remstriping": {"skip": True},
            }
        )
        caplog.clear()  # making the steps may be logged, if an earlier test has asked for it
        with caplog.at_level(logging.WARNING, "ceers_steps"):
            pipeline._warn_of_double_treatment()
        assert caplog.text == ""


@pytest.mark.slow
def test_other_exposures_go_through_the_stock_sequence(simulated_field, tmp_path):
    path = tmp_path / simulated_field.uncal("NRCBLONG", "sub640").name
    shutil.copy(simulated_field.uncal("NRCBLONG", "sub640"), path)
    fits.setval(path, "EXP_TYPE", value="NRC_TACONFIRM")
    out = tmp_path / "out"
    CeersDetector1.call(str(path), save_results=True, output_dir=str(out))
    products = list(out.iterdir())
    assert len(products) == 2
    for product in products:  # rate and rateints
        with datamodels.open(product) as rate:
            assert rate.meta.cal_step.ramp_fit == "COMPLETE"
            assert [rate.meta.cal_step.instance[alias] for alias in ALIASES] == ["SKIPPED"] * 5
            note = rate.meta.ceers_steps.instance["ceers_snowball"]["note"]
            assert note == "not NIRCam imaging (EXP_TYPE NRC_TACONFIRM)"


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [1, 2])
def test_ramps_too_short_for_jumps_get_the_other_corrections(tmp_path, n_groups):
    config = SimulationConfig().without("cosmic_rays", "snowballs")
    (exposure,) = simulate(
        *(tmp_path / "sim", ["NRCB4"], ["F150W"]),
        dithers=1,
        size="sub640",
        n_groups=n_groups,
        config=config,
    )
    out = tmp_path / "out"
    process = strun(
        *("ceers_detector1", exposure.uncal, f"--output_dir={out}"),
        **environment_of(tmp_path / "sim"),
    )
    assert process.returncode == 0, process.stderr[-2000:]
    (path,) = out.glob("*_rate.fits")
    with datamodels.open(path) as rate:
        statuses = rate.meta.cal_step.instance
        assert statuses["ceers_snowball"] == "SKIPPED"
        assert statuses["ceers_remstriping"] == "COMPLETE"
        assert statuses["ceers_wispsub"] in ("COMPLETE", "SKIPPED")  # too faint in so short a ramp
        note = rate.meta.ceers_steps.instance["ceers_snowball"]["note"]
        assert f"{n_groups} group" in note
        good = (rate.dq & dqflags.pixel["DO_NOT_USE"]) == 0
        assert good.mean() > 0.95
        # the level of one difference drifts by a part of the noise of a pixel
        residual = (rate.data - read_truth(exposure.truth).rate)[good]
        assert abs(np.median(residual)) < 0.3 * residual.std()


@pytest.mark.slow
class TestBadInput:
    """One message that names what is wrong, exit code 1, no product."""

    def check(self, process, out, *words):
        # strun folds the message: compare without white space
        text = "".join((process.stdout + process.stderr).split())
        assert process.returncode == 1, text[-2000:]
        for word in words:
            assert "".join(word.split()) in text
        assert "Traceback" not in text
        assert not out.exists() or not list(out.iterdir())

    def test_missing_reference_names_its_type(self, simulated_field, tmp_path):
        cache = tmp_path / "cache"
        shutil.copytree(simulated_field.folder / "crds_cache", cache, copy_function=os.symlink)
        for path in cache.glob("references/jwst/nircam/*gain*"):
            path.unlink()
        uncal = simulated_field.uncal("NRCB4", "sub640")
        out = tmp_path / "out"
        process = strun("ceers_detector1", uncal, f"--output_dir={out}", CRDS_PATH=str(cache))
        self.check(process, out, "no usable gain for", uncal.name, "override_<type>")

    def test_missing_wisp_template_names_file_and_folder(self, simulated_field, tmp_path):
        out, empty = tmp_path / "out", tmp_path / "empty"
        empty.mkdir()
        uncal = simulated_field.uncal("NRCB4", "sub640")
        process = strun(
            *("ceers_detector1", uncal, f"--output_dir={out}"), NIRCAM_WISP_TEMPLATES=str(empty)
        )
        self.check(process, out, "wisps_nrcb4_F150W.fits", str(empty))
        # told at once, not after minutes of the steps before it
        assert "Step group_scale running" not in process.stdout + process.stderr

    def test_output_folder_that_is_read_only(self, simulated_field, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        out.chmod(0o555)
        # root may write everywhere, unless it gives that up
        drop = ["setpriv", "--bounding-set=-dac_override", "--"] if os.geteuid() == 0 else []
        uncal = simulated_field.uncal("NRCB4", "sub640")
        process = strun("ceers_detector1", uncal, f"--output_dir={out}", before=drop)
        said = f"nothing can be written to {out}: you have no permission", "another output_dir"
        self.check(process, out, *said)
        assert "Step group_scale running" not in process.stdout + process.stderr

    def test_full_disk_while_the_rate_is_written(self, simulated_field, tmp_path):
        out = tmp_path / "out"
        uncal = simulated_field.uncal("NRCB4", "sub640")
        # no file larger than 3 MB, which the system refuses as it does on a full disk
        limit = ["bash", "-c", 'ulimit -f 3000; exec "$@"', "bash"]
        process = strun(
            *("ceers_detector1", uncal, f"--output_dir={out}", "--steps.remstriping.save_mask=0"),
            before=limit,
        )
        self.check(process, out, f"Cannot write {out}", "_rateints.fits", "Free some disk space")

    def test_product_of_a_later_stage(self, tmp_path):
        path = tmp_path / "jw01345001001_02201_00001_nrcb4_cal.fits"
        datamodels.ImageModel(np.zeros((8, 8), np.float32)).save(path)
        with pytest.raises(StepError, match=r"holds a ImageModel; this takes Level1bModel"):
            CeersDetector1.call(str(path))

    def test_ramp_that_is_calibrated_by_its_unit(self, simulated_field, tmp_path):
        with datamodels.open(simulated_field.uncal("NRCB4", "sub640")) as raw:
            ramp = datamodels.RampModel(raw.data.astype(np.float32))
            ramp.update(raw)
        ramp.meta.bunit_data = "MJy/sr"
        with pytest.raises(StepError, match=r"calibrated already \(BUNIT MJy/sr\).*_uncal"):
            CeersDetector1.call(ramp)

    def test_parameter_that_does_not_exist(self, simulated_field):
        process = strun("ceers_detector1", "--steps.snowball.radius=3", "x_uncal.fits")
        assert process.returncode != 0
        assert "radius" in process.stderr + process.stdout
