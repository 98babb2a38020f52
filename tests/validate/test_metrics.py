"""The metrics, on images whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.validate import metrics

SHAPE = (256, 320)
SIGMA = 0.02
TRUTH = 0.3


def white(seed=1, shape=SHAPE):
    return np.random.default_rng(seed).normal(0.0, SIGMA, shape).astype(np.float32)


def striped(sigma_row, seed=2):
    rows = np.random.default_rng(seed).normal(0.0, sigma_row, (SHAPE[0], 1)).astype(np.float32)
    return white() + rows


@pytest.mark.parametrize("block", [1, 4, 16])
def test_white_noise_reaches_the_limit(block):
    noise = metrics.block_noise(TRUTH + white(), TRUTH, SIGMA, block=block)
    assert noise.n_blocks == (SHAPE[0] // block) * (SHAPE[1] // block)
    assert noise.white == pytest.approx(SIGMA / block, rel=1e-6)
    # ratio_err is the standard error of a standard deviation: 4 of them.
    assert abs(noise.ratio - 1.0) < 4 * noise.ratio_err


def test_stripes_raise_block_noise_by_what_they_add():
    # Rows of scatter s: a block mean over 16 rows has s / 4 on top of the white SIGMA / 16.
    sigma_row = 0.01
    noise = metrics.block_noise(TRUTH + striped(sigma_row), TRUTH, SIGMA, block=16)
    expected = np.hypot(SIGMA / 16, sigma_row / 4) / (SIGMA / 16)
    # All blocks of a band share its rows, so only 16 bands are independent: 4 sigma of those.
    assert noise.ratio == pytest.approx(expected, rel=4 / np.sqrt(2 * 15))


def test_masked_pixels_and_blocks_leave_the_ratio_alone():
    rng = np.random.default_rng(3)
    image = TRUTH + white()
    mask = rng.random(SHAPE) < 0.05
    mask[:64, :64] = True
    image[mask] = 1e3
    image[100, 100] = np.nan
    noise = metrics.block_noise(image, TRUTH, np.full(SHAPE, SIGMA), mask=mask, block=16)
    assert noise.n_blocks == 16 * 20 - 16
    assert abs(noise.ratio - 1.0) < 4 * noise.ratio_err


def test_block_noise_without_blocks_says_what_to_change():
    with pytest.raises(ValueError, match="max_masked"):
        metrics.block_noise(white(), 0.0, SIGMA, mask=np.ones(SHAPE, bool))
    with pytest.raises(ValueError, match="smaller blocks"):
        metrics.block_noise(white(shape=(10, 10)), 0.0, SIGMA)


def test_pixel_noise_does_not_see_stripes():
    # The median absolute difference of 8e4 correlated pairs is good to 0.5 %; 4 sigma.
    assert metrics.pixel_noise(striped(1.0)) == pytest.approx(SIGMA, rel=0.02)
    assert np.isnan(metrics.pixel_noise(white(), mask=np.ones(SHAPE, bool)))


@given(lost=st.floats(-0.5, 0.5), sky=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_source_flux_finds_the_loss(lost, sky):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    galaxy = 5 * np.exp(-np.hypot(y - 100, x - 120) / 8)
    sources = galaxy > 0.05
    flux = metrics.source_flux(
        sky + (1 - lost) * galaxy, sky + galaxy, sources, sky=sky, err=np.full(SHAPE, SIGMA)
    )
    assert flux.ratio == pytest.approx(1 - lost, abs=1e-9)
    assert flux.ratio_err == pytest.approx(
        SIGMA * np.sqrt(sources.sum()) / galaxy[sources].sum(), rel=1e-9
    )


def test_source_flux_leaves_masked_and_nan_pixels_out():
    truth = np.full(SHAPE, 2.0)
    image = truth.copy()
    image[0, 0], image[0, 1] = np.nan, 1e6
    mask = np.zeros(SHAPE, bool)
    mask[0, 1] = True
    flux = metrics.source_flux(image, truth, np.ones(SHAPE, bool), mask=mask)
    assert flux.n_pixels == image.size - 2
    assert flux.ratio == 1.0
    with pytest.raises(ValueError, match="polarity"):
        metrics.source_flux(image, truth, np.zeros(SHAPE, bool))


@given(lost=st.floats(-0.5, 0.5), offset=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_source_flux_is_counted_above_blank_sky(lost, offset):
    """An offset of the whole image is no flux, what is lost still is."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    galaxy = 5 * np.exp(-np.hypot(y - 100, x - 120) / 8)
    blank = galaxy < 1e-9
    image = offset + (1 - lost) * galaxy
    flux = metrics.source_flux(image, galaxy, galaxy > 0.05, blank=blank)
    assert flux.ratio == pytest.approx(1 - lost, abs=1e-8)
    with pytest.raises(ValueError, match="polarity"):
        metrics.source_flux(image, galaxy, galaxy > 0.05, blank=np.zeros(SHAPE, bool))


def test_absorbed_flux():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    galaxy = np.exp(-np.hypot(y - 128, x - 160) / 20)
    stripes = striped(0.05)
    result = metrics.absorbed_flux(
        stripes + 0.07 * galaxy, galaxy, removed_without=stripes, enclosed=0.8
    )
    assert result.fraction == pytest.approx(0.07, rel=1e-4)
    assert result.flux_true == pytest.approx(0.8 * galaxy.sum(), rel=0.01)
    # 80 % of an exponential lies inside 2.994 scale lengths.
    assert result.n_pixels == pytest.approx(np.pi * (2.994 * 20) ** 2, rel=0.03)
    with pytest.raises(ValueError, match="aperture"):
        metrics.absorbed_flux(stripes, np.zeros(SHAPE))


def test_pedestal_change_ignores_noise_and_sources():
    before = TRUTH + white()
    after = before - np.float32(1e-5)
    mask = np.zeros(SHAPE, bool)
    mask[50:80, 50:80] = True
    after[mask] = 99
    after[0, 0] = np.nan
    result = metrics.pedestal_change(before, after, mask=mask)
    # One float32 rounding at 0.3 is 3e-8; they average out.
    assert result.change == pytest.approx(-1e-5, abs=3e-8)
    assert result.relative == pytest.approx(-1e-5 / TRUTH, rel=0.01)
    with pytest.raises(ValueError, match="no unmasked"):
        metrics.pedestal_change(before, after, mask=np.ones(SHAPE, bool))


def test_wisp_scale_error_and_pull():
    result = metrics.wisp_scale(0.8, 0.82, 0.01)
    assert result.error == pytest.approx(0.02)
    assert result.relative == pytest.approx(0.025)
    assert result.pull == pytest.approx(2.0)
    clean = metrics.wisp_scale(0.0, 0.0, 0.0)
    assert clean.error == 0
    assert np.isnan(clean.relative)
    assert np.isnan(clean.pull)


def test_template_residual_measures_what_is_left():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    template = 0.05 * np.exp(-(((y - 128) / 40.0) ** 2) - ((x - 160) / 60.0) ** 2)
    clean = metrics.template_residual(TRUTH + white(), TRUTH, template)
    assert abs(clean.correlation) < 4 * clean.correlation_err
    left = metrics.template_residual(TRUTH + white() + 0.1 * template, TRUTH, template)
    spread = SIGMA / np.sqrt(np.square(template - template.mean()).sum())
    assert left.scale == pytest.approx(0.1, abs=4 * spread)
    assert left.correlation > 4 * left.correlation_err
    with pytest.raises(ValueError, match="must vary"):
        metrics.template_residual(white(), 0.0, np.ones(SHAPE))


def test_snowball_flags_count_recall_and_extra():
    contaminated = np.zeros((2, 40, 40), bool)
    contaminated[0, 10:20, 10:20] = True
    flagged = np.zeros_like(contaminated)
    flagged[0, 10:20, 12:25] = True
    excused = np.zeros_like(contaminated)
    excused[0, 10:20, 24] = True
    result = metrics.snowball_flags(flagged, contaminated, excused=excused)
    assert result.recall == pytest.approx(0.8)
    assert result.extra_area == pytest.approx(0.4)
    none = metrics.snowball_flags(flagged, np.zeros_like(contaminated))
    assert np.isnan(none.recall)
    assert np.isnan(none.extra_area)
    assert none.n_extra == 130


def test_halo_bias_subtracts_what_blank_sky_has_too():
    halo = np.zeros(SHAPE, bool)
    halo[100:150, 100:150] = True
    image = TRUTH + white() + 0.5 * SIGMA
    image[halo] += 0.3 * SIGMA
    result = metrics.halo_bias(image, TRUTH, np.full(SHAPE, SIGMA), halo, blank=~halo)
    assert abs(result.bias - 0.3) < 4 * result.bias_err
    assert result.bias_err == pytest.approx(1 / 50, rel=0.05)
    with pytest.raises(ValueError, match="no unmasked halo"):
        metrics.halo_bias(image, TRUTH, np.full(SHAPE, SIGMA), np.zeros(SHAPE, bool))


def test_records_become_rows():
    row = metrics.wisp_scale(1.0, 1.1, 0.1).as_row("wisp_")
    assert row["wisp_fitted"] == 1.1
    assert set(row) == {
        "wisp_true", "wisp_fitted", "wisp_fitted_err", "wisp_error", "wisp_relative", "wisp_pull"
    }  # fmt: skip
