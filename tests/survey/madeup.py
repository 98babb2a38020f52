"""A survey that is reduced only on paper: a plan, records with metrics, small mosaics."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning.build import build_plan
from ceers_steps.survey.planning.records import FileState, Record, write_record
from ceers_steps.survey.select.exposures import Exposure

DETECTORS = {"SHORT": ("nrca1", "nrca3", "nrcb1", "nrcb4"), "LONG": ("nrcalong", "nrcblong")}
BANDS = {"F115W": "SHORT", "F200W": "SHORT", "F356W": "LONG"}


def make_exposures(folder, dithers=4, pointings=2):
    """Return exposures of all detectors and filters, as their headers would give them."""
    exposures = []
    for pointing in range(1, pointings + 1):
        center = np.array([214.9 + 0.2 * pointing, 52.85])
        corners = 0.012 * np.array([[-1.65, -1], [1.65, -1], [1.65, 1], [-1.65, 1]])
        for number, (band, channel) in enumerate(BANDS.items(), start=2):
            for dither in range(1, dithers + 1):
                for detector in DETECTORS[channel]:
                    name = f"jw02736{pointing:03d}001_0{number}101_{dither:05d}_{detector}"
                    exposures.append(
                        Exposure(
                            path=Path(folder) / f"{name}_uncal.fits",
                            name=name,
                            program="02736",
                            observation=f"{pointing:03d}",
                            visit="001",
                            detector=detector.upper(),
                            filter=band,
                            footprint=(center + corners + 1e-4 * dither,),
                        )
                    )
    return sorted(exposures, key=lambda exposure: exposure.name)


def make_plan(output, *, exposures=None, notes=(), **values):
    """Return the plan of a survey of made-up exposures."""
    config = SurveyConfig(None, (Path(output) / "uncal",), Path(output), **values)
    if exposures is None:
        exposures = make_exposures(Path(output) / "uncal")
    return build_plan(config, exposures, notes)


def finish(plan, *, seed=1, but=()):
    """Write records of all tasks but some, with metrics, and the mosaics."""
    random = np.random.default_rng(seed)
    for task in plan.tasks.values():
        if task.id in but or any(name in but for name in task.after):
            but = {*but, task.id}
            continue
        record = Record(
            task=task.id,
            settings=task.settings,
            versions=plan.versions,
            inputs={},
            references={},
            outputs={name: FileState(1, 1) for name in task.outputs},
            after=dict.fromkeys(task.after, "x"),
            made=f"{random.integers(1 << 60):x}",
            seconds=float(task.seconds * random.uniform(0.7, 1.4)),
            peak_memory=int(task.memory * 1e6 * random.uniform(0.6, 0.95)),
            metrics=METRICS.get(task.stage, lambda *_: {})(task, random),
        )
        write_record(plan.record_path(task), record)
        if task.stage == "mosaic":
            write_mosaic(plan.output / task.outputs[0], random)
        if task.stage == "background":
            for name in task.outputs:
                write_mosaic(plan.output / name, random)


def _exposure(task, random):
    metrics = {
        "ceers_snowball": {"n_events": int(random.poisson(40)), "added_fraction": 1e-3},
        "ceers_remstriping": {"stripe_rms": 0.0014 * random.normal(1, 0.05)},
    }
    if "wispsub" in task.arguments["steps"]:
        metrics["ceers_wispsub"] = {"scale": random.normal(0.9, 0.03), "scale_err": 0.01}
    return {task.key: metrics}


def _align(task, random):
    return {
        name: {
            "ceers_align": {
                "relative_status": "COMPLETE",
                "relative_n_matched": int(random.poisson(90)),
                "relative_rmse": random.normal(9, 1),
            }
        }
        for name in task.arguments["exposures"]
    }


def _outlier(task, random):
    return {
        name: {
            "ceers_skyvar": {
                "sky": random.normal(0.2, 0.004),
                "sky_err": 1e-4,
                "variance_factor": random.normal(1.1, 0.02),
                "variance_factor_err": 0.01,
            }
        }
        for name in task.arguments["exposures"]
    }


def _mosaic(task, random):
    return {task.key: {"mosaic": {"sky_noise": 0.0031, "depth": 28.9, "area": 9.7}}}


METRICS = {"exposure": _exposure, "align": _align, "outlier": _outlier, "mosaic": _mosaic}


def write_mosaic(path, random, shape=(320, 500)):
    """Write a mosaic of noise and some sources, turned on its grid."""
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx].astype(np.float32)
    image = random.normal(0, 1, shape).astype(np.float32)
    for _ in range(40):
        x0, y0, flux = random.uniform(0, nx), random.uniform(0, ny), 10 ** random.uniform(1, 3)
        image += flux * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8)
    inside = (abs(x - nx / 2) < 0.4 * nx) & (abs(y - ny / 2 + 0.1 * (x - nx / 2)) < 0.35 * ny)
    image[~inside] = np.nan
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header({"PIXAR_SR": (np.radians(0.03 / 3600)) ** 2})
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, header, name="SCI")]).writeto(path)
