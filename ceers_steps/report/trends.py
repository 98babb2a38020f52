"""Which quantities the first page shows as trends: against detectors, visits and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ceers_steps.report.survey_data import Exposure

__all__ = ["Trend", "find_trends"]


@dataclass(frozen=True)
class Trend:
    """One panel.

    Attributes
    ----------
    metric, heading : str
        What is shown, and the heading of the panel.
    by : str
        ``detector``, ``visit`` or ``time``.
    per_time : bool
        For 1000 s of the exposure.
    """

    metric: str
    heading: str
    by: str
    per_time: bool = False


TRENDS = (
    Trend("wisp_scale", "Wisp scale of each detector", "detector"),
    Trend("sky", "Sky of each visit, MJy/sr", "visit"),
    Trend("sky", "Sky against time, MJy/sr", "time"),
    Trend("snowballs", "Snowballs in 1000 s, against time", "time", per_time=True),
    Trend("snowballs", "Snowballs in 1000 s, by detector", "detector", per_time=True),
    Trend("stripe_rms", "Stripes removed, rms, DN/s", "detector"),
)


def find_trends(exposures: Sequence[Exposure]) -> list[Trend]:
    """Return the panels for which there is something to show.

    Parameters
    ----------
    exposures
        All of a survey.

    Returns
    -------
    list of Trend
    """
    found = []
    for trend in TRENDS:
        measured = [each for each in exposures if trend.metric in each.metrics]
        if trend.per_time:
            measured = [each for each in measured if _is_number(each.facts.get("EFFEXPTM"))]
        if trend.by == "time":
            measured = [each for each in measured if _is_number(each.facts.get("EXPSTART"))]
        if measured:
            found.append(trend)
    return found


def _is_number(text: str | None) -> bool:
    """Say whether a value of a header is a number above 0."""
    try:
        value = float(text or "")
    except ValueError:
        return False
    return isfinite(value) and value > 0
