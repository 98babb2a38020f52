"""Point spread function of JWST, from its segmented pupil by Fourier transform."""

from functools import lru_cache

import numpy as np
from scipy.fft import fft2, fftshift, ifftshift
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.signal import fftconvolve

from ceers_steps.simulate.telescope.instrument import Band

__all__ = ["OVERSAMPLING", "point_spread_function"]

OVERSAMPLING = 3
"""Samples per detector pixel: enough for F070W, and odd, so a pixel has a centre sample."""

_SIZE = 1536  # samples; the image covers 512 detector pixels
_SEGMENT = 1.32  # flat to flat, m
_GAP = 0.007  # between segments, m
_STRUT = 0.11  # width, m
_WAVEFRONT_ERROR = 0.065  # rms, um
_CROSS_LENGTH = 40.0  # pixels in which an arm of the cross of MIRI falls to 1/e
_JITTER = 0.006  # rms with the diffusion of charge, arcsec


def _segment_centres() -> list[tuple[float, float]]:
    """Centres of the 18 segments, m, with V3 along +y."""
    directions = np.deg2rad([30, 90, 150, 210, 270, 330])
    ring = [np.array([np.cos(a), np.sin(a)]) * _SEGMENT for a in directions]
    centres = list(ring)
    for i, corner in enumerate(ring):
        centres += [2 * corner, corner + ring[(i + 1) % 6]]
    return [(float(c[0]), float(c[1])) for c in centres]


def _pupil(x: np.ndarray, y: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Transmission and wavefront error (um) at points of the pupil plane (m).

    Edges are soft over one `step` of the grid: hard ones would alias into false spikes.
    """
    rng = np.random.default_rng(18)  # one telescope: the same errors in every simulation
    transmission = np.zeros(x.shape)
    error = np.zeros(x.shape)
    half = (_SEGMENT - _GAP) / 2
    for cx, cy in _segment_centres():
        u, v = x - cx, y - cy
        segment = np.clip((half - np.abs(v)) / step + 0.5, 0, 1)
        for angle in (30, 150):
            a = np.deg2rad(angle)
            edge = np.abs(u * np.cos(a) + v * np.sin(a))
            segment *= np.clip((half - edge) / step + 0.5, 0, 1)
        transmission += segment
        inside = segment > 0
        piston, tip, tilt, power = rng.normal(size=4) * _WAVEFRONT_ERROR / 2
        u, v = u[inside] / half, v[inside] / half
        error[inside] = piston + 2 * tip * u + 2 * tilt * v + 2 * power * (u**2 + v**2 - 0.5)
    # one strut upwards, two downwards at 30 degrees to the vertical
    for angle in (90, 240, 300):
        a = np.deg2rad(angle)
        along, across = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
        covered = np.clip((_STRUT / 2 - np.abs(across)) / step + 0.5, 0, 1)
        transmission *= 1 - np.where(along > 0, covered, 0)
    return transmission, error


def _with_cross(image: np.ndarray, fraction: float) -> np.ndarray:
    """Move a fraction of the light into a cross along the rows and columns of the detector."""
    if not fraction:
        return image
    distance = np.abs(np.arange(image.shape[0]) - image.shape[0] // 2)
    arm = np.exp(-distance / (_CROSS_LENGTH * OVERSAMPLING))
    arm /= arm.sum()
    cross = sum(
        fftconvolve(image, arm[index], mode="same") for index in (np.s_[None], np.s_[:, None])
    )
    return (1 - fraction) * image + (fraction / 2) * cross.astype(np.float32)


@lru_cache(maxsize=4)
def point_spread_function(band: Band, pixel_scale: float) -> np.ndarray:
    """Image of a point source, integrated over the area of a pixel.

    Parameters
    ----------
    band
        Imaging band; five wavelengths across it are added.
    pixel_scale
        Side of a detector pixel, arcsec.

    Returns
    -------
    ndarray, shape (1535, 1535)
        Fraction of the light that a pixel centred on that sample catches, `OVERSAMPLING` samples
        per pixel; all samples add up to ``OVERSAMPLING**2``. y is along +V3. Symmetric about the
        middle sample, which is the position of the source.
    """
    sample = pixel_scale / OVERSAMPLING * np.pi / 180 / 3600
    total = np.zeros((_SIZE, _SIZE), np.float32)
    for wavelength in band.pivot + band.bandwidth * np.linspace(-0.4, 0.4, 5):
        # sampling of the pupil that gives the wanted sampling of the image
        step = wavelength * 1e-6 / (sample * _SIZE)
        reach = int(np.ceil(3.4 / step))
        axis = np.arange(-reach, reach + 1) * step
        y, x = np.meshgrid(axis, axis, indexing="ij")
        transmission, error = _pupil(x, y, step)
        field = np.zeros((_SIZE, _SIZE), np.complex64)
        middle = _SIZE // 2
        window = slice(middle - reach, middle + reach + 1)
        field[window, window] = transmission * np.exp(2j * np.pi * error / wavelength)
        total += np.abs(fft2(ifftshift(field))) ** 2
    image = fftshift(total)[1:, 1:]  # odd, so the peak is in the middle
    # to zero at the rim: a bright star must not end in a square
    axis = np.arange(image.shape[0]) - image.shape[0] // 2
    radius = np.hypot(axis[:, None], axis) / (image.shape[0] // 2)
    image *= (0.5 + 0.5 * np.cos(np.pi * np.clip((radius - 0.7) / 0.3, 0, 1))).astype(np.float32)
    image = gaussian_filter(image, _JITTER / pixel_scale * OVERSAMPLING)
    image = _with_cross(image, band.cruciform)
    image = uniform_filter(image, OVERSAMPLING)
    # Tilted segments and struts put the core and the wings at places 0.1 pixel apart. The same
    # seen from both sides keeps its shape and light at every radius, and has one position, in
    # any window and for stars and galaxies alike: what is asked of alignment is then exact.
    image = (image + image[::-1, ::-1]) / 2
    return image * np.float32(OVERSAMPLING**2 / image.sum(dtype=np.float64))
