"""The background of small mosaics with known sky and sources."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst import datamodels

from ceers_steps.steps.base import StepError
from ceers_steps.steps.mosaic_background import CORE, MosaicBackgroundStep

NOISE = 0.01
PIXEL = 0.03  # arcsec


def plain_wcs(shape=(300, 320), pixel=PIXEL, angle=0.0, offset=(0.0, 0.0)):
    """A tangent plane around one place; the middle moved by an offset in arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = "deg", "deg"
    wcs.wcs.crval = 214.9, 52.9
    middle = np.array(shape[::-1]) / 2 + 0.5
    wcs.wcs.crpix = middle + np.array(offset) / pixel
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    wcs.wcs.pc = np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.cdelt = pixel / 3600, pixel / 3600
    wcs.array_shape = shape
    return wcs


SOURCES = ((0.0, 0.0, 0.15, 0.5), (3.0, 2.0, 0.08, 1.0), (-2.5, 2.8, 0.08, 1.0), (2.0, -3.0, 0.06, 2.0))
"""East and north (arcsec) of the middle, scale length (arcsec), central surface brightness."""


def scene(wcs, seed=1, sources=SOURCES, tilt=0.004):
    """Image, sky and light of exponential sources; noise as it is."""
    shape = wcs.array_shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    ra, dec = wcs.pixel_to_world_values(x, y)
    east = (ra - 214.9) * np.cos(np.deg2rad(52.9)) * 3600
    north = (dec - 52.9) * 3600
    light = np.zeros(shape)
    for here, there, length, brightness in sources:
        light += brightness * np.exp(-np.hypot(east - here, north - there) / length)
    sky = 0.02 + tilt * east
    image = sky + light + np.random.default_rng(seed).normal(0, NOISE, shape)
    return image.astype(np.float32), sky, light


def mosaic(wcs=None, band="F150W", image=None, **keywords):
    """An i2d model with a border of ten columns."""
    wcs = wcs or plain_wcs()
    image = scene(wcs, **keywords)[0] if image is None else image
    model = datamodels.ImageModel(image.copy())
    model.err = np.full(image.shape, NOISE, np.float32)
    model.wht = np.ones(image.shape, np.float32)
    model.data[:, :10] = model.err[:, :10] = np.nan
    model.wht[:, :10] = 0
    model.meta.instrument.name = "NIRCAM"
    model.meta.instrument.filter = band
    model.meta.exposure.type = "NRC_IMAGE"
    model.meta.cal_step.resample = "COMPLETE"
    model.meta.filename = f"field_{band.lower()}_i2d.fits"
    model.meta.bunit_data = "MJy/sr"
    info = {key.lower(): value for key, value in wcs.to_header().items()}
    for i in (1, 2):
        info[f"crpix{i}"] = wcs.wcs.crpix[i - 1]
        info[f"cdelt{i}"] = wcs.wcs.cdelt[i - 1]
        for j in (1, 2):
            info[f"pc{i}_{j}"] = wcs.wcs.pc[i - 1, j - 1]
    for key in ("crpix1", "crpix2", "crval1", "crval2", "ctype1", "ctype2", "cunit1", "cunit2",
                "cdelt1", "cdelt2", "pc1_1", "pc1_2", "pc2_1", "pc2_2"):
        setattr(model.meta.wcsinfo, key, info[key])
    return model


def extension(model, name):
    return model.instance["extra_fits"][name]["data"]


@pytest.mark.parametrize("method", ["adaptive", "published"])
def test_sky_is_recovered(method):
    wcs = plain_wcs()
    _, sky, light = scene(wcs)
    result = MosaicBackgroundStep.call(mosaic(wcs), method=method)
    background = extension(result, "BKGD")
    blank = light < 0.05 * NOISE
    blank[:, :10] = False
    # a mean over 2e4 pixels or more, in boxes of 400: 0.05 of the noise in each box
    assert abs(np.mean((background - sky)[blank])) < 0.02 * NOISE
    np.testing.assert_allclose(result.data + background, mosaic(wcs).data, atol=1e-6)
    assert np.isnan(result.data[:, :10]).all()
    assert result.meta.cal_step.instance["ceers_mosaic_background"] == "COMPLETE"
    bits = extension(result, "TIERMASK")
    assert (bits[:, :10] & 1).all()
    assert not (bits[:, 10:] & 1).any()
    assert np.all(bits[light > 3 * NOISE] > 1)
    np.testing.assert_array_equal(extension(result, "BKGMASK"), bits > 0)
