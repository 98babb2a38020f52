"""The tiered source mask against the published recipe and against planted sources."""

import numpy as np
import pytest
from astropy.convolution import Gaussian2DKernel, Ring2DKernel, convolve_fft
from astropy.stats import SigmaClip
from photutils.segmentation import detect_sources, detect_threshold
from scipy import ndimage

from ceers_steps.kernels.sources.tiers import (
    Tier,
    TierSet,
    dilate_square,
    expand,
    expand_at,
    mask_sources,
    subtract_ring_median,
)

NOISE = 0.02


def scene(shape=(384, 320), seed=1, n_sources=25):
    """Sky 0.3 with noise and exponential sources of all sizes; image and true source light."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = np.zeros(shape)
    for _ in range(n_sources):
        size, flux = rng.uniform(1.5, 12.0), 10 ** rng.uniform(0.0, 2.0)
        radius = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        light += flux / (2 * np.pi * size**2) * np.exp(-radius / size)
    image = 0.3 + light + rng.normal(0, NOISE, shape)
    return image.astype(np.float32), light


def published_tiers(image, bad):
    """The recipe of section 3.1 as published: full resolution, one convolution per tier."""
    median = ndimage.median_filter(image, footprint=Ring2DKernel(40, 3).array)
    difference = np.where(bad, 0.0, image - median)
    found, tiers = np.zeros(image.shape, bool), []
    for sigma, npixels, size in [(25, 15, 11), (15, 15, 11), (5, 5, 11), (2, 3, 3)]:
        smooth = convolve_fft(difference, Gaussian2DKernel(sigma), boundary="fill")
        clip = SigmaClip(3.0, maxiters=10)
        threshold = detect_threshold(smooth, 3.0, mask=found | bad, sigma_clip=clip)
        segments = detect_sources(smooth, threshold, npixels)
        tier = ndimage.binary_dilation(segments.data > 0, np.ones((size, size)))
        if sigma == 25:
            tier = ndimage.binary_dilation(tier, np.ones((11, 11)))
        found |= tier
        tiers.append(tier)
    return tiers


def test_same_sources_as_the_published_recipe():
    image, light = scene()
    bad = np.random.default_rng(2).random(image.shape) < 0.005
    image[bad] = 0.3
    bits = mask_sources(image, bad)
    published = published_tiers(image, bad)
    # A tier has about (frame / 4 sigma)**2 independent patches; one of them at the threshold may
    # be found by one and not by the other: 6 by 5 patches in the first tier, 48 by 40 in the third.
    for number, expected, overlap in zip(range(1, 5), published, (0.6, 0.8, 0.8, 0.8), strict=True):
        ours = (bits >> number) & 1 == 1
        assert np.sum(ours & expected) > overlap * np.sum(ours | expected)
    ours, expected = bits > 1, np.any(published, axis=0)
    # beyond a quarter of the widest smoothing both agree
    assert np.mean(ours & ~dilate_square(expected, 6)) < 0.005
    assert np.mean(expected & ~dilate_square(ours, 6)) < 0.005
    assert np.all(bits[light > 5 * NOISE] > 1)


def test_input_mask_is_bit_zero_and_nan_counts_as_masked():
    image, _ = scene()
    bad = np.zeros(image.shape, bool)
    bad[:4] = True
    image[100, 100] = np.nan
    bits = mask_sources(image, bad)
    expected = bad.copy()
    expected[100, 100] = True
    np.testing.assert_array_equal(bits & 1, expected)


def test_bad_pixels_make_no_source():
    rng = np.random.default_rng(3)
    image = rng.normal(0.3, NOISE, (256, 256)).astype(np.float32)
    clean = mask_sources(image, np.zeros(image.shape, bool))
    bad = np.zeros(image.shape, bool)
    bad[50:60, 50:60] = bad[128] = True
    image[bad] = 1e4
    bits = mask_sources(image, bad)
    near = dilate_square(bad, 3)
    assert np.mean((bits > 1) & near) <= np.mean(clean > 1) + 0.01


def test_unit_sky_and_orientation_do_not_matter():
    image, _ = scene()
    bad = np.zeros(image.shape, bool)
    bits = mask_sources(image, bad)
    np.testing.assert_array_equal(mask_sources(image.T, bad.T).T, bits)
    # powers of two: single precision keeps every digit of the scaled image
    np.testing.assert_array_equal(mask_sources(image * 1024, bad), bits)
    shifted = mask_sources(image + np.float32(0.25), bad)
    assert np.mean(shifted != bits) < 0.002


def test_pixel_noise_thresholds():
    """nsigma times the noise of the unsmoothed image: a plateau is found above it, not below."""
    rng = np.random.default_rng(4)
    image = rng.normal(0.0, NOISE, (300, 300)).astype(np.float32)
    image[100:130, 60:90] += 2.0 * NOISE
    image[180:210, 200:230] += 1.0 * NOISE
    tiers = TierSet((Tier(5, 1.5, 10, 0),), 80, 4, noise="pixel", footprint="disc")
    found = mask_sources(image, np.zeros(image.shape, bool), tiers) == 2
    assert found[115, 75]
    assert not found[150:].any()
    grown = TierSet((Tier(5, 1.5, 10, 9),), 80, 4, noise="pixel", footprint="disc")
    expected = ndimage.distance_transform_edt(~found) <= 9
    np.testing.assert_array_equal(
        mask_sources(image, np.zeros(image.shape, bool), grown) == 2, expected
    )


def test_ring_median_is_the_median_over_the_ring():
    image, light = scene(seed=5, n_sources=4)
    result = subtract_ring_median(image, np.zeros(image.shape, bool), 40, 3)
    exact = image - ndimage.median_filter(image, footprint=Ring2DKernel(40, 3).array)
    # each is a median of about 800 pixels: noise of 1.25 / sqrt(800) each, ours smoother
    difference = (result - exact)[50:-50, 50:-50]
    assert abs(np.median(difference)) < 0.01 * NOISE
    assert np.std(difference) < 0.06 * NOISE + 0.02 * light.std()


@pytest.mark.parametrize("shape", [(64, 64), (97, 131), (5, 300), (1, 1)])
def test_any_shape(shape):
    image = np.random.default_rng(6).normal(1.0, 0.1, shape)
    bits = mask_sources(image, np.zeros(shape, bool))
    assert bits.shape == shape
    assert bits.dtype == np.uint8


def test_nothing_left():
    with pytest.raises(ValueError, match="no pixel left"):
        mask_sources(np.full((8, 8), np.nan), np.zeros((8, 8), bool))


@pytest.mark.parametrize("option", [{"noise": "none"}, {"footprint": "ring"}])
def test_unknown_options(option):
    arguments = {"noise": "pixel", "footprint": "disc"} | option
    with pytest.raises(ValueError, match="use '"):
        TierSet((), 40, 3, **arguments)


@pytest.mark.parametrize("half_side", [0, 1, 5, 40])
def test_dilation_by_a_square(half_side):
    mask = np.zeros((30, 23), bool)
    mask[0, 0] = mask[13, 20] = mask[14, 20] = True
    size = 2 * half_side + 1
    expected = ndimage.binary_dilation(mask, np.ones((size, size)))
    np.testing.assert_array_equal(dilate_square(mask, half_side), expected)


@pytest.mark.parametrize("factor", [1, 4, 8])
def test_single_pixels_of_blocks_are_those_of_the_whole(factor):
    blocks = np.random.default_rng(6).normal(size=(9, 7)).astype(np.float32)
    shape = (9 * factor - factor // 2, 7 * factor)
    rows, columns = np.arange(0, shape[0], 3), np.arange(shape[1])[::-2]
    picked = expand_at(blocks, rows, columns, factor)
    expected = expand(blocks, shape, factor)[np.ix_(rows, columns)]
    np.testing.assert_allclose(picked, expected, rtol=1e-6, atol=1e-6)
