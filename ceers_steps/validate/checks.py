"""Metrics in words: what was measured, what is true, what was to be reached.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ceers_steps.validate.exposures import ProductMetrics

__all__ = ["Check", "describe"]

MAX_BLOCK_NOISE = 1.05
MAX_FLUX_ERROR = 0.001
MAX_PEDESTAL_CHANGE = 1e-4
MAX_WISP_ERROR = 0.03
MIN_RECALL = 0.98
MAX_EXTRA_AREA = 0.6
MAX_HALO_BIAS = 0.2


@dataclass(frozen=True)
class Check:
    """One line of a table of measured against true values.

    Attributes
    ----------
    exposure, what : str
        Where and what was measured.
    measured, expected : str
        The value found, and the true one or the limit that noise sets.
    goal : str
        What was to be reached; empty when there is no goal.
    reached : bool or None
        Whether it was; None without a goal.
    """

    exposure: str
    what: str
    measured: str
    expected: str
    goal: str = ""
    reached: bool | None = None


def describe(metrics: ProductMetrics) -> list[Check]:
    """Return the lines of the table for one exposure.

    Parameters
    ----------
    metrics : ProductMetrics
        What was measured.

    Returns
    -------
    list of Check
        One a line.
    """
    name = f"{metrics.detector} {metrics.filter}"
    return [Check(name, *line) for line in _lines(metrics)]


def _lines(metrics: ProductMetrics) -> Iterator[tuple]:
    if metrics.wisp is not None:
        wisp = metrics.wisp
        yield (
            "wisp scale",
            f"{wisp.fitted:.3f} ± {wisp.fitted_err:.3f}",
            f"{wisp.true:.3f}",
            f"within {MAX_WISP_ERROR:.0%}",
            abs(wisp.relative) <= MAX_WISP_ERROR,
        )
    if metrics.wisp_left is not None:
        left = metrics.wisp_left
        yield (
            "correlation with wisp left",
            f"{left.correlation:+.4f} ± {left.correlation_err:.4f}",
            "0",
        )
    before, after = metrics.noise_before, metrics.noise
    yield (
        "stripes: block noise / white",
        f"{after.ratio:.2f} ± {after.ratio_err:.2f} (before: {before.ratio:.2f})",
        "1.00",
        f"at most {MAX_BLOCK_NOISE:g}",
        after.ratio <= MAX_BLOCK_NOISE,
    )
    flux = metrics.flux
    yield (
        "source flux",
        f"{flux.ratio:.3%} ± {flux.ratio_err:.3%}",
        "100%",
        f"{MAX_FLUX_ERROR:.1%} or 2 sigma",
        abs(flux.ratio - 1) <= max(MAX_FLUX_ERROR, 2 * flux.ratio_err),
    )
    yield (
        "sky level changed by",
        f"{metrics.pedestal.relative:+.1e} of it",
        "0",
        f"at most {MAX_PEDESTAL_CHANGE:g}",
        abs(metrics.pedestal.relative) <= MAX_PEDESTAL_CHANGE,
    )
    if metrics.snowballs is not None and metrics.snowballs.n_contaminated:
        balls = metrics.snowballs
        yield (
            "snowballs: hit pixels flagged",
            f"{balls.recall:.1%}",
            f"100% of {balls.n_contaminated}",
            f"at least {MIN_RECALL:.0%}",
            balls.recall >= MIN_RECALL,
        )
        yield (
            "snowballs: extra flagged area",
            f"{balls.extra_area:.2f}",
            "0",
            f"below {MAX_EXTRA_AREA:g}",
            balls.extra_area < MAX_EXTRA_AREA,
        )
    if metrics.halo is not None:
        halo = metrics.halo
        yield (
            "snowballs: bias of rate in halo",
            f"{halo.bias:+.2f} ± {halo.bias_err:.2f} sigma",
            "0",
            f"below {MAX_HALO_BIAS:g} sigma",
            abs(halo.bias) < MAX_HALO_BIAS,
        )
