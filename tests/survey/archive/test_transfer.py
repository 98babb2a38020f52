"""Transfers: whatever goes wrong on the way, a file that is there is complete."""

import gzip
import io
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps.errors import CeersError
from ceers_steps.survey.archive import transfer
from ceers_steps.survey.archive.transfer import Transfer, fetch
from tests.survey.http_files import Answer, serve

PATH = "/jw01345001001_02201_00001_nrca1_uncal.fits"
N_CUT = 3 * transfer.CHUNK


def fits_bytes(seed=1, n=700):
    """A file of some chunks: a primary header, an image and a second one."""
    image = np.random.default_rng(seed).integers(0, 60000, (n, n)).astype(np.uint16)
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image), fits.ImageHDU(image[:9])])
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


DATA = fits_bytes()


@pytest.fixture
def server():
    with serve() as store:
        store.files[PATH] = DATA
        yield store


@pytest.fixture
def item(server, tmp_path):
    return Transfer(server.url + PATH, tmp_path / "data" / PATH[1:], len(DATA))


def run(*items, **kwargs):
    return fetch(items, pause=0.01, **kwargs)


def is_clean(item):
    """The file is right, and nothing else is there."""
    assert item.path.read_bytes() == DATA
    return [path.name for path in item.path.parent.iterdir()] == [item.path.name]


def test_a_file_is_fetched_and_not_fetched_again(server, item):
    (outcome,) = run(item)
    assert (outcome.status, outcome.message) == ("fetched", "")
    assert is_clean(item)
    (outcome,) = run(item)
    assert outcome.status == "present"
    assert len(server.asked(PATH)) == 1


def test_a_cut_connection_is_continued(server, item):
    server.answers[PATH] = [Answer(cut=N_CUT), Answer(cut=N_CUT)]
    (outcome,) = run(item)
    assert outcome.status == "fetched"
    assert is_clean(item)
    starts = [int(headers["Range"][6:-1]) for headers in server.asked(PATH)[1:]]
    # what is lost is at most one chunk each time
    assert N_CUT - transfer.CHUNK <= starts[0] <= N_CUT
    assert starts[0] + N_CUT - transfer.CHUNK <= starts[1] <= starts[0] + N_CUT
    assert server.asked(PATH)[1]["If-Range"] == '"v1"'


def test_getting_further_counts_as_success(server, item):
    server.answers[PATH] = [Answer(cut=N_CUT)] * 2
    (outcome,) = run(item, attempts=2)  # two failures, but not one after the other
    assert outcome.status == "fetched"


def test_a_server_without_ranges_starts_from_the_beginning(server, item):
    server.answers[PATH] = [Answer(cut=N_CUT), Answer(ranges=False)]
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


def test_a_server_that_always_cuts_fails_and_leaves_what_came(server, item):
    server.answers[PATH] = [Answer(ranges=False, cut=N_CUT)] * 3
    (outcome,) = run(item, attempts=3)
    assert outcome.status == "failed"
    assert "3 attempts" in outcome.message
    assert not item.path.exists()
    assert N_CUT - transfer.CHUNK <= item.fetched <= N_CUT
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


def test_the_part_of_another_version_is_not_used(server, item):
    server.files[PATH] = fits_bytes(seed=2)
    server.answers[PATH] = [Answer(cut=N_CUT), Answer(status=503)]
    assert run(item, attempts=1)[0].status == "failed"
    assert item.fetched > 0
    server.files[PATH], server.version = DATA, "v2"  # same size, other pixels
    server.answers.clear()
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


def test_a_wrong_part_is_not_used(server, item):
    server.answers[PATH] = [Answer(cut=N_CUT), Answer(shift=5)]
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


def test_a_part_that_is_too_long_is_thrown_away(server, item):
    item.path.parent.mkdir()
    item.part.write_bytes(DATA + b"more")
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


def test_a_part_that_is_whole_needs_no_request(server, item):
    item.path.parent.mkdir()
    item.part.write_bytes(DATA)
    assert run(item)[0].status == "fetched"
    assert is_clean(item)
    assert not server.requests


def test_a_rotten_part_of_the_right_size_is_fetched_anew(server, item):
    item.path.parent.mkdir()
    item.part.write_bytes(b"\0" * len(DATA))
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


@pytest.mark.parametrize("place", ["http://[::1/", "http://\xe9\xff.invalid/"])
def test_a_redirection_to_what_is_no_address_is_a_failure(server, item, place):
    server.answers[PATH] = [Answer(status=302, headers={"Location": place})]
    (outcome,) = run(item)
    assert outcome.status == "failed"
    assert "an address that is none" in outcome.message
    assert not list(item.path.parent.iterdir())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, item, status):
    server.answers[PATH] = [Answer(status=status, headers={"Retry-After": "0"}), Answer()]
    told = []
    assert run(item, tell=lambda *event: told.append(event))[0].status == "fetched"
    (message,) = [value for kind, _, value in told if kind == "again"]
    assert message.startswith(f"HTTP {status}")


def test_the_pause_grows_and_the_server_may_ask_for_more(server, item, monkeypatch):
    pauses = []
    real = transfer.threading.Event

    class Watch(real):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return False

    server.answers[PATH] = [
        Answer(status=503),
        Answer(status=503),
        Answer(status=503, headers={"Retry-After": "7"}),
        Answer(status=503, headers={"Retry-After": "7000"}),
    ]
    jobs, events = transfer.queue.SimpleQueue(), transfer.queue.SimpleQueue()
    jobs.put((0, item))
    transfer._Worker(jobs, events, Watch(), attempts=5, pause=1.0, token=None).run()
    assert pauses == [1.0, 2.0, 7.0, transfer.LONGEST_PAUSE]
    assert is_clean(item)


def test_what_is_not_there_fails_at_once(server, item):
    other = Transfer(server.url + "/none.fits", item.path.parent / "none.fits", 5)
    missing, fetched = run(other, item)
    assert (missing.status, missing.message) == ("failed", "HTTP 404 Not Found")
    assert fetched.status == "fetched"
    assert len(server.asked("/none.fits")) == 1
    assert is_clean(item)


def test_no_access_tells_about_the_token(server, item):
    server.answers[PATH] = [Answer(status=401)]
    (outcome,) = run(item)
    assert outcome.status == "failed"
    assert "MAST_API_TOKEN" in outcome.message


def test_a_page_instead_of_the_file_is_no_file(server, item):
    server.answers[PATH] = [Answer(body=b"<html>maintenance</html>")] * 2
    (outcome,) = run(item, attempts=2)
    assert outcome.status == "failed"
    assert "FITS" in outcome.message
    assert not item.path.exists()
    assert not item.part.exists()


def test_a_file_without_length_is_checked_by_its_headers(server, tmp_path):
    item = Transfer(server.url + PATH, tmp_path / PATH[1:])
    server.answers[PATH] = [Answer(length=False, cut=N_CUT), Answer(length=False)]
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


@pytest.mark.parametrize("listed", [len(DATA) - 2880, len(DATA) + 2880])
def test_an_archive_that_lists_another_size(server, tmp_path, listed):
    """What is served decides, and is told; the next run asks, and fetches nothing."""
    item = Transfer(server.url + PATH, tmp_path / PATH[1:], listed)
    server.answers[PATH] = [Answer(cut=N_CUT)]
    (outcome,) = run(item)
    assert outcome.status == "fetched"
    assert str(listed) in outcome.message
    assert is_clean(item)
    (outcome,) = run(item)
    assert outcome.status == "present"
    assert is_clean(item)


def test_a_file_of_another_size_is_replaced_only_by_a_complete_one(server, item):
    item.path.parent.mkdir()
    item.path.write_bytes(b"old")
    server.answers[PATH] = [Answer(cut=N_CUT), Answer(status=404)]
    assert run(item)[0].status == "failed"
    assert item.path.read_bytes() == b"old"
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


def test_several_at_a_time(server, tmp_path):
    items = []
    for number in range(7):
        path = f"/file{number}.fits"
        server.files[path] = DATA
        server.answers[path] = [Answer(cut=N_CUT)] if number % 2 else []
        items.append(Transfer(server.url + path, tmp_path / path[1:], len(DATA)))
    told = []
    outcomes = run(*items, at_a_time=3, tell=lambda *event: told.append(event))
    assert [outcome.status for outcome in outcomes] == ["fetched"] * 7
    assert all(item.path.read_bytes() == DATA for item in items)
    assert sorted(item.path.name for kind, item, _ in told if kind == "done") == sorted(
        item.path.name for item in items
    )
    assert max(value for kind, _, value in told if kind == "at") == len(DATA)


def test_the_token_goes_to_its_host_only(server, item):
    with serve() as other:
        other.files[PATH] = DATA
        server.answers[PATH] = [
            Answer(status=302, headers={"Location": other.url + PATH}),
        ]
        assert run(item, token="secret")[0].status == "fetched"
        assert server.asked(PATH)[0]["Authorization"] == "token secret"
        assert "Authorization" not in other.asked(PATH)[0]
    assert is_clean(item)


def test_interrupted_in_the_middle_it_continues(server, item):
    """What a Ctrl-C leaves is used by the next run, even when the server has stalled."""
    server.answers[PATH] = [Answer(stall=N_CUT)]

    def interrupt(kind, _, value):
        if kind == "at" and value >= N_CUT - transfer.CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(item, tell=interrupt)
    assert not item.path.exists()
    assert N_CUT - transfer.CHUNK <= item.fetched <= N_CUT
    assert run(item)[0].status == "fetched"
    assert is_clean(item)
    assert int(server.asked(PATH)[1]["Range"][6:-1]) >= N_CUT - transfer.CHUNK


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_a_part(server, item, how):
    server.answers[PATH] = [Answer(stall=N_CUT)]
    code = (
        "import sys; from pathlib import Path\n"
        "from ceers_steps.survey.archive.transfer import Transfer, fetch\n"
        f"fetch([Transfer({item.url!r}, Path({str(item.path)!r}), {item.size})])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while item.fetched < N_CUT - transfer.CHUNK and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert (b"KeyboardInterrupt" in err) == (how == signal.SIGINT)
    assert not item.path.exists()
    assert run(item)[0].status == "fetched"
    assert is_clean(item)
    assert "Range" in server.asked(PATH)[1]


def test_a_disk_that_is_full_ends_the_run(server, item, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.os, "fsync", full)
    with pytest.raises(CeersError, match=f"{item.path.name}: No space left"):
        run(item)
    assert not item.path.exists()


def test_what_is_still_due(item, tmp_path):
    other = Transfer("http://x/y", tmp_path / "y.fits", 100)
    unknown = Transfer("http://x/z", tmp_path / "z.fits")
    other.part.write_bytes(b"0" * 30)
    assert transfer.still_due([item, other, unknown]) == len(DATA) + 70
    other.path.write_bytes(b"0" * 100)
    assert transfer.still_due([item, other, unknown]) == len(DATA)


@pytest.mark.parametrize("length", ["\u00b2", "\u00b9\u00b2", "many", "9" * 5000, "-5", "1e9", " "])
def test_a_length_that_is_no_number_says_nothing(server, item, length):
    server.answers[PATH] = [Answer(length=length)]
    assert run(item)[0].status == "fetched"
    assert is_clean(item)


@pytest.mark.parametrize("later", ["\u00b2", "9" * 400, "soon", "-1", "inf", "nan", "1e300"])
def test_a_time_to_wait_that_is_no_number_or_huge(server, item, monkeypatch, later):
    monkeypatch.setattr(transfer, "LONGEST_PAUSE", 0.02)
    server.answers[PATH] = [Answer(status=503, headers={"Retry-After": later})]
    start = time.monotonic()
    assert run(item)[0].status == "fetched"
    assert time.monotonic() - start < 10


def test_no_server_makes_wait_for_more_than_forty_seconds():
    assert transfer.LONGEST_PAUSE <= 40


@pytest.mark.parametrize(
    "value", ["bytes \u0661-5/9", "bytes 1-2/" + "9" * 5000, "bytes \u00b2-3/4"]
)
def test_a_part_whose_place_is_no_number_is_not_used(server, item, value):
    class Strange:
        status_code, headers, reason = 206, {"Content-Range": value}, ""

    with pytest.raises(transfer._AgainError, match="another part than asked for"):
        transfer._look_at(Strange, item, 1)


def test_a_body_without_end_stops_at_the_listed_size(server, item):
    endless = Answer(length=False, drip=len(DATA))
    server.answers[PATH] = [endless, endless]
    told = []
    (outcome,) = run(item, attempts=2, tell=lambda *event: told.append(event))
    assert outcome.status == "failed"
    assert f"the archive has {len(DATA)}" in outcome.message
    assert max(value for kind, _, value in told if kind == "at") <= len(DATA) + transfer.CHUNK
    assert list(item.path.parent.iterdir()) == []


def test_a_body_without_end_of_a_file_whose_size_nobody_tells(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "LARGEST", 2 * len(DATA) // 3)
    item = Transfer(server.url + PATH, tmp_path / "data" / PATH[1:])
    server.answers[PATH] = [Answer(length=False, drip=len(DATA))]
    (outcome,) = run(item)
    assert outcome.status == "failed"
    assert "and no end" in outcome.message
    assert list(item.path.parent.iterdir()) == []


BOMB = gzip.compress(bytes(100_000_000))  # a thousandth of what it becomes


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("listed", [None, len(DATA)])
def test_what_was_sent_packed_stays_within_bounds(server, tmp_path, length, listed):
    """Asked for is what is not packed; a server may send it all the same."""
    item = Transfer(server.url + PATH, tmp_path / "data" / PATH[1:], listed)
    bomb = Answer(body=BOMB, encoding="gzip", length=length)
    server.answers[PATH] = [bomb] * 2
    furthest = []
    (outcome,) = run(item, attempts=2, tell=lambda kind, _, at: furthest.append((kind, at)))
    assert outcome.status == "failed"
    reason = "sent packed become" if listed is None else f"the archive has {listed}"
    assert reason in outcome.message
    most = max(at for kind, at in furthest if kind == "at")
    assert most < transfer.PACKED * len(BOMB) + 2 * transfer.MARGIN
    assert list(item.path.parent.iterdir()) == []


def test_a_file_that_is_sent_packed_is_fetched(server, tmp_path):
    item = Transfer(server.url + PATH, tmp_path / "data" / PATH[1:])
    server.answers[PATH] = [Answer(body=gzip.compress(DATA), encoding="gzip")]
    (outcome,) = run(item)
    assert outcome.status == "fetched"
    assert is_clean(item)


def test_a_file_without_a_listed_size_does_not_fill_the_disk(server, tmp_path, monkeypatch):
    """Whether its length is announced or not."""
    item = Transfer(server.url + PATH, tmp_path / "data" / PATH[1:])
    free = transfer.RESERVE + len(DATA) // 2
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    for answer in (Answer(), Answer(length=False), Answer(length=str(10**15), drip=10)):
        server.answers[PATH] = [answer]
        (outcome,) = run(item)
        assert outcome.status == "failed"
        assert f"more than {len(DATA) // 2}" in outcome.message
        assert "lists no size" in outcome.message
        assert list(item.path.parent.iterdir()) == []


def test_a_size_far_beyond_the_listed_one_is_refused_at_once(server, tmp_path):
    item = Transfer(server.url + PATH, tmp_path / "data" / PATH[1:], 1000)
    server.answers[PATH] = [Answer(length=str(10**15), drip=0)]
    (outcome,) = run(item)
    assert outcome.message == f"{10**15} bytes are sent, the archive lists 1000"
    assert list(item.path.parent.iterdir()) == []


def test_a_size_far_below_the_listed_one_is_refused_at_once(server, tmp_path):
    """A primary header alone is a complete FITS file."""
    server.files["/short.fits"] = DATA[:2880]
    item = Transfer(server.url + "/short.fits", tmp_path / "data" / PATH[1:], 10**8)
    (outcome,) = run(item)
    assert outcome.message == f"2880 bytes are sent, the archive lists {10**8}"
    assert list(item.path.parent.iterdir()) == []


def test_a_server_that_sends_a_byte_now_and_then_counts_as_broken(server, item, monkeypatch):
    monkeypatch.setattr(transfer, "WINDOW", 0.3)
    server.answers[PATH] = [Answer(drip=N_CUT), *[Answer(drip=0)] * 3]
    start = time.monotonic()
    (outcome,) = run(item, attempts=3)
    assert time.monotonic() - start < 20
    assert (outcome.status, outcome.message) == (
        "failed",
        "less than 1 kB came in a second (3 attempts)",
    )
    assert N_CUT <= item.fetched < N_CUT + transfer.CHUNK


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling", "fifo"])
@pytest.mark.parametrize("which", ["part", "note"])
def test_nothing_is_written_through_what_lies_in_the_place_of_a_part(server, item, kind, which):
    item.path.parent.mkdir()
    other = item.path.parent.parent / "precious"
    path = getattr(item, which)
    if kind != "dangling":
        other.write_bytes(DATA[:N_CUT])
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "hard link":
        os.link(other, path)
    else:
        path.symlink_to(other)
    assert run(item)[0].status == "fetched"
    assert is_clean(item)
    assert other.exists() == (kind != "dangling")
    if other.exists():
        assert other.read_bytes() == DATA[:N_CUT]
    assert not item.path.is_symlink()
