"""Backgrounds from other exposures: a pattern is made, sources are put on it, it is found again."""

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels.sky.image_background import (
    ImageBackgroundSettings,
    measure_image_background,
)

SHAPE = (200, 240)
SIGMA = 0.05


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def pattern(rng):
    """A glow towards one corner, a fixed pattern of the pixels and bands: what a detector has."""
    y, x = np.indices(SHAPE) / 200
    glow = 2.0 + 0.5 * np.exp(-((x - 1.1) ** 2 + (y - 0.1) ** 2) / 0.2)
    fixed = rng.normal(0.0, 4 * SIGMA, SHAPE) + 3 * SIGMA * np.sign(np.sin(np.arange(SHAPE[1]) / 3))
    return glow + fixed


def exposures(rng, n, levels=None):
    """Return images, variances, source masks, the background and the light of sources of each."""
    background = pattern(rng)
    images, masks, light = [], [], []
    for number in range(n):
        sources = np.zeros(SHAPE)
        places = rng.integers(10, 190, (12, 2))
        sources[tuple(places.T)] = rng.uniform(50, 400, 12)
        sources = ndimage.gaussian_filter(sources, 2.0)
        level = 1.0 if levels is None else levels[number]
        images.append(level * background + sources + rng.normal(0.0, SIGMA, SHAPE))
        masks.append(ndimage.maximum_filter(sources, 5) > 0.1 * SIGMA)
        light.append(sources)
    variances = [np.full(SHAPE, SIGMA**2)] * n
    return images, variances, masks, background, light


def measure(images, variances, masks, **settings):
    return measure_image_background(
        images[0],
        masks[0],
        images[1:],
        variances[1:],
        masks[1:],
        ImageBackgroundSettings(**settings),
    )


def test_the_pattern_is_found_to_its_noise(rng):
    images, variances, masks, background, light = exposures(rng, 9, np.linspace(0.97, 1.04, 9))
    found = measure(images, variances, masks)
    chi = (found.image - 0.97 * background) / np.sqrt(found.variance)
    good = ~found.interpolated
    # 48000 pixels: the scatter of chi is known to 0.5%; clipping takes a little of its tails
    assert 0.97 < chi[good].std() < 1.02
    assert abs(chi[good].mean()) < 0.1  # all pixels share the error of the level
    left = (images[0] - found.image - light[0])[good]
    assert left.std() == pytest.approx(SIGMA * np.sqrt(1 + 1 / 8), rel=0.03)
    fixed = images[0] - light[0] - 0.97 * ndimage.gaussian_filter(background, 3)
    assert fixed[good].std() > 4 * left.std()  # what there was before


def test_flux_of_sources_is_kept(rng):
    images, variances, masks, _, light = exposures(rng, 7)
    found = measure(images, variances, masks)
    n = np.count_nonzero(masks[0])
    flux = np.sum((images[0] - found.image)[masks[0]])
    error = SIGMA * np.sqrt(n * (1 + 1 / 6))
    assert abs(flux - light[0].sum()) < 4 * error
    assert 4 * error < 0.005 * light[0].sum()  # the test can tell half a percent


def test_a_source_that_no_mask_covers_is_clipped(rng):
    images, variances, masks, background, _ = exposures(rng, 8)
    images[3][100:110, 100:110] += 40 * SIGMA
    found = measure(images, variances, masks)
    there = found.image[100:110, 100:110] - background[100:110, 100:110]
    assert abs(there.mean()) < 4 * SIGMA / np.sqrt(100 * 5)


def test_pixels_that_are_masked_everywhere_are_interpolated_and_flagged(rng):
    images, variances, masks, background, _ = exposures(rng, 5)
    for mask in masks[1:]:
        mask[60:75, 80:100] = True
    found = measure(images, variances, masks)
    assert found.interpolated[60:75, 80:100].all()
    assert np.isfinite(found.image).all()
    assert np.isfinite(found.variance).all()
    smooth = ndimage.gaussian_filter(background, 8)
    hole = found.image[60:75, 80:100] - smooth[60:75, 80:100]
    assert abs(hole.mean()) < 4 * SIGMA


@pytest.mark.parametrize("scaling", ["add", "none"])
def test_other_scalings(rng, scaling):
    images, variances, masks, background, _ = exposures(rng, 6)
    offset = 0.3 if scaling == "add" else 0.0
    images[2] = images[2] + offset
    found = measure(images, variances, masks, scaling=scaling)
    good = ~found.interpolated
    assert (found.image - background)[good].mean() == pytest.approx(0.0, abs=SIGMA / 20)


def test_levels_do_not_depend_on_where_the_sources_are(rng):
    # the glow is under the sources of one exposure: its level outside them is lower
    images, variances, masks, background, _ = exposures(rng, 6)
    masks[2][:, 150:] = True
    found = measure(images, variances, masks)
    assert found.factors[1] == pytest.approx(1.0, abs=4 * SIGMA / 2.0 / np.sqrt(20000))
    assert (found.image - background)[:, :140].mean() == pytest.approx(0.0, abs=SIGMA / 20)


def test_blocks_of_rows_change_nothing(rng):
    images, variances, masks, *_ = exposures(rng, 4)
    whole = measure(images, variances, masks, block_rows=1000)
    parts = measure(images, variances, masks, block_rows=7)
    np.testing.assert_array_equal(whole.image, parts.image)
    np.testing.assert_array_equal(whole.variance, parts.variance)


def test_too_little_sky_is_an_error(rng):
    images, variances, masks, *_ = exposures(rng, 3)
    everything = np.ones(SHAPE, bool)
    with pytest.raises(ValueError, match="none of the other exposures"):
        measure(images, variances, [masks[0], everything, everything])
    with pytest.raises(ValueError, match="show sky"):
        measure(images, variances, [everything, *masks[1:]])


def test_a_sky_too_faint_to_multiply_is_an_error(rng):
    images = [rng.normal(0.0, SIGMA, SHAPE) for _ in range(3)]
    masks = [np.zeros(SHAPE, bool)] * 3
    with pytest.raises(ValueError, match="use scaling='add'"):
        measure(images, [np.full(SHAPE, SIGMA**2)] * 3, masks)
