"""Steep skies that are sums of profiles: found to the pixel, and nothing else taken for one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from ceers_steps.kernels import rows
from ceers_steps.kernels.additive.profiles import common_profile
from ceers_steps.kernels.additive.sky import fit_additive_sky

SHAPE = (640, 600)


def coordinates():
    """Return y and x from -1 to 1."""
    ny, nx = SHAPE
    return np.mgrid[-1 : 1 : ny * 1j, -1 : 1 : nx * 1j]


def sky(kind):
    """Sky in units of the noise of a pixel."""
    y, x = coordinates()
    down, across = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in SHAPE)
    border = np.minimum(down[:, np.newaxis], across)
    return {
        "stairs": 3.0 * np.floor(2.499 * (x + 1.0)) / 4.0 + 2.0 * (y > 0.3),
        "bowl": 1.5 * (x**2 + y**2),
        "edge": 4.0 * x**8,
        "border": 4.0 * np.maximum(1.0 - border / 120.0, 0.0),
        "flat": 0.0 * x,
        "slope": 3.0 * x + y,
        "saddle": 2.0 * x * y,
        "turned stairs": 3.0 * np.floor(2.499 * (0.7 * x + 0.7 * y + 1.0)) / 4.0,
        "ring": 3.0 * np.exp(-(((np.hypot(x, y) - 0.6) / 0.1) ** 2)),
    }[kind]


def image_of(kind, seed):
    """Image with noise 1, and a mask in which a seventh of it is."""
    rng = np.random.default_rng(seed)
    spots = rng.random(SHAPE) > 0.9997
    mask = ndimage.binary_dilation(spots, iterations=13)
    image = sky(kind) + rng.normal(0.0, 1.0, SHAPE)
    image[spots] = np.nan
    image[ndimage.binary_dilation(spots, iterations=4) & ~spots] += 30.0
    return (100.0 + image).astype(np.float32), mask


def of(found):
    return found.at(np.arange(SHAPE[0]), np.arange(SHAPE[1]))


@pytest.mark.parametrize("kind", ["stairs", "bowl", "edge", "border"])
def test_sums_of_profiles_are_found(kind):
    """Every place of a profile has 500 pixels: known to 0.05, and where it is smooth far better."""
    image, mask = image_of(kind, 3)
    found = fit_additive_sky(image, mask, np.zeros(SHAPE, bool))
    off = of(found) - sky(kind)
    off -= np.median(off)
    assert off.std() < 0.05
    # a step is in its place to a pixel or two: others would be off by half of it
    assert np.mean(np.abs(off) > 0.3) < 0.004


@pytest.mark.parametrize("kind", ["flat", "slope", "saddle", "turned stairs", "ring"])
def test_what_is_no_sum_of_profiles_is_left_to_boxes(kind):
    image, mask = image_of(kind, 4)
    assert fit_additive_sky(image, mask, np.zeros(SHAPE, bool)) is None


def test_structure_without_order_is_left_to_boxes():
    rng = np.random.default_rng(5)
    rough = ndimage.gaussian_filter(rng.normal(size=SHAPE), 50.0, mode="wrap")
    image = 2.0 * rough / rough.std() + rng.normal(size=SHAPE)
    nothing = np.zeros(SHAPE, bool)
    assert fit_additive_sky(image, nothing, nothing) is None


def test_a_border_of_any_shape():
    """The mosaic is a turned rectangle; its sky rises towards where nothing has been seen."""
    y, x = coordinates()
    along, across = 0.9 * x + 0.436 * y, 0.9 * y - 0.436 * x
    outside = np.maximum(np.abs(along), np.abs(across)) > 0.75
    far = ndimage.distance_transform_edt(~outside)
    true = 4.0 * np.maximum(1.0 - far / 100.0, 0.0)
    image = true + np.random.default_rng(6).normal(size=SHAPE)
    image[outside] = np.nan
    found = fit_additive_sky(image, outside, outside)
    off = (of(found) - true)[~outside]
    assert np.std(off) < 0.12 < 0.15 * np.std(true[~outside])


def test_a_galaxy_in_the_middle_is_no_sky():
    """Its outskirts are alike in all directions, but brighter inside."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(y - 320.0, x - 300.0)
    light = 20.0 * np.exp(-radius / 20.0)
    noise = np.random.default_rng(7).normal(size=SHAPE)
    core = light > 1.5
    nothing = np.zeros(SHAPE, bool)
    assert fit_additive_sky(light + noise, core, nothing, core=core) is None
    # on a steep sky hardly any of its light goes with it
    found = fit_additive_sky(sky("border") + light + noise, core, nothing, core=core)
    off = of(found) - sky("border")
    off -= np.median(off[radius > 250])
    assert abs(off.sum()) < 0.1 * light.sum()


def test_strips_and_threads_change_nothing(monkeypatch):
    image, mask = image_of("stairs", 8)
    nothing = np.zeros(SHAPE, bool)
    whole = of(fit_additive_sky(image, mask, nothing))
    monkeypatch.setattr(rows, "ROWS", rows.RowSettings(strip_size=64 * SHAPE[1]))
    parts = of(fit_additive_sky(image, mask, nothing, n_threads=2))
    np.testing.assert_array_equal(whole, parts)


def test_small_and_masked_images_have_none():
    small = np.zeros((200, 900), np.float32)
    assert fit_additive_sky(small, small > 0, small > 0) is None
    image, _ = image_of("stairs", 9)
    everything = np.ones(SHAPE, bool)
    assert fit_additive_sky(image, everything, ~everything) is None


def test_groups_must_agree():
    """A bump that all of six groups have is kept, one that two of them have is not."""
    place = np.arange(200)
    bump = np.exp(-0.5 * ((place - 120) / 6.0) ** 2)
    noise = np.random.default_rng(10).normal(0.0, 0.05, (6, 200))
    n = np.ones((6, 200))
    kept = common_profile(noise + bump, n, 4, 1)
    assert np.ptp(kept) > 0.8
    some = noise.copy()
    some[:2] += 3.0 * bump
    assert np.ptp(common_profile(some, n, 4, 1)) < 0.2
    assert not common_profile(noise[:3] + bump, n[:3], 4).any()


def test_a_group_that_hardly_knows_a_place_says_nothing():
    """One whose places all have far fewer values than others have."""
    total = np.random.default_rng(8).normal(0.0, 4.0, (12, 64))
    n = np.full(total.shape, 16.0)
    few_total, few = np.vstack([total, total[:1] / 400.0]), np.vstack([n, n[:1] / 400.0])
    expected = common_profile(total, n, 4, 1)
    assert_allclose(common_profile(few_total, few, 4, 1), expected, atol=0.02)
