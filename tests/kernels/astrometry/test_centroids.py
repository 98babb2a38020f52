"""Source lists: centroids recover where sources were put, and flags what cannot be used."""

import numpy as np
import pytest
import sep
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.kernels.astrometry.centroids import (
    BLENDED,
    CLOSE,
    COMPACT,
    EDGE,
    FAINT,
    TOUCHED,
    CatalogSettings,
    SourceList,
    find_sources,
)

NOISE = 0.02


def draw(places, fluxes, sigma=1.5, shape=(200, 220), sky=3.0, seed=0):
    """Gaussian sources on a sky with noise; returns image and error."""
    y, x = np.indices(shape)
    image = np.full(shape, sky)
    for (x0, y0), flux in zip(places, fluxes, strict=True):
        profile = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2)
        image += flux * profile / (2 * np.pi * sigma**2)
    image += np.random.default_rng(seed).normal(0, NOISE, shape)
    return image.astype(np.float32), np.full(shape, NOISE, np.float32)


def grid_of_places(seed=1, step=25.0):
    """Places far from each other, at all fractions of a pixel."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(20 + step * np.arange(8), 20 + step * np.arange(7))
    return np.column_stack([x.ravel(), y.ravel()]) + rng.uniform(-3, 3, (x.size, 2))


def no_mask(image):
    return np.zeros(image.shape, bool)


def true_places(found, places):
    """Return for each source the nearest place."""
    return places[
        np.argmin(
            np.hypot(found.x[:, None] - places[:, 0], found.y[:, None] - places[:, 1]), axis=1
        )
    ]


def nearest(found, places):
    """Return for each place the number of the nearest source."""
    return [int(np.argmin(np.hypot(found.x - x, found.y - y))) for x, y in places]


class TestCentroids:
    @pytest.mark.parametrize("sigma", [0.9, 1.5, 4.0])
    def test_errors_are_those_stated(self, sigma):
        # the errors are those of the noise: neighbours within 10 sigma pull by more
        places = grid_of_places(step=max(25.0, 12 * sigma))
        flux = np.geomspace(3, 60, len(places)) * sigma**1.5
        image, error = draw(places, flux, sigma, shape=(380, 420))
        found = find_sources(image, error, no_mask(image)).good()
        assert len(found) >= 0.8 * len(places)
        truth = true_places(found, places)
        z = np.concatenate([found.x - truth[:, 0], found.y - truth[:, 1]])
        z /= np.tile(found.sigma, 2)
        # 100 numbers of unit variance: their mean and scatter are known to 0.1 and 0.07;
        # windowed centroids of Gaussians are close to, not exactly, what the formula says
        assert abs(z.mean()) < 0.4
        assert 0.6 < z.std() < 1.4

    def test_bright_sources_to_a_hundredth_of_a_pixel(self):
        places = grid_of_places()
        image, error = draw(places, np.full(len(places), 3000.0), 1.2)
        found = find_sources(image, error, no_mask(image)).good()
        truth = true_places(found, places)
        assert len(found) == len(places)
        # sigma from the noise: 0.02 * 2 * sqrt(pi) * 1.2^2 / 3000 is far below
        np.testing.assert_allclose(found.x, truth[:, 0], atol=0.01)
        np.testing.assert_allclose(found.y, truth[:, 1], atol=0.01)
        assert np.all(np.diff(found.flux) <= 0)

    def test_half_light_radius(self):
        places = grid_of_places()
        image, error = draw(places, np.full(len(places), 300.0), 2.0)
        found = find_sources(image, error, no_mask(image)).good()
        # of a Gaussian 1.177 sigma
        assert np.median(found.size) == pytest.approx(2.0 * 1.177, rel=0.05)

    @given(sky=st.floats(-100, 100), factor=st.floats(0.01, 100))
    @settings(max_examples=8, deadline=None)
    def test_sky_and_unit_do_not_matter(self, sky, factor):
        places = grid_of_places()
        image, error = draw(places, np.full(len(places), 50.0))
        first = find_sources(image, error, no_mask(image)).good()
        other = find_sources((image + sky) * factor, error * factor, no_mask(image)).good()
        assert len(first) == len(other)
        order, other_order = np.argsort(first.y), np.argsort(other.y)
        # float32 rounding of a sky of 100 on noise of 0.02: 4e-4 of the noise
        np.testing.assert_allclose(first.x[order], other.x[other_order], atol=2e-3)
        np.testing.assert_allclose(first.snr[order], other.snr[other_order], rtol=2e-2)

    def test_transposed_image(self):
        places = grid_of_places()
        image, error = draw(places, np.full(len(places), 100.0), shape=(220, 220))
        first = find_sources(image, error, no_mask(image)).good()
        other = find_sources(image.T, error, no_mask(image)).good()
        assert len(first) == len(other)
        np.testing.assert_allclose(np.sort(first.x), np.sort(other.y), atol=5e-3)

    def test_bad_pixels_beside_the_core_are_filled(self):
        places = grid_of_places()
        image, error = draw(places, np.full(len(places), 500.0), 2.0)
        mask = np.random.default_rng(5).uniform(size=image.shape) < 0.005
        image[mask] = np.nan
        found = find_sources(image, error, mask).good()
        truth = true_places(found, places)
        assert len(found) > 0.5 * len(places)
        # at most 3% of the weight is missing, and what is missing is interpolated
        np.testing.assert_allclose(found.x, truth[:, 0], atol=0.06)
        np.testing.assert_allclose(found.y, truth[:, 1], atol=0.06)


@pytest.fixture(scope="module")
def found():
    """One source of each kind."""
    places = [(50, 50), (100, 50), (104, 53), (3, 100), (150, 150), (50, 150), (100, 150)]
    fluxes = [200, 200, 120, 200, 200, 1.2, 200]
    image, error = draw(places, fluxes)
    image[150, 152:] += np.where(np.arange(image.shape[1] - 152) == 40, 20.0, 0)  # (192, 150)
    mask = no_mask(image)
    mask[150, 149:152] = True
    settings = CatalogSettings(detect_minarea=1, kernel_fwhm=1.0, detect_thresh=2, snr_threshold=15)
    return find_sources(image, error, mask, settings)


class TestFlags:
    def at(self, found, x, y):
        return found.flags[nearest(found, [(x, y)])[0]]

    def test_isolated_source_is_good(self, found):
        assert self.at(found, 50, 50) == 0
        assert self.at(found, 100, 150) == 0

    def test_blend(self, found):
        assert self.at(found, 100, 50) & (BLENDED | CLOSE)

    def test_edge(self, found):
        assert self.at(found, 3, 100) & EDGE

    def test_bad_core(self, found):
        assert self.at(found, 150, 150) & TOUCHED

    def test_faint(self, found):
        assert self.at(found, 50, 150) & FAINT

    def test_single_pixel(self, found):
        assert self.at(found, 192, 150) & COMPACT

    def test_good_are_those_without_flags(self, found):
        assert len(found.good()) == np.sum(found.flags == 0) >= 2


class TestNothingToFind:
    def test_all_masked(self):
        image, error = draw([(50, 50)], [100])
        assert len(find_sources(image, error, np.ones(image.shape, bool))) == 0

    def test_all_nan(self):
        image, error = draw([(50, 50)], [100])
        assert len(find_sources(image * np.nan, error, no_mask(image))) == 0
        assert len(find_sources(image, error * np.nan, no_mask(image))) == 0

    def test_flat(self):
        image, error = draw([], [])
        assert len(find_sources(image, error, no_mask(image)).good()) == 0

    def test_tiny(self):
        image, error = draw([(4, 4)], [100], shape=(9, 9))
        assert isinstance(find_sources(image, error, no_mask(image)), SourceList)

    def test_inputs_are_left_alone(self):
        image, error = draw([(50, 50)], [100])
        image[3, 3] = np.nan
        mask = no_mask(image)
        before = image.copy(), error.copy()
        find_sources(image, error, mask)
        np.testing.assert_array_equal(image, before[0])
        np.testing.assert_array_equal(error, before[1])
        assert not mask.any()


def test_a_galaxy_that_fills_the_image():
    # more pixels above the threshold than sep has room for by default
    image, error = draw([(300, 300)], [3e7], sigma=100.0, shape=(600, 600))
    found = find_sources(image, error, no_mask(image), CatalogSettings(bkg_boxsize=600))
    assert len(found) >= 1


def test_what_cannot_be_taken_apart_is_told(monkeypatch):
    image, error = draw([(50, 50)], [100.0])
    room = sep.get_extract_pixstack()

    def extract(*args, **kwargs):
        raise Exception("object deblending overflow")

    monkeypatch.setattr(sep, "extract", extract)
    with pytest.raises(ValueError, match="cannot be taken apart: object deblending overflow"):
        find_sources(image, error, no_mask(image))
    assert sep.get_extract_pixstack() == room
