"""The metrics of a product: one name, unit and meaning each, wherever they are shown or stored.

Steps leave their numbers in ``meta.ceers_steps.<step>.metrics`` of a product; a survey keeps them
in the record of each task. This table says which of them is which metric. A survey writes them as
``metrics.jsonl`` (one product a line) and ``metrics.ecsv``.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ceers_steps.files.atomic import write_atomic

__all__ = [
    "FACTS",
    "METRICS",
    "Metric",
    "as_number",
    "metrics_of",
    "refusals",
    "step_metrics",
    "write_metrics",
]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name : str
        The name in every table, file and page.
    unit : str
        Empty for pure numbers.
    step, key : str
        The step that measures it, and the name under which the step leaves it in the product.
    meaning : str
        One line for people.
    least, most : float or None
        Beyond these a product needs a look, however few there are to compare it with.
    """

    name: str
    unit: str
    step: str
    key: str
    meaning: str
    least: float | None = None
    most: float | None = None

    def beyond(self, value: float) -> bool:
        """Say whether a value needs a look, whatever others have; False for NaN."""
        return (self.least is not None and value < self.least) or (
            self.most is not None and value > self.most
        )


METRICS = (
    Metric("snowballs", "", "ceers_snowball", "n_events", "snowballs found"),
    Metric(
        "snowball_saturated", "", "ceers_snowball", "n_saturated", "snowballs with saturated core"
    ),
    Metric(
        "snowball_area",
        "pix",
        "ceers_snowball",
        "n_flagged_pixels",
        "pixels flagged for snowballs in any group",
    ),
    Metric(
        "snowball_fraction",
        "",
        "ceers_snowball",
        "added_fraction",
        "pixel groups newly flagged",
        most=0.05,
    ),
    Metric("jumps_cleared", "", "ceers_jump_check", "cleared_fraction", "jump flags taken back"),
    Metric("jumps_added", "", "ceers_jump_check", "added_fraction", "jump flags added"),
    Metric(
        "trapped_area",
        "pix",
        "ceers_trapped_charge",
        "n_trapped_pixels",
        "pixels flagged for charge of earlier exposures",
    ),
    Metric(
        "wisp_scale",
        "",
        "ceers_wispsub",
        "scale",
        "factor of the template, as subtracted; the mean of several",
    ),
    Metric("wisp_scale_err", "", "ceers_wispsub", "scale_err", "its standard deviation"),
    Metric(
        "wisp_significance",
        "",
        "ceers_wispsub",
        "significance",
        "mean brightness of the wisp over its error",
    ),
    Metric("stripe_rms", "DN / s", "ceers_remstriping", "stripe_rms", "rms of what was removed"),
    Metric(
        "stripe_residual",
        "DN / s",
        "ceers_remstriping",
        "predicted_error",
        "expected rms of the stripes that are left",
    ),
    Metric(
        "row_rms_before",
        "DN / s",
        "ceers_remstriping",
        "row_rms_before",
        "scatter of the means of output rows before",
    ),
    Metric(
        "row_rms_after",
        "DN / s",
        "ceers_remstriping",
        "row_rms_after",
        "the same after",
    ),
    Metric(
        "row_rms_ratio",
        "",
        "ceers_remstriping",
        "row_rms_ratio",
        "that after over what white noise makes",
        most=1.5,
    ),
    Metric(
        "masked_rows",
        "",
        "ceers_remstriping",
        "masked_rows",
        "output rows with more than 80% masked",
    ),
    Metric(
        "noise_scale",
        "",
        "ceers_remstriping",
        "noise_scale",
        "white noise over what ERR predicts",
        least=0.7,
        most=1.5,
    ),
    Metric("sky", "MJy / sr", "ceers_skyvar", "sky", "sky level, subtracted"),
    Metric("sky_err", "MJy / sr", "ceers_skyvar", "sky_err", "its standard deviation"),
    Metric(
        "variance_factor",
        "",
        "ceers_skyvar",
        "variance_factor",
        "factor of the variances",
        least=0.7,
        most=1.35,
    ),
    Metric(
        "variance_factor_err", "", "ceers_skyvar", "variance_factor_err", "its standard deviation"
    ),
    Metric("relative_matches", "", "ceers_align", "relative_n_matched", "matches to exposures"),
    Metric("relative_rms", "mas", "ceers_align", "relative_rmse", "rms of these matches"),
    Metric("absolute_matches", "", "ceers_align", "absolute_n_matched", "matches to the catalogue"),
    Metric("absolute_rms", "mas", "ceers_align", "absolute_rmse", "rms of these matches"),
    Metric("shift_x", "mas", "ceers_align", "absolute_xshift", "shift to the catalogue, x"),
    Metric("shift_y", "mas", "ceers_align", "absolute_yshift", "shift to the catalogue, y"),
    Metric("roll", "arcsec", "ceers_align", "absolute_rotation", "rotation to the catalogue"),
    Metric(
        "outlier_fraction",
        "",
        "outlier_detection",
        "outlier_fraction",
        "usable pixels flagged as outliers",
        most=0.05,
    ),
    Metric("area", "arcmin2", "mosaic", "area", "area with data"),
    Metric("sky_noise", "MJy / sr", "mosaic", "sky_noise", "scatter of the pixels of the sky"),
    Metric("depth", "mag", "mosaic", "depth", "5 sigma in an aperture of 0.2 arcsec, AB"),
    Metric("depth_03", "mag", "mosaic", "depth_03", "the same in 0.3 arcsec"),
    Metric("depth_05", "mag", "mosaic", "depth_05", "the same in 0.5 arcsec"),
    Metric(
        "background_rms",
        "MJy / sr",
        "ceers_mosaic_background",
        "sky_rms",
        "rms of the sky in blocks after the subtraction",
    ),
    Metric(
        "masked_fraction",
        "",
        "ceers_mosaic_background",
        "masked_fraction",
        "pixels masked as sources",
        most=0.4,
    ),
    Metric(
        "outskirts_fraction",
        "",
        "ceers_mosaic_background",
        "outskirts_fraction",
        "sky masked as outskirts of sources",
        most=0.25,
    ),
    Metric(
        "faint_residual",
        "MJy / sr",
        "ceers_mosaic_background",
        "under_faint_sources",
        "sky left under faint sources",
    ),
    Metric(
        "border_excess",
        "",
        "border",
        "excess",
        "sky along the border less that inside, in units of the pixel noise",
        least=-0.1,
        most=0.1,
    ),
    Metric("seconds", "s", "task", "seconds", "wall time of the task that made it"),
    Metric("memory_mb", "Mbyte", "task", "memory_mb", "peak memory of that task"),
)
"""All metrics, in the order of the columns."""

FACTS = (
    "product",
    "name",
    "stage",
    "filter",
    "detector",
    "group",
    "refused",
    "crds_context",
    "made",
)
"""Columns of text before them; after them the versions of packages, by name."""


REFUSALS = {
    "sky_refused": "sky not subtracted",
    "background_refused": "background not subtracted",
}
"""Under which name a step leaves why it has not done its work, and what that work is."""


def refusals(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what the steps have refused to do to a product.

    Parameters
    ----------
    metrics
        ``{step: {key: value}}``, as steps leave them.

    Returns
    -------
    list of str
        For people, with the reason.
    """
    found = [each for values in metrics.values() for each in values.items()]
    return list(dict.fromkeys(f"{REFUSALS[key]}: {text}" for key, text in found if key in REFUSALS))


def step_metrics(meta: Mapping) -> dict[str, dict]:
    """Return the metrics that the steps have left in ``meta.ceers_steps``.

    Parameters
    ----------
    meta
        ``meta`` of a data model, as a plain tree.

    Returns
    -------
    dict
        ``{alias: {metric: value}}``, steps without metrics left out.
    """
    entries = meta.get("ceers_steps", {})
    metrics = {alias: dict(entry.get("metrics", {})) for alias, entry in entries.items()}
    return {alias: found for alias, found in metrics.items() if found}


def metrics_of(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics of one product.

    Parameters
    ----------
    metrics
        ``{step: {key: value}}``, as steps leave them.

    Returns
    -------
    dict
        ``{name: value}``, without those that are unknown or not finite; of several values
        (integrations, templates) the mean.
    """
    found = {}
    for metric in METRICS:
        value = as_number(metrics.get(metric.step, {}).get(metric.key))
        if isfinite(value):
            found[metric.name] = value
    return found


def as_number(value: object) -> float:
    """Return a figure that a step has left as one number.

    Parameters
    ----------
    value
        A number, or several (of integrations, templates).

    Returns
    -------
    float
        Of several numbers their mean; NaN where it is nothing of the kind.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    numbers = [float(item) for item in values if isinstance(item, (int, float))]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(values) else float("nan")


def write_metrics(folder: str | os.PathLike, products: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Write ``metrics.jsonl`` and ``metrics.ecsv``.

    Parameters
    ----------
    folder
        Where.
    products
        One mapping a product: ``product`` (its name), and any of the metrics and other facts.

    Returns
    -------
    list of Path
        The two files.
    """
    from astropy.table import MaskedColumn, Table

    rows = [dict(row) for row in products]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    known = {metric.name: metric for metric in METRICS}
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: list(known).index(name) if name in known else -1)
    table = Table()
    for name in names:
        mask = [row.get(name) is None for row in rows]
        text = any(isinstance(row.get(name), str) for row in rows)
        values = [row[name] if row.get(name) is not None else "" if text else 0 for row in rows]
        metric = known.get(name)
        table[name] = MaskedColumn(
            values,
            mask=mask,
            unit=metric.unit or None if metric else None,
            description=metric.meaning if metric else None,
        )
    folder = Path(folder)
    return [
        write_atomic(
            folder / "metrics.jsonl", lambda path: path.write_text(lines, encoding="utf-8")
        ),
        write_atomic(folder / "metrics.ecsv", lambda path: table.write(path, format="ascii.ecsv")),
    ]
