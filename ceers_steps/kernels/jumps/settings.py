"""Constants of the check of jumps: value, unit, and what chose each."""

from dataclasses import dataclass

__all__ = [
    "DIFFERENCES",
    "EVENTS",
    "FIT",
    "JUMPS",
    "SCREEN",
    "UNKNOWN",
    "DifferenceSettings",
    "EventSettings",
    "FitSettings",
    "JumpSettings",
    "ScreenSettings",
    "UnknownSettings",
]


@dataclass(frozen=True)
class JumpSettings:
    """How jumps are judged."""

    fewest_groups: int = 3
    """Groups of a ramp that can be judged: of two differences, the rate of the surroundings tells
    which one holds the hit."""
    level_sample: int = 170
    """Pixels that tell the level of a row of an output, to a tenth of their noise."""
    noise_sample: int = 200_000
    """Pixels, of rows all over the frame, that tell the noise of a difference: to 0.3%, by which
    the number of noise peaks above 4 sigma changes by 5%."""
    fewest_of_kind: int = 1000
    """Pixels that took part in the stripes, or did not, that tell their own noise: to 3%."""
    strip_pixels: int = 65_536
    """Pixels of a group that are worked on at a time: all groups of them stay in the cache."""
    smooth_box: int = 7
    """Pixels; width of the box that tells the rate of smooth surroundings."""
    structure_factor: float = 1.5
    """Variance in such a box, over that of noise, from which on a pixel's own rate counts:
    2.5 standard errors."""
    candidate_margin: float = 0.5
    """Sigma below the threshold at which pixels are looked at one by one: the height of a step is
    known that well if all pixels had the same noise."""
    height_sample: int = 20_000
    """Pixels that tell the scatter of the heights of steps: to 0.2%."""
    least_read: float = 0.5
    """Variance of the read noise over that of the references at least (choice)."""
    neighbour_sigma: float = 10.0
    """Hits from which on the four neighbours are flagged, sigma: that of jwst's jump step."""


@dataclass(frozen=True)
class EventSettings:
    """How large events are told from stripes."""

    core_block: int = 4
    """Pixels; width of the blocks that tell the core of a large event: the smallest core that the
    snowball step takes holds one ..."""
    core_filled: float = 0.6
    """... and the part of a block that has hits or saturated there, and of the smallest core: a
    disc of that radius ..."""
    core_square: int = 3
    """... which lies in a square of so many blocks a side: tracks of cosmic rays fill a block."""
    halo_margin: float = 20.0
    """Pixels around a large event within which its halo is looked for ..."""
    halo_slope: float = 4.0
    """... and their growth with the radius of its core: the halos of the snowball benchmark are
    flagged out to four times the radius of the core."""
    rings: int = 12
    """Rings around a core, whose radii grow by the same factor: a profile is smooth (choice)."""
    faintest: float = 0.1
    """Sigma of a difference, down to which a halo is followed."""
    brightest: float = 0.5
    """Sigma of a halo, above which pixels tell nothing of the level of their row: halos are no
    exact circles."""
    brightest_prior: float = 10.0
    """Sigma of a halo, expected at most: where no pixel tells, there is none."""
    clip: float = 5.0
    """Sigma beyond which pixels tell nothing of the level of their row."""
    turns: int = 3
    """Times that halos and levels are improved: what is left out follows from those before."""


@dataclass(frozen=True)
class DifferenceSettings:
    """How the noise of group differences is measured."""

    sample: int = 100
    """Columns of an output that tell the level of a row: to an eighth of their noise ..."""
    fewest: int = 16
    """... and that must be left of it beside an event: a level to a third of their noise, about as
    much as it varies (choice); half of those of a narrow output ..."""
    noise_step: int = 6
    """... and from one row to the next of those that tell the noise itself."""
    lone_sigma: float = 10.0
    """Sigma above its surroundings from which on the only difference before an event is a hit as
    well: that of hits whose neighbours are flagged (choice) ..."""
    event_ratio: float = 4.0
    """... if so many times as much arrives with the event: a star goes on as it began (choice)."""


@dataclass(frozen=True)
class ScreenSettings:
    """How pixels without jumps are passed over."""

    rows: int = 64
    """Of a frame that are looked at together: their differences fit into the cache."""
    nearly: float = 0.999
    """Of the threshold: from here on single precision, good to 1e-6, leaves it open whether there
    is a jump."""
    fewest_clipped: int = 4
    """Differences from which on the largest is left out of the median: that of jwst's step."""


@dataclass(frozen=True)
class FitSettings:
    """How jwst weights the groups of a segment of a ramp (Fixsen et al. 2000, PASP 112, 1350)."""

    signal_to_noise: tuple[float, ...] = (5.0, 10.0, 20.0, 50.0, 100.0)
    """Of a segment, from which on ..."""
    powers: tuple[float, ...] = (0.0, 0.4, 1.0, 3.0, 6.0, 10.0)
    """... the weight grows as this power of the distance from its middle."""
    smooth_box: int = 3
    """As in `JumpSettings`, for the rate from which photon noise follows: the wide box gives
    sources of 1 to 4 sigma 12% too little, this one 5% (docs/evidence/jump_check.md)."""


@dataclass(frozen=True)
class UnknownSettings:
    """How the noise that the references do not know is measured."""

    smooth: float = 0.1
    """Variance of the rates around a pixel over noise, in units of that noise, up to which it is
    taken for empty sky: 90% and more of the pixels of the frames of the jump benchmark."""
    sample: int = 400_000
    """Pixels, of rows all over the frame, that tell the noise: to 0.2% ..."""
    fewest_pairs: int = 5000
    """... and pairs of neighbours at least: 1.2%."""


@dataclass(frozen=True)
class LostSettings:
    """Which rates must have photon noise."""

    over_read: float = 10.0
    """Photon noise over read noise (variances): so bright a pixel is 25 sigma and more above 0 with
    a read noise of 8 electrons, and its median rate, of which jwst takes it, is not negative."""


JUMPS = JumpSettings()
LOST = LostSettings()
EVENTS = EventSettings()
UNKNOWN = UnknownSettings()
SCREEN = ScreenSettings()
FIT = FitSettings()
DIFFERENCES = DifferenceSettings()
