"""Halos of large events in single differences: drawn profiles are found, beyond their reach too."""

import numpy as np
import pytest

from ceers_steps.kernels.jumps.large_events import (
    EventHalos,
    LargeEvent,
    find_large_events,
    levels_beside_events,
)
from ceers_steps.kernels.jumps.settings import EVENTS

SHAPE = (256, 256)
RADIUS = 12.0


@pytest.mark.parametrize(
    "profile",
    [lambda u: 4 * u**-3.5, lambda u: 4 * (1.64 / (1 + 0.64 * u**2)) ** 2.0, lambda u: 0 * u],
    ids=["power law", "moffat", "none"],
)
def test_what_is_beyond_the_reach_is_known_without_bias(profile):
    """In noise of one sigma, with levels of rows of their own."""
    rng = np.random.default_rng(1)
    rows = np.arange(SHAPE[0])
    radius = np.hypot(rows[:, None] - 120, rows - 130)
    truth = profile(np.maximum(radius / RADIUS, 1))
    truth[radius < RADIUS] = np.nan
    left, there = [], []
    for _ in range(12):
        levels = 0.3 * rng.standard_normal(SHAPE[0]).astype(np.float32)
        excess = (truth + levels[:, None] + rng.standard_normal(SHAPE)).astype(np.float32)
        found = np.nanmedian(excess, axis=1)[:, None]
        event = LargeEvent(3, 120, 130, RADIUS, EVENTS.halo_margin + EVENTS.halo_slope * RADIUS)
        end = event.reach
        outputs = np.zeros(SHAPE[1], int)
        levels_beside_events(excess, rows, rows, outputs, found, [event])
        halos = EventHalos()
        halos.add(event, SHAPE, 2.0)
        beyond = (radius > event.reach) & (radius < 0.8 * end)
        assert halos.near(SHAPE)[radius <= event.reach].all()
        assert not halos.near(SHAPE)[radius > event.reach].any()
        image = np.zeros(SHAPE, np.float32)
        for part in (slice(0, 100), slice(100, 256)):
            halos.take_from(image[part], 3, part)
        assert not image[radius < event.reach].any()
        other = np.zeros(SHAPE, np.float32)
        halos.take_from(other, 2, slice(0, 256))
        assert not other.any()
        left.append((truth + image / 2)[beyond].mean())
        there.append(truth[beyond].mean())
    # of 0.04 to 0.07 sigma; the error of the mean is 0.002 to 0.005
    assert abs(np.mean(left)) < max(0.4 * np.mean(there), 0.01)


def cores_of(hits):
    """Find large events of a frame that can be used as a whole."""
    usable = np.ones((1, *SHAPE), bool)
    return find_large_events(hits[None], lambda group: usable, np.zeros(SHAPE, bool))


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (2, 2), (3, 1)])
def test_the_smallest_core_is_found_wherever_it_lies(shift):
    y, x = np.indices(SHAPE)
    hits = np.hypot(y - 100 - shift[0], x - 60 - shift[1]) <= EVENTS.core_block
    (event,) = cores_of(hits)
    assert np.hypot(event.y - 100 - shift[0], event.x - 60 - shift[1]) < EVENTS.core_block


def test_a_cosmic_ray_that_fills_a_block_is_no_large_event():
    hits = np.zeros(SHAPE, bool)
    hits[100:104, 60:64] = True
    hits[104:106, 62:66] = True
    assert not cores_of(hits)
