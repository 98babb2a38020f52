"""Tangent planes and overlaps."""

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.survey.select.footprints import overlap_groups, sky_center, to_plane, to_sky
from tests.survey.sky import square

CENTER = (359.9, 52.9)


def test_plane_is_that_of_fits():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = CENTER
    rng = np.random.default_rng(1)
    positions = CENTER + rng.uniform(-1, 1, (100, 2))
    expected = wcs.wcs_world2pix(positions, 0) + 1
    np.testing.assert_allclose(to_plane(positions, CENTER), expected, atol=1e-11)


@given(
    st.floats(-0.7, 0.7),
    st.floats(-0.7, 0.7),
    st.floats(0, 360, exclude_max=True),
    st.floats(-89.9, 89.9),
)
def test_plane_and_sky_are_inverse(east, north, ra, dec):
    position = np.array([to_sky(east, north, (ra, dec))])
    # 1e-9 deg is 4 microarcsec
    np.testing.assert_allclose(to_plane(position, (ra, dec)), [(east, north)], atol=1e-9)


def test_center_across_the_first_meridian():
    ra, dec = sky_center([square(-60, 0, 10, center=(0, 10)), square(60, 0, 10, center=(0, 10))])
    assert min(ra, 360 - ra) < 1e-6
    assert dec == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize("ra", [214.9, 0.0])
@pytest.mark.parametrize("angle", [0, 37])
@pytest.mark.parametrize(("shared", "together"), [(0.5, True), (0.3, True), (0.1, False)])
def test_overlap_has_to_exceed_a_fraction(ra, angle, shared, together):
    # moved along a side by (1 - shared) of it
    turn = np.radians(angle)
    east, north = (1 - shared) * 64 * np.array([np.cos(turn), np.sin(turn)])
    items = [[square(x, y, 64, angle, (ra, 52.9))] for x, y in ((0, 0), (east, north))]
    # cells of a sixteenth of the side: areas are right to some per cent
    assert (len(set(overlap_groups(items, 0.2))) == 1) is together


def test_chains_are_one_group_and_distant_fields_are_others():
    chain = [[square(40 * number, 0, 64)] for number in range(5)]
    far = [[square(0, 0, 64, center=center)] for center in ((214.9, 54.9), (34.5, -5.2))]
    labels = overlap_groups([far[0], *chain, far[1]], 0.2)
    assert labels.tolist() == [0, 1, 1, 1, 1, 1, 2]


def test_the_smaller_item_decides():
    """A subarray within a full frame belongs to it, though it covers little of it."""
    labels = overlap_groups([[square(0, 0, 64)], [square(20, 20, 4)]], 0.2)
    assert labels.tolist() == [0, 0]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=8),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(places, random):
    # 24 arcsec apart, sides of 64: shares of 0.625, 0.25, 0.39 (diagonal), well off 0.2
    items = [[square(24 * x, 24 * y, 64)] for x, y in places]
    order = list(range(len(items)))
    random.shuffle(order)
    labels = overlap_groups(items, 0.2)
    shuffled = overlap_groups([items[index] for index in order], 0.2)
    same = labels[order][:, None] == labels[order]
    np.testing.assert_array_equal(shuffled[:, None] == shuffled, same)
