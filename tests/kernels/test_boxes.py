"""Means in boxes: those of scipy."""

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels.boxes import box_mean


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 15, 31])
@pytest.mark.parametrize("shape", [(150, 90), (64, 64), (5, 200), (129, 3)])
def test_means_are_those_of_scipy(size, shape):
    image = np.random.default_rng(size).normal(3, 1, shape).astype(np.float32)
    expected = ndimage.uniform_filter(image.astype(float), size, mode="constant")
    found = box_mean(image, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-6)


def test_image_is_left_as_it_is():
    image = np.ones((20, 20), np.float32)
    assert box_mean(image, 7)[10, 10] == pytest.approx(1)
    assert (image == 1).all()
