"""Free space, one run at a time."""

import errno
import fcntl
import shutil
from collections import namedtuple

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.files import disk
from ceers_steps.files.disk import check_space, folder_lock, open_lock, take_lock


def test_a_disk_without_room_is_told_before(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**9))
    folder = tmp_path / "not" / "yet"
    assert check_space(10**9, folder, "") == 10**9
    with pytest.raises(CeersError, match=r"3\.50 GB .* only 1\.00 GB free.*smaller"):
        check_space(3_500_000_000, folder, "make it smaller")


def test_one_run_at_a_time(tmp_path):
    second = folder_lock(tmp_path / "new")
    with folder_lock(tmp_path / "new"), pytest.raises(CeersError, match="Another 'ceers download'"):
        second.__enter__()
    with folder_lock(tmp_path / "new"):
        pass


def test_locks_are_shared_or_not_and_can_be_waited_for(tmp_path):
    path = tmp_path / "below" / "lock"
    with open_lock(path) as one, open_lock(path) as two:
        assert take_lock(one, shared=True)
        assert take_lock(two, shared=True)
        assert not take_lock(two)
    with open_lock(path) as again:
        assert take_lock(again, wait=True)


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with open_lock(tmp_path / "lock") as lock:
        assert take_lock(lock)
    assert "has no locks" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CeersError, match="Cannot write to"):
        folder_lock(tmp_path / "file" / "below").__enter__()


def test_the_search_of_a_whole_disk_is_refused(tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.fits").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(disk.files_below(tmp_path, ["3"])) == 4
    monkeypatch.setattr(disk, "MOST_FILES", 10)
    with pytest.raises(CeersError, match="holds more than 10 files and folders"):
        disk.files_below(tmp_path)


def test_the_root_of_the_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.os, "walk", lambda folder: pytest.fail(f"{folder} is searched"))
    (tmp_path / "link").symlink_to("/")
    for root in (disk.Path("/"), tmp_path / "link"):
        with pytest.raises(CeersError, match="is the root of the file system"):
            disk.files_below(root)
