"""Independent random streams, one per effect.

Every effect draws from a generator of its own, derived from the seed of the
simulation and the *name* of the effect. Switching one effect off, or adding a
new one, leaves the draws of all others as they were.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

__all__ = ["rng_for"]


def rng_for(seed: int, effect: str, *indices: int) -> np.random.Generator:
    """Return the random generator of one effect.

    Parameters
    ----------
    seed : int
        Seed of the simulation, not negative.
    effect : str
        Name of the effect, for example ``"cosmic_rays"``.
    *indices : int
        Further numbers that set streams apart, for example the integration.

    Returns
    -------
    numpy.random.Generator
        The same arguments always give the same stream.

    Raises
    ------
    ValueError
        If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}: use 0 or a positive integer")
    sequence = np.random.SeedSequence(seed, spawn_key=(crc32(effect.encode()), *indices))
    return np.random.Generator(np.random.SFC64(sequence))
