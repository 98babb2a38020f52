"""Both methods behind one answer: what they share, and what sets them apart."""

import numpy as np
import pytest

from ceers_steps.kernels.blocks import block_sum
from ceers_steps.kernels.stripes.frame import (
    add_tilted,
    find_by_median,
    find_by_wiener,
    with_zero_mean,
)
from ceers_steps.kernels.stripes.median import flatten, median_stripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.simulate.detector.noise import one_over_f_frame

NOISE, SKY = 0.02, 0.3
LAYOUT = ReadoutLayout((256, 256), n_outputs=4)


def scene(seed=1):
    """Sky through a flat field, 1/f stripes in read-out order, columns: rate, flat, stripes."""
    rng = np.random.default_rng(seed)
    n = LAYOUT.shape[0] * LAYOUT.row_ticks
    frequency = np.fft.rfftfreq(n)
    root = np.zeros_like(frequency)
    root[1:] = frequency[1:] ** -0.5
    white = np.fft.rfft(rng.normal(0, 0.1 * NOISE, (LAYOUT.n_outputs, n)))
    stripes = LAYOUT.to_image(np.fft.irfft(root * white, n))
    stripes = stripes + rng.normal(0, 0.002, LAYOUT.shape[1])
    stripes -= stripes.mean()
    flat = rng.normal(1.0, 0.02, LAYOUT.shape)
    rate = SKY * flat + stripes + rng.normal(0, NOISE, LAYOUT.shape)
    return rate.astype(np.float32), flat.astype(np.float32), stripes


def find(method, rate, mask, flat):
    if method == "median":
        return find_by_median(rate, mask, LAYOUT.n_outputs, flat=flat)
    return find_by_wiener(rate, mask, 1.0, LAYOUT, flat=flat)


@pytest.mark.parametrize("method", ["median", "wiener"])
def test_parts_add_up_to_the_image(method):
    rate, flat, _ = scene()
    mask = np.random.default_rng(2).random(rate.shape) < 0.1
    flat[3, 4] = np.nan
    stripes = find(method, rate, mask, flat)
    assert stripes.tilted is None
    usable = ~mask & np.isfinite(flat)
    assert np.isnan(stripes.rest[3, 4])
    assert abs(np.mean(stripes.rest[usable], dtype=float)) < 4 * NOISE / np.sqrt(usable.sum())
    assert stripes.sky == pytest.approx(SKY, abs=5 * NOISE / np.sqrt(usable.sum()) + 1e-3)
    # what is left is white noise and the error of the stripes, below a third of it
    assert NOISE * 0.97 < np.std(stripes.rest[usable]) < NOISE * np.hypot(1, 1 / 3)


def test_stripes_and_columns_are_found():
    rate, flat, truth = scene()
    mask = np.zeros(rate.shape, bool)
    left = {m: find(m, rate, mask, flat).total - truth for m in ("median", "wiener")}
    error = {method: np.std(stripes) for method, stripes in left.items()}
    # columns: 256 pixels each; rows of an output: medians of 64 against the time series
    column_error = NOISE / np.sqrt(256)
    assert error["median"] > np.hypot(column_error, NOISE / np.sqrt(64))
    assert error["wiener"] < error["median"]
    # of single samples some noise is returned to them: what counts is left in sums of 4 x 4
    error = {method: np.std(block_sum(stripes, 4)) for method, stripes in left.items()}
    assert error["wiener"] < 0.8 * error["median"]


def test_median_is_median_stripes():
    rate, flat, _ = scene()
    mask = np.random.default_rng(2).random(rate.shape) < 0.1
    for published in (False, True):
        stripes = find_by_median(
            rate, mask, 4, flat=flat, mask_threshold=0.5, published_pedestal=published
        )
        zero = median_stripes(flatten(rate, flat), mask, 4, 0.5)
        difference = stripes.total - zero.total
        assert np.ptp(difference) < 1e-6
        if published:
            # the fitted peak and the mean of medians agree within the noise of both
            assert 0 < abs(difference.mean()) < 0.01 * NOISE
        else:
            assert abs(difference.mean()) < 1e-7


def test_zero_mean():
    rate, flat, _ = scene()
    mask = np.random.default_rng(2).random(rate.shape) < 0.1
    where = np.zeros(rate.shape, bool)
    where[:100] = True
    before = find("wiener", rate, mask, flat)
    after = with_zero_mean(before, where)
    assert abs(np.mean(after.total[where], dtype=float)) < 1e-6 * NOISE
    np.testing.assert_allclose(after.total + after.rest, before.total + before.rest, atol=1e-6)
    assert with_zero_mean(before, np.zeros_like(where)) is before


def test_tilted_come_on_top():
    rate, flat, _ = scene()
    mask = np.zeros(rate.shape, bool)
    y, x = np.mgrid[: rate.shape[0], : rate.shape[1]]
    pattern = 0.3 * NOISE * np.sin((y * np.cos(np.pi / 6) - x * np.sin(np.pi / 6)) / 2.0)
    before = find("wiener", (rate + pattern).astype(np.float32), mask, flat)
    after = add_tilted(before, mask, [30.0, 150.0])
    np.testing.assert_array_equal(after.horizontal, before.horizontal)
    # lines of 200 pixels on average
    assert np.std(after.tilted - pattern) < 1.5 * NOISE / np.sqrt(200) < 0.55 * np.std(pattern)
    np.testing.assert_allclose(after.total + after.rest, before.total + before.rest, atol=1e-6)


@pytest.mark.parametrize("method", ["median", "wiener"])
def test_nothing_usable(method):
    rate, flat, _ = scene()
    with pytest.raises(ValueError, match=r"no pixel|no usable|at least one finite"):
        find(method, rate, np.ones(rate.shape, bool), flat)


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("shape", [(4, 4), (8, 64), (64, 8), (4, 512), (512, 4), (8, 2048)])
def test_frames_too_small_to_hold_waves_of_all_directions_lose_a_part_of_their_stripes(
    shape, n_outputs
):
    before, after = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        stripes = one_over_f_frame(
            shape, n_outputs=n_outputs, fast_axis=-1, slow_axis=2, rng=rng, amplitude=1.0
        )
        stripes -= stripes.mean()
        image = (10 + stripes + rng.standard_normal(shape)).astype(np.float32)
        layout = ReadoutLayout(shape, n_outputs=n_outputs)
        found = find_by_wiener(image, np.zeros(shape, bool), 1.0, layout)
        before.append(stripes)
        after.append(stripes - found.total)
    # 4 pixels of a row, or outputs of a single column, need not tell any
    least = 1.0 if 4 in shape else 0.9
    assert np.std(after) <= least * np.std(before)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 4), (1, 512), (512, 1)])
def test_white_noise_in_the_smallest_frames_is_left_alone(shape):
    image = np.random.default_rng(6).standard_normal(shape, dtype=np.float32)
    layout = ReadoutLayout(shape, n_outputs=1)
    stripes = find_by_wiener(image, np.zeros(shape, bool), 1.0, layout)
    assert not stripes.horizontal.any()
