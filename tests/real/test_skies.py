"""Real frames in which no sky is seen."""

import numpy as np
from astropy.io import fits

from ceers_steps.kernels.sky.exposure import correct_sky


def test_stars_that_fill_real_frames_are_no_sky(real):
    """Eighty pixels of a star behind a mask with seven holes: its light is everywhere."""
    paths = sorted((real / "niriss_cal").glob("*_cal.fits"))
    assert paths
    for path in paths:
        with fits.open(path) as hdus:
            planes = [hdus[name].data for name in ("SCI", "ERR", "DQ", "VAR_RNOISE", "VAR_POISSON")]
        image, err, dq, rnoise, poisson = planes
        image = image.astype(np.float32)
        found = correct_sky(image, err, dq, rnoise, poisson, np.zeros_like(image))
        assert found.pedestal is None, path.name
        assert "fills the frame" in found.evidence.reason
