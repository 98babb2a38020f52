"""A survey of one folder with exposures of three instruments: a mosaic of each, and its fluxes."""

import html
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry

from ceers_steps.cli import main
from ceers_steps.files.headers.provenance import read_meta
from ceers_steps.files.metrics import refusals
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate
from ceers_steps.simulate.telescope.instrument import get_band, get_detector, zero_point
from ceers_steps.survey.planning.plan import read_plan
from ceers_steps.survey.running.task import main as do_task

pytest.importorskip("snakemake")

TARGET = (214.92, 52.87)
CONFIG = SimulationConfig().without("cosmic_rays", "snowballs", "one_over_f", "wisps", "pointing")
INSTRUMENTS = {
    # detector, filter, subarray, groups, exposures, magnitude of the brightest, pixel (arcsec)
    "NIRCAM": ("NRCB1", "F150W", "sub320", 4, 1, 18.0, 0.0307),
    "MIRI": ("MIRIMAGE", "F770W", "sub128", 20, 2, 16.0, 0.1108),
    "NIRISS": ("NIS", "F150W", "sub256", 4, 2, 17.0, 0.0656),
}
OURS = ("jump_check", "trapped_charge", "snowball", "wispsub", "remstriping")
RADIUS, RING = 0.6, (0.9, 1.2)
"""Of apertures and of the ring of sky around each, arcsec."""


def make_sources(brightest):
    """Stars and galaxies of 1.5 mag, 3.4 arcsec from each other."""
    rng = np.random.default_rng(4)
    y, x = np.indices((3, 3)).reshape(2, -1) - 1
    x, y = (3.4 * each + rng.uniform(-0.4, 0.4, 9) for each in (x, y))
    return Table(
        {
            "ra": TARGET[0] + x / 3600 / np.cos(np.deg2rad(TARGET[1])),
            "dec": TARGET[1] + y / 3600,
            "mag": brightest + rng.uniform(0, 1.5, 9),
            "half_light_radius": rng.uniform(0.05, 0.15, 9),
            "sersic_index": np.full(9, 1.0),
            "axis_ratio": rng.uniform(0.5, 1, 9),
            "position_angle": rng.uniform(0, 180, 9),
            "spectral_slope": np.zeros(9),
            "star": np.arange(9) % 2 == 0,
        }
    )


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """The exposures of all three instruments in one folder, reduced together."""
    folder = tmp_path_factory.mktemp("instruments")
    uncal, out = folder / "uncal", folder / "out"
    for number, values in enumerate(INSTRUMENTS.values(), 1):
        detector, band, size, n_groups, dithers, brightest, _ = values
        simulate(
            uncal,
            [detector],
            [band],
            dithers=dithers,
            size=size,
            n_groups=n_groups,
            config=CONFIG,
            catalog=make_sources(brightest),
            target=TARGET,
            aperture=f"{detector}_{size.upper()}" if detector == "NRCB1" else None,
            observation=number,
        )
    arguments = (str(uncal), "-o", str(out), "--pixel-scale", "0.06")
    with active(uncal), pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input association file contains path information")
        patch.chdir(folder)
        # in one process: each of the engine's would load jwst again
        assert main(["commands", *arguments]) == 0
        path = out / ".ceers" / "commands.json"
        codes = {name: do_task([str(path), name]) for name in read_plan(path).tasks}
        assert set(codes.values()) == {0}
        patch.chdir(folder)
        assert main(["reduce", *arguments]) == 0
    return SimpleNamespace(uncal=uncal, out=out)


def measure(image, x, y, scale):
    """Return the sums in apertures, less the sky in the ring around each, and its scatter."""
    places = np.column_stack([x, y])
    ring = CircularAnnulus(places, RING[0] / scale, RING[1] / scale).to_mask(method="center")
    skies = [mask.get_values(image) for mask in ring]
    levels = np.array([np.median(sky) for sky in skies])
    errors = [1.25 * np.std(sky) / np.sqrt(sky.size) for sky in skies]
    aperture = CircularAperture(places, RADIUS / scale)
    sums = np.asarray(aperture_photometry(image, aperture)["aperture_sum"])
    return sums - aperture.area * levels, aperture.area * np.array(errors)


def of_exposures(survey, name):
    """Compare the fluxes of sources in cal images with the truth.

    Return ratio and error of all, and by source the true flux in the aperture (uJy), its error in
    each exposure, and its place.
    """
    detector, _, _, _, _, _, scale = INSTRUMENTS[name]
    ratios, errors, sources = [], [], {}
    for path in sorted(survey.out.glob(f"**/*_{detector.lower()}_cal.fits")):
        truth = read_truth(
            survey.uncal / path.name.replace("_cal", "_truth").replace("fits", "asdf")
        )
        photmjsr, _ = zero_point(get_detector(detector), get_band(truth.exposure["filter"], name))
        size = truth.exposure["subarray"].lower()
        (flat,) = survey.uncal.glob(f"crds_cache/**/*_flat_{detector.lower()}_{size}.fits")
        light = truth.rate / fits.getdata(flat, 1)
        with fits.open(path) as hdus:
            image, err = (hdus[key].data.astype(float) / photmjsr for key in ("SCI", "ERR"))
            bad = ~np.isfinite(image) | (hdus["DQ"].data & 1 > 0)
        # what cannot be measured neither helps nor harms
        image[bad], err[bad] = light[bad], 0
        table, edge = truth.sources, (RING[1] + 0.1) / scale
        (ny, nx), x, y = image.shape, table["x"], table["y"]
        inside = (np.minimum(x, y) > edge) & (x < nx - 1 - edge) & (y < ny - 1 - edge)
        table, x, y = table[inside], x[inside], y[inside]
        flux, sky_error = measure(image - light, x, y, scale)
        true, _ = measure(light, x, y, scale)
        variance = aperture_photometry(
            err**2, CircularAperture(np.column_stack([x, y]), RADIUS / scale)
        )
        error = np.hypot(np.sqrt(np.asarray(variance["aperture_sum"])), sky_error)
        ratios.append(1 + flux / true)
        errors.append(error / true)
        # what is in the aperture of all light, in the unit of the catalogue
        unit = 3631e6 * 10 ** (-0.4 * table["mag"]) / table["flux"]
        for row, *found in zip(table, true * unit, error * unit, strict=True):
            place = (float(row["ra"]), float(row["dec"]))
            sources.setdefault(int(row["source"]), []).append((*found, *place))
    return np.concatenate(ratios), np.concatenate(errors), sources


def of_mosaic(path, sources):
    """Compare the fluxes in a mosaic (uJy) with the truth: ratio and error."""
    with fits.open(path) as hdus:
        header = hdus["SCI"].header
        image = np.nan_to_num(hdus["SCI"].data.astype(float))
    for key in [key for key in header if key.startswith(("DATE-", "MJD-", "OBSGEO"))]:
        del header[key]  # not of the image
    found = [np.array(each) for each in sources.values()]
    true = np.array([np.mean(each[:, 0]) for each in found])
    error = np.array([np.sqrt(np.sum(each[:, 1] ** 2)) / len(each) for each in found])
    x, y = WCS(header).world_to_pixel_values(*np.array([each[0, 2:] for each in found]).T)
    flux, _ = measure(image, x, y, 0.06)
    return flux * header["PIXAR_SR"] * 1e12 / true, error / true


def check(title, ratio, error, floor):
    """No source is off by more than its noise tells, and the mean is known well, and right."""
    error = np.hypot(error, floor)
    weight = error**-2
    mean, uncertainty = np.sum(ratio * weight) / weight.sum(), weight.sum() ** -0.5
    print(f"{title}: {len(ratio)} sources, {mean - 1:+.4f} +- {uncertainty:.4f}")
    assert np.abs((ratio - 1) / error).max() < 4.5
    assert uncertainty < 0.01
    assert abs(mean - 1) < 4 * uncertainty


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_each_instrument_has_its_mosaic(survey, name):
    """Cal, mosaic and mosaic without background have the fluxes that were simulated."""
    detector, band, _, _, dithers, _, _ = INSTRUMENTS[name]
    ratio, error, sources = of_exposures(survey, name)
    assert len(sources) >= 5
    check(f"{name} cal", ratio, error, 0.0)
    folders = [path for path in survey.out.glob("mosaics/*") if any(path.glob("*_i2d.fits"))]
    paths = [path for folder in folders for path in folder.glob("*.fits")]
    products = {
        path.stem.rpartition("_")[2]: path
        for path in paths
        if fits.getval(path, "INSTRUME") == name
    }
    assert set(products) == {"i2d", "bkgsub"}
    for suffix, path in products.items():
        assert f"_{band.lower()}_" in path.name
        # an aperture on pixels of 60 mas, which light is drizzled to
        check(f"{name} {suffix}", *of_mosaic(path, sources), 0.005)
    # a small frame full of bright sources may keep its background, which is said
    entry = read_meta(products["bkgsub"])["ceers_steps"]["ceers_mosaic_background"]
    refused = refusals({"": entry["metrics"]})
    assert entry["status"] == ("FAILED" if refused else "COMPLETE")
    page = (survey.out / "summary.html").read_text(encoding="utf-8")
    assert all(html.escape(text) in page for text in refused)
    cals = sorted(survey.out.glob(f"**/*_{detector.lower()}_cal.fits"))
    assert len(cals) == dithers
    done = {read_meta(cals[0])["cal_step"][f"ceers_{step}"] for step in OURS}
    assert done == ({"SKIPPED"} if name != "NIRCAM" else {"COMPLETE", "SKIPPED"})


@pytest.mark.slow
def test_summary_says_what_was_left_out(survey):
    text = (survey.out / "summary.html").read_text(encoding="utf-8")
    for name, values in INSTRUMENTS.items():
        note = (
            f"{values[4]} exposure(s) of {name}: {', '.join(OURS[:-1])} and {OURS[-1]} are SKIPPED"
        )
        assert (note in text) == (name != "NIRCAM")
    assert set(Table.read(survey.out / "summary.ecsv")["state"]) == {"done"}
    assert text.count("data:image/png;base64,") == 3
