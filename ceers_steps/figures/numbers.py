"""Numbers as texts: as many digits as their errors have."""

from collections.abc import Mapping
from math import floor, isfinite, log10

from ceers_steps.files.metrics import METRICS

__all__ = ["metric_rows", "metric_text", "rounded", "with_error"]


def rounded(value: float, error: float) -> str:
    """Return a value to the two leading digits of its standard error.

    Parameters
    ----------
    value, error : float
        In the same unit.

    Returns
    -------
    str
        Five digits, or all before the point, where no error is known.
    """
    if not (isfinite(error) and error > 0):
        return f"{value:.0f}" if value >= 1e4 else f"{value:.5g}"
    return f"{value:.{max(1 - floor(log10(error)), 0)}f}"


def with_error(value: float, error: float) -> str:
    """Return a value and its standard error, both to the two leading digits of the error.

    Parameters
    ----------
    value, error : float
        In the same unit.

    Returns
    -------
    str
        The value alone where no error is known.
    """
    text = rounded(value, error)
    return f"{text} ± {rounded(error, error)}" if isfinite(error) and error > 0 else text


def metric_text(name: str, metrics: Mapping[str, float]) -> str:
    """Return a metric, to the digits of its error where that is among the metrics.

    Parameters
    ----------
    name : str
        Of the metric; its error is called ``<name>_err``.
    metrics : mapping
        By name.

    Returns
    -------
    str
    """
    value = metrics[name]
    return rounded(value, value if name.endswith("_err") else metrics.get(f"{name}_err", 0.0))


def metric_rows(metrics: Mapping[str, float]) -> list[tuple[str, str, str, str]]:
    """Return name, value, unit and meaning of the metrics that are known.

    Parameters
    ----------
    metrics : mapping
        By name.

    Returns
    -------
    list of (str, str, str, str)
        In the order of `METRICS`.
    """
    return [
        (metric.name, metric_text(metric.name, metrics), metric.unit, metric.meaning)
        for metric in METRICS
        if metric.name in metrics
    ]
