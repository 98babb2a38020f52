"""How far the excess of a small event is followed."""

import numpy as np
import pytest

from ceers_steps.kernels.snowballs.halo import radial_region

SHAPE = (121, 131)
THRESHOLD = 0.6


def elliptical_radius(axis_ratio, angle):
    """Radius of the ellipses around the centre, of discs of equal area."""
    y, x = np.indices(SHAPE) - np.reshape(np.array(SHAPE) // 2, (2, 1, 1))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    stretch = np.sqrt(axis_ratio)
    return np.hypot((x * cos + y * sin) * stretch, (y * cos - x * sin) / stretch)


@pytest.mark.parametrize(("axis_ratio", "angle"), [(1.0, 0.0), (0.5, 0.0), (0.5, 60.0)])
def test_a_halo_keeps_the_axis_ratio_of_its_core(axis_ratio, angle):
    """Within a pixel of the true outline, and all of what is above 1 sigma."""
    radius = elliptical_radius(axis_ratio, angle)
    excess = 6.0 * np.maximum(radius / 8, 0.1) ** -3.0
    noise = np.random.default_rng(1).standard_normal(SHAPE)
    usable = np.ones(SHAPE, bool)
    region = radial_region(excess + noise, usable, radius <= 8, THRESHOLD)
    outline = 8 * (6.0 / THRESHOLD) ** (1 / 3)
    assert not (region ^ (radius <= outline))[np.abs(radius - outline) > 1.5].any()
    assert region[excess > 1].all()


def test_the_halo_of_another_event_is_not_followed():
    """What is high at all distances from an event is not its own."""
    radius = elliptical_radius(1.0, 0.0)
    excess = 6.0 * np.maximum(radius / 5, 0.1) ** -5.0 + 2.0
    region = radial_region(excess, np.ones(SHAPE, bool), radius <= 5, THRESHOLD)
    assert np.count_nonzero(region) <= np.pi * 16**2


def test_an_event_cut_by_reference_pixels_goes_on_beyond_them():
    """No pixel can be used there: the outline of the core along them is no outline."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 2, x - 60)
    usable = y >= 4
    excess = np.where(usable, 6.0 * np.maximum(radius / 8, 0.1) ** -3.0, 0.0)
    region = radial_region(excess, usable, (radius <= 8) & usable, THRESHOLD)
    assert region[(excess > 1) & usable].all()
