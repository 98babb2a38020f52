"""The light behind one simulated exposure, apart: sources, sky and wisp in the flattened frame.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.simulate.references.crds_cache import CrdsCache
from ceers_steps.simulate.truth import Truth

__all__ = ["TrueLight", "true_light"]


@dataclass(frozen=True)
class TrueLight:
    """What an exposure saw, DN/s with the flat divided out, shape ``(ny, nx)``.

    Attributes
    ----------
    flat : array
        Pixel response: a rate image is the light times this.
    sky : array
        Smooth sky.
    template : array or None
        Wisp template, None without wisps; of several components, their mix for a mean scale of 1.
    wisp : array or float
        The template times its scale, 0 without wisps.
    shares : array, shape (k,)
        Weights of the components in the mean scale: their share of the light, for a scale of 1.
    sources : array
        Galaxies and stars; 0 in pixels that see no light.
    """

    flat: NDArray
    sky: NDArray
    template: NDArray | None
    wisp: NDArray | float
    shares: NDArray
    sources: NDArray


def true_light(simulated: Path, truth: Truth, corner: tuple[int, int]) -> TrueLight:
    """Take the light of an exposure apart.

    Parameters
    ----------
    simulated : Path
        Folder that the simulator wrote, with the reference files and wisp templates.
    truth : Truth
        The truth of an exposure in it.
    corner : (int, int)
        First row and column of the full detector that were read out, from 0.

    Returns
    -------
    TrueLight
        Its parts.

    Raises
    ------
    CeersError
        When the folder lacks a file.
    """
    detector, subarray = truth.exposure["detector"], truth.exposure["subarray"]
    path = CrdsCache(simulated / "crds_cache").get("flat", (detector, subarray))
    if path is None:
        raise CeersError(f"{simulated} has no flat of {detector} {subarray}: simulate it again.")
    flat = _image(path)
    sky = _sky(truth, corner)
    template: NDArray | None = None
    wisp: NDArray = np.zeros_like(truth.rate)
    shares = np.zeros(0)
    if truth.wisp_scales:
        stem = f"wisps_{detector.lower()}_{truth.exposure['filter']}"
        (y, x), (ny, nx) = corner, truth.rate.shape
        components = []
        for number in range(len(truth.wisp_scales)):
            name = f"{stem}_{number}.fits" if number else f"{stem}.fits"
            image = _image(simulated / "wisp_templates" / name)
            components.append(image[y : y + ny, x : x + nx])
        light = np.array([component.sum(dtype=float) for component in components])
        shares = light / light.sum() if light.any() else np.full(len(light), 1 / len(light))
        wisp = np.tensordot(np.asarray(truth.wisp_scales, np.float32), np.array(components), axes=1)
        scale = float(shares @ truth.wisp_scales)
        template = wisp / np.float32(scale) if scale else components[0]
    seen = (truth.rate != 0) & (flat > 0)
    sources = np.zeros_like(truth.rate)
    np.divide(truth.rate, flat, out=sources, where=seen)
    sources -= np.where(seen, sky + wisp, 0)
    return TrueLight(flat, sky, template, wisp, shares, sources)


def _image(path: Path) -> NDArray:
    """Return the first image of a FITS file."""
    try:
        with fits.open(path, memmap=False) as hdus:
            return next(hdu.data for hdu in hdus if hdu.data is not None).astype(np.float32)
    except (OSError, StopIteration) as err:
        raise CeersError(f"Cannot read {path}: {err}. Simulate it again.") from err


def _sky(truth: Truth, corner: tuple[int, int]) -> NDArray:
    """Return the smooth sky, DN/s."""
    y, x = (
        (np.arange(n, dtype=np.float32) + c - 1023.5) / 2048
        for n, c in zip(truth.rate.shape, corner, strict=True)
    )
    gradient_x, gradient_y = truth.sky_gradient
    return truth.sky * (1 + gradient_x * x + gradient_y * y[:, None])
