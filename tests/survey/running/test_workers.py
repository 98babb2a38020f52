"""Jobs in processes of their own: results, logs, and every way to fail."""

import os
import signal
import time

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.running import workers
from ceers_steps.survey.running.workers import Job, run_jobs


def double(value, tell):
    tell(0, 2, "first")
    print("printed")
    os.write(2, b"from below Python\n")
    tell(1, 2, "second")
    return 2 * value


def refuse(tell):
    raise CeersError("Give another value.")


def crash(tell):
    raise ZeroDivisionError("a bug")


def vanish(tell):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(path, tell):
    path.touch()
    time.sleep(120)


def job(key, function, **arguments):
    return Job(key, key.upper(), function, arguments)


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_results_in_order_and_output_in_logs_only(tmp_path, capfd, at_a_time):
    jobs = [job(f"j{i}", double, value=i) for i in range(3)]
    assert run_jobs(jobs, tmp_path / "logs", at_a_time=at_a_time) == [0, 2, 4]
    for i in range(3):
        assert (tmp_path / "logs" / f"j{i}.log").read_text() == "printed\nfrom below Python\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (refuse, r"BAD: Give another value\. Log: .*bad\.log"),
        (crash, r"bad failed: ZeroDivisionError: a bug\. Log: .*bad\.log"),
        (vanish, r"bad was killed, probably for want of memory\. Log: .*bad\.log"),
    ],
)
def test_a_failure_names_the_log_and_ends_the_others(tmp_path, function, message):
    start = time.monotonic()
    with pytest.raises(CeersError, match=message):
        run_jobs(
            [job("bad", function), job("slow", sleep, path=tmp_path / "x")], tmp_path, at_a_time=2
        )
    assert time.monotonic() - start < 60  # the other one sleeps for 120 s


def test_an_interrupt_ends_the_jobs(tmp_path, monkeypatch):
    started = tmp_path / "started"
    processes = []

    def interrupt(running):
        processes.extend(running.values())
        while not started.exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job("slow", sleep, path=started)], tmp_path, at_a_time=1)
    assert [process.is_alive() for process in processes] == [False]


def test_logs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CeersError, match="Cannot make the folder"):
        run_jobs([job("j", double, value=1)], tmp_path / "file" / "logs", at_a_time=1)


def test_jobs_fit_the_machine():
    assert workers.jobs_at_a_time(1) == len(os.sched_getaffinity(0))
    assert workers.jobs_at_a_time(1e18) == 1
