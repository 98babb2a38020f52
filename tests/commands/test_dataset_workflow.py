"""The page that follows one data set to a mosaic of three visits: its commands are run."""

import contextlib
import glob
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import ceers_steps
from ceers_steps.cli import main
from ceers_steps.simulate import active
from ceers_steps.survey.planning.plan import STATE, why_stale, write_plan
from ceers_steps.survey.running import run
from ceers_steps.survey.running.run import Outcome
from ceers_steps.survey.running.task import main as do_task
from tests.survey.standin import ROOT

PAGE = ROOT / "docs" / "dataset_workflow.md"
NAME = "jw01345002001_14201_00001_nrcb4"
PRODUCT = "jw01345_f150w"

# the tasks of a survey have processes of their own, in which a warning is a line of the log
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def commands():
    """Return the commands of the page, those of the shell in blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    found, shell = [], []
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith(("ceers ", "source ")):
            found += [*(["\n".join(shell)] if shell else []), line]
            shell = []
        else:
            shell.append(line)
    return found


def carry_out(plan, config, follow):
    """Do the tasks in this process: those of an engine would each import jwst."""
    path, here = plan.output / STATE / "plan.json", os.getcwd()
    write_plan(plan, path)
    due = list(why_stale(plan))
    done = []
    for name in due:
        code = do_task([str(path), name])
        os.chdir(here)
        if code == 143:
            raise KeyboardInterrupt
        assert code == 0, (name, plan.failure_path(plan.tasks[name]).read_text())
        done.append(name)
    return Outcome(done, len(plan.tasks) - len(due), [], [])


class Page:
    """Runs commands in a folder; remembers what each run of a survey has done."""

    def __init__(self, folder, stack):
        self.folder, self.stack, self.codes = folder, stack, {}

    def run(self, command):
        if command.startswith("source "):
            return self.stack.enter_context(active(Path(command.split()[1]).parent)) and 0
        if not command.startswith("ceers "):
            return subprocess.run(["bash", "-ec", command], check=True).returncode
        words = shlex.split(command)[1:]
        return main([path for word in words for path in sorted(glob.glob(word)) or [word]])

    def made(self):
        records = (self.folder / "data" / STATE / "done").rglob("*.json")
        trees = [json.loads(path.read_text()) for path in records]
        return {tree["task"]: tree["made"] for tree in trees}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """All commands of the page, one after the other; the image background is killed once."""
    folder = tmp_path_factory.mktemp("page")
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(run, "run_plan", carry_out)
        page = Page(folder, stack)
        for command in commands():
            if "--image-background" in command:
                page.first = page.made()
                _kill(page, command)
                page.killed = page.made()
            page.codes[command] = page.run(command)
            assert not page.codes[command], command
        yield page


def _kill(page, command):
    """Stop the run in the middle of the calibration of the exposures."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceers_steps.CeersImage2, "call", stop)
        assert main(shlex.split(command)[1:]) == 130


def test_all_commands_of_the_page_run(page):
    assert len(page.codes) > 10
    assert not any(page.codes.values())


def test_products_are_where_the_page_says(page):
    data = page.folder / "data"
    assert {path.name for path in (data / NAME).iterdir()} == {
        "uncals",
        "calibrated1_rates",
        "calibrated2_cals",
        "calibrated2_cals_pass2",
    }
    assert (data / NAME / "uncals" / f"{NAME}_uncal.fits").is_symlink()
    assert (data / NAME / "calibrated1_rates" / f"{NAME}_rate.fits").is_file()
    listed = (data / "calibrated3_mosaics" / "list_obs.txt").read_text().splitlines()
    assert listed[1:] == [f"01345 00{number} 001 F150W 1" for number in (1, 2, 3)]
    assert list(Table.read(page.folder / "exposures.csv")["dataset"]).count(NAME) == 1
    (row,) = Table.read(page.folder / "combined" / "mosaic_table.ecsv")
    assert row["product"] == "jw01345_obs001+002+003_NIRCAM_F150W_i2d"
    assert row["n_exposures"] == 3


def test_a_second_pass_that_was_killed_goes_on_and_only_what_follows_is_done(page):
    assert page.killed == page.first
    last = page.made()
    new = {name.partition("/")[0] for name in last if last[name] != page.first.get(name)}
    assert new == {"imgbkg", "outlier2", "mosaic2", "background"}
    assert not list((page.folder / "data").rglob(".writing-*"))


def test_the_sky_of_each_exposure_is_gone_in_the_second_pass(page):
    """To 0.05 of the noise of a pixel, six times the error of the median of an exposure."""
    data, levels = page.folder / "data", {}
    for path in sorted(data.glob("jw*/calibrated2_cals*/*_cal.fits")):
        with fits.open(path) as hdus:
            good = (hdus["DQ"].data & 1) == 0
            image, error = hdus["SCI"].data[good], hdus["ERR"].data[good]
            levels.setdefault(path.parent.name, []).append(np.median(image) / np.median(error))
    assert min(levels["calibrated2_cals"]) > 0.2
    np.testing.assert_allclose(levels["calibrated2_cals_pass2"], 0, atol=0.05)
    for product in (PRODUCT, f"{PRODUCT}_pass2"):
        assert (data / "calibrated3_mosaics" / product / f"{product}_bkgsub.fits").is_file()
