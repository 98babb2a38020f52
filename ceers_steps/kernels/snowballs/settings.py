"""Constants of the methods: value, unit, and what chose each."""

from dataclasses import dataclass

__all__ = [
    "ALONG",
    "EVENTS",
    "FAINT",
    "FIT",
    "HALO",
    "LAST",
    "PERSISTENCE",
    "PUBLISHED",
    "SPILLED",
    "AlongRowsSettings",
    "EventSettings",
    "FaintHaloSettings",
    "FitSettings",
    "HaloSettings",
    "LastDifferenceSettings",
    "PersistenceSettings",
    "PublishedSettings",
    "SpilledSettings",
]


@dataclass(frozen=True)
class PublishedSettings:
    """Bounds of the published method."""

    largest_radius: float = 1000.0
    """Of a disc, pixels: half of a detector. That of a far larger one fits no memory."""


@dataclass(frozen=True)
class EventSettings:
    """What makes a region of jumps an event.

    "Benchmark": chosen with ``benchmarks/snowballs.py``, by recall against extra area. "Test of":
    the test in ``tests/kernels/snowballs`` for the case that the value is there for.
    """

    core_filled: float = 0.8
    """Least part of the smallest disc that a core fills. The track of a cosmic ray, three pixels
    wide, does not (test of cosmic rays)."""
    known_part: float = 0.95
    """Part of the jumps of a core that an earlier event has flagged when it is no new event
    (test of groups without event)."""
    known_core: float = 0.25
    """Part of a core that lies in the cores of earlier events when it is no new event: another,
    larger one may arrive beside an event whose halo it is taken for."""
    beside: int = 2
    """Pixels around what saturates in the first group in which jumps in the next ..."""
    early_jumps: float = 0.5
    """... of more than this part of its area are those of an event of the next group."""
    sudden_sigma: float = 4.0
    """Least excess of a core over its rate, sigma of a difference: the threshold of jwst's jump
    step."""
    sudden_rate: float = 0.25
    """The same, relative to the rate over the surroundings: a star that saturates has jumps too
    (test of saturating stars)."""
    bright_percentile: float = 90.0
    """Percentile of the excess in a core that tells if an event has begun: the true core is an
    eighth or more of its jumps, a stray cosmic ray less."""
    halo_area: float = 1.1
    """Least area of core and halo, or core and ring, over the core; a mere cosmic ray has less
    (test of spots without halo)."""
    raised: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0)
    """Factors by which the threshold of a halo is raised in a group that it would fill."""


@dataclass(frozen=True)
class HaloSettings:
    """How the surroundings of an event are followed; for "benchmark" see `EventSettings`."""

    first_group_ratio: float = 15.0
    """Largest time between groups over the time to the first group: DEEP8, whose groups are 20
    frames apart and average 8, has 20 / 4.5 = 4.4; the rest is room for unknown patterns."""
    margin: int = 16
    """Pixels around a core in which the halo is searched for at first; the box grows while
    the halo is cut, so that only the time depends on it."""
    largest_reach: int = 320
    """Pixels; no halo is followed further (bounds the time of a frame that is bright all over)."""
    ring_reach: float = 8.0
    """Pixels around a saturated core in which spilled charge is searched for (benchmark) ..."""
    ring_slope: float = 0.4
    """... and its growth with the radius of the core, pixels per pixel (benchmark)."""
    ring_part: float = 0.8
    """Part of the threshold down to which spilled charge is flagged, which comes in several
    differences of a pixel (benchmark: recall 0.1 to 0.4% higher, extra area by 0.05)."""
    annulus_width: int = 12
    """Pixels; width of the annulus that tells the rate under the spilled charge: some 500 pixels
    around the smallest core, enough for a plane."""
    annulus_outlier: float = 4.0
    """Median deviations that the rate of a pixel of that annulus may have: 2.7 sigma, the usual
    clip."""
    ring_minimum: float = 1.5
    """Pixels around a saturated core that are not trusted while it discharges: its eight
    neighbours."""
    flank: float = 3.0
    """Pixels around what saturates in the first group in which a star has light ..."""
    early_light: float = 0.1
    """... more than this part of what fills a pixel: stars have 5 to 40%, events below 3% ..."""
    early_growth: float = 1.25
    """... and what saturates there in the last group over what does in the first: 1.7 to 4."""
    fewest_pixels: int = 6
    """Fewer pixels do not tell the excess at a distance: the median of six has an error of half
    a sigma, below the default threshold."""
    ellipse_part: float = 0.95
    """Part of a core within the ellipse of its moments from which on it is one, and its halo too
    (benchmark: merged events are none)."""
    largest_ratio: float = 3.0
    """Largest radius of the halo of a small event over that of its core: from the 4 sigma of a jump
    down to the threshold a power of 2 needs 2.7; further out is the halo of another event."""
    large_core: float = 12.0
    """Pixels; radius of a core from which on the halo need not have its shape (benchmark:
    elliptical and merged events)."""
    clip_sigma: float = 3.0
    """Sigma of a difference; a stray cosmic ray counts as this much when the excess is
    smoothed: the usual clip."""
    smoothing_limits: tuple[float, float] = (2.0, 8.0)
    """Smallest and largest sigma of the Gaussian that averages the excess, pixels
    (benchmark) ..."""
    smoothing_slope: float = 0.1
    """... and its growth with the radius of the region, pixels per pixel (benchmark)."""
    least_weight: float = 0.02
    """Part of the Gaussian on usable pixels below which nothing is seen: one pixel under the
    narrowest Gaussian has 0.04."""


@dataclass(frozen=True)
class LastDifferenceSettings:
    """When a difference before saturation is not that of steady light."""

    excess_sigma: float = 5.0
    """Excess over the level of the frame, sigma of a difference (choice): noise reaches it once in
    3 million pixels."""
    dark_sigma: float = 3.0
    """Excess of the first group over the frame, in its scatter there, up to which it is dark."""
    steady_ratio: float = 1.5
    """Ratio to the least other difference of the pixel up to which it is steady light."""
    level_step: int = 7
    """Rows and columns from one pixel to the next that tells the level of a frame."""


@dataclass(frozen=True)
class PersistenceSettings:
    """How the charge that saturated pixels release later is followed."""

    limit: float = 0.2
    """Error of the rate that is left, in its noise (choice)."""
    filled: float = 0.5
    """Part of the highest level beside it that a full pixel holds: neighbours that the saturation
    step adds hold a hundredth of it around most rays (test of rays)."""
    dark_part: float = 0.5
    """Part of the level at which a pixel saturated below which another integration has it dark: a
    star gives the same in all of them."""
    dark_now: float = 0.05
    """Part of the full well that a pixel saturated in an earlier exposure may hold now (choice):
    trapped charge is a few hundredths of a full well at most, more is a star."""
    steady: float = 0.95
    """Gain of the second half of an exposure over that of the first above which it is light:
    charge that falls to 1/e in five times the exposure has 0.9."""
    levels: tuple[float, ...] = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
    """Parts of the full well by which pixels of an earlier exposure are sorted (choice)."""
    times: tuple[float, ...] = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0)
    """Times to 1/e of the exponentials, s: steps of 2, which a sum of them bridges, from a group
    of most patterns to longer than an exposure."""
    enough_pixels: int = 150
    """Pixels that measure the charge: the error of their median is half of the limit."""
    seen: float = 5.0
    """Errors above which fewer pixels see it."""
    margin: int = 10
    """Pixels around an event that tell the level: some hundreds around a single pixel ..."""
    gap: float = 2.5
    """... but for those as near as this to what was hit."""
    spread: float = 0.5
    """By which part the charge of an event is expected to differ from that of the others."""
    most: float = 4.0
    """Largest factor: a source or another event under the pixels is no charge of theirs."""
    median_variance: float = 1.57
    """Variance of a median over that of a mean, of the normal distribution."""


@dataclass(frozen=True)
class FaintHaloSettings:
    """How the halo beyond the flags is measured; for "benchmark" see `benchmarks/jumps.py`."""

    most_tries: int = 30
    """Most evaluations of a fit: they bound its time (choice)."""
    range: tuple[float, float] = (-0.5, 1.25)
    """Logarithm of the radius over that of the flagged region, from where to where the profile is
    fitted: 0.6 to 3.5 times."""
    block_slope: float = 0.08
    """Width of the blocks of pixels over the radius of the flagged region: some 2000 blocks ..."""
    largest_block: int = 8
    """... and the widest, pixels."""
    bright: float = 16.0
    """Sigma; what a pixel counts for at most. Blocks above half of this tell nothing of what is
    faint."""
    least_part: float = 0.05
    """Part of the charge of an event below which a difference is taken to hold none ..."""
    part_significance: float = 3.0
    """... and significance, sigma."""
    source_sigma: float = 3.0
    """Rate over that of the frame, sigma of a difference, from which on a pixel is a source."""
    soft: float = 2.0
    """Errors from which on a block counts less (a hit, an uncorrected source)."""
    crowded: float = 0.3
    """Part of the surroundings of an event that others have flagged above which nothing is
    subtracted: at 0.6 blank sky among 333 events on 640 x 640 pixels is too low by 0.5 sigma;
    of seven frames with 10 to 20 events none is worse than at 0.12 by more than 2%."""
    fewest_others: int = 3
    """Differences without an event below which the one before it tells the rate too: it shares a
    read with the event, so that to more it adds noise (5 groups: 10 instead of 14 variances)."""
    own: float = 0.2
    """Logarithm of the radius over that of the flagged region up to which flags are its own."""
    passes: int = 2
    """Times that events that touch others are measured."""
    left_over: float = 2.0
    """What is left over the error of the profile: 1.1 to 3.4 in seven simulated frames (benchmark),
    the median 2.2; stripes and other events are in it."""
    unlike: float = 0.1
    """Part of the halo by which it may differ from the profile."""
    expected: tuple[float, float, float, float] = (-1.0, 5.0, 0.5, 0.0)
    """Level, slope and bend of the profile and level of the sky where the data say nothing ..."""
    spread: tuple[float, float, float, float] = (1.5, 3.0, 2.0, 0.02)
    """... and how far from it they may be: slopes of 2 to 8 are common, sky in sigma."""
    centre: float = 1.0
    """How far the centre may be from that of the core, radii of the core (cut by an edge) ..."""
    stretch: float = 0.3
    """... and the logarithm of the axis ratio from that of what is flagged."""
    smooth: float = 0.2
    """Length of the correlation of what a halo has besides the fitted profile, logarithm of the
    radius ..."""
    free: float = 0.5
    """... its standard deviation over the profile ..."""
    floor: float = 0.1
    """... and besides, sigma at the radius of the flagged region ..."""
    floor_slope: float = 2.5
    """... falling as the radius to minus this power ..."""
    rough: float = 0.05
    """... and the part of it that is free from one ring to the next."""
    ring: float = 0.08
    """Distance between rings, logarithm of the radius: two fifths of `smooth`."""
    fewest_blocks: int = 150
    """Blocks around an event that are needed ..."""
    coverage: float = 0.3
    """... and part of all blocks."""
    significance: float = 5.0
    """Significance of a whole halo that is subtracted, sigma ..."""
    pixel_significance: float = 0.5
    """... and of its level at a radius."""
    brightest: float = 2.0
    """Sigma; what is brighter than this in a difference is not subtracted: around an event that
    was measured well it is flagged."""
    clip: float = 4.0
    """Sigma of a difference; what a pixel counts for at most when a halo is confirmed."""
    seen_significance: float = 1.5
    """Significance with which it is seen in the pixels it is subtracted from ..."""
    missing_sigma: float = 1.0
    """... or errors by which less is seen there than the profile says: few pixels see nothing."""
    ratio_error: float = 0.3
    """Part by which what is there may differ from what is subtracted ..."""
    ratio_sigma: float = 3.0
    """... besides this many errors."""


@dataclass(frozen=True)
class SpilledSettings:
    """How the charge that spills out of saturated cores is measured beyond its flags."""

    reach: float = 2.0
    """Distance from what is saturated to which it is followed, over that to which it is flagged at
    most (choice)."""
    around: int = 20
    """Pixels beyond that which tell the rate under it: 2000 around the smallest core, a level good
    to 0.01 sigma of a difference."""
    core: float = 2.0
    """Radii of the core within which what is saturated belongs to it (choice)."""
    ring: float = 1.5
    """Width of the rings of its profile, pixels: spilled charge falls to 1/e in two (choice)."""
    source: float = 3.0
    """Sigma by which a pixel may differ from others at its distance: the usual clip."""
    clip: float = 4.0
    """Sigma of a difference; what a pixel counts for at most."""
    turns: int = 6
    """Times that profile and parts of the differences are improved (choice)."""
    fewest_pixels: float = 10.0
    """Whole differences of pixels that tell a ring: a mean to a third of a sigma ..."""
    fewest_around: int = 200
    """... and pixels that tell the plane of the rate ..."""
    most_around: int = 3000
    """... of which so many are enough: a level good to 0.01 sigma of a difference."""
    significance: float = 5.0
    """Significance of all of it, sigma, as of a halo ..."""
    ring_significance: float = 1.0
    """... and errors of a ring at which it is lost (benchmark: at two, half stays)."""
    light: float = 0.02
    """Mean beyond what spills, sigma of a difference, besides 3 errors, from which on a galaxy may
    lie under it, of which nothing must be subtracted ..."""
    light_before: float = 0.1
    """... and what was there before the event, over what spills, besides 3 errors."""
    known_before: float = 0.2
    """Error of what was there before the event, over what spills, above which it is not known
    (choice), and what spills ..."""
    fading: float = 3.0
    """... has to fade with this significance, sigma: a galaxy does not."""


@dataclass(frozen=True)
class FitSettings:
    """How `fit_robust` goes to the minimum; all are choices, which change the time alone."""

    first_damping: float = 1e-3
    """Part of the diagonal of the curvature that is added to it at first."""
    damping_step: float = 10.0
    """Factor of it after each try: less after a good one."""
    largest_damping: float = 1e8
    """Where the steps are too small to change anything."""
    converged: float = 1e-5
    """Relative change of the loss at which a fit ends: some hundredths for 2000 residuals."""
    least_stretch: float = 1e-4
    """Logarithm of the axis ratio below which an ellipse is a circle for its derivatives: the
    difference of two functions would lose its figures."""


@dataclass(frozen=True)
class AlongRowsSettings:
    """Noise that the pixels of a row share around an event, where stripes are unknown.

    Its correlation, seen in two simulated frames (another for white noise, 0.14 and 0.3 of its
    variance), is that of 1/f noise in a gap: it falls as the logarithm of the distance.
    """

    lengths: tuple[float, float] = (8.0, 60.0)
    """Pixels; two exponentials that follow it from 4 to 100 pixels, to 10% ..."""
    short_share: float = 0.4
    """... and the part of the shorter one."""
    lags: tuple[float, float] = (4.0, 16.0)
    """Distances of the pixels that tell its size, pixels: there half of it is shared."""
    clip: float = 3.0
    """White errors that a block counts for at most: the usual clip."""
    most_modes: int = 12
    """Cosines along a row: from the box of a common event, what is longer than 15 pixels."""


EVENTS = EventSettings()
FIT = FitSettings()
HALO = HaloSettings()
LAST = LastDifferenceSettings()
PERSISTENCE = PersistenceSettings()
FAINT = FaintHaloSettings()
SPILLED = SpilledSettings()
ALONG = AlongRowsSettings()
PUBLISHED = PublishedSettings()
