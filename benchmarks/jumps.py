"""Jumps: false and missed ones, the rate of the pixels that lost groups, blank sky at the end.

    python benchmarks/jumps.py [--cases 1 2 3 4 5] [--size full] [--output FILE]

Exposures simulated with the defaults of ``ceers simulate`` but without wisps, in several read
patterns and with weak, normal and strong 1/f noise, are taken through the jump step of jwst once.
Each method then works on the same flags; the snowball step, the ramp fit and the removal of the
stripes that follow are the same for all (jwst's own for stock).
"""

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jwst.jump import JumpStep
from jwst.pipeline import Detector1Pipeline
from scipy import ndimage
from snowblind import SnowblindStep
from stcal.jump.jump import flag_large_events
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.kernels.stats import MAD_TO_SIGMA
from ceers_steps.pipelines.detector1 import CeersDetector1
from ceers_steps.simulate import SimulationConfig, active, read_truth, simulate

JUMP, SATURATED = dqflags.group["JUMP_DET"], dqflags.group["SATURATED"]
DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
TO_JUMP = ("group_scale", "dq_init", "saturation", "superbias", "refpix", "linearity")
TO_JUMP = (*TO_JUMP, "dark_current", "jump")
CASES = {
    1: ("NRCB4", "F150W", "MEDIUM8", 9, 1.0),
    2: ("NRCA3", "F150W", "MEDIUM8", 9, 2.5),
    3: ("NRCB2", "F115W", "SHALLOW4", 8, 0.4),
    4: ("NRCA1", "F115W", "BRIGHT2", 8, 1.0),
    5: ("NRCBLONG", "F277W", "DEEP8", 6, 1.0),
}
"""Detector, filter, read pattern, groups, 1/f noise over that of the simulator's default."""

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


def ours(**parameters):
    """Return a function that runs our steps after the jump step."""

    def run(model):
        pipeline = CeersDetector1()
        for name, value in parameters.items():
            setattr(pipeline.jump_check, name, value)
        for step in (pipeline.jump_check, pipeline.snowball):
            if not step.skip:
                model = step.run(model)
        return model

    return run


METHODS = {
    "jwst, expand_large_events, clean_flicker_noise": expand_large_events,
    "snowblind, our stripes": lambda model: SnowblindStep().process(model),
    "ours without the check": ours(skip=True),
    "ours, flags only": ours(subtract_stripes=False),
    "ours": ours(),
}


@dataclass(frozen=True)
class Frame:
    """A simulated ramp after the jump step, and what is true of it."""

    model: object
    truth: object
    rays: np.ndarray  # charge of cosmic rays in every difference, sigma
    snowballs: np.ndarray  # the largest of any difference, sigma

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
        balls = np.max([truth.snowball_charge(0, g) for g in groups], axis=0) / sigma
        return cls(model, truth, rays.astype(np.float32), balls)

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
    rate, _ = pipeline.ramp_fit.run(model)
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
    pull -= np.median(pull[far])
    near_ray = ndimage.maximum_filter(frame.rays, (3, 3, 3)) > NO_HIT
    false = jumps & ~near_ray & far
    found = [jumps[hits & far].mean() for hits in (frame.rays > 5, between(frame.rays, 3.5, 5))]
    n_flags = jumps.sum(axis=0)
    values = [100 * false.sum() / (~near_ray & far).sum(), *(100 * part for part in found)]
    for select in (far & (n_flags == 0), far & (n_flags == 1), far & (n_flags > 1)):
        here = pull[select]
        here = here[np.abs(here) < BOUND]
        values += [here.mean(), here.std()]
    halo = pull[blank & ~far & (n_flags == 0)]
    values.append(halo[np.abs(halo) < BOUND].mean())
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
    "mean|scatter / ERR|more often: mean|scatter / ERR|unflagged halo|block noise 16 px|64 px|"
    "CPU time (s)"
)
FORMATS = "{:.4f} {:.2f} {:.2f} {:+.3f} {:.3f} {:+.3f} {:.3f} {:+.3f} {:.3f} {:+.3f} {:.2f} {:.2f}"


def report(results, size):
    """Return the tables."""
    lines = ["# Jumps", "", f"{size} frames. Written by `python benchmarks/jumps.py`.", ""]
    for number, methods in results.items():
        detector, band, pattern, n_groups, strength = CASES[number]
        lines += [
            f"{detector} {band}, {pattern}, {n_groups} groups, 1/f noise x {strength:g}:",
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
        "number of their flags, sigma, less the median of all. Unflagged halo: the same where "
        f"snowballs give more than {UNHIT} sigma to a difference and nothing is flagged. Block "
        "noise: scatter of the means of blocks of blank sky, snowballs included, over that which "
        "ERR predicts for white noise. CPU time: what is done after the jump step and before the "
        "ramp fit.",
        "",
    ]
    return "\n".join(lines)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/jumps.md")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    results = {}
    for number in options.cases:
        detector, band, pattern, n_groups, strength = CASES[number]
        config = SimulationConfig().without("wisps")
        noise = replace(config.one_over_f, amplitude=strength * config.one_over_f.amplitude)
        with tempfile.TemporaryDirectory() as folder:
            (exposure,) = simulate(
                *(folder, [detector], [band]),
                dithers=1,
                seed=30 + number,
                size=options.size,
                read_pattern=pattern,
                n_groups=n_groups,
                config=replace(config, one_over_f=noise),
            )
            with active(folder):
                frame = Frame.of(exposure)
                results[number] = {
                    name: measure(frame, name, method) for name, method in METHODS.items()
                }
    text = report(results, options.size)
    print(text)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)


if __name__ == "__main__":
    main()
