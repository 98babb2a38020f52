"""Connected parts of masks."""

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels.parts import (
    find_parts,
    label_parts,
    nearest_large_part,
    placed,
    with_neighbours,
    without_small_parts,
)

MASK = np.array(
    [
        [1, 1, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
    ],
    bool,
)


@pytest.mark.parametrize("corners", [True, False])
def test_labels_are_those_of_scipy(corners):
    rng = np.random.default_rng(2)
    mask = ndimage.gaussian_filter(rng.random((200, 170)), 1.0) > 0.52
    structure = ndimage.generate_binary_structure(2, 2 if corners else 1)
    expected, n = ndimage.label(mask, structure)
    assert n > 20
    np.testing.assert_array_equal(label_parts(mask, corners=corners), expected)


@pytest.mark.parametrize(("corners", "sizes"), [(True, [3, 1, 3]), (False, [2, 1, 1, 3])])
def test_parts_in_their_boxes(corners, sizes):
    parts = find_parts(MASK, corners=corners)
    assert [np.count_nonzero(part.pixels) for part in parts] == sizes
    whole = np.zeros(MASK.shape, int)
    for part in parts:
        whole[part.box] += part.pixels
    np.testing.assert_array_equal(whole, MASK)  # each pixel is in one part


def test_small_parts_go():
    kept = without_small_parts(MASK, 3)
    assert np.count_nonzero(kept) == 6
    assert not kept[0, 4]
    np.testing.assert_array_equal(without_small_parts(MASK, 3, corners=False)[3], MASK[3])
    assert not without_small_parts(MASK, 3, corners=False)[:3].any()
    np.testing.assert_array_equal(without_small_parts(MASK, 1), MASK)


@pytest.mark.parametrize("shape", [(0, 4), (3, 4)])
def test_nothing(shape):
    empty = np.zeros(shape, bool)
    assert find_parts(empty) == []
    assert not without_small_parts(empty, 1).any()


def test_a_part_is_placed_in_a_larger_box():
    mask = np.zeros((9, 8), bool)
    mask[3:5, 2:6] = mask[5, 4] = True
    (part,) = find_parts(mask)
    outer = np.s_[2:9, 1:8]
    np.testing.assert_array_equal(placed(part.pixels, part.box, outer), mask[outer])


def test_neighbours_are_those_of_a_cross_in_each_mask():
    rng = np.random.default_rng(1)
    masks = rng.random((3, 7, 9)) < 0.15
    expected = [ndimage.binary_dilation(mask) for mask in masks]
    np.testing.assert_array_equal(with_neighbours(masks), expected)


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("density", [0, 2e-5, 2e-3])
def test_parts_of_a_large_mask_are_those_of_its_labels(corners, density):
    """Where little is set, parts are looked for in the blocks that hold some."""
    rng = np.random.default_rng(4)
    mask = rng.random((603, 507)) < density
    mask = ndimage.binary_dilation(mask, iterations=3)
    if density:
        mask[100, 30:200] = mask[90:110, 199] = mask[-1, -1] = mask[0, 0] = True
        mask[300:340, 300] = True
        mask[320, 250:300] = True
    labels = label_parts(mask, corners=corners)
    boxes = ndimage.find_objects(labels)
    found = find_parts(mask, corners=corners)
    assert [part.box for part in found] == boxes
    for number, part in enumerate(found, start=1):
        np.testing.assert_array_equal(part.pixels, labels[part.box] == number)


def test_nearest_large_part():
    mask = np.zeros((40, 60), bool)
    mask[5:15, 5:15] = True
    mask[30, 50] = True  # small
    distance, size = nearest_large_part(mask, 50)
    assert (distance[mask[:, :40].nonzero()] == 0).all()
    assert (distance[10, 20], distance[30, 50]) == (6, pytest.approx(np.hypot(16, 36)))
    assert size == pytest.approx(np.full(mask.shape, np.sqrt(100 / np.pi)))
    distance, size = nearest_large_part(mask, 500)
    assert np.isinf(distance).all()
    assert not size.any()
