"""Images cut into rows: every row once, and as much around it as is asked for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.rows import for_each_strip, row_blocks


@settings(deadline=None)
@given(
    st.integers(1, 600),
    st.integers(1, 3000),
    st.integers(0, 200),
    st.sampled_from([1, 20, 64]),
    st.integers(1, 500_000),
)
def test_strips_hold_every_row_once(ny, nx, overlap, alignment, size):
    strips = for_each_strip(lambda s: s, (ny, nx), overlap, size=size, alignment=alignment)
    rows = np.concatenate([np.arange(ny)[strip.rows] for strip in strips])
    np.testing.assert_array_equal(rows, np.arange(ny))
    for strip in strips:
        assert strip.start % alignment == strip.outer.start % alignment == 0
        assert strip.outer.start <= max(strip.start - overlap, 0)
        assert strip.outer.stop >= min(strip.stop + overlap, ny)
        np.testing.assert_array_equal(
            np.arange(ny)[strip.outer][strip.inner], np.arange(ny)[strip.rows]
        )


def test_strips_are_as_large_as_asked_for():
    strips = for_each_strip(lambda s: s, (1000, 100), size=20_000, alignment=10)
    assert {strip.stop - strip.start for strip in strips} == {200}


def test_results_come_in_the_order_of_the_strips():
    starts = for_each_strip(lambda s: s.start, (5000, 64), n_threads=4, size=5000)
    assert starts == sorted(starts)
    assert len(starts) > 20


def test_blocks_of_a_large_mosaic():
    blocks = row_blocks((30_000, 20_000))
    assert blocks[0] == slice(0, 192)  # 4 million pixels at most, in multiples of 64
    assert blocks[-1].stop == 30_000
