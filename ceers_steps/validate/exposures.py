"""The products of one simulated exposure against its truth.

Reads what `~ceers_steps.CeersDetector1` and the simulator wrote; runs nothing again.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.simulate.truth import Truth, read_truth
from ceers_steps.validate import metrics
from ceers_steps.validate.records import (
    BlockNoise,
    HaloBias,
    PedestalChange,
    Record,
    SnowballFlags,
    SourceFlux,
    TemplateResidual,
    WispScale,
)
from ceers_steps.validate.true_light import true_light

__all__ = ["Comparison", "ProductMetrics", "compare"]

DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
JUMP = dqflags.pixel["JUMP_DET"] | dqflags.pixel["SATURATED"]
LEFT_OUT = dqflags.group["JUMP_DET"] | dqflags.group["SATURATED"] | dqflags.group["DO_NOT_USE"]

SOURCE_SIGMA = 3.0
"""Pixels in which the sources are brighter than this many sigma of the noise count as source."""
BLANK_SIGMA = 0.2
"""Pixels in which they, and snowballs, are fainter than this many sigma count as blank sky."""
HALO_SIGMA = (0.3, 30.0)
"""Halo of a snowball: its charge in a group is in this range of sigmas of a group difference."""


@dataclass(frozen=True)
class ProductMetrics:
    """How good the products of one exposure are; None where there is nothing to measure.

    Attributes
    ----------
    exposure, detector, filter : str
        Which exposure.
    noise_before, noise : BlockNoise
        16 x 16-pixel block noise in blank sky before and after the stripes were removed.
    flux_before, flux : SourceFlux
        Flux of all source pixels before and after, above the level of blank sky.
    pedestal : PedestalChange
        Level of the sky, changed by the removal of stripes: outside the source mask of that step,
        where stage 3 measures it too.
    wisp : WispScale or None
        Fitted against true scale.
    wisp_left : TemplateResidual or None
        Template left in the rate image.
    snowballs : SnowballFlags or None
        Flags of all groups.
    halo : HaloBias or None
        Rate in the halos.
    """

    exposure: str
    detector: str
    filter: str
    noise_before: BlockNoise
    noise: BlockNoise
    flux_before: SourceFlux
    flux: SourceFlux
    pedestal: PedestalChange
    wisp: WispScale | None
    wisp_left: TemplateResidual | None
    snowballs: SnowballFlags | None
    halo: HaloBias | None

    def as_row(self) -> dict[str, float | int | bool | str]:
        """Return all numbers as a flat dictionary for a table."""
        row: dict[str, float | int | bool | str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Record):
                row |= value.as_row(f"{field.name}_")
            elif value is not None:
                row[field.name] = value
        return row


@dataclass(frozen=True)
class SnowballView:
    """The group of an exposure with most contaminated pixels, to be drawn.

    Attributes
    ----------
    integration, group : int
        Which one, from 0.
    difference : array, shape (ny, nx)
        This group less the one before, DN.
    flags, jumps, contaminated : bool array, shape (ny, nx)
        True = flagged after and before the snowball step; truly contaminated.
    events : tuple of (y, x, radius)
        Snowballs that arrived in it, with the radius to which they contaminate.
    """

    integration: int
    group: int
    difference: NDArray
    flags: NDArray
    jumps: NDArray
    contaminated: NDArray
    events: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: metrics, and what the figures need.

    Attributes
    ----------
    metrics : ProductMetrics
        Metrics.
    before, after : array, shape (ny, nx)
        Rate image before wisps and stripes were taken out, and the product, to look at: flat
        divided out, bad pixels NaN, DN/s.
    view : SnowballView or None
        The group with most snowballs, None without any.
    """

    metrics: ProductMetrics
    before: NDArray
    after: NDArray
    view: SnowballView | None


def compare(products: Path, simulated: Path, root: str) -> Comparison:
    """Compare the products of one exposure with the truth.

    Parameters
    ----------
    products : Path
        Folder with ``<root>_rate.fits``, ``_1fmask``, ``_prewisp``, ``_pre1f``, ``_jump`` and
        ``_snowball``, as `~ceers_steps.CeersDetector1` writes them with ``save_intermediates`` and
        with ``save_results`` of the last two steps.
    simulated : Path
        Folder that the simulator wrote, with ``<root>_truth.asdf``.
    root : str
        Name of the exposure.

    Returns
    -------
    Comparison
        Metrics, and what the figures need.

    Raises
    ------
    CeersError
        When a file is missing or cannot be read.
    """
    truth = read_truth(simulated / f"{root}_truth.asdf")
    (before,) = _read(products / f"{root}_prewisp.fits", "SCI")
    (striped,) = _read(products / f"{root}_pre1f.fits", "SCI")
    masked = _read(products / f"{root}_1fmask.fits", "PRIMARY")[0] > 0
    rate, err, dq = _read(products / f"{root}_rate.fits", "SCI", "ERR", "DQ")
    with datamodels.open(products / f"{root}_rate.fits") as model:
        detector, filter_name = model.meta.instrument.detector, model.meta.instrument.filter
        fit = model.meta.instance.get("ceers_steps", {}).get("ceers_wispsub", {}).get("metrics", {})
        corner = (model.meta.subarray.ystart - 1, model.meta.subarray.xstart - 1)

    light = true_light(simulated, truth, corner)
    flat, template = light.flat, light.template
    sky = light.sky * flat
    clean = truth.rate - light.wisp * flat  # what a perfect reduction shows

    blind = truth.rate == 0
    bad = blind | ((dq & DO_NOT_USE) != 0) | ~np.isfinite(rate) | ~np.isfinite(flat)
    contaminated, excess = _snowball_excess(truth)
    hit = bad | ((dq & JUMP) != 0)
    noisy = hit | ~(err < 2 * np.median(err[~bad]))
    white = metrics.pixel_noise(rate - clean, mask=noisy)
    sources = np.where(bad, 0, clean - sky)
    lit = bad | (sources > BLANK_SIGMA * white)
    bright = sources > SOURCE_SIGMA * white
    occupied = noisy | lit | (excess > BLANK_SIGMA)

    flags, view, halo = None, None, None
    if contaminated.any():
        flags, view = _snowballs(products, root, truth, contaminated)
        in_halo = (excess > HALO_SIGMA[0]) & (excess < HALO_SIGMA[1])
        if (in_halo & ~lit).any():
            halo = metrics.halo_bias(rate, clean, err, in_halo, mask=lit, blank=excess == 0)
    measured = ProductMetrics(
        exposure=root,
        detector=detector,
        filter=filter_name,
        noise_before=metrics.block_noise(striped, clean, white, mask=occupied),
        noise=metrics.block_noise(rate, clean, white, mask=occupied),
        flux_before=metrics.source_flux(
            striped, clean, bright, sky=sky, err=err, mask=hit, blank=~occupied
        ),
        flux=metrics.source_flux(rate, clean, bright, sky=sky, err=err, mask=hit, blank=~occupied),
        pedestal=metrics.pedestal_change(striped, rate, mask=bad | masked),
        wisp=None if template is None else _wisp_scale(truth.wisp_scales, light.shares, fit),
        wisp_left=None
        if template is None
        else metrics.template_residual(
            rate, clean, template * flat, mask=occupied | (template < 0.05 * template.max())
        ),
        snowballs=flags,
        halo=halo,
    )
    to_show = np.where(bad, np.float32(np.nan), 1 / flat)
    return Comparison(measured, before * to_show, rate * to_show, view)


def _read(path: Path, *names: str) -> list[NDArray]:
    """Return extensions of a FITS file, in memory."""
    try:
        with fits.open(path, memmap=False) as hdus:
            return [hdus[name].data for name in names]
    except (OSError, KeyError) as err:
        raise CeersError(f"Cannot read {path}: {err}. Run the reduction again.") from err


def _wisp_scale(true: Sequence[float], shares: NDArray, fit: dict) -> WispScale:
    """Return the fitted mean scale of the components against the true one.

    A step that did not run fitted 0.  The error counts the components as independent.
    """
    scales, errors = (
        np.nan_to_num(np.array(fit.get(key, 0), dtype=float) + np.zeros(len(shares)))
        for key in ("scale", "scale_err")
    )
    return metrics.wisp_scale(
        float(shares @ true), float(shares @ scales), float(np.sqrt((shares**2) @ errors**2))
    )


def _snowball_excess(truth: Truth) -> tuple[NDArray, NDArray]:
    """Return where snowballs add more than one sigma, per group, and the largest of all groups.

    In sigmas of a group difference.  Charge in the first group is there from the start: it leaves
    no jump.
    """
    n_ints, n_groups = truth.exposure["n_ints"], truth.exposure["n_groups"]
    contaminated = np.zeros((n_ints, n_groups, *truth.rate.shape), bool)
    largest = np.zeros(truth.rate.shape, np.float32)
    for integration in range(n_ints):
        for group in range(1, n_groups):
            excess = truth.snowball_charge(integration, group) / truth.difference_sigma
            excess[truth.rate == 0] = 0  # reference and dead pixels are never used
            contaminated[integration, group] = excess > 1
            np.maximum(largest, excess, out=largest)
    return contaminated, largest


def _snowballs(
    products: Path, root: str, truth: Truth, contaminated: NDArray
) -> tuple[SnowballFlags, SnowballView]:
    """Return how good the flags of snowballs are, and the group with most of them."""
    seen = truth.rate != 0
    jumps = (_read(products / f"{root}_jump.fits", "GROUPDQ")[0] & LEFT_OUT != 0) & seen
    flags = (_read(products / f"{root}_snowball.fits", "GROUPDQ")[0] & LEFT_OUT != 0) & seen
    counts = contaminated.sum(axis=(2, 3))
    integration, group = map(int, np.unravel_index(counts.argmax(), counts.shape))
    with fits.open(products / f"{root}_snowball.fits", memmap=True) as hdus:
        pair = hdus["SCI"].section[integration, group - 1 : group + 1]
    sigma = float(np.median(truth.difference_sigma[truth.difference_sigma > 0]))
    view = SnowballView(
        integration=integration,
        group=group,
        difference=np.diff(pair, axis=0)[0],
        flags=flags[integration, group],
        jumps=jumps[integration, group],
        contaminated=contaminated[integration, group],
        events=tuple(
            (deposit.ball.y, deposit.ball.x, deposit.ball.halo_radius(sigma))
            for deposit in truth.snowballs
            if deposit.ball.integration == integration and deposit.group == group
        ),
    )
    return metrics.snowball_flags(flags, contaminated, excused=jumps), view
