"""Backgrounds from other exposures of MIRI: what is left of the pattern of the detector.

    python benchmarks/image_background.py [--seeds 3 4] [--dithers 5] [--groups 20]
    python benchmarks/image_background.py --size full --seeds 3 --fields bright \
        --output benchmarks/results/image_background_full.md

Simulated MIRI, F770W, with glow, pattern and a sky that drifts: stages 1 and 2, a mosaic,
`ImageBackgroundStep`, stage 2 again, and the images against the truth.
"""

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
from astropy.table import Table
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base
from results_page import options_of, write_page
from stdatamodels.jwst import datamodels

from ceers_steps import CeersDetector1, CeersImage2, CeersImage3, ImageBackgroundStep
from ceers_steps.simulate import active, read_truth, simulate

TARGET = (214.92, 52.87)
BLOCK = 16
FIELDS = {
    "deep": "the deep field of the simulator",
    "bright": "one of 120 sources of 18 to 21.5 AB within 100 arcsec",
}


def bright_sources(seed, count=120, radius=50.0):
    """Galaxies and stars that are measured to a fraction of a percent."""
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-radius, radius, (2, count)) / 3600
    return Table(
        {
            "ra": TARGET[0] + east / np.cos(np.deg2rad(TARGET[1])),
            "dec": TARGET[1] + north,
            "mag": rng.uniform(18, 21.5, count),
            "half_light_radius": rng.uniform(0.08, 0.3, count),
            "sersic_index": np.full(count, 1.0),
            "axis_ratio": rng.uniform(0.5, 1, count),
            "position_angle": rng.uniform(0, 180, count),
            "spectral_slope": np.zeros(count),
            "star": np.arange(count) % 8 == 0,
        }
    )


def reduce(folder, field, seed, options):
    """Simulate and reduce into a folder, as far as that is not done already."""
    first, second = folder / "first", folder / "second"
    if any(second.glob("*_cal.fits")):
        return
    for out in (first, second):
        out.mkdir(parents=True, exist_ok=True)
    exposures = simulate(
        folder,
        instrument="MIRI",
        filters=["F770W"],
        dithers=options.dithers,
        size=options.size,
        n_groups=options.groups,
        catalog=bright_sources(seed=seed + 1) if field == "bright" else None,
        target=TARGET,
        seed=seed,
    )
    keep = {"save_results": True}
    with active(folder):
        for exposure in exposures:
            rate = CeersDetector1.call(str(exposure.uncal), output_dir=str(first), **keep)
            CeersImage2.call(rate, output_dir=str(first), **keep)
        cals = sorted(str(path) for path in first.glob("*_cal.fits"))
        association = asn_from_list(cals, rule=DMS_Level3_Base, product_name="group")
        (first / "asn.json").write_text(association.dump()[1])
        steps = {name: {"skip": True} for name in ("mosaic_background", "source_catalog")}
        # a small frame of a deep field may hold no source that two exposures see
        steps["tweakreg"] = {"on_failure": "keep"}
        CeersImage3.call(str(first / "asn.json"), output_dir=str(first), steps=steps, **keep)
        ImageBackgroundStep.call(
            sorted(str(path) for path in first.glob("*_rate.fits")),
            mosaic=str(first / "group_i2d.fits"),
            aligned_dir=str(first),
            output_dir=str(second),
            **keep,
        )
        for path in sorted(second.glob("*_imgbkgsub.fits")):
            CeersImage2.call(str(path), output_dir=str(second), **keep)


def in_blocks(image, used):
    """Return sums over blocks of the pixels that are used, and how many those are."""
    ny, nx = (side // BLOCK for side in image.shape)
    shape = (ny, BLOCK, nx, BLOCK)
    window = (slice(0, ny * BLOCK), slice(0, nx * BLOCK))
    values = np.where(used, image, 0.0)[window].reshape(shape).sum((1, 3))
    return values, used[window].reshape(shape).sum((1, 3))


def block_noise(image, variance, used):
    """Return the scatter of means of blocks over what the variance says."""
    total, count = in_blocks(image, used)
    expected, _ = in_blocks(variance, used)
    chosen = count > BLOCK**2 / 2
    pull = total[chosen] / np.sqrt(expected[chosen])
    return pull.std(), pull.size


def compare(path, folder):
    """Return what an exposure shows of pattern, sources and noise, before and after."""
    truth = read_truth(path)
    name = path.name.replace("_truth.asdf", "_cal.fits")
    with (
        datamodels.open(folder / "first" / name) as one,
        datamodels.open(folder / "second" / name) as two,
        datamodels.open(folder / "first" / name.replace("_cal", "_rate")) as rate,
    ):
        unit = one.meta.photometry.conversion_megajanskys
        before, after = one.data / unit, two.data / unit
        noise = [(model.var_rnoise + model.var_poisson) / unit**2 for model in (one, two)]
        flat = rate.data / before
        good = ((one.dq | two.dq) & 1) == 0
        good &= np.isfinite(before) & np.isfinite(after) & np.isfinite(flat) & (flat > 0)
    fixed = truth.fixed_light
    light = np.where(good, truth.rate / np.where(good, flat, 1) - truth.sky - fixed, 0.0)
    sigma = np.sqrt(np.median(noise[0][good]))
    blank, bright = good & (light < 0.1 * sigma), good & (light > sigma)
    shape = np.where(blank, fixed - fixed[blank].mean(), 0.0)

    def left(image, level=0.0):
        residual = np.where(good, image - light - level, 0.0)
        return residual - np.median(residual[blank])

    def amplitude(residual):
        return (residual * shape).sum() / (shape**2).sum()

    own, _ = block_noise(left(before, truth.sky + fixed), noise[0], blank)
    subtracted, n_blocks = block_noise(left(after), noise[1], blank)
    error = np.sqrt((noise[1][blank] * shape[blank] ** 2).sum()) / (shape**2).sum()
    flux = (left(after) * light)[bright].sum()
    weight = (light[bright] ** 2).sum()
    return {
        "sky": truth.sky,
        "pattern": fixed[blank].std(),
        "before": amplitude(left(before)),
        "after": amplitude(left(after)),
        "after_error": error,
        "flux": flux,
        "flux_variance": (noise[1] * light**2)[bright].sum(),
        "weight": weight,
        "ratio_own": own,
        "ratio": subtracted,
        "n_blocks": n_blocks,
        "added": np.median(noise[1][blank]) / np.median(noise[0][blank]),
    }


def summarize(rows):
    """Return a cell for each figure of a field."""
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    flux = column["flux"].sum() / column["weight"].sum()
    flux_error = np.sqrt(column["flux_variance"].sum()) / column["weight"].sum()
    limits = column["ratio"] / column["ratio_own"]
    after_error = np.sqrt((column["after_error"] ** 2).mean() / len(rows))
    return (
        f"{np.mean(column['pattern'] / column['sky']):.1%}",
        f"{column['before'].mean():.4f}",
        f"{column['after'].mean():+.4f} +- {after_error:.4f}",
        f"{np.abs(column['after']).max():.4f} +- {column['after_error'].max():.4f}",
        f"{flux:+.2%} +- {flux_error:.2%}",
        f"{limits.mean():.3f} +- {np.sqrt(1 / column['n_blocks'].sum()):.3f}",
        f"{limits.max():.3f} +- {np.sqrt(1 / column['n_blocks'].min()):.3f}",
        f"{column['ratio_own'].mean():.3f}",
        f"{column['ratio'].mean():.3f}",
        f"{column['added'].mean() - 1:.3f}",
    )


LABELS = (
    ("glow and pattern over the sky, rms", ""),
    ("pattern before, part of the true one", ""),
    ("pattern after, mean of the exposures", "below 0.05"),
    ("pattern after, largest of an exposure", "below 0.05"),
    ("flux of sources, measured over true - 1", "0.5%"),
    ("noise of blocks over that of exposure and background", "below 1.05"),
    ("the same, largest of an exposure", ""),
    ("noise of blocks of an exposure before, over its ERR", ""),
    ("noise of blocks after, over ERR", ""),
    ("variance of the background over that of an exposure", ""),
)


def main():
    parser = options_of(__doc__, "image_background")
    parser.add_argument("--size", default="brightsky")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS))
    parser.add_argument("--dithers", type=int, default=5)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="keep all files there, and take what is there")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        for field in options.fields:
            rows = []
            for seed in options.seeds:
                folder = (options.folder or Path(scratch)) / options.size / f"{field}_{seed}"
                reduce(folder, field, seed, options)
                rows += [compare(path, folder) for path in sorted(folder.glob("*_truth.asdf"))]
            cells.append(summarize(rows))
    lines = [
        f"# Background of MIRI from other exposures, {options.size}",
        "",
        f"F770W, FASTR1, {options.groups} groups, {options.dithers} dithers, "
        f"{'seeds' if len(options.seeds) > 1 else 'seed'} {', '.join(map(str, options.seeds))}. "
        f"Fields: {'; '.join(FIELDS[field] for field in options.fields)}. Blocks have "
        f"{BLOCK} x {BLOCK} pixels. Written by `python benchmarks/image_background.py`.",
        "",
        "| what | " + " | ".join(f"{field} field" for field in options.fields) + " | aim |",
        "|---|" + "---|" * (len(options.fields) + 1),
    ]
    for (label, aim), *values in zip(LABELS, *cells, strict=True):
        lines.append(f"| {label} | " + " | ".join(values) + f" | {aim} |")
    text = "\n".join(lines) + "\n"
    write_page(options.output, text)


if __name__ == "__main__":
    main()
