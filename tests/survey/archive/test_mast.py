"""``ceers download``: what is asked of MAST, what is chosen, where it goes, how it is told.

``mast_jwst.json`` has the columns and the form of MAST's answers; its rows are made up.
"""

import json
import signal
from pathlib import Path
from urllib.parse import unquote

import pytest

from ceers_steps import cli
from ceers_steps.errors import CeersError
from ceers_steps.survey.archive import mast as archive
from ceers_steps.survey.archive import transfer
from ceers_steps.survey.archive.transfer import CHUNK
from ceers_steps.survey.select import pointings
from ceers_steps.survey.select.pointings import Pointings, read_pointings
from tests.survey.archive.test_transfer import fits_bytes
from tests.survey.http_files import Answer, serve

pytest.importorskip("astroquery")

RECORDED = Path(__file__).parents[2] / "data" / "mast_jwst.json"
FILE = "/api/v0.1/Download/file?uri=mast:JWST/product/"
UNCALS = [
    "jw01345001001_02201_00001_nrca1_uncal.fits",
    "jw01345001001_02201_00001_nrcalong_uncal.fits",
    "jw01345001001_02201_00001_nrcb4_uncal.fits",
    "jw01345001001_02201_00002_nrca1_uncal.fits",
    "jw01345001001_02201_00002_nrcb4_uncal.fits",
    "jw01345003001_02201_00001_nrca1_uncal.fits",
    "jw01345009001_02201_00001_nrcblong_uncal.fits",
    "jw01345052001_02201_00001_nrcblong_uncal.fits",
]
DATA = fits_bytes(n=300)


class Mast:
    """The archive: an HTTP server that gives the recorded answers and the files they name."""

    def __init__(self, server):
        self.server, self.queries = server, []
        self.recorded = json.loads(RECORDED.read_text())
        for name in UNCALS:
            server.files[FILE + name] = DATA
        for table in self.recorded["products"].values():
            for row in table["data"]:
                if row["productFilename"] in UNCALS:
                    row["size"] = len(DATA)
        server.posts.append(self.answer)

    def answer(self, path, body):
        if path.endswith("columnsconfig"):
            return json.dumps(self.recorded["columnsconfig"]).encode()
        query = json.loads(unquote(body.removeprefix("request=")))
        self.queries.append(query)
        if query["service"] == "Mast.Caom.Filtered":
            return json.dumps(self.recorded["observations"]).encode()
        asked = query["params"]["obsid"].split(",")
        tables = [self.recorded["products"][number] for number in asked]
        rows = [row for table in tables for row in table["data"]]
        return json.dumps({**tables[0], "data": rows}).encode()

    @property
    def asked_for(self):
        """Which observations' products were asked for."""
        queries = [query for query in self.queries if query["service"] == "Mast.Caom.Products"]
        return [query["params"]["obsid"].split(",") for query in queries]

    def fetched(self):
        """Names of the files that were asked for, in the order of the requests."""
        return [path.removeprefix(FILE) for path, _ in self.server.requests if FILE in path]


@pytest.fixture
def mast(monkeypatch):
    from astroquery.mast import conf
    from astroquery.mast.discovery_portal import PortalAPI

    monkeypatch.setattr(archive, "QUERY_PAUSE", 0.01)
    monkeypatch.setattr(PortalAPI, "_column_configs", {})
    monkeypatch.delenv("MAST_API_TOKEN", raising=False)
    with serve() as server, conf.set_temp("server", server.url):
        monkeypatch.setattr(PortalAPI, "MAST_REQUEST_URL", server.url + "/api/v0/invoke")
        monkeypatch.setattr(PortalAPI, "COLUMNS_CONFIG_URL", server.url + "/columnsconfig")
        yield Mast(server)


def download(*args):
    return cli.main(["download", *map(str, args)])


def files(folder):
    """Files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("jw*"))


# -- what is asked and chosen


def test_the_query(mast):
    archive.find_products(1345)
    (query,) = [query for query in mast.queries if query["service"] == "Mast.Caom.Filtered"]
    asked = {item["paramName"]: item["values"] for item in query["params"]["filters"]}
    assert asked == {
        "obs_collection": ["JWST"],
        "proposal_id": ["1345"],
        "instrument_name": ["NIRCAM/IMAGE"],
    }


def test_every_exposure_once_and_nothing_else(mast):
    products = archive.find_products(1345)
    assert [item.name for item in products] == UNCALS
    # an association of several observations has the same exposures again
    assert "1009" not in mast.asked_for[0]
    assert {item.size for item in products} == {len(DATA)}
    assert [item.name for item in products if not item.public] == [UNCALS[6]]


def test_filters_are_those_that_decide(mast):
    found = {item.name: item.filter for item in archive.find_products(1345)}
    assert found[UNCALS[0]] == "F115W"
    assert found[UNCALS[1]] == "F277W"  # the product does not say, its observation does
    assert found[UNCALS[6]] == "F470N"  # listed as F444W;F470N
    assert [item.name for item in archive.find_products(1345, filters=["f444w"])] == UNCALS[7:]
    assert [item.name for item in archive.find_products(1345, filters=["F470N"])] == [UNCALS[6]]


def test_only_the_products_of_an_observation_are_asked_for(mast):
    found = archive.find_products(1345, observations=[1, 52], filters=["F115W", "F444W"])
    assert [item.name for item in found] == [UNCALS[0], *UNCALS[2:5], UNCALS[7]]
    assert mast.asked_for == [["1001", "1004"]]


@pytest.mark.parametrize(("product", "count"), [("rate", 5), ("cal", 4)])
def test_other_products(mast, product, count):
    found = archive.find_products(1345, product)
    assert len(found) == count
    assert all(item.name.endswith(f"_{product}.fits") for item in found)
    assert {item.size for item in found} == {None}  # MAST does not always say


def test_products_are_asked_for_in_small_lots(mast, monkeypatch):
    monkeypatch.setattr(archive, "AT_ONCE", 4)
    assert len(archive.find_products(1345)) == len(UNCALS)
    assert [len(lot) for lot in mast.asked_for] == [4, 2]


def test_candidates_are_used_where_there_is_nothing_else(mast):
    rows = mast.recorded["observations"]["data"]
    rows[:] = [row for row in rows if "-c1000" in row["obs_id"]]
    assert [item.name for item in archive.find_products(1345, observations=[1])] == [
        name for name in UNCALS[:5] if "long" not in name
    ]


def test_nothing_found(mast):
    with pytest.raises(CeersError, match="program 1345; product uncal; observation 77"):
        archive.find_products(1345, observations=[77])
    mast.recorded["observations"]["data"] = []
    with pytest.raises(CeersError, match="nothing for: NIRCam images of program 9999"):
        archive.find_products(9999)


def test_an_archive_that_is_down(mast):
    def broken(path, body):
        return b"<html>maintenance</html>"

    mast.server.posts.append(broken)
    with pytest.raises(CeersError, match="does not answer"):
        archive.find_products(1345)
    assert len(mast.server.requests) == archive.QUERY_ATTEMPTS


def test_an_archive_that_is_busy_is_asked_again(mast):
    left = [b"<html>busy</html>"] * (archive.QUERY_ATTEMPTS - 1)
    mast.server.posts.append(lambda path, body: left.pop() if left else None)
    assert len(archive.find_products(1345)) == len(UNCALS)


@pytest.mark.parametrize("text", ["1345", "01345", "jw01345", "ceers", "CEERS"])
def test_names_of_a_program(text):
    assert archive.program_number(text) == 1345


@pytest.mark.parametrize("text", ["0", "123456", "egs", "-3"])
def test_what_is_no_program(text):
    with pytest.raises(CeersError, match="is not the number of a JWST program"):
        archive.program_number(text)


# -- the pointings


def test_pointings_of_the_release():
    table = read_pointings()
    assert table.numbers == [1, 2, 3, 6]
    assert len(table.choose(["all"])) == 690
    assert table.of_observation == {1: 1, 2: 2, 52: 2, 3: 3, 4: 6}
    assert len(table.choose(["nircam6"], filters=["f444w"])) == 6
    assert len(table.choose(["2"], filters=["F200W"])) == 48
    assert len(table.choose(["2"], filters=["F200W"], observations=[52])) == 24
    for name in ("5", "x", "nircam"):
        with pytest.raises(CeersError, match="1, 2, 3, 6"):
            table.choose([name])
    with pytest.raises(CeersError, match="Pointing 6 has no such filter"):
        table.choose(["6"], filters=["F090W"])


# -- the command


def test_a_pointing_is_fetched_and_sorted(mast, tmp_path, capsys, monkeypatch):
    table = {
        UNCALS[0][:31]: (1, "F115W"),
        UNCALS[2][:31]: (1, "F115W"),
        UNCALS[1][:34]: (1, "F277W"),
        UNCALS[7][:34]: (2, "F444W"),
        UNCALS[5][:31]: (3, "F115W"),
    }
    monkeypatch.setattr(pointings, "read_pointings", lambda: Pointings(table))
    args = ["--pointing", 1, 2, "--filter", "f115w", "F444W", "--sort", "-o", tmp_path]
    assert download("ceers", *args) == 0
    wanted = [f"nircam1/{UNCALS[0]}", f"nircam1/{UNCALS[2]}", f"nircam2/{UNCALS[7]}"]
    assert files(tmp_path) == wanted
    assert all((tmp_path / name).read_bytes() == DATA for name in wanted)
    out = capsys.readouterr().out
    assert "3 files" in out
    assert "3 fetched, 0 were there, 0 failed" in out


def test_what_the_archive_lacks_of_a_pointing_is_told(mast, tmp_path, capsys):
    code = download("ceers", "--pointing", 1, "--filter", "F277W", "-o", tmp_path)
    assert code == 1
    assert files(tmp_path) == [UNCALS[1]]
    out = capsys.readouterr().out
    assert "1 fetched, 0 were there, 0 failed" in out
    assert "11 exposures of the pointings are not in the archive" in out
    assert "jw01345001001_02201_00001_nrcblong, " in out


def test_flat_without_sort(mast, tmp_path):
    assert download("1345", "--observation", 3, 52, "-o", tmp_path) == 0
    assert files(tmp_path) == [UNCALS[5], UNCALS[7]]


def test_observations_that_belong_to_no_pointing(mast, tmp_path):
    assert download("1345", "--observation", 3, 9, "--sort", "-o", tmp_path) == 0
    assert files(tmp_path) == [f"nircam3/{UNCALS[5]}", f"o009/{UNCALS[6]}"]


def test_a_second_run_fetches_what_is_missing(mast, tmp_path, capsys):
    assert download("1345", "-o", tmp_path) == 0
    (tmp_path / UNCALS[3]).unlink()
    (tmp_path / UNCALS[4]).write_bytes(DATA[:-1])
    mast.server.requests.clear()
    capsys.readouterr()
    assert download("1345", "-o", tmp_path) == 0
    assert sorted(mast.fetched()) == UNCALS[3:5]
    assert "2 fetched, 6 were there, 0 failed" in capsys.readouterr().out
    assert (tmp_path / UNCALS[4]).read_bytes() == DATA


def test_failures_are_listed_and_the_rest_is_fetched(mast, tmp_path, capsys):
    del mast.server.files[FILE + UNCALS[2]]
    mast.server.answers[FILE + UNCALS[6]] = [Answer(status=401)]
    assert download("1345", "-o", tmp_path) == 1
    captured = capsys.readouterr()
    assert "6 fetched, 0 were there, 2 failed" in captured.out
    assert f"{UNCALS[2]}: HTTP 404" in captured.out
    assert f"{UNCALS[6]}: HTTP 401" in captured.out
    assert "MAST_API_TOKEN is not set" in captured.out
    # not on a terminal: a line for each file
    assert f"6 of 8: {UNCALS[7]} fetched" in captured.err.replace("7 of 8", "6 of 8").replace(
        "8 of 8", "6 of 8"
    )
    assert files(tmp_path) == sorted({*UNCALS} - {UNCALS[2], UNCALS[6]})


def test_an_interrupted_run_is_continued(mast, tmp_path, capsys, monkeypatch):
    """Ctrl-C between two files: exit code 130, and the next run does the rest."""

    def interrupt(self, session, number, item, real=transfer._Worker.fetch_one):
        if number == 3:
            signal.raise_signal(signal.SIGINT)  # handled by the main thread
            self.stop.wait(30)
            raise transfer._StoppedError
        return real(self, session, number, item)

    with monkeypatch.context() as patch:
        patch.setattr(transfer._Worker, "fetch_one", interrupt)
        assert download("1345", "--at-a-time", 1, "-o", tmp_path) == 130
    captured = capsys.readouterr()
    assert "the same command continues" in captured.out
    assert "interrupted" in captured.err
    assert files(tmp_path) == UNCALS[:3]
    assert download("1345", "-o", tmp_path) == 0
    assert sorted(mast.fetched()) == UNCALS


@pytest.mark.slow
def test_the_token_is_used_and_never_told(mast, tmp_path, capsys, caplog, monkeypatch):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("MAST_API_TOKEN", "very-secret")
    mast.server.answers[FILE + UNCALS[0]] = [Answer(status=503), Answer(cut=CHUNK)]
    mast.server.answers[FILE + UNCALS[1]] = [Answer(status=403)]
    assert download("1345", "--observation", 1, "-o", tmp_path) == 1
    captured = capsys.readouterr()
    assert "very-secret" not in captured.out + captured.err + caplog.text
    assert not any(
        "very-secret" in path.read_text(errors="replace") for path in tmp_path.rglob(".*")
    )
    sent = [headers for path, headers in mast.server.requests if FILE in path]
    assert {headers.get("Authorization") for headers in sent} == {"token very-secret"}


def test_dry_run_lists_and_writes_nothing(mast, tmp_path, capsys):
    folder = tmp_path / "new"
    assert download("1345", "--sort", "--dry-run", "-o", folder) == 0
    out = capsys.readouterr().out
    for name in UNCALS:
        assert name in out
    assert f"{folder}/nircam3/{UNCALS[5]}" in out
    assert out.count("to fetch") == len(UNCALS) + 1
    assert out.count("not public") == 1
    total = len(UNCALS) * len(DATA) / 1e6
    assert f"8 files, {total:.1f} MB; still to fetch {total:.1f} MB" in out
    assert not folder.exists()
    assert not mast.fetched()


def test_what_astroquery_fetched_is_taken_over(mast, tmp_path):
    old = tmp_path / "mastDownload" / "JWST" / UNCALS[0].removesuffix("_uncal.fits") / UNCALS[0]
    old.parent.mkdir(parents=True)
    old.write_bytes(DATA)
    (tmp_path / UNCALS[2]).write_bytes(DATA)  # of a run without --sort
    (tmp_path / f".{UNCALS[3]}.part").write_bytes(DATA[:1000])
    (tmp_path / UNCALS[4]).write_bytes(DATA[:-1])  # not complete: of no use
    assert download("1345", "--observation", 1, "--sort", "-o", tmp_path) == 0
    assert set(files(tmp_path)) == {UNCALS[4], *(f"nircam1/{name}" for name in UNCALS[:5])}
    assert sorted(mast.fetched()) == [UNCALS[1], UNCALS[3], UNCALS[4]]
    assert not (tmp_path / "mastDownload").exists()
    (request,) = mast.server.asked(FILE + UNCALS[3])
    assert request["Range"] == "bytes=1000-"


def test_a_disk_without_room(mast, tmp_path, capsys):
    for row in mast.recorded["products"]["1003"]["data"]:
        row["size"] = 10**17
    assert download("1345", "--observation", 3, "-o", tmp_path) == 1
    assert "100000000.00 GB are to be written" in capsys.readouterr().err
    assert not mast.fetched()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["2736", "--pointing", "1"], "--pointing is for CEERS"),
        (["ceers", "--pointing", "1", "--filter", "F090W"], "no such filter"),
        (["ceers", "--at-a-time", "0"], "give 1 or more"),
    ],
)
def test_what_does_not_go_together(mast, capsys, args, message):
    assert download(*args) == 1
    assert message in capsys.readouterr().err
    assert not mast.queries
