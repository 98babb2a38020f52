"""Boolean median and dilation with a disc, against the plain filters of scipy."""

import numpy as np
import pytest
from astropy.convolution import Tophat2DKernel
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ceers_steps.kernels.discs import dilate, disc, disc_filled, disc_median


def clumps(shape, filled, seed, width=1.5):
    """Patches of True about `width` pixels in size that fill a part of the image."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), width)
    return noise <= np.quantile(noise, filled)


images = st.builds(
    clumps,
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([0.02, 0.3, 0.5, 0.7, 1.0]),
    st.integers(0, 10_000),
)


@pytest.mark.parametrize("radius", [1, 2, 7, 15, 35])
def test_disc_is_the_published_one(radius):
    np.testing.assert_array_equal(disc(radius), Tophat2DKernel(radius).array > 0)
    assert disc(radius).sum() % 2 == 1  # the median is that of an odd number of pixels


@settings(max_examples=60, deadline=None)
@given(images, st.sampled_from([1, 3, 7, 15]))
def test_median_is_that_of_scipy(image, radius):
    # scipy miscounts where the disc reaches beyond the reflection of a small image
    padded = np.pad(image, radius, mode="symmetric").astype(np.uint8)
    expected = ndimage.median_filter(padded, footprint=disc(radius)) > 0
    np.testing.assert_array_equal(
        disc_median(image, radius), expected[radius:-radius, radius:-radius]
    )


@settings(max_examples=60, deadline=None)
@given(images, st.sampled_from([0, 1, 3, 7, 15]))
def test_dilation_is_that_of_scipy(image, radius):
    np.testing.assert_array_equal(
        dilate(image, radius), ndimage.binary_dilation(image, disc(radius))
    )


def test_filled_counts_more_than_the_fraction():
    image = np.zeros((21, 21), bool)
    image[:, 10:] = True  # along column 10, 5 x 5 = 25 - 4 pixels of the disc of radius 2: 8 + 5
    assert disc(2).sum() == 13
    assert disc_filled(image, 2, 8.9 / 13)[10, 10]
    assert not disc_filled(image, 2, 9 / 13)[10, 10]
