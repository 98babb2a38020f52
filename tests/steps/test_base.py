"""What all Steps share: names, atomic output, clear errors, provenance."""

import gzip
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import stdatamodels
from astropy.io import fits
from configobj import ConfigObj
from jwst.stpipe import Pipeline
from stdatamodels.jwst import datamodels

from ceers_steps import CeersImage3
from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.headers.provenance import status_keyword
from ceers_steps.integration import get_steps
from ceers_steps.pipelines.base import CeersPipeline
from ceers_steps.steps.base import CeersStep, StepError
from tests.history import says

EXPOSURE = "jw01345001001_02201_00001_nrcb4"


class HalveStep(CeersStep):
    """Halve an image."""

    class_alias = "ceers_halve"
    output_suffix = "wispsub"
    input_types = ("ImageModel", "CubeModel")
    spec = """
        overrides = input_file(default=None) # Table of per-exposure values
        factor = float(default=0.5) # Part that is left
    """

    def process(self, image):
        model = self.prepare_output(image)
        self.row = self.overrides_row(model)
        model.data *= self.factor
        self.record(
            model,
            "COMPLETE",
            parameters={"factor": np.float32(0.5)},
            metrics={"mean": np.mean(model.data, dtype=float), "missing": np.nan},
            note="halved",
        )
        return model


class HalvePipeline(CeersPipeline, Pipeline):
    """Halve images."""

    class_alias = "ceers_halves"
    step_defs: ClassVar = {"halve": HalveStep}
    prefetch_references = False

    def process(self, images):
        return self.halve.run(images[0] if isinstance(images, list) else images)


@pytest.fixture
def rate_file(tmp_path):
    model = datamodels.ImageModel(np.full((8, 8), 3, dtype=np.float32))
    model.meta.instrument.name = "NIRCAM"
    path = tmp_path / f"{EXPOSURE}_rate.fits"
    model.save(path)
    return path


def test_product_name_and_provenance_survive_the_file(rate_file, tmp_path):
    out = tmp_path / "out"
    HalveStep.call(str(rate_file), save_results=True, output_dir=str(out))
    path = out / f"{EXPOSURE}_wispsub.fits"
    assert [p.name for p in out.iterdir()] == [path.name]
    with datamodels.open(path) as model:
        assert model.meta.filename == path.name
        np.testing.assert_array_equal(model.data, 1.5)
        assert model.meta.cal_step.instance["ceers_halve"] == "COMPLETE"
        entry = model.meta.ceers_steps.instance["ceers_halve"]
        assert entry["parameters"] == {"factor": 0.5}
        assert entry["metrics"]["mean"] == 1.5
        assert any(
            "ceers_steps.steps.base" in line for line in model.cal_logs.instance["ceers_halve"]
        )
    assert says(fits.getheader(path), "ceers_halve COMPLETE; halved; factor=0.5; mean=1.5")


def test_status_is_in_the_header_once(rate_file, tmp_path):
    out = tmp_path / "out"
    HalveStep.call(str(rate_file), save_results=True, output_dir=str(out))
    (path,) = out.iterdir()
    assert fits.getheader(path)["S_HALVE"] == "COMPLETE"
    with datamodels.open(path) as model:
        HalveStep().record(model, "FAILED")
        model.save(tmp_path / "again.fits")
    header = fits.getheader(tmp_path / "again.fits")
    assert header.count("S_HALVE") == 1
    assert header["S_HALVE"] == "FAILED"


def test_every_step_has_a_status_keyword_of_its_own():
    keywords = [status_keyword(alias) for _, alias, is_pipeline in get_steps() if not is_pipeline]
    assert len(set(keywords)) == len(keywords)
    assert max(map(len, keywords)) <= 8
    of_jwst = {
        value
        for path in Path(stdatamodels.__file__).parent.glob("jwst/datamodels/schemas/*.yaml")
        for value in re.findall(r"fits_keyword: (\S+)", path.read_text(encoding="utf-8"))
    }
    assert "S_JUMP" in of_jwst
    assert not of_jwst & set(keywords)


def test_history_has_paths_of_all_characters(rate_file, tmp_path):
    with datamodels.open(rate_file) as model:
        HalveStep().record(model, "COMPLETE", note="from /Über/☄\n", parameters={"folder": "/Łódź"})
        model.save(tmp_path / "saved.fits")
    text = r"from /\xdcber/\u2604\n; folder=/\u0141\xf3d\u017a"
    assert says(fits.getheader(tmp_path / "saved.fits"), text)


def test_history_goes_on_after_a_model_was_saved(rate_file, tmp_path):
    step = HalveStep()
    with datamodels.open(rate_file) as model:
        step.record(model, "COMPLETE", note="first")
        model.save(tmp_path / "first.fits")
        step.record(model, "COMPLETE", note="second")
        model.save(tmp_path / "second.fits")
    # cards of 72 characters, of which an entry takes two where the version is long
    history = "".join(str(card) for card in fits.getheader(tmp_path / "second.fits")["HISTORY"])
    assert re.findall(r"COMPLETE; (first|second)", history) == ["first", "second"]


def test_the_log_tells_whose_step_it_was(rate_file, caplog):
    with datamodels.open(rate_file) as model, caplog.at_level("INFO"):
        HalveStep().record(model, "COMPLETE", note="halved")
    assert caplog.messages[-1] == f"{EXPOSURE}_rate.fits: ceers_halve COMPLETE: halved"


def test_suffixes_do_not_pile_up(rate_file, tmp_path):
    step = HalveStep()
    for name in ("rate", "wispsub", "1fmask", "prewisp", "cal"):
        assert step.remove_suffix(f"{EXPOSURE}_{name}")[0] == EXPOSURE


def test_products_of_packed_inputs_have_the_names_of_the_others(rate_file, tmp_path):
    packed = tmp_path / f"{rate_file.name}.gz"
    packed.write_bytes(gzip.compress(rate_file.read_bytes()))
    result = HalveStep.call(str(packed), save_results=True, output_dir=str(tmp_path / "out"))
    (made,) = (tmp_path / "out").iterdir()
    assert made.name == result.meta.filename
    assert made.name.startswith(EXPOSURE + "_")
    assert ".fits_" not in made.name


@pytest.mark.parametrize("name", ["outlier_detection", "skyvar", "resample"])
def test_steps_of_pipelines_name_products_of_packed_inputs(name):
    step = getattr(CeersImage3(), name)
    path = step.make_output_path(basepath=f"/a/{EXPOSURE}_cal.fits.gz", suffix="crf", asn_id="a1")
    assert path == f"{EXPOSURE}_a1_crf.fits"


@pytest.mark.parametrize("as_strun", [False, True])
@pytest.mark.parametrize("output_dir", [None, "there"])
def test_the_folder_of_output_file_is_where_products_go(
    rate_file, tmp_path, monkeypatch, caplog, output_dir, as_strun
):
    """Stpipe makes that folder, and writes into the working one; output_dir counts more."""
    monkeypatch.chdir(tmp_path)
    given = {"output_file": "sub/mine.fits", **({"output_dir": output_dir} if output_dir else {})}
    if as_strun:
        config = HalveStep.merge_config(ConfigObj(given), None)
        HalveStep.from_config_section(config).run(str(rate_file))
    else:
        HalveStep.call(str(rate_file), **given)
    assert [str(path) for path in Path().rglob("mine*")] == [
        f"{output_dir or 'sub'}/mine_wispsub.fits"
    ]
    assert ("not to the folder of output_file, sub" in caplog.text) == bool(output_dir)


@pytest.mark.parametrize("given", [{"factor": None}, {"factor": 0.25}, {"overrides": None}])
def test_none_stands_for_the_default_where_it_is_no_value(rate_file, given):
    """Stpipe hands it on to steps, which compute with it."""
    steps = {"halve": given}
    for config in (HalveStep.build_config(str(rate_file), **given)[0], given):
        made = HalveStep.from_config_section(ConfigObj(config))
        assert made.factor == (given.get("factor") or 0.5)
    config, _ = HalvePipeline.build_config(str(rate_file), steps=steps)
    assert HalvePipeline.from_config_section(config).halve.factor == (given.get("factor") or 0.5)
    assert steps == {"halve": given}


def test_product_of_rateints_does_not_replace_that_of_rate(rate_file, tmp_path):
    cube = datamodels.CubeModel(np.ones((2, 8, 8), dtype=np.float32))
    cube.meta.filename = f"{EXPOSURE}_rateints.fits"
    for product in (str(rate_file), cube):
        HalveStep.call(product, save_results=True, output_dir=str(tmp_path / "out"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{EXPOSURE}_wispsub.fits", f"{EXPOSURE}_wispsubints.fits"}


def test_input_is_not_changed(rate_file):
    with datamodels.open(rate_file) as model:
        HalveStep.call(model)
        np.testing.assert_array_equal(model.data, 3)


def test_an_input_is_not_replaced(rate_file, monkeypatch):
    """Neither that of a step, nor that of a pipeline; whether its name is given or follows."""
    monkeypatch.setattr(HalveStep, "prefetch", lambda *_: None)
    before = rate_file.read_bytes()
    folder = str(rate_file.parent)
    for given in ({"output_file": str(rate_file)}, {"output_dir": folder}):
        with pytest.raises(StepError, match="is an input of this run, and a product would replace"):
            HalveStep.call(str(rate_file), suffix="rate", save_results=True, **given)
    pipeline = HalvePipeline(output_dir=folder)
    pipeline.halve.suffix, pipeline.halve.save_results = "rate", True
    for given in (str(rate_file), [str(rate_file)]):
        with pytest.raises(StepError, match="is an input of this run"):
            pipeline.run(given)
    assert rate_file.read_bytes() == before
    assert [path.name for path in rate_file.parent.iterdir()] == [rate_file.name]


def test_files_that_parameters_name_are_not_replaced(rate_file, tmp_path):
    table = tmp_path / "overrides.csv"
    table.write_text("exposure,wisp_scale\nother,1\n")
    os.link(table, tmp_path / f"{EXPOSURE}_ov.fits")
    with pytest.raises(StepError, match=r"_ov\.fits is an input of this run"):
        HalveStep.call(
            str(rate_file),
            overrides=str(table),
            suffix="ov",
            output_dir=str(tmp_path),
            save_results=True,
        )
    assert table.read_text().startswith("exposure")


def test_numbers_that_must_rise_are_named(rate_file):
    pipeline = CeersImage3(steps={})
    pipeline.source_catalog.skip = False
    pipeline.source_catalog.aperture_ee1, pipeline.source_catalog.aperture_ee2 = 50, 50
    with pytest.raises(
        StepError,
        match=r"steps\.source_catalog\.aperture_ee1 = 50 must be less than aperture_ee2 = 50",
    ):
        pipeline.run([])
    pipeline.source_catalog.skip = True
    with pytest.raises(StepError) as caught:
        pipeline.run([])
    assert "aperture" not in str(caught.value)


def test_overrides_row_is_found_by_exposure(rate_file, tmp_path):
    table = tmp_path / "o.csv"
    table.write_text(f"exposure,wisp_scale\n{EXPOSURE}_uncal.fits,0.6\n")
    step = HalveStep(overrides=str(table))
    step.run(str(rate_file))
    assert step.row == {"wisp_scale": 0.6}


class TestBadInput:
    """Each gives one message that names the file and the remedy."""

    def test_missing_file(self, tmp_path):
        with pytest.raises(StepError, match=r"HalveStep: input file .*none\.fits does not exist"):
            HalveStep.call(str(tmp_path / "none.fits"))

    @pytest.mark.parametrize("size", [0, 1000, 9000])
    def test_truncated_file(self, rate_file, size):
        os.truncate(rate_file, size)
        with pytest.raises(StepError, match=r"_rate\.fits is not a complete FITS file") as caught:
            HalveStep.call(str(rate_file))
        assert str(caught.value).count("may have been truncated") <= 1  # once is enough

    def test_file_that_is_not_fits(self, tmp_path):
        path = tmp_path / "text.fits"
        path.write_text("hello " * 1000)
        with pytest.raises(StepError, match="not a complete FITS file"):
            HalveStep.call(str(path))

    def test_wrong_level(self, tmp_path):
        path = tmp_path / "jw_uncal.fits"
        datamodels.Level1bModel(np.zeros((1, 2, 4, 4), dtype=np.uint16)).save(path)
        with pytest.raises(
            StepError, match="holds a Level1bModel; this takes ImageModel or CubeModel"
        ):
            HalveStep.call(str(path))

    def test_model_of_the_wrong_level(self):
        with pytest.raises(
            StepError, match="the input holds a RampModel; this takes ImageModel or CubeModel"
        ):
            HalveStep.call(datamodels.RampModel(np.zeros((1, 2, 4, 4), dtype=np.float32)))

    def test_output_folder_that_cannot_be_made(self, rate_file, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StepError, match=r"output_dir"):
            HalveStep.call(str(rate_file), output_dir=str(tmp_path / "file" / "out"))


def test_a_failed_write_leaves_nothing_and_keeps_the_old_product(tmp_path):
    path = tmp_path / "product.txt"
    path.write_text("old")

    def full_disk(scratch):
        scratch.write_text("half of the new one")
        raise OSError(28, "No space left on device")

    with pytest.raises(CeersError, match=r"Cannot write .*product\.txt: No space left"):
        write_atomic(path, full_disk)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["product.txt"]


def test_disk_full_in_the_middle_of_a_product(rate_file, tmp_path):
    """A limit on the size of files makes the operating system refuse the write half way."""
    out = tmp_path / "out"
    script = textwrap.dedent(f"""
        import resource, signal
        from tests.steps.test_base import HalveStep
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        HalveStep.call({str(rate_file)!r}, save_results=True, output_dir={str(out)!r})
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"Cannot write {out}/{EXPOSURE}_wispsub.fits" in done.stderr
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_strun_prints_the_message_without_a_traceback(tmp_path):
    strun = os.path.join(os.path.dirname(sys.executable), "strun")
    done = subprocess.run(
        [strun, "tests.steps.test_base.HalveStep", str(tmp_path / "none.fits")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "none.fits does not exist" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_a_command_of_a_hook_that_fails_is_not_laid_on_the_folders(rate_file):
    with pytest.raises(
        StepError, match=r"returned error code .*Check pre_hooks and post_hooks"
    ) as err:
        HalveStep.call(str(rate_file), pre_hooks=["ceers_no_such_command"])
    assert "output_dir" not in str(err.value)


@pytest.mark.parametrize("output_dir", ["there", "there/below/it"])
def test_a_folder_without_permission_is_said_before_the_work(
    rate_file, tmp_path, monkeypatch, output_dir
):
    """A stage may take minutes, after which nothing could be written."""
    (tmp_path / "there").mkdir()
    ran = []
    monkeypatch.setattr(HalveStep, "process", lambda self, _: ran.append(self))
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)  # root may all
    folder = str(tmp_path / output_dir)
    message = f"HalveStep: nothing can be written to {folder}: you have no permission.* output_dir"
    with pytest.raises(StepError, match=message):
        HalveStep.call(str(rate_file), save_results=True, output_dir=folder)
    assert not ran
    assert not (tmp_path / "there/below").exists()


@pytest.mark.parametrize("output_dir", ["~/out", "$OUT", "${OUT}/below"])
def test_a_folder_of_products_is_meant_as_stpipe_expands_it(
    rate_file, tmp_path, monkeypatch, output_dir
):
    """Here no folder `~` or `$OUT` could be made; none is wanted here."""
    here, home = tmp_path / "here", tmp_path / "home"
    for folder in (here, home):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OUT", str(home / "out"))
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != here and may(path, mode))
    HalveStep.call(str(rate_file), save_results=True, output_dir=output_dir)
    assert list(home.rglob("*.fits"))
    assert not list(here.iterdir())
