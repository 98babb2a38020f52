"""Background of mosaics: what it leaves under sources, takes of a large galaxy, and costs.

    python benchmarks/mosaic_background.py [--size 1600] [--seeds 1 2] [--output FILE]

Mosaics are made with GalSim: the sources of ``ceers simulate`` and correlated noise on a sky with a
gradient, steps between detectors, and random structure of 200 pixels.  Each is fitted with the
published parameters and with the defaults, with and without an exponential galaxy of half-light
radius 3".  Speed is compared with the published procedure (Bagley et al. 2023, section 3.3) written
with astropy and photutils on a piece of one megapixel; the large mosaic is run in a process of its
own, whose peak memory is read.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import galsim
import numpy as np
from astropy.convolution import Gaussian2DKernel, Ring2DKernel, convolve_fft
from astropy.stats import SigmaClip, biweight_location, biweight_scale
from photutils.background import Background2D, BiweightLocationBackground
from photutils.segmentation import detect_sources
from photutils.utils import circular_footprint
from scipy import ndimage

from ceers_steps.kernels.background import fit_background, fit_mesh
from ceers_steps.kernels.mosaic_mask import CORE, MOSAIC_TIERS, mask_mosaic
from ceers_steps.kernels.source_wings import measure_outskirts
from ceers_steps.simulate.config import SourceConfig
from ceers_steps.simulate.scene import make_catalog

NOISE = 0.0104  # MJy/sr: 5 sigma in an aperture of 0.2" is 28.9 AB
PIXEL = 0.03  # arcsec
STERADIAN = np.deg2rad(PIXEL / 3600) ** 2
LARGE = (4800, 10600)
STRUCTURE = (0.02, 0.1, 0.2)  # rms in units of the noise of a pixel
GALAXIES = ((19.0, 0.8), (20.0, 0.7), (20.0, 0.5))  # AB magnitude, axis ratio
GSPARAMS = galsim.GSParams(
    folding_threshold=2e-2, maxk_threshold=5e-3, kvalue_accuracy=1e-4, maximum_fft_size=16384
)


def surface_brightness(mag):
    """Sum over pixels of MJy/sr."""
    return 3631e-6 * 10 ** (-0.4 * mag) / STERADIAN


def draw(image, profile, flux, place, half):
    """Add a source."""
    x, y = place
    bounds = galsim.BoundsI(round(x) - half, round(x) + half, round(y) - half, round(y) + half)
    bounds &= image.bounds
    if bounds.isDefined():
        profile.withFlux(flux).drawImage(
            image=image[bounds],
            center=galsim.PositionD(x, y),
            scale=PIXEL,
            add_to_image=True,
            method="no_pixel",
        )


def draw_sources(size, seed):
    """Light of sources brighter and fainter than 24 AB."""
    psf = galsim.Add(
        [
            galsim.Gaussian(fwhm=0.055, flux=0.8),
            galsim.Moffat(beta=1.5, fwhm=0.14, trunc=10.0, flux=0.2),
        ]
    )
    catalog = make_catalog(214.9, 52.9, seed, SourceConfig(), radius=0.75 * size * PIXEL)
    images = [galsim.ImageF(size, size, xmin=0, ymin=0, init_value=0.0) for _ in range(2)]
    for row in catalog:
        x = size / 2 + (row["ra"] - 214.9) * np.cos(np.deg2rad(52.9)) * 3600 / PIXEL
        y = size / 2 + (row["dec"] - 52.9) * 3600 / PIXEL
        flux = surface_brightness(row["mag"])
        if row["star"]:
            profile, half = psf, int(np.clip(np.cbrt(5e3 * flux), 30, 700))
        else:
            index, radius = round(float(row["sersic_index"]), 1), float(row["half_light_radius"])
            profile = galsim.Sersic(n=index, half_light_radius=radius, gsparams=GSPARAMS)
            angle = float(row["position_angle"]) * galsim.degrees
            profile = profile.shear(q=float(row["axis_ratio"]), beta=angle)
            if radius < 40 * PIXEL:
                profile = galsim.Convolve(profile, psf, gsparams=GSPARAMS)
            middle = max(flux / (2 * np.pi * (radius / PIXEL) ** 2 * index) / 1e-5, 1.0)
            fade = max(1 + np.log(middle) / (2 * index - 1 / 3), 1.0) ** index
            half = int(np.clip(radius / PIXEL * fade + 10, 20, 1200))
        draw(images[int(row["mag"] >= 24)], profile, flux, (x, y), half)
    return images[0].array, images[1].array


def draw_galaxy(size, mag, ratio, place):
    """An exponential galaxy of half-light radius 3 arcsec."""
    image = galsim.ImageF(size, size, xmin=0, ymin=0, init_value=0.0)
    gsparams = galsim.GSParams(folding_threshold=1e-3, maximum_fft_size=16384)
    profile = galsim.Sersic(n=1, half_light_radius=3.0, gsparams=gsparams)
    draw(
        image,
        profile.shear(q=ratio, beta=30 * galsim.degrees),
        surface_brightness(mag),
        place,
        size,
    )
    return image.array


def make_sky(size, seed, structure):
    """Gradient, steps and random structure."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.normal(size=(size, size)), 80.0, mode="wrap")
    y, x = np.mgrid[:size, :size] / size
    sky = structure * rough / rough.std() + 0.3 * (x - 0.5) + 0.2 * (y - 0.5)
    sky += structure * (0.5 * (x > 1 / 3) - 0.35 * (y > 0.5))
    return (sky * NOISE).astype(np.float32)


def make_noise(shape, seed):
    """Noise of drizzled pixels, which share some of it with their neighbours."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, 0.45)
    return noise * np.float32(NOISE / noise.std())


def fit(image, method, n_threads=1):
    """Background and mask, as the step computes them."""
    border = ~np.isfinite(image)
    bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"], n_threads=n_threads)
    mask, core = (bits & ~CORE) > 0, (bits & CORE) > 0
    if method == "published":
        return fit_background(image, mask, box_size=10, filter_size=5), mask
    found = measure_outskirts(image, border, mask, core, n_threads=n_threads)
    mask |= found.mask[:]
    mesh = fit_mesh(
        found.subtract_from(image),
        mask,
        box_size=20,
        filter_size=5,
        fill="pyramid",
        n_threads=n_threads,
    )
    return mesh.rows(0, len(image)), mask


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
    """Rows of the table of accuracy."""
    rows = {}
    place = (size / 2, size / 2)
    y, x = np.mgrid[:size, :size]
    aperture = np.hypot(x - place[0], y - place[1]) < 300
    for seed in seeds:
        bright, faint = draw_sources(size, seed)
        noise = make_noise((size, size), seed + 10)
        for structure in STRUCTURE:
            sky = make_sky(size, seed, structure)
            image = sky + bright + faint + noise
            for method in ("published", "adaptive"):
                background, mask = fit(image, method)
                off = (background - sky) / NOISE
                blank = (bright + faint < 0.02 * NOISE) & ~mask
                row = [off[(faint > 0.5 * NOISE)].mean(), off[bright > 0.5 * NOISE].mean()]
                row += [off[blank].mean(), off[blank].std(), mask.mean()]
                for mag, ratio in GALAXIES:
                    galaxy = draw_galaxy(size, mag, ratio, place)
                    with_galaxy, _ = fit(image + galaxy, method)
                    row.append(np.sum((with_galaxy - sky)[aperture]) / galaxy.sum())
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


def report(rows, plain, ours, agreement, large, options):
    """Return the page."""
    lines = [
        "# Mosaic background",
        "",
        f"{options.size} x {options.size} pixels of 30 mas, seeds "
        f"{', '.join(map(str, options.seeds))}. "
        "Written by `python benchmarks/mosaic_background.py`.",
        "",
        "| sky structure | method | under sources fainter than 24 AB | under brighter | blank sky: "
        "mean, rms | masked | absorbed (%): 19, 20, 20 AB | mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (structure, method), values in rows.items():
        mean = values.mean(axis=0)
        lost = 100 * values[:, 5:]
        galaxies = ", ".join(f"{each:+.1f}" for each in lost.mean(axis=0))
        lines.append(
            f"| {structure} | {method} | {mean[0]:+.3f} | {mean[1]:+.3f} | {mean[2]:+.3f}, "
            f"{mean[3]:.3f} | {mean[4]:.2f} | {galaxies} | {lost.mean():+.1f} |"
        )
    lines += [
        "",
        "In units of the noise of a pixel: mean of (background - true sky). Sky structure: rms of "
        "a random pattern of 200 pixels, beside a gradient of 0.3. Absorbed: sum of (background - "
        'true sky) within 9" of a galaxy (exponential, half-light radius 3") over its flux; what '
        "the structure of the sky does under the mask counts too.",
        "",
        "| 1 megapixel | CPU time (s) |",
        "|---|---|",
        f"| published procedure, astropy and photutils | {plain:.1f} |",
        f"| `method='published'` | {ours['published']:.2f} |",
        f"| `method='adaptive'` | {ours['adaptive']:.2f} |",
        "",
        f"Backgrounds of the first two differ by {agreement:.4f} of the noise (rms).",
        "",
        large_line(large),
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1600, help="side of the mosaics, pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--large", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results/mosaic_background.md"
    )
    options = parser.parse_args()
    if options.large:
        run_large(*options.large)
        return
    large = large_mosaic()
    print("large", large, flush=True)
    piece = sum(draw_sources(1000, 1)) + make_noise((1000, 1000), 5)
    piece = piece.astype(np.float32)
    ours = {name: seconds(lambda n=name: fit(piece, n), 3) for name in ("published", "adaptive")}
    expected = []
    plain = seconds(lambda: expected.append(plain_procedure(piece)[0]))
    agreement = np.std(fit(piece, "published")[0] - expected[0]) / NOISE
    print("speed", ours, plain, agreement, flush=True)
    rows = quality(options.size, options.seeds)
    text = report(rows, plain, ours, agreement, large, options)
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)


if __name__ == "__main__":
    main()
