"""The page of one product (`ceers show FILE -o PAGE.html`) in a browser."""

from pathlib import Path

import numpy as np
import pytest

from ceers_steps.report.product_page import Product, write_product_page


@pytest.mark.parametrize("width", [1300, 420])
def test_no_word_or_number_is_broken(tmp_path, browser, width):
    steps = {
        "ceers_trapped_charge": {"status": "COMPLETE", "note": "a long note of what was done" * 3},
        "ceers_snowball": {
            "status": "COMPLETE",
            "metrics": {"n_saturated": 31, "added_fraction": 0.0016266},
            "parameters": {"method": "adaptive"},
        },
        "ceers_remstriping": {"status": "COMPLETE", "metrics": {"row_rms_before": 0.00077204}},
    }
    image = np.zeros((20, 20), np.float32)
    product = Product(Path("jw_cal.fits"), "SCI", image, {}, {}, [("S_A", "COMPLETE")], steps)
    page = write_product_page(tmp_path / "a.html", product, "zscale")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(page.as_uri())
        wide, lines = browser.execute_script(
            "document.querySelectorAll('details').forEach(each => { each.open = true; });"
            "const lines = cell => { const range = document.createRange();"
            " range.selectNodeContents(cell);"
            " return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size; };"
            "const words = [...document.querySelectorAll('th, td')]"
            " .filter(cell => cell.textContent && !/\\s/.test(cell.textContent.trim()));"
            "return [document.documentElement.scrollWidth,"
            " Object.fromEntries(words.map(cell => [cell.textContent, lines(cell)]))]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert {"ceers_trapped_charge", "COMPLETE", "0.0016266", "snowball_saturated"} <= set(lines)
    assert set(lines.values()) == {1}
    assert wide <= width
