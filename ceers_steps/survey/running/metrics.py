"""Metrics, as steps leave them in products, and those of a mosaic, measured on it."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ceers_steps.figures.preview import read_preview
from ceers_steps.files.headers.provenance import read_meta
from ceers_steps.files.metrics import step_metrics
from ceers_steps.kernels.mosaic.depth import (
    DEPTH,
    limiting_magnitude,
    sky_scatter,
    square_side,
    square_sums,
)

__all__ = [
    "alignment_metrics",
    "alignment_reasons",
    "border_excess",
    "measure_mosaic",
    "outlier_fraction",
    "product_metrics",
    "step_note",
]

DEPTHS = ("depth", "depth_03", "depth_05")
"""Names of the depths in the apertures of `DEPTH`."""

PATCHES, PATCH = 8, 256
"""The noise of a mosaic is measured in so many patches along each side, of so many pixels."""

OUTLIER, DO_NOT_USE = 16, 1
"""Flags of DQ."""

BORDER = 64
"""Pixels from the edge of the data that are the border of a mosaic."""

SAMPLES = 1024
"""Rows and columns that are looked at there."""

ENOUGH_SKY = 2000
"""Pixels by which a level is known to 0.03 of the noise."""

ALIGNMENT_METRICS = (
    *("status", "n_matched", "rmse", "shift_error"),
    *("xshift", "yshift", "rotation", "note"),
)
"""Columns of the results of the alignment that are kept."""


def product_metrics(path: Path, *aliases: str) -> dict[str, dict]:
    """Read the metrics of some steps from a product.

    Parameters
    ----------
    path
        FITS file of a data model.
    *aliases
        Steps of interest.

    Returns
    -------
    dict
        ``{alias: {metric: value}}``.
    """
    metrics = step_metrics(read_meta(path))
    return {alias: metrics[alias] for alias in aliases if alias in metrics}


def step_note(path: Path, alias: str) -> str:
    """Return what a step has noted of its work in a product; empty if it has not.

    Parameters
    ----------
    path
        FITS file of a data model.
    alias
        Of the step.
    """
    return str(read_meta(path).get("ceers_steps", {}).get(alias, {}).get("note", ""))


def alignment_metrics(path: Path) -> dict[str, dict]:
    """Read the results of an alignment.

    Parameters
    ----------
    path
        ``*_alignment.ecsv``.

    Returns
    -------
    dict
        ``{exposure: {"ceers_align": {"relative_rmse": value}}}``: the metrics of each exposure,
        those of the fit to the reference catalogue with ``absolute_``. Lengths are in mas.
    """
    from astropy.table import Table

    metrics: dict[str, dict] = {}
    for row in Table.read(path, format="ascii.ecsv"):
        found = metrics.setdefault(str(row["exposure"]), {"ceers_align": {}})["ceers_align"]
        for name in ALIGNMENT_METRICS:
            value = row[name]
            if value is not np.ma.masked and value == value:  # neither empty nor NaN
                found[f"{row['alignment']}_{name}"] = value.tolist()
    return metrics


def alignment_reasons(path: Path, exposures: Collection[str]) -> str:
    """Say why exposures are not aligned.

    Parameters
    ----------
    path
        ``*_alignment.ecsv``.
    exposures
        Their names.

    Returns
    -------
    str
        Every reason once; that of an exposure is in its last row.
    """
    from astropy.table import Table

    table = Table.read(path, format="ascii.ecsv")
    last = {str(row["exposure"]): str(row["note"]) for row in table}
    return "; ".join(dict.fromkeys(last[name] for name in exposures))


def measure_mosaic(path: Path) -> dict[str, float]:
    """Measure noise, depth and area of a mosaic on a part of its pixels.

    Parameters
    ----------
    path
        ``*_i2d.fits``, of any size: only what is measured is read.

    Returns
    -------
    dict
        ``sky_noise``: scatter of the pixels of the sky (MJy/sr); ``depth``: 5 sigma in an
        aperture of 0.2 arcsec, ``depth_03`` and ``depth_05`` in 0.3 and 0.5, AB mag, from the
        scatter of sums over squares of its area, so with the correlations that drizzling
        makes (`ceers_steps.kernels.mosaic.depth`); ``area``: arcmin2 with data. What cannot be
        measured is left out.
    """
    with fits.open(path, memmap=False) as hdus:
        header, image = hdus["SCI"].header, hdus["SCI"].section
        pixel_area = header["PIXAR_SR"]
        pixel_scale = math.degrees(math.sqrt(pixel_area)) * 3600
        apertures = (DEPTH.aperture, *DEPTH.wider)
        sides = [square_side(pixel_scale, aperture) for aperture in apertures]
        ny, nx = header["NAXIS2"], header["NAXIS1"]
        noises = [
            _noises(image[y : y + PATCH, x : x + PATCH], sides)
            for y in _starts(ny)
            for x in _starts(nx)
        ]
    found = np.array([noise for noise in noises if noise is not None]).reshape(-1, 1 + len(sides))
    preview = read_preview(path)
    seen = np.count_nonzero(np.isfinite(preview)) / preview.size
    metrics = {"area": float(seen * nx * ny * pixel_scale**2 / 3600)}
    if len(found):
        metrics["sky_noise"] = float(np.median(found[:, 0]))
        for name, aperture, scatters in zip(DEPTHS, apertures, found.T[1:], strict=True):
            known = scatters[np.isfinite(scatters)]
            scatter = np.median(known) if known.size else math.nan
            depth = float(limiting_magnitude(scatter, pixel_area, aperture))
            if math.isfinite(depth):
                metrics[name] = depth
    return metrics


def outlier_fraction(path: Path) -> float:
    """Return which part of the usable pixels of an exposure was flagged as outliers.

    Parameters
    ----------
    path
        ``*_match.fits`` or ``*_crf.fits``.

    Returns
    -------
    float
        Pixels with OUTLIER over these and all without DO_NOT_USE; NaN when there are none.
    """
    with fits.open(path, memmap=False) as hdus:
        dq = hdus["DQ"].data
    outlier = np.count_nonzero(dq & OUTLIER)
    usable = np.count_nonzero((dq & (DO_NOT_USE | OUTLIER)) != DO_NOT_USE)
    return outlier / usable if usable else math.nan


def border_excess(path: Path) -> float:
    """Return how much brighter the blank sky is along the border of a mosaic than inside.

    Parameters
    ----------
    path
        ``*_mbkgsub.fits`` or ``*_bkgsub.fits``; about a thousand of its rows are read.

    Returns
    -------
    float
        Difference of the medians within `BORDER` pixels of where there are no data and beyond
        three times that, in units of the pixel noise inside; NaN where either has too few pixels.
    """
    with fits.open(path, memmap=False) as hdus:
        ny, nx = hdus["SCI"].shape
        step = max(1, -(-max(ny, nx) // SAMPLES))
        rows = range(0, ny, step)
        image = np.array([hdus["SCI"].section[row, :][::step] for row in rows], dtype=np.float32)
        name = next((name for name in ("TIERMASK", "BKGMASK") if name in hdus), None)
        blank = np.isfinite(image) & (image != 0)
        # a frame without data around it: the border may be that of the array
        distance = distance_transform_edt(np.pad(blank, 1))[1:-1, 1:-1] * step
        if name is not None:
            mask = np.array([hdus[name].section[row, :][::step] for row in rows])
            # not border (bit 0) and outskirts (bit 5), for which a glow is taken
            blank &= (mask & ~np.uint8(33 if name == "TIERMASK" else 1)) == 0
    border = image[blank & (distance <= BORDER)]
    inside = image[blank & (distance > 3 * BORDER)]
    if min(border.size, inside.size) < ENOUGH_SKY:
        return math.nan
    noise = sky_scatter(inside)
    return float((np.median(border) - np.median(inside)) / noise) if noise else math.nan


def _starts(length: int) -> list[int]:
    """Return the first pixels of patches, evenly spread, that do not overlap."""
    n = max(1, min(PATCHES, length // PATCH))
    return [int((i + 0.5) * length / n - min(PATCH, length / n) / 2) for i in range(n)]


def _noises(patch: NDArray, sides: Sequence[int]) -> list[float] | None:
    """Return the scatter of pixels and of sums over squares; None where half is without data."""
    patch = np.asarray(patch, dtype=np.float32)
    patch = np.where(patch == 0, np.float32(np.nan), patch)
    sums = [square_sums(patch, side) for side in sides]
    known = [2 * np.count_nonzero(np.isfinite(each)) >= max(each.size, 1) for each in sums]
    if not known[0]:
        return None
    scatters = (sky_scatter(e) if k else math.nan for e, k in zip(sums, known, strict=True))
    return [sky_scatter(patch), *scatters]
