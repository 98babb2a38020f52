"""Metrics of mosaics: noise with the correlations of a drizzle, and faults of known size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ceers_steps.validate import mosaic_background
from ceers_steps.validate import mosaic_metrics as mm

SHAPE = (512, 640)
SIGMA = 0.02
KERNEL = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]) / 4
BLANK = np.zeros(SHAPE, bool)
ERR = np.full(SHAPE, SIGMA, np.float32)


def drizzled(seed):
    """White noise of SIGMA, blurred: what a drizzle does to it, its sums over areas kept."""
    white = np.random.default_rng(seed).normal(0, SIGMA, SHAPE)
    return ndimage.convolve(white, KERNEL, mode="wrap").astype(np.float32)


def scene(seed=4, n=60):
    """Gaussian sources on a grid with fluxes over four magnitudes: image, x, y, magnitudes."""
    rng = np.random.default_rng(seed)
    y, x = (
        values.ravel() + rng.uniform(-5, 5, 60)
        for values in np.meshgrid(np.linspace(40, 470, 6), np.linspace(40, 600, 10), indexing="ij")
    )
    mag = rng.uniform(21, 25, n)
    image = np.zeros(SHAPE, np.float32)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for each_x, each_y, flux in zip(x, y, 10 ** (-0.4 * (mag - 26)), strict=True):
        box = np.s_[int(each_y) - 20 : int(each_y) + 21, int(each_x) - 20 : int(each_x) + 21]
        r2 = (rows[box] - each_y) ** 2 + (columns[box] - each_x) ** 2
        image[box] += flux * np.exp(-r2 / (2 * 2.5**2)) / (2 * np.pi * 2.5**2)
    return image, x, y, mag


def test_chi_is_the_ratio_of_the_noises_in_all_blocks():
    chis = mm.block_chi(1.2 * drizzled(1), drizzled(2), ERR, mask=BLANK)
    assert [each.block for each in chis] == [1, 2, 4, 8, 16, 32]
    for each in chis:
        assert abs(each.chi - 1.2) < 4 * each.chi_err
    assert chis[0].chi_err < 0.01
    assert chis[-2].chi_err < 0.06
    # single pixels have less noise than the error array says, large blocks have all of it
    assert chis[0].claimed == pytest.approx(1.2 * np.sqrt((KERNEL**2).sum()), rel=0.02)
    assert chis[-2].claimed == pytest.approx(1.2, rel=0.1)


@pytest.mark.parametrize("n_draws", [1, 4])
def test_the_error_of_chi_is_its_scatter(n_draws):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        residual, *noise = rng.normal(0, SIGMA, (1 + n_draws, 64, 64))
        stack = np.array(noise)
        found.append(mm.block_chi(residual, stack, ERR[:64, :64], mask=BLANK[:64, :64])[1])
    scatter = np.std([each.chi for each in found])
    # 200 draws tell a scatter to 5%
    assert np.mean([each.chi_err for each in found]) == pytest.approx(scatter, rel=0.2)


def test_pixels_far_out_are_counted_and_do_not_change_chi():
    residual = drizzled(1)
    clean = mm.block_chi(residual, drizzled(2), ERR, mask=BLANK)[0]
    hit = np.random.default_rng(3).random(SHAPE) < 0.002
    residual[hit] += 1.0
    hit_chi = mm.block_chi(residual, drizzled(2), ERR, mask=BLANK)[0]
    assert hit_chi.chi == pytest.approx(clean.chi, rel=0.01)
    np.testing.assert_array_equal(mm.outliers(residual, drizzled(2), ERR), hit)
    deep = np.where(np.arange(SHAPE[1]) < 300, 1.0, 5.0).astype(np.float32)  # times the noise
    found = mm.outliers(deep * drizzled(1), deep * drizzled(2), deep * ERR)
    assert found.sum() <= 2  # 0.2 expected


def test_masked_and_missing_pixels_are_left_out():
    residual, noise = drizzled(1), drizzled(2)
    mask = BLANK.copy()
    mask[:100] = True
    residual[:100] = 7
    residual[200:240, 100:140] = np.nan
    for each in mm.block_chi(residual, noise, ERR, mask=mask):
        assert abs(each.chi - 1) < 4 * each.chi_err


def test_photometry_of_good_data_scatters_as_predicted():
    truth, x, y, mag = scene()
    found = mm.aperture_photometry(truth + drizzled(5), truth, drizzled(6), ERR, x, y, radius=6.0)
    assert len(found.used) == len(x)
    pull = found.error / found.sigma
    assert np.mean(pull**2) == pytest.approx(1, abs=4 * np.sqrt(2 / len(x)))
    # the blur moves noise over the edge of the aperture: less than for independent pixels
    assert 0.85 < found.correlation < 1
    for each in mm.bin_photometry(found, mag, (21, 23, 25)):
        assert abs(each.bias) < 4 * each.bias_err
        assert abs(each.chi - 1) < 4 * each.chi_err


def test_lost_flux_is_found():
    truth, x, y, mag = scene()
    found = mm.aperture_photometry(
        0.97 * truth + drizzled(5), truth, drizzled(6), ERR, x, y, radius=6.0
    )
    (each,) = mm.bin_photometry(found, mag, (21, 25))
    assert each.n == len(x)
    assert each.bias == pytest.approx(-0.03, abs=4 * each.bias_err)
    assert each.bias_err < 0.01


def test_apertures_with_missing_pixels_are_left_out():
    truth, x, y, _ = scene()
    image = truth + drizzled(5)
    image[int(y[7]), int(x[7])] = np.nan
    x = np.append(x, [2.0, -50.0])
    y = np.append(y, [100.0, 100.0])
    found = mm.aperture_photometry(image, truth, drizzled(6), ERR, x, y, radius=6.0)
    assert sorted(set(range(len(x))) - set(found.used)) == [7, 60, 61]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_isolated_sources_are_apart_and_none_is_left_out_for_nothing(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 50, (2, 30))
    flux = rng.uniform(1, 2, 30)
    keep = mm.isolated(x, y, flux, 6.0)
    apart = np.hypot(x - x[:, None], y - y[:, None])
    for one in range(30):
        brighter = (apart[one] < 6) & (flux > flux[one])
        assert keep[one] == (not brighter.any())


def test_positions_find_a_shift():
    truth, x, y, mag = scene()
    bright = mag < 23
    moved = ndimage.shift(truth, (-0.3, 0.2), order=3) + drizzled(5)
    true = mm.windowed_positions(truth, x[bright], y[bright], sigma=2.5)
    found = mm.windowed_positions(moved, x[bright], y[bright], sigma=2.5)
    offset = mm.position_offset(found[0] - true[0], found[1] - true[1])
    assert offset.n == bright.sum()
    assert offset.err < 0.02
    assert offset.east == pytest.approx(0.2, abs=4 * offset.err)
    assert offset.north == pytest.approx(-0.3, abs=4 * offset.err)
    assert offset.distance == pytest.approx(0.36, abs=0.06)


def test_positions_without_a_source_or_with_missing_pixels_are_nan():
    truth, x, y, _ = scene()
    truth[int(y[0]) - 2 : int(y[0]) + 3, int(x[0]) - 2 : int(x[0]) + 3] = np.nan
    found_x, found_y = mm.windowed_positions(truth, x[:2], y[:2], sigma=2.5)
    assert np.isnan(found_x[0])
    assert found_y[1] == pytest.approx(y[1], abs=0.01)
    with pytest.raises(ValueError, match="3 are needed"):
        mm.position_offset(found_x, found_y)


def test_background_left_over_is_found_under_faint_sources_only():
    truth, x, y, mag = scene()
    noise = drizzled(6)
    sky_noise = mm.robust_scatter(noise)
    faint = mosaic_background.faint_source_pixels(truth, sky_noise, x, y, mag < 23)
    row, column = np.rint(y).astype(int), np.rint(x).astype(int)
    assert not faint[row[mag < 23], column[mag < 23]].any()
    middle = truth[row, column] > sky_noise
    assert faint[row, column][middle & (mag >= 23)].all()
    residual = drizzled(5) + 0.3 * sky_noise * faint
    under = mosaic_background.background_residual(residual, noise, faint, sky_noise=sky_noise)
    outside = mosaic_background.background_residual(residual, noise, ~faint, sky_noise=sky_noise)
    assert under.mean == pytest.approx(0.3, abs=4 * under.err)
    assert abs(outside.mean) < 4 * outside.err
    with pytest.raises(ValueError, match="no pixel"):
        mosaic_background.background_residual(residual, noise, BLANK, sky_noise=sky_noise)
