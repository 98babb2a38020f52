"""1/f stripes: what each method leaves, what it takes of real light, what it costs.

    python benchmarks/striping.py [--size full] [--seeds 1 2] [--ours] [--output FILE]

Exposures simulated with the defaults of ``ceers simulate`` but without wisps, snowballs and
persistence, on three detectors with three read patterns, are taken through stage 1 of jwst up to
the ramp fit, where jwst's own correction works.  Each is cleaned twice: as it is, and with a
smooth galaxy added to the ramps (half-light radius 150 pixels, surface brightness there half the
noise of a pixel).  The same exposure, simulated without 1/f noise, tells the stripes of the rate
image, as the reference pixels leave them.  The methods of jwst take the first seed only, as they
take most of the time.  snowblind 1.0.1 has no such correction.
"""

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
from results_page import options_of, write_page
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
UNUSABLE = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["REFERENCE_PIXEL"]
HALF_LIGHT_RADIUS = 150.0  # pixels
SCALE_RADII = 1.678347  # half-light radius of an exponential disc, scale lengths


@dataclass
class Score:
    """What is measured of one method, one entry per exposure."""

    blocks: list[float] = field(default_factory=list)
    absorbed: list[float] = field(default_factory=list)
    flux: list[float] = field(default_factory=list)
    flux_chance: list[float] = field(default_factory=list)
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


def through_the_jump_step(uncal, flags=None):
    """Return the ramps that jwst's correction and the ramp fit start from, or with flags given."""
    pipeline = Detector1Pipeline()
    model = pipeline.prepare_output(str(uncal), open_as_ramp=True)
    for name in TO_JUMP if flags is None else TO_JUMP[:-1]:
        model = getattr(pipeline, name).run(model)
    if flags is not None:
        model.groupdq = flags.copy()
    return model


def simulated(folder, frame, seed, size, *left_out):
    """Simulate one exposure, without some effects."""
    detector, band, pattern, n_groups = frame
    (exposure,) = simulate(
        folder,
        [detector],
        [band],
        dithers=1,
        seed=seed,
        size=size,
        read_pattern=pattern,
        n_groups=n_groups,
        config=SimulationConfig().without("wisps", "snowballs", "persistence", *left_out),
    )
    return exposure


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


def flux_error(error, source, bright, blank):
    """Return the change of the flux of sources by an error of what is subtracted (fraction).

    The level of blank sky, which no method can know, does not count.
    """
    level = np.mean(error[blank], dtype=float)
    return np.sum(level - error[bright], dtype=float) / np.sum(source[bright], dtype=float)


def flux_chance(error, source, bright, blank):
    """Return the same for sources that are not there: rms of the field in 23 other places."""
    ny, nx = error.shape
    changes = []
    for turned in (error, error[::-1], error[:, ::-1], error[::-1, ::-1]):
        for place in range(6):
            moved = np.roll(turned, (place * ny // 6, place * nx // 6), axis=(0, 1))
            changes.append(flux_error(moved, source, bright, blank))
    return np.sqrt(np.mean(np.square(changes[1:])))


def measure_exposure(exposure, without_stripes, scores):
    """Add what is measured of an exposure to the scores."""
    ramp = through_the_jump_step(exposure.uncal)
    rate = fit_ramp(ramp)
    bare = fit_ramp(through_the_jump_step(without_stripes.uncal, ramp.groupdq))
    truth = read_truth(exposure.truth)
    usable = np.isfinite(rate.data) & np.isfinite(bare.data) & ((rate.dq & UNUSABLE) == 0)
    flat = flat_of(rate)
    stripes = np.where(usable, rate.data - bare.data, 0)
    rest = bare.data - truth.rate
    white = pixel_noise(rest, mask=~usable)
    source = truth.rate - truth.sky * flat
    # hot pixels and what cosmic rays leave are not the business of any method here
    undisturbed = ~ndimage.binary_dilation(np.abs(rest) > 5 * white, iterations=2)
    blank = usable & undisturbed & (np.abs(source) < 0.1 * white)
    bright = usable & (source > 3 * white)

    flattened = flatten(rate.data, flat)
    rough = rough_stripes(flattened, ~usable, rate.meta.exposure.noutputs)
    unmasked = usable & (mask_sources(flattened - rough, ~usable, RATE_TIERS) == 0)

    galaxy = disc_galaxy(rate.data.shape, 0.5 * white, np.array(rate.data.shape) * 0.45) * flat
    with_galaxy = with_light(ramp, galaxy)
    rate_with_galaxy = fit_ramp(with_galaxy)

    for name, score in scores.items():
        method = METHODS[name]
        result, seconds = cleaned(method, ramp, rate)
        removed = rate.data - result
        other, megabytes = traced(method, with_galaxy, rate_with_galaxy)
        seen = usable & np.isfinite(removed) & np.isfinite(other)
        galaxy_removed = np.where(seen, rate_with_galaxy.data - other, 0)
        removed = np.where(seen, removed, 0)

        score.blocks.append(block_noise(result, truth.rate, white, mask=~blank).ratio)
        taken = absorbed_flux(galaxy_removed, galaxy, removed_without=removed)
        score.absorbed.append(taken.fraction)
        measured = np.where(seen, removed - stripes, 0), source, bright & seen, blank & seen
        score.flux.append(flux_error(*measured))
        score.flux_chance.append(flux_chance(*measured))
        change = pedestal_change(rate.data, result, mask=~(unmasked & seen))
        score.pedestal.append(change.relative)
        score.seconds.append(seconds)
        score.megabytes.append(megabytes)
        print(
            f"  {name}: {score.blocks[-1]:.3f} {score.absorbed[-1]:+.4f} "
            f"{100 * score.flux[-1]:+.3f} +- {100 * score.flux_chance[-1]:.3f}% {seconds:.1f} s",
            flush=True,
        )


def report(scores, frames, options, seeds):
    """Return the table."""
    lines = [
        "# Striping",
        "",
        f"{options.size}, seeds {', '.join(map(str, seeds))}; frames "
        + ", ".join(f"{name} {band} {pattern} ({n} groups)" for name, band, pattern, n in frames)
        + (
            ". Without the methods of jwst (`--ours`)."
            if options.ours
            else ". The methods of jwst, which take most of the time, on the first seed only."
        )
        + " Written by `python benchmarks/striping.py`.",
        "",
        "| method | block noise, "
        + ", ".join(name for name, *_ in frames)
        + " | galaxy absorbed (%), mean and largest | sky level (1e-4) |"
        " CPU time (s) | memory (MB) |",
        "|---|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        per_frame = np.reshape(score.blocks, (-1, len(frames))).mean(axis=0)
        absorbed = 100 * np.array(score.absorbed)
        cells = [
            " ".join(f"{ratio:.3f}" for ratio in per_frame),
            f"{absorbed.mean():+.1f}, {absorbed[np.abs(absorbed).argmax()]:+.1f}",
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
        "difference of what was removed with and without it. Sky level: largest change of the mean "
        "outside the source mask. Time: the smallest, with the search for sources (ours) or the "
        "ramp fit (jwst). Memory: beyond the input.",
        "",
        "Change of the flux of sources by what is left of the stripes, in percent, and what chance "
        "gives:",
        "",
        "| method | "
        + " | ".join(f"{name}, seed {seed}" for seed in seeds for name, *_ in frames)
        + " | rms |",
        "|---" * (len(frames) * len(seeds) + 2) + "|",
    ]
    for name, score in scores.items():
        flux, chance = 100 * np.array(score.flux), 100 * np.array(score.flux_chance)
        cells = [f"{a:+.3f} ± {b:.3f}" for a, b in zip(flux, chance, strict=True)]
        cells += [""] * (len(frames) * len(seeds) - len(cells))
        rms = f"{np.sqrt(np.mean(flux**2)):.3f}, {np.sqrt(np.mean(chance**2)):.3f} by chance"
        lines.append(f"| {name} | {' | '.join(cells)} | {rms} |")
    lines += [
        "",
        "All pixels three sigma above the sky, against the stripes that the same exposure has over "
        "one that was simulated without 1/f noise, with the same noise and flags; the level of "
        "blank sky does not count. Chance: rms of the same for the field put in 23 other places, "
        "where it has no part in what is left.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "striping")
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ours", action="store_true", help="without the methods of jwst")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    scores = {name: Score() for name in METHODS if not options.ours or "jwst" not in name}
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(options.seeds, start=1):
            measured = scores
            if number > 1:
                measured = {name: scores[name] for name in scores if "jwst" not in name}
            for frame in FRAMES:
                out = Path(folder) / f"{seed}_{frame[0]}"
                exposure = simulated(out, frame, seed, options.size)
                bare = simulated(out / "bare", frame, seed, options.size, "one_over_f")
                with active(out):
                    measure_exposure(exposure, bare, measured)
            # after each seed, as a run may be stopped
            text = report(scores, FRAMES, options, options.seeds[:number])
            write_page(options.output, text)


if __name__ == "__main__":
    main()
