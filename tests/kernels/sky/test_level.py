"""The sky level: known mode, known error, any unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from ceers_steps.kernels.sky.level import gaussian_peak, sky_level

N = 40_000


def pixels(seed, sources=0.0):
    """Unit normal values; a fraction of them with an exponential tail of sources, mean 2 sigma."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=N)
    touched = rng.random(N) < sources
    values[touched] += rng.exponential(2.0, touched.sum())
    return values


def test_uncertainty_is_the_scatter():
    levels = [sky_level(pixels(seed)) for seed in range(60)]
    pulls = np.array([level.value / level.uncertainty for level in levels])
    # standard errors of the mean and of the standard deviation of 60 unit normals: 0.13, 0.09
    assert abs(pulls.mean()) < 4 * 0.13
    assert abs(pulls.std() - 1.0) < 4 * 0.09


def test_sources_count_less_than_in_the_median():
    values = pixels(1, sources=0.1)
    level = sky_level(values)
    assert abs(level.value) < 0.5 * np.median(values)
    assert level.sigma == pytest.approx(1.0, abs=0.1)
    assert level.fitted


@settings(deadline=None, max_examples=40)
@given(unit=st.floats(1e-12, 1e12), sky=st.floats(-1e3, 1e3))
def test_same_in_any_unit_and_for_any_sky(unit, sky):
    values = pixels(2, sources=0.05)
    reference = sky_level(values)
    level = sky_level(unit * (values + sky))
    # a count may fall into the next bin by rounding: far less than the uncertainty
    assert level.value / unit - sky == pytest.approx(
        reference.value, abs=0.02 * reference.uncertainty
    )
    assert level.uncertainty / unit == pytest.approx(reference.uncertainty, rel=0.01)


@pytest.mark.parametrize("values", [[3.0], [3.0] * 1000, [1.0, 3.0, 3.0, 3.0, 9.0]])
def test_no_gaussian_core_gives_the_median(values):
    level = sky_level(np.array([*values, np.nan]))
    assert level.value == 3.0
    assert level.n == len(values)
    assert not level.fitted


@pytest.mark.parametrize("function", [sky_level, lambda v: gaussian_peak(v, -1, 1.5, 0.001)])
def test_nothing_finite_is_an_error(function):
    with pytest.raises(ValueError, match="at least one finite"):
        function(np.array([np.nan, np.inf]))


def test_gaussian_peak_is_the_published_fit():
    values = 0.3 + 0.02 * pixels(3, sources=0.05)
    counts, edges = np.histogram(values, bins=np.arange(-1, 1.5, 0.001))
    centres = 0.5 * (edges[1:] + edges[:-1])
    best, _ = curve_fit(
        lambda x, a, mu, sig: a * np.exp(-((x - mu) ** 2) / (2 * sig**2)),
        centres,
        counts,
        p0=[10, centres[np.argmax(counts)], 0.01],
    )
    # edges differ in rounding only: a few values of 40000 change their bin of 0.05 sigma
    assert gaussian_peak(values, -1, 1.5, 0.001) == pytest.approx(best[1], abs=2e-6)


def test_gaussian_peak_out_of_range_gives_the_median():
    values = 7.0 + 0.02 * pixels(4)
    assert gaussian_peak(values, -1, 1.5, 0.001) == np.median(values)
