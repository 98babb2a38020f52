"""What steps leave for the page of an exposure, made small; nothing where none is kept."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.astrometry.exposure import AlignedExposure
from ceers_steps.figures import canvas, looks
from ceers_steps.files.membership import identity_of
from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.sky.level import sky_level
from ceers_steps.kernels.sky.settings import PEDESTAL
from ceers_steps.kernels.snowballs.flagging import SnowballFlags
from ceers_steps.kernels.wisps.subtract import WispSubtraction

__all__ = [
    "keep_alignment",
    "keep_rate",
    "keep_sky",
    "keep_snowballs",
    "keep_stripes",
    "keep_wisp",
]

BINS, REACH = 80, 6.0
"""Of a histogram: number, and how far from the level it reaches, standard deviations."""

CUTOUTS, CUTOUT = 6, 64
"""Snowballs that are drawn, the largest first, and pixels along a side of each at most."""

BRIGHTEST = 500.0
"""White in the picture of a snowball, in units of the noise of a difference."""


def keep_rate(rate: JwstDataModel) -> None:
    """Keep the picture of a rate image.

    Parameters
    ----------
    rate
        The exposure; that of its integrations adds nothing.
    """
    if looks.are_kept() and rate.data.ndim == 2:
        view = canvas.binned(rate.data, canvas.binning(rate.data.shape))
        pictures = {"image": (view, canvas.sky(view)[1])}
        looks.keep_look(identity_of(rate), "rate", facts=_shape(rate.data), pictures=pictures)


def keep_wisp(
    model: JwstDataModel, found: WispSubtraction, components: NDArray, start: tuple[int, int]
) -> None:
    """Keep the wisp that was subtracted, and how its scale was found; else the template.

    Parameters
    ----------
    model
        The exposure, its wisp subtracted.
    found
        The fit.
    components, start
        The templates, and where the exposure begins in them.
    """
    if not looks.are_kept() or model.data.ndim != 2 or not found.fits:
        return
    fit = found.fits[0]
    pictures = {}
    if found.wisps is not None and found.subtracted[0]:
        pictures["removed"] = _removed(found.wisps[0], model.data)
    elif len(components) == 1:
        (y, x), (ny, nx) = start, model.data.shape
        template = np.nan_to_num(components[0][y : y + ny, x : x + nx])
        pictures["template"] = _removed(template, model.data)
    looks.keep_look(
        identity_of(model),
        "wisp",
        {"trial_scales": fit.trial_scales, "objective": fit.objective},
        {
            "scales": fit.scales,
            "scale_errs": [float(err) if np.isfinite(err) else None for err in fit.scale_errs],
            "subtracted": found.subtracted[0],
            **_shape(model.data),
        },
        pictures=pictures,
    )


def keep_stripes(model: JwstDataModel, total: NDArray) -> None:
    """Keep the stripes that were subtracted.

    Parameters
    ----------
    model
        The exposure; that of its integrations adds nothing.
    total
        What was subtracted, shape (ny, nx).
    """
    if looks.are_kept() and model.data.ndim == 2:
        pictures = {"removed": _removed(total, model.data)}
        looks.keep_look(identity_of(model), "stripes", facts=_shape(model.data), pictures=pictures)


def keep_snowballs(model: JwstDataModel, found: SnowballFlags) -> None:
    """Keep where snowballs were flagged, and the largest as they are in the groups.

    Parameters
    ----------
    model
        Ramps.
    found
        Of them.
    """
    if not looks.are_kept():
        return
    flagged: NDArray[np.bool_] = np.asarray(found.flags.any(axis=(0, 1)))
    factor = canvas.binning(flagged.shape)
    small = block_sum(flagged, factor) > 0
    events = sorted(found.events or (), key=lambda event: -event.halo_radius)
    rows = [
        (e.integration + 1, e.group + 1, e.y, e.x, e.core_radius, e.halo_radius, e.saturated)
        for e in events
    ]
    cutouts: dict[str, NDArray] = {}
    for number, event in enumerate(events[:CUTOUTS]):
        half = int(1.4 * event.halo_radius + 10)
        y, x = int(event.y), int(event.x)
        box = np.s_[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        step = max(1, -(-(2 * half + 1) // CUTOUT))
        ramp = model.data[event.integration]
        change = (ramp[event.group][box] - ramp[max(event.group - 1, 0)][box])[::step, ::step]
        flags = found.flags[event.integration, event.group][box][::step, ::step]
        cutouts[f"cutout_{number}"] = _stretched(change)
        cutouts[f"flags_{number}"] = flags
        cutouts[f"corner_{number}"] = np.array([box[0].start, box[1].start, step])
    looks.keep_look(
        identity_of(model),
        "snowballs",
        {"flagged": small, "events": np.array(rows, float).reshape(-1, 7), **cutouts},
        {"binning": factor, **_shape(flagged)},
    )


def keep_sky(
    model: JwstDataModel, mask: NDArray[np.bool_], method: str, level: float, error: float
) -> None:
    """Keep the histogram of the sky, of what its level was measured on.

    Parameters
    ----------
    model
        The exposure, its sky subtracted.
    mask
        True = bad pixel or source.
    method
        ``mode`` (of the means of blocks) or ``gaussian`` (of pixels).
    level, error
        What was subtracted, and its standard error.
    """
    if not looks.are_kept():
        return
    values, what = model.data[~mask], "pixels"
    block = PEDESTAL.block
    if method == "mode":
        count = block_sum(~mask, block)
        full = count >= PEDESTAL.full * block**2
        if np.count_nonzero(full) >= PEDESTAL.least_blocks:
            total = block_sum(np.where(mask, 0.0, model.data), block)
            values, what = total[full] / count[full], f"means of {block} x {block} pixels"
    if not values.size:
        return
    sigma = float(sky_level(values).sigma)
    counts, edges = np.histogram(values, BINS, (-REACH * sigma, REACH * sigma or 1.0))
    looks.keep_look(
        identity_of(model),
        "sky",
        {"counts": counts, "edges": edges + level},
        {
            "level": level,
            "error": error,
            "sigma": sigma,
            "what": what,
            "unit": model.meta.bunit_data or "",
        },
    )


def keep_alignment(exposure: AlignedExposure) -> None:
    """Keep the matches of an exposure, and what is said of each of its fits; also of failures.

    Parameters
    ----------
    exposure
        Aligned, or not.
    """
    if not looks.are_kept():
        return
    arrays = {}
    for number, fit in enumerate(exposure.residuals):
        arrays[f"matches_{number}"] = np.column_stack([fit.positions, fit.residuals, fit.used])
    looks.keep_look(
        exposure.name,
        "alignment",
        arrays,
        {
            "status": exposure.status,
            "note": exposure.note,
            "doubt": exposure.doubt,
            "titles": [fit.title for fit in exposure.residuals],
            "rows": [_finite(row) for row in exposure.rows],
        },
    )


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without numbers that are not finite."""
    return {
        name: value
        for name, value in row.items()
        if not isinstance(value, float) or np.isfinite(value)
    }


def _shape(image: NDArray) -> dict[str, Any]:
    """Return the shape of an image, as a fact."""
    return {"shape": list(image.shape[-2:])}


def _removed(change: NDArray, image: NDArray) -> tuple[NDArray, float]:
    """Return what was subtracted from an image, binned, and the noise of the image."""
    factor = canvas.binning(image.shape)
    middle = tuple(slice(n // 4, n - n // 4) for n in image.shape)
    return canvas.binned(change, factor), canvas.sky(canvas.binned(image[middle], factor))[1]


def _stretched(change: NDArray) -> NDArray[np.uint8]:
    """Return the difference of two groups with an asinh stretch, as grey levels."""
    level, noise = canvas.sky(change)
    grey = np.arcsinh((change - level) / (2 * noise)) / np.arcsinh(BRIGHTEST / 2)
    return (255 * np.clip(np.nan_to_num(0.15 + 0.85 * grey), 0, 1)).astype(np.uint8)
