"""The report of an output folder: what is in it, and which of its values are unusual."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ceers_steps.report.site import write_site
from ceers_steps.report.survey_data import Exposure, read_survey
from ceers_steps.survey.summary.quality import BY_NAME, COMPARED, mark_outliers, too_few

__all__ = ["unusual", "write_report"]


def write_report(folder: str | os.PathLike, cores: int) -> Path:
    """Write the report of a survey; only what has changed is made again.

    Parameters
    ----------
    folder
        Output of ``ceers reduce`` or ``ceers demo``, or any folder of products.
    cores
        Processes.

    Returns
    -------
    Path
        Its first page.

    Raises
    ------
    CeersError
        When the folder has no product and no record, the extra ``report`` is missing or a file
        cannot be written.
    """
    survey = read_survey(Path(folder))
    few = too_few([exposure.facts.get("FILTER", "") for exposure in survey.exposures])
    return write_site(survey, mark=unusual, few=few, cores=cores)


def unusual(exposures: Sequence[Exposure], name: str) -> list[bool]:
    """Say of each exposure whether a metric is far from those like it, or beyond its limits.

    Parameters
    ----------
    exposures
        All of a survey.
    name
        Of a metric.

    Returns
    -------
    list of bool
    """
    values = np.array([exposure.metrics.get(name, np.nan) for exposure in exposures], dtype=float)
    errors = np.array(
        [exposure.metrics.get(f"{name}_err", np.nan) for exposure in exposures], dtype=float
    )
    if name in {"snowballs", "relative_matches", "absolute_matches"}:
        errors = np.sqrt(np.clip(values, 1, None))
    filters = [exposure.facts.get("FILTER", "") for exposure in exposures]
    detectors = [exposure.facts.get("DETECTOR", "") for exposure in exposures]
    marks = mark_outliers(values, errors, filters, detectors)
    if name not in COMPARED:
        marks = np.zeros(len(values), dtype=bool)
    beyond = BY_NAME[name].beyond if name in BY_NAME else lambda value: False
    return [bool(mark or beyond(value)) for mark, value in zip(marks, values, strict=True)]
