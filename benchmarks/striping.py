"""1/f stripes: what each method leaves, what it takes of real light, what it costs.

    python benchmarks/striping.py [--size full] [--seeds 1 2] [--ours] [--output FILE]

Exposures simulated with the defaults of ``ceers simulate`` but without wisps, snowballs and
persistence, on three detectors with three read patterns, are taken through stage 1 of jwst up to
the ramp fit, where jwst's own correction works.  Each is cleaned twice: as it is, and with a
smooth galaxy added to the ramps (half-light radius 150 pixels, surface brightness there half the
noise of a pixel).  The same exposure, simulated without 1/f noise and without the step of the
reference pixels, tells the stripes of the rate image: 1/f noise as the reference pixels leave it,
and their own noise, which that step puts into the rows.  Ours is also run as in CeersDetector1,
where `jump_check` looks at the flags of the jump step first.  What the best linear estimate leaves
that knows spectra, light and sources (or the mask of the step) stands beside both.  The methods of
jwst take the first seed only, as they take most of the time.  snowblind 1.0.1 has no such
correction.
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
from striping_limit import stripe_limit
from striping_page import report

from ceers_steps.kernels.sources.tiers import RATE_TIERS, mask_sources
from ceers_steps.kernels.stripes.exposure import WIDEST_TIER
from ceers_steps.kernels.stripes.median import flatten, rough_stripes
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate
from ceers_steps.steps.inputs.readout import readout_layout
from ceers_steps.steps.jump_check import JumpCheckStep
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
    wide_blocks: list[float] = field(default_factory=list)
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
LIMITS = (
    "limit: spectra, light and sources known",
    "the same, as much returned to faint sources",
    "the same, with the mask of the step",
)
CHECKED = ", after `jump_check`"  # as in CeersDetector1
AFTER_CHECK = {f"{name}{CHECKED}": METHODS[name] for name in ("none", "`method='wiener'`")}


def through_the_jump_step(uncal):
    """Return the ramps that jwst's correction and the ramp fit start from."""
    return run_steps(uncal, TO_JUMP)


def without_refpix(uncal, flags):
    """Return the ramps with flags given, and without the noise of the reference pixels."""
    model = run_steps(uncal, [name for name in TO_JUMP if name not in ("refpix", "jump")])
    model.groupdq = flags.copy()
    return model


def run_steps(uncal, names):
    """Run steps of stage 1."""
    pipeline = Detector1Pipeline()
    model = pipeline.prepare_output(str(uncal), open_as_ramp=True)
    for name in names:
        model = getattr(pipeline, name).run(model)
    return model


def checked(ramp):
    """Return the ramps as `jump_check` leaves them."""
    return JumpCheckStep(parent=Detector1Pipeline()).process(ramp.copy())


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

    The level of blank sky, which no method can know, does not count.  NaN without sources.
    """
    if not bright.any():
        return np.nan
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


def measure_exposure(ramp, without_stripes, truth, scores, prepare=None):
    """Add what is measured of an exposure to the scores.

    Parameters
    ----------
    ramp : RampModel
        After the jump step.
    without_stripes : str
        The same exposure without 1/f noise, raw.
    truth : SimpleNamespace
        That of the simulator.
    scores : dict of str to Score
        Of the methods to run, and of `LIMITS`.
    prepare : callable, optional
        What is done to the ramps before any of the methods.
    """
    original, ramp = ramp, prepare(ramp) if prepare else ramp
    rate = fit_ramp(ramp)
    bare = fit_ramp(without_refpix(without_stripes, ramp.groupdq))
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
    tiers = mask_sources(flattened - rough, ~usable, RATE_TIERS)
    unmasked = usable & (tiers == 0)
    masked = ~usable | ((tiers & ~np.uint8(WIDEST_TIER)) > 0)

    galaxy = disc_galaxy(rate.data.shape, 0.5 * white, np.array(rate.data.shape) * 0.45) * flat
    with_galaxy = with_light(original, galaxy)
    with_galaxy = prepare(with_galaxy) if prepare else with_galaxy
    rate_with_galaxy = fit_ramp(with_galaxy)

    def add(score, name, result, seen):
        # flat-fielded, as the level that stripes have over the frame counts as sky
        images = result / flat, truth.rate / flat, white / flat
        for values, side in ((score.blocks, 16), (score.wide_blocks, 64)):
            noise = block_noise(*images, mask=~blank, block=side)
            values.append(noise.ratio)
        removed = rate.data - result
        measured = np.where(seen, removed - stripes, 0), source, bright & seen, blank & seen
        score.flux.append(flux_error(*measured))
        score.flux_chance.append(flux_chance(*measured))
        print(
            f"  {name}: {score.blocks[-1]:.3f} {score.wide_blocks[-1]:.3f} "
            f"{100 * score.flux[-1]:+.3f} +- {100 * score.flux_chance[-1]:.3f}%",
            flush=True,
        )

    for name, method in (METHODS | AFTER_CHECK).items():
        if name not in scores:
            continue
        score = scores[name]
        result, seconds = cleaned(method, ramp, rate)
        removed = rate.data - result
        other, megabytes = traced(method, with_galaxy, rate_with_galaxy)
        seen = usable & np.isfinite(removed) & np.isfinite(other)
        galaxy_removed = np.where(seen, rate_with_galaxy.data - other, 0)
        taken = absorbed_flux(galaxy_removed, galaxy, removed_without=np.where(seen, removed, 0))
        score.absorbed.append(taken.fraction)
        change = pedestal_change(rate.data, result, mask=~(unmasked & seen))
        score.pedestal.append(change.relative)
        score.seconds.append(seconds)
        score.megabytes.append(megabytes)
        add(score, name, result, seen)

    sigma = np.sqrt(rate.var_rnoise + np.median(rate.var_poisson[usable]))
    noise = np.where(usable, rate.data - truth.rate, 0), stripes
    best, returned = stripe_limit(*noise, ~blank, sigma, readout_layout(rate))
    _, behind_mask = stripe_limit(*noise, masked, sigma, readout_layout(rate))
    names = [name for name in scores if name.startswith(LIMITS)]
    for name, pattern in zip(names, (best, returned, behind_mask), strict=True):
        add(scores[name], name, rate.data - pattern, usable)


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "striping")
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ours", action="store_true", help="without the methods of jwst")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    names = [name for name in METHODS if not options.ours or "jwst" not in name]
    scores = {name: Score() for name in [*names, *LIMITS]}
    after_check = {f"{name}{CHECKED}": Score() for name in LIMITS}
    after_check = {name: Score() for name in AFTER_CHECK} | after_check
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
                    ramp = through_the_jump_step(exposure.uncal)
                    truth = read_truth(exposure.truth)
                    measure_exposure(ramp, bare.uncal, truth, measured)
                    measure_exposure(ramp, bare.uncal, truth, after_check, checked)
            # after each seed, as a run may be stopped
            text = report(scores | after_check, FRAMES, options, options.seeds[:number])
            write_page(options.output, text)


if __name__ == "__main__":
    main()
