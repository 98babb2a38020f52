"""Constants of searches for sources and of what lies around them: value, unit, what chose each.

Brightness is in units of the noise of a pixel where nothing else is said. "Benchmark": tried on
mosaics as those of ``benchmarks/mosaic_background.py`` (seeds 1 to 3), which measures what comes
out but does not vary the value. "By hand": the same on skies as those of
``benchmarks/mosaic_skies.py``. "Choice": nothing was varied; what speaks for it stands there.
"""

from dataclasses import dataclass

__all__ = [
    "DEPTH",
    "FILLED",
    "FOLLOWED",
    "HALOS",
    "LARGE",
    "OUTER",
    "PROFILES",
    "RIDGES",
    "SEARCH",
    "SECTORS",
    "SKY",
    "SMALL",
    "DepthSettings",
    "ExponentialSettings",
    "FilledSettings",
    "FollowedSettings",
    "HaloSettings",
    "LargeSettings",
    "ProfileSettings",
    "RidgeSettings",
    "SearchSettings",
    "SectorSettings",
    "SkySettings",
    "SmallSettings",
]


@dataclass(frozen=True)
class SearchSettings:
    """The tiered search, beside its published tiers."""

    sample: int = 500_000
    """Pixels that tell location and scale of a whole image: to 0.1% of the noise."""
    connected_rows: int = 32
    """Rows more in a strip, in which a source can connect to as many pixels as a tier asks for."""
    clip_box: int = 100
    """Boxes of the background above which bright pixels are left out of ring medians, pixels ..."""
    clip_filter: int = 3
    """... its median filter, boxes ..."""
    clip: float = 5.0
    """... and how far above it, sigma (Bagley et al. 2023, section 3.3)."""


@dataclass(frozen=True)
class DepthSettings:
    """Noise of each place, where exposures overlap in different numbers."""

    side: int = 8
    """Blocks in which the noise is known, pixels: the smallest width of the search, four times
    (choice)."""
    step: float = 1.1
    """Ratio of noises from one class of places to the next (choice)."""
    fewest: int = 1000
    """Pixels of the sample that a class needs: its noise is then known to 3%."""
    most: float = 10.0
    """Noise at most in units of that of the middle place, and 1 / noise at least (choice)."""
    alike: float = 0.02
    """Range of noises up to which all places count as alike (choice)."""


@dataclass(frozen=True)
class ProfileSettings:
    """Bins in which light around sources is measured, and what of it matters."""

    small_bin: int = 2
    """Pixels that are averaged for profiles of small sources: what is narrower is in the mask of
    the search ..."""
    large_bin: int = 4
    """... and of large ones, which are looked at far out."""
    faintest: float = 0.03
    """Light that is too faint to be masked: then less than 0.02 is left under faint sources
    (benchmark)."""


@dataclass(frozen=True)
class SmallSettings:
    """Outskirts of small sources, of one brightness together."""

    reach: int = 60
    """Pixels by which masks are grown at most: small sources are no wider (choice)."""
    followed: float = 0.05
    """Light below which a profile is no longer followed (benchmark)."""
    class_step: float = 2.5
    """Ratio of fluxes from one class of sources to the next: one magnitude ..."""
    n_classes: int = 24
    """... and number of classes: all fluxes."""
    edges: tuple[float, ...] = (0.5, 1.5, 2.5, 3.5, 4.5, 6, 8, 10, 13, 16, 20, 25, 30)
    """Distances between which the light around sources is averaged, bins."""
    clip: float = 3.0
    """Largest light of a bin: single neighbours do not make a profile."""
    fewest_bins: int = 10
    """A mean of no more bins is not known: to a third of the noise of one."""


@dataclass(frozen=True)
class HaloSettings:
    """Light around all sources, beyond what their own profiles tell."""

    widths: tuple[float, ...] = (6.0, 12.0, 24.0)
    """Gaussians by which sources are spread out, pixels: what matters is within 30 pixels of a mask
    (benchmark) ..."""
    level: float = 60.0
    """... and the one under which pixels tell the level of the sky, pixels: with 120 0.002 to 0.004
    more is left in wings (benchmark)."""
    truncate: float = 3.0
    """Where these Gaussians end, in units of their widths."""
    clip: float = 3.0
    """Largest light of a bin of two by two pixels: single neighbours do not make a halo."""
    tile: int = 128
    """Squares that are left out, to see whether halos of the others foretell them, pixels ..."""
    groups: int = 16
    """... how many groups of them there are (choice) ..."""
    surely: float = -0.5
    """... and the gain in its own errors from which on halos count, in full from one above: that
    sources have some is known, so that no gain counts half (benchmark)."""
    roughest: float = 0.1
    """Part of the boxes in which the sky has structure from which on no halos are looked for, half
    of them from half of it on (benchmark)."""
    least_power: float = 1e-9
    """Smallest eigenvalue of products of terms that counts: single precision."""
    passes: int = 2
    """Halos are measured on the sky that those of the pass before leave (benchmark: a third pass
    changes nothing)."""


@dataclass(frozen=True)
class LargeSettings:
    """Outskirts of large sources, each alone."""

    smallest: int = 960
    """Pixels above the threshold that make a source large: its own profile is then known
    (benchmark)."""
    reach: int = 480
    """Pixels by which masks are grown at most: a galaxy of half-light radius 3" at 30 mas has faded
    there (benchmark) ..."""
    sizes: float = 4.0
    """... and the same in units of the source's size above the threshold (radius of a disc of its
    area)."""
    followed: float = 0.07
    """Light below which a profile is no longer followed: structure of the sky remains around a
    single source."""
    hidden: float = 1.5
    """What lies within this distance of a source, in units of its size, is left out where the first
    sky is measured: with 1 a sky with steps, with 2 a hilly one is taken for outskirts
    (by hand)."""
    few_bins: int = 2
    """Bins that a sector needs in a ring to count (choice)."""
    fewest_edges: int = 8
    """Edges of rings that a profile has at least: a fit needs points (choice)."""
    median_error: float = 1.25
    """Error of a median in units of that of a mean: the root of pi / 2."""
    flattest: float = 0.3
    """Smallest axis ratio of the ellipses along which the light is averaged: that of a disc seen
    from the side."""
    clip: float = 10.0
    """Largest light of a bin: single neighbours do not make a profile."""
    edges: tuple[float, ...] = (0.5, 1.5, 2.5, 3.5)
    """Distances between which the light is averaged, bins ..."""
    far_edges: tuple[float, int] = (4.5, 20)
    """... and farther out: the first, and number of them, of equal ratios up to the reach."""


@dataclass(frozen=True)
class SectorSettings:
    """Sides of a source: its light is on all of them, structure of the sky on some."""

    number: int = 12
    """Sectors around a source, of 30 degrees each."""
    ring: tuple[float, float] = (1.5, 2.5)
    """Ring in which a source must have faded: its radii in units of the source's ..."""
    ring_margin: tuple[float, float] = (3.0, 8.0)
    """... and bins more."""
    faded: float = 0.75
    """Part of the sectors in which it must (choice)."""
    alike: float = 0.7
    """Part of the sectors in which outskirts must have half of the light that the profile tells, or
    more: galaxies have 0.7 or more, steps of the sky 0.58 to 0.67 (by hand)."""
    few_bins: int = 4
    """A sector with no more bins in the ring is not known."""
    thinnest: float = 0.1
    """Smallest area of a large source in units of that of a disc as long as it is: borders of a
    sky that rises there have 0.05 to 0.07, sources 0.23 or more (by hand)."""


@dataclass(frozen=True)
class RidgeSettings:
    """Sky that rises along a border faster than the ring medians of the search follow."""

    half_length: float = 6.0
    """Half of the line along which a ridge is looked for, radii of the ring: half a line is as long
    as outskirts of a galaxy of half-light radius 3" reach ..."""
    points: int = 61
    """... points on a line: one in 16 pixels ..."""
    directions: int = 32
    """... and directions: the ends of a line along a ridge are at most 24 pixels beside it."""
    quantile: float = 0.2
    """What of a line may lie below the height of a ridge. With the median of lines of 300 pixels
    galaxies of half-light radius 3" at a border lost 25 to 40% of their light (by hand)."""
    fewest: float = 0.15
    """Part of a line that must be seen: the rest lies beyond the borders (choice)."""
    smoothed: int = 3
    """Side of the median filter over blocks before, blocks (choice)."""
    lowest: float = 0.3
    """Height from which on a ridge is followed, in full from twice of it: a fifth of the threshold
    of the tiers (by hand)."""


@dataclass(frozen=True)
class SkySettings:
    """The sky that outskirts are measured from, and searches on it."""

    wide: tuple[int, int] = (100, 11)
    """Boxes (pixels) and median filter (boxes) of the sky under extended sources, which it would
    hide if it followed them ..."""
    smooth: tuple[int, int] = (100, 5)
    """... of the sky that profiles are measured from ..."""
    fine: tuple[int, int] = (20, 5)
    """... and of the one that shows where that is not smooth, from above or below ..."""
    smallest_filter: int = 3
    """... and its median filter where it shows what is below, boxes: one of 5 sees nothing of steps
    every 120 pixels, and with one of 3 from above also galaxies at a border lost up to 26% more of
    their light (by hand)."""
    clip: float = 3.0
    """Clip in boxes, sigma: the usual one."""
    rough: float = 0.4
    """Structure above which no outskirts are looked for ..."""
    rough_growth: int = 2
    """... and boxes around it in which there are none either (by hand)."""
    elsewhere: tuple[float, float] = (0.01, 0.2)
    """Part of other boxes with structure up to which it is light around large sources, if these
    others are at least such a part of all (choice) ..."""
    large: int = 5000
    """... and pixels above the threshold that make a source so large."""
    crowded: float = 0.1
    """Part of the boxes with structure up to which what is left between large sources is sky, if
    nothing is left farther out (choice)."""
    between_sources: float = 1.0
    """Structure about a plane (rms) up to which what narrower gaps show is sky: most galaxies that
    fill a mosaic have 1.2 and more, crowded fields 0.3 (by hand)."""
    exclude: float = 0.97
    """Fraction of masked pixels above which a box is left out: 300 pixels are enough for a mean."""
    sample_step: int = 7
    """Every so many-th row and column tells the noise."""
    faint_sigma: float = 2.0
    """Search for faint sources: smoothing, pixels ..."""
    wider_sigmas: tuple[float, ...] = (4.0, 8.0)
    """... also these, pixels, for what lies beside known sources (by hand) ..."""
    faint_nsigma: float = 4.5
    """... and threshold, noise of the smoothed image: one false source in 300,000 bins."""
    extended_sigma: float = 12.0
    """Search for extended sources: smoothing, pixels ..."""
    extended_clip: float = 3.0
    """... largest value of a bin: compact sources, cut off there, do not reach the threshold ..."""
    extended_level: float = 0.4
    """... and threshold ..."""
    extended_nsigma: float = 4.0
    """... also in units of the noise of the smoothed image (benchmark)."""


@dataclass(frozen=True)
class FilledSettings:
    """Backgrounds that are light of sources which fill the mosaic.

    Chosen on half of 231 mosaics that galaxies and nebulae fill or that have skies of all kinds
    (docs); structure is in units of the noise of a pixel, rms.
    """

    most: float = 5.0
    """Structure about a plane beyond which nothing is sky: random skies of 5 noises have 4.7 ..."""
    beside_large: float = 1.5
    """... and the same where large sources cover more than a part of the mosaic: curved skies of 5
    noises have 1.5 ..."""
    much_inside: float = 0.2
    """... this part."""
    least: float = 0.5
    """Structure up to which all is sky: crowded fields have 0.3, a steep sky whose ridge passed for
    a source 0.4 ..."""
    explained: float = 0.5
    """... part of that about a plane that falls with the distance from large sources, beyond which
    it is their light: 0.52 to 0.99, skies have 0.2 ..."""
    masked: float = 0.8
    """... and part of the mosaic that is masked, beyond which too little is seen of it."""
    steep: float = 1.0
    """Structure, its plane included, that may be light of a galaxy at a border ..."""
    no_plane: float = 0.25
    """... if it is no plane: about one, slopes beside large galaxies have less ..."""
    inside: float = 0.02
    """... if large sources cover more than this part of the mosaic ..."""
    mostly: float = 0.7
    """... and this part of it falls with the distance from them."""
    fewest_boxes: int = 4
    """Boxes that tell more than a plane."""
    lag: int = 4
    """Pixels between those whose second difference tells the noise: they share none of it, and no
    galaxy bends so fast (choice) ..."""
    fewest: int = 100
    """... and how many of them it takes ..."""
    growing: float = 1.2
    """... and the factor by which those of twice that distance have more, beyond which a nebula has
    structure in all sizes: 1.8 to 1.95 in real ones, skies 1.03 at most."""


@dataclass(frozen=True)
class FollowedSettings:
    """Where a background follows structure of the sky in smaller boxes."""

    structure: float = 0.15
    """Structure up to which the smooth sky stands: a box of the fine one is known to 0.03."""
    candidates: tuple[tuple[int, int], ...] = ((5, 4), (5, 0), (3, 0))
    """Skies in boxes of half the side, each tried against the one before: side of the median
    filter (no more than that of the parameters) and degree of the polynomial taken out, which
    makes slopes of steps; 0 = none (by hand) ..."""
    around: float = 2.0
    """... the Gaussian of boxes that tell which of two is better, boxes ..."""
    surely: float = 2.0
    """... the gain in its own errors from which on the next counts, in full one above (by
    hand) ..."""
    growth: int = 2
    """... and boxes around in which it does, too: as far as a wide median is off beside a step
    (by hand)."""
    smallest_box: int = 8
    """Boxes are halved where the sky has structure, if they have this side after it, pixels."""
    degree: int = 4
    """Highest degree of the polynomial that neither median filter nor filling of holes flattens: a
    sky that rises to the borders, where it has boxes on one side only, passed for light of
    sources."""


@dataclass(frozen=True)
class ExponentialSettings:
    """How the end of a profile is fitted.

    "Profiles": chosen by the errors of lengths in ``tests/kernels/sources/test_exponential.py``.
    """

    last_factor: float = 5.0
    """The fit begins where the profile is this many times as bright as where it is lost: what lies
    further in is steeper or flatter (benchmark) ..."""
    fewest_above: int = 3
    """... but at least so many points before it is lost ..."""
    fewest_points: int = 4
    """... and so many points in all: one more than the numbers that are fitted."""
    shape_error: float = 0.1
    """Part of its height by which a profile is off an exponential, from one point to the next
    (benchmark)."""
    sky_error: float = 0.01
    """Structure of the sky from one point to the next that no mean averages out (benchmark)."""
    constant_error: float = 0.1
    """Sky that is left under a whole profile: twice what a point must have to be followed. What is
    larger must be seen in the profile itself (profiles)."""
    clip: float = 1.5
    """Points further off than so many of their errors lose weight: Huber's usual limit."""
    passes: int = 4
    """Fits, each with the weights and the first point that the one before tells."""
    shortest: float = 0.3
    """Shortest scale length that is tried, bins: a third of the first step ..."""
    longest: float = 2.0
    """... the longest, in units of the longest distance, over which it falls by 0.6 ..."""
    n_lengths: int = 120
    """... and the number of lengths: 5% apart, between which a parabola is exact to 0.1%."""


SEARCH = SearchSettings()
DEPTH = DepthSettings()
PROFILES = ProfileSettings()
SMALL = SmallSettings()
HALOS = HaloSettings()
LARGE = LargeSettings()
SECTORS = SectorSettings()
RIDGES = RidgeSettings()
SKY = SkySettings()
FILLED = FilledSettings()
FOLLOWED = FollowedSettings()
OUTER = ExponentialSettings()
