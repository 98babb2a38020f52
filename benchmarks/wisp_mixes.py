"""Real wisps whose components vary: what is left over the wisp, by method.

    python benchmarks/wisp_mixes.py [--mixes 0 1] [--output benchmarks/results/wisp_mixes.md]

The frames of `wisps.py` (sources, sky gradient, flat, photon, read and 1/f noise, bad pixels) with
the real components of NRCB4 and NRCA3 in F150W of the package nmfwisp, in mixes that differ, with
and without a bright galaxy on the wisp.  All methods get the same frames and the true templates.
Ours and the published method find sources themselves; nmfwisp gets a mask of the true sources,
without the galaxy and with it.  What counts is the wisp that is left, in blocks of 16 x 16 pixels
where the wisp is, as rms in units of the white noise of a block.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from results_page import options_of, write_page
from scipy import ndimage
from stdatamodels.jwst.datamodels import ImageModel
from wisps import BAND, draw_galaxy, draw_noise, draw_sources, expose, sky_level

from ceers_steps.files.wisps.templates import find_templates, read_templates
from ceers_steps.kernels.wisps.fit import fit_wisp
from ceers_steps.kernels.wisps.published import (
    cold_source_mask,
    fit_wisp_published,
    published_box,
)
from ceers_steps.kernels.wisps.template import prepare_template
from ceers_steps.simulate.telescope.instrument import get_detector

DETECTORS = ("NRCB4", "NRCA3")
MIXES = ((1.0, 1.0, 1.0), (3.0, 0.5, 1.0), (0.5, 3.0, 0.5), (0.5, 0.5, 3.0), (2.0, 0.0, 0.0))
BLOCK = 16
SCENES = ("wisp", "wisp under a bright galaxy", "no wisp")


def subtracted_by_us(frame, templates, n_components):
    """Return the wisp that the default method subtracts, flat divided out."""
    image, err, bad, flat = frame[:4]
    template = prepare_template(templates.components[:n_components])
    fit = fit_wisp(image, err, bad, template, flat=flat)
    wisp = np.zeros(image.shape, np.float32)
    if fit.significance >= 5:
        wisp[template.box] = template.model(fit.scales)
    return wisp


def subtracted_as_published(frame, templates, detector):
    """Return the wisp that the published method subtracts, flat divided out."""
    image, err, bad, flat = frame[:4]
    image = image / flat
    mask = bad | cold_source_mask(image, err)
    first = templates.components[0]
    fit = fit_wisp_published(image, mask, first, published_box(detector, (0, 0), image.shape))
    return fit.scales[0] * first


def subtracted_by_nmfwisp(frame, mask, detector):
    """Return the wisp that nmfwisp subtracts, flat divided out."""
    from nmfwisp import fit_wisp as nmf_fit

    image, err, bad, flat = frame[:4]
    data = np.where(bad, np.nan, image / flat).astype(float)
    template = find_templates(detector, BAND.name, None)[0]
    with tempfile.TemporaryDirectory() as folder:
        # it looks for the filter in capitals, which only some file systems find in its package
        link = Path(folder) / template.parent.name / f"{detector.lower()}_{BAND.name}_wisp.fits.gz"
        link.parent.mkdir()
        link.symlink_to(template)
        wisp, _ = nmf_fit(data, (err / flat).astype(float), mask | bad, folder, detector, BAND.name)
    return wisp


def block_rms(left, where, white):
    """Return the rms of block means where the wisp is, over the white noise of a block."""
    shape = (2048 // BLOCK, BLOCK, 2048 // BLOCK, BLOCK)
    blocks = left.reshape(shape).mean(axis=(1, 3))
    inside = where.reshape(shape).mean(axis=(1, 3)) > 0.5
    # a level is no wisp: the sky is measured later
    return blocks[inside].std() * BLOCK / white


def methods(frame, masks, templates, detector):
    """Return ``{method: function}`` of the frame."""
    runs = {
        "ours, all components": lambda: subtracted_by_us(frame, templates, 9),
        "ours, first component": lambda: subtracted_by_us(frame, templates, 1),
        "published": lambda: subtracted_as_published(frame, templates, detector),
    }
    for name, mask in masks.items():
        runs[name] = lambda mask=mask: subtracted_by_nmfwisp(frame, mask, detector)
    return runs


def measure(detectors, mixes):
    """Return ``results[scene][method]``, a list of (residual, CPU s), and write as it goes."""
    results = {scene: {} for scene in SCENES}
    for name in detectors:
        number = DETECTORS.index(name)
        detector = get_detector(name)
        start = time.process_time()
        templates = read_templates(find_templates(name, BAND.name, None), ImageModel((2048, 2048)))
        print(f"{name}: templates read in {time.process_time() - start:.2f} s", flush=True)
        components = templates.components
        where = components.sum(axis=0) > 0.1 * np.quantile(components.sum(axis=0), 0.999)
        sky = sky_level(detector)
        field = draw_sources(detector, number)
        for i in mixes:
            mix = MIXES[i]
            rng = np.random.default_rng([7, number, i])
            parts = draw_noise(detector, rng)
            true = np.tensordot(np.float32(mix), components, axes=1)
            galaxy = draw_galaxy(detector, true, rng)
            for scene in SCENES[: 3 if i == 0 else 2]:
                wisp = 0 * true if scene == "no wisp" else true
                light = field + (galaxy if "galaxy" in scene else 0)
                image, err = expose(light + sky * parts[3] + wisp, parts)
                white = float(np.median(err))
                masks = {"nmfwisp, true source mask": light > 0.5 * white}
                if "galaxy" in scene:
                    masks["nmfwisp, galaxy not masked"] = field > 0.5 * white
                masks = {
                    key: ndimage.binary_dilation(mask, iterations=2) for key, mask in masks.items()
                }
                frame = (image, err, parts[4], parts[2])
                for method, run in methods(frame, masks, templates, name).items():
                    start = time.process_time()
                    found = run()
                    took = time.process_time() - start
                    left = block_rms(wisp - found, where, white)
                    results[scene].setdefault(method, []).append((left, took))
                    print(f"{name} {mix} {scene}: {method} {left:.2f} ({took:.2f} s)", flush=True)
    return results


def report(results, detectors, mixes):
    """Return the results as a Markdown table."""
    lines = [
        "# Wisps whose components vary",
        "",
        f"{len(mixes)} mixes of the three real components (nmfwisp) of {' and '.join(detectors)}, "
        f"{BAND.name}; wisp left in blocks of {BLOCK} x {BLOCK} pixels, rms in units of the white "
        "noise of a block, least to most. Written by `python benchmarks/wisp_mixes.py`.",
        "",
        "| scene | method | wisp left | CPU time (s) |",
        "|---|---|---|---|",
    ]
    for scene, methods in results.items():
        for method, values in methods.items():
            left, took = np.array(values).T
            lines.append(
                f"| {scene} | {method} | {left.min():.2f} to {left.max():.2f} | {took.min():.1f} |"
            )
    lines += ["", "Time includes sources and preparation of the template, not reading files.", ""]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "wisp_mixes")
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=DETECTORS)
    numbers = range(len(MIXES))
    parser.add_argument("--mixes", nargs="+", type=int, choices=numbers, default=numbers)
    options = parser.parse_args()
    text = report(measure(options.detectors, options.mixes), options.detectors, options.mixes)
    write_page(options.output, text)


if __name__ == "__main__":
    main()
