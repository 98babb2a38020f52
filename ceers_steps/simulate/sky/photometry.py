"""What a catalogue needs to know of a band: aperture corrections, colour of Vega."""

from functools import lru_cache

import numpy as np
from astropy.stats import sigma_clip
from photutils.aperture import CircularAperture
from scipy.ndimage import uniform_filter

from ceers_steps.simulate.sky.psf import OVERSAMPLING, point_spread_function
from ceers_steps.simulate.telescope.instrument import Band

__all__ = ["ENCIRCLED", "aperture_corrections", "vega_offset"]

ENCIRCLED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Fractions of the light of a point source for which apertures are tabulated."""

_SKY_ANNULUS = (2.0, 3.0)  # radii, over that of the largest aperture
_VEGA_TEMPERATURE = 9600.0  # K
_VEGA_KS = (2.159, 666.7)  # um, Jy: zero point of 2MASS Ks
_AB_ZERO_POINT = 3631.0  # Jy
_RADIATION_CONSTANT = 14388.0  # um K


@lru_cache(maxsize=32)
def aperture_corrections(
    band: Band, pixel_scale: float
) -> tuple[tuple[float, float, float, float, float], ...]:
    """Apertures of given encircled energy, and the factors from their flux to the total flux.

    Parameters
    ----------
    band
        Imaging band.
    pixel_scale
        Side of a detector pixel, arcsec.

    Returns
    -------
    tuple of tuple
        Encircled energy, radius (pixels), correction, and the radii (pixels) of the annulus in
        which the sky is measured; one for each of `ENCIRCLED`. The correction allows for the
        light that the clipped median in the annulus takes for sky.
    """
    image = point_spread_function(band, pixel_scale)
    # pixels on the rim of an aperture count in part, as if their light were spread evenly
    spread = uniform_filter(image, OVERSAMPLING)
    middle = image.shape[0] // 2
    radii = np.geomspace(0.2, 60, 200)  # pixels
    sums = [
        CircularAperture((middle, middle), OVERSAMPLING * r).do_photometry(spread)[0][0]
        for r in radii
    ]
    fractions = np.maximum.accumulate(sums) / OVERSAMPLING**2
    apertures = np.interp(ENCIRCLED, fractions, radii)

    sky_in, sky_out = (factor * apertures[-1] for factor in _SKY_ANNULUS)
    axis = (np.arange(image.shape[0]) - middle) / OVERSAMPLING
    distance = np.hypot(axis[:, None], axis)
    annulus = image[(distance >= sky_in) & (distance < sky_out)]
    # a sample of the PSF is what a pixel centred there catches
    sky = np.median(sigma_clip(annulus, sigma=3.0, masked=False))
    return tuple(
        (fraction, radius, 1 / (fraction - np.pi * radius**2 * sky), sky_in, sky_out)
        for fraction, radius in zip(ENCIRCLED, apertures, strict=True)
    )


def vega_offset(band: Band) -> float:
    """AB magnitude of Vega, as a black body of 9600 K through the zero point of 2MASS Ks.

    Good to 0.1 mag: a simulated catalogue needs a number, not a calibration.

    Parameters
    ----------
    band
        Imaging band.

    Returns
    -------
    float
        m_AB - m_Vega, mag.
    """
    wavelengths = np.array([band.pivot, _VEGA_KS[0]])
    planck = wavelengths**-3 / np.expm1(_RADIATION_CONSTANT / (wavelengths * _VEGA_TEMPERATURE))
    flux = _VEGA_KS[1] * planck[0] / planck[1]
    return float(-2.5 * np.log10(flux / _AB_ZERO_POINT))
