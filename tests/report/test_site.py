"""Reports of surveys: what is found, what is made again, what a browser shows and exports."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from ceers_steps.cli import main
from ceers_steps.errors import CeersError
from ceers_steps.files.metrics import METRICS, metrics_of
from ceers_steps.files.overrides import read_overrides
from ceers_steps.report.survey_data import read_survey
from tests.report.browsing import find, requests, wait_for
from tests.survey.madeup import finish, make_exposures, make_plan

WISP = 0.9


def write_product(path, image, **cards):
    path.parent.mkdir(parents=True, exist_ok=True)
    primary = fits.PrimaryHDU()
    primary.header.update(cards)
    fits.HDUList([primary, fits.ImageHDU(image.astype(np.float32), name="SCI")]).writeto(path)


def finished_survey(folder):
    """Return the plan of a finished survey; one exposure has products, and something unusual."""
    plan = make_plan(folder / "a survey")
    finish(plan)
    task = next(t for t in plan.tasks.values() if t.stage == "exposure" and "nrcb4" in t.key)
    path = plan.record_path(task)
    record = json.loads(path.read_text())
    record["metrics"][task.key]["ceers_snowball"]["n_events"] = 400
    record["metrics"][task.key]["ceers_wispsub"] = {"scale": WISP, "scale_err": 0.01}
    path.write_text(json.dumps(record))
    random = np.random.default_rng(1)
    y, x = np.mgrid[:128, :128]
    wisp = 8 * np.exp(-((x - 90) ** 2 + (y - 40) ** 2) / 800)
    noise = random.normal(0, 1, (128, 128))
    for suffix, image in (("prewisp", noise + WISP * wisp), ("pre1f", noise), ("rate", noise)):
        write_product(
            plan.output / suffix / f"{task.key}_{suffix}.fits",
            image,
            PUPIL="<b>CLEAR",
            DETECTOR="NRCB4",
        )
    return plan, task.key


@pytest.fixture
def survey(tmp_path):
    """A survey to be changed, and its unusual exposure."""
    return finished_survey(tmp_path)


def report(plan):
    assert main(["report", str(plan.output), "--cores", "1"]) == 0
    return plan.output / "report" / "index.html"


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The first page of a report that no test changes, and the unusual exposure."""
    plan, name = finished_survey(tmp_path_factory.mktemp("reported"))
    return plan, name, report(plan)


def test_names_of_metrics_are_unique_and_taken_from_the_steps():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    found = metrics_of(
        {
            "ceers_snowball": {"n_events": 3},
            "ceers_wispsub": {"scale": [0.5, 0.7], "scale_err": float("nan")},
        }
    )
    assert found == {"snowballs": 3, "wisp_scale": pytest.approx(0.6)}


def test_tables_have_one_row_a_product(reported):
    plan, name, page = reported
    table = Table.read(page.parent / "metrics.ecsv")
    exposures = [task.key for task in plan.tasks.values() if task.stage == "exposure"]
    assert set(exposures) < set(table["product"])
    lines = (page.parent / "metrics.jsonl").read_text().splitlines()
    rows = {row["product"]: row for row in map(json.loads, lines)}
    assert rows[name]["snowballs"] == 400
    assert rows[name]["wisp_scale"] == WISP
    (row,) = table[table["product"] == name]
    assert row["snowballs"] == 400
    assert str(table["stripe_rms"].unit) == "DN / s"


def test_only_pages_of_what_changed_are_made_again(survey):
    plan, name = survey
    report(plan)
    pages = sorted((plan.output / "report" / "exposures").iterdir())
    before = {page: page.stat().st_mtime_ns for page in pages}
    report(plan)
    assert {page: page.stat().st_mtime_ns for page in pages} == before
    rate = plan.output / "rate" / f"{name}_rate.fits"
    os.utime(rate, (1, 1))
    report(plan)
    changed = [page.stem for page in pages if page.stat().st_mtime_ns != before[page]]
    assert changed == [name]


def test_text_of_headers_is_escaped(reported):
    _, name, page = reported
    text = (page.parent / "exposures" / f"{name}.html").read_text()
    assert "&lt;b&gt;CLEAR" in text
    assert "<b>CLEAR" not in text


def test_damaged_products_are_shown_as_such(survey):
    plan, name = survey
    for suffix in ("prewisp", "pre1f", "rate"):
        (plan.output / suffix / f"{name}_{suffix}.fits").write_bytes(b"damaged")
    page = report(plan)
    assert "product damaged" in page.read_text()
    assert "No picture" in (page.parent / "exposures" / f"{name}.html").read_text()


def test_a_folder_without_a_survey_is_refused(tmp_path, capsys):
    with pytest.raises(CeersError, match="no products and no records"):
        read_survey(tmp_path)
    assert main(["report", str(tmp_path)]) == 1
    assert "ceers reduce" in capsys.readouterr().err
    packed = tmp_path / "x_cal.fits.gz"
    packed.touch()
    for path, reason in ((tmp_path, "1 packed"), (packed, "no folder"), ("nowhere", "not exist")):
        with pytest.raises(CeersError, match=reason):
            read_survey(path)


def test_products_of_every_instrument_are_found(tmp_path):
    """Exposures of MIRI and NIRISS, too, and the mosaic of a single filter without background."""
    names = ["nrcb4", "nrcalong", "mirimage", "nis"]
    names = [f"jw01345002001_02142_00001_{name}" for name in names]
    for name in (*(f"{name}_cal" for name in names), "deep_f770w_i2d", "deep_f770w_bkgsub"):
        fits.PrimaryHDU().writeto(tmp_path / f"{name}.fits")
    found = read_survey(tmp_path)
    assert {each.name: set(each.products) for each in found.exposures} == {
        name: {"cal"} for name in names
    }
    (mosaic,) = found.mosaics
    assert mosaic.path.name == "deep_f770w_bkgsub.fits"
    assert set(mosaic.products) == {"i2d", "bkgsub"}


def test_show_writes_a_picture(tmp_path, survey, capsys):
    plan, name = survey
    path = plan.output / "rate" / f"{name}_rate.fits"
    assert main(["show", str(path), "-o", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "No step of ceers_steps" in capsys.readouterr().out
    assert main(["show", str(path), "--extension", "NONE"]) == 1
    assert "--extension" in capsys.readouterr().err


def test_excluded_exposures_are_left_out_and_notes_change_nothing(tmp_path):
    exposures = make_exposures(tmp_path / "uncal")
    out, noted = exposures[0].name, exposures[1].name
    table = tmp_path / "overrides.csv"
    table.write_text(f"exposure,exclude,note\n{out},true,too many snowballs\n{noted},,a look\n")
    before = make_plan(tmp_path, exposures=exposures)
    plan = make_plan(tmp_path, exposures=exposures, overrides=table)
    assert f"exposure/{out}" not in plan.tasks
    assert [(each.name, each.reason) for each in plan.left_out] == [
        (out, f"column exclude of {table}: too many snowballs")
    ]
    assert any(out in note for note in plan.notes)
    assert not any(note.startswith("warning") for note in plan.notes)
    with table.open("a") as file:
        file.write("jw99999001001_02101_00001_nrca1,true,\n")
    (warning,) = [
        note
        for note in make_plan(tmp_path, exposures=exposures, overrides=table).notes
        if note.startswith("warning")
    ]
    assert warning.endswith(
        "1 row(s) of " + str(table) + " match no exposure: jw99999001001_02101_00001_nrca1"
    )
    task = f"exposure/{noted}"
    assert plan.tasks[task].settings == before.tasks[task].settings


# -- in a browser


def visible(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#exposures tbody tr')]"
        ".filter(row => !row.hidden).map(row => row.dataset.name)"
    )


def test_sort_filter_blink_review_and_export(survey, browser):
    plan, name = survey
    page = report(plan)
    browser.get_log("browser")
    requests(browser)
    browser.get(page.as_uri())
    everything = visible(browser)
    assert len(everything) == sum(task.stage == "exposure" for task in plan.tasks.values())

    # sorted by snowballs, falling: the unusual one first
    head = find(browser, "#exposures th[title='snowballs found'] button")
    head.click()
    head.click()
    assert visible(browser)[0] == name

    find(browser, "#only").click()
    marked = visible(browser)
    assert name in marked
    assert len(marked) < len(everything)
    find(browser, "#only").click()
    find(browser, "#search").send_keys("nrcb4")
    assert set(visible(browser)) == {each for each in everything if each.endswith("nrcb4")}

    find(browser, f"a[href$='{name}.html']").click()
    shown = [image.get_attribute("alt") for image in visible_frames(browser)]
    assert shown == ["rate"]
    find(browser, "#blink").click()
    wait_for(lambda: [i.get_attribute("alt") for i in visible_frames(browser)] == ["before wisps"])
    find(browser, "#blink").click()

    # the slider: at the scale that was fitted no wisp is left, at 0 all of it
    at = {}
    for scale in (0, WISP):
        browser.execute_script(
            "const s = document.getElementById('slider'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input'))",
            scale,
        )
        wait_for(
            lambda scale=scale: (
                float(find(browser, "#tried").get_attribute("data-drawn") or -1) == scale
            )
        )
        at[scale] = browser.execute_script(
            "const c = document.getElementById('tried');"
            "const d = (x, y) => c.getContext('2d').getImageData(x, y, 16, 16).data;"
            "const mean = a => a.reduce((s, v, i) => i % 4 ? s : s + v, 0) / (a.length / 4);"
            "return mean(d(82, 80)) - mean(d(8, 8))"  # rows count from the top
        )
    # means of 256 pixels of noise 1 of 20 in the stretch of 255: 0.8 each; JPEG as much
    noise = 255 / 20 / 16
    assert abs(at[WISP]) < 5 * 2 * noise
    assert at[0] > 40 * noise

    find(browser, "body").send_keys("x")
    find(browser, "[name=note]").send_keys('a "satellite"')
    find(browser, "[name=wisp_scale]").send_keys("0.75")
    browser.refresh()  # the state is kept
    assert find(browser, "[name=exclude]").is_selected()
    assert find(browser, "[name=wisp_scale]").get_attribute("value") == "0.75"
    find(browser, "body").send_keys("x")

    browser.get(page.as_uri())
    find(browser, "#export").click()
    exported = browser.downloads / "overrides.ecsv"
    wait_for(lambda: exported.exists() and exported.stat().st_size)
    assert read_overrides(exported) == {name: {"wisp_scale": 0.75, "note": 'a "satellite"'}}
    # what reduce does with it: this exposure and what follows
    again = make_plan(plan.output, overrides=exported)
    changed = [n for n, task in again.tasks.items() if task.settings != plan.tasks[n].settings]
    assert changed == [f"exposure/{name}"]

    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    folder = page.parent.as_uri()
    assert [
        url for url in requests(browser) if not url.startswith((folder, "data:", "blob:"))
    ] == []


def visible_frames(browser):
    return [
        image for image in browser.find_elements("css selector", ".frame") if image.is_displayed()
    ]


@pytest.mark.parametrize("width", [1400, 420])
def test_pages_fit_the_width(reported, browser, width):
    _, name, page = reported
    for path in (page, page.parent / "exposures" / f"{name}.html"):
        browser.get(Path(path).as_uri())
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_docs_list_every_metric_with_its_limits():
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    for metric in METRICS:
        start = f"| `{metric.name}` | {metric.unit} | `{metric.step}`: `{metric.key}` |"
        (line,) = [line for line in text.splitlines() if line.startswith(start)]
        for limit in (metric.least, metric.most):
            assert limit is None or f"{limit:g}" in line.split("|")[-2]
