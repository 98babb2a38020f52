"""Outskirts of large sources are found by their profile, and do not go with the stripes."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ceers_steps.kernels.stripes import left_over, posterior
from ceers_steps.kernels.stripes.large_sources import (
    find_large_sources,
    outskirts_light,
    outskirts_mask,
)
from ceers_steps.kernels.stripes.posterior import fit_stripes
from ceers_steps.kernels.stripes.settings import LARGE_SOURCES, LEFT_OVER
from tests.kernels.stripes.test_posterior import NOISE, make_frame

SIDE = LARGE_SOURCES.block
SCALE, RATIO, ANGLE = 20.0, 0.4, 30.0  # pixels, degrees


def galaxy(shape, middle, peak=20.0, scale=SCALE, side=1, ratio=RATIO):
    """An inclined exponential disc, peak in units of the noise; places in blocks of a side."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    dy, dx = side * (y + 0.5) - middle[0], side * (x + 0.5) - middle[1]
    cosine, sine = np.cos(np.deg2rad(ANGLE)), np.sin(np.deg2rad(ANGLE))
    radius = np.hypot(dx * cosine + dy * sine, (dy * cosine - dx * sine) / ratio)
    return (peak * np.exp(-radius / scale)).astype(np.float32)


def blocks(light, seed=1):
    """Light with the noise of blocks."""
    noise = np.random.default_rng(seed).normal(0, 1 / SIDE, light.shape)
    return (light + noise).astype(np.float32)


@pytest.mark.parametrize("middle", [(320.0, 500.0), (20.0, 500.0)])
def test_ellipse_and_scale_are_found(middle):
    """Also of a galaxy that the edge cuts."""
    image = blocks(galaxy((160, 256), middle, side=SIDE))
    (source,) = find_large_sources(image, np.ones(image.shape, bool))
    assert SIDE * LARGE_SOURCES.step * source.profile.length == pytest.approx(SCALE, rel=0.15)
    if middle[0] > 100:
        angle = np.rad2deg(np.arctan2(source.ellipse.sine, source.ellipse.cosine)) % 180
        assert angle == pytest.approx(ANGLE, abs=3)
        assert source.ellipse.ratio == pytest.approx(RATIO, abs=0.03)


def test_mask_ends_where_light_is_faint():
    """The least light inside and the most outside are those of one isophote."""
    light = galaxy((160, 256), (320.0, 500.0), side=SIDE)
    sources = find_large_sources(blocks(light), np.ones(light.shape, bool))
    mask = outskirts_mask(sources, light.shape)
    # an error of a tenth in the scale moves it by exp(0.1 x 6.5), what the peak is above it
    assert light[mask].min() > 0.5 * LARGE_SOURCES.faintest
    assert light[~mask].max() < 2 * LARGE_SOURCES.faintest


def test_what_fades_slowly_is_not_masked():
    """Smooth light has a model; under a mask it would be a guess."""
    light = galaxy((160, 256), (320.0, 500.0), peak=3.0, scale=90.0, side=SIDE)
    sources = find_large_sources(blocks(light), np.ones(light.shape, bool))
    assert sources
    assert not outskirts_mask(sources, light.shape).any()


def test_light_of_what_is_narrow_and_fades_slowly():
    """The bright part has the light of its edge; what is wide or masked is left out."""
    light = galaxy((160, 256), (320.0, 500.0), scale=60.0, side=SIDE)
    sources = find_large_sources(blocks(light), np.ones(light.shape, bool))
    assert not outskirts_mask(sources, light.shape).any()
    found = outskirts_light(sources, light.shape)
    faint = light < LARGE_SOURCES.level
    assert np.abs(found - light)[faint].max() < 0.15
    assert found.max() == pytest.approx(LARGE_SOURCES.level, abs=0.2)
    for scale, ratio in ((60.0, 0.8), (SCALE, RATIO)):
        other = galaxy((160, 256), (320.0, 500.0), scale=scale, side=SIDE, ratio=ratio)
        sources = find_large_sources(blocks(other), np.ones(light.shape, bool))
        assert sources
        assert not outskirts_light(sources, light.shape).any()


def test_nothing_in_blank_sky():
    sky = blocks(np.zeros((160, 256), np.float32))
    assert find_large_sources(sky, np.ones(sky.shape, bool)) == []


def test_blocks_that_are_not_seen_do_not_matter():
    """Whatever stands in them."""
    light = galaxy((160, 256), (320.0, 500.0), side=SIDE)
    seen = np.random.default_rng(2).random(light.shape) > 0.2
    image = blocks(light)
    image[~seen] = 1e3
    sources = find_large_sources(image, seen)
    assert outskirts_mask(sources, light.shape).any()
    assert light[outskirts_mask(sources, light.shape)].min() > 0.5 * LARGE_SOURCES.faintest


def test_parts_longer_than_their_ellipse():
    """A row of blocks, as of a column of the detector that is too bright."""
    image = blocks(np.zeros((300, 64), np.float32))
    image[20:280, 30] += 20.0
    find_large_sources(image, np.ones(image.shape, bool))


@pytest.mark.parametrize("n_outputs", [4, 1])
def test_stripes_take_less_of_a_source_whose_outskirts_are_unmasked(n_outputs, monkeypatch):
    """Its mask ends at 0.4 sigma, as that of a search does around sources larger than its ring."""
    shape = (640, 1024)
    frame = make_frame(shape, n_outputs)
    source = NOISE * galaxy(shape, (300.0, 640.0))
    masked = source > 0.4 * NOISE
    arguments = masked, NOISE, frame.layout
    image = frame.image + source
    taken = []
    # without what is returned to unmasked light, which helps the first of the two
    monkeypatch.setattr(left_over, "LEFT_OVER", replace(LEFT_OVER, returned=0.0))
    without = fit_stripes(frame.image, *arguments)
    for sources in (None, masked):
        fit = fit_stripes(image, *arguments, sources=sources)
        bright = source > 3 * NOISE
        taken.append((fit.stripes - without.stripes)[bright].mean() / NOISE)
    assert not without.outskirts.any()
    assert fit.outskirts.any()
    assert taken[0] > 0.02
    assert abs(taken[1]) < 0.4 * taken[0]


@pytest.mark.parametrize("flat", [None, 1.1])
def test_stripes_take_less_of_a_long_source(flat):
    """Its outskirts have weight: rows of a whole output would be lost without."""
    shape = (640, 1024)
    frame = make_frame(shape)
    source = NOISE * galaxy(shape, (300.0, 640.0), scale=60.0)
    masked = source > 0.4 * NOISE
    response = None if flat is None else np.full(shape, flat, np.float32)
    arguments = masked, NOISE, frame.layout
    without = fit_stripes(frame.image, *arguments, flat=response)
    taken = []
    for sources in (None, masked):
        image = frame.image + source * (flat or 1)
        fit = fit_stripes(image, *arguments, flat=response, sources=sources)
        taken.append((fit.stripes - without.stripes)[source > 3 * NOISE].mean() / NOISE)
    assert taken[0] > 0.05
    assert abs(taken[1]) < 0.5 * taken[0]
    # the light that was subtracted is part of the model
    ring = (source > 0.2 * NOISE) & ~masked
    assert fit.light[ring].mean() - fit.sky == pytest.approx(source[ring].mean(), rel=0.2)


def test_a_field_without_sky_keeps_the_mask_of_the_search(monkeypatch):
    """Sources side by side, whose outskirts cover a third of what is left of the frame."""
    shape = (256, 512)
    frame = make_frame(shape)
    middles = [(y, x) for y in (64.0, 192.0) for x in np.arange(64.0, 512.0, 128.0)]
    source = NOISE * np.sum([galaxy(shape, middle) for middle in middles], axis=0)
    masked = source > 2 * NOISE
    arguments = frame.image + source, masked, NOISE, frame.layout
    assert fit_stripes(*arguments, sources=masked).outskirts.any()
    monkeypatch.setattr(posterior, "LARGE_SOURCES", replace(LARGE_SOURCES, least_left=0.8))
    fit = fit_stripes(*arguments, sources=masked)
    assert not fit.outskirts.any()
    assert_array_equal(fit.stripes, fit_stripes(*arguments).stripes)
