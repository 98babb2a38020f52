"""The figures of mosaics: that they show what they are given, also when that is little."""

import numpy as np
import pytest
from PIL import Image

from ceers_steps.validate import mosaic_figures, mosaic_metrics
from ceers_steps.validate.mosaic_records import AperturePhotometry, PositionOffset
from ceers_steps.validate.mosaics import Positions

SHAPE = (120, 150)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.fixture
def mosaic():
    image = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
    image[:, :20] = np.nan
    image[50:60, 70:80] += 50
    return image


def all_figures(folder, mosaic):
    flags = mosaic > 5
    rng = np.random.default_rng(2)
    chis = mosaic_metrics.block_chi(
        *rng.normal(0, 1, (2, 64, 64)), np.ones((64, 64)), mask=np.zeros((64, 64), bool)
    )
    photometry = AperturePhotometry(
        np.arange(9), np.full(9, 10.0), rng.normal(0, 1, 9), np.ones(9), 1
    )
    magnitudes = np.linspace(20, 27, 9)
    bins = mosaic_metrics.bin_photometry(photometry, magnitudes, (18, 24, 28))
    places = Positions(magnitudes, *rng.normal(0, 3, (2, 9)))
    exposures = [PositionOffset(9, 1.0, 2.0, 0.1, 0.2)]
    yield mosaic_figures.colour_figure(
        folder / "colour.png", [mosaic, mosaic, 2 * mosaic], ["A", "B", "C"], [1, 1, 1]
    )
    yield mosaic_figures.background_figure(
        folder / "background.png", mosaic, 0 * mosaic, mosaic, flags, title="mosaic"
    )
    yield mosaic_figures.residual_figure(folder / "residual.png", mosaic, mosaic, 1.0)
    yield mosaic_figures.photometry_figure(
        folder / "photometry.png", [("A", photometry, magnitudes, bins)] * 2
    )
    yield mosaic_figures.position_figure(folder / "positions.png", [("A", places, exposures)] * 2)
    yield mosaic_figures.chi_figure(folder / "chi.png", [("A", chis)])


def test_every_figure_is_a_picture(tmp_path, mosaic):
    for path in all_figures(tmp_path, mosaic):
        picture = pixels(path)
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 5, path.name


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_empty_mosaics(tmp_path, value):
    for path in all_figures(tmp_path, np.full(SHAPE, value, np.float32)):
        assert path.exists()


def test_colours_are_those_of_the_filters(tmp_path, mosaic):
    bright = np.where(mosaic > 5, 3 * mosaic, mosaic)
    blue_pixels = []
    for number, images in enumerate(([bright, mosaic], [mosaic, bright])):
        path = tmp_path / f"{number}.png"
        mosaic_figures.colour_figure(path, images, ["short", "long"], [1, 1])
        red, _, blue = pixels(path).reshape(-1, 3).T
        blue_pixels.append(np.count_nonzero((blue > red + 30) & (blue > 120)))
    # 100 pixels of the source, drawn larger, in two panels
    assert blue_pixels[0] > 1000
    assert blue_pixels[1] == 0
