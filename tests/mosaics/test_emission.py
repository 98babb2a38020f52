"""Emission of a mosaic on the pixels of an exposure: where it is seen, up to the last pixel."""

import os

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from ceers_steps.errors import CeersError
from ceers_steps.mosaics.emission import find_emission
from tests.drizzled import CENTRE, SCALE, distorted_wcs, mosaic_grid

SIGMA = 0.05
SHAPE = (150, 150)
SOURCE = (140.0, 132.0)  # x, y on the exposure: near its upper right corner


@pytest.fixture
def exposure():
    return distorted_wcs(*CENTRE, 10.0, SHAPE)


def mosaic_of(folder, exposure, shift):
    """Write a mosaic with one source, moved against the exposure (pixels in x and y)."""
    ra = CENTRE[0] - shift[0] * SCALE / 3600 / np.cos(np.deg2rad(CENTRE[1]))
    wcs, shape = mosaic_grid([distorted_wcs(ra, CENTRE[1] + shift[1] * SCALE / 3600, 0.0, SHAPE)])
    mosaic = datamodels.ImageModel(shape)
    x0, y0 = wcs.world_to_pixel_values(*exposure(*SOURCE))
    y, x = np.indices(shape)
    mosaic.data = np.random.default_rng(1).normal(0.0, SIGMA, shape).astype(np.float32)
    mosaic.data += (200 * SIGMA * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8)).astype(np.float32)
    mosaic.wht = np.ones(shape, np.float32)
    mosaic.meta.wcs = wcs
    path = folder / "group_i2d.fits"
    mosaic.save(path)
    return path


@pytest.mark.parametrize("shift", [(0, 0), (40, 10), (-10, 30)])
def test_emission_is_masked_up_to_the_edge_of_the_mosaic(tmp_path, exposure, shift):
    """Positions are interpolated from some that lie beyond the mosaic, where its WCS is limited."""
    emission = find_emission(mosaic_of(tmp_path, exposure, shift))
    found = emission.on_exposure(exposure, SHAPE)
    y, x = np.indices(SHAPE)
    distance = np.hypot(x - SOURCE[0], y - SOURCE[1])
    assert found[distance < 5].all()
    assert found[distance > 40].mean() < 0.05  # noise


def test_what_is_no_mosaic_is_refused(tmp_path):
    path = tmp_path / "plain.fits"
    datamodels.ImageModel(SHAPE).save(path)
    with pytest.raises(CeersError, match="no mosaic with a WCS"):
        find_emission(path)


@pytest.mark.parametrize("name", ["pipe", "none_i2d.fits", "text_i2d.fits"])
def test_a_mosaic_that_cannot_be_read(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text_i2d.fits").write_text("no mosaic")
    with pytest.raises(CeersError, match=f"mosaic=.*{name} cannot be read"):
        find_emission(tmp_path / name)
