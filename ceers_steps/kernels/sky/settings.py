"""Constants of the measurement of sky and variances: value, unit, and what chose each.

"Benchmark": ``benchmarks/skyvar.py``. "Choice": no benchmark varies it; what speaks for it stands
there. Widths and limits without unit are in standard deviations.
"""

from dataclasses import dataclass

__all__ = [
    "EVIDENCE",
    "LEVEL",
    "NOISE",
    "PEDESTAL",
    "VARIANCE",
    "EvidenceSettings",
    "LevelSettings",
    "NoiseSettings",
    "PedestalSettings",
    "VarianceSettings",
]


@dataclass(frozen=True)
class LevelSettings:
    """How the mode of pixel values is found."""

    window: tuple[float, float] = (-2.0, 1.0)
    """Range around the mode that is used: short on the side of the sources (benchmark)."""
    n_bins: int = 30
    """Bins of that range: a tenth of a sigma each, over which a Gaussian is straight (choice)."""
    least_values: int = 200
    """Below this many values a histogram says nothing that the median does not (choice)."""
    max_iterations: int = 20
    """Times that the window is centred again, at most (choice)."""


@dataclass(frozen=True)
class PedestalSettings:
    """How the mode of block means is found."""

    block: int = 8
    """Side of the blocks whose means are taken, pixels: their distribution is symmetric
    (benchmark)."""
    least_blocks: int = 200
    """Below this many blocks, smaller ones are taken: a mode needs as many values."""
    clip: float = 5.0
    """Pixels further than this from the mode are left out of the means: none by noise."""
    full: float = 0.5
    """Part of its pixels that a block must have: others are noisier, and beside a source
    (choice)."""
    cell: int = 4
    """Side of the cells to whose medians the surface of a sky that rises is fitted, blocks; smaller
    ones where there are fewer than `least_blocks` (benchmark of skies in the docs)."""
    rise_clip: float = 3.0
    """Cells further than this from their mode, in their scatter, have no weight in the fit."""
    rise_iterations: int = 15
    """Times that the surface is fitted: it is steady after ten (choice)."""
    most_leverage: float = 6.0
    """Variance of the mean of that surface over that of the mean of all cells above which no
    surface is fitted: cells with weight do not cover the image; 1.5 where they do (choice)."""
    published_range: tuple[float, float] = (10.0, 5.0)
    """Range of the published histogram below and above the mode ..."""
    published_step: float = 1.0 / 16.0
    """... and its bins: 0.001 MJy/sr, as published, is about this fraction of the noise there."""


@dataclass(frozen=True)
class EvidenceSettings:
    """When a level is not taken for the sky; chosen on the galaxy that fills a frame (docs).

    Attributes
    ----------
    least_pixels : int
        Fewer unmasked pixels are no sky.
    parts : int
        The image is cut into so many parts along each axis.
    most_spread : float
        Scatter of the levels of the parts above which they are not the sky, in units of the noise
        of a pixel: real skies rise by up to 5 noises over a detector, a scatter of 1.5.
    most_relative_spread : float
        The same relative to the level; both must be exceeded.
    most_bent, least_spread : float
        Scatter of the levels about a plane above which they are not the sky, if their whole scatter
        is at least the second, in units of the noise: skies that rise by 5 noises have 1.5.
    left_out, least_free : int
        Parts that are farthest from that plane do not count: one bright source is no reason; and
        parts that must remain beside those that tell the plane.
    most_excess : float
        Excess over the exposures with the least light above which a level is not the sky, in
        units of that of those.
    most_noise, most_sources : float
        Noise of a pixel over its error, and part of the image that is masked as sources, above
        which, both, a source fills the frame. Frames that a star fills: 3 to 5 and 0.52; wrong
        errors alone (a single group) leave the second small, a crowded field the first.
    most_difference : float
        Difference from what the overlaps with other exposures say above which a level is not the
        sky, in units of the noise of a pixel; `most_relative_spread` must be exceeded too.
    lowest : float
        Quantile of the levels of exposures that counts as their lowest.
    most_uneven : float
        Excess over the lowest of what the overlaps say above which a level is not the sky, in
        units of the scatter of the parts of the exposure; both limits above must be exceeded too.
        A sky that rises by one over the frame scatters by 0.37, and differs by no more than one
        between overlaps.
    most_off : float
        Part of the exposures whose levels are refused for the overlaps, from which on none of the
        others is seen to be the sky.
    sample : int
        Pixels, and differences of pixels, from which medians are taken: to 0.3% of the noise.
    """

    least_pixels: int = 1000
    parts: int = 4
    most_spread: float = 3.0
    most_relative_spread: float = 0.2
    most_bent: float = 2.0
    least_spread: float = 1.0
    left_out: int = 2
    least_free: int = 3
    most_excess: float = 1.0
    most_noise: float = 2.0
    most_sources: float = 0.4
    most_difference: float = 1.0
    lowest: float = 0.25
    most_uneven: float = 3.0
    most_off: float = 0.5
    sample: int = 200_000


@dataclass(frozen=True)
class NoiseSettings:
    """How the scatter of the sky is compared with its variance."""

    blocks: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Sides of the blocks on which the noise is measured by default, pixels: single ones, which set
    the errors, and the sizes of sources whose photometry depends on it."""
    clip: float = 5.0
    """Pixels further than this from the background are not noise."""
    box: int = 32
    """Boxes of the background that is subtracted, pixels: at least this, and twice the largest
    block. The edge of stray light is within 64 pixels (benchmark)."""
    parts: int = 4
    """The scatter is measured in parts of the image, at most so many along each side ..."""
    part_blocks: int = 100
    """... and so many blocks in each, on average; a part with half as many counts."""
    least_blocks: int = 100
    """Blocks that tell a scatter: to 7%."""
    full: float = 0.5
    """Part of its pixels that a block must have (choice)."""
    sample: int = 500_000
    """Pixels that tell a scatter: to 0.1%."""
    wrong_errors: float = 1.5
    """Neighbouring pixels differ by this times what their errors say: these are scaled before
    outliers are searched for, with 5 sigma. Seen in simulations: about 1 for ramps of several
    groups, above 6 for a single group, which has the reset noise in it (choice)."""
    control_size: int = 2_000_000
    """Pixels of white noise that are measured for comparison: part of an image, or several times
    it ..."""
    most_controls: int = 8
    """... but no more often than so."""
    band: int = 64
    """Height of the bands of rows that are measured where the image is larger, pixels: that of the
    boxes of the smooth part."""
    uneven: float = 0.02
    """Block sizes that scatter more than predicted by this after the scaling are reported."""
    published_block: int = 7
    """Side of the published blocks, pixels ..."""
    published_box: int = 5
    """... of the boxes of its background, pixels ..."""
    published_filter: int = 3
    """... and of its median filter, boxes (Bagley et al. 2023, section 3.2)."""


@dataclass(frozen=True)
class VarianceSettings:
    """How variances are smoothed and filled."""

    box: int = 64
    """Boxes of the smooth part, pixels: wide enough to leave blocks of 16 pixels their noise
    (benchmark) ..."""
    filter: int = 3
    """... and of its median filter, boxes."""
    stands_out: float = 3.0
    """Photon noise of a pixel outside of sources over that of the sky around, in units of the
    scatter of that, above which it is kept (choice)."""
    own_light: float = 20.0
    """Signal over noise above which a pixel was saturated by its own light and not by a snowball:
    before its last good group such a pixel has collected a good part of the well, over 100."""
    flank: int = 3
    """Pixels around saturated ones in which the flanks of a star are seen ..."""
    flank_light: float = 5.0
    """... and the least median of their signal over noise: around a snowball there is sky, whatever
    is left in its core (test of cores without flanks)."""


LEVEL = LevelSettings()
PEDESTAL = PedestalSettings()
EVIDENCE = EvidenceSettings()
NOISE = NoiseSettings()
VARIANCE = VarianceSettings()
