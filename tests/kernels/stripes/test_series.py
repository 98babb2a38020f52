"""Samples of an image, and stripes without light."""

import numpy as np
import pytest

from ceers_steps.kernels.rows import LazyRows
from ceers_steps.kernels.stripes.groups import GroupStripes
from ceers_steps.kernels.stripes.readout import ReadoutLayout
from ceers_steps.kernels.stripes.samples import Samples
from ceers_steps.kernels.stripes.series import StripeSeries

LAYOUT = ReadoutLayout((150, 256), n_outputs=4, fast_direction=-1)


class NoLight:
    """A model of light that takes nothing out."""

    def residual(self, weighted):
        return weighted


@pytest.fixture
def image():
    rng = np.random.default_rng(1)
    rows = np.cumsum(rng.normal(0, 0.5, (150, 4)), axis=0)
    return (np.repeat(rows, 64, axis=1) + rng.normal(size=LAYOUT.shape)).astype(np.float32)


@pytest.fixture
def mask():
    return np.random.default_rng(2).random(LAYOUT.shape) < 0.3


def test_samples_are_weighted_means(image, mask):
    """Of the used pixels, what is not finite elsewhere left out; less the median."""
    sigma = np.random.default_rng(3).uniform(0.5, 2, LAYOUT.shape).astype(np.float32)
    mask[40, :8] = True
    image[mask] = np.nan
    image[40, :4] = np.inf
    bare = Samples.of(np.zeros(LAYOUT.shape, np.float32), mask, sigma, LAYOUT, None)
    weight = np.where(mask, 0, sigma.astype(float) ** -2).reshape(150, 64, 4)
    total = np.where(mask, 0, image).reshape(150, 64, 4) * weight
    there = weight.sum(axis=2) > 0
    mean = total.sum(axis=2) / np.where(there, weight.sum(axis=2), 1)
    expected = np.where(there, mean - np.median(mean[there]), 0)
    pairs = there[:, 1:] & there[:, :-1]
    variance = 1 / np.where(there, weight.sum(axis=2), np.inf)
    change = (np.diff(mean, axis=1) / np.sqrt(variance[:, 1:] + variance[:, :-1] + ~pairs))[pairs]
    scale = 1.4826022 * np.median(np.abs(change - np.median(change)))
    for given in (image, LazyRows(image.shape, image.__getitem__)):
        samples = bare.of_image(given)
        np.testing.assert_allclose(samples.value, expected, atol=2e-5)
        assert samples.level == pytest.approx(np.median(mean[there]), abs=1e-5)
        assert samples.noise_scale == pytest.approx(scale, rel=1e-5)


def test_no_light_is_light_that_takes_nothing_out(image, mask):
    series = StripeSeries(Samples.of(image, mask, 1.0, LAYOUT, None))
    covariance = series.first_covariance()
    with_model, n_with = series.solve(covariance, NoLight(), None, 1e-3)
    without, n_without = series.solve(covariance, None, None, 1e-3)
    assert n_with == n_without > 3
    np.testing.assert_allclose(without, with_model, atol=1e-5 * np.abs(with_model).max())
    again, n_again = series.solve(covariance, None, without, 1e-3)
    assert n_again <= 1
    np.testing.assert_allclose(again, without, atol=2e-3 * np.abs(without).max())


def test_stripes_are_those_of_the_normal_equations(image, mask):
    """The solution makes the gradient of the posterior vanish: prior and data agree."""
    samples = Samples.of(image, mask, 1.0, LAYOUT, None)
    series = StripeSeries(samples)
    # the same power at all frequencies, outputs alike in part: (1 + root' A root) x = root' A d
    covariance = np.broadcast_to(0.5 * np.eye(4) + 0.2, (len(series.frequency), 4, 4)).copy()
    modes, _ = series.solve(covariance, None, None, 1e-5)
    left = samples.weight * (samples.value - series.to_image(modes.copy()))
    pull = series.to_modes(left)[:, 1:]
    # stripes are the prior times what the data pull
    np.testing.assert_allclose(
        modes[:, 1:], (0.5 * np.eye(4) + 0.2) @ pull, atol=1e-3 * np.abs(modes).max()
    )


def test_stripes_of_a_difference_given_in_rows(image, mask):
    levels = np.zeros((150, 4), np.float32)
    whole = GroupStripes(mask, 1.0, LAYOUT).find(image, levels)
    rows = LazyRows(image.shape, image.__getitem__)
    np.testing.assert_array_equal(GroupStripes(mask, 1.0, LAYOUT).find(rows, levels), whole)
