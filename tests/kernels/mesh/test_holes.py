"""Holes of a background: filled as holes that are laid on known sky foretell."""

from dataclasses import replace

import numpy as np
import pytest

from ceers_steps.kernels.mesh import holes as holes_module
from ceers_steps.kernels.mesh.holes import fill_gaussian, fill_tested, surely_better
from ceers_steps.kernels.mesh.settings import HOLES
from ceers_steps.kernels.mesh.smoothing import fit_polynomial

SIZE, NOISE = 60, 0.1
Y, X = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
SKIES = {
    "level": 0.0 * X,
    "steep": 5.0 * np.maximum(np.abs(X), np.abs(Y)) ** 8,
    "steps": 5.0 * np.floor(2.499 * (X + 1.0)) / 4.0,
}


def holes(seed):
    """Discs of 1 to 4 boxes, on a twentieth of the boxes."""
    rng = np.random.default_rng(seed)
    empty = np.zeros((SIZE, SIZE), bool)
    rows, columns = np.indices(empty.shape)
    while empty.mean() < 0.05:
        row, column = rng.uniform(0, SIZE, 2)
        empty |= np.hypot(rows - row, columns - column) < rng.uniform(0.7, 3.5)
    return empty


def rms_in_holes(sky, fill):
    """Of what holes are filled with less the sky, on three mosaics."""
    square = []
    for seed in range(3):
        empty = holes(seed)
        boxes = sky + np.random.default_rng(100 + seed).normal(0.0, NOISE, sky.shape)
        boxes[empty] = np.nan
        smooth = fit_polynomial(boxes, 4)
        square.append((fill(boxes, smooth) - sky)[empty] ** 2)
    return np.sqrt(np.mean(np.concatenate(square)))


@pytest.mark.parametrize(("kind", "factor"), [("level", 0.75), ("steep", 0.9), ("steps", 1.03)])
def test_holes_are_filled_as_the_sky_around_them_asks_for(kind, factor):
    """Widely where it is level, along its bend at steep borders, and narrowly beside steps."""
    sky = SKIES[kind]
    tested = rms_in_holes(sky, fill_tested)
    first = rms_in_holes(sky, lambda boxes, smooth: smooth + fill_gaussian(boxes - smooth))
    assert tested < factor * first, (tested, first)


def test_what_is_known_stays():
    boxes = np.random.default_rng(1).normal(size=(20, 30))
    empty = np.zeros(boxes.shape, bool)
    empty[3:5, 7:9] = True
    full = fill_tested(boxes, np.zeros(boxes.shape))
    np.testing.assert_array_equal(full, boxes)
    found = fill_tested(np.where(empty, np.nan, boxes), np.zeros(boxes.shape))
    np.testing.assert_array_equal(found[~empty], boxes[~empty])
    assert np.isfinite(found).all()


def test_wide_holes_are_not_tried():
    """A hole as wide as a third of the mosaic is filled in the first way, to the bit."""
    boxes = np.random.default_rng(2).normal(size=(SIZE, SIZE))
    boxes[np.hypot(X, Y) < 0.35] = np.nan
    boxes[5:7, 5:7] = np.nan
    wide = np.hypot(X, Y) < 0.35
    found = fill_tested(boxes, np.zeros(boxes.shape))
    np.testing.assert_array_equal(found[wide], fill_gaussian(boxes)[wide])


def test_strips(monkeypatch):
    """A large mosaic is filled in strips: the same, but for what chance moves."""
    boxes = np.random.default_rng(4).normal(0.0, NOISE, (SIZE, SIZE))
    boxes[holes(4)] = np.nan
    boxes[50:] = np.nan
    smooth = np.zeros(boxes.shape)
    whole = fill_tested(boxes, smooth)
    monkeypatch.setattr(holes_module, "HOLES", replace(HOLES, strip=5 * SIZE, overlap=2))
    strips = fill_tested(boxes, smooth)
    assert np.isfinite(strips).all()
    np.testing.assert_array_equal(strips[~np.isnan(boxes)], boxes[~np.isnan(boxes)])
    assert np.std(strips - whole) < 0.5 * NOISE


def test_chance_is_no_gain():
    n = np.ones((100, 100))
    gain = np.random.default_rng(3).normal(size=n.shape)
    assert surely_better(gain, gain**2, n, 5.0, 1.0, 1.0).mean() < 0.2
    more = gain + 1.0
    assert surely_better(more, more**2, n, 5.0, 1.0, 1.0).min() > 0.9
    assert surely_better(more, more**2, n, 5.0, 1.0, 10.0).max() < 0.2


def test_a_polynomial_does_not_run_away():
    """From a corner of known boxes neither a plane nor more is continued over a whole mosaic."""
    boxes = np.full((SIZE, SIZE), np.nan)
    boxes[:3, :3] = np.random.default_rng(6).normal(1.0, NOISE, (3, 3))
    assert np.abs(fit_polynomial(boxes, 4) - 1.0).max() < 2.0 * NOISE
    plane = 5.0 * X
    np.testing.assert_allclose(fit_polynomial(np.where(holes(0), np.nan, plane), 1), plane)
