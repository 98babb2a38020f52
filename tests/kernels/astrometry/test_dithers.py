"""Dithers and reference: which lists belong together, and where they end."""

import numpy as np
import pytest

from ceers_steps.kernels.astrometry.dithers import align_dithers, align_to_reference
from ceers_steps.kernels.astrometry.fit import FitSettings
from ceers_steps.kernels.astrometry.matching import MatchSettings

MATCH = MatchSettings(1.0, 0.1, 0.05, 4)
FIT = FitSettings("shift")


def exposures(centres, seed=1, density=0.02, size=40.0, noise=(5e-4, 0.01)):
    """Lists of one sky about several places (arcsec), each with an offset of its own."""
    rng = np.random.default_rng(seed)
    reach = size / 2 + np.abs(centres).max()
    sky = rng.uniform(-reach, reach, (int(density * (2 * reach) ** 2), 2))
    faintness = 10 ** rng.uniform(*np.log10(noise), len(sky))
    positions, sigmas, offsets = [], [], []
    for centre in centres:
        inside = np.abs(sky - centre).max(axis=1) < size / 2
        inside &= rng.uniform(size=len(sky)) < 0.8
        offset = rng.normal(0, 0.1, 2)
        spread = rng.normal(0, 1, (inside.sum(), 2)) * faintness[inside][:, None]
        noise_only = rng.uniform(-size / 2, size / 2, (5, 2)) + centre
        positions.append(np.concatenate([sky[inside] - offset + spread, noise_only]))
        sigmas.append(np.concatenate([faintness[inside], np.full(5, 0.01)]))
        offsets.append(offset)
    return sky, positions, sigmas, np.array(offsets)


def relative(parts, offsets):
    """Error of the shifts of each part from their mean."""
    errors = []
    for part in parts:
        shifts = np.array([fit.shift for fit in part.joint.fits])
        true = offsets[part.members]
        errors.append((shifts - shifts.mean(0)) - (true - true.mean(0)))
    return errors


@pytest.mark.parametrize("seed", range(5))
def test_dithers(seed):
    centres = np.array([[0, 0], [5, 3], [-4, 6], [2, -7]])
    _, positions, sigmas, offsets = exposures(centres, seed)
    parts = align_dithers(positions, sigmas, MATCH, FIT)
    assert [part.members for part in parts] == [[0, 1, 2, 3]]
    (error,) = relative(parts, offsets)
    stated = np.array([fit.shift_error for fit in parts[0].joint.fits])
    assert np.all(stated < 1e-3)
    # eight numbers: five sigma
    assert np.all(np.abs(error) < 5 * stated[:, None])


def test_a_chain_hangs_together():
    # first and last have no pixel in common
    centres = np.array([[0, 0], [25, 0], [50, 0]])
    _, positions, sigmas, offsets = exposures(centres)
    (part,) = align_dithers(positions, sigmas, MATCH, FIT)
    (error,) = relative([part], offsets)
    assert np.abs(error).max() < 5 * max(fit.shift_error for fit in part.joint.fits)


def test_the_last_list_joins_two_parts():
    centres = np.array([[0, 0], [50, 0], [25, 0]])
    _, positions, sigmas, _ = exposures(centres)
    (part,) = align_dithers(positions, sigmas, MATCH, FIT)
    assert part.members == [0, 1, 2]


def test_lists_without_common_sky_stay_apart():
    centres = np.array([[0, 0], [200, 0], [4, 4], [203, 2], [-300, 0]])
    _, positions, sigmas, _ = exposures(centres)
    parts = align_dithers(positions, sigmas, MATCH, FIT)
    assert [part.members for part in parts] == [[0, 2], [1, 3], [4]]
    assert parts[2].joint.fits[0].n_used == 0


def test_unrelated_lists_stay_apart():
    rng = np.random.default_rng(2)
    positions = [rng.uniform(0, 40, (40, 2)) for _ in range(4)]
    parts = align_dithers(positions, [np.full(40, 0.01)] * 4, MATCH, FIT)
    assert [part.members for part in parts] == [[0], [1], [2], [3]]


def test_order_does_not_matter():
    centres = np.array([[0, 0], [5, 3], [-4, 6]])
    _, positions, sigmas, _ = exposures(centres)
    (one,) = align_dithers(positions, sigmas, MATCH, FIT)
    (other,) = align_dithers(positions[::-1], sigmas[::-1], MATCH, FIT)
    for fit, same in zip(one.joint.fits, other.joint.fits[::-1], strict=True):
        # which of two close sources is taken for the same may differ: below the errors
        np.testing.assert_allclose(fit.shift, same.shift, atol=2 * fit.shift_error)


class TestReference:
    def field(self, n=120, shift=(0.5, -0.3), scatter=0.015, seed=3):
        rng = np.random.default_rng(seed)
        reference = rng.uniform(-30, 30, (n, 2))
        positions = reference[: n // 2] - shift + rng.normal(0, scatter, (n // 2, 2))
        return positions, np.full(n // 2, 1e-3), reference

    def test_shift(self):
        positions, sigma, reference = self.field()
        settings = MatchSettings(2.0, 0.3, 0.0, 5)
        result = align_to_reference(positions, sigma, reference, settings, FIT)
        assert result.fit.n_used >= 50
        # 15 mas / sqrt(60): 1.9 mas, four sigma
        np.testing.assert_allclose(result.fit.shift, (0.5, -0.3), atol=0.008)
        assert result.fit.rmse == pytest.approx(0.015 * np.sqrt(2), rel=0.25)
        difference = reference[result.reference] - result.positions
        np.testing.assert_allclose(difference, result.fit.residuals, atol=1e-12)

    def test_shift_beyond_the_search(self):
        positions, sigma, reference = self.field(shift=(5.0, 0.0))
        settings = MatchSettings(2.0, 0.3, 0.0, 5)
        with pytest.raises(ValueError, match=r"\d+ of 60 sources match one of 120"):
            align_to_reference(positions, sigma, reference, settings, FIT)

    def test_nothing_there(self):
        settings = MatchSettings(2.0, 0.3, 0.0, 5)
        positions, sigma, _ = self.field()
        with pytest.raises(ValueError, match="0 of 60 sources match one of 0"):
            align_to_reference(positions, sigma, np.zeros((0, 2)), settings, FIT)
