"""The scatter of output rows: stripes count, sky and gradients do not."""

import numpy as np
import pytest

from ceers_steps.kernels.stripes.exposure import destripe_inplace
from ceers_steps.kernels.stripes.frame import row_noise
from ceers_steps.kernels.stripes.readout import ReadoutLayout

SHAPE, WHITE, STRIPES = (512, 256), 0.02, 0.05


def image(stripes):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rows = np.repeat(rng.normal(0, stripes, (SHAPE[0], 4)), SHAPE[1] // 4, axis=1)
    return (0.3 + 1e-3 * y + 2e-3 * x + rows + rng.normal(0, WHITE, SHAPE)).astype(np.float32)


def test_white_noise_alone_is_what_is_expected_and_stripes_add_theirs():
    sigma, sky = np.full(SHAPE, WHITE), np.ones(SHAPE, bool)
    white = row_noise(image(0), sky, sigma, 4)
    assert white.expected == pytest.approx(WHITE / 8)
    assert white.masked == 0
    # of 2044 differences, which hang together: a median deviation to 4%, here within 4 sigma;
    # the gradient of 1e-3 a row adds to the spread of differences
    error = 4 * 0.04
    assert white.rms == pytest.approx(np.hypot(WHITE / 8, 1e-3 * 0.7), rel=error)
    striped = row_noise(image(STRIPES), sky, sigma, 4)
    assert striped.rms == pytest.approx(np.hypot(STRIPES, WHITE / 8), rel=error)
    assert striped.expected == white.expected


def test_rows_without_sky_are_counted_and_left_out():
    frame, sky = image(STRIPES), np.ones(SHAPE, bool)
    sky[:128, :64] = False
    sky[128:, 64] = False  # a column only: most of these rows is left
    frame[:128, :64] = 1e6
    found = row_noise(frame, sky, np.full(SHAPE, WHITE), 4)
    assert found.masked == pytest.approx(128 / (512 * 4))
    assert found.rms < 2 * STRIPES
    nothing = row_noise(frame, np.zeros(SHAPE, bool), np.full(SHAPE, WHITE), 4)
    assert nothing.masked == 1
    assert np.isnan(nothing.rms)


def test_destriping_brings_it_down_to_white_noise():
    layout = ReadoutLayout.from_keywords(SHAPE, fast_axis=1, slow_axis=2, n_outputs=4)
    frame = image(STRIPES)
    planes = [np.full((1, *SHAPE), value, np.float32) for value in (3e-4, 1e-4)]
    found = destripe_inplace(frame[None], np.zeros((1, *SHAPE), np.uint32), *planes, layout)
    metrics = found.metrics
    assert metrics["row_rms_before"] == pytest.approx(STRIPES, rel=0.16)
    # part of the white noise of a row is taken for a stripe
    assert metrics["row_rms_after"] < 1.2 * WHITE / 8
    expected = metrics["row_rms_after"] / (WHITE / 8)
    assert metrics["row_rms_ratio"] == pytest.approx(expected, rel=1e-3)
    assert 0 <= metrics["masked_rows"] < 0.1
