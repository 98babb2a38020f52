"""The figures: what the pixels show, odd input, no state left behind."""

import sys

import numpy as np
import pytest
from PIL import Image

from ceers_steps.errors import CeersError
from ceers_steps.figures import canvas
from ceers_steps.figures import exposures as figures

SHAPE = (96, 128)


@pytest.fixture
def frames():
    rng = np.random.default_rng(4)
    noise = 0.3 + rng.normal(0, 0.02, SHAPE).astype(np.float32)
    stripes = np.broadcast_to(rng.normal(0, 0.05, (SHAPE[0], 1)), SHAPE).astype(np.float32)
    return noise + stripes, stripes, noise


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def all_figures(folder, before, pattern, after, flags):
    grid = np.linspace(0, 1, 20)
    yield figures.before_after_figure(folder / "pair.png", before, after, title="pair")
    yield figures.wisp_figure(folder / "wisp.png", before, pattern, after, title="wisp")
    yield figures.wisp_figure(
        folder / "fit.png", before, pattern, after,
        objective=(grid, (grid - 0.4) ** 2), scale=0.4, scale_err=0.01, title="fit",
    )  # fmt: skip
    yield figures.striping_figure(folder / "stripes.png", before, pattern, after, mask=flags)
    yield figures.snowball_figure(folder / "balls.png", before, flags, jumps=flags, title="balls")


@pytest.mark.slow
def test_every_figure_is_a_picture_and_pyplot_is_not_used(tmp_path, frames):
    flags = np.zeros(SHAPE, bool)
    flags[20:30, 100:128] = True
    for path in all_figures(tmp_path, *frames, flags):
        picture = pixels(path)
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 10, path.name
    pyplot = sys.modules.get("matplotlib.pyplot")  # others may have loaded it
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize(("value", "shape"), [(np.nan, SHAPE), (0.0, (3, 3))])
def test_empty_and_tiny_frames(tmp_path, value, shape):
    frame = np.full(shape, value, np.float32)
    for path in all_figures(tmp_path, frame, frame, frame, np.zeros(shape, bool)):
        assert path.exists()


def test_both_images_of_a_pair_have_one_stretch(tmp_path):
    # Grey levels of a constant offset differ; with a stretch each they would be the same.
    rng = np.random.default_rng(5)
    after = rng.normal(0, 1, (64, 64)).astype(np.float32)
    path = figures.before_after_figure(tmp_path / "pair.png", after + 4, after)
    picture = pixels(path)[..., 0]
    half = picture.shape[1] // 2
    left, right = (
        part[(part > 10) & (part < 245)] for part in (picture[:, :half], picture[:, half:])
    )
    assert np.median(left) - np.median(right) > 40


def test_few_greys_keep_the_box(tmp_path, frames):
    before, _, after = frames
    path = figures.before_after_figure(tmp_path / "small.png", before, after, greys=16)
    with Image.open(path) as picture:
        assert len(picture.getcolors()) == 17
    assert (pixels(path) == [0xE6, 0x9F, 0x00]).all(axis=2).any()


def test_binned_is_the_median_of_the_good_pixels():
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    image[0, 0], image[2:4, 2:4], image[0, 4] = np.nan, np.nan, -np.inf
    expected = [
        [np.nanmedian(image[:2, :2]), np.median(image[:2, 2:4]), np.median([5, 10, 11])],
        [np.median(image[2:, :2]), np.nan, np.median(image[2:, 4:])],
    ]
    np.testing.assert_array_equal(canvas.binned(image, 2), expected)


def test_figures_without_matplotlib(tmp_path, frames, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(CeersError, match=r"ceers_steps\[report\]"):
        figures.wisp_figure(tmp_path / "wisp.png", *frames)
    assert not list(tmp_path.iterdir())
