"""What a detector makes of light, and what hits it: sections of the configuration."""

from dataclasses import dataclass

from ceers_steps.simulate.config.checks import (
    require,
    require_fraction,
    require_not_negative,
    require_positive,
    require_range,
)

__all__ = [
    "BadPixelConfig",
    "CosmicRayConfig",
    "DarkConfig",
    "FlatConfig",
    "GainConfig",
    "KtcConfig",
    "NonlinearityConfig",
    "OneOverFConfig",
    "PersistenceConfig",
    "PhotonNoiseConfig",
    "ReadNoiseConfig",
    "ResetAnomalyConfig",
    "SaturationConfig",
    "SnowballConfig",
    "SuperbiasConfig",
]


@dataclass(frozen=True)
class FlatConfig:
    """Pixel response."""

    enabled: bool = True
    large_scale: float = 0.03
    """Rms of the smooth variation across the detector."""
    pixel_scatter: float = 0.01
    """Rms from pixel to pixel."""
    output_scatter: float = 0.004
    """Rms between the four outputs."""

    def __post_init__(self) -> None:
        require_not_negative(self, "large_scale", "pixel_scatter", "output_scatter")


@dataclass(frozen=True)
class PhotonNoiseConfig:
    """Poisson noise of light and dark current."""

    enabled: bool = True


@dataclass(frozen=True)
class GainConfig:
    """Conversion gain. There is no switch: a detector has some gain."""

    short_wavelength: float = 1.9
    """Mean gain of the short-wavelength detectors (e-/DN)."""
    long_wavelength: float = 1.8
    """Mean gain of the long-wavelength detectors (e-/DN)."""
    miri: float = 3.1
    """Mean gain of the MIRI imager (e-/DN)."""
    niriss: float = 1.61
    """Mean gain of NIRISS (e-/DN)."""
    output_scatter: float = 0.01
    """Relative rms between outputs."""
    pixel_scatter: float = 0.005
    """Relative rms from pixel to pixel."""

    def __post_init__(self) -> None:
        require_positive(self, "short_wavelength", "long_wavelength", "miri", "niriss")
        require_not_negative(self, "output_scatter", "pixel_scatter")


@dataclass(frozen=True)
class DarkConfig:
    """Dark current."""

    enabled: bool = True
    short_wavelength: float = 0.002
    """Median dark current of the short-wavelength detectors (e-/s)."""
    long_wavelength: float = 0.030
    """Median dark current of the long-wavelength detectors (e-/s)."""
    miri: float = 0.2
    """Median dark current of the MIRI imager (e-/s)."""
    niriss: float = 0.026
    """Median dark current of NIRISS (e-/s)."""
    scatter: float = 0.3
    """Relative scatter (log-normal) from pixel to pixel."""

    def __post_init__(self) -> None:
        require_positive(self, "short_wavelength", "long_wavelength", "miri", "niriss")
        require_not_negative(self, "scatter")


@dataclass(frozen=True)
class BadPixelConfig:
    """Pixels that do not work. The reference pixels are always there."""

    enabled: bool = True
    hot_fraction: float = 0.002
    """Fraction of hot pixels."""
    hot_range: tuple[float, float] = (0.5, 200.0)
    """Lowest and highest dark current of a hot pixel (e-/s), drawn evenly in its logarithm."""
    dead_fraction: float = 0.0005
    """Fraction of pixels that see no light, half of them in clusters of up to five."""
    low_response_fraction: float = 0.001
    """Fraction of pixels whose response is 0.1 to 0.7 of the normal one."""

    def __post_init__(self) -> None:
        require_fraction(self, "hot_fraction", "dead_fraction", "low_response_fraction")
        require_range(self, "hot_range", 1e-6)


@dataclass(frozen=True)
class NonlinearityConfig:
    """Response that falls as the well fills."""

    enabled: bool = True
    loss: float = 0.05
    """Fraction of the signal lost at `reference_signal`."""
    reference_signal: float = 45000.0
    """Linear signal above the bias at which `loss` holds (DN)."""
    pixel_scatter: float = 0.05
    """Relative scatter of the loss from pixel to pixel."""

    def __post_init__(self) -> None:
        require(self, "loss", 0 <= self.loss <= 0.15, "a fraction from 0 to 0.15")
        require_positive(self, "reference_signal")
        require(self, "pixel_scatter", 0 <= self.pixel_scatter <= 0.3, "a value from 0 to 0.3")


@dataclass(frozen=True)
class SaturationConfig:
    """Full well. When off, only the 16 bits of the converter limit the signal."""

    enabled: bool = True
    level: float = 58000.0
    """Mean raw value (DN, bias included) at which a pixel saturates."""
    pixel_scatter: float = 0.01
    """Relative scatter from pixel to pixel."""

    def __post_init__(self) -> None:
        require(self, "level", 20000 <= self.level <= 65000, "a raw value from 20000 to 65000 DN")
        require(self, "pixel_scatter", 0 <= self.pixel_scatter <= 0.05, "a value from 0 to 0.05")


@dataclass(frozen=True)
class SuperbiasConfig:
    """Bias. When off, every pixel has the same level (the raw data are unsigned)."""

    enabled: bool = True
    level: float = 9000.0
    """Mean bias (DN)."""
    output_scatter: float = 400.0
    """Rms between outputs (DN)."""
    column_scatter: float = 15.0
    """Rms from column to column (DN)."""
    pixel_scatter: float = 120.0
    """Rms from pixel to pixel (DN)."""

    def __post_init__(self) -> None:
        require(self, "level", 3000 <= self.level <= 20000, "a value from 3000 to 20000 DN")
        require_not_negative(self, "output_scatter", "column_scatter", "pixel_scatter")


@dataclass(frozen=True)
class KtcConfig:
    """Offset of each pixel that changes with every reset."""

    enabled: bool = True
    sigma: float = 28.0
    """Standard deviation (e-)."""

    def __post_init__(self) -> None:
        require_not_negative(self, "sigma")


@dataclass(frozen=True)
class ReadNoiseConfig:
    """White read noise."""

    enabled: bool = True
    sigma: float = 6.5
    """Median standard deviation of one read (e-)."""
    miri: float = 18.0
    """The same of the MIRI imager (e-)."""
    pixel_scatter: float = 0.08
    """Relative scatter (log-normal) from pixel to pixel."""
    reference_ratio: float = 0.8
    """Noise of the reference pixels relative to the others."""

    def __post_init__(self) -> None:
        require_positive(self, "sigma", "miri", "reference_ratio")
        require_not_negative(self, "pixel_scatter")


@dataclass(frozen=True)
class OneOverFConfig:
    """Correlated read-out noise, see `ceers_steps.simulate.detector.noise`."""

    enabled: bool = True
    amplitude: float = 2.0
    """Rms per e-folding of frequency, at 1 Hz (e-, one frame)."""
    exponent: float = 1.0
    """Exponent of the power spectrum."""
    correlated_fraction: float = 0.4
    """Fraction of the variance that is common to all outputs."""

    def __post_init__(self) -> None:
        require_not_negative(self, "amplitude")
        require(self, "exponent", 0.5 <= self.exponent <= 2, "a value from 0.5 to 2")
        require_fraction(self, "correlated_fraction")


@dataclass(frozen=True)
class PersistenceConfig:
    """Charge trapped in one integration and released in the next."""

    enabled: bool = True
    threshold: float = 0.5
    """Charge above which traps fill, as a fraction of the full well."""
    trapped_fraction: float = 0.003
    """Fraction of the charge above the threshold that is trapped."""
    time_constant: float = 400.0
    """Time in which the trapped charge falls to 1/e (s)."""

    def __post_init__(self) -> None:
        require_fraction(self, "threshold", "trapped_fraction")
        require_positive(self, "time_constant")


@dataclass(frozen=True)
class ResetAnomalyConfig:
    """What is wrong at both ends of a ramp of MIRI; other instruments have none of it."""

    enabled: bool = True
    amplitude: float = -40.0
    """Mean offset just after the reset (DN)."""
    pixel_scatter: float = 0.3
    """Relative scatter from pixel to pixel."""
    time_constant: float = 4.0
    """Time in which it falls to 1/e (s)."""
    first_group: float = -50.0
    """Further offset of the first group (DN), which no reference file corrects."""
    last_group: float = 60.0
    """Offset of the last group (DN): up in even rows, down in odd ones."""

    def __post_init__(self) -> None:
        require_positive(self, "time_constant")
        require_not_negative(self, "pixel_scatter")
        require(self, "amplitude", abs(self.amplitude) <= 1000, "an offset of up to 1000 DN")


@dataclass(frozen=True)
class CosmicRayConfig:
    """Cosmic rays, drawn from an isotropic flux of minimum-ionising particles."""

    enabled: bool = True
    flux: float = 5.0
    """Hits per square centimetre and second."""
    thickness: float = 7.0
    """Depth of the layer that collects charge (um)."""
    charge_per_micron: float = 600.0
    """Mean charge freed per length of track (e-/um)."""
    straggling: float = 0.15
    """Width of the Moyal distribution of the charge, relative to its mean."""
    heavy_fraction: float = 0.02
    """Fraction of heavier nuclei, which free 4 to 100 times the charge."""
    diffusion: float = 0.3
    """Rms distance over which charge spreads before it is collected (pixels)."""
    coupling: float = 0.006
    """Fraction of the charge of a pixel seen by each of its four neighbours."""

    def __post_init__(self) -> None:
        require_not_negative(self, "flux", "straggling", "diffusion")
        require_positive(self, "thickness", "charge_per_micron")
        require_fraction(self, "heavy_fraction")
        require(self, "coupling", 0 <= self.coupling <= 0.1, "a value from 0 to 0.1")


@dataclass(frozen=True)
class SnowballConfig:
    """Snowballs: round cores, many saturated, in halos that fall as a power of the radius."""

    enabled: bool = True
    rate: float = 0.0035
    """Events per square centimetre and second."""
    core_radius: tuple[float, float] = (2.0, 25.0)
    """Smallest and largest radius of the core (pixels)."""
    core_index: float = 2.5
    """The number of events per radius falls as the radius to minus this power."""
    saturated_fraction: float = 0.7
    """Fraction of the events whose core saturates."""
    axis_ratio: tuple[float, float] = (0.6, 1.0)
    """Smallest and largest ratio of minor to major axis."""
    halo_charge: float = 2500.0
    """Median charge per pixel of the halo at the edge of a saturated core (e-)."""
    halo_index: tuple[float, float] = (4.5, 5.5)
    """Smallest and largest power with which the halo falls."""
    ring_charge: float = 800.0
    """Median charge per pixel that in the end spills over the edge of a saturated core (e-)."""
    ring_width: tuple[float, float] = (1.5, 0.08)
    """Distance (pixels) in which the ring falls to 1/e: a constant and a part per core radius."""
    ring_time: tuple[float, float] = (100.0, 500.0)
    """Shortest and longest time scale of the spill (s)."""

    def __post_init__(self) -> None:
        require_not_negative(self, "rate", "halo_charge", "ring_charge")
        require_range(self, "core_radius", 0.5)
        require_fraction(self, "saturated_fraction")
        require_range(self, "axis_ratio", 0.1)
        require(self, "axis_ratio", self.axis_ratio[1] <= 1, "ratios of at most 1")
        require_range(self, "halo_index", 2.0)
        require_range(self, "ring_time", 1.0)
        require(self, "ring_width", min(self.ring_width) > 0, "two values above 0")
