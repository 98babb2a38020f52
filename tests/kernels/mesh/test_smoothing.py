"""Boxes of a background, smoothed as far as they foretell each other."""

import numpy as np
import pytest

from ceers_steps.kernels.mesh.smoothing import smooth_boxes

SIZE, NOISE = 40, 0.1
Y, X = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]


def left(sky, fill, seed):
    """Rms of smoothed boxes less the sky, of which a tenth is hidden."""
    rng = np.random.default_rng(seed)
    boxes = sky + rng.normal(0.0, NOISE, sky.shape)
    boxes[rng.random(sky.shape) < 0.1] = np.nan
    found = smooth_boxes(boxes, 5, fill=fill, max_degree=4, borders="continued")
    return np.sqrt(np.mean((found - sky) ** 2))


@pytest.mark.parametrize("sky", [0.0 * X, 2.0 * X, 0.5 * (X**2 + Y**2)])
def test_a_smooth_sky_has_the_noise_of_few_numbers(sky):
    """Boxes that foretell nothing of each other but a polynomial are not followed."""
    tested, filtered = (
        np.mean([left(sky, fill, seed) for seed in range(1, 7)]) for fill in ("tested", "gaussian")
    )
    assert tested < 0.75 * filtered


@pytest.mark.parametrize(
    "sky",
    [0.3 * np.sign(np.sin(9.0 * X) * np.cos(9.0 * Y)), 0.1 * np.sin(12.0 * X), 0.3 * (X > 0.1)],
)
@pytest.mark.parametrize("seed", [4, 5, 6])
def test_structure_is_followed(sky, seed):
    """A wider filter would flatten it: it is followed as before."""
    assert left(sky, "tested", seed) < 1.03 * left(sky, "gaussian", seed)
