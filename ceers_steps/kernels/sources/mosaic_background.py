"""Background of a mosaic: outskirts of its sources, and the sky in boxes outside all of them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.additive.sky import AdditiveSky, fit_additive_sky
from ceers_steps.kernels.blocks import enlarged_rows
from ceers_steps.kernels.mesh.holes import fill_tested, surely_better
from ceers_steps.kernels.mesh.settings import MESH
from ceers_steps.kernels.mesh.smoothing import fit_polynomial, smooth_boxes
from ceers_steps.kernels.rows import LazyRows, RowImage, flagged, row_blocks
from ceers_steps.kernels.sources.background import (
    BackgroundMesh,
    NoSkyError,
    box_locations,
    fit_mesh,
)
from ceers_steps.kernels.sources.halos import light_of_halos
from ceers_steps.kernels.sources.mosaic_tiers import CORE
from ceers_steps.kernels.sources.noise_map import noise_of_boxes
from ceers_steps.kernels.sources.outskirts import Outskirts, measure_outskirts, noise_outside
from ceers_steps.kernels.sources.settings import FOLLOWED, HALOS, PROFILES, SKY
from ceers_steps.kernels.sources.taken_for_sky import refuse_light, structure_about_plane

__all__ = [
    "BORDER",
    "OUTSKIRTS",
    "REGION",
    "BackgroundSettings",
    "MosaicBackground",
    "measure_mosaic_background",
    "without_background",
]

BORDER, OUTSKIRTS, REGION = np.uint8(1), np.uint8(32), np.uint8(64)
"""Bits of the mask beside those of the tiers (1 to 4) and `CORE` (7)."""

_FAINT = np.uint8(0b11000)
"""Bits of the tiers of faint sources."""


@dataclass(frozen=True)
class BackgroundSettings:
    """How the background is measured.

    Attributes
    ----------
    method : {'adaptive', 'published'}
        Outskirts of sources measured on the mosaic, or the dilations of the tiers alone.
    box_size : int
        Side of the boxes in which the sky is measured, pixels.
    filter_size : int
        Side of the median filter over boxes, odd.
    sigma_clip : float
        Pixels further than this from the median of their box, in standard deviations, are out.
    exclude_fraction : float
        A box with a larger part masked is filled from others.
    n_threads : int
        Strips that are worked on at a time.
    """

    method: str = "adaptive"
    box_size: int = 20
    filter_size: int = 5
    sigma_clip: float = 3.0
    exclude_fraction: float = 0.9
    n_threads: int = 2


@dataclass(frozen=True)
class MosaicBackground:
    """Background of a mosaic.

    Attributes
    ----------
    mesh : BackgroundMesh
        The background, worked out by rows.
    bits : ndarray of uint8, shape (ny, nx)
        Mask that was used, outskirts included; 0 = sky.
    metrics : dict of str to float
        ``masked_fraction``; ``outskirts_fraction``, what outskirts mask of the sky that the
        search leaves; ``sky``, ``sky_rms``; ``under_sources`` and ``under_faint_sources``
        where there are any: the background there less that outside, as published.
    refused : str
        Why none is known: the mesh is 0 everywhere; empty if it is known.
    crowded : bool
        Whether outskirts of sources leave no sky: it is that outside the mask of the search.
    """

    mesh: BackgroundMesh
    bits: NDArray[np.uint8]
    metrics: dict[str, float]
    refused: str = ""
    crowded: bool = False


def measure_mosaic_background(
    image: RowImage,
    coverage_mask: RowImage,
    bits: NDArray[np.uint8],
    *,
    predicted_noise: RowImage | None = None,
    cleared: NDArray[np.bool_] | None = None,
    settings: BackgroundSettings | None = None,
) -> MosaicBackground:
    """Measure the background of a mosaic outside its sources.

    Bagley et al. 2023, section 3.3.

    Parameters
    ----------
    image : ndarray or RowImage, shape (ny, nx)
        The mosaic.
    coverage_mask : ndarray of bool or RowImage, shape (ny, nx)
        True = no detector has seen this pixel.
    bits : ndarray of uint8, shape (ny, nx)
        Mask of sources, 0 = sky; the bits of outskirts are added to it, in place.
    predicted_noise : ndarray or RowImage, shape (ny, nx), optional
        Noise of each pixel as weights or errors tell it, in any unit; default: the same for all.
    cleared : ndarray of bool, shape (ny, nx), optional
        Pixels that are sky whatever is found there.
    settings : BackgroundSettings, optional
        Default: the best.

    Returns
    -------
    MosaicBackground
        Background, mask and metrics.

    Raises
    ------
    NoSkyError
        When no box shows the sky, or only light of sources is left.
    """
    settings = settings or BackgroundSettings()
    crowded = False
    if settings.method == "adaptive":
        try:
            mesh = _beside_outskirts(image, coverage_mask, bits, predicted_noise, cleared, settings)
        except NoSkyError:
            mesh, crowded = _between_sources(image, bits, settings), True
    else:
        mesh = _mesh(image, bits, settings, settings.box_size)
    return MosaicBackground(mesh, bits, _metrics(mesh, bits), crowded=crowded)


def _beside_outskirts(
    image: RowImage,
    coverage_mask: RowImage,
    bits: NDArray[np.uint8],
    predicted_noise: RowImage | None,
    cleared: NDArray[np.bool_] | None,
    settings: BackgroundSettings,
) -> BackgroundMesh:
    """Return the background outside the outskirts of sources, which are added to the mask."""
    blocks = row_blocks(bits.shape)
    searched = any(np.any(bits[rows] & CORE) for rows in blocks)
    core = flagged(bits, int(CORE)) if searched else None
    outskirts, steep = _flat_outskirts(
        image, coverage_mask, bits, core, predicted_noise, settings.n_threads
    )
    image = image if steep is None else steep.subtract_from(image)
    whole, image = image, outskirts.subtract_from(image)
    for rows in blocks:
        bits[rows] |= (outskirts.mask[rows] & ~coverage_mask[rows]) * OUTSKIRTS
    if cleared is not None:
        bits[cleared] &= BORDER
    mesh = _without_halos(whole, image, bits, settings, outskirts)
    sources = flagged(bits, int(~BORDER)) if core is None else core
    refuse_light(mesh, image, flagged(bits, 255), sources, coverage_mask)
    return replace(mesh, added=steep)


def _between_sources(
    image: RowImage, bits: NDArray[np.uint8], settings: BackgroundSettings
) -> BackgroundMesh:
    """Return the sky in gaps that are too narrow for outskirts, unless it is light there."""
    for rows in row_blocks(bits.shape):
        bits[rows] &= ~OUTSKIRTS
    mesh = _mesh(image, bits, settings, max(settings.box_size // 2, 1))
    noise, _ = noise_outside(image, flagged(bits, 255), mesh, None)
    border = flagged(bits, int(BORDER))
    structure = structure_about_plane(mesh, border) / noise
    if structure > SKY.between_sources:
        raise NoSkyError(
            "no sky is left around sources, and what is left between them has structure of "
            f"{structure:.1f} of the noise about a plane: it is light"
        )
    refuse_light(mesh, image, flagged(bits, 255), flagged(bits, int(CORE)), border, gaps=True)
    return mesh


def without_background(bits: NDArray[np.uint8], reason: str) -> MosaicBackground:
    """Return a background of 0, for a mosaic in which none can be measured.

    Parameters
    ----------
    bits : ndarray of uint8, shape (ny, nx)
        Mask of the mosaic, 0 = sky.
    reason : str
        Why none can be measured.

    Returns
    -------
    MosaicBackground
        Of the metrics only what the mask tells.
    """
    mesh = BackgroundMesh(np.zeros((1, 1)), (bits.shape[0], bits.shape[1]), bits.shape)
    metrics = _metrics(mesh, bits)
    known = {name: metrics[name] for name in ("masked_fraction", "outskirts_fraction")}
    return MosaicBackground(mesh, bits, known, reason)


def _flat_outskirts(
    image: RowImage,
    coverage_mask: RowImage,
    bits: NDArray[np.uint8],
    core: RowImage | None,
    predicted_noise: RowImage | None,
    n_threads: int,
) -> tuple[Outskirts, AdditiveSky | None]:
    """Return the outskirts of sources, and the steep sky that was taken out before, if any.

    The steep sky is found twice: outskirts are known only without it, and it without them.
    """
    masked = flagged(bits, 255)

    def outskirts(steep: AdditiveSky | None) -> Outskirts:
        return measure_outskirts(
            image if steep is None else steep.subtract_from(image),
            coverage_mask,
            flagged(bits, int(~BORDER)),
            flagged(bits, int(~BORDER)) if core is None else core,
            predicted_noise=predicted_noise,
            n_threads=n_threads,
        )

    steep = fit_additive_sky(image, masked, coverage_mask, core=core, n_threads=n_threads)
    found = outskirts(steep)
    if steep is None:
        return found, None
    mask = LazyRows(bits.shape, lambda rows: masked[rows] | found.mask[rows])
    clean = found.subtract_from(image)
    steep = fit_additive_sky(clean, mask, coverage_mask, n_threads=n_threads) or steep
    return outskirts(steep), steep


def _mesh(
    image: RowImage, bits: NDArray[np.uint8], settings: BackgroundSettings, box_size: int
) -> BackgroundMesh:
    """Return the sky in boxes of some size."""
    return fit_mesh(
        image,
        flagged(bits, 255),
        box_size=box_size,
        filter_size=settings.filter_size,
        sigma_clip=settings.sigma_clip,
        exclude_fraction=settings.exclude_fraction,
        fill="tested" if settings.method == "adaptive" else "nearest",
        max_degree=FOLLOWED.degree if settings.method == "adaptive" else 1,
        borders="continued" if settings.method == "adaptive" else "mirrored",
        n_threads=settings.n_threads,
    )


def _without_halos(
    whole: RowImage,
    image: RowImage,
    bits: NDArray[np.uint8],
    settings: BackgroundSettings,
    outskirts: Outskirts,
) -> BackgroundMesh:
    """Return the sky of an image, with and without known outskirts, less the halos around them."""

    def sky(image: RowImage) -> BackgroundMesh:
        mesh = _mesh(image, bits, settings, settings.box_size)
        if settings.box_size < 2 * FOLLOWED.smallest_box:
            return mesh
        return _chosen(mesh, image, bits, settings, outskirts)

    mesh, side = sky(image), PROFILES.large_bin
    for _ in range(HALOS.passes):
        light = light_of_halos(
            replace(outskirts.residual, image=whole, sky=mesh),
            image,
            flagged(bits, 255),
            settings.n_threads,
        )
        if not light.any():
            break

        def clean(rows: slice, light: NDArray = light) -> NDArray:
            return image[rows] - enlarged_rows(light, side, rows, bits.shape[1])

        mesh = sky(LazyRows(bits.shape, clean))
    return mesh


def _chosen(
    wide: BackgroundMesh,
    image: RowImage,
    bits: NDArray[np.uint8],
    settings: BackgroundSettings,
    outskirts: Outskirts,
) -> BackgroundMesh:
    """Return the sky in boxes of half the side, followed as far as each place asks for it.

    A box tells which of two skies is the better one there if neither knows it: the next of
    `FOLLOWED.candidates` stands where the neighbours of a box foretell it better, by more than
    chance. The first stands also where it differs by much, as it does under a mask.
    """
    side = settings.box_size // 2
    ny, nx = image.shape
    box = (min(side, ny), min(side, nx))
    boxes = box_locations(
        image,
        flagged(bits, 255),
        box,
        settings.sigma_clip,
        settings.exclude_fraction,
        settings.n_threads,
    )
    empty = BackgroundMesh(boxes, box, (ny, nx), continued=True)
    chosen = wide.at_boxes(empty)
    limit = FOLLOWED.structure * outskirts.noise * noise_of_boxes(outskirts.depth, empty)
    # holes stay as they foretell best, whatever filters the boxes beside them ask for
    filled = fill_tested(boxes, fit_polynomial(boxes, FOLLOWED.degree))
    # a box is a hundredth of what the wide median sees: that counts as not knowing it
    foretold = chosen
    for number, (filter_size, degree) in enumerate(FOLLOWED.candidates):
        if filter_size > settings.filter_size and number:
            continue
        value, alone = (
            smooth_boxes(
                filled,
                min(filter_size, settings.filter_size),
                fill="gaussian",
                max_degree=degree,
                borders="continued" if degree else "mirrored",
                without_own=without_own,
            )
            for without_own in (False, True)
        )
        weight = _better(boxes, foretold, alone) if settings.filter_size > 1 else 0.0
        if number == 0:
            differs = np.abs(value - chosen) / limit - 1.0
            weight = np.maximum(weight, np.clip(differs, 0.0, 1.0))
        chosen = chosen + weight * (value - chosen)
        foretold = foretold + weight * (alone - foretold)
    return BackgroundMesh(chosen, box, (ny, nx), continued=True)


def _better(boxes: NDArray, old: NDArray, new: NDArray) -> NDArray[np.float64]:
    """Return where values of boxes are foretold better than before, 0 to 1, and around there."""
    known = np.isfinite(boxes)
    gain = np.where(known, (boxes - old) ** 2 - (boxes - new) ** 2, 0.0)
    n = known.astype(float)
    sure = surely_better(gain, gain**2, n, FOLLOWED.around, FOLLOWED.surely, MESH.enough)
    return ndimage.maximum_filter(sure, 2 * FOLLOWED.growth + 1)


def _metrics(mesh: BackgroundMesh, bits: NDArray[np.uint8]) -> dict[str, float]:
    """Return the metrics: the background under sources and outside, as published."""
    sums = dict.fromkeys(("outside", "sources", "faint", "outskirts"), np.zeros(3))
    # squares are summed about a value among them
    middle = np.median(mesh.values)
    for rows in row_blocks(bits.shape):
        part = bits[rows]
        background = mesh.rows(rows.start, rows.stop) - middle
        faint = (part & _FAINT > 0) & (part & ~(_FAINT | OUTSKIRTS | CORE) == 0)
        places = {"outside": part == 0, "sources": part & ~BORDER > 0, "faint": faint}
        places["sources"] &= part & BORDER == 0
        places["outskirts"] = part == OUTSKIRTS
        for name, where in places.items():
            values = background[where].astype(float)
            sums[name] = sums[name] + (len(values), values.sum(), values @ values)
    n = {name: count for name, (count, _, _) in sums.items()}
    mean = {name: total / count if count else np.nan for name, (count, total, _) in sums.items()}
    square = sums["outside"][2] / n["outside"] if n["outside"] else np.nan
    metrics: dict[str, float] = {
        "masked_fraction": n["sources"] / max(n["sources"] + n["outside"], 1),
        "outskirts_fraction": n["outskirts"] / max(n["outskirts"] + n["outside"], 1),
    }
    metrics["sky"] = mean["outside"] + middle
    metrics["sky_rms"] = np.sqrt(max(square - mean["outside"] ** 2, 0.0))
    for name, place in (("under_sources", "sources"), ("under_faint_sources", "faint")):
        if n[place]:
            metrics[name] = mean[place] - mean["outside"]
    return metrics
