"""Blocks of pixels against loops over them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.blocks import (
    as_blocks,
    block_median,
    block_sum,
    enlarged,
    enlarged_rows,
)

shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))


def image_of(shape):
    return np.random.default_rng(1).integers(0, 100, shape).astype(np.float32)


@settings(deadline=None)
@given(shapes, st.integers(1, 7), st.sampled_from(["cut", "edge", 3.0]))
def test_blocks_hold_their_pixels(shape, side, beyond):
    image = image_of(shape)
    blocks = as_blocks(image, side, beyond)
    rows, columns = (n // side if beyond == "cut" else -(-n // side) for n in shape)
    assert blocks.shape == (rows, columns, side, side)
    for at in np.ndindex(*blocks.shape):
        y, x = at[0] * side + at[2], at[1] * side + at[3]
        if y < shape[0] and x < shape[1]:
            assert blocks[at] == image[y, x]
        elif beyond == "edge":
            assert blocks[at] == image[min(y, shape[0] - 1), min(x, shape[1] - 1)]
        else:
            assert blocks[at] == beyond


@settings(deadline=None)
@given(shapes, st.integers(1, 9), st.sampled_from(["cut", "edge", 0.0]))
def test_sums_and_medians_are_those_of_the_blocks(shape, side, beyond):
    image = image_of(shape)
    blocks = as_blocks(image, side, beyond)
    np.testing.assert_array_equal(block_sum(image, side, beyond), blocks.sum(axis=(2, 3)))
    np.testing.assert_array_equal(
        block_median(image, side, beyond), np.median(blocks.reshape(*blocks.shape[:2], side**2), 2)
    )


def test_blocks_need_not_be_square():
    blocks = as_blocks(np.arange(24).reshape(4, 6), (2, 3))
    np.testing.assert_array_equal(blocks[1, 0], [[12, 13, 14], [18, 19, 20]])


def test_sum_of_a_mask_counts():
    mask = np.zeros((5, 4), bool)
    mask[0, :3] = mask[4, 0] = True
    np.testing.assert_array_equal(block_sum(mask, 2), [[2, 1], [0, 0]])
    np.testing.assert_array_equal(block_sum(mask, 2, beyond=0), [[2, 1], [0, 0], [1, 0]])


@settings(deadline=None)
@given(shapes, st.integers(1, 7), st.data())
def test_blocks_as_pixels_again(shape, side, data):
    blocks = image_of([-(-n // side) for n in shape])
    pixels = enlarged(blocks, side, shape)
    y, x = np.indices(shape)
    np.testing.assert_array_equal(pixels, blocks[y // side, x // side])
    start = data.draw(st.integers(0, shape[0] - 1))
    rows = slice(start, data.draw(st.integers(start + 1, shape[0])))
    np.testing.assert_array_equal(enlarged_rows(blocks, side, rows, shape[1]), pixels[rows])


@pytest.mark.parametrize("beyond", ["cut", 0.0])
def test_an_image_smaller_than_a_block(beyond):
    total = block_sum(np.ones((3, 3)), 4, beyond)
    assert total.shape == ((0, 0) if beyond == "cut" else (1, 1))
    assert total.sum() == (0 if beyond == "cut" else 9)
