"""A whole exposure destriped: what is wrong with single pixels stays with them."""

import numpy as np
import pytest

from ceers_steps.kernels.stripes.exposure import StripeSettings, destripe_inplace
from ceers_steps.kernels.stripes.left_over import LearntStripes
from ceers_steps.kernels.stripes.median import levels_beside_light
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.simulate.detector.noise import one_over_f_frame

SHAPE = (128, 128)


def exposure():
    rng = np.random.default_rng(8)
    rows = rng.normal(0.0, 0.05, (SHAPE[0], 1))
    image = (0.3 + rows + rng.normal(0.0, 0.02, SHAPE)).astype(np.float32)
    planes = [np.full(SHAPE, value, np.float32) for value in (3e-4, 1e-4)]
    return image, np.zeros(SHAPE, np.uint32), *planes


@pytest.mark.parametrize("method", ["wiener", "median"])
@pytest.mark.parametrize("plane", [2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_variance_spoils_nothing(method, plane, value):
    layout = ReadoutLayout.from_keywords(SHAPE, fast_axis=1, slow_axis=2, n_outputs=1)
    results = []
    for bad in (False, True):
        arrays = [array[np.newaxis].copy() for array in exposure()]
        if bad:
            arrays[plane][0, 40, 50] = value
        destripe_inplace(*arrays, layout, settings=StripeSettings(method=method))
        results.append(arrays[0][0])
    good, spoilt = results
    assert np.isfinite(spoilt).all()
    for image in (good, spoilt):
        assert np.std(image) < 1.1 * 0.02  # the stripes are gone
    if plane == 3:  # the photon noise of single pixels has no weight
        np.testing.assert_array_equal(spoilt, good)


NOISE = 0.01


def striped(shape, n_outputs, seed):
    """White noise on a sky, stripes of a rate image, and the generator that has drawn them."""
    rng = np.random.default_rng(seed)
    rows = one_over_f_frame(
        shape, n_outputs=n_outputs, fast_axis=-1, slow_axis=2, rng=rng, amplitude=0.15 * NOISE
    )
    return rng.normal(0.2, NOISE, shape), rows, rng


def destriped(image, n_outputs):
    """The image without its stripes, and what was found."""
    cleaned = image.astype(np.float32)[np.newaxis]
    variance = np.full(cleaned.shape, NOISE**2 / 2, np.float32)
    layout = ReadoutLayout.from_keywords(
        image.shape, fast_axis=-1, slow_axis=2, n_outputs=n_outputs
    )
    dq = np.zeros(cleaned.shape, np.uint32)
    return cleaned[0], destripe_inplace(cleaned, dq, variance, variance, layout)


def test_strong_columns_leave_no_trace():
    """Of half the noise of a pixel: they were taken for light, and spoilt the rows."""
    white, rows, rng = striped((512, 512), n_outputs=4, seed=11)
    columns = np.outer(np.ones(512), rng.normal(0, 0.5 * NOISE, 512))
    errors = []
    for added in (np.zeros_like(columns), columns):
        cleaned, _ = destriped(white + rows + added, n_outputs=4)
        errors.append(np.std((cleaned - white).reshape(32, 16, 32, 16).mean(axis=(1, 3))))
    assert errors[0] < 0.06 * NOISE
    assert errors[1] < 1.1 * errors[0]


def test_a_galaxy_over_half_of_the_image_is_no_column():
    """The medians of its columns scatter, too: nothing was subtracted then, or bars were."""
    shape = (384, 384)
    white, rows, _ = striped(shape, n_outputs=1, seed=3)
    y, x = np.indices(shape)
    radius = np.hypot(y - 0.4 * shape[0], x - 0.3 * shape[1]) + 1
    angle = np.arctan2(y - 0.4 * shape[0], x - 0.3 * shape[1])
    arms = np.maximum(1 + 2 * np.cos(2 * angle - 4 * np.log(radius)), 0.05)
    galaxy = 100 * NOISE * np.exp(-radius / 75) * arms
    cleaned, found = destriped(white + rows + galaxy, n_outputs=1)
    assert not found.hidden
    blank = galaxy < NOISE
    assert np.std((cleaned - white - galaxy)[blank]) < 0.95 * np.std(rows[blank])


def spike(y, x):
    """A star whose light falls off slowly along the rows, on both sides."""
    across = 20 * np.exp(-np.abs(x - 150) / 90) * np.exp(-0.5 * ((y - 140) / 1.2) ** 2)
    return across + 2000 * (1 + np.hypot(y - 140, x - 150) ** 2 / 4) ** -2.2


def edge_on(y, x):
    """A galaxy seen from the side that fills the rows of an output."""
    return 15 * np.exp(-np.abs(x - 150) / 50) * np.cosh((y - 140) / 3) ** -2


@pytest.mark.parametrize(("thin", "n_outputs"), [(spike, 1), (spike, 4), (edge_on, 4)])
def test_thin_light_along_rows_is_no_stripe(thin, n_outputs):
    """The median of its rows passed for a stripe, so that the search did not see it."""
    lost = []
    for seed in (1, 2):
        white, rows, _ = striped((320, 320), n_outputs, seed)
        light = NOISE * thin(*np.indices(white.shape))
        cleaned, _ = destriped(white + rows + light, n_outputs)
        seen = (light > 0.5 * NOISE) & (light < 8 * NOISE)
        error = cleaned - white - light
        lost.append(error[seen].mean() - error[light < 0.1 * NOISE].mean())
    assert abs(np.mean(lost)) < 0.3 * NOISE  # was 1.3 to 2.3


def test_errors_under_masks_are_drawn_once(monkeypatch):
    """After the last of the fits that tilted stripes need."""
    drawn = []

    def masked_variance(learnt, *_):
        drawn.append(learnt)
        return np.zeros(SHAPE, np.float32)

    monkeypatch.setattr(LearntStripes, "masked_variance", masked_variance)
    arrays = [array[np.newaxis].copy() for array in exposure()]
    layout = ReadoutLayout.from_keywords(SHAPE, fast_axis=1, slow_axis=2, n_outputs=1)
    destripe_inplace(*arrays, layout, settings=StripeSettings(tilted_angles=(30.0,)))
    assert len(drawn) == 1


def crowded(shape, n_stars, rng):
    """Stars all over, whose wings leave no sky."""
    y, x = (np.abs(np.fft.fftfreq(size, 1 / size)) for size in shape)
    star = (1 + np.add.outer(y**2, x**2) / 4) ** -1.6
    light = np.zeros(shape)
    places = tuple(rng.integers(size, size=n_stars) for size in shape)
    np.add.at(light, places, 10 * NOISE * rng.lognormal(0, 1.6, n_stars))
    return np.fft.irfft2(np.fft.rfft2(light) * np.fft.rfft2(star / star.sum()), shape)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_stripes_are_seen_between_the_stars_of_a_crowded_field(seed):
    """Light hides them from the model, and they were left as they were."""
    white, rows, rng = striped((320, 320), n_outputs=1, seed=seed)
    light = crowded(white.shape, 6000, rng)
    cleaned, found = destriped(white + rows + light, n_outputs=1)
    left, before = (
        image.reshape(20, 16, 20, 16).mean(axis=(1, 3)).std()
        for image in (cleaned - white - light, rows)
    )
    assert not found.hidden
    assert left < 0.7 * before


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_light_of_a_crowded_field_is_no_stripe(seed):
    white, _, rng = striped((320, 320), n_outputs=1, seed=seed)
    image = (white + crowded(white.shape, 6000, rng)).astype(np.float32)
    assert not levels_beside_light(image, image > np.median(image) + 3 * NOISE, 1).any()


@pytest.mark.parametrize(("shape", "n_outputs"), [((5, 1), 1), ((40, 10), 4), ((4, 64), 1)])
def test_frames_of_a_few_pixels_have_no_levels(shape, n_outputs):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    levels = levels_beside_light(image, np.zeros(shape, bool), n_outputs)
    np.testing.assert_array_equal(levels, np.zeros((shape[0], n_outputs)))
