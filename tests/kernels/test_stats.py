"""Robust statistics against astropy's, which are slower and independent."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy import stats
from hypothesis import given, settings
from hypothesis import strategies as st

import ceers_steps
from ceers_steps.kernels import stats as robust


@pytest.fixture
def values():
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 0.02, 20_001)
    values[:400] += rng.exponential(1.0, 400)
    return values


def test_same_as_astropy(values):
    assert robust.biweight_location(values) == pytest.approx(stats.biweight_location(values), 1e-9)
    assert robust.biweight_scale(values) == pytest.approx(stats.biweight_scale(values), 1e-9)
    assert robust.mad_sigma(values) == pytest.approx(stats.mad_std(values), 1e-9)


@pytest.mark.parametrize(("sigma", "iterations"), [(2.0, 5), (3.0, 10), (3.0, 1)])
def test_clipped_stats_same_as_astropy(values, sigma, iterations):
    mean, median, std = stats.sigma_clipped_stats(values, sigma=sigma, maxiters=iterations)
    clipped = robust.clipped_stats(values, sigma, iterations)
    kept = stats.sigma_clip(values, sigma=sigma, maxiters=iterations, masked=False)
    assert clipped.mean == pytest.approx(mean, rel=1e-9)
    assert clipped.median == pytest.approx(median, rel=1e-9)
    assert clipped.std == pytest.approx(std, rel=1e-7)
    assert clipped.n == kept.size


@pytest.mark.parametrize("statistic", [robust.biweight_location, robust.mad_sigma])
def test_nan_and_infinity_are_left_out(values, statistic):
    dirty = np.concatenate([values, [np.nan, np.inf, -np.inf]])
    assert statistic(dirty) == statistic(values)
    assert np.isnan(statistic(np.array([np.nan])))


def test_constant_values():
    assert robust.biweight_location(np.full(10, 2.5)) == 2.5
    assert robust.biweight_scale(np.full(10, 2.5)) == 0.0
    assert robust.clipped_stats(np.full(10, 2.5)) == robust.ClippedStats(2.5, 2.5, 0.0, 10)


def test_nothing_to_measure():
    assert np.isnan(robust.biweight_scale(np.array([np.nan])))
    empty = robust.clipped_stats(np.array([np.nan]))
    assert np.isnan(empty.mean)
    assert empty.n == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_medians_same_as_astropy(dtype):
    rng = np.random.default_rng(2)
    image = rng.normal(5.0, 0.02, (40, 301)).astype(dtype)
    image[rng.random(image.shape) < 0.1] += 0.3
    mask = rng.random(image.shape) < 0.3
    mask[7] = True
    mask[8, 1:] = True
    mask[9, 2:] = True
    image[11, ::3] = np.nan
    given_image, given_mask = image.copy(), mask.copy()
    result = robust.clipped_row_medians(image, mask)
    # astropy sees single precision too, so that both compare the same numbers with the bounds
    expected = [
        np.nan
        if not (keep := np.isfinite(row) & ~bad).any()
        else stats.sigma_clipped_stats(row[keep].astype(np.float32).astype(float), sigma=2.0)[1]
        for row, bad in zip(image, mask, strict=True)
    ]
    # astropy's default number of passes is 5, as in the published recipe
    np.testing.assert_allclose(result, expected, rtol=3e-7)
    assert np.isnan(result[7])
    np.testing.assert_array_equal(image, given_image)
    np.testing.assert_array_equal(mask, given_mask)


@settings(deadline=None, max_examples=30)
@given(
    shift=st.floats(-100.0, 100.0),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_row_medians_move_with_the_image(shift, width, seed):
    rng = np.random.default_rng(seed)
    # multiples of a power of two: adding a constant is then exact
    image = np.round(rng.normal(0, 1, (5, width)) * 64) / 64
    shift = np.round(shift * 64) / 64
    mask = rng.random(image.shape) < 0.2
    before = robust.clipped_row_medians(image, mask)
    after = robust.clipped_row_medians(image + shift, mask)
    np.testing.assert_allclose(after, before + shift, atol=1 / 128)


@pytest.mark.parametrize("size", [1, 100, 10_000, 10**7])
def test_subsample_is_large_enough_and_spread(size):
    image = np.arange(200 * 300).reshape(200, 300)
    sample = robust.subsample(image, size)
    assert min(size, image.size) <= sample.size <= max(2 * size + 1, 2)
    assert np.all(np.diff(sample) == sample[1] - sample[0]) if sample.size > 1 else True
    if 100 <= size < image.size:
        assert np.unique(sample % 300).size > 50


def test_row_biweights_same_as_astropy():
    rng = np.random.default_rng(3)
    values = rng.normal(5.0, 0.02, (60, 101))
    values[rng.random(values.shape) < 0.05] += 1.0
    values[rng.random(values.shape) < 0.3] = np.nan
    values[5] = np.nan
    values[6] = 4.0
    location, count = robust.clipped_row_biweights(values, sigma=3.0)
    assert np.isnan(location[5])
    assert count[5] == 0
    for row, result, n in zip(values, location, count, strict=True):
        if np.isnan(result):
            continue
        kept = stats.sigma_clip(row[np.isfinite(row)], sigma=3.0, maxiters=10, masked=False)
        assert n == kept.size
        np.testing.assert_allclose(result, stats.biweight_location(kept), rtol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_medians_without_nan(axis, dtype):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(7, 8, 9)).astype(dtype)
    values[rng.random(values.shape) < 0.4] = np.nan
    found = robust.nan_median(values, axis)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.nanmedian(values, axis=axis))
    lower = robust.nan_median(values, axis, lower=True)
    known = np.apply_along_axis(lambda v: np.sort(v)[(np.isfinite(v).sum() - 1) // 2], axis, values)
    np.testing.assert_array_equal(lower, known)


@pytest.mark.parametrize("n", [1, 2, 8, 12, 13])
def test_medians_along_a_few_large_planes(n):
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n, 130, 200)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, :3, :50] = np.nan
    values[0, 50:60] = -np.inf
    values[-1, 80:90] = np.inf
    before = values.copy()
    for lower in (False, True):
        # along the last axis nothing but numpy sorts
        expected = robust.nan_median(np.moveaxis(values, 0, 2), 2, lower=lower)
        np.testing.assert_array_equal(robust.nan_median(values, 0, lower=lower), expected)
    np.testing.assert_array_equal(values, before)


def test_median_of_nothing_is_nan():
    assert np.isnan(robust.nan_median(np.full((3, 2), np.nan), 0)).all()
    empty = robust.nan_median(np.zeros((0, 2, 3), np.float32), 0)
    assert empty.shape == (2, 3)
    assert np.isnan(empty).all()
    assert np.isnan(robust.finite_median(np.array([np.nan, np.inf])))
    assert robust.finite_median(np.array([[np.nan, 3.0], [1.0, -np.inf]])) == 2.0


def test_one_constant_from_deviations_to_sigma():
    """It is written once in the kernels, and once in the room that must do without them."""
    root = Path(ceers_steps.__file__).parent
    found = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        if re.search(r"1\.4826|0\.6745", path.read_text())
    ]
    assert found == ["figures/canvas.py", "kernels/stats.py", "validate/metrics.py"]
