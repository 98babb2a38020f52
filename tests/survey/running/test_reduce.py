"""``ceers reduce`` with the pipelines themselves: raw exposures in, mosaics of two filters out."""

import json

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps.cli import main
from ceers_steps.simulate import active
from tests.dithers import TARGET, make_sources, simulate_dithers

pytest.importorskip("snakemake")

ARGUMENTS = ("--cores", "2", "--pixel-scale", "0.06", "--by", "program")


def wide_field():
    """Sources within 80 arcsec: the long-wavelength subarray lies beside the other."""
    sources = make_sources(n=900)
    for name, center in zip(("ra", "dec"), TARGET, strict=True):
        sources[name] = center + 2.3 * (sources[name] - center)
    return sources


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """Two dithers of NRCB4 F150W and NRCBLONG F277W, SUB640, reduced once."""
    folder = tmp_path_factory.mktemp("reduce")
    simulate_dithers(folder / "uncal", 2, n_groups=4, seed=8, catalog=wide_field())
    with active(folder / "uncal"):
        assert reduce(folder) == 0
        yield folder


def reduce(folder, *more):
    return main(["reduce", str(folder / "uncal"), "-o", str(folder / "out"), *ARGUMENTS, *more])


def doings(folder):
    """Return which doing of each task stands, by its record."""
    records = (folder / "out" / ".ceers" / "done").rglob("*.json")
    trees = [json.loads(path.read_text()) for path in records]
    return {tree["task"]: tree["made"] for tree in trees}


@pytest.mark.slow
def test_products(survey):
    out = survey / "out"
    assert len(list((out / "cal").glob("*_cal.fits"))) == 4
    assert len(list((out / "cal").glob("*_1fmask.fits"))) == 4
    assert len(list((out / "wcs").glob("*_tweakreg.asdf"))) == 4
    assert len(list((out / "match").glob("*_match.fits"))) == 4
    mosaics = sorted(out.glob("mosaics/*/*_mbkgsub.fits"))
    assert len(mosaics) == 2
    shapes = set()
    for path in mosaics:
        with fits.open(path) as hdus:
            shapes.add(hdus["SCI"].data.shape)
            blank = (hdus["BKGMASK"].data == 0) & np.isfinite(hdus["SCI"].data)
            # the median of the blank sky is far below the noise of one pixel
            level, noise = np.median(hdus["SCI"].data[blank]), np.median(hdus["ERR"].data[blank])
            assert abs(level) < 0.1 * noise
    assert len(shapes) == 1
    assert not list(out.rglob("*rateints*"))
    assert (out / "summary.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("exposure", "Step CeersDetector1 done"),
        ("exposure", "Step CeersImage2 done"),
        ("align", "Step AlignStep done"),
        ("outlier", "Step CeersImage3 done"),
        ("mosaic", "Step TiledResampleStep done"),
        ("background", "Step MosaicBackgroundStep done"),
    ],
)
def test_a_message_stands_in_a_log_once(survey, stage, message):
    logs = sorted((survey / "out" / "logs" / stage).glob("*.log"))
    assert logs
    for log in logs:
        lines = [line for line in log.read_text().splitlines() if message in line]
        texts = [line.partition(message)[2] for line in lines]
        assert len(texts) == len(set(texts)) > 0, lines


@pytest.mark.slow
def test_persistence_of_the_dither_before_is_looked_for(survey):
    states = {
        path.name[20:25]: fits.getval(path, "S_TRAPPE")
        for path in (survey / "out" / "cal").glob("*_cal.fits")
    }
    assert states == {"00001": "SKIPPED", "00002": "COMPLETE"}


@pytest.mark.slow
def test_again_nothing_is_done(survey, capsys):
    before = doings(survey)
    assert reduce(survey) == 0
    assert doings(survey) == before
    assert "0 tasks done" in capsys.readouterr().out


@pytest.mark.slow
def test_a_changed_parameter_redoes_that_step_and_what_follows(survey):
    before = doings(survey)
    survey_file = survey / "survey.toml"
    survey_file.write_text(
        'inputs = ["uncal"]\noutput = "out"\n[groups]\nby = "program"\n[grid]\npixel_scale = 0.06\n'
        "[image3.mosaic_background]\nbox_size = 25\n"
    )
    assert main(["reduce", str(survey_file), "--cores", "2"]) == 0
    after = doings(survey)
    changed = {name for name in after if after[name] != before[name]}
    assert {name.partition("/")[0] for name in changed} == {"background"}
