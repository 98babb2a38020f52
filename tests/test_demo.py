"""The demo, on a subarray: from nothing to mosaics and a report."""

import os
import pickle
import re
from dataclasses import replace

import pytest
from astropy.table import Table

from ceers_steps import demo
from ceers_steps.demo import run
from ceers_steps.demo.exposures import _simulate_once
from ceers_steps.demo.work import build_demo, forget_incomplete
from ceers_steps.errors import CeersError
from ceers_steps.survey.running import machine
from ceers_steps.survey.running.run import Failure, Outcome

SMALL = [
    demo.DemoSet("NRCBLONG", band, dithers=2, size="sub640", n_groups=5)
    for band in ("F277W", "F356W")
]


@pytest.mark.slow
def test_demo_from_nothing_to_mosaics(tmp_path, capsys):
    folder = tmp_path / "demo"
    page = demo.run_demo(folder, seed=3, sets=SMALL, open_report=False)
    out = capsys.readouterr()
    assert "NRCBLONG F277W" in out.out
    assert "block noise" in out.out
    assert "mosaic F356W" in out.out
    assert out.err == ""
    # what is going on is told in a pipe too
    lines = out.out.splitlines()
    assert lines[0] == "0 of 5 tasks done"
    # at which moments depends on the machine
    assert any(re.search(r"now: .*set/nrcb\w+ \(\w+", line) for line in lines)
    assert any(line.startswith("3 of 5 tasks done, about") for line in lines)
    html = page.read_text()
    pictures = re.findall(r'<img [^>]*src="(truth/[^"]+)"', html)
    assert len(pictures) >= 10
    assert all((page.parent / picture).is_file() for picture in pictures)
    assert "Compared with the truth" in html
    for name in ("demo_f277w", "demo_f356w"):  # as of any survey
        assert f'data-picture="{name}" data-kind="depth"' in html
    assert html.count('href="exposures/jw01345001001_') == 4
    for row in Table.read(folder / "metrics.ecsv"):
        # The stripes of the simulation are several times the white noise of a block.
        assert row["noise_ratio"] < row["noise_before_ratio"]
    assert not list(folder.glob("*/products/*_snowball.fits"))

    mosaics = Table.read(folder / "mosaics.ecsv")
    assert list(mosaics["filter"]) == ["F277W", "F356W"]
    for row in mosaics:
        # 15 mas of 10 sources or more; the pointing is off by 300
        assert abs(row["wcs_east"]) < 4 * 15 / 10**0.5
        assert abs(row["wcs_north"]) < 4 * 15 / 10**0.5
        assert row["wcs_relative"] < 4
        assert 0.9 < row["chi_1"] < 1.1
        assert abs(row["phot_bias"]) < 4 * row["phot_bias_err"]
        assert abs(row["under_mean"]) < 0.02 + 4 * row["under_err"]
    for name in ("set/nrcblong_f277w", "set/nrcblong_f356w", "mosaics/all"):
        assert (folder / "logs" / f"{name}.log").stat().st_size > 0

    # the same command again only shows it
    results = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pickle")}
    assert len(results) == 5
    page.unlink()
    assert demo.run_demo(folder, seed=3, sets=SMALL, open_report=False).is_file()
    assert "mosaic F356W" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pickle")} == results


def test_what_is_gone_is_made_again(tmp_path):
    plan = build_demo(tmp_path, SMALL, 1)
    task = plan.tasks["mosaics/all"]
    mosaic = tmp_path / "mosaics" / "a_i2d.fits"
    mosaic.parent.mkdir()
    mosaic.touch()
    result = tmp_path / task.outputs[0]
    result.parent.mkdir(parents=True)
    result.write_bytes(pickle.dumps([mosaic]))
    record = plan.record_path(task)
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    forget_incomplete(plan)
    assert record.exists()
    spoilers = (
        mosaic.unlink,
        lambda: result.write_bytes(b"of another version"),
        lambda: result.write_bytes(pickle.dumps([os.system])),  # of somebody else
    )
    for spoil in spoilers:
        record.write_text("{}")
        spoil()
        forget_incomplete(plan)
        assert not record.exists()


def test_tasks_fit_the_container(tmp_path, monkeypatch):
    """A container with 2 GB on a large machine: a task is not refused, and runs alone."""
    limit = tmp_path / "memory.max"
    limit.write_text("2000000000\n")
    assert {task.memory for task in build_demo(tmp_path, SMALL, 1).tasks.values()} == {3500}
    monkeypatch.setattr(machine, "_memory_limits", lambda: [limit])
    assert {task.memory for task in build_demo(tmp_path, SMALL, 1).tasks.values()} == {1800}


def test_a_failure_names_the_task_and_its_log(tmp_path, monkeypatch):
    failure = Failure("set/nrcblong_f277w", "jump", "no room.", "a.log")
    monkeypatch.setattr(run, "run_plan", lambda *_, **__: Outcome([], 0, [failure], []))
    with pytest.raises(CeersError, match=r"set/nrcblong_f277w failed: no room\. Log: a\.log"):
        demo.run_demo(tmp_path, sets=SMALL)


def test_other_parameters_are_simulated_anew(tmp_path, monkeypatch):
    import ceers_steps.simulate.api as api

    calls = []

    class Written:
        def __init__(self, path):
            self.uncal = path

    def simulate(folder, *args, seed, dithers, **kwargs):
        calls.append((seed, dithers))
        folder.mkdir()
        written = [Written(folder / f"{number}_uncal.fits") for number in range(dithers)]
        for each in written:
            each.uncal.touch()
        return written

    def uncals(seed, dithers=2):
        exposures = replace(SMALL[0], dithers=dithers)
        found = _simulate_once(exposures, tmp_path / "simulated", seed, lambda text: None)
        assert [path.exists() for path in found] == [True] * dithers
        return found

    monkeypatch.setattr(api, "simulate", simulate)
    for seed, dithers in ((1, 2), (1, 2), (2, 2), (2, 2), (2, 3)):
        first, *_ = uncals(seed, dithers)
    first.unlink()
    uncals(2, 3)
    assert calls == [(1, 2), (2, 2), (2, 3), (2, 3)]


def test_missing_extras_are_told_before_work(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "galsim" else find(name)
    )
    with pytest.raises(CeersError, match=r"needs galsim.*ceers_steps\[simulate,report,survey\]"):
        demo.run_demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
