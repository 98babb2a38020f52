"""A survey in which some exposures have their WCS from a file: the others are aligned with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from ceers_steps.files.wcs_files import read_wcs_file, write_wcs_file
from ceers_steps.simulate import SimulationConfig, active, simulate
from ceers_steps.simulate.config.simulation import PointingConfig
from ceers_steps.survey.planning.plan import Plan, Task
from ceers_steps.survey.running.work import WORK
from tests.dithers import TARGET, make_sources
from tests.steps.test_align import Field


@pytest.fixture
def field(tmp_path):
    """Three dithers of NRCB4 F150W, 0.36 arcsec and 30 arcsec (roll) off."""
    folder = tmp_path / "simulated"
    pointing = PointingConfig(visit_shift=(0.3, -0.2), jitter=0.01, roll=30.0)
    config = SimulationConfig(pointing=pointing).only("pointing", "sources", "sky")
    exposures = simulate(
        folder,
        ["NRCB4"],
        ["F150W"],
        dithers=3,
        size="sub640",
        catalog=make_sources(),
        target=TARGET,
        aperture="NRCB4_FULL",
        n_groups=2,
        seed=2,
        config=config,
    )
    with active(folder):
        yield Field(folder, exposures)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input association file contains path")  # jwst
def test_exposures_without_a_file_are_aligned_with_the_others(field, tmp_path, monkeypatch):
    """Files that are 0.1 arcsec off: the others follow them, and are not left where they were."""
    out, given = tmp_path / "out", tmp_path / "given"
    (out / "cal").mkdir(parents=True)
    names = []
    for path in map(Path, field.of("NRCB4")):
        names.append(path.name.removesuffix("_cal.fits"))
        shutil.copy(path, out / "cal" / path.name)
    off = np.array([0.0, 0.1])  # arcsec, in dec
    for name in names[:2]:
        with datamodels.open(out / "cal" / f"{name}_cal.fits") as model:
            truth = field.truths[name]
            model.meta.wcs = true_wcs(model, truth, off)
            write_wcs_file(given / f"{name}_tweakreg.asdf", model)
    task = Task(
        "align",
        "jw01_f150w",
        outputs=tuple(f"wcs/{name}_tweakreg.asdf" for name in names),
        settings={
            "tweakreg": {},
            "catalog": "",
            "update_wcs": {"missing": "skip"},
            "kept": names[:2],
        },
        arguments={"exposures": names, "alignment_table": "", "wcs_dir": str(given)},
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.chdir(scratch)
    made = WORK["align"](Plan(out, {task.id: task}, {}), task, scratch)
    status = {name: made.metrics[name]["ceers_align"] for name in names}
    assert [status[name]["relative_status"] for name in names[:2]] == ["SKIPPED"] * 2
    assert status[names[2]]["absolute_status"] == "COMPLETE"
    for name in names[:2]:
        file = f"{name}_tweakreg.asdf"
        assert (scratch / file).read_bytes() == (given / file).read_bytes()
    with datamodels.open(out / "cal" / f"{names[2]}_cal.fits") as model:
        before = np.mean(list(field.errors(model).values()), axis=0)
        model.meta.wcs = read_wcs_file(scratch / f"{names[2]}_tweakreg.asdf").wcs
        after = np.mean(list(field.errors(model).values()), axis=0)
    assert np.hypot(*before) > 300
    # 1 mas is what a good 100 sources of this brightness leave
    np.testing.assert_allclose(after, 1e3 * off, atol=1.5)


def true_wcs(model, truth, off):
    """Return the WCS of a model, shifted on the sky to where its sources truly are, and off."""
    from tweakwcs.correctors import JWSTWCSCorrector

    corrector = JWSTWCSCorrector(model.meta.wcs, model.meta.wcsinfo.instance)
    sources, (ny, nx) = truth.sources, truth.rate.shape
    inside = (sources["x"] > 0) & (sources["x"] < nx) & (sources["y"] > 0) & (sources["y"] < ny)
    sources = sources[inside]
    here = np.column_stack(corrector.det_to_tanp(sources["x"], sources["y"]))
    dec = sources["dec"] + off[1] / 3600
    there = np.column_stack(corrector.world_to_tanp(sources["ra"], dec))
    ones = np.ones(len(here))
    solution, *_ = np.linalg.lstsq(np.column_stack([here, ones]), there, rcond=None)
    # a linear map: with the roll
    corrector.set_correction(solution[:2].T, solution[2])
    return corrector.wcs
