"""Stripes of directions that the read-out does not make: what is taken, what it costs.

    python benchmarks/tilted_striping.py [--size full] [--seed 1] [--output FILE]

Stripes at 30 and 150 degrees are added to the rate image of the first frame of
``benchmarks/striping.py``: how much of them our two methods take, and what they take where there
are none.
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
from results_page import options_of, write_page
from striping import (
    FRAMES,
    UNUSABLE,
    cleaned,
    fit_ramp,
    flat_of,
    on_rate,
    simulated,
    through_the_jump_step,
)

from ceers_steps.simulate import active, read_truth
from ceers_steps.validate.metrics import pixel_noise

ANGLES = (30.0, 150.0)
CASES = ((0, 0.0), (1, 0.5), (4, 0.3), (12, 1.0))  # width (pixels), sigma


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
        for width, strength in CASES:
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
            f"{options.size}, seed {options.seed}; {name} {band} {pattern} ({n_groups} groups)"
            ", stripes at 30 and 150 degrees added to the rate. Written by "
            "`python benchmarks/tilted_striping.py`.",
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


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "tilted_striping")
    parser.add_argument("--size", default="full", help="subarray, e.g. full or sub640")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        exposure = simulated(Path(folder), FRAMES[0], options.seed, options.size)
        with active(Path(folder)):
            lines = measure_tilted(exposure)
    text = report_tilted(lines, options)
    write_page(options.output, text)


if __name__ == "__main__":
    main()
