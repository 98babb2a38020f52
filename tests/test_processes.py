"""Processes that are started end with the one that has started them."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import ceers_steps

POOL = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from ceers_steps.processes import end_with_parent

with ProcessPoolExecutor(2, initializer=end_with_parent) as pool:
    print(*{pool.submit(os.getpid).result() for _ in range(4)}, flush=True)
    os.kill(os.getpid(), signal.%s)
"""


def is_there(pid):
    """Say whether a process runs; one that nobody has asked for its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="prctl of Linux")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_workers_end_with_a_process_that_is_killed(name):
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(POOL) % name],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert found.returncode == -getattr(signal, name)
    workers = [int(pid) for pid in found.stdout.split()]
    assert workers
    for _ in range(600):  # at once, but on a busy machine
        if not any(map(is_there, workers)):
            break
        time.sleep(0.1)
    else:
        for pid in filter(is_there, workers):
            os.kill(pid, signal.SIGKILL)
        pytest.fail(f"still there: {workers}")


def test_all_pools_do_so():
    folder = Path(ceers_steps.__file__).parent
    pools = [
        call
        for path in folder.rglob("*.py")
        for call in re.findall(r"ProcessPoolExecutor\(.*", path.read_text(encoding="utf-8"))
    ]
    assert len(pools) >= 2
    assert all("initializer=end_with_parent" in call for call in pools)
