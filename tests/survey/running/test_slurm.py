"""A survey through a real Slurm (`.ci/slurm` starts one): killed drivers, lost jobs."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.resources import files

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import why_stale
from tests.survey.running.test_run import products, run
from tests.survey.standin import ROOT, calls, make_plan

pytest.importorskip("snakemake_executor_plugin_slurm")


def answers():
    """Say whether there is a Slurm that takes jobs."""
    if shutil.which("sbatch") is None:
        return False
    try:
        command = ["sinfo", "--noheader", "--states=idle,mixed,allocated"]
        listed = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return listed.returncode == 0 and bool(listed.stdout.strip())


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not answers(), reason="no Slurm answers here; .ci/slurm starts one"),
]

DRIVER = """
import sys
from ceers_steps.survey.running.run import run_plan
from tests.survey.running.test_run import config_of
from tests.survey.running.test_slurm import short_plan
plan = short_plan(sys.argv[1], exposures=2, arguments={"exposure/e1": {"seconds": 2.5}})
outcome = run_plan(plan, config_of(plan, on="slurm"))
sys.exit(1 if outcome.failures or outcome.waiting else 0)
"""


def short_plan(folder, **arguments):
    """A plan up to its second stage: every stage takes some checks of Slurm's queue."""
    plan = make_plan(folder, **arguments)
    stages = {"exposure", "outlier"}
    tasks = {name: task for name, task in plan.tasks.items() if task.stage in stages}
    return replace(plan, tasks=tasks)


@pytest.fixture(autouse=True)
def _stand_in_is_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def quick_profile(tmp_path):
    """The profile that is shipped, with less waiting."""
    shipped = (
        files("ceers_steps.survey.running") / "workflow" / "profiles" / "slurm" / "config.yaml"
    )
    text = shipped.read_text(encoding="utf-8").replace("checks: 5", "checks: 1")
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder


def jobs():
    """Return the names of the jobs of all surveys."""
    command = ["squeue", "--me", "--noheader", "--format=%j"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name.startswith("ceers_")]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_driver_that_is_killed_goes_on(tmp_path):
    """Its jobs outlive it; they are cancelled, and what they had begun is done again."""
    plan = short_plan(tmp_path, exposures=2)
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    called = plan.output / "calls.txt"
    wait_for(lambda: called.exists() and "exposure/e1" in called.read_text())
    wait_for(plan.record_path(plan.tasks["exposure/e0"]).exists)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert jobs(), "the job goes on without its driver"
    done = {name for name in plan.tasks if plan.record_path(plan.tasks[name]).exists()}
    assert sorted(calls(plan)) == ["exposure/e0", "exposure/e1"]

    again = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "jobs of a run that was stopped are being cancelled" in again.stdout
    assert sorted(calls(plan)) == sorted(set(plan.tasks) - done)
    assert why_stale(plan) == {}
    assert jobs() == []
    undisturbed = short_plan(tmp_path / "other", exposures=2)
    run(undisturbed)
    assert products(plan) == {
        name: text.replace(str(tmp_path / "other"), str(tmp_path))
        for name, text in products(undisturbed).items()
    }


def test_jobs_that_are_lost_and_jobs_that_fail(tmp_path, quick_profile):
    """A job that ends without a word is tried again; one that fails twice is told with its log."""
    arguments = {"exposure/e0": {"fails": "bad pixel everywhere"}, "exposure/e2": {"seconds": 1.5}}
    plan = short_plan(tmp_path, exposures=3, arguments=arguments)
    killer = subprocess.Popen(
        [sys.executable, "-c", KILLER, str(plan.output), "exposure/e2"], cwd=ROOT
    )
    outcome = run(plan, profile=quick_profile)[0]
    assert killer.wait(10) == 0
    assert [(f.task, f.message) for f in outcome.failures] == [
        ("exposure/e0", "ValueError: bad pixel everywhere")
    ]
    assert outcome.waiting == ["outlier/g0"]
    assert sorted(outcome.done) == ["exposure/e1", "exposure/e2", "outlier/g2"]
    tried = calls(plan)
    assert (tried.count("exposure/e0"), tried.count("exposure/e2")) == (2, 2)


KILLER = """
import os, signal, sys, time
from pathlib import Path
from tests.survey.running.test_run import task_processes
from types import SimpleNamespace
plan = SimpleNamespace(output=Path(sys.argv[1]))
called = plan.output / "calls.txt"
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    if called.exists() and sys.argv[2] in called.read_text():
        for pid in task_processes(plan, sys.argv[2]):
            os.kill(pid, signal.SIGKILL)
            sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
"""


def test_a_job_that_slurm_does_not_take(tmp_path, quick_profile):
    plan = short_plan(tmp_path, exposures=1)
    with pytest.raises(CeersError, match=r"(?s)engine stopped.* 1 task.s. left.*invalid partition"):
        run(plan, profile=quick_profile, partition="nowhere", retries=0)
