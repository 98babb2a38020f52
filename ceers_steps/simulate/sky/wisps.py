"""Wisps: the real components of a package, or made-up filaments at the places of real ones."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from ceers_steps.errors import CeersError
from ceers_steps.files.wisps.package import package_file, package_label
from ceers_steps.files.wisps.templates import INSTALL, read_components
from ceers_steps.simulate.seeds import rng_for
from ceers_steps.simulate.telescope.instrument import Band, Detector, zero_point

__all__ = ["WISP_REGIONS", "template_name", "wisp_template", "wisp_templates"]


@dataclass(frozen=True)
class WispRegion:
    """Where a detector shows its wisp, in 0-based pixels of the full science frame.

    Attributes
    ----------
    x, y
        Middle.
    radius_x, radius_y
        Half-widths.
    turn
        Direction (deg, from +x to +y) in which the filaments run through the middle.
    """

    x: float
    y: float
    radius_x: float
    radius_y: float
    turn: float


WISP_REGIONS = {
    "NRCA3": WispRegion(x=780, y=1580, radius_x=480, radius_y=470, turn=20),
    "NRCA4": WispRegion(x=840, y=230, radius_x=400, radius_y=330, turn=-15),
    "NRCB3": WispRegion(x=1080, y=300, radius_x=370, radius_y=430, turn=35),
    "NRCB4": WispRegion(x=1260, y=1500, radius_x=340, radius_y=560, turn=70),
}
"""The regions of real wisps (Bagley et al. 2023, section 3.1.3, fit the scale inside them)."""

_PEAK = 0.15  # of the sky, in F150W and F200W


def template_name(detector: Detector, band: Band, component: int = 0) -> str:
    """File name of a template: ``wisps_nrcb4_F150W.fits``; further components get a number."""
    number = f"_{component}" if component else ""
    return f"wisps_{detector.name.lower()}_{band.name}{number}.fits"


def wisp_templates(
    detector: Detector, band: Band, n_made_up: int = 1, source: str = "auto"
) -> tuple[tuple[np.ndarray, ...], str]:
    """Return the components of the wisp of a detector in a band.

    Parameters
    ----------
    detector
        One of the detectors with wisps.
    band
        Short-wavelength band.
    n_made_up
        Number of components that are made up where there are no real ones.
    source
        "package": the real components of nmfwisp; "made up": see `wisp_template`; "auto": the
        first where the package is installed and has them, else the second.

    Returns
    -------
    components : tuple of ndarray, shape (2048, 2048), float32
        DN/s in the flattened frame, not writable.
    origin : str
        File and package they are from, or ``made up``.

    Raises
    ------
    CeersError
        When the package is asked for and has none; else as `wisp_template`.
    """
    path = None if source == "made up" else package_file(detector.name, band.name)
    if path is not None:
        components, _, _ = read_components(path)
        components.setflags(write=False)
        return tuple(components), f"{package_label(path)} {path.name}"
    if source == "package":
        raise CeersError(
            f"wisps.templates is 'package', and there is no package with templates of "
            f"{detector.name} {band.name}: {INSTALL}, or use 'auto' or 'made up'."
        )
    made = tuple(wisp_template(detector, band, component=i) for i in range(n_made_up))
    return made, "made up"


def _smooth_field(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Gaussian random field of unit variance, correlated over `scale` pixels."""
    ny, nx = shape
    noise = rfft2(rng.standard_normal(shape, dtype=np.float32))
    ky = np.fft.fftfreq(ny)[:, None]
    kx = np.fft.rfftfreq(nx)[None, :]
    noise *= np.exp(-2 * (np.pi * scale) ** 2 * (kx**2 + ky**2)).astype(np.float32)
    field = irfft2(noise, s=shape)
    return field / field.std()


@lru_cache(maxsize=2)
def wisp_template(detector: Detector, band: Band, seed: int = 0, component: int = 0) -> np.ndarray:
    """Template of the wisps of a detector in a band.

    The shape depends on the detector, the component and the seed; the band changes its brightness
    and, slightly, where its filaments lie.

    Parameters
    ----------
    detector
        One of the detectors with wisps.
    band
        Short-wavelength band.
    seed
        Seed of the shape.
    component
        Number of the component, from 0: each has filaments of its own in the same region.

    Returns
    -------
    ndarray, shape (2048, 2048), float32
        DN/s in the flattened frame; never negative, zero far from the region. Not writable, as it
        is kept for the next call.

    Raises
    ------
    CeersError
        When the detector has no wisps or the band is not a short-wavelength one.
    """
    if not detector.has_wisps or band.channel != "SHORT":
        raise CeersError(
            f"{detector.name} has no wisps in {band.name}: they are seen on "
            f"{', '.join(WISP_REGIONS)} in short-wavelength filters."
        )
    region = WISP_REGIONS[detector.name]
    rng = rng_for(seed, "wisp_shape", detector.index, component)
    y, x = np.mgrid[:2048, :2048].astype(np.float32)
    # the part of the frame that matters, with room for the smooth edge
    y0, y1 = (int(np.clip(region.y + s * 1.6 * region.radius_y, 0, 2048)) for s in (-1, 1))
    x0, x1 = (int(np.clip(region.x + s * 1.6 * region.radius_x, 0, 2048)) for s in (-1, 1))
    u = (x[y0:y1, x0:x1] - np.float32(region.x)) / np.float32(region.radius_x)
    v = (y[y0:y1, x0:x1] - np.float32(region.y)) / np.float32(region.radius_y)
    shape = u.shape

    # filaments are narrow crests of a phase that runs across them and is bent by a large eddy and
    # by turbulence; they fade at random along their length
    turn = np.deg2rad(region.turn)
    across = -u * np.sin(turn) + v * np.cos(turn)
    along = u * np.cos(turn) + v * np.sin(turn)
    eddy = np.hypot(u - rng.uniform(-0.2, 0.2), v - rng.uniform(-0.2, 0.2))
    bend = 0.5 * along**2 * rng.choice([-1, 1]) + 0.35 * _smooth_field(rng, shape, 160)
    bend += 0.06 * _smooth_field(rng, shape, 40)
    shift = 0.05 * (band.pivot - 1.5)
    body = np.zeros(shape, np.float32)
    for width, spacing, weight in ((0.16, 1.0, 1.0), (0.10, 0.6, 0.7), (0.06, 0.35, 0.35)):
        phase = (across + bend + 0.25 * eddy + shift + rng.uniform(0, spacing)) / spacing
        distance = (phase - np.rint(phase)) * spacing / width
        fade = np.clip(0.45 + 0.6 * _smooth_field(rng, shape, 110), 0, None)
        body += weight * fade * np.exp(-0.5 * distance**2)
    veil = 0.25 * np.clip(1 + 0.5 * _smooth_field(rng, shape, 120), 0, None)
    edge = 1 / (1 + np.exp((np.hypot(u, v) + 0.15 * _smooth_field(rng, shape, 130) - 0.85) / 0.07))
    body = gaussian_filter((body + veil) * edge, 3.0)

    sky = band.sky / zero_point(detector, band)[0]
    template = np.zeros((2048, 2048), np.float32)
    template[y0:y1, x0:x1] = body * np.float32(_PEAK * sky / np.percentile(body, 99))
    template[template < 1e-4 * template.max()] = 0
    template.setflags(write=False)
    return template
