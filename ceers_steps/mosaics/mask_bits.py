"""Bits of the mask of a mosaic, and what the background is under them."""

import numpy as np

from ceers_steps.kernels.rows import row_blocks
from ceers_steps.kernels.sources.mosaic_tiers import CORE

__all__ = ["BIT_CARDS", "BORDER", "OUTSKIRTS", "REGION", "measure_figures"]

BORDER, OUTSKIRTS, REGION = np.uint8(1), np.uint8(32), np.uint8(64)
"""Bits of the mask beside those of the tiers (1 to 4) and `CORE` (7)."""
_FAINT = np.uint8(0b11000)
"""Bits of the tiers of faint sources."""

BIT_CARDS = [
    ["BIT0", "border", "no detector has seen this pixel"],
    ["BIT1TO4", "tiers", "sources, from the widest tier to the smallest"],
    ["BIT5", "outskirts", "of sources, where their light fades"],
    ["BIT6", "regions", "drawn by hand"],
    ["BIT7", "core", "above the threshold of a tier"],
]
"""FITS cards that say what the bits mean."""


def measure_figures(mesh, bits):
    """Return figures of merit: the background under sources and outside, as published.

    Parameters
    ----------
    mesh : `~ceers_steps.kernels.sources.background.BackgroundMesh`
    bits : ndarray of uint8, shape (ny, nx)

    Returns
    -------
    dict
        ``masked_fraction``, ``sky``, ``sky_rms``; ``under_sources`` and ``under_faint_sources``
        where there are any.
    """
    sums = dict.fromkeys(("outside", "sources", "faint"), np.zeros(3))
    # squares are summed about a value among them
    middle = np.median(mesh.values)
    for rows in row_blocks(bits.shape):
        part = bits[rows]
        background = mesh.rows(rows.start, rows.stop) - middle
        faint = (part & _FAINT > 0) & (part & ~(_FAINT | OUTSKIRTS | CORE) == 0)
        places = {"outside": part == 0, "sources": part & ~BORDER > 0, "faint": faint}
        places["sources"] &= part & BORDER == 0
        for name, where in places.items():
            values = background[where].astype(float)
            sums[name] = sums[name] + (len(values), values.sum(), values @ values)
    n = {name: count for name, (count, _, _) in sums.items()}
    mean = {name: total / count if count else np.nan for name, (count, total, _) in sums.items()}
    square = sums["outside"][2] / n["outside"] if n["outside"] else np.nan
    figures = {"masked_fraction": n["sources"] / max(n["sources"] + n["outside"], 1)}
    figures["sky"] = mean["outside"] + middle
    figures["sky_rms"] = np.sqrt(max(square - mean["outside"] ** 2, 0.0))
    for name, place in (("under_sources", "sources"), ("under_faint_sources", "faint")):
        if n[place]:
            figures[name] = mean[place] - mean["outside"]
    return figures
