"""`ceers verify` as it is called."""

import os

import pytest

from ceers_steps.cli import main
from ceers_steps.commands import verify
from ceers_steps.survey.planning.integrity import remember_command
from tests.survey.planning.test_integrity import flip_bit
from tests.survey.planning.test_plan import do
from tests.survey.standin import make_plan


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = make_plan(tmp_path)
    do(made)
    os.chdir(tmp_path)  # a task leaves the output folder as the working one
    remember_command(made.output, "ceers reduce survey.toml")
    return made


def test_a_sound_survey(plan, capsys):
    assert main(["verify", str(plan.output)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("9 files, 0.00 GB, in ")
    assert told.out.endswith("All are what was written.\n")
    assert told.err == ""


def test_damage_is_named_with_the_command_that_mends_it(plan, tmp_path, capsys):
    flip_bit(plan.output / "exposure" / "e0.txt")
    (plan.output / "mosaic" / "g2.txt").unlink()
    assert main(["verify", "out", "--cores", "2"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "exposure/e0.txt has other contents (exposure/e0)",
        "mosaic/g2.txt is missing (mosaic/g2)",
        f"To make these 2 again, and what follows: cd {tmp_path} && ceers reduce survey.toml",
    ]
    # what that command does
    do(plan)
    os.chdir(tmp_path)
    assert main(["verify", "out"]) == 0


def test_damaged_inputs_are_fetched_again(plan, tmp_path, capsys):
    raw = tmp_path / "uncal" / "e1_uncal.fits"
    flip_bit(raw)
    assert main(["verify", "out"]) == 0
    assert main(["verify", "out", "--inputs"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"input {raw} has other contents (exposure/e1)",
        "Fetch the inputs again, then run the same command.",
    ]


def test_many_files_are_counted(plan, monkeypatch, capsys):
    monkeypatch.setattr(verify, "SHOWN", 2)
    for number in range(4):
        (plan.output / "exposure" / f"e{number}.txt").unlink()
    assert main(["verify", "out"]) == 1
    assert "... and 2 more; all of them with --all" in capsys.readouterr().err
    assert main(["verify", "out", "--all"]) == 1
    assert "exposure/e3.txt" in capsys.readouterr().err


def test_progress_is_told_where_there_is_no_terminal(plan, monkeypatch, capsys):
    monkeypatch.setattr(verify, "INTERVAL", -1.0)
    assert main(["verify", "out"]) == 0
    assert capsys.readouterr().err.splitlines() == ["0.0 of 0.0 GB"] * 9


def test_a_folder_that_cannot_be_written_is_looked_at(plan, monkeypatch, capsys):
    flip_bit(plan.output / "exposure" / "e0.txt")
    before = plan.record_path(plan.tasks["exposure/e0"]).read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(["verify", "out"]) == 1
    assert "cannot be written: delete there what has other contents" in capsys.readouterr().err
    assert plan.record_path(plan.tasks["exposure/e0"]).read_bytes() == before


def test_a_folder_of_something_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "none"]) == 1
    assert "has no records of finished tasks" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
