"""Matching: shifted lists are recognised, unrelated ones are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.astrometry.matching import MatchSettings, combine_lists, match_lists

SETTINGS = MatchSettings(search_radius=1.0, tolerance=0.1, separation=0.05, minimum=4)


def lists(seed, n=60, size=40.0, shift=(0.0, 0.0), scatter=0.005, common=0.6, rotation=0.0):
    """Two lists, a part of which is common; returns also the true pairs."""
    rng = np.random.default_rng(seed)
    reference = rng.uniform(0, size, (n, 2))
    chosen = rng.permutation(n)[: int(common * n)]
    cos, sin = np.cos(rotation), np.sin(rotation)
    turned = (reference[chosen] - size / 2) @ np.array([[cos, sin], [-sin, cos]]) + size / 2
    own = turned - shift + rng.normal(0, scatter, (len(chosen), 2))
    others = rng.uniform(0, size, (n - len(chosen), 2))
    positions = np.concatenate([own, others])
    return reference, positions, chosen


class TestShifted:
    @given(
        seed=st.integers(0, 10**6),
        angle=st.floats(0, 2 * np.pi),
        length=st.floats(0, 0.99),
    )
    @settings(max_examples=40, deadline=None)
    def test_shift_and_pairs(self, seed, angle, length):
        shift = length * np.array([np.cos(angle), np.sin(angle)])
        reference, positions, chosen = lists(seed, shift=shift)
        match = match_lists(reference, positions, SETTINGS)
        assert match.significant
        # 36 sources of 5 mas: 0.8 mas for a mean, 1.05 for a median, five sigma
        np.testing.assert_allclose(match.shift, shift, atol=0.006)
        pairs = dict(zip(match.positions.tolist(), match.reference.tolist(), strict=True))
        true = {i: int(number) for i, number in enumerate(chosen)}
        right = sum(pairs.get(i) == number for i, number in true.items())
        assert right >= 0.9 * len(true)
        assert len(set(pairs.values())) == len(pairs)
        # chance: density 0.0375 in a circle of at most 0.1
        assert sum(i not in true for i in pairs) <= 2

    def test_few_sources(self):
        reference, positions, _ = lists(3, n=7, size=20, shift=(0.5, -0.4), common=0.8)
        match = match_lists(reference, positions, SETTINGS)
        assert match.significant
        assert len(match) >= 4
        np.testing.assert_allclose(match.shift, (0.5, -0.4), atol=0.02)

    def test_rotation_widens_the_scatter(self):
        # 5 arcmin over 64 arcsec: 46 mas at the corners
        reference, positions, _ = lists(
            4, n=200, size=64, shift=(0.3, 0.3), rotation=np.deg2rad(5 / 60), scatter=0.001
        )
        match = match_lists(reference, positions, SETTINGS)
        assert match.significant
        assert len(match) > 100

    def test_wide_tolerance_in_a_crowded_field(self):
        # what jwst's defaults ask for: several chance neighbours for each source
        reference, positions, chosen = lists(5, n=800, size=64, shift=(0.5, 0.2))
        match = match_lists(reference, positions, MatchSettings(2.0, 0.7, 0.0, 15))
        assert match.significant
        np.testing.assert_allclose(match.shift, (0.5, 0.2), atol=0.003)
        assert len(match) < 1.1 * len(chosen)  # the tolerance has shrunk

    def test_expected_shift(self):
        reference, positions, _ = lists(6, shift=(7.0, -5.0))
        near = MatchSettings(0.0, 0.1, 0.05, 4, offset=(7.0, -5.0))
        assert match_lists(reference, positions, near).significant
        assert not match_lists(reference, positions, SETTINGS).significant

    @pytest.mark.slow
    def test_crowded_lists_are_thinned_for_the_search(self):
        reference, positions, _ = lists(7, n=6000, size=30, shift=(0.4, 0.1), scatter=0.002)
        match = match_lists(reference, positions, MatchSettings(2.0, 0.02, 0.0, 5))
        assert match.significant
        np.testing.assert_allclose(match.shift, (0.4, 0.1), atol=0.002)


class TestUnrelated:
    @pytest.mark.parametrize(
        ("n", "m", "size", "settings"),
        [
            (10, 20, 20.0, MatchSettings(1.0, 0.1, 0.1, 3)),
            (40, 700, 64.0, MatchSettings(6.0, 0.3, 0.1, 4)),
            (400, 700, 64.0, MatchSettings(2.0, 0.7, 0.0, 4)),
        ],
    )
    def test_not_significant(self, n, m, size, settings):
        rng = np.random.default_rng(8)
        found = sum(
            match_lists(
                rng.uniform(0, size, (m, 2)), rng.uniform(0, size, (n, 2)), settings
            ).significant
            for _ in range(30)
        )
        # one in 10000 is allowed for each
        assert found == 0

    def test_too_few(self):
        reference, positions, _ = lists(9, n=20)
        few = MatchSettings(1.0, 0.1, 0.05, minimum=50)
        assert not match_lists(reference, positions, few).significant

    @pytest.mark.parametrize("n", [0, 1])
    def test_nothing_there(self, n):
        full = np.random.default_rng(1).uniform(0, 10, (20, 2))
        for match in (
            match_lists(np.zeros((n, 2)) + 50, full, SETTINGS),
            match_lists(full, np.zeros((n, 2)) + 50, SETTINGS),
        ):
            assert len(match) == 0
            assert not match.significant

    def test_nan_is_left_out(self):
        reference, positions, _ = lists(10, shift=(0.2, 0.1))
        positions[3] = np.nan
        match = match_lists(reference, positions, SETTINGS)
        assert match.significant
        assert 3 not in match.positions


def test_close_sources_are_left_out():
    reference, positions, _ = lists(11, n=50)
    doubled = np.concatenate([reference, reference[:10] + 0.03])
    match = match_lists(doubled, positions, MatchSettings(1.0, 0.1, 0.1, 4))
    assert match.significant
    assert not set(match.reference) & {*range(10), *range(50, 60)}


class TestCombined:
    def test_each_source_once_at_its_mean(self):
        """Three lists of which each has its own part of the sources."""
        rng = np.random.default_rng(1)
        true = np.stack(np.meshgrid(*2 * [np.arange(14.0)]), -1).reshape(-1, 2)
        sigmas = (0.002, 0.004, 0.008)
        parts = [np.flatnonzero(rng.random(len(true)) < 0.7) for _ in sigmas]
        lists = [
            true[part] + rng.normal(0, s, (len(part), 2))
            for part, s in zip(parts, sigmas, strict=True)
        ]
        errors = [np.full(len(part), s) for part, s in zip(parts, sigmas, strict=True)]
        combined = combine_lists(lists, errors, 0.1)
        seen = np.unique(np.concatenate(parts))
        assert len(combined) == len(seen)
        distance = np.hypot(*(combined[:, None] - true[seen]).transpose(2, 0, 1))
        nearest = distance.argmin(axis=0)
        assert len(set(nearest)) == len(seen)
        weight = np.array(
            [sum(s**-2 * (i in p) for p, s in zip(parts, sigmas, strict=True)) for i in seen]
        )
        chi = (combined[nearest] - true[seen]) * np.sqrt(weight)[:, None]
        assert abs(chi.std() - 1) < 3 / np.sqrt(2 * chi.size)

    def test_nothing(self):
        assert combine_lists([], [], 0.1).shape == (0, 2)
        assert combine_lists([np.zeros((0, 2))], [np.zeros(0)], 0.1).shape == (0, 2)
        one = combine_lists([np.zeros((0, 2)), [[1.0, 2.0]]], [np.zeros(0), [0.1]], 0.1)
        np.testing.assert_array_equal(one, [[1.0, 2.0]])
