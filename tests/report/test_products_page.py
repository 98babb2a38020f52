"""The recipes of the page about products run, and give the magnitude that was put in."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

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
