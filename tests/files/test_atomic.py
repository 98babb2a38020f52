"""Files are whole or not there, and an error names the file that is at fault."""

import errno
import os

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic


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

    with pytest.raises(CeersError, match=r"Cannot write .*product\.txt: Permission denied"):
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
