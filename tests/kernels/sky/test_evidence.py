"""What speaks for a level being that of the sky."""

import numpy as np
import pytest

from ceers_steps.kernels.sky.evidence import exposures_without_sky, judge_sky, off_from_overlaps


@pytest.mark.parametrize(
    ("scatter", "sources", "refused"), [(3.0, 0.5, True), (1.1, 0.6, False), (4.7, 0.15, False)]
)
def test_a_source_that_fills_the_frame(scatter, sources, refused):
    """Half is masked and the rest is no noise; a crowded field, or bad errors alone, pass."""
    residual = np.random.default_rng(1).normal(0.0, scatter, (80, 80))
    usable = np.ones(residual.shape, bool)
    found = judge_sky(residual, usable, 0.5, expected_noise=1.0, source_fraction=sources)
    assert ("fills the frame" in found.reason) == refused
    assert bool(found.reason) == refused


def surface(kind, height):
    """Light of a frame of 320 pixels from 0 to a height, or of a galaxy in its middle."""
    y, x = np.mgrid[-1 : 1 : 320 * 1j, -1 : 1 : 320 * 1j]
    return (
        height
        * {
            "galaxy": np.exp(-np.hypot(y, x / 0.8) / 0.9),
            "slope": 0.5 * (x + 1.0),
            "curved": x**2,
            "bowl": 0.5 * (x**2 + y**2),
            "step": 1.0 * (x > 0.3),
            "border": np.maximum(np.abs(x), np.abs(y)) ** 8,
        }[kind]
    )


@pytest.mark.parametrize("kind", ["slope", "curved", "bowl", "step", "border"])
@pytest.mark.parametrize("height", [0.3, 2.0, 5.0])
def test_skies_of_five_noises_are_skies(kind, height):
    """Also where the level is small against their structure."""
    sky = surface(kind, height)
    residual = sky - sky.mean() + np.random.default_rng(2).normal(0.0, 1.0, sky.shape)
    assert judge_sky(residual, np.ones(sky.shape, bool), 3.7).reason == ""


def test_a_galaxy_whose_photons_make_the_noise():
    """Its own noise hides how much its light differs; its middle, which is masked, stays out."""
    light = surface("galaxy", 25.0)
    usable = light < 18.0
    level = np.median(light[usable])
    noise = np.random.default_rng(3).normal(0.0, 1.0, light.shape)
    found = judge_sky(light - level + noise, usable, level)
    assert "light all over" in found.reason
    assert found.is_lit
    assert found.darkest < 0.75 * level


def test_darker_places_elsewhere_tell_that_a_level_is_no_sky():
    """The sky is no brighter than the darkest part of another exposure, in which none is seen."""
    assert exposures_without_sky([5.2], [0.4], [3.2, 1.5]) == [0]
    assert exposures_without_sky([1.6], [0.4], [3.2, 1.5]) == []
    assert exposures_without_sky([5.2], [0.4], [1.5]) == []
    assert exposures_without_sky([], [], [3.2, 1.5, 2.0]) == []
    assert exposures_without_sky([0.2, 0.21, 5.2], [0.4] * 3) == [2]


@pytest.mark.parametrize("darkest", [0.0, 0.4])
def test_one_exposure_without_sky_says_nothing_of_four_that_agree(darkest):
    """Whatever is wrong with it, such as a pedestal that is not its own."""
    assert exposures_without_sky([1.0, 1.01, 0.99, 1.0], [0.1] * 4, [darkest]) == []
    assert exposures_without_sky([1.0, 3.0], [0.1] * 2, [darkest]) == [], "two are too few"


@pytest.mark.parametrize("kind", ["edges", "corner", "sparse"])
def test_an_image_without_noise_is_no_light(kind):
    """Blocks of one value each: differences of neighbours are 0, whichever way it is uneven."""
    values = np.zeros((8, 8))
    if kind == "edges":
        values += 0.3 * np.arange(8.0) ** 2
    else:
        values[::3] = 0.001
        values[:2, :] = 5.0
    residual = np.kron(values, np.ones((40, 40)))
    # no two neighbours are usable: nothing tells the noise
    usable = np.indices(residual.shape).sum(axis=0) % 2 < (1 if kind == "sparse" else 2)
    found = judge_sky(residual, usable, 1.0)
    assert found.reason == "the image has no noise"
    assert not found.is_lit
    assert found.darkest == np.inf


def test_overlaps_tell_which_level_is_no_sky():
    """All skies but one differ as the overlaps say; small differences are no reason."""
    matched = np.array([0.0, 0.02, 0.05, 0.01])
    levels = 0.2 + matched + [0.0, 0.001, 0.3, -0.001]
    check = off_from_overlaps(levels, matched, [0.05] * 4)
    assert check.refused == [2]
    np.testing.assert_allclose(check.off, [-0.0005, 0.0005, 0.2995, -0.0015], atol=1e-12)
    check = off_from_overlaps(levels[1:3], matched[1:3], [0.05] * 2)
    assert check.refused == []
    assert np.abs(check.off).max() == pytest.approx(0.1495)


def test_light_only_adds_so_the_lowest_of_levels_that_disagree_is_the_sky():
    """A galaxy fills three dithers: none of the levels above the lowest is the sky."""
    levels, matched, noises = [2.09, 1.30, 0.92], [0.72, 1.38, 0.0], [0.79, 0.72, 0.71]
    refused = off_from_overlaps(levels, matched, noises, [0.21, 0.24, 0.10]).refused
    assert refused == [0, 1, 2]
    levels, noises = [0.68, 1.70, 1.76, 0.85], [0.57, 0.72, 0.72, 0.64]
    matched = [0.07, 0.0, 0.07, 0.09]
    check = off_from_overlaps(levels, matched, noises, [0.2, 0.3, 0.3, 0.2])
    assert check.refused == [0, 1, 2, 3], "the lowest two agree, but half of the levels are no sky"


def test_one_low_level_of_many_is_no_reason_to_refuse_the_others():
    levels = 1.0 + np.array([0.0, 0.001, -0.4, 0.002, -0.002, 0.001])
    check = off_from_overlaps(levels, np.zeros(6), [0.1] * 6, [0.02] * 6)
    assert check.refused == [2]
    assert check.reason(2) == "-0.4 from what the overlaps with other exposures say"


def test_reasons_name_what_was_compared():
    """The lowest of up to four, the lower quartile of more; those refused with half say so."""
    noises = [0.01] * 4
    check = off_from_overlaps([1.0, 1.0, 1.0, 1.5], np.zeros(4), noises)
    assert check.reason(3).endswith("0.5 more than the lowest of all")
    levels = [0.2, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5]
    check = off_from_overlaps(levels, np.zeros(7), [0.01] * 7)
    assert check.refused == [0, 6]
    assert check.reason(6).endswith("0.5 more than the lower quartile of all")
    check = off_from_overlaps([1.0, 1.0, 1.5, 1.6], np.zeros(4), noises)
    assert check.refused == [0, 1, 2, 3]
    check = off_from_overlaps([1.0, 1.3, 1.301, 1.6], np.zeros(4), [0.05, 0.4, 0.4, 0.05])
    assert check.refused == [0, 1, 2, 3]
    assert check.contradicted == [0, 3]
    assert "(2 of 4) are contradicted" in check.reason(1)
    assert "more than" not in check.reason(0)


def test_overlaps_of_skies_that_rise():
    """Overlaps show parts only, which of a sky that rises differ as its own parts do."""
    levels, matched = np.full(4, 0.3), np.array([0.0, 0.05, 0.07, 0.14])
    assert off_from_overlaps(levels, matched, [0.1] * 4, [0.1] * 4).refused == []
    assert off_from_overlaps(levels, matched, [0.1] * 4, [0.02] * 4).refused == [0]
