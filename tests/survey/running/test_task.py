"""One task in one process: products and record in place, or neither."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ceers_steps.survey.planning.plan import STATE, why_stale, write_plan
from ceers_steps.survey.planning.records import Made, read_record
from ceers_steps.survey.running.task import main, running_path
from tests.survey.planning.test_plan import do
from tests.survey.standin import ROOT, calls, make_plan


def run(plan, name, *mark):
    path = plan.output / "plan.json"
    write_plan(plan, path)
    return main([str(path), name, *map(str, mark)])


def test_record_tells_what_the_products_depend_on(tmp_path):
    plan = make_plan(tmp_path)
    task = plan.tasks["exposure/e1"]
    assert run(plan, task.id) == 0
    record = read_record(plan.record_path(task))
    assert record.settings == task.settings
    assert set(record.inputs) == set(task.inputs)
    assert set(record.outputs) == set(task.outputs)
    assert record.peak_memory > 1e6
    assert not list((plan.output / STATE / "scratch").iterdir())


def test_products_are_on_the_disk_before_their_names_are(tmp_path, monkeypatch):
    """After a power failure a name, and then a record, must not stand for an empty file."""
    plan = make_plan(tmp_path)
    events = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(number):
        events.append(("disk", os.path.basename(os.readlink(f"/proc/self/fd/{number}"))))
        fsync(number)

    def spy_replace(source, target):
        events.append(("name", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    assert run(plan, "exposure/e0") == 0
    assert [event for event in events if event[1] == "e0.txt"] == [
        ("disk", "e0.txt"),
        ("name", "e0.txt"),
    ]
    assert events[-1] == ("name", "e0.json")


def test_failure_names_step_message_and_log(tmp_path):
    plan = make_plan(tmp_path, arguments={"exposure/e0": {"fails": "no such\nreference"}})
    task = plan.tasks["exposure/e0"]
    assert run(plan, task.id) == 1
    failure = json.loads(plan.failure_path(task).read_text())
    assert failure["message"] == "ValueError: no such reference"
    assert failure["log"] == str(plan.log_path(task))
    assert "Traceback" in plan.log_path(task).read_text()
    assert read_record(plan.record_path(task)) is None
    assert not (plan.output / task.outputs[0]).exists()


@pytest.mark.parametrize("fails", [False, True])
def test_figures_are_kept_and_tables_of_what_failed(tmp_path, monkeypatch, fails):
    plan = make_plan(tmp_path)
    table = __import__("tests.survey.standin", fromlist=["WORK"]).WORK
    stand_in = table["exposure"]

    def work(plan, task, scratch):
        (scratch / "e0_wisp.png").write_bytes(b"a figure")
        (scratch / "e0_alignment.ecsv").write_text("why")
        if fails:
            raise ValueError("not aligned")
        return stand_in(plan, task, scratch)

    monkeypatch.setitem(table, "exposure", work)
    assert run(plan, "exposure/e0") == fails
    kept = {path.name for path in (plan.output / "figures").iterdir()}
    assert kept == {"e0_wisp.png"} | ({"e0_alignment.ecsv"} if fails else set())


def test_step_of_a_failure_is_the_innermost(tmp_path, monkeypatch):
    class Step:
        class_alias = "x"

        def __init__(self, name, inner=None):
            self.name, self.inner = name, inner

        def run(self):
            if self.inner is None:
                raise ValueError("bad")
            self.inner.run()

    plan = make_plan(tmp_path)
    monkeypatch.setitem(
        __import__("tests.survey.standin", fromlist=["WORK"]).WORK,
        "exposure",
        lambda *_: Step("detector1", Step("jump")).run(),
    )
    assert run(plan, "exposure/e0") == 1
    failure = json.loads(plan.failure_path(plan.tasks["exposure/e0"]).read_text())
    assert failure["step"] == "jump"


def test_a_task_before_its_turn_fails(tmp_path):
    plan = make_plan(tmp_path)
    assert run(plan, "outlier/g0") == 1
    message = json.loads(plan.failure_path(plan.tasks["outlier/g0"]).read_text())["message"]
    assert message == "outlier/g0 needs exposure/e0, exposure/e1, which are not done."


def test_what_more_memory_does_not_mend_is_not_tried_again_in_a_run(tmp_path):
    plan = make_plan(tmp_path)
    log = plan.log_path(plan.tasks["outlier/g0"])
    for mark, tried in (("one", True), ("one", False), ("two", True), ("two", False)):
        assert run(plan, "outlier/g0", tmp_path / mark) == 1
        assert log.exists() == tried
        log.unlink(missing_ok=True)
    # a command by itself is given by somebody who has mended it
    for _ in range(2):
        assert run(plan, "outlier/g0") == 1
        assert log.exists()
        log.unlink()


def test_failure_that_a_retry_mends_is_forgotten(tmp_path):
    plan = make_plan(tmp_path, arguments={"exposure/e0": {"fails": "no memory"}})
    assert run(plan, "exposure/e0") == 1
    plan = make_plan(tmp_path)
    assert run(plan, "exposure/e0") == 0
    assert calls(plan) == ["exposure/e0", "exposure/e0"]
    assert not plan.failure_path(plan.tasks["exposure/e0"]).exists()


@pytest.mark.parametrize("name", ["exposure/none", "nothing"])
def test_unknown_task(tmp_path, capsys, name):
    assert run(make_plan(tmp_path), name) == 1
    assert f"has no task {name}" in capsys.readouterr().err


def test_working_folder_is_that_of_the_task(tmp_path, monkeypatch):
    """What jwst leaves in the working folder goes with the scratch folder."""
    plan = make_plan(tmp_path)
    seen = []

    def work(plan, task, scratch):
        seen.append(os.getcwd())
        (scratch / "e0.txt").write_text("x")
        return Made()

    monkeypatch.setitem(
        __import__("tests.survey.standin", fromlist=["WORK"]).WORK, "exposure", work
    )
    here = os.getcwd()
    try:
        assert run(plan, "exposure/e0") == 0
    finally:
        os.chdir(here)
    assert seen == [str(plan.output / STATE / "scratch" / "exposure-e0")]


def test_folders_of_variables_are_those_of_the_working_folder_before(tmp_path, monkeypatch):
    """The check finds a relative folder; the task, which works elsewhere, must find the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NIRCAM_WISP_TEMPLATES", f"wisps{os.pathsep}~/others")
    monkeypatch.setenv("CRDS_PATH", "crds")
    plan = make_plan(tmp_path / "out")
    assert run(plan, "exposure/e0") == 0
    wanted = [str(tmp_path / "wisps"), str(tmp_path / "others")]
    assert os.environ["NIRCAM_WISP_TEMPLATES"].split(os.pathsep) == wanted
    assert os.environ["CRDS_PATH"] == str(tmp_path / "crds")


def test_what_exits_is_a_failure_too(tmp_path):
    """The crds library raises SystemExit for a missing reference."""
    plan = make_plan(tmp_path, arguments={"exposure/e0": {"exits": "no jwst_nircam_flat_0001"}})
    assert run(plan, "exposure/e0") == 1
    failure = json.loads(plan.failure_path(plan.tasks["exposure/e0"]).read_text())
    assert failure["message"] == "SystemExit: no jwst_nircam_flat_0001"


def test_a_task_that_is_asked_to_end_leaves_nothing(tmp_path, monkeypatch):
    plan = make_plan(tmp_path)
    task = plan.tasks["exposure/e0"]
    seen = []

    def work(plan, task, scratch):
        seen.append(json.loads(running_path(plan, task).read_text()))
        (scratch / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(
        __import__("tests.survey.standin", fromlist=["WORK"]).WORK, "exposure", work
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run(plan, task.id) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen[0]["pid"] == os.getpid()
    for path in (running_path(plan, task), plan.failure_path(task), plan.record_path(task)):
        assert not path.exists()
    assert not list((plan.output / STATE / "scratch").iterdir())


def test_a_task_that_is_done_again_in_vain_counts_as_not_done(tmp_path):
    """Else what follows would be made of what is out of date."""
    do(make_plan(tmp_path))
    plan = make_plan(
        tmp_path,
        settings={"exposure/e0": {"value": 2}},
        arguments={"exposure/e0": {"fails": "no"}},
    )
    assert run(plan, "exposure/e0") == 1
    assert run(plan, "outlier/g0") == 1
    message = json.loads(plan.failure_path(plan.tasks["outlier/g0"]).read_text())["message"]
    assert message == "outlier/g0 needs exposure/e0, which is not done."
    # and so on: what stands between them is true of what was there before
    assert run(plan, "mosaic/g0") == 1
    message = json.loads(plan.failure_path(plan.tasks["mosaic/g0"]).read_text())["message"]
    assert message == "mosaic/g0 needs outlier/g0, which is not done."


def test_a_failed_attempt_leaves_the_valid_product_and_its_record(tmp_path, capsys):
    """A raw file that was cut off, tried, and restored to the bit is as if nothing had been."""
    plan = make_plan(tmp_path)
    do(plan)
    calls(plan)
    task = plan.tasks["exposure/e0"]
    raw, product = Path(task.inputs[0]), plan.output / task.outputs[0]
    whole, made = raw.read_bytes(), product.read_bytes()
    raw.write_bytes(whole[:3])
    broken = make_plan(tmp_path, arguments={"exposure/e0": {"fails": "cut off"}})
    assert run(broken, task.id) == 1
    assert product.read_bytes() == made
    assert list(why_stale(broken)) == [task.id, "outlier/g0", "mosaic/g0", "background/all"]
    raw.write_bytes(whole)
    assert why_stale(plan) == {}
    assert plan.failure_path(task).exists()
    assert run(plan, task.id) == 0
    assert f"{task.id}: valid already" in capsys.readouterr().out
    assert not plan.failure_path(task).exists()
    assert calls(plan) == [task.id]  # in vain


def test_products_take_their_places_together(tmp_path, monkeypatch):
    """When one of them is missing, those of before stay, with their record."""
    plan = make_plan(tmp_path)
    task = plan.tasks["exposure/e0"]
    task = plan.tasks[task.id] = replace(task, outputs=("exposure/a.txt", "exposure/b.txt"))
    do(plan)
    plan.tasks[task.id] = replace(task, settings={"value": 2})

    def work(plan, task, scratch):
        (scratch / "a.txt").write_text("half")
        return Made()

    monkeypatch.setitem(
        __import__("tests.survey.standin", fromlist=["WORK"]).WORK, "exposure", work
    )
    assert run(plan, task.id) == 1
    assert (plan.output / "exposure" / "a.txt").read_text() != "half"
    plan.tasks[task.id] = task
    assert why_stale(plan) == {}


def test_a_folder_that_cannot_be_written_is_told(tmp_path, capsys):
    plan = make_plan(tmp_path)
    (plan.output / "logs").write_text("in the way")
    assert run(plan, "exposure/e0") == 1
    assert "exposure/e0: NotADirectoryError" in capsys.readouterr().err
    assert (
        json.loads(plan.failure_path(plan.tasks["exposure/e0"]).read_text())["step"]
        == "stages 1 and 2"
    )


CRASH = """
import os, sys
sys.path.insert(0, sys.argv[4])
from ceers_steps.survey.running.task import main
import tests.survey.standin
left = int(sys.argv[3])
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chdir"}
def operation(event, arguments):
    global left
    if event in OPERATIONS:
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(operation)
code = main(sys.argv[1:3])
left = 1 << 30
sys.exit(code)
"""


@pytest.mark.slow
def test_a_crash_at_any_file_operation_is_never_taken_as_done(tmp_path):
    """A task is done again with another setting, and its process ends before its nth operation."""
    settings = {"outlier/g0": {"value": 2}}
    truth = make_plan(tmp_path / "truth", settings=settings)
    do(truth)
    name = "outlier/g0.txt"
    expected = (truth.output / name).read_text().replace(str(truth.output.parent), "")
    do(make_plan(tmp_path))
    plan = make_plan(tmp_path, settings=settings)
    product, record = plan.output / name, plan.record_path(plan.tasks["outlier/g0"])
    old = product.read_bytes(), record.read_bytes()
    path = plan.output / "plan.json"
    write_plan(plan, path)
    command = [sys.executable, "-c", CRASH, str(path), "outlier/g0"]
    crashes, valid = 0, 0
    while True:
        product.write_bytes(old[0])
        record.write_bytes(old[1])
        ended = subprocess.run([*command, str(crashes), str(ROOT)], cwd=tmp_path, check=False)
        reasons = why_stale(plan)
        if "outlier/g0" not in reasons:
            valid += 1
            assert product.read_text().replace(str(tmp_path), "") == expected
        if ended.returncode == 0:
            break
        assert ended.returncode == 9
        crashes += 1
        if crashes % 5 == 0:  # after some of them: it goes on, and all is as it should be
            assert main([str(path), "outlier/g0"]) == 0
            assert product.read_text().replace(str(tmp_path), "") == expected
    assert crashes > 30
    # only after the record
    assert 1 <= valid < 15


def test_memory_that_arrays_leave_is_used_again():
    """Each page of an array that the system has cleared for it is a fault."""
    script = """
import resource, sys
import numpy as np
from ceers_steps.survey.running.task import _reuse_memory

def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        np.ones(2**23, np.uint64)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "reuse":
    _reuse_memory()
faults(1)
print(faults(4))
"""
    small_pages = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    counts = []
    for how in ("reuse", "not"):
        command = [sys.executable, "-c", script, how]
        counts.append(int(subprocess.check_output(command, cwd=ROOT, env=small_pages)))
    assert counts[0] < (0.1 if sys.platform == "linux" else 1.1) * counts[1]
