"""The page of an exposure in a browser, of nothing but what the steps have left."""

import json

import pytest

from ceers_steps.cli import main
from tests.report.browsing import find, requests, wait_for
from tests.report.left import NAME, SCALE, leave_looks


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the page of an exposure of which there is no product."""
    survey = tmp_path_factory.mktemp("a survey")
    leave_looks(survey / ".ceers" / "looks")
    log = survey / "logs" / "exposure" / f"{NAME}.log"
    log.parent.mkdir(parents=True)
    log.write_text("1 INFO x: begins\n2 WARNING x: <i>look</i>\n" + "3 INFO x: more\n" * 50)
    steps = [["detector1", "wispsub", "method", "<u>lsq</u>", "<u>survey.toml</u>"]]
    note = {"steps": steps, "rows": {NAME: {"wisp_scale": 0.4}}, "overrides": "o.ecsv"}
    (survey / ".ceers" / "parameters.json").write_text(json.dumps(note))
    assert main(["report", str(survey), "--cores", "1"]) == 0
    return survey / "report" / "exposures" / f"{NAME}.html"


def brightness(browser, scale):
    """Return the mean grey of the wisp less that of the sky, with a wisp scale."""
    browser.execute_script(
        "const s = document.getElementById('slider'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'))",
        scale,
    )
    wait_for(lambda: float(find(browser, "#tried").get_attribute("data-drawn") or -1) == scale)
    return browser.execute_script(
        "const c = document.getElementById('tried');"
        "const d = (x, y) => c.getContext('2d').getImageData(x, y, 16, 16).data;"
        "const mean = a => a.reduce((s, v, i) => i % 4 ? s : s + v, 0) / (a.length / 4);"
        "return mean(d(82, 80)) - mean(d(8, 80))"  # rows count from the top
    )


def test_everything_is_shown_escaped_and_works(page, browser):
    text = page.read_text()
    for raw, escaped in (("<b>visit", "&lt;b&gt;visit"), ("<i>look", "&lt;i&gt;look"),
                         ("<u>survey", "&lt;u&gt;survey")):  # fmt: skip
        assert escaped in text
        assert raw not in text
    browser.get_log("browser")
    requests(browser)
    browser.get(page.as_uri())
    assert [b.text for b in browser.find_elements("css selector", ".state")] == [
        "before wisps",
        "before stripes",
        "rate",
    ]
    charts = browser.find_elements("css selector", "svg.chart")
    assert len(charts) == 4  # wisp, sky, vectors and cloud of the alignment
    assert all(chart.get_attribute("aria-label") for chart in charts)
    over = find(browser, ".blink .over")
    assert over.is_displayed()
    find(browser, "body").send_keys("o")
    assert not over.is_displayed()
    find(browser, "#outlines").click()
    assert over.is_displayed()
    body = find(browser, "body").text
    for part in ("FAILED: no reference", "Warnings and errors", "8 matches in the fit"):
        assert part in body
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#parameters tbody tr')].map("
        "row => [...row.cells].map(cell => cell.textContent))"
    )
    assert ["wispsub", "scale", "none", "overrides, o.ecsv"] in rows

    # stripes stay: rows are the same at both places; noise of 256 pixels in 255 greys of 20 sigma,
    # and the stripes that differ by their rounding
    grey = 255 / 20
    assert abs(brightness(browser, SCALE)) < 0.1 * grey * 8
    # wisp of 10 sigma at its peak, 8 on average
    assert brightness(browser, 0) > 4 * grey
    find(browser, "#take").click()
    assert find(browser, "[name=wisp_scale]").get_attribute("value") == "0"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    folder = page.parents[1].as_uri()
    found = [url for url in requests(browser) if not url.startswith((folder, "data:", "blob:"))]
    assert found == []


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_width_and_can_be_read_in_light_and_dark(page, browser, width, scheme):
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(page.as_uri())
        wide = browser.execute_script(
            "document.querySelectorAll('details').forEach(each => { each.open = true; });"
            "return document.documentElement.scrollWidth"
        )
        greys = browser.execute_script(
            "const grey = c => { const [r, g, b] = c.match(/\\d+/g).map(Number);"
            " return (r + g + b) / 3; };"
            "const of = (css, name) => grey(getComputedStyle(document.querySelector(css))[name]);"
            "return [of('body', 'backgroundColor'), of('.chart text', 'fill'),"
            " of('.chart .curve', 'stroke'), of('.chart .used', 'stroke')]"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert wide <= width
    background, *marks = greys
    assert (background > 128) == (scheme == "light")
    assert all(abs(mark - background) > 80 for mark in marks)
