"""What a task does beside the work of the pipelines."""

import gc

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst.datamodels import ImageModel

import ceers_steps
from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import Plan, Task
from ceers_steps.survey.running.work import WORK


class Called(Exception):
    """A pipeline or step is called; what it would do takes long."""


SETTINGS = {
    "exposure": {"detector1": {}},
    "align": {"tweakreg": {}, "catalog": ""},
    "outlier": {"image3": {}},
    "tile": {"tile_size": 1, "tile": [0, 0], "resample": {}, "grid": {}},
    "mosaic": {"resample": {}, "grid": {}},
    "imgbkg": {"image_background": {}, "image2": {}},
    "background": {"mosaic_background": {}},
}
SETTINGS |= {f"{stage}2": SETTINGS[stage] for stage in ("outlier", "tile", "mosaic")}
ARGUMENTS = {
    "uncal": "x",
    "overrides": "",
    "wisp_templates": "",
    "alignment_table": "",
    "exposures": ["x"],
    "wcs_dir": "",
    "masks": False,
    "product": "x",
    "hst_images": [],
    "mask_regions": "",
    "exclude_regions": "",
    "mosaics": ["x"],
    "mosaic": "x",
}


@pytest.mark.parametrize("stage", WORK)
def test_what_is_imported_is_not_looked_through_after_every_step(stage, tmp_path, monkeypatch):
    """A collection of garbage takes 0.12 s with all that jwst makes when it is imported."""
    seen = []

    def call(*_, **__):
        seen.append(gc.get_freeze_count())
        raise Called

    names = ("CeersDetector1", "CeersImage3", "AlignStep", "TiledResampleStep")
    for name in (*names, "MosaicBackgroundStep", "ImageBackgroundStep"):
        monkeypatch.setattr(getattr(ceers_steps, name), "call", call)
    task = Task(stage, "x", settings=SETTINGS[stage], arguments=ARGUMENTS)
    gc.unfreeze()
    try:
        with pytest.raises(Called):
            WORK[stage](Plan(tmp_path, {task.id: task}, {}), task, tmp_path)
        assert seen[0] > 100_000
    finally:
        gc.unfreeze()


def test_a_damaged_earlier_exposure_does_not_stop_those_after_it(tmp_path, monkeypatch, caplog):
    whole, cut = tmp_path / "whole_uncal.fits", tmp_path / "cut_uncal.fits"
    fits.PrimaryHDU(np.zeros((40, 40), np.float32)).writeto(whole)
    cut.write_bytes(whole.read_bytes()[:5760])
    seen = {}

    def call(*_, steps, **__):
        seen.update(steps)
        raise Called

    monkeypatch.setattr(ceers_steps.CeersDetector1, "call", call)
    arguments = {**ARGUMENTS, "earlier_exposures": [str(cut), str(whole)]}
    task = Task("exposure", "x", settings=SETTINGS["exposure"], arguments=arguments)
    try:
        with pytest.raises(Called):
            WORK["exposure"](Plan(tmp_path, {task.id: task}, {}), task, tmp_path)
    finally:
        gc.unfreeze()
    assert seen["trapped_charge"]["earlier_exposures"] == [str(whole)]
    assert str(cut) in caplog.text


def test_an_exposure_of_which_nothing_is_usable_is_named_with_the_reason(tmp_path, monkeypatch):
    """It makes no mask of sources, and would be left out of its mosaic: its products lack."""
    cal = ImageModel(np.full((20, 20), np.nan, np.float32))
    cal.meta.bunit_data = "MJy/sr"
    monkeypatch.setattr(ceers_steps.CeersDetector1, "call", lambda *_, **__: None)
    monkeypatch.setattr(ceers_steps.CeersImage2, "call", lambda *_, **__: [cal])
    settings = {**SETTINGS["exposure"], "image2": {}}
    task = Task("exposure", "x", settings=settings, arguments=ARGUMENTS)
    try:
        with pytest.raises(CeersError, match=r"x would be in no mosaic, .*SCI has no finite value"):
            WORK["exposure"](Plan(tmp_path, {task.id: task}, {}), task, tmp_path)
    finally:
        gc.unfreeze()
