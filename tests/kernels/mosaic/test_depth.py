"""The depth of a mosaic, where it is known: white noise, twice the noise, sources."""

import math

import numpy as np
import pytest

from ceers_steps.kernels.mosaic.depth import (
    DEPTH,
    depth_map,
    limiting_magnitude,
    sky_scatter,
    square_side,
    square_sums,
)

SCALE = 0.03
AREA = math.radians(SCALE / 3600) ** 2
NOISE = 2e-3  # MJy/sr
ERROR = 1.08 * 0.05
"""Magnitudes: the scatter of the lower half of 900 squares is known to 5%."""


def true_depth(noise):
    """White noise: that of the mean of the pixels of the aperture."""
    pixels = math.pi / 4 * 0.2**2 / SCALE**2
    flux = 5 * noise * math.sqrt(pixels) * AREA * 1e6
    return 8.90 - 2.5 * math.log10(flux)


def test_white_noise_and_twice_of_it():
    side = square_side(SCALE)
    cell = DEPTH.cell * side
    random = np.random.default_rng(1)
    noise = np.full((8 * cell, 12 * cell), NOISE)
    noise[:, 6 * cell :] *= 2
    image = random.normal(0, noise).astype(np.float32)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    for x0, y0 in random.uniform(0, [image.shape[1], image.shape[0]], (8, 2)):
        image += np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8).astype(np.float32)
    image[:cell, :cell] = np.nan
    depth = depth_map(square_sums(image, side), AREA)
    assert depth.shape == (8, 12)
    assert np.isnan(depth[0, 0])
    assert np.isfinite(depth).sum() == depth.size - 1
    for part, expected in ((depth[:, :5], NOISE), (depth[:, 7:], 2 * NOISE)):
        values = part[np.isfinite(part)]
        # sources on 0.7% of the squares shift the level by 0.01 of the scatter
        assert np.median(values) == pytest.approx(true_depth(expected), abs=ERROR)
        assert values.std() < 2 * ERROR


def test_a_cell_has_the_scatter_of_its_window():
    random = np.random.default_rng(2)
    for shape in ((30, 30), (29, 31)):
        sums = random.normal(0, 1, (40, 50)).astype(np.float32)
        sums[random.random(sums.shape) < 0.1] = np.nan
        depth = depth_map(sums, AREA)
        expected = limiting_magnitude(sky_scatter(sums[10:40, 20:50]), AREA)
        assert depth[2, 3] == pytest.approx(float(expected), abs=1e-5)
        sums = sums[: shape[0], : shape[1]]
        assert depth_map(sums, AREA).shape == (shape[0] // DEPTH.cell, shape[1] // DEPTH.cell)


def test_no_noise_has_no_depth():
    found = limiting_magnitude(np.array([0.0, np.nan, 1e-3]), AREA)
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2])
