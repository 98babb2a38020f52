"""Tiles of an image: they cover it once, and no pixel of an exposure is missed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.mosaic.tiles import Box, Footprint, cut_grid, may_fall_on


@settings(deadline=None)
@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(20, 400))
def test_tiles_hold_every_pixel_once(shape, tile_size):
    count = np.zeros(shape, int)
    for tile in cut_grid(shape, tile_size):
        count[tile.box.slices] += 1
        assert max(tile.box.shape) <= tile_size
    assert np.all(count == 1)


def test_tiles_are_numbered_from_the_origin_and_of_nearly_equal_size():
    tiles = cut_grid((100, 250), 100)

    assert [(tile.row, tile.column) for tile in tiles] == [(0, 0), (0, 1), (0, 2)]
    assert {tile.box.shape for tile in tiles} == {(100, 83), (100, 84)}


@pytest.mark.parametrize(("shape", "tile_size"), [((10, 10), 0), ((10, 10), -3), ((0, 10), 5)])
def test_nothing_to_cut_is_an_error(shape, tile_size):
    with pytest.raises(ValueError, match="cannot cut"):
        cut_grid(shape, tile_size)


def test_boxes_overlap_and_lie_in_each_other():
    box, other = Box(10, 20, 30, 50), Box(15, 40, 0, 35)
    common = box.overlap(other)
    image = np.arange(60 * 60).reshape(60, 60)

    assert common == Box(15, 20, 30, 35)
    assert np.array_equal(image[other.slices][common.within(other)], image[common.slices])
    assert box.overlap(Box(20, 30, 30, 50)) is None


def footprint(angle, scale, x0, y0, step=16, size=100):
    """An exposure that is rotated, scaled and slightly distorted; also the positions of all."""
    nodes = np.unique(np.append(np.arange(0, size - 1, step), size - 1))

    def positions(column, row):
        u, v = column - size / 2, row - size / 2
        u, v = u + 1e-4 * u * v, v - 1e-4 * u**2
        x = x0 + scale * (u * np.cos(angle) - v * np.sin(angle))
        y = y0 + scale * (u * np.sin(angle) + v * np.cos(angle))
        return x, y

    x, y = positions(*np.meshgrid(nodes.astype(float), nodes.astype(float)))
    row, column = np.indices((size, size), dtype=float)
    return Footprint(nodes, nodes, x, y), positions(column, row)


@given(st.floats(0, 2 * np.pi), st.floats(0.5, 2.5), st.floats(-150, 350), st.floats(-150, 350))
def test_every_pixel_that_falls_on_a_box_is_in_the_cut(angle, scale, x0, y0):
    box = Box(40, 100, 60, 160)
    exposure, (x, y) = footprint(angle, scale, x0, y0)
    on_box = (x > box.x0 - 0.5) & (x < box.x1 - 0.5) & (y > box.y0 - 0.5) & (y < box.y1 - 0.5)

    cut = exposure.on(box, margin=3.0)

    if cut is None:
        assert not on_box.any()
    else:
        outside = np.ones_like(on_box)
        outside[cut.slices] = False
        assert not (on_box & outside).any()
        reach = exposure.reach(cut, margin=3.0)
        assert reach.y0 <= y[cut.slices].min()
        assert reach.y1 > y[cut.slices].max()
        assert reach.x0 <= x[cut.slices].min()
        assert reach.x1 > x[cut.slices].max()


def test_a_far_exposure_is_not_on_the_box_and_a_cut_is_not_the_whole():
    exposure, _ = footprint(0.0, 1.0, 50, 50)

    assert exposure.on(Box(0, 100, 200, 300), margin=3.0) is None
    assert exposure.whole == Box(0, 100, 0, 100)
    assert exposure.on(Box(0, 100, 0, 20), margin=3.0) == Box(0, 100, 0, 33)


def test_where_positions_are_not_known_nothing_is_left_out():
    exposure, _ = footprint(0.0, 1.0, 50, 50)
    exposure.x[2, 2] = exposure.y[2, 2] = np.nan

    cut = exposure.on(Box(500, 600, 500, 600), margin=3.0)

    assert cut == Box(16, 49, 16, 49)
    unknown = Footprint(exposure.rows, exposure.columns, exposure.x * np.nan, exposure.y)
    assert unknown.reach(unknown.whole, margin=3.0) is None


def test_an_exposure_near_a_box_may_fall_on_it():
    """100 pixels wide: within 10 pixels and the reach of a pixel, whatever its angle."""
    box, reach = Box(200, 300, 400, 500), 3
    square = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]]).T

    for x0, y0, near in (
        (420, 220, True),
        (288, 250, True),
        (286, 250, False),
        (512, 250, True),
        (514, 250, False),
        (450, 88, True),
        (450, 86, False),
        (450, 312, True),
        (450, 314, False),
        (286, 86, False),
    ):
        assert may_fall_on(square[0] + x0, square[1] + y0, box, reach) is near
    large = 50 * (square - 50)
    assert may_fall_on(*large, box, reach)
    assert may_fall_on(np.array([0.0, np.nan, 1, 1]), np.array([0.0, np.nan, 1, 1]), box, reach)
