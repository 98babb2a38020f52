"""Snowballs: what each method flags, what it leaves in the rate, what it costs.

    python benchmarks/snowballs.py [--size full] [--seeds 1 2] [--output FILE]

Exposures simulated with the defaults of ``ceers simulate`` (snowballs with and without saturated
cores, elliptical, cut by the edges, falling between the frames of a group, charge spilling around
the cores in later groups; cosmic rays, 1/f noise, sources) are taken through the jump step of jwst
once, and each method then works on the same flags.
"""

import logging
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jwst.jump import JumpStep
from jwst.pipeline import Detector1Pipeline
from jwst.ramp_fitting import RampFitStep
from results_page import options_of, write_page
from scipy import ndimage
from snowblind import SnowblindStep
from stcal.jump.jump import flag_large_events
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.kernels.discs import disc
from ceers_steps.simulate import active, read_truth, simulate
from ceers_steps.steps.snowball import SnowballStep
from ceers_steps.validate.metrics import halo_bias, snowball_flags

JUMP, SATURATED = dqflags.group["JUMP_DET"], dqflags.group["SATURATED"]
UNUSABLE = JUMP | SATURATED | dqflags.group["DO_NOT_USE"]
BAD_PIXEL = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["REFERENCE_PIXEL"]
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
ANNULI = (0.25, 4.0)  # largest excess in any difference, sigma, of a pixel of a halo annulus
BLANK = 0.02  # the same of a pixel far from every event


@dataclass
class Score:
    """What is measured of one method, one entry per exposure."""

    recall: list[float] = field(default_factory=list)
    extra: list[float] = field(default_factory=list)
    bias: list[float] = field(default_factory=list)
    holes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


def expand_large_events(model, **parameters):
    """Do what the jump step does after the detection of jumps with expand_large_events."""
    settings = JumpStep()._setup_jump_data(model)
    for name, value in parameters.items():
        setattr(settings, name, value)
    groupdq, _ = flag_large_events(model.groupdq, JUMP, SATURATED, settings)
    model.groupdq = groupdq
    return model


def our_step(model, **parameters):
    """Run our step as a pipeline does, which copies no model; again, though it ran before."""
    return SnowballStep(parent=Detector1Pipeline(), force=True, **parameters).process(model)


METHODS = {
    "jump step alone": lambda model: model,
    "jwst, expand_large_events": expand_large_events,
    "jwst, sat_required_snowball=False": lambda model: expand_large_events(
        model, sat_required_snowball=False
    ),
    "snowblind": lambda model: SnowblindStep().process(model),
    "ceers_snowball, method='ceers'": lambda model: our_step(model, method="ceers"),
    "ceers_snowball, method='adaptive'": our_step,
}


def through_the_jump_step(uncal):
    """Return the ramps after the jump step and its time (s)."""
    pipeline = Detector1Pipeline()
    model = pipeline.prepare_output(str(uncal), open_as_ramp=True)
    for name in TO_JUMP:
        start = time.process_time()
        model = getattr(pipeline, name).run(model)
    return model, time.process_time() - start


def truth_of(truth, shape):
    """Return the largest excess of every pixel in sigma, and where it is above 1, per group."""
    contaminated = np.zeros(shape, dtype=bool)
    largest = np.zeros(shape[2:], dtype=np.float32)
    sigma = np.where(truth.difference_sigma > 0, truth.difference_sigma, np.inf)
    for i in range(shape[0]):
        for g in range(1, shape[1]):
            excess = truth.snowball_charge(i, g) / sigma
            contaminated[i, g] = excess > 1
            np.maximum(largest, excess, out=largest)
    return contaminated, largest


def measure_exposure(exposure, scores):
    """Add what is measured of an exposure to the scores.

    Returns the times of the jump step and of the published code (s), and the size of the ramp (MB).
    """
    model, seconds_to_jump = through_the_jump_step(exposure.uncal)
    truth = read_truth(exposure.truth)
    jumps, data = model.groupdq.copy(), model.data.copy()
    dead = (model.pixeldq & BAD_PIXEL) != 0
    contaminated, largest = truth_of(truth, jumps.shape)
    contaminated &= ~dead
    annuli = (largest > ANNULI[0]) & (largest < ANNULI[1])
    saturates = ((jumps & SATURATED) != 0).any(axis=(0, 1))
    n_lost = None
    for name, method in METHODS.items():
        score = scores.setdefault(name, Score())
        # traced apart, since tracing takes time, and only where memory is an aim
        for traced in (True, False) if name.startswith("ceers_snowball") else (False,):
            model.groupdq, model.data = jumps.copy(), data.copy()  # halos are subtracted
            model.meta.cal_step.instance.pop("ceers_snowball", None)
            if traced:
                tracemalloc.start()
            start = time.process_time()
            result = method(model)
            seconds = time.process_time() - start
            if traced:
                score.megabytes.append(tracemalloc.get_traced_memory()[1] / 2**20)
                tracemalloc.stop()
        score.seconds.append(seconds)
        flagged = (result.groupdq & UNUSABLE) != 0
        flags = snowball_flags(flagged, contaminated, excused=(jumps & UNUSABLE) != 0)
        score.recall.append(flags.recall)
        score.extra.append(flags.extra_area)
        model.groupdq, model.data = result.groupdq, result.data
        rate, _ = RampFitStep.call(model)
        lost = ~np.isfinite(rate.data) | ((rate.dq & dqflags.pixel["DO_NOT_USE"]) != 0)
        n_lost = lost if n_lost is None else n_lost
        score.holes.append(int((lost & ~n_lost).sum()))
        bias = halo_bias(
            rate.data,
            truth.rate,
            rate.err,
            annuli & ~saturates,
            mask=lost | dead,
            blank=largest < BLANK,
        )
        score.bias.append(bias.bias)
    megabytes = (model.data.nbytes + jumps.nbytes) / 2**20
    return seconds_to_jump, plain_filter_time(jumps), megabytes


def plain_filter_time(groupdq):
    """Time of the published code for one exposure (s), from a quarter of one group."""
    quarter = (groupdq[0, -1, :1024, :1024] & JUMP) != 0
    start = time.process_time()
    for detection, growth in ((7, 7), (15, 35)):
        for _ in range(2):
            found = ndimage.median_filter(quarter, footprint=disc(detection))
        if found.any():
            ndimage.binary_dilation(found, disc(growth))
    seconds = time.process_time() - start
    return seconds * groupdq[0].size * groupdq.shape[0] / quarter.size


def report(scores, times, n_events, options):
    """Return the table."""
    lines = [
        "# Snowballs",
        "",
        f"{len(options.seeds)} simulated exposures, NRCB4 F150W, {options.size}, MEDIUM8, "
        f"9 groups, {n_events} events. Written by `python benchmarks/snowballs.py`.",
        "",
        "| method | contaminated pixels flagged (%) | extra area flagged | "
        "rate bias in halo annuli (sigma) | pixels lost | CPU time (s) | memory (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        cells = [
            f"{100 * np.mean(score.recall):.1f}",
            f"{np.mean(score.extra):.2f}",
            f"{np.mean(score.bias):+.3f}",
            f"{np.mean(score.holes):.0f}",
            f"{np.min(score.seconds):.2f}",
            f"{np.max(score.megabytes):.0f}" if score.megabytes else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Contaminated: an event adds more than one sigma of a group difference, later groups "
        "included. Extra area: flags on other pixels, by the method, over the contaminated ones. "
        f"Halo annuli: pixels with a largest excess of {ANNULI[0]} to {ANNULI[1]} sigma in any "
        "group; the bias is the mean of (rate - truth) / error there, less that far from all "
        "events. Pixels lost: those without a rate that have one after the jump step alone. "
        "Time and peak memory are those beyond the jump step, on one core, the smallest and the "
        f"largest of all exposures; the jump step itself takes {times[0]:.0f} s, and its input is "
        f"{times[2]:.0f} MB. The published code, which sorts, takes about {times[1]:.0f} s for the "
        "flags of `method='ceers'`.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "snowballs")
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    scores, n_events = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            out = Path(folder) / str(seed)
            (exposure,) = simulate(
                out, ["NRCB4"], ["F150W"], dithers=1, seed=seed, size=options.size
            )
            with active(out):
                times = measure_exposure(exposure, scores)
            n_events += len(read_truth(exposure.truth).snowballs)
    text = report(scores, times, n_events, options)
    write_page(options.output, text)


if __name__ == "__main__":
    main()
