"""Fetch files over HTTP so that every one ends complete, however often the line breaks."""

import contextlib
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.names import whole_number
from ceers_steps.survey.archive.parts import Transfer, file_problem, file_size

__all__ = ["Outcome", "Transfer", "fetch", "still_due"]

CHUNK = 1 << 17
"""Bytes that are read at once; at most so many are lost when a transfer breaks."""

TIMEOUT = (20.0, 60.0)
"""Seconds to wait for a connection and for the next bytes."""

LONGEST_PAUSE = 40.0
"""Seconds between two attempts, at most, whatever a server asks for."""

LEAST_RATE, WINDOW = 1000.0, 60.0
"""Bytes a second that have to come, on average over so many seconds."""

LARGEST = 20 * 10**9
"""Bytes of a file of which the archive lists no size, at most; raw exposures have up to 1e10."""

RESERVE = 10**9
"""Bytes that such a file leaves free on the disk."""

PACKED = 100
"""Times that a file may be larger than what is sent of it, packed; images have 2 to 10."""

MARGIN = 1 << 20
"""Bytes by which a file may be larger than twice what the archive lists, or smaller than half."""

TRY_AGAIN = {408, 425, 429}
"""Answers of a server that is busy, beside all from 500 on."""

_RANGE = re.compile(r"bytes (?P<start>[0-9]{1,18})-[0-9]{1,18}/(?P<total>[0-9]{1,18}|\*)$")


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

    def __init__(
        self,
        jobs: queue.SimpleQueue,
        events: queue.SimpleQueue,
        stop: threading.Event,
        *,
        attempts: int,
        pause: float,
        token: str | None,
    ) -> None:
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

    def fetch_one(self, session: Any, number: int, transfer: Transfer) -> Outcome:
        """Fetch one file, with as many attempts as it takes."""
        import requests
        from urllib3.exceptions import HTTPError

        if transfer.complete:
            return Outcome(transfer, "present")
        transfer.path.parent.mkdir(parents=True, exist_ok=True)
        transfer.tidy()
        failures, furthest = 0, transfer.fetched
        while True:
            try:
                return self.attempt(session, number, transfer)
            except _HopelessError as err:
                return Outcome(transfer, "failed", str(err))
            except (_AgainError, requests.RequestException, HTTPError) as err:
                message = _plain_reason(err)
                pause = getattr(err, "pause", 0.0)
            # a server that gives a few bytes a minute gets no further
            if transfer.fetched - furthest >= CHUNK:
                failures, furthest = 0, transfer.fetched
            failures += 1
            if failures >= self.attempts:
                return Outcome(transfer, "failed", f"{message} ({failures} attempts)")
            self.events.put(("again", number, message))
            pause = min(max(pause, self.pause * 2 ** (failures - 1)), LONGEST_PAUSE)
            if self.stop.wait(pause):
                raise _StoppedError

    def attempt(self, session: Any, number: int, transfer: Transfer) -> Outcome:
        """Ask for what is missing of a file, and put the file in its place."""
        have, known = transfer.fetched, transfer.known()
        whole = known.get("total") or transfer.size
        if have and have == whole:
            return self.finish(transfer, have)
        if have and whole is not None and have > whole:
            transfer.discard()
            have = 0
        headers = {"Accept-Encoding": "identity"}  # sizes are those of the file
        if have:
            headers["Range"] = f"bytes={have}-"
            if known.get("validator"):
                headers["If-Range"] = known["validator"]
        with _ask(session, transfer.url, headers) as answer:
            start, total = _look_at(answer, transfer, have)
            if total and not transfer.size and total > (most := _room(transfer, have)):
                transfer.discard()
                raise _HopelessError(f"{total} bytes are sent, more than {most}: {_NO_SIZE}")
            if total and transfer.size and not _is_like(total, transfer.size):
                transfer.discard()
                raise _HopelessError(f"{total} bytes are sent, the archive lists {transfer.size}")
            if have and start and known.get("total") not in (None, total):
                transfer.discard()
                raise _AgainError("the file in the archive has changed: starting anew")
            if (
                total is not None
                and total == file_size(transfer.path)
                and not file_problem(transfer.path)
            ):
                # listed with another size, but this is what the archive has
                transfer.discard()
                return Outcome(transfer, "present", _listed_otherwise(transfer, total))
            transfer.remember(_validator(answer), total)
            self.receive(answer, number, transfer, start, total)
        return self.finish(transfer, total)

    def receive(
        self, answer: Any, number: int, transfer: Transfer, start: int, total: int | None
    ) -> None:
        """Write the body of an answer to the partial file."""
        expected = transfer.size if total is None else total
        most = _room(transfer, start) if expected is None else expected
        began, first = time.monotonic(), start
        with transfer.open_part(start) as part:
            self.events.put(("at", number, start))
            # what has come is written at once, however slowly it comes
            while chunk := answer.raw.read1(CHUNK, decode_content=True):
                part.write(chunk)
                at = part.tell()
                self.events.put(("at", number, at))
                if self.stop.is_set():
                    raise _StoppedError
                if at > most:
                    if expected is None:
                        transfer.discard()
                        raise _HopelessError(f"more than {most} bytes came, and no end: {_NO_SIZE}")
                    break  # a body without an end
                if at - start > PACKED * answer.raw.tell() + MARGIN:
                    transfer.discard()
                    sent = f"{answer.raw.tell()} bytes that were sent packed"
                    raise _HopelessError(f"{sent} become more than {at}: that is no image")
                if (took := time.monotonic() - began) > WINDOW:
                    if at - first < LEAST_RATE * took:
                        raise _AgainError(f"less than {LEAST_RATE / 1000:g} kB came in a second")
                    began, first = time.monotonic(), at
            os.fsync(part.fileno())

    def finish(self, transfer: Transfer, total: int | None) -> Outcome:
        """Check a partial file that should be whole, and give it its name."""
        expected = transfer.size if total is None else total
        size = transfer.fetched
        if expected is not None and size < expected:
            raise _AgainError(f"cut off after {size} of {expected} bytes")
        if expected is not None and size > expected:
            transfer.discard()
            raise _AgainError(f"{size} bytes came, the archive has {expected}")
        problem = file_problem(transfer.part, transfer.path.name)
        if problem:
            transfer.discard()
            raise _AgainError(f"what came is not a complete FITS file ({problem})")
        os.replace(transfer.part, transfer.path)
        transfer.note.unlink(missing_ok=True)
        return Outcome(transfer, "fetched", _listed_otherwise(transfer, size))


def _ask(session: Any, url: str, headers: dict[str, str]) -> Any:
    """Send a request, and follow where the server sends on to."""
    import requests

    try:
        return session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException:
        raise
    except ValueError as err:  # of the address of a redirection: UnicodeError too
        raise _HopelessError(f"the server sends on to an address that is none ({err})") from err


def _room(transfer: Transfer, have: int) -> int:
    """Return how large a file of which the archive lists no size may become."""
    free = shutil.disk_usage(transfer.path.parent).free
    return max(min(LARGEST, free + have - RESERVE), 0)


_NO_SIZE = "the archive lists no size for this file, and the disk is not to be filled with it"


def _is_like(size: int, listed: int) -> bool:
    """Say whether a file may be the one that the archive lists with another size."""
    return size <= 2 * listed + MARGIN and listed <= 2 * size + MARGIN


def _look_at(answer: Any, transfer: Transfer, have: int) -> tuple[int, int | None]:
    """Return where the bytes of an answer begin and the size of the whole file."""
    status = answer.status_code
    if status == 206:
        match = _RANGE.match(answer.headers.get("Content-Range", ""))
        if match is None or int(match["start"]) != have:
            transfer.discard()
            raise _AgainError("the server sent another part than asked for")
        return have, None if match["total"] == "*" else int(match["total"])
    if status == 200:
        length = answer.headers.get("Content-Length", "")
        encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
        return 0, None if encoded else whole_number(length)
    if status == 416:
        transfer.discard()
        raise _AgainError("the server has no such part (HTTP 416): starting anew")
    reason = f"HTTP {status} {answer.reason or ''}".rstrip()
    if status in TRY_AGAIN or status >= 500:
        later = answer.headers.get("Retry-After", "")
        raise _AgainError(reason, pause=float(whole_number(later) or 0))
    if status in (401, 403):
        reason += (
            ": not public yet; set MAST_API_TOKEN to a token of an account that may read it "
            "(https://auth.mast.stsci.edu/tokens), or renew it"
        )
    raise _HopelessError(reason)


def _authorize(token: str) -> Callable[[Any], Any]:
    """Return what adds the token to a request; requests takes it off for another host."""

    def add(request: Any) -> Any:
        request.headers["Authorization"] = f"token {token}"
        return request

    return add


def _plain_reason(err: Exception) -> str:
    """Say in a few words what went wrong on the way."""
    import requests
    import urllib3.exceptions

    if isinstance(err, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return "the server did not answer in time"
    if isinstance(err, (requests.ConnectionError, urllib3.exceptions.HTTPError)):
        return "the connection broke"
    return " ".join(str(err).split())


def _validator(answer: Any) -> str | None:
    """Return what tells this version of a file from others."""
    # a weak ETag (W/...) must not be used for parts of a file
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _listed_otherwise(transfer: Transfer, size: int) -> str:
    if transfer.size in (None, size):
        return ""
    return f"complete with {size} bytes, though the archive lists {transfer.size}"
