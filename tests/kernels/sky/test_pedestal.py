"""The sky pedestal: a known level under noise and sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.sky.level import gaussian_peak
from ceers_steps.kernels.sky.pedestal import find_pedestal, pedestal_image

SKY, NOISE = 0.2, 0.016
SHAPE = (512, 512)


def scene(seed=0, shape=SHAPE):
    """Sky, noise and sources too faint to be masked, which cover a tenth of the image."""
    rng = np.random.default_rng(seed)
    image = rng.normal(SKY, NOISE, shape)
    sources = rng.random(shape) < 0.1
    image[sources] += rng.exponential(2 * NOISE, np.count_nonzero(sources))
    return image.astype(np.float32), np.zeros(shape, bool)


@pytest.mark.parametrize("method", ["mode", "gaussian"])
def test_level_of_white_noise(method):
    image = np.random.default_rng(1).normal(SKY, NOISE, SHAPE)
    found = find_pedestal(image, np.zeros(SHAPE, bool), method=method)
    # the limit is NOISE / 512; neither estimate is better, nor ten times worse
    assert 0.98 * NOISE / 512 < found.uncertainty < 5 * NOISE / 512
    assert abs(found.level - SKY) < 4 * 2.2 * NOISE / 512
    assert found.fitted


@pytest.mark.parametrize("method", ["mode", "gaussian"])
def test_a_median_that_stands_for_the_peak_is_told(method):
    image = np.full((64, 64), SKY)
    assert not find_pedestal(image, np.zeros((64, 64), bool), method=method).fitted


def test_masked_pixels_and_nan_do_not_count():
    image, mask = scene()
    expected = find_pedestal(image, mask | (np.arange(512) < 256)[:, np.newaxis]).level
    image[:128] = np.nan
    image[128:256] = 1e9
    mask[128:256] = True
    # the blocks are the same, so the level is
    assert find_pedestal(image, mask).level == pytest.approx(expected, rel=1e-12)


def test_pixels_with_a_tail_of_noise_do_not_shift_the_mean_level():
    """What a mosaic shows is the mean; the mode of pixels is off by much more."""
    rng = np.random.default_rng(3)
    image = rng.normal(SKY, NOISE, SHAPE)
    lossy = rng.random(SHAPE) < 0.15
    image[lossy] = SKY - rng.exponential(1.2 * NOISE, np.count_nonzero(lossy))
    true = image.mean()
    # what is left of the skewness in means of 64 pixels
    assert abs(find_pedestal(image, np.zeros(SHAPE, bool)).level - true) < 0.025 * NOISE
    gaussian = find_pedestal(image, np.zeros(SHAPE, bool), method="gaussian")
    assert abs(gaussian.level - true) > 0.03 * NOISE


def test_faint_charge_of_snowballs_is_not_sky():
    """What is left around them is wide and below the noise: no mask has it, the mean does."""
    rng = np.random.default_rng(4)
    image = rng.normal(SKY, NOISE, (1024, 1024))
    y, x = np.ogrid[:1024, :1024]
    left = np.zeros(image.shape)
    for y0, x0 in rng.uniform(40, 984, (30, 2)):
        left[(y - y0) ** 2 + (x - x0) ** 2 < 16**2] = 0.5 * NOISE
    mask = np.zeros(image.shape, bool)
    clean, found = find_pedestal(image, mask), find_pedestal(image + left, mask)
    assert left.mean() > 5 * clean.uncertainty
    assert abs(found.level - clean.level) < 2 * clean.uncertainty


@pytest.mark.parametrize("method", ["mode", "gaussian"])
@settings(max_examples=10, deadline=None)
@given(factor=st.floats(1e-6, 1e6), offset=st.floats(-100.0, 1000.0))
def test_no_unit_or_level_is_special(method, factor, offset):
    image, mask = scene(shape=(256, 256))
    image = image.astype(float)
    plain = find_pedestal(image, mask, method=method)
    other = find_pedestal((image + offset * NOISE) * factor, mask, method=method)
    # bins move by rounding only; values change bins there: far below the uncertainty
    assert other.level / factor - offset * NOISE == pytest.approx(
        plain.level, abs=0.2 * plain.uncertainty
    )


def test_strips_have_levels_of_their_own():
    image, mask = scene()
    steps = np.array([0.0, 0.01, -0.02, 0.03])
    image += np.repeat(steps, 128).astype(np.float32)
    found = find_pedestal(image, mask, n_strips=4)
    levels = np.array(found.levels)
    # faint sources are a bias that all strips share
    np.testing.assert_allclose(
        levels - levels.mean(), steps - steps.mean(), atol=4 * max(found.uncertainties)
    )
    flat = image - pedestal_image(found, image.shape)
    assert abs(find_pedestal(flat, mask).level) < 4 * found.uncertainty


def test_a_strip_without_sky_gets_the_level_of_all():
    image, mask = scene()
    mask[:, :128] = True
    found = find_pedestal(image, mask, n_strips=4)
    assert found.levels[0] == find_pedestal(image, mask).level


def test_gaussian_is_the_published_estimate_where_that_works():
    image, mask = scene()
    published = gaussian_peak(image, -1.5, 2.0, 0.001)
    found = find_pedestal(image, mask, method="gaussian")
    # the bins differ, and with them how their counts scatter
    assert abs(found.level - published) < 4 * found.uncertainty


def test_small_images_take_smaller_blocks():
    image, mask = scene(shape=(64, 64))
    found = find_pedestal(image, mask)
    assert abs(found.level - SKY) < 0.1 * NOISE + 4 * found.uncertainty


def test_constant_image():
    assert find_pedestal(np.full(SHAPE, 3.0), np.zeros(SHAPE, bool)).level == 3.0


def test_nothing_left():
    image, mask = scene()
    with pytest.raises(ValueError, match="all are masked"):
        find_pedestal(image, ~mask)


@pytest.mark.parametrize("arguments", [{"method": "median"}, {"n_strips": 3}, {"n_strips": 0}])
def test_senseless_parameters(arguments):
    image, mask = scene(shape=(64, 64))
    with pytest.raises(ValueError, match=r"method|strips"):
        find_pedestal(image, mask, **arguments)


def test_input_is_not_changed():
    image, mask = scene(shape=(64, 64))
    before = image.copy()
    find_pedestal(image, mask)
    np.testing.assert_array_equal(image, before)


def rising(shape, terms):
    """Return a sky that rises, in noises of a pixel; coordinates go from -1 to 1."""
    y, x = (np.linspace(-1, 1, size) for size in shape)
    y, x = np.broadcast_arrays(y[:, np.newaxis], x)
    products = (x, y, x * x, x * y, y * y)
    return NOISE * sum(factor * each for factor, each in zip(terms, products, strict=True))


@pytest.mark.parametrize(
    "terms",
    [
        (0.5, -0.3, 0, 0, 0),
        (1.5, 1.5, 0, 0, 0),
        (0, 0, 1, 0, 1),
        (0, 0, -3, 0, -3),
        (3, 2, 6, 1, 6),
    ],
)
def test_a_sky_that_rises_has_its_mean_for_a_level(terms):
    """Its blocks have no mode, or one far off: by 0.3 noises in a bowl of three."""
    sky = SKY + rising(SHAPE, terms)
    image = np.random.default_rng(71).normal(sky, NOISE).astype(np.float32)
    found = find_pedestal(image, np.zeros(SHAPE, bool))
    assert abs(found.level - sky.mean()) < 3 * found.uncertainty
    assert found.uncertainty < 0.01 * NOISE


def test_a_source_in_a_sky_that_rises_is_no_rise():
    image, mask = scene(seed=72)
    sky = rising(SHAPE, (1.0, -0.5, 0.5, 0.0, 0.5))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    source = 4 * NOISE * np.exp(-np.hypot(y - 350, x - 150) / 20.0)
    found = find_pedestal((image + sky + source).astype(np.float32), mask)
    alone = find_pedestal((image + sky).astype(np.float32), mask)
    assert source.mean() > 0.02 * NOISE
    assert abs(found.level - alone.level) < 0.3 * source.mean()


def test_blocks_in_a_corner_do_not_tell_the_rise_beyond():
    """A surface known there only would be anything at the other end."""
    image, mask = scene(seed=73)
    mask[200:], mask[:, 200:] = True, True
    found = find_pedestal(image, mask)
    whole = find_pedestal(*scene(seed=73))
    assert abs(found.level - whole.level) < 4 * found.uncertainty
    assert found.uncertainty < 0.02 * NOISE


@pytest.mark.parametrize("offset", [300.0, 900.0])
def test_a_level_of_hundreds_of_noises_is_as_accurate(offset):
    """Sums in single precision of large numbers moved values between bins: by 0.3 of the error."""
    image, mask = (each[:256, :256] for each in scene(seed=74))
    plain = find_pedestal(image.astype(float), mask)
    other = find_pedestal(image.astype(float) + offset * NOISE, mask)
    assert other.level - offset * NOISE == pytest.approx(plain.level, abs=0.01 * plain.uncertainty)


@pytest.mark.parametrize("seed", [75, 76])
def test_outskirts_of_a_masked_galaxy_are_not_sky(seed):
    """A surface fitted to single blocks rises with them: the level was as far off as a mean."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    galaxy = 8 * NOISE * np.exp(-np.hypot(y - 300, x - 200) / 40.0)
    mask = galaxy > NOISE
    image = (rng.normal(SKY, NOISE, SHAPE) + galaxy).astype(np.float32)
    assert galaxy[~mask].mean() > 0.12 * NOISE
    assert abs(find_pedestal(image, mask).level - SKY) < 0.08 * NOISE


@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_the_sky_does_not_bend_to_stray_light(rise):
    """An arc over a third of the image: its level is that of the sky beside it."""
    rng = np.random.default_rng(77)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = SKY + rising(SHAPE, (rise, 0.5 * rise, 0, 0, 0))
    arc = 3 * NOISE * np.exp(-0.5 * ((np.hypot(x + 300, y - 400) - 520) / 50) ** 2)
    image = rng.normal(sky + arc, NOISE).astype(np.float32)
    mask = np.zeros(SHAPE, bool)
    assert arc.mean() > 0.7 * NOISE
    error = abs(find_pedestal(image, mask).level - sky.mean())
    assert error < 0.1 * NOISE
    assert error < 0.2 * abs(find_pedestal(image, mask, method="gaussian").level - sky.mean())
