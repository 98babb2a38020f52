"""Several components of a wisp: which are kept, and the errors that they leave."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ceers_steps.kernels.wisps.fit import fit_wisp
from ceers_steps.kernels.wisps.subtract import WispSettings, subtract_wisps_inplace
from ceers_steps.kernels.wisps.template import prepare_template

SHAPE = (320, 512)
SKY, NOISE, PEAK = 0.12, 0.01, 0.03


def filament(y_middle, x_middle, turn, width=12.0):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    x, y = x - x_middle, y - y_middle
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    return PEAK * np.exp(-0.5 * ((across - along**2 / 500) / width) ** 2 - 0.5 * (along / 70) ** 2)


# they overlap, as those of one real wisp do
COMPONENTS = np.stack(
    [filament(190, 300, 0.5), filament(180, 310, 0.2), filament(210, 280, 0.9)]
).astype(np.float32)
MIXES = ((0.8, 0.5, 0.4), (1.2, 0.0, 0.5), (0.0, 0.9, 0.0), (0.6, 0.6, 0.0), (0.0, 0.0, 1.0))


def exposure(seed, mix):
    noise = NOISE * np.random.default_rng(seed).standard_normal(SHAPE)
    return (SKY + np.tensordot(mix, COMPONENTS, axes=1) + noise).astype(np.float32)


def fit(image, template, mask=None):
    mask = np.zeros(SHAPE, bool) if mask is None else mask
    return fit_wisp(image, np.full(SHAPE, NOISE, np.float32), mask, template)


@pytest.fixture(scope="module")
def template():
    return prepare_template(COMPONENTS)


@pytest.mark.parametrize("mix", MIXES)
def test_only_what_is_there_is_kept(template, mix):
    found = fit(exposure(1, mix), template)
    assert_array_equal(found.scales > 0, np.array(mix) > 0)
    # 3 numbers in 5 mixes: one beyond 4 errors has a probability of 0.001
    kept = found.scales > 0
    assert np.all(np.abs(found.scales - mix)[kept] < 4 * found.scale_errs[kept])
    assert np.isfinite(found.scale_errs).all()
    assert_allclose(np.sqrt(np.diag(found.covariance))[kept], found.scale_errs[kept])
    assert not found.covariance[~kept].any()
    assert not found.covariance[:, ~kept].any()


def test_the_covariance_is_that_of_the_scatter(template):
    mix = (0.8, 0.5, 0.4)
    fits = [fit(exposure(seed, mix), template) for seed in range(40)]
    scatter = np.cov(np.array([found.scales for found in fits]).T)
    quoted = np.mean([found.covariance for found in fits], axis=0)
    # along each of its axes; the variance of 40 draws is known to 22%, and the largest of six
    # estimates counts: it is too large by some
    values, vectors = np.linalg.eigh(scatter)
    ratios = np.array([v @ quoted @ v for v in vectors.T]) / values
    assert np.all(ratios > 0.5)
    assert np.all(ratios < 4)
    assert scatter[0, 1] < 0  # what one takes the other lacks
    assert quoted[0, 1] < 0


def test_nothing_without_a_wisp(template):
    # a one-sided event of 5 sigma in 12 draws has a probability of 3e-6
    assert max(fit(exposure(seed, (0, 0, 0)), template).significance for seed in range(12)) < 5


def test_a_component_that_does_not_reach_the_exposure():
    """In a subarray the others are fitted all the same."""
    beside = np.zeros(SHAPE, np.float32)
    beside[20:60, 20:60] = PEAK
    template = prepare_template(np.stack([COMPONENTS[0], beside]))
    mask = np.zeros(SHAPE, bool)
    mask[:120, :140] = True
    found = fit(exposure(3, (0.8, 0, 0)), template, mask)
    assert abs(found.scales[0] - 0.8) < 4 * found.scale_errs[0]
    assert found.scales[1] == 0


@pytest.mark.parametrize("given", [True, False])
def test_the_error_predicts_the_scatter_over_the_wisp(given):
    """Template noise of 0.008 at a scale of 0.8 makes the scatter 19% larger than before."""
    noise = 0.008
    pulls, before = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        # each has noise of its own: that of one template is the same in every exposure
        templates = COMPONENTS[:2] + noise * rng.standard_normal((2, *SHAPE)).astype(np.float32)
        mix = np.array([0.8, 0.5, 0.0])
        image = exposure(100 + seed, mix)[np.newaxis]
        err = np.full(image.shape, NOISE, np.float32)
        variance = np.full(image.shape, 0.5 * NOISE**2, np.float32)
        found = subtract_wisps_inplace(
            image,
            err,
            np.zeros(image.shape, np.uint32),
            templates,
            detector="NRCB4",
            start=(0, 0),
            n_outputs=4,
            template_errors=[np.full(SHAPE, noise)] * 2 if given else None,
            variances=variance,
            settings=WispSettings(keep=True),
        )
        assert found.subtracted == (True,)
        assert_allclose(err**2 - NOISE**2, variance - 0.5 * NOISE**2, atol=1e-9)
        wisp = np.tensordot(mix[:2], COMPONENTS[:2], axes=1) > 0.3 * PEAK
        left = image[0][wisp] - SKY
        pulls.append(left / err[0][wisp])
        before.append(left / NOISE)
        assert_array_equal(err[found.wisps == 0], np.float32(NOISE))
    # of 4 x 10,000 pixels
    scatter = np.std(np.concatenate(pulls))
    assert scatter == pytest.approx(1, abs=0.02)
    assert np.std(np.concatenate(before)) > 1.15


def test_the_noise_of_the_template_counts_for_a_scale_by_hand():
    """A given scale has no error; the noise of the template counts."""
    image = exposure(5, (0.5, 0, 0))[np.newaxis]
    err = np.full(image.shape, NOISE, np.float32)
    subtract_wisps_inplace(
        image,
        err,
        np.zeros(image.shape, np.uint32),
        COMPONENTS[:1],
        detector="NRCB4",
        start=(0, 0),
        n_outputs=4,
        template_errors=[np.full(SHAPE, NOISE)],
        settings=WispSettings(scale=0.5),
    )
    assert err.max() == pytest.approx(NOISE * np.hypot(1, 0.5), rel=1e-5)
    assert err.min() == np.float32(NOISE)
