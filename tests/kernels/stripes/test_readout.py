"""The order of the read-out: pixels come at the tick at which the detector reads them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ceers_steps.kernels.stripes.readout import NIRCAM_ROW_OVERHEAD, ReadoutLayout
from ceers_steps.simulate.detector.noise import one_over_f_frame


def tick(layout, y, x):
    """Output and clock tick of a pixel, counted by hand."""
    ny, nx = layout.shape
    width = nx // layout.n_outputs
    output, column = divmod(x, width)
    towards_x = layout.fast_direction * (-1) ** output > 0
    row = y if layout.slow_direction > 0 else ny - 1 - y
    place = column if towards_x else width - 1 - column
    return output, row * (width + layout.row_overhead) + place


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("fast", [-1, 1])
@pytest.mark.parametrize("slow", [-1, 1])
def test_every_pixel_is_at_its_tick(n_outputs, fast, slow):
    """The series hold each pixel where counting finds it, and zeros between the rows."""
    layout = ReadoutLayout((5, 16), n_outputs, fast, slow, row_overhead=3)
    image = np.arange(1, 81).reshape(5, 16)
    series = layout.to_series(image)
    for y in range(5):
        for x in range(16):
            assert series[tick(layout, y, x)] == image[y, x]
    assert np.count_nonzero(series) == image.size
    assert series.shape == (n_outputs, 5 * layout.row_ticks)


@settings(max_examples=30, deadline=None)
@given(
    ny=st.integers(1, 7),
    width=st.sampled_from([4, 8, 12]),
    n_outputs=st.sampled_from([1, 2, 4]),
    fast=st.sampled_from([-1, 1]),
    slow=st.sampled_from([-1, 1]),
    binning=st.sampled_from([1, 2, 4]),
    padding=st.integers(0, 9),
)
def test_image_comes_back(ny, width, n_outputs, fast, slow, binning, padding):
    """There and back is the identity, whatever stood in the array written to."""
    layout = ReadoutLayout((ny, width * n_outputs), n_outputs, fast, slow)
    image = np.random.default_rng(0).random((ny, width * n_outputs // binning))
    out = np.full((n_outputs, ny * layout.row_ticks // binning + padding), np.nan)
    series = layout.to_series(image, binning=binning, out=out)
    assert series is out
    assert_array_equal(layout.to_image(series, binning=binning), image)
    assert series.sum() == pytest.approx(image.sum())


@pytest.mark.parametrize(("fast", "slow"), [(-1, 2), (1, -2)])
def test_simulated_noise_is_smoothest_in_this_order(fast, slow):
    """Noise made in read-out order by the simulator varies least from tick to tick in it."""
    shape = (64, 256)
    noise = one_over_f_frame(
        shape,
        n_outputs=4,
        fast_axis=fast,
        slow_axis=slow,
        rng=np.random.default_rng(1),
        exponent=2.0,
    )

    def roughness(fast_direction, slow_direction, overhead):
        layout = ReadoutLayout(shape, 4, fast_direction, slow_direction, overhead)
        series = layout.to_series(noise).reshape(4, shape[0], -1)[:, :, : layout.output_width]
        # the step from the end of a row to the beginning of the next
        return np.mean((series[:, 1:, 0] - series[:, :-1, -1]) ** 2)

    right = ReadoutLayout.from_keywords(shape, fast_axis=fast, slow_axis=slow, n_outputs=4)
    assert right.row_overhead == NIRCAM_ROW_OVERHEAD
    best = roughness(right.fast_direction, right.slow_direction, right.row_overhead)
    # A random walk: the variance grows with the ticks between, 13 for the ends that follow one
    # another, about 140 in the wrong order.
    assert best < 0.3 * roughness(-right.fast_direction, right.slow_direction, right.row_overhead)
    assert best < 0.3 * roughness(right.fast_direction, -right.slow_direction, right.row_overhead)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"shape": (8, 30), "n_outputs": 4}, "n_outputs=4"),
        ({"shape": (8, 32), "n_outputs": 0}, "n_outputs=0"),
        ({"shape": (8, 32), "fast_direction": 2}, "fast_direction=2"),
        ({"shape": (8, 32), "slow_direction": 0}, "slow_direction=0"),
        ({"shape": (8, 32), "row_overhead": -1}, "row_overhead=-1"),
    ],
)
def test_impossible_layouts_are_refused(arguments, named):
    """The message names the parameter and its value."""
    with pytest.raises(ValueError, match=named):
        ReadoutLayout(**arguments)


def test_rows_read_along_y_are_refused():
    """MIRI-like or rotated read-outs are not what this describes."""
    with pytest.raises(ValueError, match="FASTAXIS=2"):
        ReadoutLayout.from_keywords((8, 8), fast_axis=2, slow_axis=1, n_outputs=1)


def test_binning_must_divide_the_row():
    """Samples must not reach from one row into the next."""
    with pytest.raises(ValueError, match="binning=8"):
        ReadoutLayout((4, 32), 4).to_series(np.zeros((4, 4)), binning=8)
