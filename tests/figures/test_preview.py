"""Previews of images: means of what is there, in little memory."""

import io
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from ceers_steps.figures.preview import preview_png, read_preview

Image = pytest.importorskip("PIL.Image")


def write(path, image):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI")]).writeto(path)
    return path


def test_a_small_image_is_as_it_is(tmp_path):
    image = np.random.default_rng(1).normal(size=(30, 41)).astype(np.float32)
    image[3, 4] = np.nan
    np.testing.assert_array_equal(read_preview(write(tmp_path / "a.fits", image)), image)


def test_blocks_are_averaged_over_what_has_data(tmp_path):
    """Factor 3, with a last row and column of blocks that are not whole."""
    image = np.ones((7, 8), dtype=np.float32)
    image[:3, :3] = [[4, np.nan, 2], [np.nan, 0, 3], [0, 0, np.nan]]
    image[3:6, 3:6] = np.nan
    image[6, 6:] = [5, 7]
    preview = read_preview(write(tmp_path / "a.fits", image), largest=3)
    np.testing.assert_allclose(preview, [[3, 1, 1], [1, np.nan, 1], [1, 1, 6]])


def test_a_large_image_takes_little_memory(tmp_path):
    image = np.full((4000, 6000), 2.0, dtype=np.float32)
    path = write(tmp_path / "large.fits", image)
    tracemalloc.start()
    try:
        preview = read_preview(path, largest=300)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert preview.shape == (200, 300)
    np.testing.assert_array_equal(preview, 2)
    assert peak < image.nbytes / 20


def test_picture_shows_sources_on_dark_sky_and_white_where_there_is_nothing():
    preview = np.random.default_rng(2).normal(0, 1, (60, 80)).astype(np.float32)
    preview[:, :10] = np.nan
    preview[5, 70] = 1e4
    picture = np.asarray(Image.open(io.BytesIO(preview_png(preview))))
    assert picture.shape == preview.shape
    assert (picture[:, :10] == 255).all()
    # the first row of an image is at the bottom of its picture
    assert picture[-6, 70] == 235
    assert np.median(picture[:, 10:]) < 80


@pytest.mark.parametrize("value", [np.nan, 1.0])
def test_picture_of_nothing(value):
    picture = np.asarray(Image.open(io.BytesIO(preview_png(np.full((4, 5), value, np.float32)))))
    assert picture.shape == (4, 5)
