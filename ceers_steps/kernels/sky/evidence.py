"""Whether a level is that of the sky: enough pixels, the same all over, the same elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.sky.settings import EVIDENCE
from ceers_steps.kernels.stats import mad_sigma, subsample

__all__ = [
    "OverlapCheck",
    "SkyEvidence",
    "exposures_without_sky",
    "judge_sky",
    "off_from_overlaps",
    "usual_level",
]


@dataclass(frozen=True)
class SkyEvidence:
    """What speaks for a level being that of the sky.

    Attributes
    ----------
    n_pixels : int
        Pixels that it was measured on.
    noise : float
        Standard deviation of a pixel, from differences of neighbours, in the unit of the image.
    spread : float
        Scatter of the levels of the parts of the image.
    uncertainty : float
        What this scatter says of the error of the level.
    reason : str
        Why it is not the sky; empty if nothing speaks against it.
    darkest : float
        Level of the darkest part of the image: the sky is no brighter; infinite if not known, or
        if the image has no noise.
    """

    n_pixels: int
    noise: float
    spread: float
    uncertainty: float
    reason: str
    darkest: float = np.inf

    @property
    def is_lit(self) -> bool:
        """Whether pixels enough are free of sources, and show light."""
        seen = self.n_pixels >= EVIDENCE.least_pixels and self.noise > 0.0
        return seen and bool(self.reason)


@dataclass(frozen=True)
class OverlapCheck:
    """What overlaps say of the levels of exposures.

    Attributes
    ----------
    off : ndarray, shape (n,)
        Level less what the overlaps say; their median is 0.
    lowest : float
        Lower quartile of these; of up to four the lowest.
    contradicted : list of int
        Those that are far from the median, or far above the lowest.
    too_bright : list of int
        Those of them that are far above the lowest.
    """

    off: NDArray[np.float64]
    lowest: float
    contradicted: list[int]
    too_bright: list[int]

    @property
    def refused(self) -> list[int]:
        """Those whose level is not the sky: all, if half of them or more are contradicted."""
        n_levels = len(self.off)
        if self.contradicted and len(self.contradicted) >= EVIDENCE.most_off * n_levels:
            return list(range(n_levels))
        return self.contradicted

    def reason(self, number: int) -> str:
        """Say why a level is refused.

        Parameters
        ----------
        number : int
            Which of the levels.

        Returns
        -------
        str
        """
        if number not in self.contradicted:
            return (
                f"half of the levels or more ({len(self.contradicted)} of {len(self.off)}) are "
                "contradicted by the overlaps with other exposures"
            )
        off = self.off[number]
        reason = f"{off:+.3g} from what the overlaps with other exposures say"
        if number in self.too_bright:
            name = "lowest" if self.lowest <= self.off.min() else "lower quartile"
            reason += f", {off - self.lowest:.3g} more than the {name} of all"
        return reason


def judge_sky(
    residual: NDArray,
    usable: NDArray[np.bool_],
    level: float,
    *,
    expected_noise: float = 0.0,
    source_fraction: float = 0.0,
) -> SkyEvidence:
    """Say whether what is left of an image after a level was subtracted is empty sky.

    Parameters
    ----------
    residual : ndarray, shape (ny, nx)
        Image less the level.
    usable : ndarray of bool, shape (ny, nx)
        Pixels that are taken for sky; True = used.
    level : float
        What was subtracted, in the unit of the image.
    expected_noise : float
        Error of a pixel, in the unit of the image; 0 = not known.
    source_fraction : float
        Part of the working pixels that is masked as sources.

    Returns
    -------
    SkyEvidence
    """
    n_pixels = int(np.count_nonzero(usable))
    both = usable[:, 1:] & usable[:, :-1]
    steps = (residual[:, 1:] - residual[:, :-1])[both]
    noise = mad_sigma(subsample(steps, EVIDENCE.sample)) / np.sqrt(2.0) if steps.size else 0.0
    ny, nx = residual.shape
    least = max(16, EVIDENCE.least_pixels // EVIDENCE.parts**2)
    levels, places = [], []
    for y, rows in enumerate(np.array_split(np.arange(ny), EVIDENCE.parts)):
        for x, columns in enumerate(np.array_split(np.arange(nx), EVIDENCE.parts)):
            part = np.ix_(rows, columns)
            values = residual[part][usable[part]]
            if values.size >= least:
                levels.append(float(np.median(subsample(values, EVIDENCE.sample))))
                places.append((1.0, y, x))
    spread = mad_sigma(np.array(levels)) if len(levels) > 1 else 0.0
    bent = _about_plane(np.array(levels), np.array(places))
    known = n_pixels >= EVIDENCE.least_pixels and noise > 0.0 and bool(levels)
    darkest = level + min(levels) if known else np.inf
    reason = ""
    if n_pixels < EVIDENCE.least_pixels:
        reason = (
            f"{n_pixels} pixels are free of sources and bad pixels; {EVIDENCE.least_pixels} are "
            "needed"
        )
    elif uneven := _why_uneven(spread, bent, float(noise), level):
        reason = uneven
    elif (
        source_fraction > EVIDENCE.most_sources
        and noise > EVIDENCE.most_noise * expected_noise > 0.0
    ):
        reason = (
            f"sources cover {source_fraction:.0%} of the image, and between them neighbouring "
            f"pixels differ {noise / expected_noise:.1f} times as much as their errors say: a "
            "source fills the frame"
        )
    uncertainty = spread / np.sqrt(max(len(levels), 1))
    return SkyEvidence(
        n_pixels, float(noise), float(spread), float(uncertainty), reason, float(darkest)
    )


def _why_uneven(spread: float, bent: float, noise: float, level: float) -> str:
    """Say how the level differs over the image by more than a sky does; empty if it does not."""
    least = EVIDENCE.most_relative_spread * abs(level)
    if noise <= 0.0:
        return "the image has no noise" if spread > 0.0 and max(spread, bent) > least else ""
    if spread > max(EVIDENCE.most_spread * noise, least):
        return (
            f"the level differs by {spread:.3g} between parts of the image, {spread / noise:.0f} "
            "times the noise of a pixel: there is light all over it"
        )
    if spread > EVIDENCE.least_spread * noise and bent > max(EVIDENCE.most_bent * noise, least):
        return (
            f"the level differs by {bent:.3g} from a plane, {bent / noise:.1f} times the noise of "
            "a pixel: there is light all over the image"
        )
    return ""


def _about_plane(levels: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    """Return the scatter of levels about a plane, the ones that are farthest from it left out."""
    kept = np.ones(len(levels), bool)
    n_free = len(levels) - EVIDENCE.left_out - 3
    if n_free < EVIDENCE.least_free:
        return 0.0
    for _ in range(2):
        plane = np.linalg.lstsq(places[kept], levels[kept])[0]
        off = levels - places @ plane
        kept = np.abs(off) <= np.sort(np.abs(off))[-1 - EVIDENCE.left_out]
    plane = np.linalg.lstsq(places[kept], levels[kept])[0]
    off = (levels - places @ plane)[kept]
    return float(np.sqrt(off @ off / n_free))


def usual_level(levels: Sequence[float], elsewhere: Sequence[float] = ()) -> float | None:
    """Return the level of exposures of one filter that counts as that of the sky.

    Parameters
    ----------
    levels : sequence of float
        Level of each exposure.
    elsewhere : sequence of float
        Darkest parts of other exposures, in which no sky is seen: it is no brighter than these.
        They do not count where they are fewer than the levels: a minority says nothing of others.

    Returns
    -------
    float or None
        Lower quartile of the levels, or what is darker elsewhere. None without a level, or where
        fewer than three exposures count: one cannot tell which is right.
    """
    counted = elsewhere if len(elsewhere) >= len(levels) else ()
    if len(levels) == 0 or len(levels) + len(counted) < 3:
        return None
    return min([float(np.quantile(levels, EVIDENCE.lowest)), *counted])


def exposures_without_sky(
    levels: Sequence[float], noises: Sequence[float], elsewhere: Sequence[float] = ()
) -> list[int]:
    """Return which exposures of one filter have more light everywhere than the others.

    Parameters
    ----------
    levels : sequence of float
        Level of each exposure.
    noises : sequence of float
        Noise of a pixel of each.
    elsewhere : sequence of float
        Darkest parts of other exposures, in which no sky is seen, as `usual_level` takes them.

    Returns
    -------
    list of int
        Those whose level is above the usual one by more than that and 3 noises; none where no
        level is the usual one.
    """
    usual = usual_level(levels, elsewhere)
    if usual is None:
        return []
    return [
        number
        for number, (level, noise) in enumerate(zip(levels, noises, strict=True))
        if level - usual > max(EVIDENCE.most_excess * abs(usual), EVIDENCE.most_spread * noise)
    ]


def off_from_overlaps(
    levels: Sequence[float],
    matched: Sequence[float],
    noises: Sequence[float],
    spreads: Sequence[float] = (),
) -> OverlapCheck:
    """Compare levels with those that make overlapping exposures agree.

    Where exposures overlap, sources are the same in all of them: their difference is that of
    their skies alone, whatever is seen there. Light only adds to a level: where levels do not
    agree, the lowest ones are nearest to the sky.

    Parameters
    ----------
    levels : sequence of float
        Level of each exposure of one filter, measured on itself.
    matched : sequence of float
        Level of each from the overlaps, up to a constant that all share.
    noises : sequence of float
        Noise of a pixel of each.
    spreads : sequence of float
        Scatter of the levels of the parts of each: overlaps show parts only; none = 0.

    Returns
    -------
    OverlapCheck
        Of fewer than three exposures none is refused: one cannot tell which is right.
    """
    off = np.subtract(levels, matched)
    off -= np.median(off)
    lowest = float(np.quantile(off, EVIDENCE.lowest, method="lower"))
    if len(off) < 3:
        return OverlapCheck(off, lowest, [], [])
    limits = np.maximum(
        EVIDENCE.most_difference * np.asarray(noises),
        EVIDENCE.most_relative_spread * np.abs(levels),
    )
    uneven = EVIDENCE.most_uneven * (np.asarray(spreads) if len(spreads) else np.zeros(len(off)))
    bright = off - lowest > np.maximum(limits, uneven)
    contradicted = (np.abs(off) > limits) | bright
    return OverlapCheck(
        off, lowest, np.flatnonzero(contradicted).tolist(), np.flatnonzero(bright).tolist()
    )
