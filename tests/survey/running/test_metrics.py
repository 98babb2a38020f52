"""Metrics: read from products, and measured on mosaics of known noise."""

import io
import json

import asdf
import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import uniform_filter

from ceers_steps.astrometry.results import make_results_table
from ceers_steps.files.metrics import step_metrics
from ceers_steps.survey.planning.records import read_record, write_record
from ceers_steps.survey.running.metrics import (
    alignment_metrics,
    alignment_reasons,
    border_excess,
    measure_mosaic,
    outlier_fraction,
    product_metrics,
)
from tests.survey.running.test_task import run
from tests.survey.standin import make_plan

SCALE = 0.03
PIXEL_AREA = (np.radians(SCALE / 3600)) ** 2


def write_mosaic(path, image):
    header = fits.Header({"PIXAR_SR": PIXEL_AREA})
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, header, name="SCI")]).writeto(path)
    return path


def test_noise_depth_and_area_of_a_mosaic(tmp_path):
    """White noise: the depth follows from the number of pixels of the aperture.

    64 patches of 256 x 256 pixels: the scatter of 6 x 6 squares of one patch is known to 2%, of
    them all to 0.4%, 0.004 mag; that of pixels five times better. Tolerances are 3 sigma.
    """
    random = np.random.default_rng(3)
    shape, sigma = (1100, 1500), 0.02
    image = random.normal(0.5, sigma, shape).astype(np.float32)
    image[:, :300] = np.nan
    for y, x in random.integers(40, 1060, (150, 2)):
        image[y : y + 9, x : x + 9] += 3.0
    figures = measure_mosaic(write_mosaic(tmp_path / "m_i2d.fits", image))
    assert figures["sky_noise"] == pytest.approx(sigma, rel=0.01)
    pixels = np.pi * 0.1**2 / SCALE**2
    flux = 5 * sigma * np.sqrt(pixels) * PIXEL_AREA * 1e6
    # sources in 1% of the pixels touch 3% of the squares, which widens their lower half by 2%
    assert figures["depth"] == pytest.approx(8.90 - 2.5 * np.log10(flux), abs=0.04)
    # of larger squares there are fewer (known to 0.6% and 1%), and 4% and 7% of them are touched
    for name, aperture, error in (("depth_03", 0.3, 0.05), ("depth_05", 0.5, 0.09)):
        expected = 8.90 - 2.5 * np.log10(flux * aperture / 0.2)
        assert figures[name] == pytest.approx(expected, abs=error)
    assert figures["area"] == pytest.approx(1200 * 1100 * SCALE**2 / 3600, rel=0.01)


def test_noise_that_is_correlated_makes_a_mosaic_less_deep(tmp_path):
    """Smoothed over 3 x 3 pixels, noise falls to a third, but that of a square hardly."""
    white = np.random.default_rng(4).normal(0, 1, (600, 600)).astype(np.float32)
    smooth = uniform_filter(white, 3)
    one = measure_mosaic(write_mosaic(tmp_path / "white_i2d.fits", white))
    two = measure_mosaic(write_mosaic(tmp_path / "smooth_i2d.fits", smooth))
    assert two["sky_noise"] / one["sky_noise"] == pytest.approx(1 / 3, rel=0.03)
    assert 0 < two["depth"] - one["depth"] < 0.3


@pytest.mark.parametrize("value", [np.nan, 0.0])
@pytest.mark.parametrize("shape", [(700, 300), (5, 4)])
def test_a_mosaic_without_data(tmp_path, shape, value):
    path = write_mosaic(tmp_path / "empty_i2d.fits", np.full(shape, value, dtype=np.float32))
    assert measure_mosaic(path) == {"area": 0.0}


def test_a_mosaic_of_a_few_pixels(tmp_path):
    one = measure_mosaic(write_mosaic(tmp_path / "a_i2d.fits", np.ones((3, 2), np.float32)))
    assert set(one) == {"area"}
    flat = measure_mosaic(write_mosaic(tmp_path / "b_i2d.fits", np.ones((9, 8), np.float32)))
    assert flat["sky_noise"] == 0.0
    assert "depth" not in flat


def write_product(path, entries):
    tree = io.BytesIO()
    asdf.AsdfFile({"meta": {"ceers_steps": entries, "filename": path.name}}).write_to(tree)
    data = np.frombuffer(tree.getvalue(), dtype=np.uint8)[None]
    column = fits.Column("ASDF_METADATA", f"{data.size}B", array=data)
    table = fits.BinTableHDU.from_columns([column], name="ASDF")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def test_figures_of_the_steps_in_a_product(tmp_path):
    entries = {
        "ceers_skyvar": {"status": "COMPLETE", "metrics": {"sky": 0.25, "levels": [0.2, 0.3]}},
        "ceers_wispsub": {"status": "SKIPPED", "metrics": {}},
        "ceers_snowball": {"metrics": {"n_events": 3}},
        "other": {"status": "COMPLETE"},
    }
    path = write_product(tmp_path / "e_match.fits", entries)
    metrics = product_metrics(path, "ceers_skyvar", "ceers_wispsub", "ceers_remstriping")
    assert metrics == {"ceers_skyvar": {"sky": 0.25, "levels": [0.2, 0.3]}}
    assert set(step_metrics({"ceers_steps": entries})) == {"ceers_skyvar", "ceers_snowball"}
    assert step_metrics({}) == {}


def test_results_of_an_alignment(tmp_path):
    common = {"detector": "NRCA1", "filter": "F200W", "visit": "jw01345001001"}
    rows = [
        {"exposure": "e1", "alignment": "relative", "status": "COMPLETE", "n_matched": 20},
        {"exposure": "e1", "alignment": "absolute", "status": "COMPLETE", "n_matched": 7},
        {"exposure": "e2", "alignment": "relative", "status": "FAILED", "note": "no matches"},
    ]
    rows[0] |= {"rmse": 9.5, "xshift": 1.5}
    path = tmp_path / "v_alignment.ecsv"
    make_results_table([common | row for row in rows], {}).write(path)
    metrics = alignment_metrics(path)
    first = metrics["e1"]["ceers_align"]
    assert (first["relative_n_matched"], first["relative_rmse"]) == (20, 9.5)
    assert first["absolute_n_matched"] == 7
    assert "absolute_rmse" not in first
    assert metrics["e2"]["ceers_align"] == {
        "relative_status": "FAILED",
        "relative_n_matched": 0,
        "relative_note": "no matches",
    }
    json.dumps(metrics)
    rows = [{"exposure": e, "alignment": "relative", "note": "no matches"} for e in ("e3", "e4")]
    rows[1:1] = [{"exposure": "e3", "alignment": "absolute", "note": "none of 9 sources"}]
    make_results_table([common | row for row in rows], {}).write(path, overwrite=True)
    assert alignment_reasons(path, ["e3", "e4"]) == "none of 9 sources; no matches"


def test_record_keeps_the_figures_and_may_be_of_before_there_were_any(tmp_path):
    metrics = {"e0": {"ceers_snowball": {"n_events": 4}}}
    plan = make_plan(tmp_path, arguments={"exposure/e0": {"metrics": metrics}})
    task = plan.tasks["exposure/e0"]
    assert run(plan, task.id) == 0
    path = plan.record_path(task)
    record = read_record(path)
    assert record.metrics == metrics
    tree = json.loads(path.read_text())
    del tree["metrics"]
    path.write_text(json.dumps(tree))
    old = read_record(path)
    assert old.metrics == {}
    assert old.outputs == record.outputs
    write_record(path, old)
    assert read_record(path) == old


def write_final(path, image, tiers, name="TIERMASK"):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image.astype(np.float32), name="SCI")]
    if tiers is not None:
        hdus.append(fits.ImageHDU(tiers, name=name))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("glow", [0.0, 0.3, -0.2])
@pytest.mark.parametrize("mask", ["tiers", "with the glow", "none"])
def test_a_background_that_glows_along_the_border(tmp_path, glow, mask):
    """1400 x 1800 pixels, a border without data; the levels are known to 0.01 of the noise."""
    random = np.random.default_rng(6)
    shape, noise = (1400, 1800), 0.02
    image = random.normal(0, noise, shape)
    band = np.ones(shape, bool)
    band[164:-164, 164:-164] = False
    image[band] += glow * noise
    tiers = np.zeros(shape, np.uint8)
    for y, x in random.integers(120, 1280, (200, 2)):
        image[y : y + 15, x : x + 15] += 3
        tiers[y : y + 15, x : x + 15] = 2
    if mask == "with the glow":
        tiers[band] |= 32
    image[:100] = image[-100:] = image[:, :100] = image[:, -100:] = np.nan
    tiers[np.isnan(image)] |= 1
    path = write_final(tmp_path / "m_mbkgsub.fits", image, None if mask == "none" else tiers)
    assert border_excess(path) == pytest.approx(glow, abs=0.05)


def test_the_border_of_what_has_no_sky(tmp_path):
    for number, shape in enumerate(((5, 4), (300, 300))):
        image = np.ones(shape) if number else np.full(shape, np.nan)
        path = write_final(tmp_path / f"m{number}_mbkgsub.fits", image, None)
        assert np.isnan(border_excess(path))


def test_which_part_of_an_exposure_was_flagged(tmp_path):
    dq = np.zeros((20, 50), np.uint32)
    dq[:2] = 1  # of no use anyhow
    dq[5, :9] = 1 | 16
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(dq, name="DQ")]).writeto(tmp_path / "m.fits")
    assert outlier_fraction(tmp_path / "m.fits") == pytest.approx(9 / 900)
    dq[:] = 1
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(dq, name="DQ")]).writeto(tmp_path / "n.fits")
    assert np.isnan(outlier_fraction(tmp_path / "n.fits"))
