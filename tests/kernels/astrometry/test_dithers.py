"""Dithers and reference: which lists belong together, and where they end."""

from dataclasses import replace

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


GUIDED = FitSettings("shift", dither_error=0.005)


def faint(seed, n_lists=3, n_sources=8, jitter=0.0):
    """Lists of a few sources in an area of 20 arcsec, of 3 to 15 mas each, each seen by half."""
    rng = np.random.default_rng(seed)
    sky = rng.uniform(-10, 10, (n_sources, 2))
    offsets = rng.normal(0, jitter, (n_lists, 2)) if jitter else np.zeros((n_lists, 2))
    positions, sigmas = [], []
    for offset in offsets:
        seen = rng.uniform(size=n_sources) < 0.5
        seen[0] = True
        sigma = rng.uniform(0.003, 0.015, seen.sum())
        positions.append(sky[seen] - offset + rng.normal(0, 1, (seen.sum(), 2)) * sigma[:, None])
        sigmas.append(sigma)
    return positions, sigmas, offsets


class TestGuideStar:
    """Lists of one visit: the guide star knows their places to 5 mas before anything matches."""

    def shifts(self, seed, fit, **field):
        positions, sigmas, offsets = faint(seed, **field)
        parts = align_dithers(positions, sigmas, MATCH, fit, visits=["v"] * len(positions))
        return parts, relative(parts, offsets)

    @pytest.mark.parametrize("seed", range(8))
    def test_few_matches_do_not_make_good_dithers_bad(self, seed):
        (part,), (error,) = self.shifts(seed, GUIDED)
        assert part.members == [0, 1, 2]
        stated = np.array([fit.shift_error for fit in part.joint.fits])
        assert np.all(stated < 5e-3)
        # true offsets are 0: what moves is the noise of the matches, which the prior limits
        assert np.all(np.abs(error) < 4 * stated[:, None])

    def test_every_list_by_itself_was_worse(self):
        guided, free = [], []
        for seed in range(8):
            guided.append(np.abs(self.shifts(seed, GUIDED)[1][0]).max())
            positions, sigmas, _ = faint(seed, n_sources=24)
            loose = replace(MATCH, minimum=1)
            parts = align_dithers(positions, sigmas, loose, FIT)
            shifts = [fit.shift for part in parts for fit in part.joint.fits]
            free.append(np.abs(shifts - np.mean(shifts, axis=0)).max())
        assert np.max(guided) < 0.008
        assert np.mean(guided) < np.mean(free)

    @pytest.mark.parametrize("jitter", [0.02, 0.1])
    def test_bad_dithers_are_still_found(self, jitter):
        """The guide star was worse than thought: many matches say so."""
        centres = np.array([[0, 0], [5, 3], [-4, 6], [2, -7]])
        _, positions, sigmas, offsets = exposures(centres, 2)
        positions = [p + (1 - jitter / 0.1) * o for p, o in zip(positions, offsets, strict=True)]
        offsets = offsets * jitter / 0.1
        (part,) = align_dithers(positions, sigmas, MATCH, GUIDED, visits=["v"] * 4)
        (error,) = relative([part], offsets)
        stated = np.array([fit.shift_error for fit in part.joint.fits])
        assert np.all(stated < 1e-3)
        assert np.all(np.abs(error) < 5 * stated[:, None])

    @pytest.mark.parametrize("seed", range(8))
    def test_two_sources_tell_of_bad_dithers(self, seed):
        """They agree on 60 mas, where 5 are expected: a wrong guide star, not two wrong sources."""
        rng = np.random.default_rng(seed)
        sky, sigma = rng.uniform(-10, 10, (3, 2)), np.full(2, 0.002)
        # a third source is in one list only
        first, second = (
            sky[:2] + rng.normal(0, 0.002, (2, 2)),
            sky[:2] + rng.normal(0, 0.002, (2, 2)),
        )
        lists = [np.concatenate([first, sky[2:]]), second - (0.06, 0.0)]
        noise = [np.append(sigma, 0.002), sigma]
        (part,) = align_dithers(lists, noise, MATCH, GUIDED, visits=["v", "v"])
        difference = part.joint.fits[1].shift - part.joint.fits[0].shift
        # 2 mas in each of two positions of two sources: 2 mas, four sigma
        np.testing.assert_allclose(difference, (0.06, 0.0), atol=0.008)

    def test_other_visits_are_not_held(self):
        positions, sigmas, _ = faint(1)
        parts = align_dithers(positions, sigmas, MATCH, GUIDED, visits=["a", "b", "c"])
        assert len(parts) > 1
        assert not any(fit.held for part in parts for fit in part.joint.fits)

    def test_a_list_that_contradicts_the_guide_star_stays_apart(self):
        """A second sky with as many sources: not one in common."""
        _, one, sigma, _ = exposures(np.array([[0, 0], [3, 2]]), 1)
        _, other, noise, _ = exposures(np.array([[0, 0]]), 77)
        parts = align_dithers(
            [*one, *other], [*sigma, *noise], MATCH, GUIDED, visits=["v", "v", "v"]
        )
        assert [part.members for part in parts] == [[0, 1], [2]]


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

    @pytest.mark.parametrize(("shift", "at_bound"), [(1.9, False), (2.1, True)])
    def test_a_shift_at_the_end_of_the_search_is_told(self, shift, at_bound):
        """Within the tolerance beyond it a shift is found; it may not be the best."""
        positions, sigma, reference = self.field(shift=(shift, 0.0))
        settings = MatchSettings(2.0, 0.3, 0.0, 5)
        assert align_to_reference(positions, sigma, reference, settings, FIT).at_bound is at_bound

    def test_shift_beyond_the_search(self):
        positions, sigma, reference = self.field(shift=(5.0, 0.0))
        settings = MatchSettings(2.0, 0.3, 0.0, 5)
        with pytest.raises(ValueError, match=r"\d+ of 60 sources match one of 120"):
            align_to_reference(positions, sigma, reference, settings, FIT)

    @pytest.mark.parametrize("offset", [0.0, 3.0])
    @pytest.mark.parametrize("roll", [0.0, 0.1, -0.3])
    def test_offset_and_roll(self, offset, roll):
        """To 3 arcsec and 0.3 degrees, with the prior of a pointing error."""
        positions, sigma, reference = self.field(n=200, shift=(0.0, 0.0))
        angle = np.deg2rad(roll)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = positions @ turn + [0.8 * offset, -0.6 * offset]
        settings = MatchSettings(3.0, 0.3, 0.0, 5)
        fit = FitSettings("rshift", expected_rotation=True)
        result = align_to_reference(moved, sigma, reference, settings, fit)
        assert result.fit.n_used >= 80
        # 15 mas / sqrt(100) over an arm of 17 arcsec: 18 arcsec; the prior takes a part of it
        assert 3600 * (result.fit.rotation - roll) == pytest.approx(0.0, abs=4 * 18)
        error = result.fit.apply(moved) - positions
        assert np.hypot(*error.mean(axis=0)) < 4 * 0.015 / 10

    def test_few_sources_give_a_shift(self):
        positions, sigma, reference = self.field(n=10)
        settings = MatchSettings(2.0, 0.3, 0.0, 4)
        fit = FitSettings("rshift")
        result = align_to_reference(positions, sigma, reference, settings, fit)
        assert result.geometry == "shift"
        assert result.fit.rotation == 0.0
        assert align_to_reference(*self.field(), settings, fit).geometry == "rshift"

    def test_nothing_there(self):
        settings = MatchSettings(2.0, 0.3, 0.0, 5)
        positions, sigma, _ = self.field()
        with pytest.raises(ValueError, match="0 of 60 sources match one of 0"):
            align_to_reference(positions, sigma, np.zeros((0, 2)), settings, FIT)


def test_an_empty_list_goes_with_the_others_of_its_visit():
    """With the guide star it moves as they do; without, and without others, it stays alone."""
    truth = np.random.default_rng(5).uniform(-20, 20, (12, 2))
    off = np.array([0.01, 0.0])
    empty = np.empty((0, 2))
    lists = [empty, truth + off, truth - off, empty]
    sigmas = [np.full(len(each), 0.002) for each in lists]
    fit = FitSettings(dither_error=0.005)
    (part,) = align_dithers(lists, sigmas, MatchSettings(1.0, 0.3), fit, visits=["a"] * 4)
    assert part.members == [0, 1, 2, 3]
    for number in (0, 3):
        assert part.joint.fits[number].held
        np.testing.assert_allclose(part.joint.fits[number].shift, 0, atol=1e-6)
        assert 0.004 < part.joint.fits[number].shift_error < 0.02
    parts = align_dithers(lists, sigmas, MatchSettings(1.0, 0.3), fit, visits=list("bacd"))
    assert [each.members for each in parts] == [[1, 2], [0], [3]]
    (alone,) = align_dithers([empty], sigmas[:1], MatchSettings(1.0, 0.3), fit, visits=["a"])
    assert alone.joint.fits[0].shift_error == np.inf
