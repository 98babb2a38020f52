"""Constants of backgrounds in boxes: value, unit, what chose each.

"Benchmark", "by hand", "choice": as in `ceers_steps.kernels.sources.settings`.
"""

from dataclasses import dataclass

__all__ = ["HOLES", "MESH", "STIFF", "HoleSettings", "MeshSettings", "StiffSettings"]


@dataclass(frozen=True)
class MeshSettings:
    """A background in boxes, and what fills those without a value."""

    strip_size: int = 2_000_000
    """Pixels handled at a time: their sorted copies and cumulative sums are eight times as
    large."""
    neighbours: int = 10
    """Boxes from which an excluded box is filled (Source Extractor, photutils)."""
    enough: float = 0.25
    """Part of a Gaussian that must lie on known boxes for it to count in full (benchmark)."""
    plane_passes: int = 5
    """Fits of a polynomial to boxes, each without the outliers of the one before ..."""
    plane_clip: float = 3.0
    """... which are so many sigma off: the usual clip."""
    holes_per_degree: float = 2.0
    """Widest holes along a side for each degree of a polynomial: one that turns within a hole takes
    the light of the galaxy there, or adds to it (benchmark: with degree 4 in holes of half a
    mosaic, up to 90% of it)."""
    worst_known: float = 4.0
    """Variance that a polynomial may have where it is known worst, in units of that of a box; a
    lower degree otherwise (choice)."""
    boxes_per_degree: int = 3
    """Boxes along a side for each degree of a polynomial: fewer would let it follow single
    sources."""


@dataclass(frozen=True)
class HoleSettings:
    """What fills boxes under sources, as holes laid on known sky tell."""

    first: tuple[float, str, bool] = (1.0, "mean", True)
    """How holes are filled at first: the narrowest Gaussian, boxes; what is taken under it; and
    whether a polynomial is taken out before, which makes slopes of steps ..."""
    ways: tuple[tuple[float, str, bool], ...] = (
        (1.0, "mean", False),
        (2.0, "mean", True),
        (4.0, "mean", True),
        (1.5, "plane", True),
    )
    """... and what is tried beside it (by hand)."""
    around: float = 8.0
    """The Gaussian of boxes that tell which of two is better, boxes (by hand: with 5 a flat sky in
    holes is off by 0.031 instead of 0.027) ..."""
    surely: float = 1.0
    """... and the gain in its own errors from which on the next counts, in full one above (by hand:
    0 left 0.217 for 0.215 in holes on stairs, 2 0.032 for 0.027 on a flat sky)."""
    deepest: float = 5.0
    """Depth of the holes that are tried, boxes: wider ones would hide the sky that tells
    (choice)."""
    widest: float = 20.0
    """Widest Gaussian that such holes need, boxes: four times ``deepest``."""
    hidden: float = 0.12
    """Part of the boxes that moved holes hide before no more are added (choice) ..."""
    most_moves: int = 8
    """... how often they are moved at most in each trial ..."""
    trials: int = 2
    """... and trials (choice)."""
    strip: int = 1_000_000
    """Boxes of a strip that is tried by itself, so that little memory is needed ..."""
    overlap: int = 32
    """... and rows that it sees beyond: four times ``around``."""
    least_spread: float = 0.05
    """Least spread of the boxes that tell a plane, in units of its Gaussian squared (choice)."""


@dataclass(frozen=True)
class StiffSettings:
    """Where a background is smoother than its median filter."""

    factors: tuple[int, ...] = (2,)
    """Sides of wider median filters, in units of the narrowest: tried before the polynomial alone
    ..."""
    around: float = 8.0
    """... the Gaussian of boxes that tell which of two is better, boxes ..."""
    surely: float = 0.0
    """... and the gain in its own errors from which on the smoother one counts, in full one
    above (by hand)."""


MESH = MeshSettings()
HOLES = HoleSettings()
STIFF = StiffSettings()
