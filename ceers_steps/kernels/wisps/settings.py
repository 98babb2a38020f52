"""Constants of the measurement of wisps: value, unit, and what chose each.

"Benchmark": ``benchmarks/wisps.py`` measures what all reach together. "Choice": no benchmark varies
it; what speaks for it stands there.
"""

from dataclasses import dataclass

import numpy as np

__all__ = [
    "PUBLISHED",
    "TEMPLATE",
    "WISP_FIT",
    "PublishedSettings",
    "TemplateSettings",
    "WispFitSettings",
]


@dataclass(frozen=True)
class TemplateSettings:
    """How a template is made fit for use."""

    block: int = 8
    """Side of the blocks in which the extent of a wisp is found, pixels: wisps are smooth over it
    (choice)."""
    faintest: float = 0.01
    """Brightness at which a wisp ends, as a fraction of its peak in blocks: what is fainter is
    below the noise of any exposure (choice)."""
    n_sigma: float = 3.0
    """A wisp ends at this many standard deviations of the template's block noise, if that is
    more."""
    smoothing: float = 1.0
    """Gaussian sigma by which the blocks are smoothed to find the extent, blocks ..."""
    smoothed_noise: float = float(1.0 / (2.0 * np.sqrt(np.pi)))
    """... and what it leaves of their noise: 1 / (2 sqrt(pi) sigma)."""
    pedestal_quantile: float = 0.25
    """Quantile of the blocks that is free of wisp even under an extended one (choice)."""
    smallest_part: int = 16
    """Smallest part of a wisp, blocks: noise makes none so large (choice)."""
    growth: int = 3
    """Blocks by which the extent is grown; over them the template fades to zero, so that no edge
    is printed on the image (choice)."""
    component_sigma: float = 2.0
    """Gaussian sigma of the smoothed copy against which the image is correlated, pixels: narrower
    than any wisp (choice)."""


@dataclass(frozen=True)
class WispFitSettings:
    """How a template is fitted to an image."""

    margin: int = 48
    """Rows of sky added on either side of the wisp, pixels: they tell the background from it
    (choice)."""
    component_significance: float = 3.0
    """A component whose factor is less than this many times its error is left out."""
    mask_passes: int = 2
    """Times the sources are looked for in the residual of the fit before the last fit (choice)."""
    bin: int = 8
    """Columns that are averaged before the fit; rows stay apart, they carry the 1/f noise
    (choice)."""
    background_degree: int = 3
    """Degree of the background polynomial; its terms in y alone are part of the row levels
    (choice)."""
    huber: float = 2.0
    """Residuals beyond this many standard deviations lose weight (choice; the usual limit is 1.5
    for noise alone)."""
    sample_step: int = 3
    """Every so many-th value (along each axis) is looked at for a measure of scatter."""
    source_scales: tuple[tuple[int, float, float], ...] = (
        (1, 1.5, 5.0),
        (4, 1.0, 5.0),
        (4, 3.0, 5.0),
    )
    """Search for sources: block size (pixels), Gaussian sigma (blocks), threshold (sigma)."""
    error_blocks: tuple[tuple[int, int | None], ...] = (
        (32, 32),
        (64, 64),
        (128, 128),
        (16, None),
        (64, None),
    )
    """Rows and columns over which residuals may be correlated, pixels; None is all columns.
    Squares for sources and for a template that does not quite fit; strips of rows for 1/f noise,
    which all outputs share as they are read together (benchmark: errors against scatter)."""


@dataclass(frozen=True)
class PublishedSettings:
    """The published method, with every constant of its release (Bagley et al. 2023, 3.1.2)."""

    trial_scales: tuple[float, float, float] = (0.01, 1.2, 0.02)
    """Scales that are tried: first, end, step."""
    template_sigma: float = 2.0
    """Gaussian sigma by which the template is smoothed, pixels."""
    background_box: int = 256
    """Size of the background boxes of the source mask, pixels."""
    detection_sigma: float = 5.5
    """Detection threshold of the source mask, errors above the background."""
    smallest_source: int = 15
    """Connected pixels of a source."""
    growth: int = 15
    """Size of the square by which sources are grown, pixels."""


TEMPLATE = TemplateSettings()
WISP_FIT = WispFitSettings()
PUBLISHED = PublishedSettings()
