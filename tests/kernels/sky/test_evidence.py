"""What speaks for a level being that of the sky."""

import numpy as np
import pytest

from ceers_steps.kernels.sky.evidence import judge_sky, off_from_overlaps


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


def test_overlaps_tell_which_level_is_no_sky():
    """All skies but one differ as the overlaps say; small differences are no reason."""
    matched = np.array([0.0, 0.02, 0.05, 0.01])
    levels = 0.2 + matched + [0.0, 0.001, 0.3, -0.001]
    off, refused = off_from_overlaps(levels, matched, [0.05] * 4)
    assert refused == [2]
    np.testing.assert_allclose(off, [-0.0005, 0.0005, 0.2995, -0.0015], atol=1e-12)
    off, refused = off_from_overlaps(levels[1:3], matched[1:3], [0.05] * 2)
    assert refused == []
    assert np.abs(off).max() == pytest.approx(0.1495)
