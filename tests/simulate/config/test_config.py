"""The configuration: switches, and errors that say what to use instead."""

from dataclasses import replace

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.simulate.config.simulation import (
    CosmicRayConfig,
    OneOverFConfig,
    SimulationConfig,
    SkyConfig,
    SnowballConfig,
    SourceConfig,
    WispConfig,
)
from ceers_steps.simulate.seeds import rng_for

EFFECTS = SimulationConfig.effects()


def enabled(config):
    return {name for name in EFFECTS if getattr(config, name).enabled}


def test_everything_is_on_by_default():
    assert enabled(SimulationConfig()) == set(EFFECTS)
    assert {"snowballs", "one_over_f", "wisps", "sources", "persistence"} <= set(EFFECTS)


@pytest.mark.parametrize("effect", EFFECTS)
def test_switches(effect):
    config = SimulationConfig(one_over_f=OneOverFConfig(amplitude=3.0))
    assert enabled(config.without(effect)) == set(EFFECTS) - {effect}
    assert enabled(config.only(effect)) == {effect}
    assert config.only(effect).one_over_f.amplitude == 3.0


def test_only_keeps_what_was_off_off():
    assert enabled(SimulationConfig().without("sky").only("sky", "dark")) == {"dark"}


@pytest.mark.parametrize("method", ["only", "without"])
def test_unknown_effect(method):
    with pytest.raises(CeersError, match=r"no effect 'snowball': .*snowballs"):
        getattr(SimulationConfig(), method)("snowball")


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (OneOverFConfig, {"correlated_fraction": 1.2}, "correlated_fraction is 1.2: use a value"),
        (OneOverFConfig, {"amplitude": -1}, "amplitude is -1: use 0 or more"),
        (CosmicRayConfig, {"flux": float("nan")}, "flux is nan"),
        (SnowballConfig, {"core_radius": (5.0, 2.0)}, "core_radius is .* low <= high"),
        (SnowballConfig, {"axis_ratio": (0.5, 1.5)}, "axis_ratio is .* at most 1"),
        (WispConfig, {"scale": (-0.1, 1.0)}, "scale is .* 0 <= low"),
        (WispConfig, {"templates": "mine"}, "templates is 'mine': use one of auto"),
        (SkyConfig, {"gradient": (1.5, 0.9)}, "gradient is .* leave the sky positive"),
        (SourceConfig, {"faint_limit": 10.0}, "faint_limit is 10.0: .* bright_limit = 17.5"),
    ],
)
def test_values_out_of_range(section, values, message):
    with pytest.raises(CeersError, match=message):
        section(**values)


def test_replace_validates_too():
    with pytest.raises(CeersError, match="rate is -1"):
        replace(SnowballConfig(), rate=-1)


def test_streams_depend_on_seed_effect_and_index_alone():
    draws = {
        key: tuple(rng_for(*key).integers(1 << 60, size=3))
        for key in [(1, "a"), (2, "a"), (1, "b"), (1, "a", 0), (1, "a", 1), (1, "a", 0, 1)]
    }
    assert len(set(draws.values())) == len(draws)
    assert tuple(rng_for(1, "a", 1).integers(1 << 60, size=3)) == draws[1, "a", 1]
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        rng_for(-1, "a")
