"""Cosmic rays and snowballs: numbers, charge, shape and timing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ceers_steps.simulate.config.simulation import CosmicRayConfig, SnowballConfig
from ceers_steps.simulate.detector.deposits import group_fractions, spill_fractions
from ceers_steps.simulate.detector.events import (
    Snowball,
    draw_cosmic_rays,
    draw_snowballs,
    snowball_stamp,
)
from ceers_steps.simulate.telescope.patterns import READ_PATTERNS

FRAME_TIME = 10.73676
BALL = Snowball(
    integration=0,
    time=100.0,
    y=150.3,
    x=160.7,
    core_radius=9.0,
    axis_ratio=0.6,
    angle=30.0,
    core_charge=2e5,
    halo_charge=2500.0,
    halo_index=5.0,
    ring_charge=800.0,
    ring_width=2.5,
    ring_time=200.0,
    saturated=True,
)


def test_cosmic_rays_have_the_stated_flux_and_charge():
    config = CosmicRayConfig(straggling=0.0, heavy_fraction=0.0)
    rays = draw_cosmic_rays(
        (512, 512), duration=1000.0, rng=np.random.default_rng(1), config=config, n_ints=2
    )
    expected = config.flux * (512 * 18e-4) ** 2 * 2000
    assert len(rays) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    # Half of an isotropic flux is steeper than 45 degrees.
    shortest = config.charge_per_micron * config.thickness
    assert rays.charge.min() >= shortest
    below = np.mean(rays.charge < shortest * np.sqrt(2))
    assert below == pytest.approx(0.5, abs=2.5 / np.sqrt(len(rays)))
    assert np.mean(rays.integration) == pytest.approx(0.5, abs=2.5 / np.sqrt(len(rays)))


def test_cosmic_rays_keep_their_charge():
    config = CosmicRayConfig()
    rays = draw_cosmic_rays((400, 400), duration=500.0, rng=np.random.default_rng(3), config=config)
    collected = np.bincount(rays.pixel_event, rays.pixel_charge, minlength=len(rays))
    inside = np.minimum.reduce([rays.y, rays.x, 399 - rays.y, 399 - rays.x]) > 210
    centre = np.minimum.reduce([rays.y, rays.x, 399 - rays.y, 399 - rays.x]) > 50
    short = rays.charge < 3 * config.charge_per_micron * config.thickness
    whole = inside | (centre & short)
    assert whole.sum() > 500
    # Only what is below half an electron in a pixel is left out.
    lost = rays.charge[whole] - collected[whole]
    assert (lost > -1e-3 * rays.charge[whole]).all()
    assert (lost < 0.02 * rays.charge[whole] + 10).all()
    assert rays.pixel_y.min() >= 0
    assert rays.pixel_y.max() <= 399
    assert rays.pixel_x.min() >= 0
    assert rays.pixel_x.max() <= 399
    assert (np.diff(rays.pixel_event) >= 0).all()


def test_neighbours_see_the_coupled_charge():
    config = CosmicRayConfig(diffusion=0.0, coupling=0.01, thickness=0.01, charge_per_micron=1e7)
    rays = draw_cosmic_rays((300, 300), duration=300.0, rng=np.random.default_rng(4), config=config)
    event, counts = np.unique(rays.pixel_event, return_counts=True)
    # A layer without depth: nearly every track ends in the pixel it hits.
    single = event[counts == 5]
    assert single.size > 0.8 * event.size
    first = np.flatnonzero(rays.pixel_event == single[0])
    charge = rays.pixel_charge[first]
    np.testing.assert_allclose(np.sort(charge) / charge.sum(), 4 * [0.01] + [0.96], rtol=1e-4)


def test_no_flux_no_rays():
    rays = draw_cosmic_rays(
        (32, 32), duration=100.0, rng=np.random.default_rng(0), config=CosmicRayConfig(flux=0)
    )
    assert len(rays) == 0
    assert rays.pixel_charge.size == 0


def test_snowball_profile_is_the_stated_one():
    stamp = snowball_stamp(replace(BALL, axis_ratio=1.0), (300, 300))
    y, x = np.indices(stamp.prompt.shape)
    radius = np.hypot(y + stamp.y0 - BALL.y, x + stamp.x0 - BALL.x)
    core = radius < BALL.core_radius - 3
    np.testing.assert_allclose(stamp.prompt[core], BALL.core_charge + BALL.halo_charge, rtol=1e-3)
    halo = (radius > BALL.core_radius + 6) & (radius < BALL.halo_radius(1.0))
    np.testing.assert_allclose(
        stamp.prompt[halo], 2500 * (radius[halo] / BALL.core_radius) ** -5.0, rtol=1e-3
    )
    ring = (radius > BALL.core_radius) & (radius < BALL.core_radius + 15)
    np.testing.assert_allclose(
        stamp.ring[ring],
        BALL.ring_charge * np.exp(-(radius[ring] - BALL.core_radius) / BALL.ring_width),
        rtol=1e-4,
    )
    assert (stamp.ring[radius < BALL.core_radius] == 0).all()
    # The halo reaches down to half an electron, far below any jump threshold.
    assert stamp.prompt[radius < BALL.halo_radius(0.6)].min() > 0.5


def test_snowball_ellipse():
    stamp = snowball_stamp(BALL, (300, 300))
    y, x = np.nonzero(stamp.prompt > BALL.core_charge / 2)
    area = y.size
    # The area of the core is that of the circle, to the granularity of its edge.
    assert area == pytest.approx(np.pi * BALL.core_radius**2, rel=0.04)
    eigenvalues, vectors = np.linalg.eigh(np.cov(x, y))
    assert np.sqrt(eigenvalues[0] / eigenvalues[1]) == pytest.approx(BALL.axis_ratio, rel=0.05)
    angle = np.rad2deg(np.arctan2(*vectors[::-1, 1])) % 180
    assert angle == pytest.approx(BALL.angle, abs=3)


@pytest.mark.parametrize(("y", "x"), [(2.0, 100.0), (-12.0, 100.0), (199.0, 199.5), (60.0, 205.0)])
def test_snowball_cut_by_the_edge(y, x):
    """What an array shows of an event is the cut of what a larger one shows."""
    shape, margin = (200, 200), 100
    part = snowball_stamp(replace(BALL, y=y, x=x), shape)
    whole = snowball_stamp(
        replace(BALL, y=y + margin, x=x + margin), tuple(n + 2 * margin for n in shape)
    )
    images = []
    for stamp, size in ((part, shape), (whole, (400, 400))):
        image = np.zeros((2, *size), dtype=np.float32)
        image[0][stamp.slices] = stamp.prompt
        image[1][stamp.slices] = stamp.ring
        images.append(image)
    np.testing.assert_allclose(
        images[0], images[1][:, margin:-margin, margin:-margin], rtol=1e-5, atol=1e-3
    )


def test_snowball_far_outside_leaves_nothing():
    assert snowball_stamp(replace(BALL, y=-500.0), (200, 200)) is None


def test_snowballs_follow_the_configuration():
    config = SnowballConfig(rate=2.0, saturated_fraction=0.6)
    balls = draw_snowballs(
        (512, 512),
        duration=900.0,
        rng=np.random.default_rng(6),
        config=config,
        n_ints=2,
        full_well=1e5,
    )
    area = ((512 + 4 * config.core_radius[1]) * 18e-4) ** 2
    expected = config.rate * area * 1800
    assert len(balls) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    power = 1 - config.core_index
    low, high = (r**power for r in config.core_radius)
    radii = np.array([ball.core_radius for ball in balls])
    fit = stats.kstest(radii, lambda r: (np.clip(r, 2, 25) ** power - low) / (high - low))
    assert fit.pvalue > 1e-3
    saturated = np.array([ball.saturated for ball in balls])
    assert saturated.mean() == pytest.approx(0.6, abs=2.5 / np.sqrt(len(balls)))
    assert all((ball.core_charge > 1e5) == ball.saturated for ball in balls)
    assert all((ball.ring_charge > 0) == ball.saturated for ball in balls)
    order = [(ball.integration, ball.time) for ball in balls]
    assert order == sorted(order)
    assert {ball.integration for ball in balls} == {0, 1}


def test_halo_radius_inverts_the_halo():
    radius = BALL.halo_radius(20.0)
    assert BALL.halo_charge * (radius / BALL.core_radius) ** -BALL.halo_index == pytest.approx(20)
    assert BALL.halo_radius(1e6) == BALL.core_radius


@given(
    time=st.floats(-20, 1200, allow_nan=False),
    pattern=st.sampled_from(list(READ_PATTERNS.values())),
    n_groups=st.integers(1, 6),
)
def test_fractions_frame_by_frame(time, pattern, n_groups):
    frames = pattern.first_frames(n_groups)[:, np.newaxis] + np.arange(pattern.n_frames)
    read = (frames + 1) * FRAME_TIME
    seen = (read >= time) & (time >= 0)
    fractions = group_fractions(time, pattern, n_groups, FRAME_TIME)
    np.testing.assert_allclose(fractions, seen.mean(axis=1), atol=1e-6)
    spilled = np.where(seen, 1 - np.exp(-np.maximum(read - time, 0) / 250.0), 0).mean(axis=1)
    spill = spill_fractions(time, 250.0, pattern, n_groups, FRAME_TIME)
    np.testing.assert_allclose(spill, spilled, atol=1e-6)
    assert (np.diff(spill) >= 0).all()
