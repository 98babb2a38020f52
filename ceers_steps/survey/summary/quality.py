"""The quality of every exposure in a row: metrics of its steps, outliers marked."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from numpy.typing import NDArray

from ceers_steps.files.metrics import METRICS, Metric, as_number, refusals
from ceers_steps.kernels.stats import MAD_TO_SIGMA
from ceers_steps.survey.planning.plan import Plan
from ceers_steps.survey.planning.records import Record

__all__ = [
    "BY_NAME",
    "COMPARED",
    "QUANTITIES",
    "Quality",
    "Quantity",
    "gather_quality",
    "mark_outliers",
    "too_few",
]

LIMIT = 5.0
"""An exposure is marked that is so many robust standard deviations from those like it."""

ENOUGH = 6
"""Exposures that are needed to say what is usual."""

CATALOGUE_ONLY = "CATALOGUE ONLY"
"""Status of an exposure that is aligned to the catalogue, but was not with the other exposures."""


@dataclass(frozen=True)
class Quantity:
    """One metric of an exposure, as it is shown.

    Attributes
    ----------
    name : str
        Of the metric (`METRICS`), and of the column.
    title : str
        For people.
    form : str
        Format of a value.
    error : str
        Metric that is its uncertainty; ``sqrt`` for counts; empty if there is none.
    compared : bool
        Whether it is compared with that of other exposures, not with absolute limits alone.
    """

    name: str
    title: str
    form: str
    error: str = ""
    compared: bool = True

    @property
    def metric(self) -> Metric:
        """What it is."""
        return BY_NAME[self.name]


BY_NAME = {metric.name: metric for metric in METRICS}

QUANTITIES = (
    Quantity("snowballs", "snowballs", ".0f", "sqrt"),
    Quantity("wisp_scale", "wisp scale", ".3f", "wisp_scale_err"),
    Quantity("wisp_scale_err", "± error", ".3f"),
    Quantity("stripe_rms", "stripes, rms", ".5f"),
    Quantity("noise_scale", "noise / ERR", ".3f"),
    Quantity("outlier_fraction", "outliers", ".4f", compared=False),
    Quantity("sky", "sky", ".4f", "sky_err"),
    Quantity("variance_factor", "variance factor", ".3f", "variance_factor_err"),
    Quantity("relative_matches", "matches, relative", ".0f", "sqrt"),
    Quantity("relative_rms", "rms, relative", ".1f"),
    Quantity("absolute_matches", "matches, absolute", ".0f", "sqrt"),
    Quantity("absolute_rms", "rms, absolute", ".1f"),
)
"""The columns of the table of quality."""

COMPARED = frozenset(quantity.name for quantity in QUANTITIES if quantity.compared)
"""Metrics that are compared with those of other exposures."""


@dataclass(frozen=True)
class Quality:
    """The table of quality.

    Attributes
    ----------
    table : Table
        A row for each exposure: ``exposure``, ``filter``, ``detector``, ``alignment`` (its
        status), the `QUANTITIES` (masked where unknown) and ``outlier`` (the names of those that
        are unusual).
    unusual : dict of ndarray
        By quantity, True for the rows that are marked.
    """

    table: Table
    unusual: dict[str, NDArray[np.bool_]]


def gather_quality(plan: Plan, records: Mapping[str, Record]) -> Quality:
    """Gather the metrics of all exposures.

    Parameters
    ----------
    plan
        The plan.
    records
        Records of the finished tasks, by task id.

    Returns
    -------
    Quality
    """
    metrics = _metrics(plan, records)
    tasks = [task for task in plan.tasks.values() if task.stage == "exposure"]
    names = [task.key for task in tasks]
    detectors = [task.arguments["detector"] for task in tasks]
    filters = [task.arguments["filter"] for task in tasks]
    table = Table({"exposure": names, "filter": filters, "detector": detectors})
    for name in ("filter", "detector"):  # also without rows
        table[name] = table[name].astype(str)
    aligned = [metrics[name].get("ceers_align", {}) for name in names]
    table["alignment"] = np.array([_status(each) for each in aligned], dtype=str)
    unusual = {}
    for quantity in QUANTITIES:
        values = _values(names, metrics, quantity.metric)
        if quantity.error == "sqrt":
            errors = np.sqrt(np.clip(values, 1, None))
        elif quantity.error:
            errors = _values(names, metrics, BY_NAME[quantity.error])
        else:
            errors = np.full(len(names), np.nan)
        marked = np.array([quantity.metric.beyond(value) for value in values], dtype=bool)
        if quantity.compared:
            marked |= mark_outliers(values, errors, filters, detectors)
        unusual[quantity.name] = marked
        unit = quantity.metric.unit or None
        table[quantity.name] = MaskedColumn(
            values, mask=np.isnan(values), unit=unit, description=quantity.title
        )
    unusual["sky"] |= np.array([bool(refusals(metrics[name])) for name in names], dtype=bool)
    unusual["alignment"] = np.array(
        [status in {"FAILED", "BORROWED"} for status in table["alignment"]], dtype=bool
    )
    unusual["place"] = np.array(
        [as_number(task.arguments.get("far_from_visit")) > 0 for task in tasks], dtype=bool
    )
    marks = [" ".join(name for name in unusual if unusual[name][row]) for row in range(len(names))]
    table["outlier"] = np.array(marks, dtype=str)
    return Quality(table, unusual)


def mark_outliers(
    values: NDArray, errors: NDArray, filters: Sequence[str], detectors: Sequence[str]
) -> NDArray[np.bool_]:
    """Mark values that are far from those of exposures like it.

    An exposure is compared with those in its filter and of its detector, or, where these are
    fewer than `ENOUGH`, with all of its filter. Its distance from their median is measured in
    standard deviations, as the median absolute deviation gives them, with its own uncertainty.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN where there is none.
    errors : ndarray, shape (n,)
        Standard deviations; NaN where unknown.
    filters, detectors : sequence of str
        Of each exposure.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    marked = np.zeros(len(values), dtype=bool)
    known = np.flatnonzero(np.isfinite(values))
    alike, in_filter = defaultdict(list), defaultdict(list)
    for index in map(int, known):
        alike[filters[index], detectors[index]].append(index)
        in_filter[filters[index]].append(index)
    for (filter_name, _), members in alike.items():
        compared = members if len(members) >= ENOUGH else in_filter[filter_name]
        if len(compared) < ENOUGH:
            continue
        middle = np.median(values[compared])
        spread = MAD_TO_SIGMA * np.median(np.abs(values[compared] - middle))
        # of values that are all the same, only a visible difference counts
        floor = 1e-3 * abs(middle)
        sigma = np.sqrt(spread**2 + floor**2 + np.nan_to_num(errors[members]) ** 2)
        marked[members] = np.abs(values[members] - middle) > LIMIT * sigma
    return marked


BY_EXPOSURE = {"exposure", "align", "outlier", "imgbkg", "outlier2"}
"""Stages with metrics of exposures."""


def _metrics(plan: Plan, records: Mapping[str, Record]) -> dict[str, dict]:
    """Return the metrics of each exposure by step, those of later tasks over earlier ones."""
    metrics: dict[str, dict] = defaultdict(dict)
    for task in plan.tasks.values():
        if task.stage in BY_EXPOSURE and task.id in records:
            for name, steps in records[task.id].metrics.items():
                metrics[name].update(steps)
    return metrics


def _values(
    names: Sequence[str], metrics: Mapping[str, dict], metric: Metric
) -> NDArray[np.float64]:
    """Return one metric of all exposures, NaN where there is none."""
    found = (metrics[name].get(metric.step, {}).get(metric.key) for name in names)
    return np.array([as_number(value) for value in found], dtype=float)


def too_few(filters: Sequence[str]) -> str:
    """Say which exposures cannot be compared with others.

    Parameters
    ----------
    filters
        Of each exposure.

    Returns
    -------
    str
        One line for people; empty when there are enough of all.
    """
    counts = Counter(filters)
    few = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < ENOUGH]
    if not few:
        return ""
    return (
        f"Fewer than {ENOUGH} exposures in {', '.join(few)}: these are not compared with each "
        "other, only with absolute limits."
    )


def _status(metrics: Mapping[str, Any]) -> str:
    """Return how the alignment of an exposure ended.

    The last fit decides: one that is aligned to the catalogue is well placed, though it could not
    be aligned with the other exposures before.
    """
    relative, absolute = (metrics.get(f"{fit}_status", "") for fit in ("relative", "absolute"))
    if absolute == "COMPLETE" and relative == "FAILED":
        return CATALOGUE_ONLY
    return relative if relative == CATALOGUE_ONLY else absolute or relative
