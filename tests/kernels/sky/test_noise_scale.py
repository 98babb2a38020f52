"""Scatter of the sky against the variances that predict it."""

import numpy as np
import pytest

from ceers_steps.kernels.sky.noise_scale import (
    WIDE_TIERS,
    published_noise_scale,
    sky_noise_scale,
)
from ceers_steps.kernels.sky.settings import NOISE
from ceers_steps.kernels.sources.tiers import mask_sources

SIGMA = 0.016


def nothing(shape):
    return np.zeros(shape, bool)


def white(seed=0, size=512):
    """Sky of 0.2 with white noise of a standard deviation of `SIGMA`."""
    rng = np.random.default_rng(seed)
    return (0.2 + rng.normal(0.0, SIGMA, (size, size))).astype(np.float32)


def predicted(image, share=1.0):
    """Return the variance to be scaled and the fixed one: `share` of the true variance, and 0."""
    scaled = np.full(image.shape, share * SIGMA**2, np.float32)
    return scaled, np.zeros_like(scaled)


@pytest.mark.parametrize("share", [0.25, 0.9, 1.0, 4.0])
def test_factor_of_white_noise(share):
    image = white()
    scale = sky_noise_scale(image, *predicted(image, share), nothing(image.shape))
    assert scale.blocks == NOISE.blocks
    assert abs(scale.factor * share - 1.0) < 4 * scale.uncertainty * share
    assert scale.uncertainty * share < 0.05
    for ratio, error in zip(scale.after, scale.errors, strict=True):
        assert abs(ratio - 1.0) < 4 * error + 0.01


def test_only_part_of_the_variance_is_scaled():
    image = white()
    scaled = np.full(image.shape, 0.2 * SIGMA**2, np.float32)
    fixed = np.full(image.shape, 0.4 * SIGMA**2, np.float32)
    scale = sky_noise_scale(image, scaled, fixed, nothing(image.shape))
    # 3 * 0.2 + 0.4 = 1
    assert abs(scale.factor - 3.0) < 4 * scale.uncertainty


def test_variance_that_differs_from_pixel_to_pixel():
    rng = np.random.default_rng(5)
    variance = (SIGMA**2 * rng.uniform(0.3, 3.0, (512, 512))).astype(np.float32)
    image = (rng.normal(0.0, 1.0, variance.shape) * np.sqrt(variance)).astype(np.float32)
    scale = sky_noise_scale(image, variance, np.zeros_like(variance), nothing(image.shape))
    assert abs(scale.factor - 1.0) < 4 * scale.uncertainty


@pytest.mark.slow
def test_a_smooth_background_and_outliers_are_no_noise():
    image = white()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    image += (0.1 * SIGMA * (np.sin(x / 150.0) + y / 512)).astype(np.float32)
    plain = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    image[np.random.default_rng(1).random(image.shape) < 0.003] += 50 * SIGMA
    struck = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    assert abs(plain.factor - 1.0) < 0.03
    assert abs(struck.factor - plain.factor) < 0.01


@pytest.mark.slow
def test_masking_the_peaks_of_the_noise_is_allowed_for():
    """Without that the scatter of blocks of 16 pixels comes out 4% too small."""
    ratios = []
    for seed in range(4):
        image = white(seed, size=768)
        bits = mask_sources(image, nothing(image.shape))
        mask = (bits & ~np.uint8(WIDE_TIERS)) > 0
        scale = sky_noise_scale(image, *predicted(image), mask)
        ratios.append(scale.before)
    # 4 x 2304 blocks of 16 pixels: 0.8%
    np.testing.assert_allclose(np.mean(ratios, axis=0)[-1], 1.0, atol=0.025)
    np.testing.assert_allclose(np.mean(ratios, axis=0)[:3], 1.0, atol=0.006)


def test_correlated_noise_shows_in_large_blocks():
    rng = np.random.default_rng(2)
    image = white()
    image += rng.normal(0.0, 0.15 * SIGMA, (image.shape[0], 1)).astype(np.float32)
    scale = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    # rows add 0.15**2 to the variance of a pixel, 0.15**2 * 16 to that of a mean of 16 x 16
    assert scale.before[0] == pytest.approx(np.sqrt(1 + 0.15**2), abs=0.01)
    assert scale.before[-1] == pytest.approx(np.sqrt(1 + 16 * 0.15**2), abs=4 * scale.errors[-1])
    assert scale.after[0] == pytest.approx(1.0, abs=1e-6)
    assert scale.after[-1] > 1.0 + 2 * scale.errors[-1]
    # errors are those of single pixels
    assert abs(scale.factor - 1.0225) < 4 * scale.uncertainty


@pytest.mark.parametrize("part", [8, 16, 32])
def test_less_noise_in_large_blocks_leaves_the_errors_of_pixels_right(part):
    """A fit of stripes takes the mean of each part of a row with it, light or noise.

    The mean over the block sizes made the errors of single pixels 23% too small.
    """
    image = white(seed=30 + part)
    parts = image.reshape(image.shape[0], -1, part)
    image = (parts - parts.mean(axis=2, keepdims=True)).reshape(image.shape)
    scale = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    left = 1.0 - 1.0 / part
    assert abs(scale.factor - left) < 4 * scale.uncertainty
    assert scale.uncertainty < 0.01
    assert scale.after[-1] < 0.9


def test_the_smallest_blocks_set_the_factor():
    rng = np.random.default_rng(2)
    image = white(seed=3)
    image += rng.normal(0.0, 0.15 * SIGMA, (image.shape[0], 1)).astype(np.float32)
    scale = sky_noise_scale(image, *predicted(image), nothing(image.shape), blocks=(8, 4))
    assert scale.blocks == (4, 8)
    assert abs(scale.factor - (1 + 4 * 0.15**2)) < 4 * scale.uncertainty


@pytest.mark.parametrize("height", [4.0, 12.0])
def test_an_arc_of_stray_light_is_no_noise(height):
    """Its outer edge is sharper than the boxes of the background."""
    image = white(size=640)
    y, x = np.mgrid[:640, :640] / 640
    inside = np.hypot(x + 0.6, y - 0.8) - 1.0
    arc = np.exp(-0.5 * (inside / np.where(inside > 0, 0.03, 0.12)) ** 2)
    image += (height * SIGMA * arc).astype(np.float32)
    mask = (mask_sources(image, nothing(image.shape)) & ~np.uint8(WIDE_TIERS)) > 0
    scale = sky_noise_scale(image, *predicted(image), mask)
    assert scale.before[0] == pytest.approx(1.0, abs=0.01)
    assert abs(scale.factor - 1.0) < 0.02


def test_block_sizes_with_too_few_blocks_are_left_out():
    image = white(size=64)
    scale = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    assert scale.blocks == (1, 2, 4)  # 64 blocks of 8 pixels


def test_too_few_blocks_of_any_size():
    image = white(size=64)
    with pytest.raises(ValueError, match="no block size of 16"):
        sky_noise_scale(image, *predicted(image), nothing(image.shape), blocks=(16,))
    with pytest.raises(ValueError, match="no block size"):
        sky_noise_scale(image, *predicted(image), ~nothing(image.shape))


def test_less_noise_than_the_fixed_part():
    image = white(size=256)
    scaled, fixed = predicted(image)
    with pytest.raises(ValueError, match="not scaled"):
        sky_noise_scale(image, 0.01 * scaled, fixed + 4 * SIGMA**2, nothing(image.shape))


@pytest.mark.parametrize("blocks", [(), (0, 2)])
def test_senseless_blocks(blocks):
    image = white(size=64)
    with pytest.raises(ValueError, match="blocks"):
        sky_noise_scale(image, *predicted(image), nothing(image.shape), blocks=blocks)


def test_unit_and_repetition_change_nothing():
    image = white(size=256)
    first = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    again = sky_noise_scale(image, *predicted(image), nothing(image.shape))
    assert first == again
    scaled, fixed = predicted(image)
    other = sky_noise_scale(1000 * image, 1e6 * scaled, 1e6 * fixed, nothing(image.shape))
    assert other.factor == pytest.approx(first.factor, rel=1e-4)


def test_nan_and_pixels_without_variance_are_left_out():
    image = white()
    scaled, fixed = predicted(image)
    image[:50], scaled[100:150], fixed[200:210] = np.nan, np.nan, np.inf
    scale = sky_noise_scale(image, scaled, fixed, nothing(image.shape))
    assert abs(scale.factor - 1.0) < 4 * scale.uncertainty


def test_published_factor():
    image = white()
    rnoise = np.full(image.shape, 0.1 * SIGMA**2, np.float32)
    scale = published_noise_scale(image, rnoise, nothing(image.shape))
    # the variance of the sky over the read noise is 10; the background of 5-pixel boxes takes
    # about a quarter of the variance of blocks of 7 with it
    assert 6.0 < scale.factor < 9.0


def test_published_factor_needs_blocks():
    image = white(size=64)
    with pytest.raises(ValueError, match="100 are needed"):
        published_noise_scale(image, np.ones_like(image), nothing(image.shape))


def test_the_control_is_of_the_whole_image():
    """The first rows of a tall image are all masked: 2,000,000 pixels of them were the control."""
    rng = np.random.default_rng(9)
    image = (0.2 + rng.normal(0.0, SIGMA, (2400, 1024))).astype(np.float32)
    mask = nothing(image.shape)
    mask[:1960] = True
    scale = sky_noise_scale(image, *predicted(image), mask)
    assert abs(scale.factor - 1.0) < 4 * scale.uncertainty
    assert scale.uncertainty < 0.05
