"""Tiles of a mosaic as tasks of their own, with the step that drizzles them."""

from dataclasses import replace

import numpy as np
import pytest
from jwst.datamodels import ModelLibrary
from jwst.resample import ResampleStep
from numpy.testing import assert_allclose, assert_array_equal
from stcal.alignment.util import sregion_to_footprint
from stdatamodels.jwst import datamodels

from ceers_steps.drizzling.tiled import TiledMosaic
from ceers_steps.survey.planning.records import file_state, read_record, write_record
from ceers_steps.survey.running.task import run_task
from ceers_steps.survey.select.exposures import Exposure
from tests.drizzled import exposure
from tests.survey.madeup import finish, make_plan

POSITIONS = ((0, 0), (6, 1), (13, 0), (20, -1), (27, 0), (34, 2))  # arcsec


def make_matched(folder):
    """Write exposures in a row, as `outlier` tasks leave them; return them and their files."""
    folder.mkdir(parents=True)
    exposures, paths = [], []
    for number, position in enumerate(POSITIONS, start=1):
        model = exposure(number, position)
        name = model.meta.filename.removesuffix("_cal.fits")
        paths.append(str(folder / f"{name}_match.fits"))
        model.save(paths[-1])
        exposures.append(
            Exposure(
                path=folder / f"{name}_uncal.fits",
                name=name,
                program="01345",
                observation="001",
                visit="001",
                detector="NRCB4",
                filter="F150W",
                footprint=(sregion_to_footprint(model.meta.wcsinfo.s_region),),
            )
        )
    return exposures, paths


def do(plan, task, folder, monkeypatch):
    """Do a task as its process does it."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_record(plan.record_path(task), run_task(plan, task, folder))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input association file contains path")  # jwst
def test_a_mosaic_of_tile_tasks_is_the_one_drizzled_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    out = tmp_path / "out"
    exposures, paths = make_matched(out / "match")
    plan = make_plan(out, exposures=exposures, pixel_scale=0.03, tile_size=500)
    stages = plan.by_stage()
    (mosaic,) = stages["mosaic"]
    assert len(stages["tile"]) >= 3
    finish(plan, but={task.id for task in stages["tile"]})
    (outlier,) = stages["outlier"]
    record = read_record(plan.record_path(outlier))
    outputs = {name: file_state(out / name) for name in outlier.outputs}
    write_record(plan.record_path(outlier), replace(record, outputs=outputs))
    opened, borrow = set(), ModelLibrary.borrow
    monkeypatch.setattr(
        ModelLibrary, "borrow", lambda self, index: opened.add(index) or borrow(self, index)
    )

    counts = []
    for task in stages["tile"]:
        opened.clear()
        do(plan, task, tmp_path / task.key, monkeypatch)
        counts.append(len(opened))
    assert max(counts) < len(POSITIONS)
    with monkeypatch.context() as patch:
        patch.setattr(TiledMosaic, "drizzle", None)  # nothing is drizzled again
        do(plan, mosaic, tmp_path / mosaic.key, monkeypatch)

    whole = ResampleStep.call(
        paths, configure_log=False, **mosaic.settings["grid"], **mosaic.settings["resample"]
    )
    with datamodels.open(out / mosaic.outputs[0]) as made:
        assert_array_equal(made.con, whole.con)
        assert_array_equal(np.isnan(made.data), np.isnan(whole.data))
        # of a sum of four: relative to its largest term, which is about the noise
        assert_allclose(made.data, whole.data, rtol=2e-6, atol=2e-8)
        # where an exposure covers next to nothing of a pixel, relative to a whole one
        for name in ("err", "wht"):
            plane = getattr(whole, name)
            assert_allclose(getattr(made, name), plane, rtol=2e-6, atol=1e-7 * np.nanmax(plane))
        assert len(made.hdrtab) == len(POSITIONS)
