"""Noise along rows: a halo is measured as well as it can be beside it, with an error that holds."""

import numpy as np

from ceers_steps.kernels.snowballs.along_rows import RowNoise

SIDE = 60  # blocks of one pixel
WHITE = 1.0
SHARED = 1.0  # variance of what the pixels of a row share
N = 60


def noise(rng):
    """White noise, and 1/f noise along each row: walks of several lengths."""
    values = WHITE * rng.standard_normal((SIDE, SIDE))
    apart = np.abs(np.subtract.outer(np.arange(SIDE), np.arange(SIDE)))
    for length in (8, 32, 128):
        root = np.linalg.cholesky(np.exp(-apart / length) + 1e-9 * np.eye(SIDE))
        values += np.sqrt(SHARED / 3) * rng.standard_normal((SIDE, SIDE)) @ root.T
    return values


def test_amplitude_of_a_halo_beside_noise_along_rows():
    """The scatter is below that of plain least squares, and that which the equations promise."""
    rng = np.random.default_rng(3)
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    radius = np.hypot(y, x)
    row, column = np.nonzero(radius > 8)
    halo = np.minimum((8 / radius[row, column]) ** 2, 1)
    matrix = np.stack([halo, np.ones_like(halo)], axis=1)
    error = np.full(halo.shape, WHITE)
    weight, everywhere = 1 / error**2, np.ones(halo.shape, bool)
    amplitudes, plain, errors = [], [], []
    for _ in range(N):
        left = halo + noise(rng)[row, column]
        rows = RowNoise.of(row, column, 1, left - halo, error, everywhere)
        precision, product = rows.normal_equations(weight, matrix, left)
        amplitudes.append(np.linalg.solve(precision, product)[0])
        errors.append(np.sqrt(np.linalg.inv(precision)[0, 0]))
        plain.append(np.linalg.lstsq(matrix, left, rcond=None)[0][0])
    # the scatter of 60 values is known to 9%, their mean to 0.13 of it
    assert np.std(amplitudes) < 0.9 * np.std(plain)
    assert np.std(amplitudes) < 1.3 * np.mean(errors)
    assert abs(np.mean(amplitudes) - 1) < 0.4 * np.std(amplitudes)


def test_noise_of_rows_is_found():
    """Half of its variance at least is expected where all blocks are seen."""
    rng = np.random.default_rng(4)
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    level = np.sqrt(SHARED) * rng.standard_normal(SIDE)
    left = (level[:, None] + rng.standard_normal((SIDE, SIDE))).ravel()
    error = np.ones(left.shape)
    rows = RowNoise.of(row, column, 1, left, error, np.ones(left.shape, bool))
    found = rows.expected(error, left)
    assert found.shape == (SIDE, SIDE)
    assert np.var(found - level[:, None]) < SHARED / 2


def test_white_noise_has_none():
    """Neighbours that differ are no noise of the rows."""
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    left = np.random.default_rng(5).standard_normal(SIDE**2)
    rows = RowNoise.of(row, column, 1, left, np.ones(left.shape), np.ones(left.shape, bool))
    # the products of two of 36,000 pairs at each distance tell the variance to 0.004
    assert rows is None or rows.variance.sum() < 0.02
