"""Files that are being fetched: the part that is on disk already, and what is known of it."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ceers_steps.files.json_files import read_note
from ceers_steps.files.whole_files import fits_problem

__all__ = ["Transfer", "file_problem", "file_size"]


@dataclass(frozen=True)
class Transfer:
    """A file to fetch.

    Attributes
    ----------
    url : str
        Where it is.
    path : Path
        Where it goes.
    size : int or None
        Its size in bytes as the archive lists it; None when it does not say.
    """

    url: str
    path: Path
    size: int | None = None

    @property
    def part(self) -> Path:
        """The partial file, hidden beside the final one."""
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def note(self) -> Path:
        """What the server said of the file of which `part` is the beginning."""
        return self.path.with_name(f".{self.path.name}.part.json")

    @property
    def fetched(self) -> int:
        """Bytes that an earlier run left in `part`."""
        return file_size(self.part) or 0

    @property
    def complete(self) -> bool:
        """Whether the file is there with the size that the archive lists."""
        return self.size is not None and file_size(self.path) == self.size

    def known(self) -> dict:
        """Return what an earlier answer said of the file: ``total`` and ``validator``."""
        return read_note(self.note, validator=str | None, total=int | None)

    def remember(self, validator: str | None, total: int | None) -> None:
        """Note what the server says of the file, for those who continue."""
        text = json.dumps({"validator": validator, "total": total})
        with self._open(self.note, 0) as note:
            note.write(text.encode())

    def tidy(self) -> None:
        """Take away what lies at the places of part and note and is no file of ours.

        Through a link, what comes from the network would be written into another file.
        """
        for path in (self.part, self.note):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                path.unlink()

    def open_part(self, start: int) -> BinaryIO:
        """Open the part for writing from a position on; what was behind it is cut off."""
        return self._open(self.part, start)

    def discard(self) -> None:
        """Throw away what came so far."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    @staticmethod
    def _open(path: Path, start: int) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(path, flags, 0o666), "wb", buffering=0)
        try:
            file.truncate(start)
            file.seek(start)
        except OSError:
            file.close()
            raise
        return file


def file_size(path: Path) -> int | None:
    """Return the size of a file in bytes; None if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def file_problem(path: Path, name: str | None = None) -> str:
    """Say what is wrong with a FITS file, which may have another name for now; empty if nothing."""
    return fits_problem(path) if (name or path.name).endswith(".fits") else ""
