"""Jumps: false and missed ones, the rate of the pixels that lost groups, blank sky at the end.

    python benchmarks/jumps.py [--cases 1 2 3 4 5 6 7 8] [--size full] [--seed 30] [--output FILE]
                               [--methods ours ...]

Exposures simulated with the defaults of ``ceers simulate`` but without wisps, in several read
patterns and with weak, normal and strong 1/f noise, are taken through the jump step of jwst once.
Each method then works on the same flags; the snowball step, the ramp fit and the removal of the
stripes that follow are the same for all (jwst's own for stock). The halos of the simulator fall as
a power of the radius; two cases have other profiles, and more snowballs.
"""

import contextlib
import logging
import tempfile
import time
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
from jwst.jump import JumpStep
from jwst.pipeline import Detector1Pipeline
from results_page import options_of, write_page
from scipy import ndimage
from snowblind import SnowblindStep
from stcal.jump.jump import flag_large_events
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.kernels.stats import MAD_TO_SIGMA
from ceers_steps.pipelines.detector1 import CeersDetector1
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate
from ceers_steps.simulate.detector import deposits
from ceers_steps.steps.jump_check import correct_rate_errors

JUMP, SATURATED = dqflags.group["JUMP_DET"], dqflags.group["SATURATED"]
DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
TO_JUMP = ("group_scale", "dq_init", "saturation", "superbias", "refpix", "linearity")
TO_JUMP = (*TO_JUMP, "dark_current", "jump")


@dataclass(frozen=True)
class Case:
    """An exposure: 1/f noise and snowballs are given over the defaults of the simulator."""

    detector: str
    filter: str
    pattern: str
    n_groups: int
    one_over_f: float = 1.0
    snowballs: float = 1.0
    halo: str = "power law"


CASES = {
    1: Case("NRCB4", "F150W", "MEDIUM8", 9),
    2: Case("NRCA3", "F150W", "MEDIUM8", 9, one_over_f=2.5),
    3: Case("NRCB2", "F115W", "SHALLOW4", 8, one_over_f=0.4),
    4: Case("NRCA1", "F115W", "BRIGHT2", 8),
    5: Case("NRCBLONG", "F277W", "DEEP8", 6),
    6: Case("NRCB4", "F150W", "SHALLOW4", 5, snowballs=8),
    7: Case("NRCB4", "F150W", "MEDIUM8", 9, snowballs=8, halo="Moffat"),
    8: Case("NRCB3", "F200W", "MEDIUM8", 9, snowballs=8, halo="exponential"),
}

HALOS = {
    "power law": None,  # that of the simulator
    "Moffat": lambda u: (1.64 / (1 + 0.64 * u**2)) ** 2.5,
    "exponential": lambda u: np.exp((1 - u) / 0.45),
}
"""Profiles of snowball halos; u is the radius over that of the core, 1 at its edge."""


def with_halo(name):
    """Return a context in which the simulator draws halos of a profile."""
    profile, stock = HALOS[name], deposits.snowball_stamp
    if profile is None:
        return contextlib.nullcontext()

    def stamp(ball, shape):
        made = stock(replace(ball, halo_index=3.0), shape)
        if made is None:
            return None
        u = np.maximum(made.prompt / ball.halo_charge, 1e-9) ** (-1 / 3)
        return replace(made, prompt=np.where(u > 1, ball.halo_charge * profile(u), made.prompt))

    return mock.patch.object(deposits, "snowball_stamp", stamp)


UNHIT = 0.02  # charge of snowballs in any difference of a pixel far from them, sigma
NO_HIT = 0.2  # charge of cosmic rays of a difference without one, sigma
BLANK = 0.2  # light of sources in blank sky, sigma of the rate
BOUND = 8.0  # sigma; what is further off is not noise (hot pixels, missed hits)


def expand_large_events(model):
    """Do what the jump step does after the detection of jumps with expand_large_events."""
    model.groupdq, _ = flag_large_events(
        model.groupdq, JUMP, SATURATED, JumpStep()._setup_jump_data(model)
    )
    return model


def ours(halos=True, **parameters):
    """Return a function that runs our steps after the jump step."""

    def run(model):
        pipeline = CeersDetector1()
        for name, value in parameters.items():
            setattr(pipeline.jump_check, name, value)
        pipeline.snowball.subtract_halos = halos
        for step in (pipeline.jump_check, pipeline.snowball):
            if not step.skip:
                model = step.run(model)
        return model

    return run


METHODS = {
    "jwst, expand_large_events, clean_flicker_noise": expand_large_events,
    "snowblind, our stripes": lambda model: SnowblindStep().process(model),
    "ours without the check": ours(skip=True, halos=False),
    "ours, flags only": ours(subtract_stripes=False, halos=False),
    "ours without the halos": ours(halos=False),
    "ours": ours(),
}


@dataclass(frozen=True)
class Frame:
    """A simulated ramp after the jump step, and what is true of it."""

    model: object
    truth: object
    rays: np.ndarray  # charge of cosmic rays in every difference, sigma
    snowballs: np.ndarray  # the largest of any difference, sigma
    contaminated: np.ndarray  # snowballs give more than 1 sigma to a difference

    @classmethod
    def of(cls, exposure):
        """Run the steps up to the jump step."""
        pipeline = Detector1Pipeline()
        model = pipeline.prepare_output(str(exposure.uncal), open_as_ramp=True)
        for name in TO_JUMP:
            model = getattr(pipeline, name).run(model)
        truth = read_truth(exposure.truth)
        sigma = np.where(truth.difference_sigma > 0, truth.difference_sigma, np.inf)
        groups = range(1, model.data.shape[1])
        rays = np.stack([truth.cosmic_ray_charge(0, g) / sigma for g in groups])
        balls = np.stack([truth.snowball_charge(0, g) / sigma for g in groups])
        return cls(model, truth, rays.astype(np.float32), balls.max(axis=0), balls > 1)

    def blank(self, sigma):
        """Return the pixels without sources, given the noise of the rate."""
        ny, nx = self.truth.rate.shape
        y, x = (np.indices((ny, nx)) / np.reshape((ny, nx), (2, 1, 1))) - 0.5
        slope_x, slope_y = self.truth.sky_gradient
        sky = self.truth.sky * (1 + slope_x * x + slope_y * y)
        light = np.abs(ndimage.uniform_filter(self.truth.rate - sky, 3))
        saturated = ((self.model.groupdq & SATURATED) != 0).any(axis=(0, 1))
        usable = (self.model.pixeldq & (DO_NOT_USE | dqflags.pixel["REFERENCE_PIXEL"])) == 0
        return (light < BLANK * sigma) & usable & ~saturated


def rate_of(model, stock):
    """Return the rate without stripes."""
    pipeline = Detector1Pipeline() if stock else CeersDetector1()
    if stock:
        model = pipeline.clean_flicker_noise.run(model)
    ramp = model
    rate, _ = pipeline.ramp_fit.run(ramp)
    if not stock:  # nothing where the check was not run
        correct_rate_errors(pipeline.jump_check, ramp, rate, None)
    rate = pipeline.gain_scale.run(rate)
    if not stock:
        pipeline.remstriping.save_mask = False
        rate = pipeline.remstriping.run(rate)
    return rate


def measure(frame, name, method):
    """Return what is measured of a method."""
    model = frame.model.copy()
    start = time.process_time()
    model = method(model)
    seconds = time.process_time() - start
    jumps = (model.groupdq[0, 1:] & JUMP) != 0
    stock = name.startswith("jwst")
    rate = rate_of(model, stock)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = rate.data - frame.truth.rate
        pull = residual / rate.err
    blank = frame.blank(np.nanmedian(rate.err)) & np.isfinite(pull)
    blank &= (rate.dq & DO_NOT_USE) == 0
    far = blank & (frame.snowballs < UNHIT)
    # the level of the frame is that of its 1/f noise; cut ramps have it over a larger error
    residual -= np.median(residual[far])
    pull = residual / rate.err
    near_ray = ndimage.maximum_filter(frame.rays, (3, 3, 3)) > NO_HIT
    false = jumps & ~near_ray & far
    found = [jumps[hits & far].mean() for hits in (frame.rays > 5, between(frame.rays, 3.5, 5))]
    n_flags = jumps.sum(axis=0)
    values = [100 * false.sum() / (~near_ray & far).sum(), *(100 * part for part in found)]
    uncut = pull[far & (n_flags == 0) & (np.abs(pull) < BOUND)].mean()
    for select in (far & (n_flags == 0), far & (n_flags == 1), far & (n_flags > 1)):
        here = pull[select]
        here = here[np.abs(here) < BOUND]
        values += [here.mean(), here.std()]
    # the halo beyond the flags, and of it what lies within 3 pixels of flags
    rim = ndimage.binary_dilation(jumps.any(axis=0), iterations=3)
    for select in (blank & ~far & (n_flags == 0), blank & ~far & (n_flags == 0) & rim):
        halo = pull[select]
        halo = halo[np.abs(halo) < BOUND]
        none = [np.nan, np.nan]
        values += [halo.mean() - uncut, halo.std() / np.sqrt(halo.size)] if halo.size else none
    bad = (frame.model.pixeldq & (DO_NOT_USE | dqflags.pixel["REFERENCE_PIXEL"])) != 0
    unusable = JUMP | SATURATED | dqflags.group["DO_NOT_USE"]
    flagged, before = (
        (groupdq[0, 1:] & unusable) != 0 for groupdq in (model.groupdq, frame.model.groupdq)
    )
    there = frame.contaminated & ~bad
    near = ndimage.binary_dilation(there.any(axis=0), iterations=40)
    n_there = max(np.count_nonzero(there), 1)
    values.append(100 * np.count_nonzero(there & flagged) / n_there if there.any() else np.nan)
    extra = np.count_nonzero(flagged & near & ~there & ~before) / n_there
    values.append(extra if there.any() else np.nan)
    good = blank & (np.abs(pull) < BOUND)
    values += [blocks(residual, rate.err, good, size) for size in (16, 64)]
    values.append(seconds)
    return values


def between(values, low, high):
    """Tell which values lie between two."""
    return (values > low) & (values <= high)


def blocks(residual, error, good, size):
    """Return the robust scatter of means of blocks over that of white noise."""

    def summed(values):
        ny, nx = (side // size for side in values.shape)
        part = np.where(good, values, 0)[: ny * size, : nx * size]
        return part.reshape(ny, size, nx, size).sum(axis=(1, 3), dtype=float)

    count = summed(np.ones_like(residual))
    keep = count > size * size / 2
    means = summed(residual)[keep] / count[keep]
    white = np.sqrt(summed(error**2)[keep]) / count[keep]
    pull = (means - np.median(means)) / white
    return MAD_TO_SIGMA * np.median(np.abs(pull))


COLUMNS = (
    "false flags (%)|hits > 5 sigma found (%)|3.5 to 5 (%)|not cut: mean|scatter / ERR|cut once: "
    "mean|scatter / ERR|more often: mean|scatter / ERR|unflagged halo|error|"
    "its rim|error|snowballs flagged (%)|extra area|block noise 16 px|64 px|"
    "CPU time (s)"
)
FORMATS = "{:.4f} {:.2f} {:.2f} {:+.3f} {:.3f} {:+.3f} {:.3f} {:+.3f} {:.3f} "
FORMATS += "{:+.3f} {:.3f} {:+.3f} {:.3f} {:.1f} {:.2f} {:.2f} {:.2f}"


def report(results, options):
    """Return the tables."""
    left_out = [str(number) for number in CASES if number not in results]
    reduced = f" Cases {', '.join(left_out)} were left out." if left_out else ""
    seeds = f"seeds {options.seed} + number of the case"
    intro = f"{options.size} frames, {seeds}.{reduced} Written by `python benchmarks/jumps.py`."
    lines = ["# Jumps", "", intro, ""]
    for number, methods in results.items():
        case = CASES[number]
        lines += [
            f"{case.detector} {case.filter}, {case.pattern}, {case.n_groups} groups, 1/f noise x "
            f"{case.one_over_f:g}, snowballs x {case.snowballs:g} ({case.halo}):",
            "",
            f"| method | {' | '.join(COLUMNS.split('|'))} |",
            "|---" * (COLUMNS.count("|") + 2) + "|",
        ]
        for name, values in methods.items():
            cells = [*FORMATS.split(), "{:.1f}"]
            pairs = zip(cells, values, strict=True)
            cells = [cell.format(value) if np.isfinite(value) else "" for cell, value in pairs]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "False flags: differences flagged more than a pixel and a group away from all cosmic rays, "
        "far from snowballs. Hits: charge of cosmic rays in a difference over its noise. Not cut, "
        "cut once, more often: (rate - truth) / ERR of blank pixels far from snowballs by the "
        "number of their flags, sigma, the median of all residuals subtracted. Unflagged halo: the "
        "mean where "
        f"snowballs give more than {UNHIT} sigma to a difference and nothing is flagged, less "
        "that of pixels that are not cut far from snowballs; its rim: within 3 pixels of flags; "
        "the errors are those of white noise in as many pixels. "
        "Snowballs flagged: differences of pixels that get more than 1 sigma from snowballs; extra "
        "area: other flags within 40 pixels, by the method, over these. Block "
        "noise: scatter of the means of blocks of blank sky, snowballs included, over that which "
        "ERR predicts for white noise. CPU time: what is done after the jump step and before the "
        "ramp fit.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "jumps")
    parser.add_argument("--cases", type=int, nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--seed", type=int, default=30, help="plus the number of the case")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    results = {}
    for number in options.cases:
        case = CASES[number]
        config = SimulationConfig().without("wisps")
        stripes, balls = config.one_over_f, config.snowballs
        stripes = replace(stripes, amplitude=case.one_over_f * stripes.amplitude)
        balls = replace(balls, rate=case.snowballs * balls.rate)
        with tempfile.TemporaryDirectory() as folder:
            with with_halo(case.halo):
                (exposure,) = simulate(
                    *(folder, [case.detector], [case.filter]),
                    dithers=1,
                    seed=options.seed + number,
                    size=options.size,
                    read_pattern=case.pattern,
                    n_groups=case.n_groups,
                    config=replace(config, one_over_f=stripes, snowballs=balls),
                )
            with active(folder):
                frame = Frame.of(exposure)
                results[number] = {
                    name: measure(frame, name, METHODS[name]) for name in options.methods
                }
        # after each case, so that nothing is lost when a long run ends early
        write_page(options.output, report(results, options))


if __name__ == "__main__":
    main()
