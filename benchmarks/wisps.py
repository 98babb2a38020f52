"""Accuracy and speed of the wisp scale, against the published method.

    python benchmarks/wisps.py [--seeds 20] [--output benchmarks/results/wisps.md]

Rate images with known wisps: sources drawn with GalSim through the distortion of the detector, sky
with a gradient, flat field, photon and read noise of a 9-group MEDIUM8 exposure, 1/f noise in
read-out order, bad pixels.  The templates that are fitted have the noise of an average of 30
exposures and a pedestal.  The four detectors with wisps take turns.
"""

import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from astropy.io import fits
from results_page import options_of, write_page
from scipy import ndimage
from stdatamodels.jwst.datamodels import FlatModel, ImageModel, dqflags

from ceers_steps.kernels.wisps.fit import fit_wisp
from ceers_steps.kernels.wisps.published import (
    cold_source_mask,
    fit_wisp_published,
    published_box,
)
from ceers_steps.kernels.wisps.template import prepare_template
from ceers_steps.simulate.detector.noise import one_over_f_frame
from ceers_steps.simulate.sky.scene import make_catalog, render_sources
from ceers_steps.simulate.sky.wisps import template_name, wisp_template
from ceers_steps.simulate.telescope.geometry import (
    ExposureWcs,
    Pointing,
    attitude_matrix,
    get_distortion,
)
from ceers_steps.simulate.telescope.instrument import (
    find_subarray,
    get_band,
    get_detector,
    zero_point,
)
from ceers_steps.steps.wispsub import WispSubStep

DETECTORS = ("NRCB4", "NRCA3", "NRCA4", "NRCB3")
BAND = get_band("F150W")
SCALE = 0.7
GAIN = 2.05  # e-/DN
READ_NOISE = 9.0  # e- per frame
N_GROUPS, N_FRAMES, GROUP_TIME = 9, 8, 107.4  # MEDIUM8
RAMP_TIME = (N_GROUPS - 1) * GROUP_TIME
SLOPE_FACTOR = np.sqrt(12 / (N_GROUPS * (N_GROUPS**2 - 1))) / GROUP_TIME  # rms of a slope, 1/s
TEMPLATE_EXPOSURES = 30


def pixel_error(rate):
    """Standard error of a pixel with this rate (DN/s)."""
    photons = 1.2 * rate * GAIN / RAMP_TIME
    return np.sqrt(photons + (READ_NOISE / np.sqrt(N_FRAMES) * SLOPE_FACTOR) ** 2) / GAIN


def sky_level(detector):
    """Typical sky in DN/s."""
    return BAND.sky / zero_point(detector, BAND)[0]


def draw_sources(detector, seed):
    """Draw a deep field in DN/s."""
    distortion = get_distortion(detector)
    at = distortion.to_v2v3(1023.5, 1023.5)
    wcs = ExposureWcs(distortion, Pointing(attitude_matrix(*at, 215.0, 52.9, 0.0)), *at)
    catalog = make_catalog(215.0, 52.9, seed, radius=60.0)
    return render_sources(catalog, wcs, detector, BAND, find_subarray(detector, "full")).image


def draw_galaxy(detector, template, rng):
    """Draw a bright galaxy (17.5 to 19 mag, half-light radius 30 to 70 pixels) on the wisp."""
    y, x = np.nonzero(template > 0.3 * template.max())
    place = rng.integers(len(y))
    photmjsr, area = zero_point(detector, BAND)
    flux = 3631e-6 * 10 ** (-0.4 * rng.uniform(17.5, 19.0)) / area / photmjsr
    radius, ratio, angle = rng.uniform(30, 70), rng.uniform(0.4, 1.0), rng.uniform(0, np.pi)
    dy, dx = np.mgrid[: template.shape[0], : template.shape[1]].astype(np.float32)
    dy, dx = dy - y[place], dx - x[place]
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / ratio
    profile = np.exp(-1.678 * np.hypot(along, across) / radius)
    return flux * profile / profile.sum()


def draw_noise(detector, rng, shape=(2048, 2048)):
    """Draw 1/f noise, white noise of unit variance, flat, relative sky and bad pixels."""
    stripes = one_over_f_frame(
        shape,
        n_outputs=4,
        fast_axis=detector.fast_axis,
        slow_axis=detector.slow_axis,
        rng=rng,
        amplitude=2.0 * SLOPE_FACTOR / np.sqrt(N_FRAMES) / GAIN,
    )
    white = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(rng.standard_normal((256, 256)), 12)
    smooth = ndimage.zoom(smooth / smooth.std(), 8, order=1)
    flat = 1 + 0.02 * smooth + 0.005 * rng.standard_normal(shape)
    y, x = np.mgrid[-1:1:2048j, -1:1:2048j]
    tilt = 1 + 0.02 * (rng.normal() * x + rng.normal() * y)
    bad = rng.random(shape) < 0.01
    bad[:4] = bad[-4:] = True
    bad[:, :4] = bad[:, -4:] = True
    return stripes - stripes.mean(), white, flat.astype(np.float32), tilt.astype(np.float32), bad


def expose(scene, parts):
    """Turn a scene (DN/s above the sky, sky as factor 1) into a rate image with errors."""
    stripes, white, flat, _, bad = parts
    rate = scene * flat
    err = pixel_error(np.maximum(rate, 0)).astype(np.float32)
    image = (rate + stripes + white * err).astype(np.float32)
    image[bad] = np.nan
    return image, err


def fit_ours(image, err, bad, flat, template, _):
    """Fit with the default method."""
    fit = fit_wisp(image, err, bad, prepare_template(template), flat=flat)
    return fit.scales[0], fit.scale_errs[0], fit.significance


def fit_published(image, err, bad, flat, template, detector):
    """Fit as published."""
    image = image / flat
    mask = bad | cold_source_mask(image, err)
    fit = fit_wisp_published(
        image, mask, template, published_box(detector.name, (0, 0), image.shape)
    )
    return fit.scales[0], np.nan, np.nan


METHODS = {"lsq": fit_ours, "published": fit_published}
SCENES = ("wisp", "wisp under a bright galaxy", "wisp 4 pixels off the template", "no wisp")


def measure(n_seeds):
    """Fit every scene with every method.

    Returns
    -------
    dict
        ``results[method][scene]``, array ``(n_seeds, 4)`` of scale, error, significance, CPU s.
    """
    results = {method: {scene: [] for scene in SCENES} for method in METHODS}
    templates = {}
    for seed in range(n_seeds):
        detector = get_detector(DETECTORS[seed % len(DETECTORS)])
        rng = np.random.default_rng([42, seed])
        true = wisp_template(detector, BAND, seed=1)
        sky = sky_level(detector)
        if detector.name not in templates:
            noise = pixel_error(sky) / np.sqrt(TEMPLATE_EXPOSURES)
            templates[detector.name] = (
                true + 0.02 * sky + noise * rng.standard_normal(true.shape, dtype=np.float32)
            )
        parts = draw_noise(detector, rng)
        field = draw_sources(detector, seed) + sky * parts[3]
        scenes = {
            "wisp": field + SCALE * true,
            "wisp under a bright galaxy": field + SCALE * true + draw_galaxy(detector, true, rng),
            "wisp 4 pixels off the template": field + SCALE * np.roll(true, (3, -3), (0, 1)),
            "no wisp": field,
        }
        for scene, rate in scenes.items():
            image, err = expose(rate, parts)
            for method, fit in METHODS.items():
                start = time.process_time()
                found = fit(image, err, parts[4], parts[2], templates[detector.name], detector)
                took = time.process_time() - start
                results[method][scene].append((*found, took))
            ours = results["lsq"][scene][-1]
            print(
                f"seed {seed} {detector.name} {scene}: lsq {ours[0]:.4f} +- {ours[1]:.4f} "
                f"({ours[2]:.1f} sigma, {ours[3]:.2f} s), published "
                f"{results['published'][scene][-1][0]:.2f}",
                flush=True,
            )
    return {m: {s: np.array(rows) for s, rows in by.items()} for m, by in results.items()}


def cost_of_the_step():
    """Return CPU time (s) and peak memory (bytes) of the step on a full frame, files included."""
    detector = get_detector("NRCB4")
    rng = np.random.default_rng(0)
    true = wisp_template(detector, BAND, seed=1)
    parts = draw_noise(detector, rng)
    image, err = expose(sky_level(detector) * parts[3] + SCALE * true, parts)
    dq = parts[4].astype(np.uint32) * dqflags.pixel["DO_NOT_USE"]
    rate = ImageModel(data=image, err=err, dq=dq)
    flat = FlatModel(data=parts[2], dq=np.zeros_like(dq))
    for model in (rate, flat):
        model.meta.instrument.name = "NIRCAM"
        model.meta.instrument.detector = detector.name
        model.meta.instrument.filter, model.meta.instrument.pupil = BAND.filter, BAND.pupil
        model.meta.exposure.type = "NRC_IMAGE"
        model.meta.subarray.xstart = model.meta.subarray.ystart = 1
    with tempfile.TemporaryDirectory() as folder:
        fits.writeto(Path(folder) / template_name(detector, BAND), true)
        flat.save(Path(folder) / "flat.fits")
        rate.meta.filename = "jw01345001001_02201_00001_nrcb4_rate.fits"
        keywords = {"template_dir": folder, "override_flat": str(Path(folder) / "flat.fits")}
        times = []
        for _ in range(4):
            copy = rate.copy()
            step = WispSubStep(parent=WispSubStep(), **keywords)  # in a pipeline nothing is copied
            start = time.process_time()
            step.process(copy)
            times.append(time.process_time() - start)
        copy = rate.copy()
        tracemalloc.start()
        step.process(copy)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return min(times), peak


def report(results, n_seeds, cost, min_significance=5.0):
    """Return the results as a Markdown table."""
    lines = [
        "# Wisp scale",
        "",
        f"{n_seeds} exposures, F150W, {', '.join(DETECTORS)} in turn, true scale {SCALE}; "
        "template noise of 30 exposures. Written by `python benchmarks/wisps.py`.",
        "",
        "| method | scene | bias (%) | rms error (%) | rms of error / quoted error | "
        "subtracted without a wisp | CPU time (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, scenes in results.items():
        for scene, rows in scenes.items():
            took = f"{rows[:, 3].min():.2f}"
            if scene == "no wisp":
                scored = np.isfinite(rows[:, 2])
                false = np.where(scored, rows[:, 2] >= min_significance, rows[:, 0] > 0).sum()
                lines.append(
                    f"| {method} | {scene} | | | | {false} of {len(rows)} "
                    f"(mean scale {rows[:, 0].mean():.3f}) | {took} |"
                )
                continue
            error = (rows[:, 0] - SCALE) / SCALE
            pull = np.sqrt(np.mean(((rows[:, 0] - SCALE) / rows[:, 1]) ** 2))
            lines.append(
                f"| {method} | {scene} | {100 * error.mean():.2f} | "
                f"{100 * np.sqrt(np.mean(error**2)):.2f} | "
                f"{f'{pull:.2f}' if np.isfinite(pull) else 'none quoted'} | | {took} |"
            )
    lines += [
        "",
        f"The whole step on a full frame of NRCB4, reading template and flat: {cost[0]:.2f} s "
        f"on one core, {cost[1] / 2**20:.0f} MiB at most beyond the rate image.",
        "",
        "snowblind 1.0.1 and jwst 3.0.0 have no wisp step. Time includes the preparation of the "
        "template (lsq) and the source mask (published), without reading files; smallest of all "
        "runs, one core.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "wisps")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    text = report(measure(options.seeds), options.seeds, cost_of_the_step())
    write_page(options.output, text)


if __name__ == "__main__":
    main()
