"""Files of commands for a launcher: one a stage, in their order."""

import subprocess
from pathlib import Path

import pytest

from ceers_steps.survey.planning.plan import why_stale
from ceers_steps.survey.running.launcher import write_commands
from ceers_steps.survey.running.locks import hold_folder
from tests.survey.planning.test_plan import do
from tests.survey.standin import ROOT, calls, make_plan


@pytest.fixture(autouse=True)
def _stand_in_is_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def launch(plan):
    """Run all files in their order, two commands at a time; return the exit codes."""
    codes = []
    for path, count in write_commands(plan):
        assert len(Path(path).read_text().splitlines()) == count
        launcher = ["xargs", "-P2", "-d\n", "-I{}", "sh", "-c", "{}"]
        with open(path, encoding="utf-8") as lines:
            codes.append(subprocess.run(launcher, stdin=lines, capture_output=True).returncode)
    return codes


def test_files_are_in_the_order_of_the_work(tmp_path):
    plan = make_plan(tmp_path)
    written = [(Path(path).name, count) for path, count in write_commands(plan)]
    assert written == [
        *(("1_exposure.txt", 4), ("2_outlier.txt", 2)),
        *(("3_mosaic.txt", 2), ("4_background.txt", 1)),
    ]


def test_files_of_a_plan_with_other_stages_are_gone(tmp_path):
    plan = make_plan(tmp_path)
    write_commands(plan)
    del plan.tasks["outlier/g0"], plan.tasks["outlier/g2"]
    names = {Path(path).name for path, _ in write_commands(plan)}
    assert {path.name for path in (plan.output / "commands").iterdir()} == names


@pytest.mark.slow
def test_a_launcher_makes_the_same_products_and_nothing_twice(tmp_path):
    plan = make_plan(tmp_path)
    assert launch(plan) == [0, 0, 0, 0]
    assert sorted(calls(plan)) == sorted(plan.tasks)
    assert why_stale(plan) == {}
    made = {
        name: (plan.output / name).read_text() for t in plan.tasks.values() for name in t.outputs
    }
    assert launch(plan) == [0, 0, 0, 0]
    assert calls(plan) == []
    other = make_plan(tmp_path / "other")
    do(other)
    for name, text in made.items():
        assert text == (other.output / name).read_text().replace(
            str(tmp_path / "other"), str(tmp_path)
        )


@pytest.mark.slow
def test_a_command_that_fails_says_so_and_can_be_given_again(tmp_path):
    plan = make_plan(tmp_path, arguments={"exposure/e1": {"refuses": "Give a template."}})
    # xargs tells that some command failed; what needs the exposure fails too
    assert launch(plan) == [123, 123, 123, 123]
    assert set(calls(plan)) == {*(f"exposure/e{n}" for n in range(4)), "outlier/g2", "mosaic/g2"}
    plan = make_plan(tmp_path)
    assert launch(plan) == [0, 0, 0, 0]
    assert set(calls(plan)) == {"exposure/e1", "outlier/g0", "mosaic/g0", "background/all"}


@pytest.mark.slow
def test_commands_keep_out_of_a_folder_where_a_run_works(tmp_path):
    plan = make_plan(tmp_path, exposures=1)
    with hold_folder(plan.output):
        assert launch(plan) == [123, 123, 123, 123]
    assert calls(plan) == []
