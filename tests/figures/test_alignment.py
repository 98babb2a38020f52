"""Figure of the alignment: it is drawn, whatever the fits hold."""

import numpy as np
import pytest
from PIL import Image

from ceers_steps.astrometry.exposure import Residuals
from ceers_steps.figures.alignment import alignment_figure


def residuals(n, n_used, title="NRCB4 F150W jw01345001001, 4 exposures"):
    rng = np.random.default_rng(n)
    return Residuals(
        title, rng.uniform(-30, 30, (n, 2)), rng.normal(0, 15, (n, 2)), np.arange(n) < n_used
    )


@pytest.mark.parametrize(("n", "n_used"), [(60, 55), (3, 3), (1, 1), (4, 0), (0, 0)])
def test_any_number_of_sources(tmp_path, n, n_used):
    path = alignment_figure(tmp_path / "a.png", [residuals(n, n_used)])
    with Image.open(path) as picture:
        assert picture.size[0] > 500
        assert len(picture.convert("L").getcolors()) > 2


@pytest.mark.slow
def test_one_row_for_each_fit_up_to_a_dozen(tmp_path):
    heights = []
    for number in (1, 2, 12, 20):
        path = alignment_figure(tmp_path / f"{number}.png", [residuals(20, 19)] * number)
        with Image.open(path) as picture:
            heights.append(picture.size[1])
    assert heights[0] < heights[1] < heights[2]
    assert heights[3] == pytest.approx(heights[2], rel=0.01)


def test_exact_residuals(tmp_path):
    fit = Residuals("exact", np.zeros((3, 2)), np.zeros((3, 2)), np.ones(3, bool))
    assert alignment_figure(tmp_path / "a.png", [fit]).is_file()
