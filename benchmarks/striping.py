"""1/f stripes: what each method leaves, what it takes of real light, what it costs.

    python benchmarks/striping.py [--size full] [--seeds 1 2] [--output FILE]
    python benchmarks/striping.py --tilted [--size full] [--seeds 1]

Exposures simulated with the defaults of ``ceers simulate`` but without wisps, snowballs and
persistence, on three detectors with three read patterns, are taken through stage 1 of jwst up to
the ramp fit, where jwst's own correction works.  Each is cleaned three times: as it is, with a
smooth galaxy added to the ramps (half-light radius 150 pixels, surface brightness there half the
noise of a pixel), and without its sources.  snowblind 1.0.1 has no such correction.

``--tilted`` adds stripes at 30 and 150 degrees to the rate image of the first frame, and tells how
much of them our two methods take, and what they take where there are none.
"""

import argparse
import logging
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jwst.clean_flicker_noise import CleanFlickerNoiseStep
from jwst.pipeline import Detector1Pipeline
from jwst.ramp_fitting import RampFitStep
from scipy import ndimage
from stdatamodels.jwst.datamodels import FlatModel, dqflags

from ceers_steps.kernels.sources.tiers import RATE_TIERS, mask_sources
from ceers_steps.kernels.stripes.median import flatten, rough_stripes
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate
from ceers_steps.steps.remstriping import RemStripingStep
from ceers_steps.validate.metrics import (
    absorbed_flux,
    block_noise,
    pedestal_change,
    pixel_noise,
)

FRAMES = (
    ("NRCB1", "F150W", "MEDIUM8", 9),
    ("NRCA2", "F200W", "BRIGHT2", 8),
    ("NRCALONG", "F356W", "DEEP8", 5),
)
TO_JUMP = (
    "group_scale",
    "dq_init",
    "saturation",
    "superbias",
    "refpix",
    "linearity",
    "dark_current",
    "jump",
)
ANGLES = (30.0, 150.0)
TILTED_CASES = ((0, 0.0), (1, 0.5), (4, 0.3), (12, 1.0))  # width (pixels), sigma
UNUSABLE = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["REFERENCE_PIXEL"]
HALF_LIGHT_RADIUS = 150.0  # pixels
SCALE_RADII = 1.678347  # half-light radius of an exponential disc, scale lengths


@dataclass
class Score:
    """What is measured of one method, one entry per exposure."""

    blocks: list[float] = field(default_factory=list)
    absorbed: list[float] = field(default_factory=list)
    flux: list[float] = field(default_factory=list)
    pedestal: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def fit_ramp(ramp):
    """Return the rate image."""
    return RampFitStep.call(ramp)[0]


def on_ramp(**parameters):
    """Return jwst's correction, which works on groups."""
    return lambda ramp, rate: fit_ramp(CleanFlickerNoiseStep.call(ramp, skip=False, **parameters))


def on_rate(**parameters):
    """Return our step, run as a pipeline does, which copies no model."""

    def clean(ramp, rate):
        step = RemStripingStep(parent=Detector1Pipeline(), save_mask=False, **parameters)
        return step.process(rate)

    return clean


METHODS = {
    "none": lambda ramp, rate: rate,
    "jwst `clean_flicker_noise`": on_ramp(),
    "jwst, `apply_flat_field`": on_ramp(apply_flat_field=True),
    "jwst, `fit_by_channel apply_flat_field`": on_ramp(fit_by_channel=True, apply_flat_field=True),
    "jwst, `autoparam`": on_ramp(autoparam=True),
    "published (`method='median'`, dr05)": on_rate(
        method="median", mask_threshold=0.8, pedestal="published", search_destriped=False
    ),
    "`method='median'`": on_rate(method="median"),
    "`method='wiener'`": on_rate(method="wiener"),
}


def through_the_jump_step(uncal):
    """Return the ramps that jwst's correction and the ramp fit start from."""
    pipeline = Detector1Pipeline()
    model = pipeline.prepare_output(str(uncal), open_as_ramp=True)
    for name in TO_JUMP:
        model = getattr(pipeline, name).run(model)
    return model


def disc_galaxy(shape, brightness, middle):
    """Return an exponential disc with the given surface brightness at its half-light radius."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    radius = np.hypot(y - middle[0], x - middle[1]) / HALF_LIGHT_RADIUS
    return (brightness * np.exp(SCALE_RADII * (1 - radius))).astype(np.float32)


def with_light(ramp, light):
    """Return the ramps with light (DN/s) added, from the first group on."""
    result = ramp.copy()
    times = np.arange(ramp.data.shape[1], dtype=np.float32) * ramp.meta.exposure.group_time
    result.data += times[:, None, None] * light
    return result


def flat_of(model):
    """Return the flat field of the exposure."""
    with FlatModel(RemStripingStep().get_reference_file(model, "flat")) as flat:
        return np.where(np.isfinite(flat.data), flat.data, 1).astype(np.float32)


def cleaned(method, ramp, rate):
    """Run a method on copies; return the rate image and the CPU time (s)."""
    ramp, rate = ramp.copy(), rate.copy()
    start = time.process_time()
    result = method(ramp, rate)
    return result.data, time.process_time() - start


def traced(method, ramp, rate):
    """Run a method on copies; return the rate image and the peak memory beyond them (MB)."""
    ramp, rate = ramp.copy(), rate.copy()
    tracemalloc.start()
    result = method(ramp, rate)
    megabytes = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return result.data, megabytes


def measure_exposure(exposure, scores):
    """Add what is measured of an exposure to the scores."""
    ramp = through_the_jump_step(exposure.uncal)
    rate = fit_ramp(ramp)
    truth = read_truth(exposure.truth)
    usable = np.isfinite(rate.data) & ((rate.dq & UNUSABLE) == 0)
    flat = flat_of(rate)
    sky = truth.sky * flat
    stripes = truth.stripe_rate.reshape(rate.data.shape)
    rest = rate.data - truth.rate - stripes
    white = pixel_noise(rest, mask=~usable)
    source = truth.rate - sky
    # hot pixels and what cosmic rays leave are not the business of any method here
    undisturbed = ~ndimage.binary_dilation(np.abs(rest) > 5 * white, iterations=2)
    blank = usable & undisturbed & (np.abs(source) < 0.1 * white)
    bright = usable & (source > 3 * white)

    flattened = flatten(rate.data, flat)
    rough = rough_stripes(flattened, ~usable, rate.meta.exposure.noutputs)
    unmasked = usable & (mask_sources(flattened - rough, ~usable, RATE_TIERS) == 0)

    galaxy = disc_galaxy(rate.data.shape, 0.5 * white, np.array(rate.data.shape) * 0.45) * flat
    with_galaxy, no_sources = with_light(ramp, galaxy), with_light(ramp, -source)
    rate_with_galaxy, rate_no_sources = fit_ramp(with_galaxy), fit_ramp(no_sources)

    for name, method in METHODS.items():
        score = scores.setdefault(name, Score())
        result, seconds = cleaned(method, ramp, rate)
        removed = [rate.data - result]
        other, megabytes = traced(method, with_galaxy, rate_with_galaxy)
        removed.append(rate_with_galaxy.data - other)
        other, _ = cleaned(method, no_sources, rate_no_sources)
        removed.append(rate_no_sources.data - other)
        seen = usable & np.isfinite(removed).all(axis=0)
        removed, galaxy_removed, noise_removed = (np.where(seen, each, 0) for each in removed)

        score.blocks.append(block_noise(result, truth.rate, white, mask=~blank).ratio)
        taken = absorbed_flux(galaxy_removed, galaxy, removed_without=removed)
        score.absorbed.append(taken.fraction)
        taken = absorbed_flux(
            removed, source, removed_without=noise_removed, aperture=bright & seen
        )
        score.flux.append(-taken.fraction)
        change = pedestal_change(rate.data, result, mask=~(unmasked & seen))
        score.pedestal.append(change.relative)
        score.seconds.append(seconds)
        score.megabytes.append(megabytes)
        print(
            f"  {name}: {score.blocks[-1]:.3f} {score.absorbed[-1]:+.4f} {seconds:.1f} s",
            flush=True,
        )


def tilted_lines(shape, angle, width, seed):
    """Return stripes of a direction: normal levels of variance 1 for lines of a width in pixels."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    radians = np.deg2rad(angle)
    number = np.floor((y * np.cos(radians) - x * np.sin(radians)) / width).astype(int)
    number -= number.min()
    return np.random.default_rng(seed).normal(size=number.max() + 1)[number]


def block_scatter(image, mask, size=16):
    """Return the standard deviation of block means, of blocks of which half is not masked."""
    ny, nx = (n // size * size for n in image.shape)
    used = ~mask[:ny, :nx].reshape(ny // size, size, -1, size)
    count = used.sum(axis=(1, 3))
    sums = np.sum(image[:ny, :nx].reshape(used.shape), axis=(1, 3), where=used)
    return np.std((sums / np.maximum(count, 1))[count > size**2 / 2])


def measure_tilted(exposure):
    """Return the lines of the table of tilted stripes."""
    rate = fit_ramp(through_the_jump_step(exposure.uncal))
    truth = read_truth(exposure.truth)
    usable = np.isfinite(rate.data) & ((rate.dq & UNUSABLE) == 0)
    flat = flat_of(rate)
    stripes = truth.stripe_rate.reshape(rate.data.shape)
    white = pixel_noise(rate.data - truth.rate - stripes, mask=~usable)
    source = truth.rate - truth.sky * flat
    blank = usable & (np.abs(source) < 0.1 * white)
    bright = usable & (source > 3 * white)
    lines = []
    for method in ("wiener", "median"):
        without, seconds = cleaned(on_rate(method=method), rate, rate)
        tilted = on_rate(method=method, tilted_angles=[*ANGLES])
        for width, strength in TILTED_CASES:
            pattern = np.zeros(rate.data.shape, np.float32)
            if width:
                for seed, angle in enumerate(ANGLES):
                    pattern += strength * white * tilted_lines(pattern.shape, angle, width, seed)
            striped = rate.copy()
            striped.data += pattern
            result, tilted_seconds = cleaned(tilted, striped, striped)
            left = result - without
            seen = blank & np.isfinite(left)
            left -= np.mean(left, where=seen)
            taken, rms = "", ""
            if width:
                centred = pattern - np.mean(pattern, where=seen)
                left_part = np.sum((left * centred)[seen]) / np.sum(centred[seen] ** 2)
                taken = f"{100 * (1 - left_part):.1f}%"
                rms = f"{100 * (1 - np.std(left[seen]) / np.std(pattern[seen])):.1f}%"
            flux = np.sum(left[bright & np.isfinite(left)]) / np.sum(source[bright])
            name = f"{width} pixels, {strength:g} sigma" if width else "none"
            lines.append(
                f"| `{method}` | {name} | {taken} | {rms} | {np.std(left[seen]) / white:.3f} | "
                f"{block_scatter(left, ~seen) / white:.3f} | {100 * flux:+.2f} | "
                f"{seconds:.1f}, {tilted_seconds:.1f} |"
            )
            print(lines[-1], flush=True)
    return lines


def report_tilted(lines, options):
    """Return the table of tilted stripes."""
    name, band, pattern, n_groups = FRAMES[0]
    return "\n".join(
        [
            "# Tilted striping",
            "",
            f"{options.size}, seed {options.seeds[0]}; {name} {band} {pattern} ({n_groups} groups)"
            ", stripes at 30 and 150 degrees added to the rate. Written by "
            "`python benchmarks/striping.py --tilted`.",
            "",
            "| method | stripes added | removed | less scatter | left (sigma) "
            "| left in 16-pixel blocks (sigma) | source flux (%) | CPU time (s) |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
            "",
            "All against the same frame, without these stripes, cleaned without `tilted_angles`. "
            "Stripes: a normal level for each line of the width given, in each of the two "
            "directions. Removed: 1 less the slope of what is left against what was added, in "
            "blank sky; less scatter: 1 less the standard deviation of what is left, the noise of "
            "the levels included, over that of what was added. Sigma: white noise of a pixel. "
            "Source flux: sum of what is left over that of the light, in pixels 3 sigma above the "
            "sky. "
            "Time: without and with `tilted_angles`.",
            "",
        ]
    )


def report(scores, frames, options):
    """Return the table."""
    lines = [
        "# Striping",
        "",
        f"{options.size}, seeds {', '.join(map(str, options.seeds))}; frames "
        + ", ".join(f"{name} {band} {pattern} ({n} groups)" for name, band, pattern, n in frames)
        + ". Written by `python benchmarks/striping.py`.",
        "",
        "| method | block noise, "
        + ", ".join(name for name, *_ in frames)
        + " | galaxy absorbed (%), mean and largest | source flux (%) | sky level (1e-4) |"
        " CPU time (s) | memory (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        per_frame = np.reshape(score.blocks, (len(options.seeds), len(frames))).mean(axis=0)
        absorbed = 100 * np.array(score.absorbed)
        cells = [
            " ".join(f"{ratio:.3f}" for ratio in per_frame),
            f"{absorbed.mean():+.1f}, {absorbed[np.abs(absorbed).argmax()]:+.1f}",
            f"{100 * np.max(np.abs(score.flux)):.3f}",
            f"{1e4 * np.max(np.abs(score.pedestal)):.1f}",
            f"{np.min(score.seconds):.1f}",
            f"{np.max(score.megabytes):.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Block noise: standard deviation of the means of 16 x 16 pixels of (rate - truth) in blank "
        "sky, over what white noise alone gives (1 is the limit of a method that knows the "
        "stripes; below 1, some of the white noise that looks like stripes went with them). "
        "Galaxy absorbed: of its light in the brightest pixels that hold 80% of it, from the "
        "difference of what was removed with and without it. Source flux: largest change of the "
        "total flux of pixels three sigma above the sky, from what was removed with the sources "
        "and without. Sky level: largest change of the mean outside the source mask. Time: the "
        "smallest, with the search for sources (ours) or the ramp fit (jwst). Memory: beyond the "
        "input.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tilted", action="store_true", help="tilted stripes, the first seed")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    name = "tilted_striping.md" if options.tilted else "striping.md"
    options.output = options.output or Path(__file__).parent / "results" / name
    logging.disable(logging.WARNING)
    scores = {}
    config = SimulationConfig().without("wisps", "snowballs", "persistence")
    frames = FRAMES
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds[:1] if options.tilted else options.seeds:
            for detector, band, pattern, n_groups in frames[:1] if options.tilted else frames:
                out = Path(folder) / f"{seed}_{detector}"
                (exposure,) = simulate(
                    out,
                    [detector],
                    [band],
                    dithers=1,
                    seed=seed,
                    size=options.size,
                    read_pattern=pattern,
                    n_groups=n_groups,
                    config=config,
                )
                with active(out):
                    if options.tilted:
                        lines = measure_tilted(exposure)
                    else:
                        measure_exposure(exposure, scores)
    text = report_tilted(lines, options) if options.tilted else report(scores, frames, options)
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)


if __name__ == "__main__":
    main()
