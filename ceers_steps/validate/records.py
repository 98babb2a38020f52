"""The records that the metrics return: small, frozen, and flat enough for a table row.

Uses no kernel on purpose: what is checked must not be checked with its own code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = [
    "AbsorbedFlux",
    "BlockNoise",
    "HaloBias",
    "PedestalChange",
    "SnowballFlags",
    "SourceFlux",
    "TemplateResidual",
    "WispScale",
]


class Record:
    """Base of the records: a flat dictionary of their numbers for tables."""

    def as_row(self, prefix: str = "") -> dict[str, float | int | bool | str]:
        """Return the fields as a flat dictionary, each name preceded by `prefix`."""
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}  # type: ignore[call-overload]


@dataclass(frozen=True)
class BlockNoise(Record):
    """Scatter of block means against the scatter that white noise alone would give.

    Attributes
    ----------
    block : int
        Side of the square blocks, pixels.
    n_blocks : int
        Number of blocks that had enough unmasked pixels.
    scatter : float
        Standard deviation of the block means, units of the image.
    white : float
        Standard deviation expected of them for white noise, same units.
    ratio : float
        ``scatter / white``; 1 is the limit, correlated noise raises it.
    ratio_err : float
        Standard error of `ratio` from the number of blocks.
    """

    block: int
    n_blocks: int
    scatter: float
    white: float
    ratio: float
    ratio_err: float


@dataclass(frozen=True)
class SourceFlux(Record):
    """Total flux in source pixels against the truth.

    Attributes
    ----------
    n_pixels : int
        Source pixels used.
    flux_true : float
        Their true flux above the sky, units of the image times pixels.
    flux_error : float
        Measured minus true flux, same units.
    ratio : float
        Measured over true flux.
    ratio_err : float
        Standard error of `ratio` from the pixel noise; NaN without an error array.
    """

    n_pixels: int
    flux_true: float
    flux_error: float
    ratio: float
    ratio_err: float


@dataclass(frozen=True)
class AbsorbedFlux(Record):
    """Part of a smooth source that a correction took for an artefact.

    Attributes
    ----------
    n_pixels : int
        Pixels of the aperture.
    flux_true : float
        Flux of the source in the aperture, units of the image times pixels.
    fraction : float
        Flux taken over flux there was: 0 is right, 1 means that the source is gone.
    """

    n_pixels: int
    flux_true: float
    fraction: float


@dataclass(frozen=True)
class PedestalChange(Record):
    """How far a correction moved the level of the blank sky.

    Attributes
    ----------
    level : float
        Median of the blank sky before, units of the image.
    change : float
        Mean of (after - before) over the same pixels.
    relative : float
        ``change / |level|``.
    """

    level: float
    change: float
    relative: float


@dataclass(frozen=True)
class WispScale(Record):
    """A fitted wisp scale against the true one.

    Attributes
    ----------
    true, fitted, fitted_err : float
        Scales and the quoted uncertainty, in units of the template.
    error : float
        Fitted minus true.
    relative : float
        ``error / true``; NaN where there is no wisp.
    pull : float
        ``error / fitted_err``; NaN where nothing was fitted.
    """

    true: float
    fitted: float
    fitted_err: float
    error: float
    relative: float
    pull: float


@dataclass(frozen=True)
class TemplateResidual(Record):
    """What of a template is left in an image.

    Attributes
    ----------
    n_pixels : int
        Pixels compared.
    correlation : float
        Pearson correlation of (image - truth) with the template.
    correlation_err : float
        Its standard deviation for white noise and no wisp, ``1 / sqrt(n_pixels - 1)``.
    scale : float
        Least-squares scale of the template left in the image, positive when too little was taken.
    """

    n_pixels: int
    correlation: float
    correlation_err: float
    scale: float


@dataclass(frozen=True)
class SnowballFlags(Record):
    """Flags around snowballs against the pixels they contaminated.

    Attributes
    ----------
    n_contaminated : int
        Truly contaminated pixels (of all groups).
    recall : float
        Fraction of them that is flagged; NaN when there is none.
    n_extra : int
        Clean pixels flagged.
    extra_area : float
        ``n_extra / n_contaminated``; NaN when there is none.
    """

    n_contaminated: int
    recall: float
    n_extra: int
    extra_area: float


@dataclass(frozen=True)
class HaloBias(Record):
    """Bias of the rate in the halos of snowballs.

    Attributes
    ----------
    n_pixels : int
        Halo pixels used.
    bias : float
        Mean of (rate - truth) / sigma in the halos less the same in the blank pixels.
    bias_err : float
        Standard error of `bias` for white noise.
    """

    n_pixels: int
    bias: float
    bias_err: float
