"""Striping from medians: the published recipe to rounding, and what ours adds."""

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.sources.tiers import mask_sources
from ceers_steps.kernels.stripes.median import (
    column_stripes,
    flatten,
    median_stripes,
    rough_stripes,
)
from ceers_steps.kernels.stripes.tilted import tilted_stripes

NOISE = 0.02
SKY = 0.3


def striped(shape=(200, 256), n_outputs=4, seed=1, output_sigma=0.004, common_sigma=0.002):
    """Sky, white noise, stripes along rows per output and along columns; image and stripes."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    rows = rng.normal(0, common_sigma, (ny, 1)) + rng.normal(0, output_sigma, (ny, n_outputs))
    stripes = np.repeat(rows, nx // n_outputs, axis=1) + rng.normal(0, 0.002, nx)
    image = SKY + rng.normal(0, NOISE, shape) + stripes
    return image.astype(np.float32), stripes


def holes(shape, seed=2):
    """A mask with scattered pixels and a block that covers all but little of one output."""
    mask = np.random.default_rng(seed).random(shape) < 0.1
    mask[60:80, 66:126] = True
    mask[120] = True
    mask[:, 30] = True
    return mask


def published(image, mask, threshold, pedestal):
    """The recipe of section 3.1 written as loops over rows, with astropy's clipped median."""

    def median(values, bad):
        if bad.all():
            return np.nan
        return sigma_clipped_stats(values[~bad].astype(float), sigma=2.0)[1]

    work = image.astype(float) - pedestal
    width = image.shape[1] // 4
    horizontal = np.zeros(image.shape)
    for row in range(image.shape[0]):
        for first in range(0, image.shape[1], width):
            part = slice(first, first + width)
            if mask[row, part].sum() > width * threshold:
                horizontal[row, part] = median(work[row], mask[row])
            else:
                horizontal[row, part] = median(work[row, part], mask[row, part])
    work -= horizontal
    # a row without any pixel to use has no median; it takes no part in the columns
    bad = mask | np.isnan(work)
    vertical = [median(work[:, x], bad[:, x]) for x in range(image.shape[1])]
    return horizontal, np.array(vertical)


@pytest.mark.parametrize("threshold", [0.0, 0.8])
def test_same_as_the_published_recipe(threshold):
    image, _ = striped()
    mask = holes(image.shape)
    horizontal, vertical = published(image, mask, threshold, SKY)
    fit = median_stripes(image, mask, 4, threshold, SKY)
    # single precision of a value of 0.3: 3e-8, after three subtractions
    np.testing.assert_allclose(fit.horizontal, np.nan_to_num(horizontal), atol=2e-7)
    np.testing.assert_allclose(fit.vertical, np.nan_to_num(vertical), atol=2e-7)
    assert np.isnan(horizontal[120]).all()
    assert np.isnan(vertical[30])
    assert fit.threshold == threshold


def test_kept_sky_and_published_sky_differ_by_a_constant():
    image, _ = striped()
    mask = holes(image.shape)
    kept, given = (median_stripes(image, mask, 4, 0.8, level) for level in (None, SKY))
    usable = ~mask
    usable[120] = usable[:, 30] = False
    assert abs(np.mean(kept.total[usable], dtype=float)) < 1e-4 * SKY * 0.01
    difference = (kept.total - given.total)[usable]
    assert np.ptp(difference) < 3e-7


def test_stripes_are_recovered():
    image, stripes = striped()
    mask = np.random.default_rng(3).random(image.shape) < 0.2
    fit = median_stripes(image, mask, 4)
    error = fit.total - stripes
    # clipped medians of 51 pixels along rows and of 160 along columns
    # (the variance of a median of values clipped at 2 sigma is 2.4 to 2.7 times that of a mean)
    expected = NOISE * np.sqrt(2.5 / 51 + 2.6 / 160)
    assert np.std(error) == pytest.approx(expected, rel=0.1)
    assert np.array_equal(fit.full_rows, [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("output_sigma", "usable", "whole"),
    [
        # outputs that differ by 5 sigma of a pixel need only a pixel or two of their own
        (0.1, 4, False),
        # outputs that are all alike: the whole row knows more, however few are masked
        (0.0, 4, True),
        (0.0, 32, True),
        # 4 pixels give about 0.01; the others differ by 0.004 times 1.15
        (0.004, 4, True),
    ],
)
def test_automatic_threshold_takes_the_smaller_error(output_sigma, usable, whole):
    image, stripes = striped((400, 256), output_sigma=output_sigma)
    mask = np.zeros(image.shape, bool)
    mask[100:160, 64 + usable : 128] = True
    fit = median_stripes(image, mask, 4, None)
    used = int(fit.full_rows[1])
    assert used >= 60 if whole else used == 0
    forced = median_stripes(image, mask, 4, 0.0 if whole else 0.99)
    worst = median_stripes(image, mask, 4, 0.99 if whole else 0.0)
    rms = [np.std((f.total - stripes)[100:160, 64:128]) for f in (fit, forced, worst)]
    assert rms[0] == pytest.approx(rms[1], rel=0.05)
    assert rms[0] < rms[2]


def test_automatic_threshold_is_not_moved_by_a_source():
    """It rests on what the noise does, so that real flux in some rows does not decide."""
    image, _ = striped((800, 256), output_sigma=0.01)
    mask = np.zeros(image.shape, bool)
    mask[100:160, 70:128] = True
    before = median_stripes(image, mask, 4, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    source = 50 * NOISE * np.exp(-np.hypot(y - 250, x - 100) / 6)
    after = median_stripes((image + source).astype(np.float32), mask, 4, None)
    # 180 blocks of rows give their spread to 5%, and 4 of the blocks hold the source
    assert after.threshold == pytest.approx(before.threshold, abs=0.05)


def test_one_output():
    image, stripes = striped((160, 160), n_outputs=1)
    mask = np.zeros(image.shape, bool)
    for threshold in (None, 0.0, 0.8):
        fit = median_stripes(image, mask, 1, threshold)
        assert fit.full_rows.tolist() in ([0], [160 if threshold == 0.0 else 0])
        assert np.std(fit.total - stripes) < 1.1 * NOISE * np.sqrt(2 * 2.6 / 160)


@settings(deadline=None, max_examples=20)
@given(shift=st.integers(-64, 64), seed=st.integers(0, 1000))
def test_row_stripes_do_not_depend_on_the_sky(shift, seed):
    image, _ = striped((24, 32), seed=seed)
    # multiples of 2**-14: single precision holds the sum with a shift exactly
    image = np.round(image * 2**14) / np.float32(2**14)
    mask = np.random.default_rng(seed).random(image.shape) < 0.3
    before = median_stripes(image, mask, 4)
    after = median_stripes(image + np.float32(shift), mask, 4)
    # the level itself is single precision: 4e-6 at 64
    np.testing.assert_allclose(after.horizontal, before.horizontal, atol=1e-5)


def test_nothing_usable():
    image, _ = striped((16, 16))
    with pytest.raises(ValueError, match="no usable pixel"):
        median_stripes(image, np.ones(image.shape, bool), 4)
    with pytest.raises(ValueError, match="no usable pixel"):
        column_stripes(np.full((8, 8), np.nan), np.zeros((8, 8), bool))
    with pytest.raises(ValueError, match="n_outputs=3"):
        median_stripes(image, np.zeros(image.shape, bool), 3)


def test_nan_is_masked():
    image, _ = striped()
    mask = holes(image.shape)
    dirty = np.where(mask, np.nan, image)
    expected = median_stripes(image, mask, 4)
    result = median_stripes(dirty, np.zeros_like(mask), 4)
    np.testing.assert_array_equal(result.total, expected.total)


def test_columns_are_lines_at_ninety_degrees():
    rng = np.random.default_rng(7)
    stripes = rng.normal(0, 0.004, 200)
    image = stripes + rng.normal(0, NOISE, (300, 200))
    image[50, 60] = np.nan
    mask = rng.random(image.shape) < 0.3
    mask[:, 20] = True
    fit = column_stripes(image, mask)
    expected = tilted_stripes(image, mask, 90.0)
    # two estimates from the same pixels: their differences are a part of the noise of both
    assert np.ptp(expected, axis=0).max() == 0
    assert np.std(np.delete(fit - expected[0], 20)) < 0.5 * NOISE / np.sqrt(0.7 * 300)
    error = np.delete(fit - stripes, 20)
    # a mean cut at 2 sigma is nearly as good as the mean
    assert np.std(error) < 1.15 * NOISE / np.sqrt(0.7 * 300)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_columns_nothing_is_subtracted(seed):
    """Neither noise nor unmasked light, smooth over some columns, is a stripe along columns."""
    image = np.random.default_rng(seed).normal(0, 1, (64, 512)).astype(np.float32)
    light = 0.5 * np.sin(np.arange(512, dtype=np.float32) / 8)
    nothing = np.zeros(image.shape, bool)
    assert not column_stripes(image, nothing).any()
    assert not column_stripes(image + light, nothing).any()


def test_rough_stripes_bring_out_hidden_sources():
    """A faint wide source, lost in stripes, is found once they are roughly gone."""
    image, stripes = striped((512, 512), output_sigma=0.012)
    y, x = np.mgrid[:512, :512]
    light = 0.3 * NOISE * np.exp(-((y - 260.0) ** 2 + (x - 250.0) ** 2) / (2 * 20.0**2))
    image += light.astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[7] = True
    rough = rough_stripes(image, bad, 4)
    # clipped medians of 128 pixels; stripes along columns (0.002) are not looked for
    expected = np.hypot(NOISE * np.sqrt(2.6 / 128), 0.002)
    assert np.std((rough - stripes)[8:]) < 1.1 * expected < 0.6 * np.std(stripes)
    assert not rough[7].any()
    core = light > 0.15 * NOISE
    found = [np.mean(mask_sources(im, bad)[core] > 1) for im in (image, image - rough)]
    assert found[1] > 0.9 > 0.5 > found[0]


@pytest.mark.parametrize(("n_rows", "left"), [(1, False), (3, True), (12, True), (30, False)])
def test_rough_stripes_leave_thin_light(n_rows, left):
    """A few rows that stand out are light; one is a fault of the read-out, many are no line."""
    rng = np.random.default_rng(5)
    image = rng.normal(0, 0.1, (200, 1)) + rng.normal(0, 1, (200, 256))
    image[80 : 80 + n_rows] += 3
    rough = rough_stripes(image.astype(np.float32), np.zeros(image.shape, bool), 1)
    taken = rough[80 : 80 + n_rows].mean()
    assert taken < 0.3 if left else taken > 2.7


@pytest.mark.parametrize("lost", [0.3, 0.6])
def test_rough_stripes_where_rows_are_lost(lost):
    """Rows of which nothing is known do not tell how much levels scatter: 0.6 left nearly half."""
    rng = np.random.default_rng(5)
    levels = rng.normal(0, 1, (200, 1)).astype(np.float32)
    bad = np.zeros((200, 256), bool)
    bad[: int(lost * len(bad))] = True
    rough = rough_stripes(levels + rng.normal(0, 0.5, bad.shape).astype(np.float32), bad, 1)
    assert np.std((rough - levels)[~bad]) < 0.1


def test_rough_stripes_of_nothing():
    assert not rough_stripes(np.ones((8, 8)), np.ones((8, 8), bool), 4).any()


def test_flatten():
    flat = np.array([[1.0, 0.5, 0.0], [np.nan, -1.0, 2.0]])
    image = np.ones((2, 3), np.float32)
    expected = [[1.0, 2.0, np.nan], [np.nan, np.nan, 0.5]]
    np.testing.assert_array_equal(flatten(image, flat), expected)
