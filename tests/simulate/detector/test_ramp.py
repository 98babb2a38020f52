"""The raw ramps: each effect alone recovers what was put in."""

from dataclasses import replace

import numpy as np
import pytest

from ceers_steps.errors import CeersError
from ceers_steps.simulate.config.simulation import (
    CosmicRayConfig,
    GainConfig,
    ReadNoiseConfig,
    SimulationConfig,
    SnowballConfig,
)
from ceers_steps.simulate.detector.calibration import BadPixel, correct_linearity, make_calibration
from ceers_steps.simulate.detector.ramp import simulate_ramp
from ceers_steps.simulate.telescope.patterns import Readout

SHAPE = (256, 256)
CORNER = (0, 512)
N_GROUPS = 5
# More events than in flight, so that a small array has enough of them.
CONFIG = SimulationConfig(
    snowballs=SnowballConfig(rate=3.0, core_radius=(2.0, 12.0)),
    cosmic_rays=CosmicRayConfig(flux=100.0),
)
# Effects that the ramp applies; the others are in the calibration or the scene.
RAMP_EFFECTS = (
    "photon_noise",
    "ktc",
    "read_noise",
    "one_over_f",
    "persistence",
    "cosmic_rays",
    "snowballs",
)


@pytest.fixture(scope="module")
def calibration():
    return make_calibration("NRCB4", CONFIG, seed=7)


@pytest.fixture(scope="module")
def plain():
    """A calibration with nothing but reference pixels and one gain."""
    config = replace(CONFIG, gain=GainConfig(output_scatter=0, pixel_scatter=0))
    return make_calibration("NRCB4", config.only(), seed=7)


def simulate(calibration, config, rate=0.5, **parameters):
    parameters = {
        "read_pattern": "SHALLOW4",
        "n_groups": N_GROUPS,
        "readout": Readout(SHAPE, n_outputs=1, fast_axis=-1, slow_axis=2),
        "corner": CORNER,
        "seed": 3,
    } | parameters
    rate = np.broadcast_to(np.float32(rate), SHAPE)
    return simulate_ramp(rate, calibration, config, **parameters)


def group_times(ramp):
    return ramp.pattern.group_times(ramp.data.shape[1], ramp.readout.frame_time)


def test_noiseless_ramp_is_bias_plus_rate(calibration):
    ramp = simulate(calibration, CONFIG.only(), rate=20.0)
    part = calibration.cut(CORNER, SHAPE)
    linear = correct_linearity(ramp.data[0] - part.superbias, part.linearity)
    expected = (ramp.rate + part.dark) * group_times(ramp)[:, np.newaxis, np.newaxis]
    unsaturated = expected < 40_000
    assert unsaturated.mean() > 0.99
    # Raw values are rounded to a whole DN; the slope of the linearity is at most 1.2.
    np.testing.assert_allclose(linear[unsaturated], expected[unsaturated], atol=0.65)


def test_reference_and_dead_pixels_see_no_light(calibration):
    ramp = simulate(calibration, CONFIG.without("ktc", "read_noise", "one_over_f"), rate=50.0)
    part = calibration.cut(CORNER, SHAPE)
    blind = part.flagged(BadPixel.REFERENCE_PIXEL, BadPixel.DEAD)
    assert part.flagged(BadPixel.DEAD).any()
    assert (ramp.rate[blind] == 0).all()
    assert (ramp.rate[~blind] == 50).all()
    np.testing.assert_array_equal(ramp.data[0][:, blind], [np.rint(part.superbias[blind])] * 5)


@pytest.mark.parametrize("read_pattern", ["RAPID", "BRIGHT2", "SHALLOW4", "MEDIUM8"])
def test_read_noise_is_averaged_over_frames(plain, read_pattern):
    config = replace(CONFIG.only("read_noise"), read_noise=ReadNoiseConfig(sigma=20.0))
    ramp = simulate(
        replace(plain, read_noise=np.full_like(plain.gain, 20 / plain.mean_gain)),
        config,
        read_pattern=read_pattern,
    )
    # Rounding to whole DN adds 1/12 to the variance of a group.
    variance = (20 / plain.mean_gain) ** 2 / ramp.pattern.n_frames + 1 / 12
    differences = np.diff(ramp.data[0].astype(float), axis=0)[:, 4:]
    # 4 * 64 500 differences: 0.3% rms.
    assert differences.var() == pytest.approx(2 * variance, rel=0.015)
    sigma = np.sqrt(2 / ramp.pattern.n_frames) * 20
    np.testing.assert_allclose(ramp.difference_sigma, sigma, rtol=1e-5)


def test_photon_and_read_noise_are_as_predicted(plain):
    config = CONFIG.only("photon_noise", "read_noise")
    ramp = simulate(plain, config, rate=5.0)
    differences = np.diff(ramp.data[0].astype(float), axis=0)[:, 4:] * plain.mean_gain
    predicted = ramp.difference_sigma[4:]
    measured = np.sqrt(differences.var() - plain.mean_gain**2 / 6)
    assert measured == pytest.approx(np.sqrt(np.mean(predicted**2)), rel=0.01)


def test_reset_noise_is_one_offset_per_integration(plain):
    ramp = simulate(plain, CONFIG.only("ktc"), n_ints=2)
    offset = ramp.data[:, :, 4:].astype(float) - simulate(plain, CONFIG.only()).data[0][:, 4:]
    # The rate is noiseless: what is left from group to group is rounding.
    assert abs(np.diff(offset, axis=1)).max() <= 2
    first, second = offset[:, 0]
    assert first.std() == pytest.approx(CONFIG.ktc.sigma / plain.mean_gain, rel=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("n_groups", [1, 2, N_GROUPS])
def test_stripe_rate_is_the_slope_of_the_stripes(plain, n_groups):
    config = CONFIG.only("one_over_f")
    parameters = {"n_groups": n_groups, "n_ints": 2}
    striped = simulate(plain, config, **parameters)
    clean = simulate(plain, CONFIG.only(), **parameters)
    stripes = striped.data.astype(float) - clean.data
    times = group_times(striped)
    flat = np.moveaxis(stripes, 1, 0).reshape(n_groups, -1)
    slope = np.polyfit(times, flat, 1)[0] if n_groups > 1 else flat[0] / times[0]
    residual = slope.reshape(2, *SHAPE) - striped.stripe_rate
    # Two roundings a group: 0.41 DN rms, divided by the lever arm of the groups.
    lever = np.sqrt(np.sum((times - times.mean()) ** 2)) if n_groups > 1 else times[0]
    assert residual.std() < 0.42 / lever
    assert striped.stripe_rate.std() > 3 * residual.std()
    assert not clean.stripe_rate.any()


@pytest.mark.parametrize("effect", ["cosmic_rays", "snowballs"])
def test_events_leave_the_stated_charge(plain, effect):
    with_events = simulate(plain, CONFIG.only(effect), n_ints=2)
    without = simulate(plain, CONFIG.only(), n_ints=2)
    added = (with_events.data.astype(float) - without.data) * plain.mean_gain
    charge = (
        with_events.cosmic_ray_charge if effect == "cosmic_rays" else with_events.snowball_charge
    )
    expected = np.array([[charge(i, g) for g in range(N_GROUPS)] for i in range(2)]).cumsum(axis=1)
    expected[:, :, :4] = 0  # reference pixels
    fits = without.data * plain.mean_gain + expected < 65_000 * plain.mean_gain
    assert fits.mean() > 0.9
    assert np.count_nonzero(expected[:, -1] > 20) > 1000
    # Two roundings of half a DN each.
    np.testing.assert_allclose(added[fits], expected[fits], atol=1.01 * plain.mean_gain)
    assert (with_events.data[~fits] > 64_000).all()


def test_event_records(calibration):
    ramp = simulate(calibration, CONFIG, n_ints=2)
    assert {deposit.ball.integration for deposit in ramp.snowballs} == {0, 1}
    for deposit in ramp.snowballs:
        assert not deposit.prompt_fraction[: deposit.group].any()
        assert deposit.prompt_fraction[deposit.group] > 0
        assert (deposit.ring_fraction[-1] > 0) == (deposit.prompt_fraction[-1] > 0)
    rays = ramp.cosmic_rays
    unseen = rays.group < 0
    assert 0 < unseen.mean() < 0.1
    seen = np.flatnonzero(~unseen)
    assert (rays.fractions[seen, rays.group[seen]] > 0).all()
    before = rays.group[seen] > 0
    assert not rays.fractions[seen[before], rays.group[seen[before]] - 1].any()


def test_saturation_stops_the_ramp(calibration):
    rate = np.full(SHAPE, 1.0)
    rate[100:110, 100:110] = 20_000.0
    ramp = simulate(calibration, CONFIG, rate=rate)
    part = calibration.cut(CORNER, SHAPE)
    full = np.zeros(SHAPE, dtype=bool)
    full[100:110, 100:110] = True
    full &= ~part.flagged(BadPixel.DEAD)
    assert (ramp.data[0, -1][full] >= part.saturation[full]).all()
    # 1% above the level, and 5 sigma of reset and read noise.
    assert (ramp.data[0, -1][full] <= 1.01 * part.saturation[full] + 100).all()
    # Without the effect, only the converter limits the signal.
    config = CONFIG.without("saturation")
    ramp = simulate(make_calibration("NRCB4", config, seed=7), config, rate=1e6)
    assert (ramp.data[0, -1][full] == 65535).all()


def test_persistence_carries_over(plain):
    rate = np.full(SHAPE, 1.0)
    rate[120:130, 120:130] = 5000.0
    config = CONFIG.only("persistence")
    first = simulate(plain, config, rate=rate)
    trapped = config.persistence.trapped_fraction * 0.5 * np.median(plain.full_well)
    np.testing.assert_allclose(first.trapped[120:130, 120:130], trapped, rtol=0.01)
    assert (first.trapped[150:, 150:] == 0).all()
    second = simulate(plain, config, rate=1.0, persistence=first.trapped)
    fresh = simulate(plain, config, rate=1.0)
    excess = (second.data[0].astype(float) - fresh.data[0])[:, 120:130, 120:130].mean(axis=(1, 2))
    tau = config.persistence.time_constant
    expected = trapped / plain.mean_gain * (1 - np.exp(-group_times(first) / tau))
    np.testing.assert_allclose(excess, expected, atol=1.0)
    assert not (second.data[0] != fresh.data[0])[:, :100].any()
    # The same between the integrations of one exposure.
    both = simulate(plain, config, rate=rate, n_ints=2)
    np.testing.assert_array_equal(both.data[0], first.data[0])
    assert (both.trapped[120:130, 120:130] > trapped).all()


def test_same_seed_same_bits(calibration):
    ramps = [simulate(calibration, CONFIG, n_ints=2) for _ in range(2)]
    np.testing.assert_array_equal(ramps[0].data, ramps[1].data)
    for other in ({"seed": 4}, {"stream": (1,)}):
        assert not np.array_equal(
            simulate(calibration, CONFIG, n_ints=2, **other).data, ramps[0].data
        )


@pytest.mark.parametrize("effect", RAMP_EFFECTS)
def test_a_switch_leaves_the_other_effects_alone(calibration, effect):
    rate = np.full(SHAPE, 1.0)
    rate[100:110, 100:110] = 3000.0
    everything = simulate(calibration, CONFIG, rate=rate, n_ints=2)
    less = simulate(calibration, CONFIG.without(effect), rate=rate, n_ints=2)
    assert not np.array_equal(everything.data, less.data)
    if effect != "one_over_f":
        np.testing.assert_array_equal(everything.stripe_rate, less.stripe_rate)
    if effect != "cosmic_rays":
        np.testing.assert_array_equal(everything.cosmic_rays.fractions, less.cosmic_rays.fractions)
    if effect != "snowballs":
        assert [d.ball for d in everything.snowballs] == [d.ball for d in less.snowballs]
    if effect in ("cosmic_rays", "snowballs"):
        touched = np.zeros(everything.data.shape, dtype=bool)
        for i in range(2):
            for g in range(N_GROUPS):
                charge = getattr(everything, effect.removesuffix("s") + "_charge")(i, g)
                touched[i, g:] |= charge > 0
        # Charge may be trapped and released in the second integration.
        touched[1] |= (everything.trapped > 0) | (less.trapped > 0) | touched[0, -1]
        assert 0.01 < touched.mean() < 0.9
        np.testing.assert_array_equal(everything.data[~touched], less.data[~touched])


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("read_pattern", ["RAPID", "BRIGHT1", "DEEP8"])
def test_shapes_and_types(calibration, read_pattern, n_outputs):
    ramp = simulate(
        calibration,
        None,
        n_groups=2,
        n_ints=2,
        readout=Readout(SHAPE, n_outputs, fast_axis=-1, slow_axis=2),
        read_pattern=read_pattern,
    )
    assert ramp.data.shape == (2, 2, *SHAPE)
    assert ramp.data.dtype == np.uint16
    assert ramp.rate.dtype == ramp.stripe_rate.dtype == ramp.difference_sigma.dtype == np.float32


def test_input_is_not_modified(calibration):
    rate = np.full(SHAPE, 5.0, dtype=np.float32)
    persistence = np.full(SHAPE, 100.0, dtype=np.float32)
    before = calibration.superbias.copy()
    simulate(calibration, CONFIG, rate=rate, persistence=persistence)
    assert (rate == 5).all()
    assert (persistence == 100).all()
    np.testing.assert_array_equal(calibration.superbias, before)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_groups": 0}, ValueError, "n_groups is 0"),
        ({"rate": -1.0}, ValueError, "not negative"),
        ({"rate": np.nan}, ValueError, "finite"),
        ({"corner": (2000, 0)}, ValueError, "leaves the detector"),
        ({"persistence": np.zeros((4, 4))}, ValueError, "persistence has shape"),
        ({"read_pattern": "MEDIUM9"}, CeersError, "MEDIUM9"),
    ],
)
def test_bad_parameters(calibration, parameters, error, message):
    with pytest.raises(error, match=message):
        simulate(calibration, CONFIG, **parameters)


@pytest.mark.slow
def test_full_frame(calibration):
    rate = np.full((2048, 2048), 0.1, dtype=np.float32)
    ramp = simulate_ramp(
        rate,
        calibration,
        SimulationConfig().without("cosmic_rays", "snowballs"),
        read_pattern="MEDIUM8",
        n_groups=9,
        readout=Readout(rate.shape, n_outputs=4, fast_axis=-1, slow_axis=2),
    )
    assert ramp.readout.frame_time == pytest.approx(10.73676)
    slope = np.zeros(rate.shape, dtype=np.float32)
    times = group_times(ramp)
    for weight, group in zip(times - times.mean(), ramp.data[0], strict=True):
        slope += weight / np.sum((times - times.mean()) ** 2) * group
    good = calibration.bad_pixels == 0
    light = ramp.rate + calibration.dark + ramp.stripe_rate[0]
    # 4 million pixels give 4e-6 DN/s; the curvature of the response takes 1e-5 DN/s.
    assert np.mean((slope - light)[good], dtype=float) == pytest.approx(0, abs=3e-5)
