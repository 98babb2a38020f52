"""What falls on a detector, and where it looks: sections of the configuration."""

from dataclasses import dataclass

from ceers_steps.simulate.config.checks import require, require_not_negative, require_range

__all__ = [
    "GlowConfig",
    "PatternConfig",
    "PointingConfig",
    "SkyConfig",
    "SourceConfig",
    "WispConfig",
]


@dataclass(frozen=True)
class PointingConfig:
    """Errors of the attitude: the header has what was commanded. All are 0 by default."""

    enabled: bool = True
    visit_scatter: float = 0.0
    """Standard deviation along V2 and V3 of the error that a visit has (arcsec)."""
    visit_shift: tuple[float, float] = (0.0, 0.0)
    """Error along V2 and V3 that is added to that (arcsec)."""
    jitter: float = 0.0
    """Standard deviation along V2 and V3 of the error of each exposure (arcsec)."""
    roll: float = 0.0
    """Error of the position angle, about the target, of the whole visit (arcsec)."""

    def __post_init__(self) -> None:
        require_not_negative(self, "visit_scatter", "jitter")
        require(
            self,
            "visit_shift",
            len(self.visit_shift) == 2 and all(abs(shift) <= 60 for shift in self.visit_shift),
            "two shifts of up to 60 arcsec",
        )
        require(self, "roll", abs(self.roll) <= 7200, "an angle from -7200 to 7200 arcsec")


@dataclass(frozen=True)
class SourceConfig:
    """Galaxies and stars, when no catalogue is given."""

    enabled: bool = True
    galaxy_density: float = 120.0
    """Galaxies per square arcminute down to the faint limit."""
    star_density: float = 2.5
    """Stars per square arcminute down to the faint limit."""
    bright_limit: float = 17.5
    """Brightest AB magnitude drawn."""
    faint_limit: float = 28.0
    """Faintest AB magnitude drawn."""

    def __post_init__(self) -> None:
        require_not_negative(self, "galaxy_density", "star_density")
        require(
            self,
            "faint_limit",
            self.faint_limit > self.bright_limit,
            f"a magnitude fainter than bright_limit = {self.bright_limit}",
        )


@dataclass(frozen=True)
class SkyConfig:
    """Smooth sky."""

    enabled: bool = True
    surface_brightness: float | None = None
    """Sky at the centre of the detector (MJy/sr); None takes the typical one of the filter."""
    gradient: tuple[float, float] = (0.0, 0.0)
    """Change of the sky from edge to edge along x and y, as a fraction of the sky."""

    def __post_init__(self) -> None:
        if self.surface_brightness is not None:
            require_not_negative(self, "surface_brightness")
        require(
            self,
            "gradient",
            len(self.gradient) == 2 and sum(abs(g) for g in self.gradient) < 2,
            "two fractions, along x and y, that leave the sky positive",
        )


@dataclass(frozen=True)
class GlowConfig:
    """Thermal background of MIRI: it is not even, and it drifts."""

    enabled: bool = True
    amplitude: float = 0.1
    """Glow where it is brightest, as a fraction of the sky."""
    drift: float = 0.005
    """Relative scatter of all background (sky, glow, pattern) from exposure to exposure."""

    def __post_init__(self) -> None:
        require_not_negative(self, "amplitude")
        require(self, "drift", 0 <= self.drift <= 0.2, "a value from 0 to 0.2")


@dataclass(frozen=True)
class PatternConfig:
    """Pattern in the background of MIRI that stands still on the detector; no flat has it."""

    enabled: bool = True
    rms: float = 0.02
    """Rms as a fraction of the sky."""

    def __post_init__(self) -> None:
        require(self, "rms", 0 <= self.rms <= 0.2, "a value from 0 to 0.2")


@dataclass(frozen=True)
class WispConfig:
    """Stray light on A3, A4, B3 and B4."""

    enabled: bool = True
    scale: tuple[float, float] = (0.5, 1.2)
    """Lowest and highest scale of the components; each exposure draws its own for each."""
    templates: str = "auto"
    """Real components ("package", needs nmfwisp), "made up", or "auto": real where they are."""

    def __post_init__(self) -> None:
        require_range(self, "scale", 0.0)
        sources = ("auto", "package", "made up")
        require(self, "templates", self.templates in sources, f"one of {', '.join(sources)}")
