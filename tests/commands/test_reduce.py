"""`ceers init`, `plan`, `reduce` and `commands` as they are called."""

import html
import json
import os
import shlex
import subprocess
from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from ceers_steps.cli import main
from ceers_steps.survey.planning import build
from ceers_steps.survey.planning.plan import STATE, read_plan, why_stale, write_plan
from ceers_steps.survey.references import check as references
from ceers_steps.survey.running import run
from ceers_steps.survey.running.run import Failure, Outcome
from ceers_steps.survey.running.task import main as do_task
from tests.survey.sky import square, write_file
from tests.survey.standin import NAME, ROOT

EVERYTHING = 4 + 2 + 2 + 2 + 1  # exposures, alignments, outliers, mosaics, background


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two dithers in two filters, raw; only their headers are ever read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NIRCAM_WISP_TEMPLATES", raising=False)
    for number, east in ((1, 0), (2, 5)):
        for detector, band, side in (("nrcb4", "F115W", 64), ("nrcblong", "F277W", 129)):
            name = f"jw01727001001_02101_{number:05d}_{detector}_uncal.fits"
            write_file(tmp_path / "uncal", name, square(east, 0, side, 20), band=band)
    return tmp_path


@dataclass(frozen=True)
class Report:
    """What the check of references says."""

    ok: bool

    def summary(self):
        return "jwst_nircam_flat_0001.fits: missing"


@pytest.fixture
def work(monkeypatch):
    """Stand-in work, done in this process; returns what was asked of the check of references."""
    asked = []
    real = build.build_plan

    def plan_of(*args, **kwargs):
        return replace(real(*args, **kwargs), work=NAME)

    def carry_out(plan, config, follow):
        path = plan.output / STATE / "plan.json"
        write_plan(plan, path)
        due = why_stale(plan)
        here = os.getcwd()
        for name in due:
            do_task([str(path), name])
        os.chdir(here)
        done = [name for name in due if plan.record_path(plan.tasks[name]).exists()]
        failures = []
        for name in due:
            failure = plan.failure_path(plan.tasks[name])
            if failure.exists() and "not done" not in failure.read_text():
                tree = json.loads(failure.read_text())
                failures.append(Failure(name, "jump", tree["message"], tree["log"]))
        lost = {failure.task for failure in failures}
        waiting = [name for name in due if name not in done and name not in lost]
        return Outcome(done, len(plan.tasks) - len(due), failures, waiting)

    def check(files, **kwargs):
        asked.append((list(files), kwargs))
        return Report(True)

    monkeypatch.setattr(build, "build_plan", plan_of)
    monkeypatch.setattr(run, "run_plan", carry_out)
    monkeypatch.setattr(references, "check_references", check)
    return asked


def ceers(*arguments):
    return main([*map(str, arguments)])


# -- init


def test_init_then_plan(folder, capsys):
    assert ceers("init", "uncal", "-o", "reduced") == 0
    assert "ceers reduce survey.toml" in capsys.readouterr().out
    assert ceers("plan", "survey.toml") == 0
    assert not (folder / "reduced").exists()


@pytest.mark.parametrize("words", [[""], ["-o", ""], ["a\nb"], ["raw\udcff"]])
def test_init_with_paths_that_no_file_can_hold(folder, capsys, words):
    assert main(["init", *words]) == 1
    assert "as a path in a survey file" in capsys.readouterr().err
    assert not (folder / "survey.toml").exists()


def test_init_for_the_published_procedure_says_what_is_missing(folder, capsys):
    assert ceers("init", "uncal", "-o", "reduced", "--preset", "dr05") == 0
    assert ceers("plan", "survey.toml") == 1
    told = capsys.readouterr().err
    assert "survey.toml, line 7" in told
    assert "Set wcs_dir" in told


# -- plan


def test_plan_is_a_table_of_what_there_is_to_do_and_why(folder, capsys):
    write_file(folder / "uncal", "jw01727001001_02101_00001_nrcb4_rate.fits")
    assert ceers("plan", "uncal", "-o", "reduced") == 0
    told = capsys.readouterr().out
    for line in (
        "exposure",
        "align",
        "outlier",
        "mosaic",
        "background",
        "not done yet",
        "detector1 4, snowball 4, wispsub 0",
        "left out, being no *_uncal.fits: 1 *_rate",
    ):
        assert line in told
    assert not (folder / "reduced").exists()


def test_plan_lists_every_task_and_draws(folder, capsys):
    assert ceers("plan", "uncal", "-o", "reduced", "--list", "--graph", "plan.svg") == 0
    told = capsys.readouterr().out
    lines = [
        line for line in told.splitlines() if line.endswith("not done yet") and " MB  " in line
    ]
    assert len(lines) == EVERYTHING
    assert lines[0].startswith("exposure/jw01727001001_02101_00001_nrcb4  ")
    assert (folder / "plan.svg").exists()


def test_plan_of_a_release_needs_no_files(folder, capsys):
    arguments = ("--exposures", "dr05/pointings", "--preset", "dr05", "--wcs-dir", folder)
    assert ceers("plan", "uncal", "-o", "reduced", *arguments) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "detector1 690, snowball 690, wispsub 132, remstriping 690, image2 690" in told
    assert "update_wcs 690" in told


def test_a_raw_exposure_that_is_cut_off_is_named_before_anything_is_run(folder, work, capsys):
    path = folder / "uncal" / "jw01727001001_02101_00002_nrcb4_uncal.fits"
    fits.append(path, np.zeros((100, 100), np.float32))
    with open(path, "r+b") as stream:
        stream.truncate(path.stat().st_size - 5760)
    assert ceers("reduce", "uncal", "-o", "reduced") == 1
    told = capsys.readouterr().err
    assert f"1 exposure(s) are not complete: {path} is cut off" in told
    assert "--exclude jw01727001001_02101_00002_nrcb4 (at the end of the command)" in told
    assert not work
    assert ceers("reduce", "uncal", "-o", "reduced", "--exclude", path.stem[:-6]) == 0


def test_plan_tells_which_parameter_changed(folder, work, capsys):
    assert ceers("reduce", "uncal", "-o", "reduced") == 0
    arguments = ("--set", "image3.skyvar.per_amplifier=true")
    assert ceers("plan", "uncal", "-o", "reduced", *arguments, "--list") == 0
    told = capsys.readouterr().out
    assert "image3.skyvar.per_amplifier: false -> true" in told
    assert "follows mosaic/" in told
    # the whole reason, however narrow the terminal is
    assert "outlier: image3.skyvar.per_amplifier: false -> true\n" in told
    assert "\nexposure/" not in told
    assert ceers("plan", "uncal", "-o", "reduced") == 0
    assert "Nothing to do." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "-o", "out"), "does not exist"),
        (("uncal",), "output is missing"),
        (("a.toml", "uncal"), "Give one survey.toml"),
        (("a.toml",), "ceers init"),
        (("uncal", "-o", "out", "--keep", "cal"), "--keep"),
        (("uncal", "-o", "out", "--set", "image3.sky.x=1"), "--set image3.sky.x=1"),
        (("uncal", "-o", "out", "--grid", "nowhere"), "nowhere"),
        (("uncal", "-o", "out", "--graph", "plan.txt"), ".png, .svg or .pdf"),
        (("uncal", "-o", "out", "--exposures", "none.ecsv"), "none.ecsv"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(folder, capsys, arguments, message):
    assert ceers("plan", *arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_plan_tells_the_reason_of_most_tasks_and_how_many_others(folder, work, capsys):
    assert ceers("reduce", "uncal", "-o", "reduced") == 0
    for path in (folder / "uncal").glob("*_nrcb4_uncal.fits"):
        path.write_bytes(path.read_bytes().replace(b"FILLER0", b"FILLERX"))
    capsys.readouterr()
    assert ceers("plan", "uncal", "-o", "reduced") == 0
    told = capsys.readouterr().out
    first = folder / "uncal" / "jw01727001001_02101_00001_nrcb4_uncal.fits"
    assert f"exposure: input {first} changed (and 1 other reason)\n" in told


# -- reduce


def test_reduce_then_nothing_then_what_changed(folder, work, capsys):
    assert ceers("reduce", "uncal", "-o", "reduced") == 0
    told = capsys.readouterr().out
    assert f"{EVERYTHING} tasks done, 0 valid before" in told
    assert str(folder / "reduced" / "summary.html") in told
    assert ceers("reduce", "uncal", "-o", "reduced") == 0
    assert f"0 tasks done, {EVERYTHING} valid before" in capsys.readouterr().out
    change = ("--set", "image3.mosaic_background.box_size=30")
    assert ceers("reduce", "uncal", "-o", "reduced", *change) == 0
    assert f"1 task done, {EVERYTHING - 1} valid before" in capsys.readouterr().out


def test_options_override_the_file(folder, work):
    (folder / "survey.toml").write_text(
        'inputs = ["uncal"]\noutput = "one"\n'
        '[grid]\npixel_scale = 0.06\n[products]\nkeep = ["rate"]\n'
    )
    assert ceers("reduce", "survey.toml", "-o", "two", "--pixel-scale", "0.05") == 0
    assert not (folder / "one").exists()
    plan = read_plan(folder / "two" / STATE / "plan.json")
    mosaic = next(task for task in plan.tasks.values() if task.stage == "mosaic")
    assert mosaic.settings["grid"]["pixel_scale"] == 0.05
    assert len(list((folder / "two" / "rate").iterdir())) == 4


def test_a_failure_is_told_and_the_rest_is_done(folder, work, monkeypatch, capsys):
    planned = build.build_plan

    def with_failure(*args, **kwargs):
        plan = planned(*args, **kwargs)
        task = plan.tasks["exposure/jw01727001001_02101_00002_nrcb4"]
        task.arguments["fails"] = "no light"
        return plan

    monkeypatch.setattr(build, "build_plan", with_failure)
    assert ceers("reduce", "uncal", "-o", "reduced") == 1
    told = capsys.readouterr()
    assert (
        "FAILED exposure/jw01727001001_02101_00002_nrcb4 in jump: ValueError: no light" in told.err
    )
    log = "reduced/logs/exposure/jw01727001001_02101_00002_nrcb4.log"
    assert str(folder / log) in told.err
    assert (folder / log).exists()
    assert "4 tasks wait for what failed." in told.err
    assert "6 tasks done" in told.out
    states = Table.read(folder / "reduced" / "summary.ecsv")["state"]
    assert sorted(states) == ["done"] * 6 + ["failed"] + ["waiting"] * 4
    assert "no light" in (folder / "reduced" / "summary.html").read_text()


def test_a_summary_that_cannot_be_written_does_not_hide_what_failed(
    folder, work, monkeypatch, capsys
):
    failure = Failure("exposure/x", "jump", "disk full", "x.log")
    monkeypatch.setattr(run, "run_plan", lambda *_, **__: Outcome([], 0, [failure], ["mosaic/x"]))
    (folder / "reduced" / "summary.ecsv").mkdir(parents=True)
    assert ceers("reduce", "uncal", "-o", "reduced") == 1
    told = capsys.readouterr().err
    assert "FAILED exposure/x in jump: disk full Log: x.log\n1 task waits for" in told
    assert f"Cannot write {folder / 'reduced' / 'summary.ecsv'}" in told


def test_what_failed_can_be_left_out_as_the_message_says(folder, work, monkeypatch, capsys):
    planned = build.build_plan

    def with_failure(*args, **kwargs):
        plan = planned(*args, **kwargs)
        if task := plan.tasks.get("exposure/jw01727001001_02101_00002_nrcblong"):
            task.arguments["fails"] = "no light"
        return plan

    monkeypatch.setattr(build, "build_plan", with_failure)
    (folder / "survey.toml").write_text('inputs = ["uncal"]\noutput = "reduced"\n')
    assert ceers("reduce", "survey.toml") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    start, _, remedy = told.partition("failed: ")
    assert start == "To go on without the exposures that "
    assert told in html.unescape((folder / "reduced" / "summary.html").read_text())
    text, _, place = remedy.partition(" (in ")
    assert place == f"{folder / 'survey.toml'}, above the first [table])"
    with open(folder / "survey.toml", "a") as file:
        file.write(text + "\n")
    # the other filter is aligned already; the grid of both is smaller now
    assert ceers("reduce", "survey.toml") == 0
    told = capsys.readouterr()
    assert "5 tasks done, 5 valid before" in told.out
    page = (folder / "reduced" / "summary.html").read_text()
    left_out = "left out, named in exclude: 1 (jw01727001001_02101_00002_nrcblong)"
    assert left_out in page
    table = Table.read(folder / "reduced" / "left_out.ecsv", format="ascii.ecsv")
    assert list(table["exposure"]) == ["jw01727001001_02101_00002_nrcblong"]
    assert (folder / "reduced" / table["file"][0]).is_file()
    assert "To go on without" not in page
    assert ceers("plan", "survey.toml") == 0
    assert (
        "left out, named in exclude: 1 (jw01727001001_02101_00002_nrcblong)"
        in capsys.readouterr().out
    )
    # without a file it is an option
    assert ceers("reduce", "uncal", "-o", "again") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    option = told.partition("failed: ")[2].removesuffix(" (at the end of the command)")
    assert ceers("reduce", "uncal", "-o", "again", *shlex.split(option)) == 0


def test_what_all_exposures_suffer_from_is_not_to_be_left_out(folder, work, monkeypatch, capsys):
    planned = build.build_plan

    def with_failures(*args, **kwargs):
        plan = planned(*args, **kwargs)
        for task in plan.by_stage()["exposure"]:
            task.arguments["fails"] = "no reference"
        return plan

    monkeypatch.setattr(build, "build_plan", with_failures)
    assert ceers("reduce", "uncal", "-o", "reduced") == 1
    assert "To go on without" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [("--exclude", "{0}", "{1}"), ("--exclude", "{0}", "--exclude", "{1}")]
)
def test_options_of_several_values_may_be_repeated(folder, capsys, options):
    names = [f"jw01727001001_02101_0000{number}_nrcb4" for number in (1, 2)]
    options = [option.format(*names) for option in options]
    assert ceers("plan", "uncal", "-o", "reduced", *options) == 0
    assert "detector1 2," in capsys.readouterr().out


def test_references_of_the_exposures_to_do_are_checked_first(folder, work):
    assert ceers("reduce", "uncal", "-o", "reduced", "--set", "detector1.jump.skip=true") == 0
    ((files, options),) = work
    assert [os.path.basename(name) for name in files] == sorted(os.listdir(folder / "uncal"))
    # F115W and F277W have no wisps: no template is asked for
    assert options["parameters"]["CeersDetector1"]["steps"]["wispsub"] == {"skip": True}
    assert options["parameters"]["CeersDetector1"]["steps"]["jump"]["skip"] is True
    # everything is valid: nothing to be checked
    assert ceers("reduce", "uncal", "-o", "reduced", "--set", "detector1.jump.skip=true") == 0
    assert len(work) == 1


def test_templates_are_asked_for_where_there_are_wisps(folder, work):
    name = "jw01727001001_02101_00003_nrcb4_uncal.fits"
    write_file(folder / "uncal", name, square(0, 0, 64, 20), band="F150W")
    templates = folder / "templates"
    templates.mkdir()
    assert ceers("reduce", "uncal", "-o", "reduced", "--wisp-templates", templates) == 0
    (first, options), (others, _) = work
    assert [os.path.basename(path) for path in first] == [name]
    assert len(others) == 4
    wispsub = options["parameters"]["CeersDetector1"]["steps"]["wispsub"]
    assert wispsub["template_dir"] == str(templates)


def test_nothing_is_started_without_references(folder, work, monkeypatch, capsys):
    monkeypatch.setattr(references, "check_references", lambda *_, **__: Report(False))
    assert ceers("reduce", "uncal", "-o", "reduced") == 1
    told = capsys.readouterr().err
    assert "jwst_nircam_flat_0001.fits: missing" in told
    assert f"ceers references fetch {folder / 'uncal'}\n" in told
    assert "--wisp-templates" in told
    assert not (folder / "reduced").exists()
    assert ceers("reduce", "uncal", "-o", "reduced", "--no-check") == 0


def test_nothing_is_started_without_the_files_of_the_WCS(folder, work, capsys):
    (folder / "wcs").mkdir()
    (folder / "wcs" / "jw01727001001_02101_00001_nrcb4_tweakreg.asdf").touch()
    assert ceers("reduce", "uncal", "-o", "reduced", "--wcs-dir", "wcs") == 1
    told = capsys.readouterr().err
    assert "3 file(s) are not there" in told
    assert "jw01727001001_02101_00002_nrcb4_tweakreg.asdf (for outlier/jw01727001_f115w)" in told
    assert not (folder / "reduced").exists()


# -- commands


def test_commands_are_files_in_order_whose_lines_do_the_tasks(folder, work, capsys):
    assert ceers("commands", "uncal", "-o", "reduced") == 0
    names = ["1_exposure", "2_align", "3_outlier", "4_mosaic", "5_background"]
    paths = [folder / "reduced" / "commands" / f"{name}.txt" for name in names]
    told = capsys.readouterr().out.splitlines()
    counts = dict(zip(paths, (4, 2, 2, 2, 1), strict=True))
    assert told == [f"{path}: {count} commands" for path, count in counts.items()]
    assert {path: len(path.read_text().splitlines()) for path in paths} == counts
    line = paths[0].read_text().splitlines()[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for told in ("done in", "valid already"):
        done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        log = folder / "reduced/logs/exposure/jw01727001001_02101_00001_nrcb4.log"
        assert told in done.stdout + log.read_text()
    # a command before its turn says so, with exit code 1
    line = paths[2].read_text().splitlines()[0]
    assert subprocess.run(line, shell=True, env=environment, capture_output=True).returncode == 1


def test_the_console_names_what_needs_a_look(tmp_path, capsys):
    from astropy.table import Table

    from ceers_steps.commands.survey.reduce import _look

    table = Table({"exposure": ["a", "b", "c"], "outlier": ["sky", "", "stripes sky"]})
    table.write(tmp_path / "quality.ecsv")
    _look(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 exposures need a look: a, c"
    assert lines[1].startswith("To look at the survey: ceers report ")


def test_the_console_names_mosaics_that_need_a_look(tmp_path, capsys):
    from ceers_steps.commands.survey.reduce import _look
    from ceers_steps.files.metrics import write_metrics

    table = Table({"exposure": ["a"], "outlier": ["x"]})
    table["outlier"][0] = ""
    table.write(tmp_path / "quality.ecsv")
    rows = [
        {"product": "m1_i2d", "name": "m1", "stage": "mosaic", "depth": 28.0},
        {"product": "m1_mbkgsub", "name": "m1", "stage": "background", "border_excess": 0.4},
        {"product": "m2_mbkgsub", "name": "m2", "stage": "background", "border_excess": 0.01},
        {"product": "m3_mbkgsub", "name": "m3", "stage": "background", "masked_fraction": 0.43},
        {"product": "e_cal", "name": "e", "stage": "exposure", "noise_scale": 9.0},
    ]
    write_metrics(tmp_path, rows)
    _look(tmp_path)
    assert capsys.readouterr().out.splitlines()[0] == "2 mosaics need a look: m1, m3"
