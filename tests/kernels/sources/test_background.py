"""The two-dimensional background against photutils, and against known skies."""

import numpy as np
import pytest
from astropy.stats import SigmaClip
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.background import Background2D, BiweightLocationBackground

from ceers_steps.kernels.mesh.settings import MeshSettings
from ceers_steps.kernels.sources.background import fit_background, fit_mesh

NOISE = 0.02


def sky_with_sources(shape=(230, 317), seed=1):
    """A sky with a gradient, bright pixels here and there; image and mask of one in ten pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 0.3 + 0.05 * np.sin(x / 60.0) + 1e-4 * y + rng.normal(0, NOISE, shape)
    image[rng.random(shape) < 0.02] += 1.0
    return image.astype(np.float32), rng.random(shape) < 0.1


def by_photutils(image, mask, box_size, filter_size):
    return Background2D(
        image,
        box_size,
        mask=mask,
        filter_size=filter_size,
        exclude_percentile=90,
        sigma_clip=SigmaClip(3, maxiters=5),
        bkg_estimator=BiweightLocationBackground(),
    ).background


@pytest.mark.parametrize(
    ("shape", "box_size", "filter_size"),
    [((230, 317), 10, 5), ((230, 320), 10, 1), ((120, 150), 32, 3), ((40, 7), 10, 5)],
)
def test_same_as_photutils(shape, box_size, filter_size):
    image, mask = sky_with_sources(shape)
    given_image, given_mask = image.copy(), mask.copy()
    ours = fit_background(image, mask, box_size=box_size, filter_size=filter_size)
    expected = by_photutils(image, mask, box_size, filter_size)
    # single precision: 1e-7 of the sky in each of some operations
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(image, given_image)
    np.testing.assert_array_equal(mask, given_mask)


def test_hole_filled_as_photutils_does():
    image, mask = sky_with_sources()
    mask[60:120, 80:150] = True
    ours = fit_background(image, mask, box_size=10, filter_size=5)
    expected = by_photutils(image, mask, 10, 5)
    # among neighbours at one distance each takes its own ten; a box has noise of 0.1 * NOISE
    assert np.max(np.abs(ours - expected)) < 0.1 * NOISE
    far = np.ones(image.shape, bool)
    far[:200, :240] = False
    # a spline forgets a factor of four in each box: nine of them
    np.testing.assert_allclose(ours[far], expected[far], atol=1e-6)


def test_nan_is_masked():
    image, mask = sky_with_sources()
    expected = fit_background(image, mask, box_size=20, filter_size=3)
    image[mask] = np.nan
    nothing = np.zeros_like(mask)
    np.testing.assert_array_equal(
        fit_background(image, nothing, box_size=20, filter_size=3), expected
    )


@settings(deadline=None, max_examples=15)
@given(constant=st.floats(-2.0, 2.0), seed=st.integers(0, 1000))
def test_constant_added(constant, seed):
    image, mask = sky_with_sources((60, 71), seed)
    for fill in ("nearest", "gaussian"):
        options = {"box_size": 10, "filter_size": 3, "fill": fill}
        before = fit_mesh(image, mask, **options).rows(0, 60)
        after = fit_mesh(image + np.float32(constant), mask, **options).rows(0, 60)
        # single precision of the sum
        np.testing.assert_allclose(after, before + constant, atol=2e-6)


@pytest.mark.parametrize("fill", ["nearest", "gaussian"])
def test_transposed(fill):
    image, mask = sky_with_sources((80, 120))
    options = {"box_size": 10, "filter_size": 3, "fill": fill}
    mesh = fit_mesh(image, mask, **options)
    turned = fit_mesh(image.T, mask.T, **options)
    np.testing.assert_allclose(turned.rows(0, 120).T, mesh.rows(0, 80), atol=2e-6)


def test_gaussian_fills_a_hole_with_the_plane_around_it():
    rng = np.random.default_rng(2)
    shape = (400, 400)
    y, x = np.mgrid[: shape[0], : shape[1]]
    plane = 0.3 + 2e-4 * x - 1e-4 * y
    image = (plane + rng.normal(0, NOISE, shape)).astype(np.float32)
    hole = np.hypot(x - 200, y - 200) < 110
    image[hole] += 5.0
    fitted = fit_mesh(image, hole, box_size=20, filter_size=5, fill="gaussian").rows(0, 400)
    nearest = fit_mesh(image, hole, box_size=20, filter_size=5).rows(0, 400)
    error = (fitted - plane)[hole]
    # rim boxes have noise of 0.05 * NOISE; that over the hole is a mean of ten or more
    assert abs(error.mean()) < 0.02 * NOISE
    assert error.std() < 0.05 * NOISE
    assert error.std() < (nearest - plane)[hole].std()


def test_noise_in_a_hole():
    """On a level sky the mean over a hole is about as uncertain as one of as many pixels."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:400, :400]
    ratios = []
    for _ in range(20):
        hole = np.hypot(x - rng.uniform(150, 250), y - rng.uniform(150, 250)) < 100
        image = rng.normal(0.3, NOISE, hole.shape).astype(np.float32)
        fitted = fit_mesh(image, hole, box_size=10, filter_size=5, fill="gaussian").rows(0, 400)
        ratios.append(np.mean((fitted - 0.3)[hole]) / NOISE * np.sqrt(hole.sum()))
    # boxes at the rim count more than others: twice; and the rms of twenty is known to a third
    assert np.sqrt(np.mean(np.square(ratios))) < 2.5


def test_strips_and_threads_do_not_matter(monkeypatch):
    image, mask = sky_with_sources()
    expected = fit_mesh(image, mask, box_size=10, filter_size=5)
    monkeypatch.setattr(
        "ceers_steps.kernels.sources.background.MESH", MeshSettings(strip_size=5000)
    )
    mesh = fit_mesh(image, mask, box_size=10, filter_size=5, n_threads=3)
    np.testing.assert_array_equal(mesh.values, expected.values)
    rows = np.concatenate([mesh.rows(start, min(start + 7, 230)) for start in range(0, 230, 7)])
    np.testing.assert_array_equal(rows, mesh.rows(0, 230))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2), (10, 10)])
@pytest.mark.parametrize("fill", ["nearest", "gaussian"])
def test_tiny_images(shape, fill):
    image = np.random.default_rng(3).normal(1.0, 0.1, shape)
    mesh = fit_mesh(image, np.zeros(shape, bool), box_size=10, filter_size=3, fill=fill)
    background = mesh.rows(0, shape[0])
    assert background.shape == shape
    # four times the error of a mean of the pixels of a box; a biweight wastes a twentieth of them
    pixels = min(shape[0], 10) * min(shape[1], 10)
    assert np.abs(background - 1.0).max() < 4 * 0.1 / np.sqrt(0.95 * pixels)


def test_nothing_left():
    image = np.zeros((30, 30), np.float32)
    with pytest.raises(ValueError, match="no box of 10 x 10"):
        fit_background(image, np.ones((30, 30), bool), box_size=10, filter_size=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_size": 0}, "box_size"),
        ({"filter_size": 4}, "filter_size"),
        ({"exclude_fraction": 1.5}, "exclude_fraction"),
        ({"fill": "none"}, "fill"),
    ],
)
def test_parameters(options, message):
    image = np.zeros((30, 30), np.float32)
    arguments = {"box_size": 10, "filter_size": 3} | options
    with pytest.raises(ValueError, match=message):
        fit_mesh(image, np.zeros(image.shape, bool), **arguments)
    with pytest.raises(ValueError, match="same"):
        fit_mesh(image, np.zeros((30, 31), bool), box_size=10, filter_size=3)
