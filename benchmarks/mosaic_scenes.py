"""Mosaics whose sky and sources are known, for `benchmarks/mosaic_background.py`."""

import galsim
import numpy as np
from scipy import ndimage

from ceers_steps.simulate.config.simulation import SourceConfig
from ceers_steps.simulate.sky.scene import make_catalog

NOISE = 0.0104  # MJy/sr: 5 sigma in an aperture of 0.2" is 28.9 AB
PIXEL = 0.03  # arcsec
STERADIAN = np.deg2rad(PIXEL / 3600) ** 2
ROUGHNESS = 80.0  # pixels: Gaussian by which white noise is smoothed to be structure
BLUR = 0.45  # the same for the noise of a drizzled mosaic
GSPARAMS = galsim.GSParams(
    folding_threshold=2e-2, maxk_threshold=5e-3, kvalue_accuracy=1e-4, maximum_fft_size=16384
)


def surface_brightness(mag):
    """Sum over pixels of MJy/sr."""
    return 3631e-6 * 10 ** (-0.4 * mag) / STERADIAN


def draw(image, profile, flux, place, half):
    """Add a source."""
    x, y = place
    bounds = galsim.BoundsI(round(x) - half, round(x) + half, round(y) - half, round(y) + half)
    bounds &= image.bounds
    if bounds.isDefined():
        profile.withFlux(flux).drawImage(
            image=image[bounds],
            center=galsim.PositionD(x, y),
            scale=PIXEL,
            add_to_image=True,
            method="no_pixel",
        )


def draw_sources(size, seed):
    """Light of sources brighter and fainter than 24 AB."""
    psf = galsim.Add(
        [
            galsim.Gaussian(fwhm=0.055, flux=0.8),
            galsim.Moffat(beta=1.5, fwhm=0.14, trunc=10.0, flux=0.2),
        ]
    )
    catalog = make_catalog(214.9, 52.9, seed, SourceConfig(), radius=0.75 * size * PIXEL)
    images = [galsim.ImageF(size, size, xmin=0, ymin=0, init_value=0.0) for _ in range(2)]
    for row in catalog:
        x = size / 2 + (row["ra"] - 214.9) * np.cos(np.deg2rad(52.9)) * 3600 / PIXEL
        y = size / 2 + (row["dec"] - 52.9) * 3600 / PIXEL
        flux = surface_brightness(row["mag"])
        if row["star"]:
            profile, half = psf, int(np.clip(np.cbrt(5e3 * flux), 30, 700))
        else:
            index, radius = round(float(row["sersic_index"]), 1), float(row["half_light_radius"])
            profile = galsim.Sersic(n=index, half_light_radius=radius, gsparams=GSPARAMS)
            angle = float(row["position_angle"]) * galsim.degrees
            profile = profile.shear(q=float(row["axis_ratio"]), beta=angle)
            if radius < 40 * PIXEL:
                profile = galsim.Convolve(profile, psf, gsparams=GSPARAMS)
            middle = max(flux / (2 * np.pi * (radius / PIXEL) ** 2 * index) / 1e-5, 1.0)
            fade = max(1 + np.log(middle) / (2 * index - 1 / 3), 1.0) ** index
            half = int(np.clip(radius / PIXEL * fade + 10, 20, 1200))
        draw(images[int(row["mag"] >= 24)], profile, flux, (x, y), half)
    return images[0].array, images[1].array


def draw_galaxy(size, mag, ratio, place, stretch=1.0):
    """An exponential galaxy of half-light radius 3 arcsec, or another by a factor."""
    image = galsim.ImageF(size, size, xmin=0, ymin=0, init_value=0.0)
    gsparams = galsim.GSParams(folding_threshold=1e-3, maximum_fft_size=16384)
    profile = galsim.Sersic(n=1, half_light_radius=3.0 * stretch, gsparams=gsparams)
    draw(
        image,
        profile.shear(q=ratio, beta=30 * galsim.degrees),
        surface_brightness(mag),
        place,
        size,
    )
    return image.array


def make_sky(size, seed, structure):
    """Gradient, steps and random structure."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.normal(size=(size, size)), ROUGHNESS, mode="wrap")
    y, x = np.mgrid[:size, :size] / size
    sky = structure * rough / rough.std() + 0.3 * (x - 0.5) + 0.2 * (y - 0.5)
    sky += structure * (0.5 * (x > 1 / 3) - 0.35 * (y > 0.5))
    return (sky * NOISE).astype(np.float32)


def make_noise(shape, seed):
    """Noise of drizzled pixels, which share some of it with their neighbours."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, BLUR)
    return noise * np.float32(NOISE / noise.std())
