"""The recipes of the page about products run, and give the magnitude that was put in."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import ceers_steps
from ceers_steps.files.headers.provenance import status_keyword
from ceers_steps.integration import get_steps
from ceers_steps.mosaics.masks import BIT_CARDS
from ceers_steps.mosaics.products import NEW_PLANES

PAGE = Path(__file__).parents[2] / "docs" / "products.md"


def test_recipes_run(tmp_path, monkeypatch):
    area = 2.1e-14  # sr, of a pixel of 30 mas
    image = np.random.default_rng(1).normal(0, 1e-3, (200, 200)).astype(np.float32)
    image[:5] = np.nan
    true = 24.0
    image[100:110, 100:110] += 10 ** (-0.4 * (true - 8.90)) / (1e6 * area) / 100
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, fits.Header({"PIXAR_SR": area}), name="SCI")]
    hdus.append(fits.ImageHDU(np.full_like(image, 1e-3), name="ERR"))
    fits.HDUList(hdus).writeto(tmp_path / "mosaic_mbkgsub.fits")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    # 5 sigma: 100 pixels of noise 1e-3
    error = 1.09 * 10 * 1e-3 * area * 1e6 / 10 ** (-0.4 * (true - 8.90))
    assert names["magnitude"] == pytest.approx(true, abs=5 * error)
    (source,) = names["sources"]
    assert (source["x"], source["y"]) == pytest.approx((104.5, 104.5), abs=0.1)
    assert names["table"]["aperture_sum"][0] > 0


def test_every_suffix_of_ours_is_explained():
    package = Path(ceers_steps.__file__).parent
    code = "".join(
        path.read_text(encoding="utf-8")
        for room in ("steps", "pipelines")
        for path in (package / room).glob("*.py")
    )
    suffixes = set(re.findall(r'output_suffix = "(\w+)"', code))
    suffixes |= set(re.findall(r'extra_product_path\(\s*model, "(\w+)"', code))
    suffixes |= set(re.findall(r'suffix="(\w+)"', code)) - {"ref"}
    assert {"match", "bkgsub", "mergedmask", "imgbkg", "snowballs"} <= suffixes
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in sorted(suffixes) if not re.search(rf"_{name}\.\w+`", page)]
    assert missing == ["cat"]  # jwst's own source list


def test_status_keywords_are_those_of_the_steps():
    page = PAGE.read_text(encoding="utf-8")
    listed = set(re.findall(r"`(S_[A-Z]+)`", page)) - {"S_TWKREG"}
    steps = {alias for _, alias, is_pipeline in get_steps() if not is_pipeline}
    # tiles are resampling, which has jwst's own status
    assert listed == {status_keyword(alias) for alias in steps - {"ceers_tiled_resample"}}


def test_bits_and_extensions_are_those_that_are_written():
    page = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d)(?: to 4)? \| [\d, ]+ \| (.*?) \|", page, re.M))
    cards = {key: comment for key, _, comment in BIT_CARDS}
    assert rows["0"] in cards["BIT0"] or cards["BIT0"] in rows["0"]
    assert set(rows) == {"0", "1", "5", "6", "7"}
    assert len(cards) == len(rows)
    for name in NEW_PLANES:
        assert f"`{name}`" in page
