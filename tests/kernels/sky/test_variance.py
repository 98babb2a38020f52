"""Variance planes: holes in any of them, and the photon noise of the sky."""

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels.sky.exposure import correct_sky
from ceers_steps.kernels.sky.variance import (
    fill_variances,
    level_saturated,
    neighbour_scatter,
    smooth_sky,
    split_sky_photons,
)

SHAPE = (256, 256)
HOLE = (100, 120)


def planes(flat=0.0):
    """Read noise, photon noise and flat-field variance, without holes."""
    rng = np.random.default_rng(0)
    rnoise = np.full(SHAPE, 1e-5, np.float32)
    poisson = (3e-4 * rng.normal(1.0, 0.15, SHAPE)).astype(np.float32)
    return rnoise, poisson, np.full(SHAPE, flat, np.float32)


def nothing():
    return np.zeros(SHAPE, bool)


@pytest.mark.parametrize("value", [0.0, -1e-6, np.inf, np.nan])
def test_without_read_noise_a_pixel_is_unusable(value):
    given = planes()
    given[0][HOLE] = value
    filled = fill_variances(*given, nothing(), nothing())
    assert filled.unusable[HOLE]
    assert filled.unusable.sum() == 1
    for plane in (filled.rnoise, filled.poisson, filled.flat):
        assert np.isnan(plane[HOLE])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_nan_in_any_plane_makes_a_pixel_unusable(number):
    given = planes()
    given[number][HOLE] = np.nan
    assert fill_variances(*given, nothing(), nothing()).unusable[HOLE]


@pytest.mark.parametrize("value", [0.0, -1e-6, np.inf])
def test_photon_noise_of_the_sky_fills_a_hole(value):
    given = planes()
    given[1][HOLE] = value
    filled = fill_variances(*given, nothing(), nothing())
    assert not filled.unusable.any()
    assert filled.n_filled == 1
    # the mean of thousands of pixels with 15% scatter
    assert filled.poisson[HOLE] == pytest.approx(3e-4, rel=0.02)


def test_sources_do_not_fill_holes():
    given = planes()
    sources = nothing()
    sources[80:140, 100:160] = True
    given[1][sources] *= 50.0
    given[1][HOLE] = 0.0
    assert fill_variances(*given, nothing(), sources).poisson[HOLE] == pytest.approx(3e-4, rel=0.05)


def test_zero_is_valid_where_only_sources_have_photon_noise():
    given = planes()
    given[1][::2] = 0.0
    given[1][HOLE] = np.inf
    filled = fill_variances(*given, nothing(), nothing(), poisson_may_be_zero=True)
    assert filled.n_filled == 1
    assert filled.poisson[HOLE] == 0.0
    assert not filled.poisson[::2].any()


def test_a_flat_without_errors_is_no_hole():
    filled = fill_variances(*planes(flat=0.0), nothing(), nothing())
    assert filled.n_filled == 0
    assert not filled.flat.any()


def test_a_hole_in_the_errors_of_the_flat():
    given = planes(flat=2e-6)
    given[2][HOLE] = 0.0
    filled = fill_variances(*given, nothing(), nothing())
    assert filled.flat[HOLE] == pytest.approx(2e-6)


def test_unusable_pixels_are_nan_in_all_planes_and_input_is_unchanged():
    given = planes()
    copies = [plane.copy() for plane in given]
    unusable = nothing()
    unusable[HOLE] = True
    filled = fill_variances(*given, unusable, nothing())
    for plane, other, copy in zip(
        (filled.rnoise, filled.poisson, filled.flat), given, copies, strict=True
    ):
        assert np.isnan(plane[HOLE])
        np.testing.assert_array_equal(other, copy)
    assert filled.n_filled == 0


def test_no_valid_photon_noise_at_all():
    rnoise, poisson, flat = planes()
    filled = fill_variances(rnoise, np.zeros_like(poisson), flat, nothing(), nothing())
    assert not filled.poisson.any()
    assert not filled.unusable.any()


def test_split_leaves_the_photon_noise_of_sources():
    _, poisson, _ = planes()
    mask = nothing()
    mask[100:130, 100:130] = True
    poisson[mask] += 5e-3
    sky, rest = split_sky_photons(poisson, mask)
    np.testing.assert_allclose(sky, 3e-4, rtol=0.05)
    np.testing.assert_allclose(rest[mask], poisson[mask] - 3e-4, rtol=0.05)
    # peaks of the noise beyond 3 standard deviations: 0.13% of the pixels, by 3.3 of them
    assert rest[~mask].mean() == pytest.approx(0.0013 * 3.3 * 0.15 * 3e-4, rel=0.4)


def test_errors_of_sources_do_not_pay_for_peaks_of_the_noise_of_the_sky():
    rng = np.random.default_rng(7)
    shape = 512, 512
    noise = rng.normal(0, 1, shape).astype(np.float32)
    bits = np.zeros(shape, np.uint8)
    bits[::16, ::16] = 0b10000
    light = np.where(bits > 0, np.float32(2), np.float32(0))
    image = noise * np.sqrt(1 + 0.25 * light) + light + 5
    # photon noise as it follows from the pixel itself, where its surroundings seem to have light
    poisson = (0.6 + 0.25 * light + 0.1 * noise).astype(np.float32)
    planes = np.full(shape, 0.4, np.float32), poisson, np.zeros(shape, np.float32)
    dq = np.zeros(shape, np.uint32)
    found = correct_sky(image, np.ones(shape, np.float32), dq, *planes, source_bits=bits)
    # peaks have 0.04 of the variance of the sky
    assert found.scale.factor == pytest.approx(1, abs=0.02)
    assert np.mean(found.err[bits > 0] ** 2) == pytest.approx(1.5, rel=0.02)


def test_split_keeps_what_stands_out_of_the_sky():
    _, poisson, _ = planes()
    poisson[40, 50] += 2e-4  # 4 standard deviations
    sky, rest = split_sky_photons(poisson, nothing())
    assert rest[40, 50] == pytest.approx(poisson[40, 50] - sky[40, 50])
    assert np.mean(rest > 0) < 0.004


def test_split_follows_the_sensitivity():
    _, poisson, _ = planes()
    slope = np.linspace(0.8, 1.2, SHAPE[1], dtype=np.float32)
    sky, _ = split_sky_photons(poisson * slope, nothing())
    # boxes at the edges do not extrapolate
    np.testing.assert_allclose(sky[:, 64:-64].mean(axis=0), 3e-4 * slope[64:-64], rtol=0.03)


def test_smooth_sky_where_too_little_is_left_for_boxes():
    image = np.random.default_rng(2).normal(1.0, 0.1, SHAPE)
    mask = ~nothing()
    mask[::64, ::64] = False
    np.testing.assert_allclose(smooth_sky(image, mask), 1.0, atol=4 * 0.1 / 4)


def saturated_star(*, signal=100.0, sky=0.2, flanks=True):
    """A pixel whose read noise grew by a factor of 15 with the groups that it lost."""
    rnoise, poisson, _ = planes()
    image = np.full(SHAPE, sky, np.float32)
    saturated = nothing()
    saturated[HOLE] = True
    rnoise[HOLE] *= 15
    image[HOLE] = sky + signal * np.sqrt(rnoise[HOLE] + poisson[HOLE])
    if flanks:
        around = ndimage.binary_dilation(saturated, iterations=4) & ~saturated
        image[around] = sky + 0.3 * signal * np.sqrt(rnoise[around] + poisson[around])
    return image, rnoise, poisson, saturated


@pytest.mark.parametrize("sky", [0.0, 0.2])
def test_the_peak_of_a_star_weighs_as_its_flanks(sky):
    image, rnoise, poisson, saturated = saturated_star(sky=sky)
    given = rnoise.copy()
    levelled = level_saturated(image, rnoise, poisson, saturated, saturated)
    np.testing.assert_allclose(levelled, 1e-5, rtol=1e-6)
    np.testing.assert_array_equal(rnoise, given)


@pytest.mark.parametrize("sky", [0.0, 0.2])
def test_what_a_snowball_saturated_keeps_its_read_noise(sky):
    # what is left of it in the rate may be several times the noise
    given = saturated_star(signal=10.0, sky=sky)
    np.testing.assert_array_equal(level_saturated(*given, nothing()), given[1])


def test_a_bright_core_without_flanks_is_no_star():
    """What a snowball leaves in a last difference is bright as a star, and the sky is around it."""
    given = saturated_star(signal=750.0, flanks=False)
    np.testing.assert_array_equal(level_saturated(*given, nothing()), given[1])


def test_no_pixel_gets_more_read_noise_than_it_had():
    image, rnoise, poisson, saturated = saturated_star()
    rnoise[HOLE] = 0.5e-5
    np.testing.assert_array_equal(
        level_saturated(image, rnoise, poisson, saturated, nothing()), rnoise
    )


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_saturated_pixel_without_a_value_stays(plane):
    given = saturated_star()
    given[plane][HOLE] = np.nan
    np.testing.assert_array_equal(level_saturated(*given, nothing()), given[1])


def test_without_sky_nothing_is_levelled():
    given = saturated_star()
    np.testing.assert_array_equal(level_saturated(*given, ~nothing()), given[1])


def test_scatter_of_neighbours_is_that_of_the_noise_whatever_the_sky():
    rng = np.random.default_rng(5)
    y, x = np.indices((300, 310))
    variance = rng.uniform(1, 4, x.shape)
    image = rng.normal(0, 4.7 * np.sqrt(variance)) + 30 * np.sin(x / 40) + y / 5
    image[100:140, 100:140] += 500  # a source
    unusable = rng.random(x.shape) < 0.05
    image[unusable] = np.where(rng.random(x.shape) < 0.5, np.nan, 1e6)[unusable]
    found = neighbour_scatter(image, variance, unusable)
    # 84,000 pairs, of which each pixel is in two: to 0.5%
    assert found == pytest.approx(4.7, rel=0.02)
    assert np.isnan(neighbour_scatter(image, variance, np.ones(x.shape, bool)))
