"""Sorting by a network: as numpy sorts."""

import numpy as np
import pytest

from ceers_steps.kernels.networks import sort_inplace


@pytest.mark.parametrize("n", range(18))
def test_planes_are_sorted_as_numpy_sorts(n):
    rng = np.random.default_rng(n)
    planes = rng.integers(-5, 5, (n, 40, 30)).astype(np.float32)  # with ties
    planes[rng.random(planes.shape) < 0.1] = np.inf
    expected = np.sort(planes, axis=0)
    sort_inplace(planes)
    np.testing.assert_array_equal(planes, expected)


@pytest.mark.parametrize("n", [2, 5, 8, 13])
def test_any_order_is_sorted(n):
    """A network that sorts all zeros and ones sorts everything (Knuth, 5.3.4)."""
    planes = (np.arange(2**n) >> np.arange(n)[:, None] & 1).astype(np.float32)
    sort_inplace(planes)
    assert (np.diff(planes, axis=0) >= 0).all()


def test_where_a_value_is_nan_the_last_one_is():
    rng = np.random.default_rng(3)
    planes = rng.normal(size=(7, 500))
    unknown = rng.random(planes.shape) < 0.1
    planes[unknown] = np.nan
    sort_inplace(planes)
    np.testing.assert_array_equal(np.isnan(planes[-1]), unknown.any(axis=0))
