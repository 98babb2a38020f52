"""Metrics of mosaics in words, as `ceers_steps.validate.checks` for exposures.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ceers_steps.validate.checks import Check

if TYPE_CHECKING:
    from ceers_steps.validate.mosaics import MosaicMetrics

__all__ = ["describe_mosaic"]

MAX_RELATIVE = 1.0  # mas
CHI_RANGE = (0.98, 1.02)
SHOWN_BLOCKS = (1, 4, 16)
MAX_FLUX_ERROR = 0.001
MAX_BACKGROUND = 0.02  # of the sky noise per pixel


def describe_mosaic(metrics: MosaicMetrics, limit: float) -> list[Check]:
    """Return the lines of the table for one mosaic.

    Parameters
    ----------
    metrics : MosaicMetrics
        What was measured.
    limit : float
        Statistical limit of the absolute position, mas: the scatter of the reference catalogue
        over the root of the number of its sources that were matched.

    Returns
    -------
    list of Check
        One a line.
    """
    return [Check(f"mosaic {metrics.filter}", *line) for line in _lines(metrics, limit)]


def _lines(metrics: MosaicMetrics, limit: float) -> Iterator[tuple]:
    east, north = metrics.absolute
    before = np.mean([each.distance for each in metrics.commanded.values()])
    distance = float(np.hypot(east, north))
    yield (
        "alignment: offset from the true sky",
        f"{distance:.1f} mas (pointing error: {before:.0f})",
        f"limit {limit:.1f}",
        "below 3 x limit",
        distance < 3 * limit,
    )
    yield (
        f"alignment: scatter of {metrics.n_exposures} exposures",
        f"{metrics.relative:.2f} mas",
        "0",
        f"below {MAX_RELATIVE:g} mas",
        metrics.relative < MAX_RELATIVE,
    )
    positions = metrics.positions
    yield (
        f"positions of {positions.n} sources, with offset",
        f"{positions.east:+.1f}, {positions.north:+.1f} ± {positions.err:.1f} mas, "
        f"scatter {positions.scatter:.1f}",
        "0",
    )
    yield _chi_line(metrics)
    yield ("sky: pixels beyond 5 sigma", f"{metrics.outliers:.1e}", "6e-07")
    everything = metrics.all_sources
    yield (
        f"flux of {everything.n} sources",
        f"{1 + everything.bias:.3%} ± {everything.bias_err:.3%}",
        "100%",
        f"{MAX_FLUX_ERROR:.1%} or 3 sigma",
        abs(everything.bias) <= max(MAX_FLUX_ERROR, 3 * everything.bias_err),
    )
    yield (
        "flux: scatter / predicted error",
        f"{everything.chi:.2f} ± {everything.chi_err:.2f}",
        "1",
    )
    for name, left in (
        ("under faint sources", metrics.under),
        ("in blank sky", metrics.outside),
    ):
        yield (
            f"background left {name}",
            f"{left.mean:+.3f} ± {left.err:.3f} of the sky noise",
            "0",
            f"below {MAX_BACKGROUND:g} or 3 sigma",
            abs(left.mean) <= max(MAX_BACKGROUND, 3 * left.err),
        )


def _chi_line(metrics: MosaicMetrics) -> tuple:
    """Return the line of the noise in blocks."""
    low, high = CHI_RANGE
    shown: Sequence = [each for each in metrics.chi if each.block in SHOWN_BLOCKS]
    return (
        "sky: noise / predicted, " + ", ".join(str(each.block) for each in shown) + " px",
        ", ".join(f"{each.chi:.2f}" for each in shown) + f" ± {shown[-1].chi_err:.2f}",
        "1",
        f"{low:g} to {high:g} or 3 sigma",
        all(low - 3 * each.chi_err <= each.chi <= high + 3 * each.chi_err for each in metrics.chi),
    )
