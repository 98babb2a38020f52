"""Numbers as texts."""

import math

import pytest

from ceers_steps.figures.numbers import metric_rows, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.109923, 6.9e-6, "0.1099230 ± 0.0000069"),
        (0.683, 0.0204, "0.683 ± 0.020"),
        (1234.5, 61.2, "1234 ± 61"),
        (1.5, 0.0, "1.5"),
        (1.5, math.nan, "1.5"),
    ],
)
def test_values_have_as_many_digits_as_their_error(value, error, text):
    assert with_error(value, error) == text


def test_metrics_have_as_many_digits_as_their_errors():
    metrics = {"sky": 0.1099234, "sky_err": 6.91e-5, "wisp_scale": 0.67834, "snowballs": 31.0}
    texts = {name: text for name, text, *_ in metric_rows(metrics)}
    assert texts == {
        "snowballs": "31",
        "wisp_scale": "0.67834",  # its error is not known
        "sky": "0.109923",
        "sky_err": "0.000069",
    }
