"""Fits of corrections: what was put in comes out, to the stated error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.astrometry.fit import FitSettings, fit_jointly, fit_list
from ceers_steps.kernels.astrometry.settings import CorrectionSettings

ARCSEC = np.pi / 180 / 3600


def turned(positions, rotation=0.0, scale=1.0, shift=(0.0, 0.0)):
    cos, sin = np.cos(rotation), np.sin(rotation)
    return scale * positions @ np.array([[cos, sin], [-sin, cos]]) + shift


def field(n, seed, size=60.0):
    return np.random.default_rng(seed).uniform(-size / 2, size / 2, (n, 2)) + np.array([20, -30])


class TestOneList:
    @given(
        seed=st.integers(0, 10**6),
        rotation=st.floats(-300, 300),
        scale=st.floats(-1e-4, 1e-4),
        shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    )
    @settings(max_examples=25, deadline=None)
    def test_exact(self, seed, rotation, scale, shift):
        truth = field(30, seed)
        positions = turned(truth, rotation * ARCSEC, 1 + scale, shift)
        fit = fit_list(positions, truth, np.full(30, 1e-3), FitSettings("rscale"))
        # the rotation is taken as small: its square, 2e-6 at most, makes a scale of 1e-6
        np.testing.assert_allclose(fit.apply(positions), truth, atol=2e-4)
        assert fit.rotation * 3600 == pytest.approx(-rotation, abs=0.5)
        assert fit.scale == pytest.approx(1 / (1 + scale), abs=5e-6)
        assert fit.n_used == 30

    @pytest.mark.parametrize(("geometry", "size"), [("shift", 2), ("rshift", 3), ("rscale", 4)])
    def test_what_is_not_fitted_stays(self, geometry, size):
        truth = field(50, 1)
        positions = turned(truth, 30 * ARCSEC, 1.0001, (0.3, 0.1))
        fit = fit_list(positions, truth, np.full(50, 1e-3), FitSettings(geometry))
        assert (fit.rotation != 0) == (size > 2)
        assert (abs(fit.scale - 1) > 1e-9) == (size > 3)

    def test_general(self):
        truth = field(50, 1)
        matrix = np.array([[1.0001, 2e-4], [-1e-4, 0.9999]])
        positions = (truth - [0.1, 0.2]) @ np.linalg.inv(matrix).T
        fit = fit_list(positions, truth, np.full(50, 1e-3), FitSettings("general"))
        np.testing.assert_allclose(fit.apply(positions), truth, atol=1e-5)

    def test_error_is_that_stated(self):
        truth, sigma = field(40, 2), np.geomspace(1e-3, 0.03, 40)
        rng = np.random.default_rng(3)
        ratios, errors = [], []
        for _ in range(100):
            noisy = truth + rng.normal(0, 1, truth.shape) * sigma[:, None]
            noisy_reference = truth + rng.normal(0, 0.015, truth.shape)
            fit = fit_list(noisy, noisy_reference, sigma, FitSettings("shift", clip=4))
            ratios.append(fit.shift / fit.shift_error)
            errors.append(fit.shift_error)
        # 200 numbers: their scatter is known to 5%
        assert np.std(ratios) == pytest.approx(1, abs=0.2)
        # the optimum: weights with the 15 mas that nobody told it of
        best = 1 / np.sqrt(np.sum(1 / (sigma**2 + 0.015**2)))
        assert np.median(errors) == pytest.approx(best, rel=0.15)

    def test_outliers_are_clipped(self):
        truth, rng = field(60, 4), np.random.default_rng(5)
        positions = truth + rng.normal(0, 0.002, truth.shape)
        positions[:8] += [0.15, -0.1]
        fit = fit_list(positions, truth, np.full(60, 0.002), FitSettings("shift"))
        assert not fit.used[:8].any()
        assert fit.n_used > 45
        # 52 sources of 2 mas: 0.28 mas, four sigma
        np.testing.assert_allclose(fit.shift, 0, atol=0.0012)
        assert fit.rmse == pytest.approx(0.002 * np.sqrt(2), rel=0.3)
        assert fit.mae < fit.rmse

    def test_no_clipping(self):
        truth = field(60, 4)
        positions = truth.copy()
        positions[0] += 0.2
        fit = fit_list(positions, truth, np.full(60, 0.002), FitSettings("shift", nclip=0))
        assert fit.used.all()

    def test_expected_rotation_of_few_sources(self):
        truth, rng = field(8, 6, size=20), np.random.default_rng(7)
        free, held = [], []
        for _ in range(60):
            positions = turned(truth, 20 * ARCSEC)
            reference = truth + rng.normal(0, 0.015, truth.shape)
            for expected, results in ((False, free), (True, held)):
                settings = FitSettings("rshift", 0, expected_rotation=expected)
                fit = fit_list(positions, reference, np.full(8, 1e-3), settings)
                results.append(3600 * fit.rotation + 20)
        # a free rotation is known to 15 mas / (sqrt(8) * 8 arcsec), about 2 arcmin
        assert np.std(free) > 60
        assert np.sqrt(np.mean(np.square(held))) < 30

    def test_expected_rotation_of_many_sources(self):
        truth, rng = field(600, 8), np.random.default_rng(9)
        reference = truth + rng.normal(0, 0.015, truth.shape)
        settings = FitSettings("rshift", expected_rotation=True)
        fit = fit_list(turned(truth, 60 * ARCSEC), reference, np.full(600, 1e-3), settings)
        # known to 15 mas / (sqrt(600) * 24 arcsec), 5 arcsec
        assert fit.rotation * 3600 == pytest.approx(-60, abs=15)

    def test_too_few(self):
        with pytest.raises(ValueError, match="1 sources are too few for a fit of rshift"):
            fit_list(np.zeros((1, 2)), np.zeros((1, 2)), np.ones(1), FitSettings("rshift"))

    def test_unknown_geometry(self):
        with pytest.raises(ValueError, match="geometry='affine': use one of shift"):
            FitSettings("affine")


def exposures(n_lists, seed, n=60, size=60.0, noise=(5e-4, 0.02), seen=0.7, rotation=0.0):
    """Lists of a field with offsets, parts of it in each."""
    rng = np.random.default_rng(seed)
    sky = field(n, seed, size)
    faintness = np.geomspace(*noise, n)
    positions, sigmas, sources, offsets = [], [], [], []
    for _ in range(n_lists):
        own = np.flatnonzero(rng.uniform(size=n) < seen)
        offset = rng.normal(0, 0.05, 2)
        noisy = sky[own] + rng.normal(0, 1, (len(own), 2)) * faintness[own][:, None]
        positions.append(turned(noisy, rng.normal(0, rotation) * ARCSEC, shift=-offset))
        sigmas.append(faintness[own])
        sources.append(own)
        offsets.append(offset)
    used = np.unique(np.concatenate(sources), return_inverse=True)[1]
    splits = np.cumsum([len(s) for s in sources])[:-1]
    return sky, positions, sigmas, np.split(used, splits), np.array(offsets)


class TestJointFit:
    def test_relative_shifts_and_their_errors(self):
        ratios = []
        for seed in range(25):
            _, positions, sigmas, sources, offsets = exposures(4, seed)
            joint = fit_jointly(positions, sigmas, sources, FitSettings("shift", clip=4))
            shifts = np.array([fit.shift for fit in joint.fits])
            wrong = (shifts - shifts.mean(0)) - (offsets - offsets.mean(0))
            ratios.append(wrong / [[fit.shift_error] for fit in joint.fits])
        # 200 numbers, three of four independent: their scatter is known to 6%
        assert np.std(ratios) == pytest.approx(1, abs=0.2)

    def test_mean_of_the_corrections_is_nothing(self):
        _, positions, sigmas, sources, _ = exposures(5, 1)
        joint = fit_jointly(positions, sigmas, sources, FitSettings("shift"))
        np.testing.assert_allclose(np.mean([fit.shift for fit in joint.fits], axis=0), 0, atol=1e-6)

    def test_rotations(self):
        _, positions, sigmas, sources, _ = exposures(4, 2, noise=(1e-4, 1e-4), rotation=60.0)
        joint = fit_jointly(positions, sigmas, sources, FitSettings("rshift"))
        moved = [fit.apply(p) for fit, p in zip(joint.fits, positions, strict=True)]
        for source in range(int(max(s.max() for s in sources)) + 1):
            same = [m[s == source] for m, s in zip(moved, sources, strict=True)]
            spread = np.ptp(np.concatenate(same), axis=0)
            assert np.all(spread < 0.001)

    def test_parts_of_the_rows_give_the_same(self, monkeypatch):
        _, positions, sigmas, sources, _ = exposures(4, 2)
        whole = fit_jointly(positions, sigmas, sources, FitSettings("rshift"))
        monkeypatch.setattr(
            "ceers_steps.kernels.astrometry.fit.CORRECTIONS", CorrectionSettings(rows_at_once=7)
        )
        parts = fit_jointly(positions, sigmas, sources, FitSettings("rshift"))
        for one, other in zip(whole.fits, parts.fits, strict=True):
            np.testing.assert_allclose(one.shift, other.shift, atol=1e-9)
            np.testing.assert_array_equal(one.used, other.used)

    def test_combined_positions_are_better_than_single_ones(self):
        sky, positions, sigmas, sources, offsets = exposures(6, 3, noise=(0.01, 0.01), seen=1.0)
        joint = fit_jointly(positions, sigmas, sources, FitSettings("shift"))
        wrong = joint.positions - (sky - offsets.mean(0))
        # six positions each: 10 mas / sqrt(6)
        assert np.std(wrong) == pytest.approx(0.01 / np.sqrt(6), rel=0.25)
        assert np.median(joint.sigma) == pytest.approx(0.01 / np.sqrt(6), rel=0.2)

    def test_scatter_beyond_the_noise_is_found(self):
        _, positions, sigmas, sources, _ = exposures(6, 4, noise=(0.01, 0.01), seen=1.0)
        told = [sigma / 10 for sigma in sigmas]
        joint = fit_jointly(positions, told, sources, FitSettings("shift"))
        assert np.median(joint.sigma) == pytest.approx(0.01 / np.sqrt(6), rel=0.25)

    def test_bad_position_of_a_bright_source_is_clipped(self):
        _, positions, sigmas, sources, offsets = exposures(4, 5)
        positions[1][0] += [0.08, 0.0]
        joint = fit_jointly(positions, sigmas, sources, FitSettings("shift"))
        shifts = np.array([fit.shift for fit in joint.fits])
        wrong = (shifts - shifts.mean(0)) - (offsets - offsets.mean(0))
        errors = np.array([[fit.shift_error] for fit in joint.fits])
        assert np.all(np.abs(wrong) < 5 * errors)

    def test_list_alone(self):
        sigma = np.full(3, 0.01)
        joint = fit_jointly([field(3, 1)], [sigma], [np.arange(3)], FitSettings("rscale"))
        (fit,) = joint.fits
        np.testing.assert_allclose(joint.positions, field(3, 1), atol=1e-12)
        assert fit.n_used == 0
        assert np.isnan(fit.rmse)
