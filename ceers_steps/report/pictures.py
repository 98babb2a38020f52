"""Small pictures of an exposure between its corrections, with one stretch (extra ``report``)."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from ceers_steps.errors import optional_import
from ceers_steps.figures import canvas
from ceers_steps.figures.looks import Look

__all__ = ["Pictures", "encoded", "make_pictures"]

SIDE = 512
"""Pixels along a side of a picture."""

QUALITY = 62
"""Of WebP: some 30 kB a picture of noise; JPEG of that size has a sixth more error."""

STATES = (("prewisp", "before wisps"), ("pre1f", "before stripes"), ("rate", "rate"))
CALIBRATED = (("cal", "calibrated"), ("match", "sky subtracted"))
UNITS = {"sky subtracted": "MJy/sr"}
"""Of states that are not in DN/s."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one exposure as text that can stand in a page.

    Attributes
    ----------
    states : list of (title, picture)
        In the order of the corrections; base64 of WebP.
    removed : list of (title, picture, what black and white are)
        What was removed from one state to the next; 0 where either has no value.
    wisp : dict
        ``picture``: the wisp; ``low``, ``high``: its values at black and white, in units of
        the whole range of `states`; ``scale``: the scale that it has; ``taken``: that which was
        subtracted. Empty where no template is known.
    """

    states: list[tuple[str, str]]
    removed: list[tuple[str, str, str]]
    wisp: dict


def make_pictures(
    products: Mapping[str, Path], looks: Mapping[str, Look] | None = None, scale: float = 0.0
) -> Pictures:
    """Make the pictures of the products that there are.

    Parameters
    ----------
    products
        FITS files by suffix.
    looks
        What steps have left, which is as good and read faster.
    scale
        Scale of the wisp that was subtracted.

    Returns
    -------
    Pictures
        Rate images where they were kept, otherwise the calibrated ones; none from files that
        cannot be read.
    """
    looks = looks or {}
    views = _from_looks(looks) or _from_products(products)
    if "wisp" in looks and not scale:
        scale = max(looks["wisp"].facts.get("scales") or [0.0])
    if not views:
        return Pictures([], [], {})
    # the scale of the last, so that what is left can be seen; its level stays the same
    low, high = canvas.sky_limits(list(views.values())[-1], 6, 14)
    states = [(title, encoded(view, low, high)) for title, view in views.items()]
    removed = []
    wisp: dict = {}
    for (before, first), (after, second) in zip(
        list(views.items())[:-1], list(views.items())[1:], strict=True
    ):
        change = first - second
        finite = change[np.isfinite(change)]
        if not finite.size:
            continue
        least, most = (float(x) for x in np.percentile(finite, [0.5, 99.5]))
        if most <= least:
            continue
        # a hole is nothing that was removed
        picture = encoded(np.nan_to_num(change), least, most)
        said = f"Black: {least:.2g}, white: {most:.2g} {UNITS.get(after, 'DN/s')}."
        removed.append((f"{before} minus {after}", picture, said))
        if before == "before wisps":
            wisp = {"picture": picture, "scale": scale, "taken": scale}
            wisp |= _in_range(least, most, high - low)
    template = looks["wisp"].picture("template") if "wisp" in looks else None
    if not wisp and template is not None and template.shape == next(iter(views.values())).shape:
        finite = template[np.isfinite(template)]
        least, most = (float(x) for x in np.percentile(finite, [0.1, 99.9]))
        if most > least:
            wisp = {"picture": encoded(template, least, most), "scale": 1.0, "taken": 0.0}
            wisp |= _in_range(least, most, high - low)
    return Pictures(states, removed, wisp)


def _in_range(least: float, most: float, span: float) -> dict[str, float]:
    """Return black and white of the wisp in units of the range of the images."""
    return {"low": least / span, "high": most / span}


def _from_looks(looks: Mapping[str, Look]) -> dict[str, NDArray]:
    """Return the images between corrections: the rate, and what was removed put back."""
    view = looks["rate"].picture("image") if "rate" in looks else None
    if view is None:
        return {}
    views = {"rate": view}
    for kind, name in (("stripes", "pre1f"), ("wisp", "prewisp")):
        removed = looks[kind].picture("removed") if kind in looks else None
        if removed is not None and removed.shape == view.shape:
            view = view + removed
            views[dict(STATES)[name]] = view
    return dict(reversed(views.items()))


def _from_products(products: Mapping[str, Path]) -> dict[str, NDArray]:
    """Return the images of products; of the calibrated ones where no rate was kept."""
    kept = any(name in products for name, _ in STATES)
    views = {}
    for name, title in STATES if kept else CALIBRATED:
        view = _read(products[name]) if name in products else None
        if view is not None:
            views[title] = view
    return views


def encoded(view: NDArray, low: float, high: float) -> str:
    """Return an image as base64 of WebP, grey; `low` is black, `high` white, north of it up."""
    with optional_import("Pictures need Pillow", extra="report"):
        from PIL import Image
    grey = np.clip((view - low) / (high - low), 0, 1)
    grey = np.where(np.isfinite(view), 255 * grey, 0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey[::-1]).save(buffer, format="webp", quality=QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


def _read(path: Path) -> NDArray | None:
    """Return the image of a product as means of blocks; None where it cannot be read."""
    try:
        with fits.open(path, memmap=False) as hdus:
            image = np.asarray(hdus["SCI"].data, dtype=np.float32)
    except (OSError, KeyError, ValueError, TypeError):
        return None
    if image.ndim != 2:
        return None
    return canvas.binned(image, canvas.binning(image.shape, SIDE))
