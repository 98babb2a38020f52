"""Images of which nothing can be used."""

import numpy as np
import pytest

from ceers_steps.kernels.dq import DO_NOT_USE, REFERENCE_PIXEL, why_no_ramp, why_unusable

SHAPE = (4, 5)


def planes():
    data = np.arange(20.0).reshape(SHAPE)
    return data, np.zeros(SHAPE, np.uint32), {"VAR_RNOISE": np.ones(SHAPE)}


def test_one_good_pixel_is_enough():
    data, dq, variances = planes()
    data[:2], dq[2:], variances["VAR_RNOISE"][:, 1:] = np.nan, DO_NOT_USE, np.inf
    data[0, 0] = 1
    assert why_unusable(data, dq, variances) is None
    data[0, 0] = np.nan
    assert why_unusable(data, dq, variances) == "DQ flags every pixel with a value as DO_NOT_USE"


def test_planes_that_are_not_there():
    assert why_unusable(planes()[0], None, {"VAR_RNOISE": None}) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_finite_value(value):
    _, dq, variances = planes()
    assert why_unusable(np.full(SHAPE, value), dq, variances) == "SCI has no finite value"


@pytest.mark.parametrize("bit", [DO_NOT_USE, REFERENCE_PIXEL])
def test_all_flagged(bit):
    data, dq, variances = planes()
    assert "DQ flags every pixel" in why_unusable(data, dq | np.uint32(bit), variances)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_no_valid_variance(value):
    data, dq, _ = planes()
    variances = {"VAR_RNOISE": np.ones(SHAPE), "VAR_POISSON": np.full(SHAPE, value)}
    assert why_unusable(data, dq, variances) == "VAR_POISSON has no valid value"


def test_zero_is_no_value_of_what_has_to_be_above():
    data, dq, _ = planes()
    variances = {"VAR_RNOISE": np.zeros(SHAPE), "VAR_POISSON": np.zeros(SHAPE)}
    assert why_unusable(data, dq, variances) is None
    reason = why_unusable(data, dq, variances, above_zero=["VAR_RNOISE"])
    assert reason == "VAR_RNOISE has no valid value"
    variances["VAR_RNOISE"][0, 0] = 1
    assert why_unusable(data, dq, variances, above_zero=["VAR_RNOISE"]) is None


def test_zero_everywhere_is_no_measurement():
    _, dq, variances = planes()
    data = np.zeros(SHAPE)
    data[0], dq[0] = 7, DO_NOT_USE
    data[1] = np.nan
    assert why_unusable(data, dq, variances).startswith("SCI is 0 in every pixel")
    data[2, 0] = 1
    assert why_unusable(data, dq, variances) is None
    assert why_unusable(np.ones(SHAPE), None, {}) is None  # of no camera, but a value


def test_groups_without_noise_measured_nothing():
    assert why_no_ramp(np.full((3, *SHAPE), 11000)) == "every group is 11000 in every pixel"
    assert why_no_ramp(np.full((1, *SHAPE), 7)) == "every group is 7 in every pixel"
    image = planes()[0]
    assert why_no_ramp(np.stack([image] * 3)) == "every group is the same image"
    assert why_no_ramp(image[None]) is None  # one group says no more
    groups = np.full((3, *SHAPE), 11000)
    groups[2, 1, 1] += 1
    assert why_no_ramp(groups) is None


def test_a_ramp_of_nothing_has_an_answer():
    assert why_no_ramp(np.ones((0, *SHAPE))) == "no groups"
    assert why_no_ramp(np.ones((3, 0, 5))) == "no pixels"
