"""The source mask of mosaics: strips, the published search, other grids, outskirts."""

import numpy as np
import pytest

from ceers_steps.kernels.mosaic.mask_grids import sample_nearest
from ceers_steps.kernels.rows import RowSettings
from ceers_steps.kernels.sources.background import fit_mesh
from ceers_steps.kernels.sources.mosaic_tiers import CORE, MOSAIC_TIERS, mask_mosaic
from ceers_steps.kernels.sources.outskirts import measure_outskirts
from ceers_steps.kernels.sources.tiers import RATE_TIERS, mask_sources

NOISE = 0.01


def scene(shape=(400, 360), seed=1, galaxy=None):
    """Noise and forty exponential sources on a sky of 0.05; image and true light."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = np.zeros(shape)
    for _ in range(40):
        length, peak = rng.uniform(1.5, 4.0), NOISE * 10 ** rng.uniform(0.5, 2.0)
        distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        light += peak * np.exp(-distance / length)
    if galaxy:
        length, peak = galaxy
        light += peak * np.exp(-np.hypot(y - shape[0] / 2, x - shape[1] / 2) / length)
    image = 0.05 + light + rng.normal(0, NOISE, shape)
    return image.astype(np.float32), light


def test_strips_do_not_matter(monkeypatch):
    image, _ = scene((700, 200))
    border = np.zeros(image.shape, bool)
    border[:, :8] = True
    border[300:330, 50:90] = True
    whole = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"])
    monkeypatch.setattr("ceers_steps.kernels.rows.ROWS", RowSettings(strip_size=200 * 64))
    parts = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"], n_threads=3)
    np.testing.assert_array_equal(parts, whole)


def test_same_sources_as_the_search_in_one_piece():
    image, _ = scene()
    border = np.zeros(image.shape, bool)
    border[:20] = True
    bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"])
    other = mask_sources(image, border, MOSAIC_TIERS["NIRCAM"])
    np.testing.assert_array_equal(bits & 1, other & 1)
    # the ring medians here leave bright pixels out: more is found around bright sources
    assert np.mean((other > 1) & (bits <= 1)) < 0.01
    assert np.mean((bits > 1) & (other <= 1)) < 0.1


def test_sources_are_found_and_the_border_is_bit_zero():
    image, light = scene()
    border = np.zeros(image.shape, bool)
    border[:20] = True
    image[200, 200] = np.nan
    bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"])
    expected = border.copy()
    expected[200, 200] = True
    np.testing.assert_array_equal(bits & 1 == 1, expected)
    # a pixel of three sigma is one of a source of that peak or more, smoothed by two pixels
    assert np.mean(bits[light > 5 * NOISE] > 1) > 0.99
    core = bits & CORE > 0
    assert np.all(bits[core] & ~CORE > 0)
    assert core.sum() < (bits > 1).sum()


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (70, 33)])
def test_any_shape(shape):
    image = np.random.default_rng(5).normal(0, NOISE, shape)
    border = np.zeros(shape, bool)
    if image.size == 1:
        with pytest.raises(ValueError, match="no noise"):
            mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"])
    else:
        assert mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"]).shape == shape


def test_bad_input():
    image = np.zeros((50, 50), np.float32)
    with pytest.raises(ValueError, match="noise"):
        mask_mosaic(image, np.zeros(image.shape, bool), MOSAIC_TIERS["NIRCAM"])
    with pytest.raises(ValueError, match="pixel"):
        mask_mosaic(image, np.zeros(image.shape, bool), RATE_TIERS)


def outskirts(image):
    border = np.zeros(image.shape, bool)
    bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"])
    return measure_outskirts(image, border, (bits & ~CORE) > 0, bits & CORE > 0)


def test_outskirts_follow_the_light():
    """The mask ends where light is lost, and what is beyond it is known."""
    length, peak = 40.0, 5.0
    image, light = scene((800, 800), galaxy=(length, peak * NOISE))
    found = outskirts(image)
    mask = found.mask[:]
    y, x = np.mgrid[:800, :800]
    radius = np.hypot(y - 400, x - 400)
    # 0.03 of the noise is lost; a tenth of this radius is a factor of 1.7 in light
    lost = length * np.log(peak / 0.03)
    assert mask[np.abs(radius - 0.9 * lost) < 3].mean() > 0.95
    assert mask[np.abs(radius - 1.1 * lost) < 3].mean() < 0.1
    for level, part in ((0.1, 0.01), (0.3, 0.002), (1.0, 0.0)):
        assert np.mean(~mask[light > level * NOISE]) <= part
    # what is subtracted beyond is that light, to twice the error of a mean over as many pixels
    outside = ~mask & (radius < 300)
    modelled = (image - found.subtract_from(image)[:])[outside]
    assert light[outside].mean() > 4 * NOISE / np.sqrt(np.count_nonzero(outside))
    error = 2 * NOISE / np.sqrt(np.count_nonzero(outside))
    assert modelled.mean() == pytest.approx(light[outside].mean(), abs=error)


@pytest.mark.slow
@pytest.mark.parametrize(("peak", "ratio"), [(14.0, 0.5), (10.0, 0.8)])
def test_large_galaxy_keeps_its_light(peak, ratio):
    """On a level sky a background takes less than 1% of it, and adds no more."""
    y, x = np.mgrid[-500:500, -500:500]
    along, across = 0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x
    light = peak * NOISE * np.exp(-np.hypot(along * ratio**0.5, across / ratio**0.5) / 45.0)
    image = 0.05 + light + np.random.default_rng(11).normal(0, NOISE, light.shape)
    image = image.astype(np.float32)
    border = np.zeros(image.shape, bool)
    bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"])
    found = measure_outskirts(image, border, (bits & ~CORE) > 0, bits & CORE > 0)
    mesh = fit_mesh(
        found.subtract_from(image),
        (bits > 0) | found.mask[:],
        box_size=20,
        filter_size=5,
        fill="gaussian",
    )
    off = mesh.rows(0, len(image)) - 0.05
    assert abs(np.sum(off[np.hypot(x, y) < 225], dtype=float)) < 0.01 * light.sum()


def test_unit_does_not_matter():
    image, _ = scene()
    first, second = outskirts(image), outskirts(image * np.float32(1024))
    np.testing.assert_array_equal(first.bins, second.bins)
    np.testing.assert_allclose(second.light, first.light * 1024, rtol=1e-4, atol=1e-4)


def test_noise_alone_has_no_outskirts():
    image = np.random.default_rng(7).normal(0.1, NOISE, (400, 400)).astype(np.float32)
    found = outskirts(image)
    assert found.bins.mean() < 0.01
    assert np.max(np.abs(found.light)) < 0.1 * NOISE


def test_sky_that_rises_to_the_borders_is_no_outskirts():
    """Two noises from the centre to the corners: no band along the border is masked."""
    shape = (1000, 1000)
    y, x = np.mgrid[-1:1:1000j, -1:1:1000j]
    sky = NOISE * (x**2 + y**2)
    image = sky + np.random.default_rng(8).normal(0, NOISE, shape)
    assert outskirts(image.astype(np.float32)).bins.mean() < 0.05


def test_sampling_a_turned_grid():
    """Equal to the transformation of every single pixel."""
    source = np.arange(90 * 120, dtype=np.int32).reshape(90, 120)
    angle = np.deg2rad(20.0)

    def to_source(x, y):
        return (
            50 + 0.5 * ((x - 70) * np.cos(angle) - (y - 80) * np.sin(angle)),
            40 + 0.5 * ((x - 70) * np.sin(angle) + (y - 80) * np.cos(angle)),
        )

    values, covered = sample_nearest(source, to_source, slice(10, 150), 170, fill=-1)
    y, x = np.mgrid[10:150, :170]
    xs, ys = (np.floor(place + 0.5).astype(int) for place in to_source(x, y))
    inside = (xs >= 0) & (xs < 120) & (ys >= 0) & (ys < 90)
    np.testing.assert_array_equal(covered, inside)
    np.testing.assert_array_equal(values[inside], source[ys[inside], xs[inside]])
    assert np.all(values[~inside] == -1)


def test_sampling_outside():
    values, covered = sample_nearest(
        np.ones((5, 5), np.uint8), lambda x, y: (x * np.nan, y), slice(0, 3), 4
    )
    assert not covered.any()
    assert not values.any()
