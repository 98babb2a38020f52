"""Real frames and mosaics in which no sky is seen."""

import gzip

import numpy as np
from astropy.io import fits

from ceers_steps.kernels.sky.exposure import correct_sky
from ceers_steps.steps.mosaic_background import MosaicBackgroundStep


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


def test_a_nebula_that_fills_real_mosaics_is_no_sky(real, tmp_path):
    """It has structure in all sizes and no source from which it falls; nothing is subtracted."""
    paths = sorted((real / "miri_i2d").glob("*_i2d.fits"))
    assert paths
    for path in paths:
        given = path.read_bytes()
        mosaic = tmp_path / path.name
        mosaic.write_bytes(gzip.decompress(given) if given[:2] == b"\x1f\x8b" else given)
        result = MosaicBackgroundStep.call(str(mosaic), on_failure="keep")
        metrics = result.meta.ceers_steps.instance["ceers_mosaic_background"]["metrics"]
        assert "it is light" in metrics["background_refused"], path.name
        before = fits.getdata(mosaic, "SCI")
        kept = np.isfinite(result.data)
        np.testing.assert_array_equal(result.data[kept], before[kept])
