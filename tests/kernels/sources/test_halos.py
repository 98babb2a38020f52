"""Light that all sources of a mosaic have around them, and what is none."""

import numpy as np
import pytest
from scipy import ndimage

from ceers_steps.kernels import rows
from ceers_steps.kernels.sources.background import BackgroundMesh
from ceers_steps.kernels.sources.halos import foretold_parts, light_of_halos
from ceers_steps.kernels.sources.mosaic_background import measure_mosaic_background
from ceers_steps.kernels.sources.mosaic_tiers import MOSAIC_TIERS, mask_mosaic
from ceers_steps.kernels.sources.noise_map import SkyResidual
from ceers_steps.kernels.sources.settings import HALOS

SHAPE = (640, 600)


def sources(seed, n=60):
    """Return cores of sources (20 noises) and a halo in which a tenth of their light is."""
    rng = np.random.default_rng(seed)
    middle = np.zeros(SHAPE)
    middle[rng.integers(0, SHAPE[0], n), rng.integers(0, SHAPE[1], n)] = 1.0
    spot = ndimage.gaussian_filter(middle, 4.0) * 2 * np.pi * 16.0 * 20.0
    return spot, ndimage.gaussian_filter(spot, 14.0) * 0.1


def residual_of(image, spot):
    core = spot > 2.0
    pairs = core.reshape(SHAPE[0] // 2, 2, SHAPE[1] // 2, 2).any(axis=(1, 3))
    flat = BackgroundMesh(np.zeros((1, 1)), SHAPE, SHAPE)
    mask = ndimage.binary_dilation(core, iterations=6)
    return SkyResidual(image, np.zeros(SHAPE, bool), pairs, flat, 1.0), mask


def noise_of(seed):
    return np.random.default_rng(seed).normal(0, 1, SHAPE)


@pytest.mark.parametrize("seed", [61, 62])
def test_halos_are_found(seed):
    spot, halo = sources(seed)
    image = (spot + halo + noise_of(seed + 10)).astype(np.float32)
    residual, mask = residual_of(image, spot)
    light = np.kron(light_of_halos(residual, image, mask, 1), np.ones((4, 4)))
    outside = ~mask
    # twice the error of a mean over as many pixels
    error = 2.0 / np.sqrt(np.count_nonzero(outside))
    assert halo[outside].mean() > 4 * error
    assert light[outside].mean() == pytest.approx(halo[outside].mean(), abs=2 * error)
    near = outside & (halo > 0.2)
    assert np.mean((halo - light)[near]) < 0.2 * halo[near].mean()


@pytest.mark.parametrize("seed", [71, 72, 73])
def test_sources_without_halos_have_none(seed):
    """What is found is below twice the error of the mean of all pixels."""
    spot, _ = sources(seed)
    image = (spot + noise_of(seed + 10)).astype(np.float32)
    residual, mask = residual_of(image, spot)
    light = np.kron(light_of_halos(residual, image, mask, 1), np.ones((4, 4)))
    assert light[~mask].mean() < 2.0 / np.sqrt(np.count_nonzero(~mask))


def test_light_beside_one_source_is_no_halo():
    """What is in one group of squares only is not foretold by the others; what is in all is."""
    rng = np.random.default_rng(9)
    terms = rng.normal(size=(16, 2, 500))
    noise = rng.normal(size=(16, 500))

    def parts(strength):
        columns = [
            np.vstack([own, strength[number] * own[0] + noise[number]])
            for number, own in enumerate(terms)
        ]
        return foretold_parts(np.array([each @ each.T for each in columns]))

    everywhere = parts(np.full(16, 0.5))
    assert everywhere[0] == pytest.approx(0.5, abs=3 / np.sqrt(16 * 500))
    assert parts(np.where(np.arange(16) == 3, 4.0, 0.0))[0] < 0.01
    assert np.max(parts(np.full(16, -0.5))) < 0.05


def test_no_halos_where_the_sky_has_structure():
    spot, halo = sources(61)
    image = (spot + halo + noise_of(71)).astype(np.float32)
    residual, mask = residual_of(image, spot)
    rough = np.zeros((32, 30), bool)
    rough[:2, :15] = True  # 0.03 of the boxes
    some = SkyResidual(**vars(residual) | {"rough": rough, "rough_box": (20, 20)})
    light = light_of_halos(some, image, mask, 1)
    assert light.any()
    assert not light[:10, :75].any()
    rough[:4] = True
    many = SkyResidual(**vars(residual) | {"rough": rough, "rough_box": (20, 20)})
    assert not light_of_halos(many, image, mask, 1).any()


def test_strips_do_not_matter(monkeypatch):
    spot, halo = sources(61)
    image = (spot + halo + noise_of(71)).astype(np.float32)
    residual, mask = residual_of(image, spot)
    monkeypatch.setattr("ceers_steps.kernels.sources.halos.HALOS", type(HALOS)(level=20.0))
    whole = light_of_halos(residual, image, mask, 1)
    monkeypatch.setattr(rows, "ROWS", rows.RowSettings(strip_size=64 * SHAPE[1]))
    strips = light_of_halos(residual, image, mask, 2)
    np.testing.assert_allclose(strips, whole, rtol=1e-4, atol=1e-6 * whole.max())


def test_sky_under_sources_is_right():
    """Halos that no profile sees: without them 0.026 would be left."""
    off = []
    for seed in (65, 66, 67):
        spot, _ = sources(seed, 90)
        halo = 0.3 * ndimage.gaussian_filter(spot, 20.0)
        image = (spot + halo + noise_of(seed + 10)).astype(np.float32)
        border = np.zeros(SHAPE, bool)
        bits = mask_mosaic(image, border, MOSAIC_TIERS["NIRCAM"], follow_borders=True)
        found = measure_mosaic_background(image, border, bits)
        off.append(found.mesh.rows(0, SHAPE[0])[spot > 0.5].mean())
    assert abs(np.mean(off)) < 0.015
