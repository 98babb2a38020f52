"""Figure of the alignment: residuals of every fit, as vectors and as a cloud."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ceers_steps.figures import canvas
from ceers_steps.figures.canvas import ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ceers_steps.astrometry.exposure import Residuals

__all__ = ["alignment_figure"]

_BLUE = "#0072B2"
_MOST = 12


def alignment_figure(path: str | os.PathLike, fits: Sequence[Residuals]) -> Path:
    """Draw the residuals of fits: where they are, and how they scatter.

    Parameters
    ----------
    path : path
        PNG file to write.
    fits : sequence of `~ceers_steps.astrometry.exposure.Residuals`
        One row of the figure each, at most 12; the rest is left out.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CeersError
        When matplotlib is not installed.
    """
    shown = list(fits)[:_MOST]
    rest = len(fits) - len(shown)
    title = "Residuals: reference less aligned position"
    figure = canvas.new_figure(9, 0.6 + 4.2 * len(shown), title + (f" ({rest} more)" * (rest > 0)))
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for (vectors, cloud), fit in zip(axes, shown, strict=True):
        _draw_vectors(vectors, fit)
        _draw_cloud(cloud, fit)
    return canvas.write(figure, path)


def _draw_vectors(axes: Axes, fit: Residuals) -> None:
    axes.set_title(fit.title, fontsize=9, loc="left")
    axes.set(xlabel="x in the tangent plane (arcsec)", ylabel="y (arcsec)", aspect="equal")
    if len(fit.positions) == 0:
        return
    x, y = fit.positions.T
    u, v = fit.residuals.T
    length = np.hypot(u, v)
    typical = float(np.median(length[fit.used])) if fit.used.any() else 1.0
    span = max(np.ptp(x), np.ptp(y), 1.0)
    # room for a single source
    axes.update_datalim([(x.mean() - 0.5, y.mean() - 0.5), (x.mean() + 0.5, y.mean() + 0.5)])
    for chosen, colour, label in ((~fit.used, ORANGE, "clipped"), (fit.used, _BLUE, "in the fit")):
        if not chosen.any():
            continue
        arrows = axes.quiver(
            x[chosen],
            y[chosen],
            u[chosen],
            v[chosen],
            color=colour,
            angles="xy",
            scale_units="xy",
            scale=max(typical, 1e-3) / (0.05 * span),
            width=0.004,
            label=label,
        )
    key = float(f"{typical:.1g}") or 1.0
    axes.quiverkey(arrows, 0.08, 0.04, key, f"{key:g} mas", labelpos="E")
    axes.margins(x=0.08, y=0.14)


def _draw_cloud(axes: Axes, fit: Residuals) -> None:
    used = fit.used
    rms = float(np.sqrt(np.mean(np.sum(fit.residuals[used] ** 2, axis=1)))) if used.any() else 1.0
    limit = max(4 * float(np.median(np.hypot(*fit.residuals[used].T))) if used.any() else 1.0, 0.1)
    inside = np.clip(fit.residuals, -limit, limit)
    for chosen, colour, label in (
        (~used, ORANGE, f"{np.sum(~used)} clipped"),
        (used, _BLUE, f"{np.sum(used)} in the fit"),
    ):
        if not chosen.any():
            continue
        axes.plot(*inside[chosen].T, ".", color=colour, ms=4, label=label)
    axes.axhline(0, color="0.7", lw=0.8, zorder=0)
    axes.axvline(0, color="0.7", lw=0.8, zorder=0)
    axes.set(
        xlim=(-1.05 * limit, 1.05 * limit),
        ylim=(-1.05 * limit, 1.05 * limit),
        xlabel="x residual (mas)",
        ylabel="y residual (mas)",
        aspect="equal",
    )
    axes.set_title(f"rms length {rms:.2f} mas", fontsize=9)
    if len(fit.residuals):
        axes.legend(fontsize=8, loc="upper right", framealpha=0.9)
