"""Charge left by cosmic rays and snowballs.

Both are drawn as tables of events with an arrival time; where their charge shows up in
the groups of an integration is decided in `ceers_steps.simulate.detector.deposits`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ceers_steps.simulate.config.simulation import CosmicRayConfig, SnowballConfig

__all__ = [
    "PIXEL_SIZE",
    "CosmicRays",
    "Snowball",
    "SnowballStamp",
    "draw_cosmic_rays",
    "draw_snowballs",
    "snowball_stamp",
]

PIXEL_SIZE = 18.0
"""Size of a NIRCam pixel (um)."""

_MOYAL_MEAN = 1.2703628454614782  # Euler's constant + ln 2
_LONGEST_TRACK = 200.0  # pixels
_STEPS_PER_PIXEL = 4
_FAINTEST_DEPOSIT = 0.5  # e-; less charge in a pixel is not kept
_FAINTEST_HALO = 0.5  # e-; the halo ends where it falls below this


@dataclass(frozen=True)
class CosmicRays:
    """Cosmic rays of an exposure and the charge they leave in each pixel.

    Attributes
    ----------
    integration : numpy.ndarray
        Integration of each event, from 0, shape ``(n_events,)``.
    time : numpy.ndarray
        Arrival, seconds since the integration began, shape ``(n_events,)``.
    y, x : numpy.ndarray
        Where each track enters (pixels), shape ``(n_events,)``; may lie outside the array.
    charge : numpy.ndarray
        Charge freed along the whole track (e-), shape ``(n_events,)``.
    pixel_event : numpy.ndarray
        Index of the event that each deposit belongs to, increasing, shape ``(n_pixels,)``.
    pixel_y, pixel_x : numpy.ndarray
        Pixel of each deposit, inside the array, shape ``(n_pixels,)``.
    pixel_charge : numpy.ndarray
        Charge of each deposit (e-), shape ``(n_pixels,)``.
    """

    integration: np.ndarray
    time: np.ndarray
    y: np.ndarray
    x: np.ndarray
    charge: np.ndarray
    pixel_event: np.ndarray
    pixel_y: np.ndarray
    pixel_x: np.ndarray
    pixel_charge: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


def draw_cosmic_rays(
    shape: tuple[int, int],
    *,
    duration: float,
    rng: np.random.Generator,
    config: CosmicRayConfig | None = None,
    n_ints: int = 1,
) -> CosmicRays:
    """Draw the cosmic rays of an exposure.

    Straight tracks from an isotropic flux cross the layer that collects charge; the charge
    of a track is proportional to its length, with the straggling of a Moyal distribution
    (long tail to high charge) and a few heavier nuclei. It spreads by diffusion, and the
    neighbours of each pixel see a little of it by capacitive coupling.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the array.
    duration : float
        Length of one integration (s).
    rng : numpy.random.Generator
        Source of the draws.
    config : CosmicRayConfig, optional
        Rates and charges; `enabled` is not looked at.
    n_ints : int
        Number of integrations.

    Returns
    -------
    CosmicRays
        Events in no particular order; an event may leave no charge inside the array.
    """
    config = config or CosmicRayConfig()
    ny, nx = shape
    n_events = rng.poisson(config.flux * _area(shape) * duration * n_ints)
    integration = rng.integers(n_ints, size=n_events)
    time = rng.uniform(0, duration, n_events)
    y = rng.uniform(-0.5, ny - 0.5, n_events)
    x = rng.uniform(-0.5, nx - 0.5, n_events)
    # Through a surface, an isotropic flux has a density proportional to the cosine.
    cosine = np.sqrt(1 - rng.random(n_events))
    direction = rng.uniform(0, 2 * np.pi, n_events)
    layer = config.thickness / PIXEL_SIZE
    length = np.minimum(layer * np.sqrt(1 / cosine**2 - 1), _LONGEST_TRACK)
    track = np.hypot(layer, length) * PIXEL_SIZE

    straggling = -np.log(np.maximum(rng.standard_normal(n_events) ** 2, 1e-12)) - _MOYAL_MEAN
    charge = config.charge_per_micron * track * np.maximum(1 + config.straggling * straggling, 0.1)
    heavy = rng.random(n_events) < config.heavy_fraction
    charge *= np.where(heavy, rng.integers(2, 11, n_events).astype(float) ** 2, 1)

    steps = np.ceil(length * _STEPS_PER_PIXEL).astype(int) + _STEPS_PER_PIXEL
    event = np.repeat(np.arange(n_events), steps)
    first = np.cumsum(steps) - steps
    along = (np.arange(event.size) - first[event] + 0.5) / steps[event] * length[event]
    spread = rng.standard_normal((2, event.size)) * config.diffusion
    point_y = np.rint(y[event] + along * np.sin(direction[event]) + spread[0]).astype(np.int64)
    point_x = np.rint(x[event] + along * np.cos(direction[event]) + spread[1]).astype(np.int64)
    deposit = charge[event] / steps[event]

    # Each step shares its charge between the pixel under it and the four neighbours.
    steps_y = np.array([0, 1, -1, 0, 0])[:, np.newaxis]
    steps_x = np.array([0, 0, 0, 1, -1])[:, np.newaxis]
    share = np.array([1 - 4 * config.coupling] + 4 * [config.coupling])[:, np.newaxis]
    pixels = _sum_per_pixel(
        shape,
        np.broadcast_to(event, (5, event.size)).ravel(),
        (point_y + steps_y).ravel(),
        (point_x + steps_x).ravel(),
        (deposit * share).ravel(),
    )
    return CosmicRays(integration, time, y, x, charge, *pixels)


def _area(shape: tuple[float, float]) -> float:
    """Return the area of an array of pixels (cm2)."""
    return shape[0] * shape[1] * (PIXEL_SIZE * 1e-4) ** 2


def _sum_per_pixel(
    shape: tuple[int, int], event: np.ndarray, y: np.ndarray, x: np.ndarray, charge: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Add up the charge that each event leaves in each pixel inside the array."""
    ny, nx = shape
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    key, where = np.unique((event[inside] * ny + y[inside]) * nx + x[inside], return_inverse=True)
    total = np.bincount(where, weights=charge[inside], minlength=key.size)
    kept = total >= _FAINTEST_DEPOSIT
    key, total = key[kept], total[kept]
    rows, column = np.divmod(key, nx)
    events, row = np.divmod(rows, ny)
    return events, row.astype(np.int32), column.astype(np.int32), total.astype(np.float32)


@dataclass(frozen=True)
class Snowball:
    """One snowball.

    Attributes
    ----------
    integration : int
        Integration, from 0.
    time : float
        Arrival, seconds since the integration began.
    y, x : float
        Centre (pixels); may lie outside the array.
    core_radius : float
        Radius of the circle with the area of the core (pixels).
    axis_ratio : float
        Minor over major axis.
    angle : float
        Direction of the major axis, from +x towards +y (degrees).
    core_charge : float
        Charge per pixel of the core (e-).
    halo_charge : float
        Charge per pixel of the halo at the edge of the core (e-).
    halo_index : float
        The halo falls as the radius to minus this power.
    ring_charge : float
        Charge per pixel that in the end spills over the edge of the core (e-); 0 if the
        core does not saturate.
    ring_width : float
        Distance in which the ring falls to 1/e (pixels).
    ring_time : float
        Time scale of the spill (s).
    saturated : bool
        Whether the core fills the well.
    """

    integration: int
    time: float
    y: float
    x: float
    core_radius: float
    axis_ratio: float
    angle: float
    core_charge: float
    halo_charge: float
    halo_index: float
    ring_charge: float
    ring_width: float
    ring_time: float
    saturated: bool

    @property
    def ellipticity(self) -> float:
        """One minus the axis ratio."""
        return 1 - self.axis_ratio

    def halo_radius(self, charge: float) -> float:
        """Return the radius at which the halo falls to a charge per pixel.

        Parameters
        ----------
        charge : float
            Charge per pixel (e-).

        Returns
        -------
        float
            Radius of the circle with the same area (pixels), at least the core's.
        """
        excess = max(self.halo_charge / charge, 1.0)
        return self.core_radius * excess ** (1 / self.halo_index)


def draw_snowballs(
    shape: tuple[int, int],
    *,
    duration: float,
    rng: np.random.Generator,
    config: SnowballConfig | None = None,
    n_ints: int = 1,
    full_well: float = 95_000.0,
) -> list[Snowball]:
    """Draw the snowballs of an exposure.

    Centres fall up to two of the largest core radii outside the array, so that events cut
    by the edge occur.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the array.
    duration : float
        Length of one integration (s).
    rng : numpy.random.Generator
        Source of the draws.
    config : SnowballConfig, optional
        Rates, sizes and charges; `enabled` is not looked at.
    n_ints : int
        Number of integrations.
    full_well : float
        Charge that fills a pixel (e-). Saturated cores get 1.5 to 4 times as much, the others
        0.05 to 0.5 times.

    Returns
    -------
    list of Snowball
        Events in the order of integration and time.
    """
    config = config or SnowballConfig()
    margin = 2 * config.core_radius[1]
    outer = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    n_events = rng.poisson(config.rate * _area(outer) * duration * n_ints)
    integration = rng.integers(n_ints, size=n_events)
    time = rng.uniform(0, duration, n_events)
    y = rng.uniform(-margin - 0.5, shape[0] + margin - 0.5, n_events)
    x = rng.uniform(-margin - 0.5, shape[1] + margin - 0.5, n_events)
    core_radius = _power_law(rng.random(n_events), *config.core_radius, config.core_index)
    axis_ratio = rng.uniform(*config.axis_ratio, n_events)
    angle = rng.uniform(0, 180, n_events)
    saturated = rng.random(n_events) < config.saturated_fraction
    fill = rng.random(n_events)
    core_charge = full_well * np.where(saturated, 1.5 + 2.5 * fill, 0.05 * 10**fill)
    # The halo of a core that does not saturate is fainter in proportion to its charge.
    halo_charge = config.halo_charge * np.exp(0.3 * rng.standard_normal(n_events))
    halo_charge *= np.minimum(core_charge / full_well, 1)
    halo_index = rng.uniform(*config.halo_index, n_events)
    ring_charge = config.ring_charge * np.exp(0.4 * rng.standard_normal(n_events)) * saturated
    ring_width = config.ring_width[0] + config.ring_width[1] * core_radius
    shortest, longest = np.log(config.ring_time)
    ring_time = np.exp(rng.uniform(shortest, longest, n_events))
    columns = (
        integration,
        time,
        y,
        x,
        core_radius,
        axis_ratio,
        angle,
        core_charge,
        halo_charge,
        halo_index,
        ring_charge,
        ring_width,
        ring_time,
        saturated,
    )
    order = np.lexsort((time, integration))
    rows = zip(*(column[order].tolist() for column in columns), strict=True)
    return [Snowball(*row) for row in rows]


def _power_law(uniform: np.ndarray, low: float, high: float, index: float) -> np.ndarray:
    """Turn uniform draws into draws from a density ``radius ** -index`` in [low, high]."""
    if index == 1:
        return low * (high / low) ** uniform
    power = 1 - index
    return (low**power + uniform * (high**power - low**power)) ** (1 / power)


@dataclass(frozen=True)
class SnowballStamp:
    """Charge of one snowball inside the array.

    Attributes
    ----------
    y0, x0 : int
        Pixel of the array that the first pixel of the stamp lies on.
    prompt : numpy.ndarray
        Charge that arrives with the event (e-), shape ``(ny, nx)``, float32.
    ring : numpy.ndarray
        Charge that spills around the core in the end (e-), same shape.
    """

    y0: int
    x0: int
    prompt: np.ndarray
    ring: np.ndarray

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where the stamp lies in the array."""
        ny, nx = self.prompt.shape
        return slice(self.y0, self.y0 + ny), slice(self.x0, self.x0 + nx)


def snowball_stamp(ball: Snowball, shape: tuple[int, int]) -> SnowballStamp | None:
    """Return the charge that a snowball leaves in an array.

    With ``u`` the elliptical radius in units of the core's, the core is
    ``core_charge`` for ``u < 1`` with an edge softened over about a pixel, the halo
    ``halo_charge * u ** -halo_index`` down to half an electron, and the ring
    ``ring_charge * exp(-(u - 1) * core_radius / ring_width)`` for ``u > 1``.

    Parameters
    ----------
    ball : Snowball
        The event.
    shape : tuple of int
        ``(ny, nx)`` of the array.

    Returns
    -------
    SnowballStamp or None
        None if no charge falls inside the array.
    """
    stretch = 1 / np.sqrt(ball.axis_ratio)
    ring_extent = ball.ring_width * np.log(max(ball.ring_charge / _FAINTEST_HALO, 1))
    extent = stretch * max(ball.halo_radius(_FAINTEST_HALO), ball.core_radius + ring_extent + 3)
    y0, x0 = (max(int(np.floor(c - extent)), 0) for c in (ball.y, ball.x))
    y1, x1 = (
        min(int(np.ceil(c + extent)) + 1, n) for c, n in zip((ball.y, ball.x), shape, strict=True)
    )
    if y0 >= y1 or x0 >= x1:
        return None
    dy = (np.arange(y0, y1) - ball.y)[:, np.newaxis]
    dx = np.arange(x0, x1) - ball.x
    cos, sin = np.cos(np.deg2rad(ball.angle)), np.sin(np.deg2rad(ball.angle))
    major = (dx * cos + dy * sin) / stretch
    minor = (dy * cos - dx * sin) * stretch
    radius = np.hypot(major, minor)
    u = np.maximum(radius / ball.core_radius, 1)

    prompt = ball.halo_charge * u**-ball.halo_index
    prompt[prompt < _FAINTEST_HALO] = 0
    prompt += ball.core_charge / (1 + np.exp(np.clip((radius - ball.core_radius) / 0.3, -40, 40)))
    ring = np.where(
        radius > ball.core_radius,
        ball.ring_charge * np.exp(-(radius - ball.core_radius) / ball.ring_width),
        0,
    )
    ring[ring < _FAINTEST_HALO] = 0
    return SnowballStamp(y0, x0, prompt.astype(np.float32), ring.astype(np.float32))
