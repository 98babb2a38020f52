"""Pictures and maps of mosaics: where things are, what is made again, and zooming in a browser."""

import io
import json
import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from ceers_steps.cli import main
from ceers_steps.report.mosaics import colour, maps, sky, tiles
from ceers_steps.report.mosaics.pictures import draw_mosaics
from ceers_steps.report.mosaics.reading import Frame, read_head, read_mosaic
from ceers_steps.report.survey_data import RECORDS, Exposure, read_survey
from ceers_steps.report.trends import find_trends
from ceers_steps.report.truth import Part, Picture, Truth, write_truth
from ceers_steps.validate.checks import Check
from tests.report.browsing import find, requests, wait_for

SCALE = 0.03 / 3600
CENTER = (214.9, 52.87)
NOISE = 0.01
STAR = (214.9005, 52.8705)
"""Place of a bright source that all mosaics show."""


def make_header(nx, ny, *, scale=SCALE, roll=40.0):
    """Return a header of a mosaic; its middle is CENTER."""
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = CENTER
    header["CRPIX1"], header["CRPIX2"] = (nx + 1) / 2, (ny + 1) / 2
    header["CD1_1"], header["CD1_2"] = -scale * c, scale * s
    header["CD2_1"], header["CD2_2"] = scale * s, scale * c
    header["PIXAR_SR"] = math.radians(scale) ** 2
    return header


def make_mosaic(path, band, *, nx=640, ny=560, scale=SCALE, seed=1):
    """Write a mosaic of noise and a star; a corner has no data."""
    header = make_header(nx, ny, scale=scale)
    image = np.random.default_rng(seed).normal(0, NOISE, (ny, nx))
    x0, y0 = WCS(header).all_world2pix(*STAR, 0)
    y, x = np.mgrid[:ny, :nx]
    width = 2.5 * SCALE / scale
    image += 100 * NOISE * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2))
    image[: ny // 5, : nx // 4] = np.nan
    context = np.zeros((2, ny, nx), np.int32)
    context[0, :, : nx // 2] = 1  # the first
    context[0] |= np.int32(-(2**31))  # the 32nd
    context[1, ny // 2 :] = 1  # the 33rd
    times = fits.BinTableHDU.from_columns(
        [fits.Column("EFFEXPTM", "D", array=[100.0] * 31 + [10.0, 1.0])]
    )
    times.name = "HDRTAB"
    primary = fits.PrimaryHDU()
    primary.header["FILTER"], primary.header["PUPIL"] = band, "CLEAR"
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(
        [
            primary,
            fits.ImageHDU(image.astype(np.float32), header, name="SCI"),
            fits.ImageHDU(context, name="CON"),
            times,
        ]
    ).writeto(path, overwrite=True)


def make_exposure(path, band, corners):
    """Write an image with a footprint."""
    primary = fits.PrimaryHDU()
    primary.header.update(FILTER=band, DETECTOR="NRCB4", EFFEXPTM=100.0, EXPSTART=59751.5)
    image = fits.ImageHDU(np.zeros((8, 8), np.float32), name="SCI")
    image.header["S_REGION"] = "POLYGON ICRS  " + " ".join(f"{v:.9f}" for v in np.ravel(corners))
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, image]).writeto(path)


def write_record(folder, name, **metrics):
    """Write the record of an exposure with metrics of its steps."""
    path = folder / RECORDS / "exposure" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"task": f"exposure/{name}", "metrics": {name: metrics}}))


def square(dx=0.0, dy=0.0, half=0.002):
    """Return the corners of a footprint around CENTER, degrees."""
    ra, dec = CENTER[0] + dx, CENTER[1] + dy
    wide = half / math.cos(math.radians(dec))
    return [
        (ra - wide, dec - half),
        (ra + wide, dec - half),
        (ra + wide, dec + half),
        (ra - wide, dec + half),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of products: mosaics in three filters on two grids, three exposures."""
    folder = tmp_path_factory.mktemp("out")
    make_mosaic(folder / "mosaics" / "field_f150w_i2d.fits", "F150W", seed=1)
    make_mosaic(folder / "mosaics" / "field_f200w_i2d.fits", "F200W", seed=2)
    make_mosaic(
        folder / "mosaics" / "field_f277w_i2d.fits",
        "F277W",
        nx=330,
        ny=290,
        scale=2 * SCALE,
        seed=3,
    )
    for number, (band, dx) in enumerate((("F150W", 0), ("F150W", 0.001), ("F277W", 0)), start=1):
        name = f"jw01345001001_0210{number}_00001_nrcb4"
        make_exposure(folder / "cal" / f"{name}_cal.fits", band, square(dx))
        write_record(folder, name, ceers_snowball={"n_events": 40 * number})
    assert main(["report", str(folder), "--cores", "1"]) == 0
    return folder


def embedded(folder):
    """Return the data of the viewer of the page."""
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    start = text.index('id="pictures">') + len('id="pictures">')
    return json.loads(text[start : text.index("</script>", start)])


def test_tiles_put_together_are_the_picture(tmp_path):
    image = np.random.default_rng(1).normal(0, 1, (700, 1100)).astype(np.float32)
    image[400:420, 900:920] = 50  # white; row 0 is the bottom
    image[:200, :] = np.nan  # what lies in no tile but in those of the last row
    stretch = tiles.Stretch.of(image)
    levels = tiles.write_tiles(tmp_path, [image], lambda parts: stretch.grey(parts[0]))
    assert [(level["w"], level["h"]) for level in levels] == [(1100, 700), (550, 350), (275, 175)]
    for number, level in enumerate(levels):
        whole = np.zeros((level["h"], level["w"]), np.uint8)
        columns = -(-level["w"] // tiles.TILE)
        for place, has in enumerate(level["has"]):
            row, column = divmod(place, columns)
            path = tmp_path / str(number) / f"{row}-{column}.jpg"
            assert path.exists() == (has == "1")
            if has == "1":
                part = np.asarray(Image.open(path))
                y, x = row * tiles.TILE, column * tiles.TILE
                whole[y : y + part.shape[0], x : x + part.shape[1]] = part
        scale = 2**number
        y, x = (700 - 410) // scale, 910 // scale
        white = int(stretch.grey(np.float32([[50]]))[0, 0])
        assert abs(int(whole[y, x]) - white) < 30  # what JPEG makes of a square of 5 pixels
        assert whole[y, x - 40 // scale] < 100
        assert whole[-1, x] == 0
    assert levels[0]["has"] == "111000"  # the second row of tiles holds rows below 188


def test_an_image_without_data_has_no_tiles(tmp_path):
    image = np.full((20, 30), np.nan, np.float32)
    stretch = tiles.Stretch.of(image)
    (level,) = tiles.write_tiles(tmp_path, [image], lambda parts: stretch.grey(parts[0]))
    assert level == {"w": 30, "h": 20, "has": "0"}


def test_exposure_times_are_those_of_the_context(folder):
    path = folder / "mosaics" / "field_f150w_i2d.fits"
    head = read_head(path)
    assert head.filter == "F150W"
    assert maps.has_context(path)
    cells, _ = maps.exposure_map(path, head.frame, 20, [])
    assert cells.shape == (28, 32)
    # 32nd exposure everywhere, first on the left half, 33rd in the upper half
    assert cells[0, 0] == 110
    assert cells[0, -1] == 10
    assert cells[-1, 0] == 111
    assert cells[-1, -1] == 11


def test_without_context_they_are_those_of_the_footprints(tmp_path):
    header = make_header(600, 600, roll=0.0)
    header["CRVAL2"] = 0.0
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(np.ones((600, 600), np.float32), header, name="SCI")]
    ).writeto(tmp_path / "a_i2d.fits")
    frame = read_head(tmp_path / "a_i2d.fits").frame
    assert not maps.has_context(tmp_path / "a_i2d.fits")
    half = 300 * SCALE
    west = tuple(
        (CENTER[0] + x, y) for x, y in ((0, -half), (-half, -half), (-half, half), (0, half))
    )
    low = tuple(
        (CENTER[0] + x, y) for x, y in ((half, -half), (-half, -half), (-half, 0), (half, 0))
    )
    regions = [maps.Region("a", "", 100.0, west), maps.Region("b", "", 10.0, low)]
    cells, _ = maps.exposure_map(tmp_path / "a_i2d.fits", frame, 60, regions)
    assert cells.shape == (10, 10)
    assert (cells[1:4, 6:9] == 110).all()  # west is on the right
    assert (cells[1:4, 1:4] == 10).all()
    assert (cells[6:9, 6:9] == 100).all()
    assert np.isnan(cells[6:9, 1:4]).all()
    assert maps.exposure_map(tmp_path / "a_i2d.fits", frame, 60, []) is None


def test_an_image_on_other_pixels_shows_the_same_place(folder):
    coarse, fine = (folder / "mosaics" / f"field_{name}_i2d.fits" for name in ("f277w", "f150w"))
    heads = read_head(coarse), read_head(fine)
    image, _ = read_mosaic(coarse, 1, math.nan)
    for binning in (1, 3):
        moved = colour.onto(image, heads[0].frame, 1, heads[1].frame, binning)
        assert moved.shape == (-(-560 // binning), -(-640 // binning))
        x0, y0 = heads[1].frame.wcs().all_world2pix(*STAR, 0)
        x0, y0 = ((value - (binning - 1) / 2) / binning for value in (x0, y0))
        bright = np.where(moved > 10 * NOISE, moved, 0)
        y, x = np.indices(bright.shape)
        # sources of 100 times the noise: the centre is known to 0.05 of a coarse pixel
        assert (bright * x).sum() / bright.sum() == pytest.approx(x0, abs=0.15)
        assert (bright * y).sum() / bright.sum() == pytest.approx(y0, abs=0.15)


def test_a_channel_without_data_is_grey():
    blue, green, red = (np.full((2, 2), value, np.float32) for value in (1.0, 2.0, 3.0))
    red[0, 0] = np.nan
    planes = colour.channels([blue, green, red], 3)
    assert [plane[1, 1] for plane in planes] == [3, 2, 1]
    assert [plane[0, 0] for plane in planes] == [1.5, 2, 1]
    blue[0, 0] = green[0, 0] = np.nan
    picture = colour.lupton(colour.channels([blue, green, red], 3), 1.0)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[1, 1, 0] > picture[1, 1, 2]


def test_north_is_up_and_a_mosaic_lies_where_its_exposures_do():
    frame = Frame(100, 60, CENTER, (49.5, 29.5), ((-SCALE, 0.0), (0.0, SCALE)))
    corners = tuple(
        map(
            tuple,
            frame.wcs().all_pix2world([[-0.5, -0.5], [99.5, -0.5], [99.5, 59.5], [-0.5, 59.5]], 0),
        )
    )
    region = maps.Region("name", "F150W", 1.0, corners)
    (drawn,) = sky.draw_sky([region], [("F150W", "m", "m.webp", frame)])
    ((_, points),) = drawn.footprints["F150W"]
    outline = np.array([[float(v) for v in pair.split(",")] for pair in points.split()])
    ((_, _, _, nx, ny, matrix),) = drawn.pictures
    a, b, c, d, e, f = map(float, matrix.split())
    # the upper left corner of the picture is that of the highest Dec in the east
    assert [e, f] == pytest.approx(outline[3], abs=0.1)
    assert [a * nx + e, b * nx + f] == pytest.approx(outline[2], abs=0.1)
    assert [c * ny + e, d * ny + f] == pytest.approx(outline[0], abs=0.1)
    assert f < outline[0, 1]
    assert drawn.bar == 0.5 or drawn.bar == 1
    (foot,) = sky.footprints_on(frame, [region])
    assert foot["p"] == [0, 60, 100, 60, 100, 0, 0, 0]
    far = maps.Region("far", "F150W", 1.0, tuple(square(dx=2.0)))
    assert len(sky.draw_sky([region, far], [])) == 2
    assert sky.footprints_on(frame, [far]) == []


def test_a_footprint_that_is_none():
    for text in (
        "",
        "CIRCLE 1 2 3",
        "POLYGON ICRS 1 2 3",
        "POLYGON ICRS a b c d e f",
        "POLYGON ICRS 1 2 3 4 5 nan",
    ):
        assert sky.corners_of(text) == ()
    assert sky.corners_of("POLYGON ICRS 1 2 3 4 5 6") == ((1, 2), (3, 4), (5, 6))


def test_what_the_page_knows(folder):
    data = embedded(folder)
    names = [picture["name"] for picture in data["pictures"]]
    assert names == ["field.colour", "field_f150w", "field_f200w", "field_f277w"]
    assert len(data["frames"]) == 2
    assert {foot["f"] for foot in data["frames"][0]["feet"]} == {"F150W", "F277W"}
    for picture in data["pictures"][1:]:
        assert 25 < picture["depth"]["low"] < picture["depth"]["high"] < 32
        assert picture["time"]["low"] >= 10
        assert (folder / "report" / picture["base"] / "depth.png").exists()
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Sky map around RA 214.9" in text
    assert 'alt="map of field_f150w: depth' in text


def test_only_pictures_of_what_changed_are_made_again(folder):
    pictures = folder / "report" / "mosaics"

    def times():
        return {path.name: path.stat().st_ctime_ns for path in pictures.iterdir() if path.is_dir()}

    def draw():
        return draw_mosaics(read_survey(folder), folder / "report", 1)

    before = times()
    assert set(before) == {"field.colour", "field_f150w", "field_f200w", "field_f277w"}
    draw()
    assert times() == before
    make_mosaic(folder / "mosaics" / "field_f200w_i2d.fits", "F200W", seed=4)
    (folder / "mosaics" / "other_f150w_i2d.fits").write_bytes(b"damaged")
    assert main(["report", str(folder), "--cores", "1"]) == 0
    changed = {name for name, time in times().items() if time != before.get(name)}
    assert changed == {"field.colour", "field_f200w"}
    assert "the file cannot be read" in (folder / "report" / "index.html").read_text()
    (folder / "mosaics" / "other_f150w_i2d.fits").unlink()
    (folder / "mosaics" / "field_f200w_i2d.fits").rename(folder / "f200w.kept")
    draw()
    assert set(times()) == {"field_f150w", "field_f277w"}
    (folder / "f200w.kept").rename(folder / "mosaics" / "field_f200w_i2d.fits")
    draw()
    assert set(times()) == set(before)


def test_the_comparison_with_the_truth_is_part_of_the_report(folder):
    (folder / "p.png").write_bytes(b"\x89PNG")
    checks = [
        Check("A", "<b>bold</b>", "1 ± 2", "0", "below 3", True),
        Check("A", "other", "9", "0", "below 3", False),
        Check("A", "third", "9", "0"),
    ]
    picture = Picture("Heading", "caption", str(folder / "p.png"))
    write_truth(
        folder,
        Truth("Title", "Intro", [Part("Part", "About <it>", checks, [picture])], {"seed": "1"}),
    )
    try:
        assert main(["report", str(folder), "--cores", "1"]) == 0
        html = (folder / "report" / "index.html").read_text()
    finally:
        (folder / "truth.json").unlink()
    assert "<h1>Title</h1>" in html
    assert "&lt;b&gt;bold" in html
    assert "<b>bold" not in html
    assert "About &lt;it&gt;" in html
    assert html.count(">reached<") == 1
    assert html.count(">missed<") == 1
    assert "1 of 2 goals reached" in html
    assert 'src="truth/p.png"' in html
    assert (folder / "report" / "truth" / "p.png").read_bytes() == b"\x89PNG"


# -- in a browser


def looks(browser):
    """Return the picture that the viewer shows, as greys."""
    png = find(browser, "#view").screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)


def set_width(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def test_zoom_footprints_and_maps(folder, browser):
    browser.get_log("browser")
    requests(browser)
    set_width(browser, 1000)
    browser.get((folder / "report" / "index.html").as_uri())
    view = find(browser, "#view")

    def state(name):
        return view.get_attribute(f"data-{name}")

    def settled():
        # a new size is seen in the frame after the next
        browser.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )
        wait_for(lambda: view.get_attribute("aria-busy") == "false")

    def press(keys):
        view.send_keys(keys)
        settled()

    settled()
    assert state("picture") == "field.colour"
    assert "Arrow keys move" in view.get_attribute("aria-label")
    # one step to the next mosaic, at full size, and to the star with the keys
    browser.execute_script("arguments[0].focus()", view)
    press("]1")
    assert state("picture") == "field_f150w"
    assert (state("scale"), state("level")) == ("1", "0")
    frame = embedded(folder)["frames"][0]
    x, y = WCS(make_header(640, 560)).all_world2pix(*STAR, 0)
    seen = looks(browser)
    middle = np.array(seen.shape) / 2
    offset = np.array([frame["ny"] / 2 - (y + 0.5), (x + 0.5) - frame["nx"] / 2])
    row, column = (middle + offset).round().astype(int)
    find(browser, "input[data-filter=F150W]").click()  # no footprints
    settled()
    seen = looks(browser)
    assert seen[row - 2 : row + 3, column - 2 : column + 3].mean() > 150
    assert seen[row - 40 : row - 20, column - 20 : column + 20].mean() < 100
    assert find(browser, "#view svg").get_property("childElementCount") == 0
    # zoomed in twice it is where it should be, and the place is said
    press("++")
    k = float(state("scale"))
    assert k == pytest.approx(2.25)
    row, column = (middle + k * (np.array([row, column]) - middle)).round().astype(int)
    seen = looks(browser)
    assert seen[row - 4 : row + 5, column - 4 : column + 5].mean() > 150
    assert "RA 214.90" in find(browser, "#said").get_attribute("textContent")
    # the same place on pixels of twice the size
    press("]]")
    assert state("picture") == "field_f277w"
    assert float(state("scale")) == pytest.approx(2 * k)
    assert looks(browser)[row - 4 : row + 5, column - 4 : column + 5].mean() > 150
    press("0")
    # all of it, also in a window that has become narrower; what is zoomed in stays
    for keys in ("", "+"):
        press(keys)
        before = float(state("scale"))
        for width in (400, 1000):
            set_width(browser, width)
            wait_for(lambda width=width: browser.execute_script("return innerWidth") == width)
            settled()
            across = float(state("scale")) * frame["nx"] / 2
            if keys:
                assert float(state("scale")) == before
            else:
                assert across <= view.size["width"]
        assert float(state("scale")) == before
    press("0")
    find(browser, "input[data-filter=F150W]").click()
    assert find(browser, "#view svg").get_property("childElementCount") == 2
    # a click lists the exposures there
    view.click()
    links = browser.find_elements("css selector", "#here a")
    assert [link.text for link in links] == [f"jw01345001001_0210{n}_00001_nrcb4" for n in (1, 2)]
    assert (folder / "report" / links[0].get_attribute("href").rpartition("report/")[2]).exists()
    # the button of a map shows it, with its legend
    find(browser, "button[data-picture=field_f150w][data-kind=depth]").click()
    settled()
    assert (state("picture"), state("kind")) == ("field_f150w", "depth")
    assert "mag AB" in find(browser, "#legend").text
    find(browser, "#closer").click()
    browser.execute_script(
        "const s = document.getElementById('sights'); s.value = '';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert not [
        i for i in browser.find_elements("css selector", ".skymap image") if i.is_displayed()
    ]
    # 40, 80 and 120 snowballs in 100 s each
    trends = browser.find_elements("css selector", ".trend[data-metric=snowballs] svg")
    said = [trend.get_attribute("aria-label") for trend in trends]
    assert said == [
        "Snowballs in 1000 s, against time: 400.0 to 1200; median 800.0 of 3",
        "Snowballs in 1000 s, by detector: 400.0 to 1200; NRCB4 median 800.0 of 3",
    ]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1000
    for image in browser.find_elements("css selector", "img"):
        assert image.get_attribute("alt")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    inside = (folder / "report").as_uri()
    asked = requests(browser)
    assert any(url.endswith(".jpg") for url in asked)
    assert [url for url in asked if not url.startswith((inside, "data:", "blob:"))] == []


@pytest.mark.parametrize("width", [1400, 420])
def test_the_first_page_fits_the_width(folder, browser, width):
    set_width(browser, width)
    browser.get((folder / "report" / "index.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert find(browser, "#view").size["width"] > 0.85 * min(width, 1376)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_trends_are_those_that_can_be_drawn():
    facts = {"EXPSTART": "59751.5", "EFFEXPTM": "944.8"}
    whole = Exposure("jw01345001001_02101_00001_nrcb4", facts, {"sky": 0.2, "snowballs": 40.0})
    found = [(trend.metric, trend.by) for trend in find_trends([whole])]
    timed = [("sky", "time"), ("snowballs", "time"), ("snowballs", "detector")]
    assert found == [("sky", "visit"), *timed]
    whole.facts = {"EXPSTART": "soon", "EFFEXPTM": "0"}
    assert [(trend.metric, trend.by) for trend in find_trends([whole])] == [("sky", "visit")]
    assert find_trends([Exposure("jw01345001001_02101_00001_nrcb4", facts)]) == []


def test_text_of_headers_is_shown_as_text(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    name = "jw01345001001_02101_00001_nrcb4"
    make_exposure(tmp_path / f"{name}_cal.fits", evil, square())
    assert main(["report", str(tmp_path), "--cores", "1"]) == 0
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8").lower()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_footprints_and_filters_are_read(folder):
    survey = read_survey(folder)
    assert [exposure.filter for exposure in survey.exposures] == ["F150W", "F150W", "F277W"]
    assert all(len(sky.corners_of(each.sky_region)) == 4 for each in survey.exposures)
    assert {exposure.visit for exposure in survey.exposures} == {"01345001001"}
