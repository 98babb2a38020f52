"""Exposures combined one by one: the weighted mean, its variance, flags and context."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ceers_steps.kernels.mosaic.coadd import Coadd, context_planes

SHAPE = (6, 7)
EVERYWHERE = (slice(None), slice(None))


def exposures(count=5, seed=0):
    """Images, weights and variances, each of them seen in a part of the grid."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield (
            rng.normal(size=SHAPE).astype(np.float32),
            rng.uniform(1, 9, SHAPE).astype(np.float32),
            rng.random(SHAPE) < 0.6,
            rng.uniform(0.5, 2, SHAPE).astype(np.float32),
        )


def test_the_mean_is_weighted_and_empty_pixels_keep_the_fill_value():
    stack = Coadd(SHAPE, fill=-7.0)
    images, weights, seen, _ = map(np.array, zip(*exposures(), strict=True))
    seen[:, 0, 0] = False
    for number in range(len(images)):
        stack.add(EVERYWHERE, number, images[number], weights[number], seen[number], {})

    counted = weights * seen
    expected = np.divide(
        (images * counted).sum(axis=0),
        counted.sum(axis=0),
        out=np.full(SHAPE, -7.0),
        where=seen.any(axis=0),
    )
    # a few roundings of float32 in sums of five
    assert_allclose(stack.image, expected, rtol=0, atol=1e-6)
    assert_allclose(stack.weight, counted.sum(axis=0), rtol=1e-6)
    assert stack.context is None
    assert stack.flags is None


def test_weights_that_add_up_to_nothing_leave_no_warning():
    stack = Coadd((1, 1))
    one = np.ones((1, 1), np.float32)
    for weight in (1, -1, 2):  # kernels with negative lobes
        stack.add(EVERYWHERE, 0, one * weight, one * weight, one > 0, {})

    assert stack.weight[0, 0] == 2
    assert stack.image[0, 0] == 2


def test_variances_are_combined_as_jwst_does_and_bad_ones_do_not_count():
    stack = Coadd(SHAPE, variances=("read", "photon"))
    all_seen = np.ones(SHAPE, bool)
    total, weights = np.zeros(SHAPE), np.zeros(SHAPE)
    for number, (image, weight, _, variance) in enumerate(exposures()):
        if number == 2:
            variance[0, :4] = np.inf, np.nan, -1, 0
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / variance
        stack.add(
            EVERYWHERE, number, image, weight, all_seen, {"read": variance}, variance_weight=inverse
        )
        good = np.isfinite(inverse) & (inverse > 0)
        total[good] += 1 / variance[good]
        weights[good] += 1 / variance[good]

    assert_allclose(stack.variance("read"), total / weights**2, rtol=1e-6)
    assert np.all(np.isnan(stack.variance("photon")))
    assert_allclose(stack.error(), np.sqrt(total / weights**2), rtol=1e-6)


def test_the_error_is_unknown_only_where_no_variance_is_known():
    stack = Coadd((1, 3), variances=("read", "photon"))
    one = np.ones((1, 3), np.float32)
    nan = np.float32(np.nan)
    read = np.array([[4, 9, nan]], np.float32)
    photon = np.array([[5, nan, nan]], np.float32)
    stack.add(EVERYWHERE, 0, one, one, one > 0, {"read": read, "photon": photon})

    assert_allclose(stack.error(), [[3, 3, np.nan]])


@pytest.mark.parametrize("number", [0, 30, 31, 32, 69])
def test_every_exposure_has_its_bit(number):
    stack = Coadd(SHAPE, n_exposures=70)
    one = np.ones((2, 3), np.float32)
    where = (slice(1, 3), slice(2, 5))
    stack.add(where, number, one, one, one > 0, {})

    assert stack.context.shape == (context_planes(70), *SHAPE) == (3, *SHAPE)
    assert stack.context.dtype == np.int32
    plane = stack.context[number // 32].view(np.uint32)
    assert np.all(plane[where] == np.uint32(1) << np.uint32(number % 32))
    assert np.count_nonzero(stack.context) == 6


def test_flags_are_joined():
    stack = Coadd((1, 2), with_flags=True)
    one = np.ones((1, 2), np.float32)
    for flags in ([[1, 0]], [[4, 2]]):
        stack.add(EVERYWHERE, 0, one, one, one > 0, {}, flags=np.array(flags, np.uint32))

    assert stack.flags.tolist() == [[5, 2]]
