"""Background of mosaics: what it leaves under sources, takes of a large galaxy, and costs.

    python benchmarks/mosaic_background.py [--size 1600] [--seeds 1 2 ...] [--output FILE]
    python benchmarks/mosaic_background.py --part accuracy|speed|large

Mosaics are made with GalSim: the sources of ``ceers simulate`` and correlated noise on a sky with a
gradient, steps between detectors, and random structure of 200 pixels.  Each is fitted with the
published parameters and with the defaults, with and without an exponential galaxy of half-light
radius 3".  What it loses is compared with the error of the best linear estimate, to which the
covariance of the sky is known.  Speed is compared with the published procedure (Bagley et al. 2023,
section 3.3) written with astropy and photutils on a piece of one megapixel; the large mosaic is run
in a process of its own, whose peak memory is read.  A part alone is printed, and written where a
file is named; the page is left as it is.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from astropy.convolution import Gaussian2DKernel, Ring2DKernel, convolve_fft
from astropy.stats import SigmaClip, biweight_location, biweight_scale
from mosaic_scenes import (
    BLUR,
    NOISE,
    PIXEL,
    ROUGHNESS,
    draw_galaxy,
    draw_sources,
    make_noise,
    make_sky,
)
from photutils.background import Background2D, BiweightLocationBackground
from photutils.segmentation import detect_sources
from photutils.utils import circular_footprint
from results_page import RESULTS, options_of, write_page
from scipy import linalg, ndimage

from ceers_steps.kernels.sources.mosaic_background import (
    BackgroundSettings,
    measure_mosaic_background,
)
from ceers_steps.kernels.sources.mosaic_tiers import CORE, MOSAIC_TIERS, mask_mosaic

LARGE = (4800, 10600)
STRUCTURE = (0.02, 0.1, 0.2)  # rms in units of the noise of a pixel
APERTURE = 300  # pixels
GALAXIES = ((19.0, 0.8), (20.0, 0.7), (20.0, 0.5))  # AB magnitude, axis ratio


def fit(image, method, n_threads=1, empty=None):
    """Background and mask, as the step computes them, and the background of an empty sky."""
    border = ~np.isfinite(image)
    bits = mask_mosaic(
        image,
        border,
        MOSAIC_TIERS["NIRCAM"],
        follow_borders=method != "published",
        n_threads=n_threads,
    )
    box = 10 if method == "published" else 20
    settings = BackgroundSettings(method=method, box_size=box, n_threads=n_threads)
    found = measure_mosaic_background(image, border, bits, settings=settings)
    mask = (found.bits & ~CORE) > 0
    fitted = found.mesh.rows(0, len(image))
    if empty is None:
        return fitted, mask, fitted
    # the same mask; nothing is found on an empty sky
    found = measure_mosaic_background(empty, border, found.bits.copy(), settings=settings)
    return fitted, mask, found.mesh.rows(0, len(image))


def smallest_error(size, structure, mag, ratio):
    """Errors (rms, part of its flux) of the sky within the aperture of a galaxy, at the best.

    Those of the best linear estimate from all pixels where the galaxy is fainter than 0.05 of the
    noise, and from all pixels if it is known to be an exponential of unknown flux and size. The
    covariance of the sky is known; gradient and level are not.
    """
    cell = 40
    n = size // cell
    y, x = (np.mgrid[:n, :n].reshape(2, -1) + 0.5) * cell
    variance = (structure**2) * np.exp(
        -((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / (4 * ROUGHNESS**2)
    )
    kernel = ndimage.gaussian_filter(np.pad([[1.0]], 8), BLUR)
    noise = 1.0 / np.sqrt(np.sum(kernel**2)) / cell

    def light(stretch):
        galaxy = draw_galaxy(size, mag, ratio, (size / 2, size / 2), stretch) / NOISE
        return galaxy.reshape(n, cell, n, cell).mean(axis=(1, 3)).ravel()

    galaxy, wider = light(1.0), light(1.02)
    sky_terms = [np.ones(n * n), x / size, y / size]
    weight = np.hypot(x - size / 2, y - size / 2) < APERTURE
    weight = weight / weight.sum()
    errors = []
    for terms, use in (
        (sky_terms, galaxy < 0.05),
        (
            [*sky_terms, galaxy / galaxy.max(), (wider - galaxy) / np.ptp(wider - galaxy)],
            galaxy > -1,
        ),
    ):
        terms = np.array(terms)
        target = np.append(terms[:3] @ weight, np.zeros(len(terms) - 3))
        factor = linalg.cho_factor(variance[np.ix_(use, use)] + noise**2 * np.eye(use.sum()))
        across = (variance @ weight)[use]
        solved, solved_terms = (linalg.cho_solve(factor, a) for a in (across, terms[:, use].T))
        rest = target - terms[:, use] @ solved
        error = weight @ variance @ weight - across @ solved
        error += rest @ np.linalg.solve(terms[:, use] @ solved_terms, rest)
        errors.append(np.sqrt(error) * np.pi * APERTURE**2 / (galaxy.sum() * cell**2))
    return errors


def plain_procedure(image):
    """The published procedure with astropy and photutils at full resolution."""
    clip = SigmaClip(sigma=3)
    mask = np.zeros(image.shape, bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"sigma_clip": clip, "bkg_estimator": BiweightLocationBackground()}
        wide = Background2D(image, 100, filter_size=3, exclude_percentile=90, **options).background
        bright = image > wide + 5 * biweight_scale(image - wide)
        filled = np.where(bright, biweight_location(image[~bright]), image)
        ring = ndimage.median_filter(filled, footprint=Ring2DKernel(80, 4).array)
        flat = image - ring
        scale = biweight_scale(flat)
        for tier in MOSAIC_TIERS["NIRCAM"].tiers:
            smooth = convolve_fft(flat, Gaussian2DKernel(tier.sigma), allow_huge=True)
            found = detect_sources(smooth, tier.nsigma * scale, tier.npixels)
            if found is not None:
                mask |= found.make_source_mask(footprint=circular_footprint(tier.growth))
        fitted = Background2D(
            image, 10, mask=mask, filter_size=5, exclude_percentile=90, **options
        ).background
    return fitted, mask


def quality(size, seeds):
    """Rows of the table of accuracy: the absorbed flux of each galaxy, and what of it is light."""
    rows = {}
    place = (size / 2, size / 2)
    y, x = np.mgrid[:size, :size]
    aperture = np.hypot(x - place[0], y - place[1]) < APERTURE
    galaxies = [draw_galaxy(size, mag, ratio, place) for mag, ratio in GALAXIES]
    for seed in seeds:
        bright, faint = draw_sources(size, seed)
        noise = make_noise((size, size), seed + 10)
        for structure in STRUCTURE:
            sky = make_sky(size, seed, structure)
            image = sky + bright + faint + noise
            for method in ("published", "adaptive"):
                background, mask, _ = fit(image, method)
                off = (background - sky) / NOISE
                blank = (bright + faint < 0.02 * NOISE) & ~mask
                row = [off[(faint > 0.5 * NOISE)].mean(), off[bright > 0.5 * NOISE].mean()]
                row += [off[blank].mean(), off[blank].std(), mask.mean()]
                for galaxy in galaxies:
                    fitted, _, empty = fit(image + galaxy, method, empty=sky + noise)
                    for other in (sky, empty):
                        difference = np.sum((fitted - other)[aperture], dtype=float)
                        row.append(difference / np.sum(galaxy, dtype=float))
                rows.setdefault((structure, method), []).append(row)
    return {key: np.array(values) for key, values in rows.items()}


def seconds(work, repeat=1):
    """Smallest CPU time."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def run_large(folder, how):
    """Run the step on one large mosaic, in memory or in strips; print seconds and peak memory."""
    from stdatamodels.jwst import datamodels

    from ceers_steps import MosaicBackgroundStep

    path = Path(folder) / "large_i2d.fits"
    if not path.exists():
        piece = draw_sources(1600, 1)
        repeats = tuple(-(-length // 1600) for length in LARGE)
        image = np.tile(piece[0] + piece[1], repeats)[: LARGE[0], : LARGE[1]] + make_noise(LARGE, 3)
        model = datamodels.ImageModel(image)
        for name in ("err", "wht", "var_rnoise", "var_poisson", "var_flat"):
            setattr(model, name, np.full(LARGE, NOISE, np.float32))
        model.con = np.ones((1, *LARGE), np.int32)
        model.meta.instrument.name = "NIRCAM"
        model.meta.cal_step.resample = "COMPLETE"
        info = {"crpix1": LARGE[1] / 2, "crpix2": LARGE[0] / 2, "crval1": 214.9, "crval2": 52.9}
        info |= {"cdelt1": PIXEL / 3600, "cdelt2": PIXEL / 3600, "cunit1": "deg", "cunit2": "deg"}
        info |= {"ctype1": "RA---TAN", "ctype2": "DEC--TAN"}
        info |= {"pc1_1": -1.0, "pc1_2": 0.0, "pc2_1": 0.0, "pc2_2": 1.0}
        for key, value in info.items():
            setattr(model.meta.wcsinfo, key, value)
        model.save(path)
        return
    wall, cpu = time.time(), time.process_time()
    MosaicBackgroundStep.call(
        str(path),
        save_results=True,
        output_dir=str(folder),
        n_threads=2,
        save_mask=False,
        in_memory=how == "memory",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"RESULT {time.time() - wall:.1f} {time.process_time() - cpu:.1f} {peak:.2f}")


def large_mosaic():
    """Wall and CPU seconds and peak memory (GiB) of the step, in memory and in strips.

    Each is run in a process of its own; the first only makes the mosaic.
    """
    import tempfile

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for how in ("make", "memory", "strips"):
            done = subprocess.run(
                [sys.executable, __file__, "--large", folder, how],
                capture_output=True,
                text=True,
                check=True,
            )
            for line in done.stdout.splitlines():
                if line.startswith("RESULT"):
                    results[how] = [float(value) for value in line.split()[1:]]
    return results


def large_line(large):
    """Return what the large mosaic took, as a sentence."""
    took = {
        how: f"{wall:.0f} s, {cpu:.0f} s of CPU time, peak memory {peak:.1f} GiB"
        for how, (wall, cpu, peak) in large.items()
    }
    return (
        f"The step (adaptive) on {LARGE[1]} x {LARGE[0]} pixels with seven planes, two threads, "
        f"with reading and writing: in memory {took['memory']}; in strips (`in_memory=False`) "
        f"{took['strips']}."
    )


def accuracy_tables(rows, errors, options):
    """Return the tables of accuracy as lines."""
    names = "; ".join(f"{mag:.0f} AB, axis ratio {ratio}" for mag, ratio in GALAXIES)
    lines = [
        f"{options.size} x {options.size} pixels of 30 mas, seeds "
        f"{', '.join(map(str, options.seeds))}. In units of the noise of a pixel: mean of "
        "(background - true sky), and its scatter from seed to seed. Sky structure: rms of a "
        "random pattern of 200 pixels, beside a gradient of 0.3.",
        "",
        "| sky structure | method | under sources fainter than 24 AB | under brighter | blank sky: "
        "mean, rms | masked |",
        "|---|---|---|---|---|---|",
    ]
    for (structure, method), values in rows.items():
        mean, spread = values.mean(axis=0), values.std(axis=0)
        lines.append(
            f"| {structure} | {method} | {mean[0]:+.3f} ± {spread[0]:.3f} | {mean[1]:+.3f} ± "
            f"{spread[1]:.3f} | {mean[2]:+.3f}, {mean[3]:.3f} | {mean[4]:.2f} |"
        )
    lines += [
        "",
        f'A galaxy (exponential, half-light radius 3"; {names}): sum of (background - true sky) '
        'within 9" over its flux, per cent. Light: the same, less what a sky without any source '
        "gives under the same mask; the rest is structure and noise of the sky under it.",
        "",
        "| sky structure | method | mean | rms | light: mean | light: rms |",
        "|---|---|---|---|---|---|",
    ]

    def listed(values, sign="+"):
        return ", ".join(f"{100 * each:{sign}.1f}" for each in values)

    for (structure, method), values in rows.items():
        total, light = values[:, 5::2], values[:, 6::2]
        cells = [listed(total.mean(axis=0)), listed(np.sqrt(np.mean(total**2, axis=0)), "")]
        cells += [listed(light.mean(axis=0)), listed(np.sqrt(np.mean(light**2, axis=0)), "")]
        lines.append(f"| {structure} | {method} | {' | '.join(cells)} |")
    lines += [
        "",
        "The smallest rms that any linear estimate can have, to which the covariance of the sky is "
        "known (without steps between detectors):",
        "",
        "| sky structure | from pixels where the galaxy is below 0.05 of the noise | from all, an "
        "exponential of unknown flux and size |",
        "|---|---|---|",
    ]
    for structure, values in errors.items():
        outside, known = zip(*values, strict=True)
        lines.append(f"| {structure} | {listed(outside, '')} | {listed(known, '')} |")
    return lines


def speed_table(plain, ours, agreement):
    """Return the table of times as lines."""
    return [
        "| 1 megapixel | CPU time (s) |",
        "|---|---|",
        f"| published procedure, astropy and photutils | {plain:.1f} |",
        f"| `method='published'` | {ours['published']:.2f} |",
        f"| `method='adaptive'` | {ours['adaptive']:.2f} |",
        "",
        f"Backgrounds of the first two differ by {agreement:.4f} of the noise (rms).",
    ]


def measure_speed():
    """CPU seconds of the published procedure and of both methods, and how far the first agree."""
    piece = sum(draw_sources(1000, 1)) + make_noise((1000, 1000), 5)
    piece = piece.astype(np.float32)
    ours = {name: seconds(lambda n=name: fit(piece, n), 3) for name in ("published", "adaptive")}
    expected = []
    plain = seconds(lambda: expected.append(plain_procedure(piece)[0]))
    agreement = np.std(fit(piece, "published")[0] - expected[0]) / NOISE
    return plain, ours, agreement


def measure_accuracy(options):
    """Tables of accuracy as lines."""
    errors = {
        structure: [smallest_error(options.size, structure, *galaxy) for galaxy in GALAXIES]
        for structure in STRUCTURE
    }
    return accuracy_tables(quality(options.size, options.seeds), errors, options)


def main():
    """Run the benchmark."""
    parts = {
        "accuracy": lambda: measure_accuracy(options),
        "speed": lambda: speed_table(*measure_speed()),
        "large": lambda: [large_line(large_mosaic())],
    }
    parser = options_of(__doc__, "mosaic_background")
    parser.add_argument("--size", type=int, default=1600, help="side of the mosaics, pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--part", choices=list(parts), help="print this part alone")
    parser.add_argument("--large", nargs=2, help=argparse.SUPPRESS)
    # a part alone leaves the page as it is
    parser.set_defaults(output=None)
    options = parser.parse_args()
    if options.large:
        run_large(*options.large)
        return
    title = ["# Mosaic background", "", "Written by `python benchmarks/mosaic_background.py`.", ""]
    if options.part:
        text = "\n".join([*title, *parts[options.part]()])
        if options.output is None:
            print(text)
        else:
            write_page(options.output, text)
        return
    lines = title
    for measure in parts.values():
        part = [*measure(), ""]
        print("\n".join(part), flush=True)
        lines += part
    write_page(options.output or RESULTS / "mosaic_background.md", "\n".join(lines))


if __name__ == "__main__":
    main()
