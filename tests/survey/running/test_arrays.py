"""Job arrays: what they ask for, and that they do all tasks in order and nothing twice."""

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import Task, why_stale
from ceers_steps.survey.running.arrays import write_arrays
from tests.survey.running.test_slurm import answers, wait_for
from tests.survey.standin import ROOT, calls, make_plan

QSUB = """
import os, re, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
found = re.search(r"^#PBS -J 1-(\\d+)$", text, re.M)
with open(os.environ["QSUB_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
for element in range(1, int(found[1]) + 1) if found else [None]:
    environment = {**os.environ, **({"PBS_ARRAY_INDEX": str(element)} if element else {})}
    subprocess.run(["bash", script], env=environment, stdout=subprocess.DEVNULL, stderr=2)
print(f"{os.path.basename(script)}[].server")
"""


@pytest.fixture(autouse=True)
def _stand_in_is_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def qsub(tmp_path, monkeypatch):
    """A program in the place of PBS, which runs what is submitted, one element after the other."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "qsub.py").write_text(QSUB)
    program = folder / "qsub"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {folder / "qsub.py"} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("QSUB_LOG", str(tmp_path / "qsub.txt"))
    return tmp_path / "qsub.txt"


@pytest.mark.parametrize("system", ["slurm", "pbs"])
def test_a_script_for_each_stage(tmp_path, system):
    plan = make_plan(tmp_path)
    written = [(Path(path).name, count) for path, count in write_arrays(plan, system)]
    assert written == [
        *((f"1_exposure.{system}", 4), (f"2_outlier.{system}", 2)),
        *((f"3_mosaic.{system}", 2), (f"4_background.{system}", 1), ("submit.sh", 1)),
    ]
    for path, _ in write_arrays(plan, system):
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    text = (plan.output / "commands" / f"1_exposure.{system}").read_text()
    memory = max(task.memory for task in plan.tasks.values() if task.stage == "exposure")
    assert str(memory + 500) in text
    # of another system nothing is left
    other = "pbs" if system == "slurm" else "slurm"
    write_arrays(plan, other)
    assert not list((plan.output / "commands").glob(f"*.{system}"))


def test_elements_hold_several_tasks(tmp_path):
    plan = make_plan(tmp_path, exposures=5)
    assert write_arrays(plan, "slurm", 2)[0][1] == 5  # names of one visit only
    with pytest.raises(CeersError, match="--per-job 0"):
        write_arrays(plan, "slurm", 0)
    with pytest.raises(CeersError, match="slurm and pbs"):
        write_arrays(plan, "lsf")


def test_the_exposures_of_an_element_are_of_one_visit(tmp_path):
    visits = {"001": 3, "002": 2}
    names = [
        f"jw01345{visit}001_02201_0000{number}_nrca1"
        for visit, count in visits.items()
        for number in range(count)
    ]
    tasks = {f"exposure/{name}": Task("exposure", name) for name in names}
    plan = replace(make_plan(tmp_path), tasks=tasks)
    (path, count), _ = write_arrays(plan, "slurm", 2)
    assert count == 3
    assert "lines=(1 2 3 3 4 5)" in Path(path).read_text()


@pytest.mark.slow
def test_stages_wait_for_each_other_and_nothing_is_done_twice(tmp_path, qsub):
    plan = make_plan(tmp_path)
    submit = write_arrays(plan, "pbs", 2)[-1][0]
    done = subprocess.run([submit, "-q", "long"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4_background.pbs[].server"]
    first, *others = qsub.read_text().splitlines()
    assert first.startswith("-q long ")
    assert [line.split()[1] for line in others] == [
        *("depend=afterany:1_exposure.pbs[].server", "depend=afterany:2_outlier.pbs[].server"),
        "depend=afterany:3_mosaic.pbs[].server",
    ]
    assert sorted(calls(plan)) == sorted(plan.tasks)
    assert why_stale(plan) == {}
    subprocess.run([submit], capture_output=True, check=True)
    assert calls(plan) == []


@pytest.mark.slow
def test_a_task_that_fails_does_not_keep_its_element(tmp_path, qsub):
    plan = make_plan(tmp_path, arguments={"exposure/e1": {"refuses": "Give a template."}})
    submit = write_arrays(plan, "pbs", 4)[-1][0]
    subprocess.run([submit], capture_output=True, check=True)
    assert set(calls(plan)) == {*(f"exposure/e{n}" for n in range(4)), "outlier/g2", "mosaic/g2"}


@pytest.mark.slow
@pytest.mark.skipif(not answers(), reason="no Slurm answers here; .ci/slurm starts one")
def test_through_a_real_slurm(tmp_path):
    plan = make_plan(tmp_path)
    submit = write_arrays(plan, "slurm", 2)[-1][0]
    done = subprocess.run([submit], capture_output=True, text=True, check=True)
    assert done.stdout.strip().isdigit()
    wait_for(lambda: why_stale(plan) == {})
    assert sorted(calls(plan)) == sorted(plan.tasks)
