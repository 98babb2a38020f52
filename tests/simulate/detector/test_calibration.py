"""The calibration of a simulated detector."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceers_steps.simulate.config.simulation import (
    BadPixelConfig,
    FlatConfig,
    GainConfig,
    NonlinearityConfig,
    SimulationConfig,
)
from ceers_steps.simulate.detector.calibration import (
    BadPixel,
    correct_linearity,
    make_calibration,
    measured_signal,
)

ARRAYS = (
    "gain",
    "read_noise",
    "superbias",
    "dark",
    "linearity",
    "saturation",
    "flat",
    "bad_pixels",
)


@pytest.fixture(scope="module")
def calibration():
    return make_calibration("NRCB4", seed=5)


def test_same_seed_same_bits(calibration):
    again = make_calibration("nrcb4", seed=5)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(calibration, name), getattr(again, name))


def test_detectors_and_seeds_differ(calibration):
    for other in (make_calibration("NRCB3", seed=5), make_calibration("NRCB4", seed=6)):
        for name in ARRAYS:
            assert not np.array_equal(getattr(calibration, name), getattr(other, name)), name


def test_arrays_are_what_the_configuration_says(calibration):
    config = SimulationConfig()
    assert calibration.shape == (2048, 2048)
    for field in fields(calibration):
        value = getattr(calibration, field.name)
        if isinstance(value, np.ndarray):
            assert value.dtype == (np.uint8 if field.name == "bad_pixels" else np.float32)
            assert np.isfinite(value).all()
    light = ~calibration.flagged(BadPixel.REFERENCE_PIXEL, BadPixel.DEAD)
    good = calibration.bad_pixels == 0
    # Outputs scatter by 1% (4 draws), superbias by 400 DN.
    assert calibration.gain.mean() == pytest.approx(config.gain.short_wavelength, rel=0.025)
    assert calibration.superbias.mean() == pytest.approx(config.superbias.level, abs=1000)
    assert calibration.saturation.mean() == pytest.approx(config.saturation.level, rel=1e-3)
    median = np.median(calibration.dark[good] * calibration.gain[good])
    assert median == pytest.approx(config.dark.short_wavelength, rel=1e-2)
    noise = np.median(calibration.read_noise[light]) * calibration.mean_gain
    assert noise == pytest.approx(config.read_noise.sigma, rel=1e-3)
    assert calibration.flat[light].mean() == pytest.approx(1, abs=2e-3)
    sigma = np.hypot(config.flat.large_scale, config.flat.pixel_scatter)
    assert calibration.flat[good].std() == pytest.approx(sigma, rel=0.1)
    # 58 000 DN less the bias, linearised, times the gain.
    assert np.median(calibration.full_well) == pytest.approx(1e5, rel=0.1)


def test_bad_pixels(calibration):
    reference = calibration.flagged(BadPixel.REFERENCE_PIXEL)
    expected = np.ones((2048, 2048), dtype=bool)
    expected[4:-4, 4:-4] = False
    np.testing.assert_array_equal(reference, expected)
    fractions = BadPixelConfig()
    for flag, fraction in (
        (BadPixel.HOT, fractions.hot_fraction),
        (BadPixel.LOW_QE, fractions.low_response_fraction),
        (BadPixel.DEAD, fractions.dead_fraction),
    ):
        flagged = calibration.flagged(flag)
        assert not (flagged & reference).any()
        assert flagged.sum() / 2040**2 == pytest.approx(fraction, rel=0.02)
    hot = calibration.flagged(BadPixel.HOT) & ~calibration.flagged(BadPixel.DEAD)
    current = calibration.dark[hot] * calibration.gain[hot]
    assert current.min() >= fractions.hot_range[0]
    weak = calibration.flagged(BadPixel.LOW_QE) & ~calibration.flagged(BadPixel.DEAD)
    assert calibration.flat[weak].max() < 0.9
    blind = calibration.flagged(BadPixel.DEAD, BadPixel.REFERENCE_PIXEL)
    assert (calibration.dark[blind] == 0).all()
    assert (calibration.flat[blind] == 1).all()


def test_neutral_without_effects():
    config = SimulationConfig().only("read_noise")
    calibration = make_calibration("NRCBLONG", config, seed=5)
    np.testing.assert_array_equal(calibration.flat, 1)
    np.testing.assert_array_equal(calibration.dark, 0)
    np.testing.assert_array_equal(calibration.superbias, config.superbias.level)
    np.testing.assert_array_equal(calibration.saturation, 65535)
    np.testing.assert_array_equal(calibration.linearity[2:], 0)
    assert set(np.unique(calibration.bad_pixels)) == {0, BadPixel.REFERENCE_PIXEL}


@pytest.mark.parametrize(
    ("effect", "quantity"),
    [
        ("flat", "flat"),
        ("dark", "dark"),
        ("superbias", "superbias"),
        ("saturation", "saturation"),
        ("nonlinearity", "linearity"),
    ],
)
def test_a_switch_changes_its_own_array_only(calibration, effect, quantity):
    other = make_calibration("NRCB4", SimulationConfig().without(effect), seed=5)
    for name in ARRAYS:
        same = np.array_equal(getattr(calibration, name), getattr(other, name))
        assert same == (name != quantity), name


def test_sizes_can_be_zero():
    config = SimulationConfig(
        gain=GainConfig(output_scatter=0, pixel_scatter=0),
        flat=FlatConfig(large_scale=0, output_scatter=0, pixel_scatter=0),
    )
    calibration = make_calibration("NRCA1", config)
    np.testing.assert_array_equal(calibration.gain, np.float32(config.gain.short_wavelength))
    assert np.isfinite(calibration.flat).all()


def test_cut(calibration):
    part = calibration.cut((100, 300), (64, 32))
    assert part.shape == (64, 32)
    np.testing.assert_array_equal(part.gain, calibration.gain[100:164, 300:332])
    np.testing.assert_array_equal(part.linearity, calibration.linearity[:, 100:164, 300:332])
    with pytest.raises(ValueError, match=r"\(64, 64\) at corner \(2000, 0\) leaves the detector"):
        calibration.cut((2000, 0), (64, 64))


@given(
    signal=st.floats(-500, 64_000),
    loss=st.floats(0, 0.15),
    scatter=st.floats(0, 0.3),
)
def test_linearity_round_trip(signal, loss, scatter):
    config = NonlinearityConfig(loss=loss, pixel_scatter=scatter)
    measured = config.reference_signal * (1 - loss)
    lost = config.reference_signal - measured
    linearity = np.array([0, 1, 0.7 * lost / measured**2, 0.3 * lost / measured**3])
    linearity = (linearity * [0, 1, 1 + scatter, 1 + scatter]).astype(np.float32)
    linearity = linearity[:, np.newaxis, np.newaxis]
    seen = np.full((1, 1), signal, dtype=np.float32)
    linear = correct_linearity(seen, linearity)
    # Above 100 000 DN linear the converter is full in any case.
    if linear[0, 0] < 99_000:
        np.testing.assert_allclose(measured_signal(linear, linearity), seen, atol=0.02, rtol=0)


def test_loss_at_the_reference_signal():
    config = SimulationConfig(nonlinearity=NonlinearityConfig(pixel_scatter=0.0))
    linearity = make_calibration("NRCB1", config).linearity[:, :1, :1]
    linear = np.full((1, 1), 45_000, dtype=np.float32)
    assert measured_signal(linear, linearity)[0, 0] == pytest.approx(0.95 * 45_000, abs=0.05)


def test_bad_pixel_switch_leaves_reference_pixels(calibration):
    config = replace(SimulationConfig(), bad_pixels=BadPixelConfig(enabled=False))
    other = make_calibration("NRCB4", config, seed=5)
    np.testing.assert_array_equal(
        other.bad_pixels, calibration.bad_pixels & np.uint8(BadPixel.REFERENCE_PIXEL)
    )
