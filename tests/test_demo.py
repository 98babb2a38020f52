"""The demo, on a subarray: from nothing to a report, and again from what is there."""

import re

import pytest
from astropy.table import Table

from ceers_steps import demo
from ceers_steps.errors import CeersError
from ceers_steps.report.findings import Finding
from ceers_steps.report.page import write_page

SMALL = demo.DemoExposure("NRCB4", "F150W", size="sub640", n_groups=5)


@pytest.mark.slow
def test_demo_from_nothing_and_again(tmp_path, capsys):
    page = demo.run_demo(tmp_path / "demo", seed=3, exposures=[SMALL], open_report=False)
    out = capsys.readouterr()
    assert "NRCB4 F150W" in out.out
    assert "block noise" in out.out
    assert out.err == ""
    html = page.read_text()
    assert html.count("data:image/png;base64,") >= 2
    assert not re.search(r'(?:src|href)="(?!data:)', html)  # one file, nothing fetched
    (row,) = Table.read(tmp_path / "demo" / "metrics.ecsv")
    # The stripes of the simulation are several times the white noise of a block.
    assert row["noise_ratio"] < row["noise_before_ratio"]
    assert (tmp_path / "demo" / "logs" / "nrcb4_f150w.log").stat().st_size > 0

    folder = tmp_path / "demo" / SMALL.slug
    (uncal,) = (folder / "simulated").glob("*_uncal.fits")
    (rate,) = (folder / "products").glob("*_rate.fits")
    assert not list((folder / "products").glob("*_snowball.fits"))
    first = uncal.stat().st_mtime_ns, rate.stat().st_mtime_ns
    demo.run_demo(tmp_path / "demo", seed=3, exposures=[SMALL], open_report=False)
    assert uncal.stat().st_mtime_ns == first[0]
    assert rate.stat().st_mtime_ns > first[1]


def test_other_parameters_are_simulated_anew(tmp_path, monkeypatch):
    import ceers_steps.simulate.api as api

    calls = []

    class Written:
        uncal = tmp_path / "simulated" / "x_uncal.fits"

    def simulate(folder, *args, seed, **kwargs):
        calls.append(seed)
        folder.mkdir()
        Written.uncal.touch()
        return [Written]

    monkeypatch.setattr(api, "simulate", simulate)
    for seed in (1, 1, 2, 2):
        assert (
            demo._simulate_once(SMALL, tmp_path / "simulated", seed, lambda *a: None)
            == Written.uncal
        )
    Written.uncal.unlink()
    demo._simulate_once(SMALL, tmp_path / "simulated", 2, lambda *a: None)
    assert calls == [1, 2, 2]


def test_missing_extras_are_told_before_work(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "galsim" else find(name)
    )
    with pytest.raises(CeersError, match=r"needs galsim.*ceers_steps\[simulate,report\]"):
        demo.run_demo(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_the_page_shows_text_as_text(tmp_path):
    findings = [
        Finding("A", "<b>bold</b>", "1 ± 2", "0", "below 3", True),
        Finding("A", "other", "9", "0", "below 3", False),
        Finding("A", "third", "9", "0"),
    ]
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG")
    page = write_page(
        tmp_path / "page.html",
        title="Title",
        intro="Intro",
        findings=findings,
        pictures={"Heading": [("caption", picture)]},
        facts={"seed": "1"},
    )
    html = page.read_text()
    assert "&lt;b&gt;bold" in html
    assert html.count(">reached<") == 1
    assert html.count(">missed<") == 1
    assert "data:image/png;base64,iVBORw==" in html
