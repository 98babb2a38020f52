"""Mosaic backgrounds on skies with structure: what is left in blank sky and under sources.

    python benchmarks/mosaic_skies.py [--size 800] [--seeds 4] [--heights 0.3 2] [--output FILE]

Sources and noise of `mosaic_scenes`, a sky of one shape and height (range, in units of the noise of
a pixel), the published parameters and the defaults.
"""

import numpy as np
from mosaic_scenes import NOISE, draw_sources, make_noise
from results_page import options_of, write_page

from ceers_steps.kernels.sources.mosaic_background import (
    BackgroundSettings,
    measure_mosaic_background,
)
from ceers_steps.kernels.sources.mosaic_tiers import MOSAIC_TIERS, mask_mosaic


def shapes(size):
    """Skies from 0 to 1 or so, by name."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    from_centre = np.maximum(np.abs(x), np.abs(y))
    return {
        "flat": 0.0 * x,
        "slope": 0.5 * x + 0.25 * y,
        "bowl": 0.5 * (x**2 + y**2),
        "quadrants": 0.6 * (x > 0.1) + 0.4 * (y > -0.2),
        "stairs": np.floor(2.499 * (x + 1.0)) / 4.0,
        "kink": 2.0 * np.maximum(from_centre - 0.5, 0.0),
        "x^8": x**8,
        "max(x, y)^8": from_centre**8,
    }


def measure(image, method):
    """Background and mask."""
    border = np.zeros(image.shape, bool)
    bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"], follow_borders=method != "published")
    box = 10 if method == "published" else 20
    settings = BackgroundSettings(method=method, box_size=box)
    found = measure_mosaic_background(image, border, bits, settings=settings)
    return found.mesh.rows(0, len(image)), found.bits


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "mosaic_skies")
    parser.add_argument("--size", type=int, default=800, help="side of the mosaics, pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[4])
    parser.add_argument("--heights", type=float, nargs="+", default=[0.3, 2.0])
    options = parser.parse_args()
    shape = (options.size, options.size)
    rows = {}
    for seed in options.seeds:
        bright, faint = draw_sources(options.size, seed)
        light, noise = (bright + faint) / NOISE, make_noise(shape, seed + 10)
        places = [light < 0.02, (light >= 0.02) & (light < 0.5), faint > 0.5 * NOISE]
        for name, sky_shape in shapes(options.size).items():
            for height in options.heights:
                sky = height * NOISE * sky_shape
                image = (sky + bright + faint + noise).astype(np.float32)
                for method in ("published", "adaptive"):
                    background, bits = measure(image, method)
                    off = (background - sky) / NOISE
                    row = [off[place].mean() for place in places]
                    row += [off[places[0]].std(), np.mean(bits[places[0]] > 0)]
                    rows.setdefault((name, height, method), []).append(row)
    lines = [
        "# Mosaic background on skies with structure",
        "",
        "Written by `python benchmarks/mosaic_skies.py`.",
        "",
        f"{options.size} x {options.size} pixels, seeds {', '.join(map(str, options.seeds))}. "
        "Background - true sky in units of the noise of a pixel: mean in blank sky (light below "
        "0.02), in wings (0.02 to 0.5), under sources fainter than 24 AB; rms in blank sky; share "
        "of it that is masked.",
        "",
        "| sky | height | method | blank | wings | faint | rms, blank | masked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, height, method), values in rows.items():
        blank, wings, under, rms, masked = np.mean(values, axis=0)
        lines.append(
            f"| {name} | {height:g} | {method} | {blank:+.3f} | {wings:+.3f} | {under:+.3f} | "
            f"{rms:.3f} | {masked:.2f} |"
        )
    write_page(options.output, "\n".join(lines))


if __name__ == "__main__":
    main()
