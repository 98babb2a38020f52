"""Plans carried out by the engine, stopped in every way, and gone on with."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning.plan import why_stale
from ceers_steps.survey.running.run import _signals, check_memory, run_plan
from ceers_steps.survey.running.task import running_path
from tests.survey.planning.test_plan import do
from tests.survey.standin import ROOT, calls, make_plan

pytest.importorskip("snakemake")

DRIVER = """
import json, sys
from ceers_steps.survey.running.run import run_plan
from tests.survey.standin import make_plan
from tests.survey.running.test_run import config_of
folder, arguments, exposures = sys.argv[1:]
plan = make_plan(folder, exposures=int(exposures), arguments=json.loads(arguments))
outcome = run_plan(plan, config_of(plan))
for failure in outcome.failures:
    print(f"{failure.task}: {failure.message}")
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
    assert (lines[0], lines[-1]) == ("0 of 9 tasks done", "9 of 9 tasks done")
    outcome, _ = run(plan)
    assert (outcome.done, outcome.valid) == ([], len(plan.tasks))
    plan = make_plan(tmp_path, settings={"mosaic/g2": {"value": 7}})
    outcome, _ = run(plan)
    assert outcome.done == calls(plan) == ["mosaic/g2", "background/all"]


@pytest.mark.slow
def test_names_with_spaces_and_quotes_and_a_profile_for_other_work(tmp_path, monkeypatch):
    folder = tmp_path / "Bob's {first} field #2, 100%"
    folder.mkdir()
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text("executor: nowhere\n")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", str(profile))
    plan = make_plan(folder, exposures=1)
    task = plan.tasks.pop("exposure/e0")
    renamed = type(task)(**{**vars(task), "key": "the $HOME's first"})
    plan = type(plan)(plan.output, {renamed.id: renamed}, plan.versions, (), plan.work)
    outcome, _ = run(plan)
    assert (outcome.done, outcome.failures) == ([renamed.id], [])


@pytest.mark.slow
def test_one_failure_does_not_stop_the_rest(tmp_path):
    plan = make_plan(tmp_path, arguments={"exposure/e1": {"fails": "bad pixel everywhere"}})
    outcome, _ = run(plan)
    (failure,) = outcome.failures
    assert (failure.task, failure.message) == ("exposure/e1", "ValueError: bad pixel everywhere")
    assert failure.step == "stages 1 and 2"
    assert outcome.waiting == ["outlier/g0", "mosaic/g0", "background/all"]
    assert set(outcome.done) == set(plan.tasks) - {"exposure/e1", *outcome.waiting}
    # tried twice, with more memory the second time
    assert calls(plan).count("exposure/e1") == 2
    plan = make_plan(tmp_path)
    outcome, _ = run(plan)
    assert set(calls(plan)) == set(outcome.done) == {"exposure/e1", *failure_follows(plan)}


@pytest.mark.slow
def test_a_raw_file_that_was_broken_and_restored_makes_no_work(tmp_path):
    plan = make_plan(tmp_path)
    run(plan)
    made = products(plan)
    raw = tmp_path / "uncal" / "e1_uncal.fits"
    whole = raw.read_bytes()
    raw.write_bytes(whole[:3])
    broken = make_plan(tmp_path, arguments={"exposure/e1": {"refuses": "the file is cut off."}})
    outcome, lines = run(broken)
    assert [failure.task for failure in outcome.failures] == ["exposure/e1"]
    assert (outcome.done, outcome.waiting) == (
        [],
        ["outlier/g0", "mosaic/g0", "background/all"],
    )
    assert lines[-1].startswith("0 of 4 tasks done, 1 failed")
    assert products(plan) == made
    raw.write_bytes(whole)
    calls(plan)
    outcome, _ = run(plan)
    assert (outcome.done, outcome.valid, calls(plan)) == ([], len(plan.tasks), [])
    assert not list((plan.output / ".ceers" / "failed").rglob("*.json"))


def failure_follows(plan):
    return {"outlier/g0", "mosaic/g0", "background/all"}


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_is_tried_again_then_told(tmp_path, times):
    arguments = {
        "exposure/e0": {"seconds": 60 if times == 2 else 1},
        "exposure/e2": {"fails": "bad"},
    }
    plan = make_plan(tmp_path, arguments=arguments)
    driver = start(tmp_path, arguments)
    kill_task(plan, "exposure/e0", times)
    told, _ = driver.communicate(timeout=60)
    assert driver.returncode == 1
    tried = calls(plan)
    # with half as much memory again the second time
    log = (plan.output / "logs" / "engine.log").read_text()
    assert log.count("mem_mb=750") == 2
    assert "exposure/e2: ValueError: bad" in told
    if times == 1:
        assert "outlier/g0" in tried
    else:
        assert f"exposure/e0: the process was killed on {socket.gethostname()}, attempt 2" in told
        assert "(0.8 GB were reserved)" in told


@pytest.mark.slow
def test_an_engine_that_is_killed_is_told_and_gone_on_with(tmp_path):
    arguments = {"exposure/e0": {"seconds": 2}, "exposure/e1": {"seconds": 0.1}}
    plan = make_plan(tmp_path, arguments=arguments)
    driver = start(tmp_path, arguments)
    wait_until(lambda: plan.record_path(plan.tasks["exposure/e1"]).exists())
    (engine,) = processes("snakemake", str(plan.output))
    os.kill(engine, signal.SIGKILL)
    told, _ = driver.communicate(timeout=60)
    assert "CeersError: The engine was killed (signal 9)" in told
    assert "The same command goes on" in told
    wait_until_gone(plan)
    before = set(plan.tasks) - set(why_stale(plan))
    calls(plan)
    driver = start(tmp_path, arguments)
    driver.communicate(timeout=120)
    assert driver.returncode == 0
    assert set(calls(plan)) == set(plan.tasks) - before


def start(folder, arguments, exposures=4):
    """Start a driver in a process of its own, which prints what failed."""
    command = [sys.executable, "-c", DRIVER, str(folder), json.dumps(arguments), str(exposures)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_task(plan, name, times):
    """Kill the process of a task as often as it is started."""
    path = running_path(plan, plan.tasks[name])
    for number in range(1, times + 1):
        begun = f'"attempt": {number},'
        wait_until(lambda begun=begun: path.exists() and begun in path.read_text())
        found = task_processes(plan, name)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda found=found: not any(os.path.exists(f"/proc/{pid}") for pid in found))


def processes(*words):
    """Return the processes whose command lines have all of these words, or words with them."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit():
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    line = file.read()
                if all(word in line for word in words):
                    found.append(int(entry))
    return found


def task_processes(plan, name=""):
    """Return the processes of tasks of a plan."""
    return processes("ceers_steps.survey.running.task\0", str(plan.output), f"\0{name}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_driver_that_is_stopped_goes_on(tmp_path, number):
    """Stopped twice at random: the same products, nothing done is done again."""
    slow = {f"exposure/e{n}": {"seconds": 0.3} for n in range(6)}
    plan = make_plan(tmp_path, exposures=6, arguments=slow)
    rng = random.Random(int(number))
    tried = []
    for _ in range(2):
        driver = start(tmp_path, slow, exposures=6)
        wait_until((plan.output / "calls.txt").exists)
        time.sleep(rng.uniform(0, 1.5))
        before = {name for name in plan.tasks if plan.record_path(plan.tasks[name]).exists()}
        driver.send_signal(number)
        driver.communicate(timeout=60)
        wait_until_gone(plan)
        tried.append((before, calls(plan)))
    driver = start(tmp_path, slow, exposures=6)
    told, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, told
    tried.append((set(plan.tasks), calls(plan)))
    for (done, _), (_, again) in pairwise(tried):
        assert not done & set(again)
    undisturbed = make_plan(tmp_path / "other", exposures=6)
    do(undisturbed)
    here, there = products(plan), products(undisturbed)
    assert here == {
        name: text.replace(str(tmp_path / "other"), str(tmp_path)) for name, text in there.items()
    }
    assert why_stale(plan) == {}


def wait_until_gone(plan):
    """Wait until no task of the plan runs: they end with their driver."""
    wait_until(lambda: not task_processes(plan))


@pytest.mark.slow
def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    slow = {f"exposure/e{n}": {"seconds": 2} for n in range(4)}
    plan = make_plan(tmp_path)
    driver = start(tmp_path, slow)
    wait_until((plan.output / "calls.txt").exists)
    with pytest.raises(CeersError, match=f"is in use: process {driver.pid} of"):
        run(plan)
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB, and how to make it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk takes the right to mount one")
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_gone_on_with(small_disk):
    disk, enlarge = small_disk
    large = {"exposure/e1": {"padding": 8_000_000}}
    plan = make_plan(disk, arguments=large)
    driver = start(disk, large)
    told, _ = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "exposure/e1: OSError: [Errno 28] No space left on device" in told
    assert "exposure/e1" in why_stale(plan)
    done = set(plan.tasks) - set(why_stale(plan))
    calls(plan)
    enlarge()
    driver = start(disk, large)
    told, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, told
    assert set(calls(plan)) == set(plan.tasks) - done
    assert why_stale(plan) == {}


def test_a_disk_that_is_full_from_the_start(small_disk):
    disk, _ = small_disk
    plan = make_plan(disk)
    with contextlib.suppress(OSError), open(disk / "filler", "wb") as filler:
        filler.write(bytes(4_000_000))
    with pytest.raises(CeersError, match="No space left on device"):
        run(plan)


@pytest.mark.slow
def test_who_stops_a_run_is_told_that_it_goes_on(tmp_path):
    plan = make_plan(tmp_path)
    slow = {f"exposure/e{n}": {"seconds": 20} for n in range(4)}
    driver = start(tmp_path, slow)
    wait_until((plan.output / "calls.txt").exists)
    driver.send_signal(signal.SIGINT)
    told, _ = driver.communicate(timeout=60)
    assert "Stopping. What is done stays done: the same command goes on from there." in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_run_in_order_unless_they_are_ignored(number):
    def be_told():
        with _signals():
            os.kill(os.getpid(), number)
            time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        be_told()
    before = signal.signal(number, signal.SIG_IGN)  # as nohup does
    try:
        be_told()
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("text", [None, "executor: [", "- no mapping"])
def test_a_profile_that_cannot_be_read(tmp_path, text):
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    plan = make_plan(tmp_path)
    with pytest.raises(CeersError, match=r"its config\.yaml cannot be read"):
        run(plan, profile=tmp_path)


def test_what_cannot_fit_is_refused_before_anything_starts(tmp_path):
    plan = make_plan(tmp_path, arguments={"mosaic/g0": {"exposures": ["e0", "e1"]}})
    task = plan.tasks["mosaic/g0"]
    large = type(task)(**{**vars(task), "memory": 70_000})
    with pytest.raises(CeersError, match=r"mosaic/g0 needs about 70\.0 GB; tile_size = \d+ would"):
        check_memory(plan, [large], 8000)
    small = plan.tasks["exposure/e0"]
    with pytest.raises(CeersError, match=r"exposure/e0 needs about 0\.5 GB\. Raise memory"):
        check_memory(plan, [small], 400)
    plan.tasks["mosaic/g0"] = large
    with pytest.raises(CeersError, match="Set tile_size"):
        run(plan, memory=8.0)
    assert calls(plan) == []
