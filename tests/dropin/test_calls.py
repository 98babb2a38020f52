"""Every call that a stock step takes, ours takes, with the same result on the same input.

jwst's own tests of resampling, alignment and the three pipelines run with our classes in place of
its (`test_jwst_resample`, `test_jwst_tweakreg`, `test_jwst_pipelines`), where those that cannot
hold are listed with the reason. What these and the documentation give to a step is given here, to
both, and the products are compared.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from jwst.associations import load_asn
from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.pipeline import Image3Pipeline
from jwst.resample import ResampleStep
from stdatamodels.jwst import datamodels

from ceers_steps import AlignStep, CeersImage3, TiledResampleStep
from tests.drizzled import CENTRE, exposure

GRID = {
    "pixel_scale": 0.06,
    "rotation": 20.0,
    "crval": list(CENTRE),
    "crpix": [50.0, 45.0],
    "output_shape": [105, 95],
}
PLANES = ("data", "err", "con", "wht", "var_poisson", "var_rnoise", "var_flat")
ONLY_RESAMPLE = {
    name: {"skip": True} for name in ("tweakreg", "skymatch", "outlier_detection", "source_catalog")
}
NAME = "jw01345-o001_f150w"


@pytest.fixture(autouse=True)
def _no_crds(monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two exposures, and associations of them as JSON and as YAML."""
    folder = tmp_path_factory.mktemp("cal")
    members = []
    for number in (1, 2):
        model = exposure(number, (number, -number))
        # as stage 2 leaves them
        for step in ("assign_wcs", "flat_field", "photom"):
            setattr(model.meta.cal_step, step, "COMPLETE")
        model.meta.instrument.pupil, model.meta.instrument.module = "CLEAR", "B"
        model.meta.exposure.effective_exposure_time = 100.0
        model.meta.wcsinfo.v3yangle, model.meta.telescope = 0.0, "JWST"
        # from a file: what is aligned already is left as it is
        model.meta.cal_step.instance["ceers_update_wcs"] = "COMPLETE"
        members.append({"expname": model.meta.filename, "exptype": "science"})
        model.save(folder / model.meta.filename)
    association = {
        "asn_type": "image3",
        "asn_rule": "DMS_Level3_Base",
        "asn_id": "o001",
        "asn_pool": "none",
        "program": "01345",
        "products": [{"name": NAME, "members": members}],
    }
    (folder / "asn.json").write_text(json.dumps(association))
    (folder / "asn.yaml").write_text(yaml.safe_dump(association))
    return folder


def paths(folder):
    return sorted(str(path) for path in folder.glob("*_cal.fits"))


def models(folder):
    return [datamodels.open(path) for path in paths(folder)]


def as_dict(folder):
    with (folder / "asn.json").open() as stream:
        association = load_asn(stream)
    for member in association["products"][0]["members"]:
        member["expname"] = str(folder / member["expname"])
    return association


MANY = {
    "paths": paths,
    "models": models,
    "container": lambda folder: ModelContainer(paths(folder)),
    "library_on_disk": lambda folder: ModelLibrary(str(folder / "asn.json"), on_disk=True),
    "json": lambda folder: str(folder / "asn.json"),
    "path": lambda folder: folder / "asn.json",
    "yaml": lambda folder: str(folder / "asn.yaml"),
    "dict": as_dict,
}
ONE = {
    "file": lambda folder: paths(folder)[0],
    "model": lambda folder: models(folder)[0],
}


def call(step, given, **parameters):
    return step.call(given, configure_log=False, **parameters)


def by_run(step, given, **parameters):
    return step(**parameters).run(given)


@pytest.fixture(scope="module")
def stock(files):
    """The mosaics that jwst's step makes of both exposures and of the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        return call(ResampleStep, paths(files), **GRID), call(ResampleStep, paths(files)[0], **GRID)


def assert_same(made, wanted):
    for name in PLANES:
        np.testing.assert_array_equal(getattr(made, name), getattr(wanted, name), err_msg=name)


@pytest.mark.parametrize(
    "form", ["models", "container", "library_on_disk", "path", "yaml", "dict", "file", "model"]
)
def test_resample_takes_what_the_stock_step_takes(files, stock, form):
    way = by_run if form in ("models", "file", "json") else call
    given = (MANY | ONE)[form](files)
    assert_same(way(TiledResampleStep, given, **GRID), stock[form in ONE])


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [
        {"save_results": True, "suffix": "mine"},
        {"save_results": True, "in_memory": False, "output_dir": "folder"},
    ],
)
def test_products_have_the_names_of_the_stock_step(files, tmp_path, monkeypatch, parameters):
    made = {}
    for step in (ResampleStep, TiledResampleStep):
        folder = tmp_path / step.__name__
        (folder / "folder").mkdir(parents=True)
        monkeypatch.chdir(folder)
        call(step, str(files / "asn.json"), **GRID, **parameters)
        made[step] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.fits"))
    # as the stock pipeline does it: after the product of the association and not after its file,
    # and with the suffix of a mosaic, not the name of the class
    names = (name.replace("asn_", f"{NAME}_") for name in made[ResampleStep])
    wanted = [name.replace("_resamplestep", "_i2d") for name in names]
    assert made[TiledResampleStep] == wanted


@pytest.mark.parametrize("pipeline", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", [paths, models])
def test_the_mosaic_of_a_list_of_one_is_named_after_it(files, tmp_path, form, pipeline):
    """And not after the class, so that the next such list would replace it."""
    wanted = []
    for number, given in enumerate(form(files), start=1):
        arguments = {"output_dir": str(tmp_path), "save_results": True}
        if pipeline:
            names = (*ONLY_RESAMPLE, "skyvar", "mosaic_background")
            steps = {name: {"skip": True} for name in names}
            call(CeersImage3, [given], steps={**steps, "resample": GRID}, **arguments)
        else:
            call(TiledResampleStep, [given], **GRID, **arguments)
        name = exposure(number, (number, -number)).meta.filename
        wanted.append(name.replace("_cal", "_i2d"))
        assert sorted(path.name for path in tmp_path.glob("*.fits")) == sorted(wanted)


@pytest.mark.parametrize("form", ["container", "dict", "model"])
def test_alignment_takes_what_the_stock_step_takes(files, form):
    given = (MANY | ONE)[form](files)
    result = call(AlignStep, given)
    assert isinstance(result, ModelLibrary)  # as TweakRegStep returns
    assert len(result) == (1 if form in ONE else 2)
    with result:
        for index, model in enumerate(result):
            assert model.meta.cal_step.instance["ceers_align"] == "SKIPPED"
            result.shelve(model, index, modify=False)


@pytest.fixture(scope="module")
def stock_mosaic(files, tmp_path_factory):
    """What jwst's pipeline makes of the association."""
    folder = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        steps = {**ONLY_RESAMPLE, "resample": GRID}
        arguments = {"output_dir": str(folder), "save_results": True, "steps": steps}
        call(Image3Pipeline, str(files / "asn.json"), **arguments)
    (path,) = folder.glob("*_i2d.fits")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "yaml", "dict"])
def test_stage_3_takes_what_the_stock_pipeline_takes(files, stock_mosaic, tmp_path, form):
    steps = {**ONLY_RESAMPLE, "resample": GRID, "skyvar": {"skip": True}}
    steps["mosaic_background"] = {"skip": True}
    given = MANY[form](files)
    call(CeersImage3, given, output_dir=str(tmp_path), save_results=True, steps=steps)
    (path,) = tmp_path.glob("*_i2d.fits")
    assert path.name == stock_mosaic.name == f"{NAME}_i2d.fits"
    with datamodels.open(path) as made, datamodels.open(stock_mosaic) as wanted:
        assert_same(made, wanted)


def test_no_file_of_the_input_is_changed(files):
    """By any of the tests before: models in memory are copied, files are read."""
    for number, path in enumerate(paths(files), start=1):
        with datamodels.open(path) as model:
            wanted = exposure(number, (number, -number))
            np.testing.assert_array_equal(model.data, wanted.data)
            assert Path(path).name == wanted.meta.filename
