"""Shapes of images on the sky: what was done to one is found, wherever it is."""

import numpy as np
import pytest

from ceers_steps.kernels.astrometry.shape import compare_shapes


@pytest.mark.parametrize("centre", [(0.01, 0.0), (214.9, 52.9), (123.0, 89.9), (10.0, -90.0)])
def test_scale_rotation_mirror_and_bend(centre):
    x, y = (axis.ravel() / 3600 for axis in np.mgrid[-30:30:5j, -30:30:5j])

    def sky(xi, eta):
        """A small patch, from its tangent plane."""
        ra, dec = np.deg2rad(centre)
        xi, eta = np.deg2rad(xi), np.deg2rad(eta)
        depth = np.cos(dec) - eta * np.sin(dec)
        found = ra + np.arctan2(xi, depth)
        height = np.arctan2(np.sin(dec) + eta * np.cos(dec), np.hypot(xi, depth))
        return np.rad2deg(np.column_stack([found % (2 * np.pi), height]))

    before = sky(x, y)
    turn = np.deg2rad(0.7)
    moved = (
        1.01 * (np.cos(turn) * x - np.sin(turn) * y),
        1.01 * (np.sin(turn) * x + np.cos(turn) * y),
    )
    change = compare_shapes(before, sky(*moved))
    assert change.scale_error == pytest.approx(0.01, rel=1e-3)
    assert change.rotation == pytest.approx(0.7, rel=1e-3)
    assert not change.mirrored
    assert change.residual < 1e-4
    assert compare_shapes(before, sky(-x, y)).mirrored
    bent = compare_shapes(before, sky(x + 0.5 / 3600 * (y / y.max()) ** 2, y))
    # a parabola, less its mean over five points at 0, 1/2 and 1
    assert bent.residual == pytest.approx(0.25, rel=0.01)
    assert bent.scale_error < 1e-3
