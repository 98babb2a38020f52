"""Who may work in an output folder, and what the others are told."""

import errno
import fcntl
import os
import pwd
import socket

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning.plan import STATE
from ceers_steps.survey.running.locks import hold_folder, hold_task
from tests.survey.standin import make_plan


def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    with hold_folder(tmp_path):
        holder = f"is in use: process {os.getpid()} of .* on {socket.gethostname()} since"
        for shared in (False, True):
            with pytest.raises(CeersError, match=holder), hold_folder(tmp_path, shared=shared):
                pass
    with hold_folder(tmp_path):
        pass


def test_the_holder_has_a_name_without_variables_too(tmp_path, monkeypatch):
    """A batch job may have none."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    name = pwd.getpwuid(os.getuid()).pw_name
    with (
        hold_folder(tmp_path),
        pytest.raises(CeersError, match=f"process {os.getpid()} of {name} on"),
        hold_folder(tmp_path),
    ):
        pass


def test_commands_share_a_folder_but_not_with_a_run(tmp_path):
    with hold_folder(tmp_path):
        pass  # its name is left in the file
    with hold_folder(tmp_path, shared=True), hold_folder(tmp_path, shared=True):
        message = "is in use: commands of 'ceers commands'"
        with pytest.raises(CeersError, match=message), hold_folder(tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    plan = make_plan(tmp_path)
    with hold_folder(plan.output), hold_task(plan, plan.tasks["exposure/e0"]):
        assert "has no locks: see to it that nothing else works" in capsys.readouterr().err


def test_a_lock_that_fails(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    plan = make_plan(tmp_path)
    with pytest.raises(CeersError, match="Cannot lock"), hold_folder(plan.output):
        pass
    with pytest.raises(CeersError, match="Cannot lock"), hold_task(plan, plan.tasks["mosaic/g0"]):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / STATE).write_text("in the way")
    with pytest.raises(CeersError, match="Cannot write to"), hold_folder(tmp_path):
        pass
