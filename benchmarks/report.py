"""The report of a survey as large as CEERS epoch 1: time, size, and how fast its page opens.

    python benchmarks/report.py --product DIR/NAME [--exposures 690] [--mosaics 28]

Products of 690 exposures and 28 mosaics of 44 million pixels would take 100 GB. Here every exposure
is a link to the products of one (--product, for example of the demo), the mosaics are links to one
for each filter, an image of noise and sources; metrics are made up.
"""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from results_page import options_of, write_page

from ceers_steps.report.site import LOOKS
from ceers_steps.report.survey_data import RECORDS
from ceers_steps.survey.running.machine import available_cores
from ceers_steps.survey.summary.report import write_report

FILTERS = ("f115w", "f150w", "f200w", "f277w", "f356w", "f410m", "f444w")
SHAPE = (4200, 10500)
"""Of a mosaic of one pointing of CEERS, pixels of 30 mas."""


def make_mosaics(folder, number):
    """Write one mosaic for each filter, and links to it for the other pointings."""
    random = np.random.default_rng(1)
    ny, nx = SHAPE
    image = random.normal(0, 0.003, SHAPE).astype(np.float32)
    for _ in range(20000):
        x, y = random.integers(20, nx - 20), random.integers(20, ny - 20)
        flux = 10 ** random.uniform(-2.5, 0)
        patch = np.mgrid[-8:9, -8:9]
        image[y - 8 : y + 9, x - 8 : x + 9] += flux * np.exp(-(patch**2).sum(axis=0) / 8)
    image[:, 4700:5800] = np.nan  # between the modules
    folder.mkdir(parents=True)
    for place in range(number):
        band, pointing = FILTERS[place % len(FILTERS)], place // len(FILTERS)
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
        header["CRVAL1"], header["CRVAL2"] = 214.9 + 0.08 * pointing, 52.85 + 0.05 * pointing
        header["CRPIX1"], header["CRPIX2"] = nx / 2, ny / 2
        header["CD1_1"], header["CD2_2"] = -0.03 / 3600, 0.03 / 3600
        header["PIXAR_SR"] = np.radians(0.03 / 3600) ** 2
        primary = fits.PrimaryHDU(header=fits.Header({"FILTER": band.upper(), "PUPIL": "CLEAR"}))
        path = folder / f"nircam{pointing + 1}_{band}_i2d.fits"
        if not pointing:
            fits.HDUList([primary, fits.ImageHDU(image, header, name="SCI")]).writeto(path)
        else:
            path.symlink_to(folder / f"nircam1_{band}_i2d.fits")


def make_exposures(folder, products, looks, number):
    """Link products and looks as those of exposures, and write records."""
    random = np.random.default_rng(2)
    records = folder / RECORDS / "exposure"
    records.mkdir(parents=True)
    for place in range(number):
        band = FILTERS[place % len(FILTERS)]
        long = band in FILTERS[3:]
        detector = f"nrc{'ab'[place % 2]}{'long' if long else 1 + place % 4}"
        visit, sequence, dither = 1 + place // 230, 2 + place // 60 % 8, 1 + place % 60
        name = f"jw01345{visit:03d}001_{sequence:02d}101_{dither:05d}_{detector}"
        for suffix, product in products.items():
            path = folder / suffix / f"{name}_{suffix}.fits"
            path.parent.mkdir(exist_ok=True)
            path.symlink_to(product)
        if looks:
            path = folder / LOOKS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(looks)
        metrics = {
            "ceers_snowball": {"n_events": int(random.poisson(40)), "added_fraction": 1e-3},
            "ceers_wispsub": {"scale": random.normal(0.9, 0.03), "scale_err": 0.01},
            "ceers_remstriping": {"stripe_rms": 0.0014 * random.normal(1, 0.05)},
            "ceers_skyvar": {"sky": random.normal(0.2, 0.004), "variance_factor": 1.1},
        }
        record = {
            "task": f"exposure/{name}",
            "metrics": {name: metrics},
            "seconds": 60.0,
            "peak_memory": 3e9,
        }
        (records / f"{name}.json").write_text(json.dumps(record))


def timed(folder, cores):
    """Write the report; return seconds by the clock and of CPU, of this process and its own."""
    clock, before = time.monotonic(), os.times()
    write_report(folder, cores)
    after = os.times()
    used = sum(after[:4]) - sum(before[:4])
    return time.monotonic() - clock, used


def open_page(page):
    """Return the seconds until the page has loaded in Chromium, and until its mosaic is drawn."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        chrome.get("about:blank")
        start = time.monotonic()
        chrome.get(page.resolve().as_uri())
        loaded = time.monotonic() - start
        script = "return (document.getElementById('view') || {dataset: {}}).dataset.waits"
        while chrome.execute_script(script) != "0":
            time.sleep(0.02)
        drawn = time.monotonic() - start
    finally:
        chrome.quit()
    return loaded, drawn


def size_of(folder):
    """Return the size of the files of a folder, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main():
    parser = options_of(__doc__, "report")
    parser.add_argument("--product", required=True, metavar="DIR/NAME", help="products NAME_*.fits")
    parser.add_argument("--looks", metavar="DIR", help="of that exposure: OUT/.ceers/looks/NAME")
    parser.add_argument("--exposures", type=int, default=690)
    parser.add_argument("--mosaics", type=int, default=28)
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--folder", help="keep everything there")
    options = parser.parse_args()
    given = Path(options.product).resolve()
    products = {
        suffix: path
        for suffix in ("prewisp", "pre1f", "rate", "cal")
        if (path := given.with_name(f"{given.name}_{suffix}.fits")).exists()
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch) / "survey"
        make_mosaics(folder / "mosaics", options.mosaics)
        looks = Path(options.looks).resolve() if options.looks else None
        make_exposures(folder, products, looks, options.exposures)
        clock, used = timed(folder, options.cores)
        again = timed(folder, options.cores)
        sizes = {name: size_of(folder / "report" / name) for name in ("exposures", "mosaics")}
        whole = size_of(folder / "report")
        loaded, drawn = open_page(folder / "report" / "index.html")
        page = (folder / "report" / "index.html").stat().st_size / 1e6
    used_files = ", ".join([*products, *["looks"] * bool(looks)])
    text = f"""# Report of a survey

{options.exposures} exposures (full frames: {used_files}) and {options.mosaics} mosaics
of {SHAPE[1]} x {SHAPE[0]} pixels, on {options.cores} core(s); made by `benchmarks/report.py`.

| | measured | goal |
|---|---|---|
| CPU time for everything, an exposure | {used / max(options.exposures, 1):.2f} s | 1 s |
| by the clock | {clock:.0f} s | |
| again, when nothing changed: CPU time | {again[1]:.1f} s | |
| folder | {whole:.0f} MB | 300 MB |
| of these exposures, mosaics | {sizes["exposures"]:.0f}, {sizes["mosaics"]:.0f} MB | |
| first page | {page:.2f} MB | |
| first page has loaded | {loaded:.2f} s | 2 s |
| its mosaic is drawn | {drawn:.2f} s | 2 s |
"""
    write_page(options.output, text)


if __name__ == "__main__":
    main()
