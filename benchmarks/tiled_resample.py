"""Mosaics in tiles: the memory and time they take, against the mosaic drizzled at once.

    python benchmarks/tiled_resample.py [--parts pointing epoch pixmap] [--folder F] [--output FILE]

Full-frame exposures of noise, with the distortion of the simulated NRCB4, are drizzled onto
published grids of CEERS at 30 mas: 10600 x 4800 pixels (pointing 1) and 46200 x 15400 (epoch 1).
Each run is a process of its own; its peak memory is what the system counts, with 0.3 GB for Python
and jwst. The epoch takes 9 GB of disk and 15 minutes.
"""

import argparse
import json
import logging
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from jwst.assign_wcs import AssignWcsStep
from jwst.resample import ResampleStep
from results_page import options_of, write_page
from stcal.resample.utils import calc_pixmap
from stdatamodels.jwst import datamodels

from ceers_steps import TiledResampleStep
from ceers_steps.simulate import activate, simulate

SHAPE = (2048, 2048)
GRID = {"crval": [214.825, 52.825], "rotation": -49.7, "pixel_scale": 0.03}
POINTING = {**GRID, "crpix": [26678.5, -724.5], "output_shape": [10600, 4800]}
EPOCH = {**GRID, "crpix": [31584.5, 9043.5], "output_shape": [46200, 15400]}
DITHERS = ((5000, 2400), (5070, 2450), (4890, 2540), (5175, 2310))  # pixels of the mosaic
PLANES = ("SCI", "ERR", "CON", "WHT", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
FEW_PLANES = {"enable_ctx": False, "report_var": False}


def simulate_pointing(folder):
    """Return the path of an exposure whose header and calibration serve for all others."""
    (exposure,) = simulate(
        folder, ["NRCB4"], ["F150W"], dithers=1, roll=130.0, read_pattern="RAPID", n_groups=2
    )
    return exposure.uncal


def make_exposures(folder, raw_path, grid, positions):
    """Write calibrated exposures of noise, with their centres at pixels of a mosaic."""
    rng = np.random.default_rng(1)
    centre = SkyCoord(*grid["crval"], unit="deg")
    angle = np.deg2rad(grid["rotation"])
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with datamodels.open(raw_path) as raw:
        for number, position in enumerate(positions, start=1):
            x, y = grid["pixel_scale"] * (np.array(position) - grid["crpix"])
            place = centre.spherical_offsets_by(
                (y * np.sin(angle) - x * np.cos(angle)) * u.arcsec,
                (y * np.cos(angle) + x * np.sin(angle)) * u.arcsec,
            )
            model = datamodels.ImageModel(SHAPE)
            model.update(raw)
            model.meta.wcsinfo.ra_ref = place.ra.deg
            model.meta.wcsinfo.dec_ref = place.dec.deg
            model.meta.observation.exposure_number = f"{number:05d}"
            model.meta.bunit_data = model.meta.bunit_err = "MJy/sr"
            model.meta.photometry.pixelarea_steradians = 2.31e-14
            model.data = rng.normal(0.2, 0.01, SHAPE).astype(np.float32)
            model.var_rnoise = rng.uniform(4e-5, 8e-5, SHAPE).astype(np.float32)
            model.var_poisson = np.full(SHAPE, 4e-5, np.float32)
            model.var_flat = np.zeros(SHAPE, np.float32)
            model.err = np.sqrt(model.var_rnoise + model.var_poisson)
            model.dq = (rng.random(SHAPE) < 0.01).astype(np.uint32)
            path = folder / f"jw01345001001_02101_{number:05d}_nrcb4_cal.fits"
            AssignWcsStep.call(model, configure_log=False).save(str(path))
            paths.append(path)
    return paths


def write_association(path, name, exposures):
    """Write a level-3 association."""
    members = [{"expname": str(each.absolute()), "exptype": "science"} for each in exposures]
    content = {
        "asn_type": "image3",
        "asn_rule": "DMS_Level3_Base",
        "asn_id": "c0001",
        "asn_pool": "none",
        "program": "01345",
        "products": [{"name": name, "members": members}],
    }
    path.write_text(json.dumps(content))
    return path


def peak_memory():
    """Return the peak memory of this process, GB; getrusage would count that of its parent too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024 / 1e9


def run_here(association, parameters):
    """Drizzle in this process; print its peak memory and times as JSON."""
    step = TiledResampleStep if "tile_size" in parameters else ResampleStep
    start, cpu = time.perf_counter(), time.process_time()
    step.call(association, configure_log=False, suffix="i2d", save_results=True, **parameters)
    print(
        json.dumps(
            {
                "memory": peak_memory(),
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - start,
            }
        )
    )


def run(association, output, parameters):
    """Drizzle in a process of its own; return its figures."""
    output.mkdir(parents=True, exist_ok=True)
    parameters = {**parameters, "output_dir": str(output), "output_file": "mosaic"}
    command = [sys.executable, __file__, "--measure", str(association), json.dumps(parameters)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (path,) = output.glob("mosaic_i2d.fits")
    return {**json.loads(done.stdout.splitlines()[-1]), "disk": path.stat().st_size / 1e9}, path


def largest_difference(first, second):
    """Return the largest relative difference of two mosaics; other NaN or bits count as 1."""
    worst = 0.0
    with fits.open(first) as one, fits.open(second) as other:
        for name in PLANES:
            for row in range(0, one[name].shape[-2], 600):
                a, b = (hdus[name].section[..., row : row + 600, :] for hdus in (one, other))
                if name == "CON" or np.any(np.isnan(a) != np.isnan(b)):
                    worst = max(worst, float(not np.array_equal(a, b, equal_nan=name != "CON")))
                known = ~np.isnan(a) & (a != b)
                if known.any():
                    scale = np.maximum(np.abs(a[known]), np.abs(b[known]))
                    worst = max(worst, float(np.max(np.abs(a[known] - b[known]) / scale)))
    return worst


def line(name, figures, *more):
    """Return a row of a table."""
    cells = [
        f"{figures['memory']:.2f}",
        f"{figures['disk']:.1f}",
        f"{figures['cpu']:.0f}",
        *more,
    ]
    return f"| {name} | {' | '.join(cells)} |"


def measure_pointing(folder, raw):
    """Compare with the mosaic drizzled at once."""
    exposures = make_exposures(folder / "cal", raw, POINTING, DITHERS)
    association = write_association(folder / "asn.json", "pointing", exposures)
    lines = [
        "## A pointing: 10600 x 4800 pixels, 4 exposures, all planes",
        "",
        "| | memory (GB) | file (GB) | CPU time (s) | largest relative difference |",
        "|---|---|---|---|---|",
    ]
    figures, whole = run(association, folder / "whole", POINTING)
    lines.append(line("at once (jwst)", figures, ""))
    for size in (1024, 2048, 4096):
        figures, path = run(association, folder / "tiles", {**POINTING, "tile_size": size})
        difference = largest_difference(whole, path)
        lines.append(line(f"`tile_size={size}`", figures, f"{difference:.1e}"))
        path.unlink()
    whole.unlink()
    return [*lines, ""]


def measure_epoch(folder, raw):
    """Show that the memory does not grow with the number of exposures."""
    lines = [
        "## An epoch: 46200 x 15400 pixels, SCI, ERR and WHT",
        "",
        "| | memory (GB) | file (GB) | CPU time (s) |",
        "|---|---|---|---|",
    ]
    rng = np.random.default_rng(2)
    nx, ny = EPOCH["output_shape"]
    for count in (4, 40):
        positions = rng.uniform((1500, 1500), (nx - 1500, ny - 1500), (count, 2))
        exposures = make_exposures(folder / f"cal{count}", raw, EPOCH, positions)
        association = write_association(folder / f"asn{count}.json", "epoch", exposures)
        parameters = {**EPOCH, **FEW_PLANES, "tile_size": 4096}
        figures, path = run(association, folder / "tiles", parameters)
        lines.append(line(f"{count} exposures, `tile_size=4096`", figures))
        path.unlink()
        for exposure in exposures:
            exposure.unlink()
    return [*lines, ""]


def measure_pixmap(folder, raw):
    """Show what interpolated positions gain and cost."""
    (path,) = make_exposures(folder / "cal", raw, POINTING, DITHERS[:1])
    with datamodels.open(path) as model:
        wcs = model.meta.wcs
        association = write_association(folder / "asn.json", "one", [path])
        _, mosaic = run(association, folder, {**POINTING, **FEW_PLANES, "tile_size": 2048})
        with datamodels.open(mosaic) as made:
            grid = made.meta.wcs
            lines = [
                "## `pixmap_stepsize`: positions of one exposure",
                "",
                "| step (pixels), order | CPU time (s) | largest error (output pixels) |",
                "|---|---|---|",
            ]
            exact = None
            for step, order in ((1, 1), (10, 1), (10, 3), (32, 3), (64, 3)):
                start = time.process_time()
                pixmap = calc_pixmap(wcs, grid, SHAPE, stepsize=step, order=order)
                cpu = time.process_time() - start
                exact = pixmap if exact is None else exact
                error = np.max(np.abs(pixmap - exact))
                lines.append(f"| {step}, {order} | {cpu:.2f} | {error:.1e} |")
    return [*lines, ""]


PARTS = {"pointing": measure_pointing, "epoch": measure_epoch, "pixmap": measure_pixmap}


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "tiled_resample")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where there is room for the mosaics")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if options.measure:
        association, parameters = options.measure
        run_here(association, json.loads(parameters))
        return
    lines = ["# Mosaics in tiles", "", "Written by `python benchmarks/tiled_resample.py`.", ""]
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        raw = simulate_pointing(folder / "simulated")
        activate(folder / "simulated")
        for part in options.parts:
            lines += PARTS[part](folder / part, raw)
    text = "\n".join(lines)
    write_page(options.output, text)


if __name__ == "__main__":
    main()
