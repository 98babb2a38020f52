"""Constants of the methods that find stripes: value, unit, and what chose each.

"Model": the accuracy in ``docs/striping_model.md`` is that of this value; what is said there of
others was measured. "Benchmark": ``benchmarks/striping.py``. "Choice": no benchmark varies it; what
speaks for it stands there.
"""

from dataclasses import dataclass

__all__ = [
    "COLUMNS",
    "CROWDED",
    "GROUPS",
    "LARGE_SOURCES",
    "LEFT_OVER",
    "LIGHT",
    "MEDIAN",
    "POSTERIOR",
    "ROUGH",
    "ROW_NOISE",
    "SERIES",
    "TILTED",
    "ColumnSettings",
    "CrowdedSettings",
    "GroupStripeSettings",
    "LargeSourceSettings",
    "LeftOverSettings",
    "LightSettings",
    "MedianSettings",
    "PosteriorSettings",
    "RoughSettings",
    "RowNoiseSettings",
    "SeriesSettings",
    "TiltedSettings",
]


@dataclass(frozen=True)
class PosteriorSettings:
    """How stripes and smooth light are fitted together."""

    passes: int = 6
    """Solutions, between which both priors are learnt (model)."""
    free_passes: int = 4
    """First passes, in which trends of the sky are free; free for good they cost a half more noise.
    After 3, when the spectrum was learnt once, a galaxy in a corner passes for a trend (model)."""
    clip: float = 5.0
    """Samples farther from the model are left out, units of their noise: one in two million by
    chance ..."""
    clipped_passes: int = 2
    """... after each of the first so many passes (model)."""
    first_amplitude: float = 0.03
    """Prior of smooth light in the first pass, units of the noise of a pixel: a start for
    what is learnt (choice) ..."""
    least_amplitude: float = 1e-3
    """... and its floor, far below what is seen, so that matrices stay regular (choice)."""
    evidence: float = 25.0
    """Gain in chi squared for which a trend of the sky is accepted: 5 sigma ..."""
    evidence_along_y: float = 12.0
    """... and by its term along y alone: 4 sigma, where 216 terms of frames without a trend have
    2.7 at most, of two others 3.4 (model)."""
    stripe_evidence: float = 5.0
    """Logarithm of how much likelier the image must be with stripes than without, or there are
    none: 0.3 at most in frames without, 9 and more where they are worth subtracting (model)."""
    far: float = 3.0
    """Samples farther above the level of their row, units of the scatter from row to row, hold
    light that is not in the model ..."""
    most_far: float = 0.018
    """... and if more than this part of them does, light hides the stripes, and none are
    subtracted: 0.001 by chance, 0.007 at most where it is better to do so, 0.023 and more where it
    is not (model)."""
    most_light: float = 0.25
    """Part of the variance of slow stripes that light may have made, or none are subtracted: 0.15
    where it is still better to do so, 0.31 where it is not (model)."""
    crowded_fits: int = 2
    """Further fits at most where there is light that is not in the model, without the pixels in
    which it is seen: four gain a tenth more (model) ..."""
    most_light_to_find: float = 0.4
    """... if it has made less than this part of the slow stripes: from 0.43 on, one of five frames
    is worse for it than with nothing subtracted (model)."""
    faint_width: float = 5.0
    """Gaussian that smooths what is left of the image there, pixels ..."""
    faint_light: float = 0.15
    """... and what is light in it, units of the noise of a pixel: 2.7 sigma of noise; 0.2 is worse,
    0.1 no better (model) ..."""
    faint_shadow: float = 0.45
    """... or a dark spot: with 0.15 the sky between sources is one, too; 0.3 and 0.6 are as good
    (model)."""
    least_used: float = 0.05
    """Part of the samples that this must leave (choice)."""
    spread_limits: tuple[float, float, int] = (1e-2, 10.0, 200)
    """Spreads of the trends that are tried: first, in units of the smallest error; last, of the
    largest value and error; number of them (choice)."""


@dataclass(frozen=True)
class LeftOverSettings:
    """Light that the fit returns to faint sources, and stripes that it leaves under masks."""

    own_reach: float = 4.0
    """Pixels of a row up to so near to each other are judged as one source, whose own part in its
    stripes is returned to it: with 8 and 12 less light for the same noise (model) ..."""
    returned: float = 0.8
    """... where the part r of its light is in them: so many times r (1 - r) of what is left, of
    which r / (1 - r) would be all. More is more noise in blocks for less light that is lost; 0.9
    leaves blocks above 1.05 where stripes are very strong (model)."""
    drawn_tolerance: float = 1e-2
    """Of the conjugate gradients for stripes that are drawn to learn what is left of them: its
    variance is within 10% of that with 1e-3 (model) ..."""
    least_ring: int = 300
    """... from at least so many samples that are masked equally far from used ones: to 10%
    (choice)."""


@dataclass(frozen=True)
class LightSettings:
    """The model of smooth light."""

    spacing: float = 32.0
    """Pixels from node to node of the splines: a third of the kernel (choice) ..."""
    kernel_length: float = 90.0
    """... whose length this is, pixels: 70, 60 and 45 take 3, 6 and 10% of the benchmark's galaxy
    in place of 0.9%."""
    trend_degree: int = 3
    """Of the polynomials over the whole image: skies of a detector are no rougher (choice)."""


@dataclass(frozen=True)
class LargeSourceSettings:
    """How far the light of large sources reaches beyond the mask of the search."""

    block: int = 4
    """Side of the blocks that are looked at, pixels: their noise is a quarter of that of a pixel
    (choice)."""
    level: float = 1.0
    """Light of the bright part, units of the noise of a pixel: four times that of a block ..."""
    least_area: float = 320.0
    """... and its least area, pixels: smaller ones are masked to their ends (model)."""
    most: int = 50
    """So many at most, the largest: fields of the demo have 11 to 39 (choice)."""
    least_ratio: float = 0.15
    """Of the axes of an ellipse: galaxies seen from the side have no less (choice)."""
    gap: int = 2
    """Blocks around bright parts that do not count as surroundings of another (choice)."""
    step: float = 2.0
    """Width of the rings along the major axis, blocks: a third of the shortest outskirts that
    matter (choice)."""
    least_blocks: int = 8
    """That a ring must have (choice)."""
    clip: float = 2.5
    """Sigma beyond which blocks of a ring belong to other sources (choice) ..."""
    shape_scatter: float = 0.05
    """... their scatter enlarged by this, as no source is an exact ellipse (choice)."""
    sky_error: float = 0.02
    """What stripes add to the error of a ring, units of the noise of a pixel: half the error of a
    block of 16 pixels, of which a ring has several (choice)."""
    reach_axes: float = 2.0
    """How far profiles are followed: so many half axes ..."""
    reach: float = 128.0
    """... and so many pixels further (choice)."""
    faintest: float = 0.03
    """Light at which the mask of outskirts ends, units of the noise of a pixel: 0.05 leaves a fifth
    more of what stripes take of sources (model)."""
    longest: float = 40.0
    """Scale length of outskirts that are masked, pixels: longer ones are smooth light, which is a
    guess where it is masked (model)."""
    widest: float = 200.0
    """Half the minor axis, pixels, of outskirts that fade more slowly and are subtracted before the
    smooth light is fitted: wider ones are smooth light alone (evidence)."""
    least_left: float = 0.5
    """Part of the weight that outskirts must leave: in a crowded field there is no sky to which
    sources could be followed, and the mask of the search stands (choice)."""


@dataclass(frozen=True)
class SeriesSettings:
    """Stripes as time series."""

    binnings: tuple[int, ...] = (4, 2, 1)
    """Columns per sample, the first that divides an output: 1/f noise has no power on scales this
    short beside white noise (choice)."""
    strip_rows: int = 64
    """Rows of an image that are averaged at a time: they stay in the cache."""
    padding: float = 1.05
    """Length of the periodic series over that of the read-out: its ends do not touch (choice)."""
    tolerance: float = 1e-3
    """Of the conjugate gradients, relative to the right-hand side: below the noise (choice) ..."""
    max_iterations: int = 60
    """... which they reach after 40 to 60 iterations in all passes (model); a bound on time."""
    least_pairs: int = 1000
    """Pairs of samples that tell the noise: to 3%."""
    least_rows: int = 16
    """Pairs of rows that tell the strength of stripes: to a quarter, for a start (choice)."""
    least_coverage: float = 0.25
    """Part of a row of an output, of the fullest, that must be used for it to take part in that
    (choice)."""
    least_excess: float = 0.02
    """Least variance of stripes in differences of rows, units of that of white noise: none at all
    could never grow (choice)."""
    shrinkage: float = 4.0
    """Weight of the spectrum before in the one learnt, in Fourier modes: bins of few modes are held
    to the power law (choice)."""
    trend_blocks: int = 128
    """Blocks of rows from which the errors of trends are computed: many for degree 3 (choice)."""
    trend_cycles: int = 4
    """Cycles of stripes per read-out up to which trends look the same: a cubic has no more ..."""
    slope_cycles: int = 256
    """... and up to which the slope of the spectrum, with which drifts go on below, is measured: to
    0.06; up to 64 it is as good (model) ..."""
    trend_periods: int = 8
    """... and read-outs, over which the slowest drifts that count repeat (choice)."""
    noise_sample: int = 200_000
    """Pairs that tell the noise, to 0.2% ..."""
    level_sample: int = 100_000
    """... and samples that tell its level and that of the sky, to 0.4% of a sigma."""
    light_waves: tuple[float, float] = (0.5, 1.0)
    """Light that the model does not have is looked for in waves up to the first, beside the noise
    that there is from it to the second, cycles per sample of four pixels (choice)."""
    light_chance: float = 1e-5
    """Chance that noise shows as much, below which there is light: with 1e-3 there is some in one
    of 24 frames of few sources (model)."""
    bins_per_octave: int = 3
    """Bins of the spectrum that is learnt (model)."""


@dataclass(frozen=True)
class GroupStripeSettings:
    """Stripes of the differences between groups."""

    first_passes: int = 3
    """Solutions for the first difference, between which the covariance is learnt twice (choice)."""
    clip: float = 5.0
    """Samples farther from the model are left out, units of their noise: as for rates."""
    first_tolerance: float = 1e-2
    """Of the conjugate gradients, relative to the right-hand side, in all of these but the last:
    the covariance is the same to 1%."""
    tolerance: float = 3e-3
    """The same in the last and for all other differences: against 1e-3 stripes change by 0.2% of
    the noise of a difference and 4 of 100,000 flags; 1e-2 changes three times as much."""


@dataclass(frozen=True)
class MedianSettings:
    """Stripes from clipped medians; the published recipe but for the first three."""

    block_rows: int = 16
    """Rows over which errors are averaged when they are compared: the size of the blocks whose
    noise the benchmark reads."""
    sample: int = 500_000
    """Pixels that tell the noise of an image: to 0.1%."""
    median_variance: float = 2.7
    """Variance of the median of normal values clipped at 2 sigma over that of their mean: measured
    for 250 values and more; 2.3 for 32. Without clipping it is pi / 2."""
    clip: float = 2.0
    """Sigma at which deviations from the level of a line are cut, as in the published medians."""
    column_iterations: int = 3
    """Times that the level of a column is improved (choice)."""
    column_evidence: float = 4.0
    """Least variance of columns, units of that of their noise over the root of their number: twice
    what chance makes of it (choice)."""
    sky_sample: int = 1_000_000
    """Pixels that the sky level is measured from: its error is then a thousandth of their noise."""
    published_histogram: tuple[float, float, float] = (-1.0, 1.5, 0.001)
    """Bins of the published pedestal: from, to, width, DN/s (Bagley et al. 2023, section 3.1)."""


@dataclass(frozen=True)
class RoughSettings:
    """Thin light along rows, which is not to be taken for stripes before sources are searched."""

    around: int = 33
    """Rows whose median a level is compared with, fewer than the ring of the search is wide
    (choice)."""
    far: float = 5.0
    """Scatters of levels about that by which it stands out: never by chance; with 8 one of two
    galaxies seen from the side is lost, with 4 nothing is gained but in strong stripes
    (evidence) ..."""
    least_rows: int = 2
    """... in so many rows at least, as even a star has: a single one is a fault of the read-out
    (choice) ..."""
    near: float = 1.5
    """... with the rows beside it, as far as they are above by this: 1 is as good (evidence) ..."""
    most_rows: int = 16
    """... in so many rows at most: more is no thin light (choice)."""


@dataclass(frozen=True)
class CrowdedSettings:
    """Levels of rows where light hides stripes from the model."""

    piece: int = 32
    """Pixels of a row that belong to one half of it before the other begins: wider than most
    sources (choice) ..."""
    least_pieces: int = 8
    """... and how many of them an output has at least, of a pixel if it is narrow: rows and outputs
    that have fewer pixels tell no light from stripes (choice)."""
    least_seen: float = 0.3
    """Usable part of a row or column that tells its level: with 0.2, what is left of a cluster
    between its masked stars passes for stripes in one of 16 frames (evidence)."""
    least_ratio: float = 2.0
    """Least power of a wave over that which light and chance make of it: with 3 a cluster keeps
    twice as much of its stripes, with less a field without sky gets worse (evidence) ..."""
    least_errors: float = 2.0
    """... and by how many errors it is above that of light (evidence)."""
    least_share: float = 0.6
    """Part of the power of the levels that must be stripes, or nothing is taken (evidence)."""


@dataclass(frozen=True)
class TiltedSettings:
    """Stripes along lines that nothing of the read-out makes."""

    passes: int = 2
    """Times that rows, columns and then tilted stripes are found, each without the last of these
    (choice)."""
    clip: float = 2.0
    """Sigma at which deviations of pixels from the level of their line are cut, as for columns."""
    iterations: int = 4
    """Times that the level is improved: each reaches stripes 2 sigma stronger (choice)."""
    line_width: float = 0.5
    """Pixels: half a pixel, so that stripes whose edges lie between lines of whole pixels are found
    (choice)."""
    least_pixels: int = 32
    """Usable pixels below which a line is left alone: its level would be worse than a fifth of the
    noise of a pixel ..."""
    least_share: float = 0.06
    """... and their share of those of the fullest line: in a large frame a short line in a corner
    would be far worse than the others (choice)."""
    part_length: float = 256.0
    """Pixels of a line that are averaged before parts are compared: longer than what a source mask
    leaves of a galaxy, and a level of 6% of the noise of a pixel (choice)."""
    part_clip: float = 2.5
    """Errors of a part at which its deviation from the median of its line is cut (choice)."""
    trend_degree: int = 3
    """Of the polynomial across the lines that is left to the sky, as in `LightSettings` ..."""
    trend_clip: float = 3.0
    """... fitted without lines farther from it, units of their scatter (choice) ..."""
    trend_blocks: int = 32
    """... if it stands out among the means of so many blocks of lines (choice)."""
    neighbours: int = 16
    """Values of a scale whose variance together shows stripes, beside each alone and all of them:
    narrow and strong, wide and weak (choice) ..."""
    chance: float = 6e-5
    """... if noise alone would show as much in one of so many: 4 sigma, less than one line."""


@dataclass(frozen=True)
class ColumnSettings:
    """Stripes along columns that are too strong for the fit of rows."""

    rows: int = 512
    """Rows on which columns are compared: medians have a noise of 0.07 of a pixel's (choice)."""
    least_scatter: float = 0.1
    """Scatter of columns, units of the noise of a pixel, that does no harm to the fit: by 0.15 they
    can make blocks twice as noisy (model)."""
    chance: float = 10.0
    """Error of the variance of many medians, in units of it over the root of their number: four
    sigma of a variance from the median of absolute differences (choice)."""
    least_seen: float = 0.25
    """Part of the rows that a column must have (choice) ..."""
    least_pairs: int = 32
    """... and pairs of such columns: their scatter is then known to a fifth (choice)."""


@dataclass(frozen=True)
class RowNoiseSettings:
    """How the scatter of rows is measured."""

    least_seen: float = 0.2
    """Part of the pixels of an output's row that must see the sky; with fewer it counts as masked
    (the published threshold)."""


POSTERIOR = PosteriorSettings()
LEFT_OVER = LeftOverSettings()
LIGHT = LightSettings()
LARGE_SOURCES = LargeSourceSettings()
SERIES = SeriesSettings()
GROUPS = GroupStripeSettings()
MEDIAN = MedianSettings()
ROUGH = RoughSettings()
CROWDED = CrowdedSettings()
TILTED = TiltedSettings()
COLUMNS = ColumnSettings()
ROW_NOISE = RowNoiseSettings()
