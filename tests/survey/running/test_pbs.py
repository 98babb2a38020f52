"""A survey through PBS, in the place of which stand scripts that answer as PBS Pro does."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import STATE, why_stale
from ceers_steps.survey.running import pbs
from ceers_steps.survey.running.engine import cancel_leftovers
from tests.survey.running.test_run import run
from tests.survey.running.test_slurm import short_plan, wait_for
from tests.survey.standin import ROOT, calls

QSUB = """
import os, re, subprocess, sys, time
folder = os.environ["FAKE_PBS"]
with open(f"{folder}/qsub.txt", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if os.path.exists(f"{folder}/closed"):
    sys.exit("qsub: Unknown queue")
number = f"{len(os.listdir(folder)):05d}{os.getpid()}"
state = f"{folder}/{number}.state"
shell = f"bash {sys.argv[-1]}; echo $? > {state}.new; mv {state}.new {state}"
none = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
job = subprocess.Popen(["bash", "-c", shell], start_new_session=True, **none)
with open(f"{folder}/{number}.pid", "w") as pid:
    pid.write(str(job.pid))
print(f"{number}.pbs-server")
"""

QSTAT = """
import os, sys
folder, job = os.environ["FAKE_PBS"], sys.argv[-1]
if os.path.exists(f"{folder}/down"):
    sys.exit("qstat: cannot connect to server pbs-server (errno=111)")
name = job.removesuffix(".pbs-server")
state = f"{folder}/{name}.state"
known = os.path.exists(f"{folder}/{name}.pid")
if not known or os.path.exists(f"{folder}/forgets") and os.path.exists(state):
    print(f"qstat: Unknown Job Id {job}", file=sys.stderr)
    sys.exit(153)
print(f"Job Id: {job}\\n    Job_Name = ceers\\n    Job_Owner = me@node\\n    queue = workq")
if os.path.exists(state):
    print("    job_state = F\\n    substate = 92\\n    Exit_status = " + open(state).read().strip())
else:
    print("    job_state = R\\n    substate = 42")
"""

QDEL = """
import os, signal, sys
folder = os.environ["FAKE_PBS"]
for job in sys.argv[1:]:
    name = job.removesuffix(".pbs-server")
    try:
        os.killpg(int(open(f"{folder}/{name}.pid").read()), signal.SIGKILL)
    except ProcessLookupError:
        pass
    with open(f"{folder}/{name}.state", "w") as state:
        state.write("271")
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Put the scripts first in PATH; return the folder where they keep what they know."""
    folder, programs = tmp_path / "pbs", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    for name, code in (("qsub", QSUB), ("qstat", QSTAT), ("qdel", QDEL)):
        path = programs / name
        path.write_text(f"#!{sys.executable} -S\n{code}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_PBS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CEERS_PBS_JOBS", str(tmp_path / "jobs"))
    yield folder
    for path in folder.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(path.read_text()), signal.SIGKILL)


def submit(tmp_path, capfd, code, *, makes=()):
    """Submit a job; return its id and the file where it is kept what it makes."""
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/sh\n# properties = {json.dumps({'output': list(makes)})}\n{code}\n")
    assert pbs.main(["submit", "3000", "90", "1", str(script)]) == 0
    (job,) = capfd.readouterr().out.split()
    return job, tmp_path / "jobs" / job


def wait_until_ended(server, job):
    wait_for((server / f"{job.removesuffix('.pbs-server')}.state").exists)


def status(job, capfd):
    assert pbs.main(["status", job]) == 0
    return capfd.readouterr().out.strip()


def test_what_is_asked_of_pbs(server, tmp_path, capfd, monkeypatch):
    for name, value in (("NAME", "ceers_12345678"), ("QUEUE", "long"), ("ACCOUNT", "jwst")):
        monkeypatch.setenv(f"CEERS_PBS_{name}", value)
    submit(tmp_path, capfd, "true")
    asked = (server / "qsub.txt").read_text()
    assert "-l select=1:ncpus=1:mem=3000mb -l walltime=01:30:00 -N ceers_12345678" in asked
    assert "-q long -A jwst" in asked


@pytest.mark.parametrize(("code", "state"), [("exit 0", "success"), ("exit 3", "failed")])
def test_state_of_a_job(server, tmp_path, capfd, code, state):
    job, _ = submit(tmp_path, capfd, f"sleep 0.3; {code}")
    assert status(job, capfd) == "running"
    wait_until_ended(server, job)
    assert status(job, capfd) == state


@pytest.mark.parametrize(("made", "state"), [(True, "success"), (False, "failed")])
def test_a_job_that_pbs_has_forgotten_is_judged_by_what_it_made(
    server, tmp_path, capfd, made, state
):
    (server / "forgets").touch()
    product = tmp_path / "made"
    code = f"touch {product}" if made else "true"
    job, _ = submit(tmp_path, capfd, code, makes=[str(product)])
    wait_until_ended(server, job)
    assert status(job, capfd) == state


def test_an_unknown_job_failed(server, capfd):
    assert status("1.pbs-server", capfd) == "failed"


def test_a_server_that_does_not_answer_says_nothing_of_a_job(server, tmp_path, capfd, monkeypatch):
    job, _ = submit(tmp_path, capfd, "exit 1")
    wait_until_ended(server, job)
    (server / "down").touch()
    assert status(job, capfd) == "running"
    monkeypatch.setenv("PATH", "/nowhere")
    assert status(job, capfd) == "running"


def test_a_job_that_pbs_does_not_take(server, tmp_path, capfd):
    (server / "closed").touch()
    script = tmp_path / "job.sh"
    script.write_text("true\n")
    assert pbs.main(["submit", "3000", "90", "1", str(script)]) == 1
    assert "qsub failed: qsub: Unknown queue" in capfd.readouterr().err


def test_jobs_that_have_ended_are_not_active(server, tmp_path, capfd):
    ended, path = submit(tmp_path, capfd, "true")
    wait_until_ended(server, ended)
    active, _ = submit(tmp_path, capfd, "sleep 30")
    assert pbs.active_jobs(path.parent) == [active]
    assert not path.exists()


@pytest.mark.slow
def test_a_survey(server, tmp_path):
    """One job fails twice; the rest is done; then all is done."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    plan = short_plan(
        tmp_path, exposures=3, arguments={"exposure/e0": {"fails": "bad pixel everywhere"}}
    )
    outcome, _ = run(plan, on="pbs", partition="workq")
    assert [(f.task, f.message) for f in outcome.failures] == [
        ("exposure/e0", "ValueError: bad pixel everywhere")
    ]
    assert outcome.waiting == ["outlier/g0"]
    assert sorted(outcome.done) == ["exposure/e1", "exposure/e2", "outlier/g2"]
    assert calls(plan).count("exposure/e0") == 2
    asked = (server / "qsub.txt").read_text().splitlines()
    # half as much memory again the second time, and some for the engine
    assert sum("mem=700mb" in line and "-q workq" in line for line in asked) == 4
    assert sum("mem=950mb" in line for line in asked) == 1
    plan = short_plan(tmp_path, exposures=3)
    outcome, _ = run(plan, on="pbs")
    assert calls(plan) == outcome.done == ["exposure/e0", "outlier/g0"]


DRIVER = """
import sys
from ceers_steps.survey.running.run import run_plan
from tests.survey.running.test_run import config_of
from tests.survey.running.test_slurm import short_plan
plan = short_plan(sys.argv[1], exposures=1, arguments={"exposure/e0": {"seconds": 60}})
run_plan(plan, config_of(plan, on="pbs"))
"""


@pytest.mark.slow
def test_jobs_of_a_driver_that_was_killed_are_cancelled(server, tmp_path):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    plan = short_plan(tmp_path, exposures=1)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    wait_for((plan.output / "calls.txt").exists)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    time.sleep(0.5)
    told = []
    assert len(pbs.active_jobs(plan.output / STATE / "engine" / "pbs")) == 1
    assert cancel_leftovers(plan.output, tell=told.append) == 1
    assert told == ["1 jobs of a run that was stopped are being cancelled"]
    assert cancel_leftovers(plan.output, tell=told.append) == 0
    assert list(why_stale(plan)) == ["exposure/e0", "outlier/g0"]


def test_slurm_that_does_not_answer_stops_no_survey_on_pbs(tmp_path, monkeypatch):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    left = tmp_path / STATE / "engine" / "cluster"
    left.parent.mkdir(parents=True)
    left.write_text("ceers_0 pbs")
    assert cancel_leftovers(tmp_path, tell=print) == 0
    left.write_text("ceers_0 slurm")
    with pytest.raises(CeersError, match="squeue failed"):
        cancel_leftovers(tmp_path, tell=print)
