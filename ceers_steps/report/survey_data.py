"""What a report shows of a survey: read from its output folder, records first; nothing is run."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from astropy.io import fits

from ceers_steps.errors import CeersError
from ceers_steps.files.disk import files_below
from ceers_steps.files.headers.provenance import read_meta
from ceers_steps.files.json_files import has_types, read_note
from ceers_steps.files.metrics import metrics_of, step_metrics
from ceers_steps.names import effective_filter

__all__ = ["Exposure", "Mosaic", "SurveyData", "read_survey"]

RECORDS = ".ceers/done"
"""Folder of the records below the output folder of a survey."""


@dataclass
class Exposure:
    """One exposure: facts, metrics, products by suffix, its log, its S_REGION."""

    name: str
    facts: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    products: dict[str, Path] = field(default_factory=dict)
    log: Path | None = None
    status: str = "done"
    sky_region: str = ""

    @property
    def filter(self) -> str:
        """The filter that decides; empty where it is not known."""
        return effective_filter(self.facts.get("FILTER"), self.facts.get("PUPIL"))

    @property
    def visit(self) -> str:
        """Program, observation and visit: the digits of the name."""
        return self.name[2:13]


@dataclass
class Mosaic:
    """One mosaic: its metrics, its last product, and all of them by suffix."""

    name: str
    path: Path
    metrics: dict[str, float] = field(default_factory=dict)
    products: dict[str, Path] = field(default_factory=dict)


@dataclass
class SurveyData:
    """All that is shown."""

    folder: Path
    exposures: list[Exposure]
    mosaics: list[Mosaic]


_PRODUCT = re.compile(
    r"(?P<name>jw\d{11}_\w{5}_\d{5}(?:-seg\d{3})?_(?:nrc\w+?|mirimage|nis))"
    r"(?:_a3001)?_(?P<suffix>[a-z0-9]+)\.fits$"
)
_MOSAIC = re.compile(r"(?P<name>.+)_(?P<suffix>i2d|m?bkgsub)\.fits$")
_HIDDEN = {"report", ".ceers", "simulated", "tiles", "uncals"}


def read_survey(folder: str | Path) -> SurveyData:
    """Find exposures, mosaics, records and logs below a folder.

    Parameters
    ----------
    folder
        Output of ``ceers reduce`` or ``ceers demo``, or any folder of products.

    Returns
    -------
    SurveyData
        Exposures and mosaics by name. Where there are no records, metrics are read from the
        products.

    Raises
    ------
    CeersError
        When the folder has no product of an exposure or mosaic, and no record.
    """
    folder = Path(folder)
    exposures: dict[str, Exposure] = {}
    mosaics: dict[str, Mosaic] = {}
    for path in files_below(folder, _HIDDEN):
        if match := _PRODUCT.match(path.name):
            found = exposures.setdefault(match["name"], Exposure(match["name"]))
            found.products[match["suffix"]] = path
        elif match := _MOSAIC.match(path.name):
            mosaic = mosaics.setdefault(match["name"], Mosaic(match["name"], path))
            if match["suffix"] != "i2d":
                mosaic.path = path  # the last product of it
            mosaic.products[match["suffix"]] = path
    metrics: dict[str, dict] = defaultdict(dict)
    costs: dict[str, dict[str, float]] = defaultdict(dict)
    for path in sorted((folder / RECORDS).rglob("*.json")):
        _add_record(path, metrics, costs, exposures)
    for path in sorted((folder / "logs" / "exposure").glob("*.log")):
        exposures.setdefault(path.stem, Exposure(path.stem, status="not done")).log = path
    if not exposures and not mosaics:
        raise CeersError(
            f"{folder} {_why_empty(folder)}. Give the output folder of a survey (ceers reduce -o "
            "OUT)."
        )
    for exposure in exposures.values():
        _complete(exposure, metrics.get(exposure.name, {}), costs.get(exposure.name, {}))
    for mosaic in mosaics.values():
        known = {**_metrics_of_product(mosaic.path), **metrics.get(mosaic.name, {})}
        mosaic.metrics = metrics_of(known)
    return SurveyData(
        folder,
        [exposures[name] for name in sorted(exposures)],
        [mosaics[name] for name in sorted(mosaics)],
    )


def _why_empty(folder: Path) -> str:
    """Say why there is nothing to report."""
    if not folder.is_dir():
        return "is no folder" if folder.exists() else "does not exist"
    packed = sum(path.name.endswith(".fits.gz") for path in files_below(folder))
    more = f", but {packed} packed files (*.fits.gz: unpack them with gunzip)" if packed else ""
    return f"has no products and no records{more}"


def _add_record(
    path: Path,
    metrics: dict[str, dict],
    costs: dict[str, dict[str, float]],
    exposures: dict[str, Exposure],
) -> None:
    """Add what one record says; one that cannot be read says nothing."""
    record = read_note(path, task=str, metrics=dict)
    record = {"seconds": 0.0, "peak_memory": 0, **record}
    if not has_types(record, task=str, seconds=int | float, peak_memory=int | float):
        return
    task, found = record["task"], record["metrics"]
    for name, steps in found.items():
        if isinstance(steps, dict) and all(isinstance(each, dict) for each in steps.values()):
            metrics[name].update(steps)
    stage, _, name = task.partition("/")
    if stage == "exposure" and Path(name).name == name:
        exposures.setdefault(name, Exposure(name))
        costs[name] = {
            "seconds": record["seconds"],
            "memory_mb": record["peak_memory"] / 1e6,
        }


def _complete(exposure: Exposure, metrics: dict, costs: dict[str, float]) -> None:
    """Fill in facts and metrics of an exposure."""
    last = next(
        (exposure.products[s] for s in ("match", "cal", "rate") if s in exposure.products), None
    )
    if last is not None:
        if not metrics:
            metrics = _metrics_of_product(last)
        try:
            with fits.open(last, memmap=False) as hdus:
                header = hdus[0].header
                if "SCI" in hdus:
                    exposure.sky_region = str(hdus["SCI"].header.get("S_REGION", ""))
        except OSError:
            exposure.status = "product damaged"
        else:
            for key in (
                "FILTER",
                "PUPIL",
                "DETECTOR",
                "DATE-OBS",
                "EXPSTART",
                "EFFEXPTM",
                "CRDS_CTX",
                "CAL_VER",
            ):
                if key in header:
                    exposure.facts[key] = str(header[key])
    exposure.facts.setdefault("DETECTOR", exposure.name.rpartition("_")[2].upper())
    exposure.metrics = {**metrics_of(metrics), **costs}


def _metrics_of_product(path: Path) -> dict[str, dict]:
    """Return what the steps have left in a product; nothing where it cannot be read."""
    try:
        return step_metrics(read_meta(path))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
