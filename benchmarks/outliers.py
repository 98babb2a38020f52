"""Outlier detection: what cosmic rays it leaves, and what it takes of stars.

    python benchmarks/outliers.py [--seeds 1] [--output FILE]

Fields full of stars are simulated, four dithers of SUB640 each, calibrated, and given to the
outlier_detection of jwst with several values, with the true pointing and with errors of it. Then
stars are measured in mosaics, with the weights of the ramp fit and with those of SkyVarStep.
"""

import logging
import tempfile
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jwst.datamodels import ModelLibrary
from jwst.lib.reffile_utils import get_subarray_model
from jwst.outlier_detection import OutlierDetectionStep
from jwst.resample import ResampleStep
from jwst.skymatch import SkyMatchStep
from jwst.tweakreg.utils import adjust_wcs
from results_page import options_of, write_page
from stdatamodels.jwst import datamodels

from ceers_steps import CeersDetector1, CeersImage2, SkyVarStep
from ceers_steps.simulate import SimulationConfig, read_truth, simulate
from ceers_steps.simulate.config.simulation import SourceConfig
from ceers_steps.simulate.references.crds_cache import active

FRAMES = (("NRCBLONG", "F277W", 60.0), ("NRCB4", "F115W", 150.0))
"""Detector, band, stars per square arcminute."""

DEFAULT, CHOSEN = ("5.0 4.0", "1.2 0.7"), ("4.0 3.0", "2.5 1.5")
VALUES = (
    DEFAULT,
    ("5.0 4.0", "2.0 1.2"),
    ("4.0 3.0", "1.2 0.7"),
    ("4.0 3.0", "1.5 0.9"),
    ("4.0 3.0", "2.0 1.2"),
    CHOSEN,
)
"""Values of `snr` and `scale`."""

CASES = ((4, 0.0), (3, 5.0))
"""Number of exposures, error of the pointing of each in each direction (mas, rms)."""

FAINTEST = 25.0  # AB, stars that are measured
RADIUS = 0.25  # arcsec, of apertures in mosaics
MARGIN = 12  # pixels from the edge of a detector
OUTLIER = datamodels.dqflags.pixel["OUTLIER"]


@dataclass
class Exposure:
    """A calibrated exposure, its truth in the same unit, and its stars."""

    model: datamodels.ImageModel
    truth: np.ndarray
    sky: float
    stars: object

    def __post_init__(self):
        light = self.truth - self.sky
        noise = float(np.nanmedian(self.model.err))
        usable = np.isfinite(self.model.data) & np.isfinite(self.truth)
        empty = usable & (light < 0.5 * noise)
        variance = float(np.median(self.model.err[empty]) ** 2)
        # photon noise of the light alone: that of the data has the cosmic rays in it
        some = usable & (light > noise)
        gain = np.median((self.model.err[some] ** 2 - variance) / light[some])
        deviation = (self.model.data - self.truth) / np.sqrt(
            variance + max(gain, 0.0) * np.clip(light, 0.0, None)
        )
        relative = np.abs(self.model.data - self.truth) / np.maximum(light, 1e-9)
        self.light = light
        # in bright stars, the linearity and the flat are uncertain by more than the noise
        self.hit = usable & (deviation > 5) & ((light < 5 * noise) | (relative > 0.15))
        self.clean = usable & (np.abs(deviation) < 3)
        self.usable = usable
        self.deviation = deviation


def simulate_frame(folder, frame, seed):
    """Simulate the exposures of a frame."""
    detector, band, density = frame
    config = SimulationConfig(sources=SourceConfig(star_density=density, bright_limit=20.0))
    return simulate(
        folder,
        [detector],
        [band],
        dithers=4,
        seed=seed,
        size="sub640",
        config=config.without("wisps"),
    )


def calibrated(raws):
    """Calibrate the exposures of a frame."""
    exposures = []
    for raw in raws:
        rate = CeersDetector1.call(
            str(raw.uncal), output_dir=str(raw.uncal.parent), steps={"wispsub": {"skip": True}}
        )
        cal = CeersImage2.call(rate)[0]
        truth = read_truth(raw.truth)
        flat_path = CeersImage2().get_reference_file(cal, "flat")
        with datamodels.open(flat_path) as whole:
            flat = whole if whole.data.shape == cal.data.shape else get_subarray_model(cal, whole)
            corrected = truth.rate / np.where(flat.data > 0, flat.data, np.nan)
        unit = cal.meta.photometry.conversion_megajanskys
        stars = truth.sources[truth.sources["star"]]
        stars = stars[stars["mag"] < FAINTEST]
        exposures.append(
            Exposure(cal, (corrected * unit).astype(np.float32), truth.sky * unit, stars)
        )
    return exposures


def library_of(exposures, errors=None):
    """Return copies of the exposures, their pointing changed by errors (mas)."""
    models = []
    for number, exposure in enumerate(exposures):
        model = exposure.model.copy()
        if errors is not None:
            east, north = errors[number] / 3.6e6
            dec = np.deg2rad(model.meta.wcsinfo.dec_ref)
            model.meta.wcs = adjust_wcs(model.meta.wcs, east / np.cos(dec), north)
        models.append(model)
    return SkyMatchStep.call(ModelLibrary(models), skymethod="local", subtract=False)


def detect(library, values):
    """Run outlier_detection."""
    return OutlierDetectionStep.call(library, snr=values[0], scale=values[1])


def models_of(library):
    """Return the models of a library."""
    with library:
        models = [library.borrow(index) for index in range(len(library))]
        for index, model in enumerate(models):
            library.shelve(model, index, modify=False)
    return models


def measure_flags(scores, exposures, library):
    """Add what was flagged to the scores."""
    for exposure, model in zip(exposures, models_of(library), strict=True):
        flagged = (model.dq & OUTLIER) > 0
        wrong = flagged & exposure.usable & ~exposure.hit
        hit, strong = exposure.hit, exposure.hit & (exposure.deviation > 15)
        scores["hits"].append([hit.sum(), (hit & flagged).sum()])
        scores["strong"].append([strong.sum(), (strong & flagged).sum()])
        scores["wrong"].append([exposure.clean.sum(), (exposure.clean & flagged).sum()])
        ny, nx = flagged.shape
        for star in exposure.stars:
            x, y = round(star["x"]), round(star["y"])
            if min(x, y) < MARGIN or x >= nx - MARGIN or y >= ny - MARGIN:
                continue
            box = np.s_[y - 3 : y + 4, x - 3 : x + 4]
            if exposure.usable[box].all():
                light = exposure.light[box]
                scores["lost"].append(light[wrong[box]].sum() / light.sum())


def star_fluxes(mosaic, stars):
    """Return the fluxes of stars in an aperture, in any unit."""
    scale = np.sqrt(mosaic.meta.photometry.pixelarea_arcsecsq)
    x, y = mosaic.meta.wcs.invert(stars["ra"], stars["dec"], with_bounding_box=False)
    rows, columns = np.indices(mosaic.data.shape)
    fluxes = []
    for star_x, star_y in zip(x, y, strict=True):
        distance = np.hypot(columns - star_x, rows - star_y) * scale
        around = mosaic.data[(distance > 2 * RADIUS) & (distance < 4 * RADIUS)]
        values = mosaic.data[distance < RADIUS]
        inside = values.size > 20 and np.isfinite(values).all() and np.isfinite(around).all()
        fluxes.append(np.sum(values - np.median(around)) if inside else np.nan)
    return np.array(fluxes)


def measure_mosaics(scores, frame, exposures):
    """Add the fluxes of stars in mosaics, over the true ones, to the scores."""
    truths = []
    for exposure in exposures:
        model = exposure.model.copy()
        model.data = exposure.truth - np.float32(exposure.sky)
        usable = np.isfinite(model.data)
        model.dq[:] = np.where(usable, 0, 1)
        model.var_rnoise = np.where(usable, np.float32(1.0), np.nan)
        truths.append(model)
    perfect = ResampleStep.call(ModelLibrary(truths))
    stars = max((exposure.stars for exposure in exposures), key=len)
    expected = star_fluxes(perfect, stars)
    for values in (None, DEFAULT, CHOSEN):
        for levelled in (False, True):
            library = library_of(exposures)
            if values is not None:
                library = detect(library, values)
            library = SkyVarStep.call(library, level_saturated=levelled)
            ratio = star_fluxes(ResampleStep.call(library), stars) / expected
            known = np.isfinite(ratio)
            scores[frame[1], values, levelled].append((stars["mag"][known], ratio[known]))


def measure_frame(flags, fluxes, raws, frame, errors):
    """Add what is measured of the exposures of a frame to the scores."""
    exposures = calibrated(raws)
    for number, error in CASES:
        used = exposures[:number]
        for values in VALUES:
            library = library_of(used, error * errors if error else None)
            score = flags.setdefault((frame[1], (number, error), values), defaultdict(list))
            measure_flags(score, used, detect(library, values))
    measure_mosaics(fluxes, frame, exposures)


def flag_rows(scores):
    """Return the table of flags."""
    rows = [
        "| frame | exposures, pointing error | `snr` | `scale` | hits found | strong hits found |"
        " clean pixels flagged (1e-6) | light lost of stars, mean | largest |"
        " stars losing 5% |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (band, (number, error), (snr, scale)), score in scores.items():
        part = {}
        for key in ("hits", "strong", "wrong"):
            total, some = np.sum(score[key], axis=0)
            part[key] = some / total
        lost = np.array(score["lost"])
        rows.append(
            f"| {band} | {number}, {error:g} mas | {snr} | {scale} | {part['hits']:.1%} | "
            f"{part['strong']:.1%} | {1e6 * part['wrong']:.1f} | "
            f"{lost.mean():.2%} | {lost.max():.0%} | {(lost > 0.05).sum()} of {lost.size} |"
        )
    return rows


def mosaic_rows(scores):
    """Return the table of fluxes."""
    rows = [
        "| frame | outliers | `level_saturated` | stars | median flux | lowest | below 0.97 |",
        "|---|---|---|---|---|---|---|",
    ]
    for (band, values, levelled), found in scores.items():
        ratio = np.concatenate([ratio for _, ratio in found])
        name = "kept" if values is None else f"`{values[0]}`, `{values[1]}`"
        rows.append(
            f"| {band} | {name} | {str(levelled).lower()} | {ratio.size} | "
            f"{np.median(ratio):.4f} | {ratio.min():.3f} | {(ratio < 0.97).sum()} |"
        )
    return rows


def main():
    """Run the benchmark."""
    parser = options_of(__doc__, "outliers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", RuntimeWarning)
    flags, fluxes = {}, defaultdict(list)
    for seed in options.seeds:
        errors = np.random.default_rng(seed).normal(size=(4, 2))
        for frame in FRAMES:
            with tempfile.TemporaryDirectory() as folder:
                raws = simulate_frame(Path(folder), frame, seed)
                with active(folder):
                    measure_frame(flags, fluxes, raws, frame, errors)
            print(seed, *frame, flush=True)
    text = "\n".join(
        [
            "# Outliers",
            "",
            "SUB640, four dithers, 9 groups of MEDIUM8, seeds "
            f"{', '.join(map(str, options.seeds))}. Written by `python benchmarks/outliers.py`.",
            "",
            *flag_rows(flags),
            "",
            "Hits: pixels 5 sigma above the truth (outside bright cores), strong ones 15. "
            "Clean: within 3 sigma of the truth. Light lost of stars: that of pixels flagged "
            "without a hit, in boxes "
            f"of 7 pixels around stars brighter than {FAINTEST:g} AB, in one exposure.",
            "",
            *mosaic_rows(fluxes),
            "",
            f"Fluxes of the same stars within {RADIUS} arcsec in mosaics of the four exposures, "
            "over those in mosaics of the truth.",
            "",
        ]
    )
    write_page(options.output, text)


if __name__ == "__main__":
    main()
