"""Read patterns and the order of the read-out against frame-by-frame book-keeping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceers_steps.errors import CeersError
from ceers_steps.simulate.telescope.patterns import PIXEL_TIME, READ_PATTERNS, Readout, get_pattern


@pytest.mark.parametrize(
    ("shape", "n_outputs", "frame_time"),
    [
        ((2048, 2048), 4, 10.73676),
        ((640, 640), 1, 4.18584),
        ((320, 320), 1, 1.06904),
        ((160, 160), 1, 0.27864),
        ((400, 400), 1, 1.65624),
        ((64, 64), 1, 0.05016),
    ],
)
def test_frame_times_are_those_of_the_instrument(shape, n_outputs, frame_time):
    assert Readout(shape, n_outputs, -1, 2).frame_time == pytest.approx(frame_time, rel=1e-12)


@pytest.mark.parametrize("pattern", READ_PATTERNS.values(), ids=READ_PATTERNS)
def test_group_times_are_means_of_frame_times(pattern):
    n_groups, frame_time = 4, 10.73676
    read = (np.arange(pattern.total_frames(n_groups)) + 1) * frame_time
    kept = np.arange(read.size) % (pattern.n_frames + pattern.group_gap) < pattern.n_frames
    expected = read[kept].reshape(n_groups, pattern.n_frames).mean(axis=1)
    np.testing.assert_allclose(pattern.group_times(n_groups, frame_time), expected)
    assert kept[-1]


def test_pattern_by_name():
    assert get_pattern("medium8") == READ_PATTERNS["MEDIUM8"]
    with pytest.raises(CeersError, match=r"'MEDIUM9' .* DEEP8"):
        get_pattern("MEDIUM9")


@given(
    ny=st.integers(1, 9),
    columns=st.integers(1, 7),
    n_outputs=st.sampled_from([1, 4]),
    fast_axis=st.sampled_from([-1, 1]),
    slow_axis=st.sampled_from([-2, 2]),
)
def test_every_pixel_is_read_at_its_tick(ny, columns, n_outputs, fast_axis, slow_axis):
    readout = Readout((ny, columns * n_outputs), n_outputs, fast_axis, slow_axis)
    ticks = np.tile(np.arange(readout.frame_ticks), (n_outputs, 1))
    image = readout.series_to_image(ticks)
    y, x = np.indices(readout.shape)
    np.testing.assert_allclose(readout.read_delay(y, x), image * PIXEL_TIME)
    for output in range(n_outputs):
        part = image[:, output * columns : (output + 1) * columns]
        forward = (fast_axis > 0) == (output % 2 == 0)
        assert (np.diff(part, axis=1) == (1 if forward else -1)).all()
        assert (np.sign(np.diff(part, axis=0)) == np.sign(slow_axis)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((8, 8), 2, 1, 2), "1 or 4 outputs"),
        (((8, 10), 4, 1, 2), "multiple of n_outputs"),
        (((8, 8), 4, 2, 2), "fast axis"),
    ],
)
def test_impossible_readout(arguments, message):
    with pytest.raises(ValueError, match=message):
        Readout(*arguments)
