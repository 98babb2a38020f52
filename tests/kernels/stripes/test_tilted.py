"""Stripes along lines of any direction: found where they are, nothing where they are not."""

import numpy as np
import pytest

from ceers_steps.kernels.stripes.exposure import StripeSettings, destripe_inplace
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.tilted import stripes_along, tilted_stripes

NOISE = 0.02
ANGLES = (30.0, 150.0)
SIZE = 512
SHAPE = (SIZE, SIZE)
Y, X = np.mgrid[:SIZE, :SIZE]


def lines(angle, width, sigma, seed):
    """Return a random level for each line of a direction."""
    radians = np.deg2rad(angle)
    number = np.floor((Y * np.cos(radians) - X * np.sin(radians)) / width).astype(int)
    number -= number.min()
    return np.random.default_rng(seed).normal(0.0, sigma, number.max() + 1)[number]


def block_means(image, size=16):
    return image.reshape(len(image) // size, size, -1, size).mean(axis=(1, 3))


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 150.0])
def test_tilted_stripes(angle):
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:300, :300]
    radians = np.deg2rad(angle)
    pattern = 0.004 * np.sin((y * np.cos(radians) - x * np.sin(radians)) / 3.0)
    noise = rng.normal(0, NOISE, pattern.shape)
    mask = rng.random(pattern.shape) < 0.2
    fit = tilted_stripes(noise + pattern, mask, angle)
    # a line of 300 pixels, most are shorter; 10% for rounding to whole lines
    line_noise = NOISE / np.sqrt(0.8 * 200)
    assert np.std(fit - pattern) < np.hypot(line_noise, 0.1 * 0.004)
    assert abs(np.mean(fit[~mask], dtype=float)) < 1e-6 * NOISE
    other = tilted_stripes(noise + pattern, mask, angle + 60.0)
    assert np.std(other) < 0.3 * np.std(pattern)


def test_no_tilted_stripes_leaves_next_to_nothing():
    noise = np.random.default_rng(5).normal(0, NOISE, (300, 300))
    fit = tilted_stripes(noise, np.zeros(noise.shape, bool), 30.0)
    # far below the error of a line's mean, which is what an unshrunk estimate would add
    assert np.std(fit) < 0.3 * NOISE / np.sqrt(300)


@pytest.mark.parametrize("width", [1, 4, 20])
def test_stripes_of_any_width(width):
    """As much is removed as was added, and what is left is the noise of the levels."""
    noise = np.random.default_rng(1).normal(0.0, NOISE, SHAPE)
    pattern = sum(lines(angle, width, NOISE, seed) for seed, angle in enumerate(ANGLES))
    fit = stripes_along(noise + pattern, np.zeros(SHAPE, bool), ANGLES)
    shorter = np.abs(Y - X * np.tan(np.pi / 6) - 108) < 250  # no corners, where lines are short
    shorter &= np.abs(Y + X * np.tan(np.pi / 6) - 404) < 250
    mean = pattern[shorter].mean()
    slope = np.polyfit(pattern[shorter] - mean, fit[shorter], 1)[0]
    assert slope > 0.9
    # two levels from 250 pixels each (lines are half a pixel wide), twice that for narrow stripes,
    # whose edges lie between lines
    expected = NOISE * np.sqrt(2 / 250)
    error = np.std((fit - pattern)[shorter])
    assert error < (4 if width == 1 else 2) * expected < 0.3 * np.std(pattern[shorter])


def test_few_narrow_stripes():
    """Most lines have none: the variance over all of them says nothing about the others."""
    noise = np.random.default_rng(2).normal(0.0, NOISE, SHAPE)
    distance = Y * np.cos(np.pi / 6) - X * np.sin(np.pi / 6)
    striped = np.abs(distance - 100) < 2
    fit = stripes_along(noise + striped * NOISE, np.zeros(SHAPE, bool), ANGLES)
    assert np.mean(fit[striped]) > 0.9 * NOISE
    far = np.abs(distance - 100) > 50
    assert np.std(fit[far]) < 0.05 * NOISE


@pytest.mark.parametrize("sky", ["flat", "slope", "galaxy"])
def test_nothing_where_there_is_none(sky):
    """The trend of the sky is no stripe, and neither is a galaxy that nobody has masked."""
    image = np.random.default_rng(3).normal(0.0, NOISE, SHAPE)
    if sky == "slope":
        image += NOISE * (Y + X) / SIZE
    elif sky == "galaxy":
        image += NOISE * np.exp(-np.hypot(Y - 200, X - 280) / 30.0)
    fit = stripes_along(image, np.zeros(SHAPE, bool), ANGLES)
    assert np.std(block_means(fit)) < 0.02 * NOISE


def test_lines_with_too_few_pixels_are_left_alone():
    noise = np.random.default_rng(4).normal(0.0, NOISE, SHAPE)
    pattern = lines(30.0, 4, NOISE, 5)
    mask = np.zeros(SHAPE, bool)
    short = (Y > 440) & (X < 70)
    fit = tilted_stripes(noise + pattern, mask, 30.0)
    corner = (Y > 495) & (X < 15)  # lines of at most 60 pixels, half of them each
    assert not fit[corner].any()
    assert fit[short].any()
    distance = Y * np.cos(np.pi / 6) - X * np.sin(np.pi / 6)
    covered = np.abs(distance - 50) < 4
    mask[covered & (np.arange(SIZE) > 40)] = True
    fit = tilted_stripes(noise + pattern, mask, 30.0)
    assert not fit[np.abs(distance - 50) < 3].any()


@pytest.mark.parametrize("method", ["wiener", "median"])
def test_an_exposure_with_strong_stripes(method):
    """Sources are found behind stripes that are taken for sources; their flux and the sky stay."""
    layout = ReadoutLayout(SHAPE, n_outputs=4)
    rng = np.random.default_rng(6)
    light = np.zeros(SHAPE)
    for y, x in rng.uniform(30, SIZE - 30, (20, 2)):
        light += 50 * NOISE * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * 2.5**2))
    rows = rng.normal(0.0, NOISE, (SIZE, 1))
    pattern = lines(30.0, 6, 2 * NOISE, 7) + lines(150.0, 3, 0.5 * NOISE, 8)
    noise = rng.normal(0.0, NOISE, SHAPE)
    zero, dq = np.zeros((1, *SHAPE), np.float32), np.zeros((1, *SHAPE), np.uint32)

    def destripe(image, angles):
        image = image[np.newaxis].astype(np.float32)
        settings = StripeSettings(method=method, tilted_angles=angles)
        found = destripe_inplace(image, dq, zero + NOISE**2, zero, layout, settings=settings)
        return image[0], found.bits

    without, bits = destripe(0.3 + light + rows + noise, ())
    cleaned, other_bits = destripe(0.3 + light + rows + noise + pattern, ANGLES)
    core = light > 10 * NOISE
    assert np.mean(other_bits[core] > 1) > 0.95
    sky = bits == 0
    left = cleaned - without
    # an offset common to all pixels is sky: that of the stripes stays
    assert left[sky].mean() == pytest.approx(pattern[sky].mean(), abs=0.1 * NOISE)
    left -= left[sky].mean()
    middle = np.hypot(Y - 256, X - 256) < 200
    # half of the 250 pixels of a line are masked, in two directions; rows take a part
    expected = NOISE * np.sqrt(2 / 125)
    assert np.std(left[sky & middle]) < 2.5 * expected < 0.2 * np.std(pattern)
    # what is left is no more in sources than elsewhere: 20 places of 100 pixels
    bright = light > 3 * NOISE
    assert abs(left[bright].mean()) < 3 * 2.5 * expected / np.sqrt(20)


def test_nothing_usable():
    with pytest.raises(ValueError, match="no usable pixel"):
        tilted_stripes(np.full((8, 8), np.nan), np.zeros((8, 8), bool), 30.0)


def test_a_constant_image():
    assert not tilted_stripes(np.ones(SHAPE), np.zeros(SHAPE, bool), 30.0).any()
