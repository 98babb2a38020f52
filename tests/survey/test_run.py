"""Plans carried out by the engine, stopped in every way, and gone on with."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.config import SurveyConfig
from ceers_steps.survey.plan import STATE, why_stale
from ceers_steps.survey.run import check_memory, run_plan
from tests.survey.standin import ROOT, calls, make_plan

pytest.importorskip("snakemake")

DRIVER = """
import sys
from ceers_steps.survey.run import run_plan
from tests.survey.standin import make_plan
from tests.survey.test_run import config_of
slow = {f"exposure/e{n}": {"seconds": 0.3} for n in range(6)}
plan = make_plan(sys.argv[1], exposures=6, arguments=slow)
outcome = run_plan(plan, config_of(plan))
sys.exit(1 if outcome.failures or outcome.waiting else 0)
"""


@pytest.fixture(autouse=True)
def _stand_in_is_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def config_of(plan, **values):
    return SurveyConfig(None, (), plan.output, cores=2, **values)


def run(plan, **values):
    lines = []
    return run_plan(plan, config_of(plan, **values), tell=lines.append), lines


def products(plan):
    return {
        name: (plan.output / name).read_text()
        for task in plan.tasks.values()
        for name in task.outputs
    }


@pytest.mark.slow
def test_all_is_done_once_then_nothing_then_what_changed(tmp_path):
    plan = make_plan(tmp_path)
    outcome, lines = run(plan)
    assert (sorted(outcome.done), outcome.failures, outcome.waiting) == (sorted(plan.tasks), [], [])
    assert sorted(calls(plan)) == sorted(plan.tasks)
    assert any(line.startswith("exposure: 4 of 4") for line in lines)
    outcome, _ = run(plan)
    assert (outcome.done, outcome.valid) == ([], len(plan.tasks))
    plan = make_plan(tmp_path, settings={"mosaic/g2": {"value": 7}})
    outcome, _ = run(plan)
    assert outcome.done == calls(plan) == ["mosaic/g2", "background/all"]


@pytest.mark.slow
def test_one_failure_does_not_stop_the_rest(tmp_path):
    plan = make_plan(tmp_path, arguments={"exposure/e1": {"fails": "bad pixel everywhere"}})
    outcome, _ = run(plan)
    (failure,) = outcome.failures
    assert (failure.task, failure.message) == ("exposure/e1", "ValueError: bad pixel everywhere")
    assert outcome.waiting == ["outlier/g0", "mosaic/g0", "background/all"]
    assert set(outcome.done) == set(plan.tasks) - {"exposure/e1", *outcome.waiting}
    # tried twice, with more memory the second time
    assert calls(plan).count("exposure/e1") == 2
    plan = make_plan(tmp_path)
    outcome, _ = run(plan)
    assert set(calls(plan)) == set(outcome.done) == {"exposure/e1", *failure_follows(plan)}


def failure_follows(plan):
    return {"outlier/g0", "mosaic/g0", "background/all"}


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failure_that_says_so(tmp_path):
    plan = make_plan(tmp_path, arguments={"exposure/e0": {"seconds": 60}})
    driver = start(tmp_path, plan_text='{"exposure/e0": {"seconds": 60}}')
    kill_one(plan, "exposure-e0", times=2)
    assert driver.wait(60) == 1
    assert "the process was killed" in driver.communicate()[0]


def start(tmp_path, plan_text):
    """Start a driver that prints what failed."""
    code = (
        DRIVER.replace('{f"exposure/e{n}": {"seconds": 0.3} for n in range(6)}', plan_text)
        .replace("exposures=6", "exposures=4")
        .replace("sys.exit", "print(*[f.message for f in outcome.failures]); sys.exit")
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def kill_one(plan, name, times):
    """Kill the process of a task as often as it is started."""
    for _ in range(times):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = task_processes(plan, name.replace("-", "/", 1))
            scratch = plan.output / STATE / "scratch" / name
            if found and scratch.exists():
                for pid in found:
                    os.kill(pid, signal.SIGKILL)
                while any(os.path.exists(f"/proc/{pid}") for pid in found):
                    time.sleep(0.05)
                break
            time.sleep(0.05)


def task_processes(plan, name=""):
    """Return the processes of tasks of a plan."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit():
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    words = file.read().split("\0")
                if "ceers_steps.survey.task" in words and words[-2].endswith(name):
                    found += [int(entry)] if str(plan.output) in " ".join(words) else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_stopped_goes_on(tmp_path, number):
    """Stopped three times at random: the same products, nothing done is done again."""
    plan = make_plan(tmp_path, exposures=6)
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    rng = random.Random(int(number))
    tried = []
    for _ in range(3):
        driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        wait_for_first_call(plan)
        time.sleep(rng.uniform(0, 1.5))
        before = {name for name in plan.tasks if plan.record_path(plan.tasks[name]).exists()}
        driver.send_signal(number)
        driver.wait(60)
        wait_until_gone(plan)
        tried.append((before, calls(plan)))
    assert subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL).returncode == 0
    tried.append((set(plan.tasks), calls(plan)))
    for (done, _), (_, again) in pairwise(tried):
        assert not done & set(again)
    undisturbed = make_plan(tmp_path / "other", exposures=6)
    run(undisturbed)
    here, there = products(plan), products(undisturbed)
    assert here == {
        name: text.replace(str(tmp_path / "other"), str(tmp_path)) for name, text in there.items()
    }
    assert why_stale(plan) == {}


def wait_for_first_call(plan):
    deadline = time.monotonic() + 60
    while not (plan.output / "calls.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_until_gone(plan):
    """Wait until no task of the plan runs: they end with their driver."""
    deadline = time.monotonic() + 20
    while task_processes(plan):
        assert time.monotonic() < deadline, "tasks outlived their driver"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    plan = make_plan(tmp_path, exposures=6)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    wait_for_first_call(plan)
    with pytest.raises(CeersError, match=f"is in use: process {driver.pid} of"):
        run(plan)
    driver.send_signal(signal.SIGTERM)
    driver.wait(60)


def test_what_cannot_fit_is_refused_before_anything_starts(tmp_path):
    plan = make_plan(tmp_path, arguments={"mosaic/g0": {"exposures": ["e0", "e1"]}})
    task = plan.tasks["mosaic/g0"]
    large = type(task)(**{**vars(task), "memory": 70_000})
    with pytest.raises(CeersError, match=r"mosaic/g0 needs about 70\.0 GB; tile_size = \d+ would"):
        check_memory(plan, [large], 8000)
    plan.tasks["mosaic/g0"] = large
    with pytest.raises(CeersError, match="Set tile_size"):
        run(plan, memory=8.0)
    assert calls(plan) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    plan = make_plan(tmp_path)
    (plan.output / STATE).write_text("in the way")
    with pytest.raises(CeersError, match=r"Cannot write to .*choose another -o"):
        run(plan)
