"""Fetch files over HTTP so that every one ends complete, however often the line breaks."""

import contextlib
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.disk import fits_problem
from ceers_steps.files.json_files import read_note

__all__ = ["Outcome", "Transfer", "fetch", "still_due"]

CHUNK = 1 << 17
"""Bytes that are read at once; at most so many are lost when a transfer breaks."""

TIMEOUT = (20.0, 60.0)
"""Seconds to wait for a connection and for the next bytes."""

LONGEST_PAUSE = 60.0
"""Seconds between two attempts, at most."""

TRY_AGAIN = {408, 425, 429}
"""Answers of a server that is busy, beside all from 500 on."""

_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)$")


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
        return _size(self.part) or 0

    @property
    def complete(self) -> bool:
        """Whether the file is there with the size that the archive lists."""
        return self.size is not None and _size(self.path) == self.size


@dataclass(frozen=True)
class Outcome:
    """How a transfer ended.

    Attributes
    ----------
    transfer : Transfer
        Which.
    status : {"fetched", "present", "failed"}
        "present": it was complete already.
    message : str
        Why it failed, or what is remarkable.
    """

    transfer: Transfer
    status: str
    message: str = ""


class _AgainError(Exception):
    """An attempt failed; another one may succeed."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


class _HopelessError(Exception):
    """Another attempt would fail as well."""


class _StoppedError(Exception):
    """The run is being ended."""


def still_due(transfers: Sequence[Transfer]) -> int:
    """Return the number of bytes that have to be fetched, as far as sizes are listed."""
    return sum(max((item.size or 0) - item.fetched, 0) for item in transfers if not item.complete)


def fetch(
    transfers: Sequence[Transfer],
    *,
    at_a_time: int = 3,
    attempts: int = 5,
    pause: float = 1.0,
    token: str | None = None,
    tell: Callable[[str, Transfer, object], None] | None = None,
) -> list[Outcome]:
    """Fetch files, some at a time. What an earlier run left in partial files is used.

    Parameters
    ----------
    transfers
        What to fetch.
    at_a_time
        Number of transfers that run side by side.
    attempts
        Times that one is tried without getting further, before it counts as failed.
    pause
        Seconds before the second attempt; doubled for each further one.
    token
        Sent as ``Authorization: token ...`` to the host of the URL, and to no other.
    tell
        Called in this thread with ``("at", transfer, bytes)``, ``("again", transfer, message)``
        and ``("done", transfer, outcome)``.

    Returns
    -------
    list of Outcome
        In the order of `transfers`.

    Raises
    ------
    CeersError
        When files cannot be written: nothing more is tried then. Partial files stay.
    """
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    events: queue.SimpleQueue = queue.SimpleQueue()
    stop = threading.Event()
    for number, transfer in enumerate(transfers):
        jobs.put((number, transfer))
    worker = _Worker(jobs, events, stop, attempts=attempts, pause=pause, token=token)
    threads = [
        threading.Thread(target=worker.run, daemon=True)
        for _ in range(min(at_a_time, len(transfers)))
    ]
    outcomes: dict[int, Outcome] = {}
    try:
        for thread in threads:
            thread.start()
        while len(outcomes) < len(transfers):
            with contextlib.suppress(queue.Empty):
                kind, number, value = events.get(timeout=0.2)  # short, for Ctrl-C to come through
                if kind == "broken":
                    raise value
                if kind == "done":
                    outcomes[number] = value
                if tell is not None:
                    tell(kind, transfers[number], value)
    finally:
        # what is written is on disk already: there is no need to wait for a stalled server
        stop.set()
        for thread in threads:
            thread.join(2.0)
    return [outcomes[number] for number in range(len(transfers))]


class _Worker:
    """Takes transfers from a queue until it is empty; runs in several threads."""

    def __init__(self, jobs, events, stop, *, attempts, pause, token):
        self.jobs, self.events, self.stop = jobs, events, stop
        self.attempts, self.pause, self.token = attempts, pause, token

    def run(self) -> None:
        """Work until nothing is left to do."""
        import requests

        number = -1
        try:
            with requests.Session() as session:
                session.auth = _authorize(self.token) if self.token else None
                while not self.stop.is_set():
                    number, transfer = self.jobs.get_nowait()
                    outcome = self.fetch_one(session, number, transfer)
                    self.events.put(("done", number, outcome))
        except (queue.Empty, _StoppedError):
            return
        except OSError as err:
            # of the network are those of requests, which are caught below: this is of the disk
            error = CeersError(
                f"Cannot write {transfer.path}: {err.strerror or err}. What was fetched is kept; "
                "the same command continues."
            )
            self.events.put(("broken", number, error))
        except Exception as err:  # noqa: BLE001 - the main thread raises it
            self.events.put(("broken", number, err))

    def fetch_one(self, session, number: int, transfer: Transfer) -> Outcome:
        """Fetch one file, with as many attempts as it takes."""
        import requests

        if transfer.complete:
            return Outcome(transfer, "present")
        transfer.path.parent.mkdir(parents=True, exist_ok=True)
        failures, furthest = 0, transfer.fetched
        while True:
            try:
                return self.attempt(session, number, transfer)
            except _HopelessError as err:
                return Outcome(transfer, "failed", str(err))
            except (_AgainError, requests.RequestException) as err:
                message = _plain_reason(err)
                pause = getattr(err, "pause", 0.0)
            if transfer.fetched > furthest:
                failures, furthest = 0, transfer.fetched
            failures += 1
            if failures >= self.attempts:
                return Outcome(transfer, "failed", f"{message} ({failures} attempts)")
            self.events.put(("again", number, message))
            pause = min(max(pause, self.pause * 2 ** (failures - 1)), LONGEST_PAUSE)
            if self.stop.wait(pause):
                raise _StoppedError

    def attempt(self, session, number: int, transfer: Transfer) -> Outcome:
        """Ask for what is missing of a file, and put the file in its place."""
        have, known = transfer.fetched, _read_note(transfer)
        whole = known.get("total") or transfer.size
        if have and have == whole:
            return self.finish(transfer, have)
        if have and whole is not None and have > whole:
            _discard(transfer)
            have = 0
        headers = {"Accept-Encoding": "identity"}  # sizes are those of the file
        if have:
            headers["Range"] = f"bytes={have}-"
            if known.get("validator"):
                headers["If-Range"] = known["validator"]
        with session.get(transfer.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            start, total = _look_at(answer, transfer, have)
            if have and start and known.get("total") not in (None, total):
                _discard(transfer)
                raise _AgainError("the file in the archive has changed: starting anew")
            if total is not None and total == _size(transfer.path) and not _problem(transfer.path):
                # listed with another size, but this is what the archive has
                _discard(transfer)
                return Outcome(transfer, "present", _listed_otherwise(transfer, total))
            _write_note(transfer, answer, total)
            with open(transfer.part, "r+b" if start else "wb", buffering=0) as part:
                part.seek(start)
                self.events.put(("at", number, start))
                for chunk in answer.iter_content(CHUNK):
                    part.write(chunk)
                    self.events.put(("at", number, part.tell()))
                    if self.stop.is_set():
                        raise _StoppedError
                os.fsync(part.fileno())
        return self.finish(transfer, total)

    def finish(self, transfer: Transfer, total: int | None) -> Outcome:
        """Check a partial file that should be whole, and give it its name."""
        expected = transfer.size if total is None else total
        size = transfer.fetched
        if expected is not None and size < expected:
            raise _AgainError(f"cut off after {size} of {expected} bytes")
        if expected is not None and size > expected:
            _discard(transfer)
            raise _AgainError(f"{size} bytes came, the archive has {expected}")
        problem = _problem(transfer.part, transfer.path.name)
        if problem:
            _discard(transfer)
            raise _AgainError(f"what came is not a complete FITS file ({problem})")
        os.replace(transfer.part, transfer.path)
        transfer.note.unlink(missing_ok=True)
        return Outcome(transfer, "fetched", _listed_otherwise(transfer, size))


def _look_at(answer, transfer: Transfer, have: int) -> tuple[int, int | None]:
    """Return where the bytes of an answer begin and the size of the whole file."""
    status = answer.status_code
    if status == 206:
        match = _RANGE.match(answer.headers.get("Content-Range", ""))
        if match is None or int(match["start"]) != have:
            _discard(transfer)
            raise _AgainError("the server sent another part than asked for")
        return have, None if match["total"] == "*" else int(match["total"])
    if status == 200:
        length = answer.headers.get("Content-Length", "")
        encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
        return 0, int(length) if length.isdigit() and not encoded else None
    if status == 416:
        _discard(transfer)
        raise _AgainError("the server has no such part (HTTP 416): starting anew")
    reason = f"HTTP {status} {answer.reason or ''}".rstrip()
    if status in TRY_AGAIN or status >= 500:
        later = answer.headers.get("Retry-After", "")
        raise _AgainError(reason, pause=float(later) if later.isdigit() else 0.0)
    if status in (401, 403):
        reason += (
            ": not public yet; set MAST_API_TOKEN to a token of an account that may read it "
            "(https://auth.mast.stsci.edu/tokens), or renew it"
        )
    raise _HopelessError(reason)


def _authorize(token: str):
    """Return what adds the token to a request; requests takes it off for another host."""

    def add(request):
        request.headers["Authorization"] = f"token {token}"
        return request

    return add


def _plain_reason(err: Exception) -> str:
    """Say in a few words what went wrong on the way."""
    import requests

    if isinstance(err, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(err, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "the connection broke"
    return " ".join(str(err).split())


def _problem(path: Path, name: str | None = None) -> str:
    return fits_problem(path) if (name or path.name).endswith(".fits") else ""


def _listed_otherwise(transfer: Transfer, size: int) -> str:
    if transfer.size in (None, size):
        return ""
    return f"complete with {size} bytes, though the archive lists {transfer.size}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _read_note(transfer: Transfer) -> dict:
    return read_note(transfer.note, validator=str | None, total=int | None)


def _write_note(transfer: Transfer, answer, total: int | None) -> None:
    # a weak ETag (W/...) must not be used for parts of a file
    tag = answer.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else answer.headers.get("Last-Modified")
    transfer.note.write_text(json.dumps({"validator": validator, "total": total}))


def _discard(transfer: Transfer) -> None:
    transfer.part.unlink(missing_ok=True)
    transfer.note.unlink(missing_ok=True)
