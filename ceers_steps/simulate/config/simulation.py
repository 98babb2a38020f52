"""Configuration of the simulator: one frozen tree, one section and one switch per effect.

Every section has ``enabled``. `SimulationConfig.without` and `SimulationConfig.only` turn
effects off, so that a test can look at one of them alone. Each effect draws from a random
stream of its own: what is left on does not change when something else is turned off. (Photon
noise, which depends on how much light there is, changes with what adds or removes light:
sources, sky, wisps, flat, dark current and hot pixels.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from ceers_steps.errors import CeersError
from ceers_steps.simulate.config.detector import (
    BadPixelConfig,
    CosmicRayConfig,
    DarkConfig,
    FlatConfig,
    GainConfig,
    KtcConfig,
    NonlinearityConfig,
    OneOverFConfig,
    PersistenceConfig,
    PhotonNoiseConfig,
    ReadNoiseConfig,
    ResetAnomalyConfig,
    SaturationConfig,
    SnowballConfig,
    SuperbiasConfig,
)
from ceers_steps.simulate.config.scene import (
    GlowConfig,
    PatternConfig,
    PointingConfig,
    SkyConfig,
    SourceConfig,
    WispConfig,
)

__all__ = [
    "BadPixelConfig",
    "CosmicRayConfig",
    "DarkConfig",
    "FlatConfig",
    "GainConfig",
    "GlowConfig",
    "KtcConfig",
    "NonlinearityConfig",
    "OneOverFConfig",
    "PatternConfig",
    "PersistenceConfig",
    "PhotonNoiseConfig",
    "PointingConfig",
    "ReadNoiseConfig",
    "ResetAnomalyConfig",
    "SaturationConfig",
    "SimulationConfig",
    "SkyConfig",
    "SnowballConfig",
    "SourceConfig",
    "SuperbiasConfig",
    "WispConfig",
]


_ABSENT = {
    "NIRCAM": ("glow", "pattern", "reset_anomaly"),
    "NIRISS": ("glow", "pattern", "reset_anomaly", "wisps"),
    "MIRI": ("wisps", "one_over_f", "persistence", "snowballs"),
}


@dataclass(frozen=True)
class SimulationConfig:
    """Everything the simulator can vary.

    Examples
    --------
    >>> config = SimulationConfig(one_over_f=OneOverFConfig(amplitude=3.0))
    >>> config.without("snowballs").snowballs.enabled
    False
    >>> config.only("photon_noise", "sky").cosmic_rays.enabled
    False
    """

    pointing: PointingConfig = field(default_factory=PointingConfig)
    sources: SourceConfig = field(default_factory=SourceConfig)
    sky: SkyConfig = field(default_factory=SkyConfig)
    wisps: WispConfig = field(default_factory=WispConfig)
    glow: GlowConfig = field(default_factory=GlowConfig)
    pattern: PatternConfig = field(default_factory=PatternConfig)
    flat: FlatConfig = field(default_factory=FlatConfig)
    gain: GainConfig = field(default_factory=GainConfig)
    photon_noise: PhotonNoiseConfig = field(default_factory=PhotonNoiseConfig)
    dark: DarkConfig = field(default_factory=DarkConfig)
    bad_pixels: BadPixelConfig = field(default_factory=BadPixelConfig)
    nonlinearity: NonlinearityConfig = field(default_factory=NonlinearityConfig)
    saturation: SaturationConfig = field(default_factory=SaturationConfig)
    superbias: SuperbiasConfig = field(default_factory=SuperbiasConfig)
    ktc: KtcConfig = field(default_factory=KtcConfig)
    read_noise: ReadNoiseConfig = field(default_factory=ReadNoiseConfig)
    reset_anomaly: ResetAnomalyConfig = field(default_factory=ResetAnomalyConfig)
    one_over_f: OneOverFConfig = field(default_factory=OneOverFConfig)
    persistence: PersistenceConfig = field(default_factory=PersistenceConfig)
    cosmic_rays: CosmicRayConfig = field(default_factory=CosmicRayConfig)
    snowballs: SnowballConfig = field(default_factory=SnowballConfig)

    @classmethod
    def effects(cls) -> tuple[str, ...]:
        """Return the names of the effects that have a switch."""
        default = cls()
        return tuple(f.name for f in fields(cls) if hasattr(getattr(default, f.name), "enabled"))

    def without(self, *effects: str) -> SimulationConfig:
        """Return a copy with these effects turned off.

        Raises
        ------
        CeersError
            If there is no such effect.
        """
        self._require_known(effects)
        return replace(
            self, **{name: replace(getattr(self, name), enabled=False) for name in effects}
        )

    def only(self, *effects: str) -> SimulationConfig:
        """Return a copy with every other effect turned off.

        These effects keep their own switch.

        Raises
        ------
        CeersError
            If there is no such effect.
        """
        self._require_known(effects)
        return self.without(*(name for name in self.effects() if name not in effects))

    def for_instrument(self, instrument: str) -> SimulationConfig:
        """Return a copy without the effects that an instrument does not have.

        Parameters
        ----------
        instrument : str
            ``NIRCAM``, ``MIRI`` or ``NIRISS``.
        """
        return self.without(*_ABSENT[instrument])

    def _require_known(self, effects: tuple[str, ...]) -> None:
        unknown = sorted(set(effects) - set(self.effects()))
        if unknown:
            raise CeersError(
                f"The simulator has no effect {', '.join(map(repr, unknown))}: "
                f"use any of {', '.join(self.effects())}"
            )
