"""Files are whole or not there, and an error names the file that is at fault."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import protected, remove_abandoned, write_atomic


def test_a_file_that_the_writer_cannot_read_is_named(tmp_path):
    product, source = tmp_path / "product.txt", tmp_path / "source.txt"
    product.write_text("before")
    with pytest.raises(CeersError) as caught:
        write_atomic(product, lambda path: path.write_text(source.read_text()))
    message = str(caught.value)
    assert message.startswith(f"{source}: No such file")
    assert "disk" not in message
    assert product.read_text() == "before"
    assert list(tmp_path.iterdir()) == [product]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so(tmp_path, number):
    def fill(path):
        raise OSError(number, "full", "/elsewhere")

    with pytest.raises(
        CeersError, match=r"Cannot write .*product\.txt: full.*Free some disk space"
    ):
        write_atomic(tmp_path / "product.txt", fill)
    assert not list(tmp_path.iterdir())


def test_a_file_of_its_own_that_cannot_be_written(tmp_path):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.raises(
        CeersError, match=r"product\.txt: Permission denied\..* Choose another folder"
    ):
        write_atomic(tmp_path / "product.txt", refuse)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(os.devnull)])
def test_pipes_and_devices_are_not_replaced(tmp_path, make):
    """For the user root also /dev/null would be a file afterwards."""
    path = tmp_path / "a.png"
    make(path)
    kind = path.lstat().st_mode
    with pytest.raises(CeersError, match=r"Cannot write .*a\.png: it is a device or a pipe"):
        write_atomic(path, lambda scratch: scratch.write_bytes(b"1"))
    assert path.lstat().st_mode == kind
    assert os.listdir(tmp_path) == ["a.png"]


def test_inputs_are_not_replaced_under_any_name(tmp_path):
    source, other = tmp_path / "a_cal.fits", tmp_path / "b_cal.fits"
    source.write_text("input")
    os.link(source, tmp_path / "linked.fits")
    (tmp_path / "pointing.fits").symlink_to(source)
    with protected([source, tmp_path / "nowhere", "zero\0byte"]):
        for name in (
            "a_cal.fits",
            "linked.fits",
            "pointing.fits",
            "../" + tmp_path.name + "/a_cal.fits",
        ):
            with pytest.raises(CeersError, match="is an input of this run"):
                write_atomic(tmp_path / name, lambda path: path.write_text("product"))
        with protected([other]), pytest.raises(CeersError):
            write_atomic(source, lambda path: path.write_text("product"))
        write_atomic(other, lambda path: path.write_text("product"))
    assert source.read_text() == "input"
    write_atomic(source, lambda path: path.write_text("product"))
    assert source.read_text() == "product"


KILLED = """
import os, signal, sys
from ceers_steps.files.atomic import write_atomic
def kill(path):
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
write_atomic(sys.argv[1], kill)
"""


def test_what_a_killed_process_leaves_is_removed_by_the_next_one(tmp_path):
    """What living ones write stays: of this process, and of another."""
    product = tmp_path / "product.txt"
    assert subprocess.run([sys.executable, "-c", KILLED, product]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    (tmp_path / ".writing-old").mkdir()  # of an earlier version: without a lock

    def write(path):
        assert not left.exists()
        before = sorted(tmp_path.iterdir())
        assert len(before) == 1
        child = [sys.executable, "-c", "import sys; from ceers_steps.files.atomic import *; "
                 "remove_abandoned(sys.argv[1])", str(tmp_path)]  # fmt: skip
        assert subprocess.run(child).returncode == 0
        remove_abandoned(tmp_path)
        assert sorted(tmp_path.iterdir()) == before
        path.write_text("whole")

    write_atomic(product, write)
    assert product.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [product]
    remove_abandoned(tmp_path / "nowhere")


def test_where_there_are_no_locks_nothing_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("ceers_steps.files.atomic.fcntl.flock", refuse)
    (tmp_path / ".writing-x").mkdir()
    write_atomic(tmp_path / "a", lambda path: path.write_text("1"))
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".writing-x"}
