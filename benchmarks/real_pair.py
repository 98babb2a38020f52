"""One patch of the real sky, seen by two programs: do their background-subtracted mosaics agree?

    python benchmarks/real_pair.py [--folder DIR] [--output FILE]

Two F200W mosaics of Abell 2744 (programs 1324 and 2561) on one grid, with noise images: what
differs between them is reduction and noise. Each is subtracted with the published parameters and
with the defaults, both with the source mask of the pair, and as it is, less its median. Where
neither sees a source, the difference of the two is taken in blocks of 1 to 16 pixels, and its
scatter compared with what the noise images predict for independent pixels. The files are no part
of the repository; without --folder they are looked for below ``$CEERS_SHARED_DATA``.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from results_page import options_of, write_page
from stdatamodels.jwst.datamodels import ImageModel

from ceers_steps import MosaicBackgroundStep

BLOCKS = (1, 2, 4, 8, 16)  # pixels
METHODS = ("none", "published", "adaptive")
FOLDER = Path("real") / "nircam_f200w_pair"
WCS_KEYWORDS = (
    *("CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2"),
    *("CDELT1", "CDELT2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"),
)


def find_pair(folder):
    """Return the image and the noise image of each of the two mosaics."""
    noises = sorted(Path(folder).glob("*_i2d_stamp.noise.fits"))
    pair = [(Path(str(noise).replace(".noise.fits", ".fits")), noise) for noise in noises]
    if len(pair) != 2 or not all(image.is_file() for image, _ in pair):
        raise SystemExit(f"{folder} does not hold two *_i2d_stamp.fits with their noise images.")
    return pair


def write_mosaic(image, noise, path):
    """Write a stamp and its noise image as the mosaic that stage 3 makes; return both."""
    with fits.open(image) as hdus:
        data, header = hdus["SCI"].data.astype(np.float32), hdus["SCI"].header
    err = fits.getdata(noise, "ERR").astype(np.float32)
    bad = ~(np.isfinite(data) & (err > 0))
    data[bad] = err[bad] = np.nan
    with ImageModel(data=data) as model:
        model.err = err
        model.wht = np.nan_to_num(1 / err**2)
        model.meta.instrument.name = "NIRCAM"
        model.meta.instrument.filter = "F200W"
        model.meta.instrument.pupil = "CLEAR"
        model.meta.exposure.type = "NRC_IMAGE"
        model.meta.bunit_data = "MJy/sr"
        model.meta.cal_step.resample = "COMPLETE"
        model.meta.wcsinfo.cunit1 = model.meta.wcsinfo.cunit2 = "deg"
        for key in WCS_KEYWORDS:
            setattr(model.meta.wcsinfo, key.lower(), header[key])
        model.save(path)
    return data, err


def subtract(paths, method, folder):
    """Return the images after subtraction with one source mask, and that mask."""
    MosaicBackgroundStep.call(
        [str(path) for path in paths], method=method, save_results=True, output_dir=str(folder)
    )
    images, masks = [], []
    for path in paths:
        product = folder / path.name.replace("_i2d", "_mbkgsub")
        images.append(fits.getdata(product, "SCI"))
        masks.append(fits.getdata(product, "BKGMASK") != 0)
    return images, np.logical_or(*masks)


def in_blocks(values, use, side):
    """Return the mean of the used pixels of each block, and their number."""
    ny, nx = (n // side * side for n in values.shape)
    shape = (ny // side, side, nx // side, side)
    count = use[:ny, :nx].reshape(shape).sum(axis=(1, 3))
    total = np.where(use, values, 0)[:ny, :nx].reshape(shape).sum(axis=(1, 3))
    return total, count


def compare(first, second, variance, use):
    """Return, for each size of blocks, scatter / predicted, and the number of blocks."""
    found = []
    for side in BLOCKS:
        total, count = in_blocks(first - second, use, side)
        expected, _ = in_blocks(variance, use, side)
        full = count >= side**2 / 2
        ratio = total[full] / np.sqrt(expected[full])
        found.append((mad_std(ratio), float(np.median(ratio)), int(full.sum())))
    return found


def measure(folder):
    """Return ``{method: [(scatter / predicted, median, blocks)]}``, and the masked fraction."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        paths, images, errors = [], [], []
        for image, noise in find_pair(folder):
            paths.append(work / f"{image.name.partition('_i2d')[0]}_i2d.fits")
            data, err = write_mosaic(image, noise, paths[-1])
            images.append(data)
            errors.append(err)
        products: dict[str, tuple] = {}
        for method in METHODS[1:]:
            out = work / method
            out.mkdir()
            products[method] = subtract(paths, method, out)
    # one mask for all, the largest, so that all are judged on the same sky
    valid = np.logical_and(*map(np.isfinite, images))
    use = valid & ~np.logical_or(*(mask for _, mask in products.values()))
    variance = errors[0] ** 2 + errors[1] ** 2
    plain = [image - np.median(image[use]) for image in images]
    products["none"] = plain, None
    rows = {}
    for name in METHODS:
        first, second = products[name][0]
        rows[name] = compare(first, second, variance, use)
    return rows, 1 - use.sum() / valid.sum()


def table(rows, masked):
    """Return the results as lines."""
    heads = " | ".join(f"{side} px" for side in BLOCKS)
    lines = [
        f"900 x 900 pixels of 31 mas; sources take {100 * masked:.0f}% of them. Scatter of the "
        "difference of the two mosaics in blocks, over that predicted by their noise images for "
        "independent pixels (drizzled pixels are correlated: the ratio rises until the block is "
        "wider than a few pixels, and after that only with what is not noise):",
        "",
        f"| background | {heads} |",
        "|---|" + "---|" * len(BLOCKS),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{scatter:.3f}" for scatter, _, _ in values) + " |"
        for name, values in rows.items()
    ]
    lines += ["", "| | " + heads + " |", "|---|" + "---|" * len(BLOCKS)]
    counts = " | ".join(str(count) for _, _, count in rows["adaptive"])
    return [*lines, f"| blocks | {counts} |"]


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "real_pair")
    parser.add_argument("--folder", type=Path, help="folder of the two mosaics")
    options = parser.parse_args()
    folder = options.folder
    if folder is None:
        if "CEERS_SHARED_DATA" not in os.environ:
            sys.exit("Give --folder, or set CEERS_SHARED_DATA.")
        folder = Path(os.environ["CEERS_SHARED_DATA"]) / FOLDER
    text = ["# A real pair", "", "Written by `python benchmarks/real_pair.py`.", ""]
    text += [*table(*measure(folder)), ""]
    write_page(options.output, "\n".join(text))


if __name__ == "__main__":
    main()
