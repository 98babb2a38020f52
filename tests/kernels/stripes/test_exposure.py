"""A whole exposure destriped: what is wrong with single pixels stays with them."""

import numpy as np
import pytest

from ceers_steps.kernels.stripes.exposure import StripeSettings, destripe_inplace
from ceers_steps.kernels.stripes.readout import ReadoutLayout

SHAPE = (128, 128)


def exposure():
    rng = np.random.default_rng(8)
    rows = rng.normal(0.0, 0.05, (SHAPE[0], 1))
    image = (0.3 + rows + rng.normal(0.0, 0.02, SHAPE)).astype(np.float32)
    planes = [np.full(SHAPE, value, np.float32) for value in (3e-4, 1e-4)]
    return image, np.zeros(SHAPE, np.uint32), *planes


@pytest.mark.parametrize("method", ["wiener", "median"])
@pytest.mark.parametrize("plane", [2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_variance_spoils_nothing(method, plane, value):
    layout = ReadoutLayout.from_keywords(SHAPE, fast_axis=1, slow_axis=2, n_outputs=1)
    results = []
    for bad in (False, True):
        arrays = [array[np.newaxis].copy() for array in exposure()]
        if bad:
            arrays[plane][0, 40, 50] = value
        destripe_inplace(*arrays, layout, settings=StripeSettings(method=method))
        results.append(arrays[0][0])
    good, spoilt = results
    assert np.isfinite(spoilt).all()
    for image in (good, spoilt):
        assert np.std(image) < 1.1 * 0.02  # the stripes are gone
    if plane == 3:  # the photon noise of single pixels has no weight
        np.testing.assert_array_equal(spoilt, good)
