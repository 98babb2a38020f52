"""Strong stripes along columns, which must be gone before sources and rows are looked for.

Columns that scatter by less than a tenth of the noise of a pixel do no harm, and are measured in
what the fit of rows leaves. Stronger ones are taken for light: the search finds them, the smooth
light follows their mean over some columns, and what looks like a slope of the sky along x allows
for one along y, which is drift of the outputs.
"""

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.stats import mad_sigma
from ceers_steps.kernels.stripes.median import clipped_row_medians, rough_stripes
from ceers_steps.kernels.stripes.settings import COLUMNS, MEDIAN
from ceers_steps.kernels.stripes.tilted import tilted_stripes

__all__ = ["strong_columns"]


def strong_columns(
    image: NDArray, mask: NDArray[np.bool_], n_outputs: int
) -> NDArray[np.float32] | None:
    """Measure stripes along columns, where they are strong.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        With its sky, sources and row stripes.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use: bad pixels, and sources if they are known.
    n_outputs : int
        Number of outputs, strips of columns of equal width.

    Returns
    -------
    ndarray of float32, shape (nx,), or None
        Stripes with zero mean over the usable pixels; the trend of the sky is not in them. None
        if columns hardly scatter.
    """
    step = max(1, len(image) // COLUMNS.rows)
    if not _are_strong(image[::step], mask[::step], n_outputs):
        return None
    flattened = image - rough_stripes(image, mask, n_outputs)
    return tilted_stripes(flattened, mask, 90.0)[0]


def _are_strong(image: NDArray, mask: NDArray[np.bool_], n_outputs: int) -> bool:
    """Return whether neighbouring columns differ by more than noise, on a few rows."""
    flattened = image - rough_stripes(image, mask, n_outputs)
    usable = np.isfinite(flattened) & ~mask
    full = usable.sum(axis=0) >= COLUMNS.least_seen * len(image)
    pairs = full[1:] & full[:-1]
    if np.count_nonzero(pairs) < COLUMNS.least_pairs:
        return False
    neighbours = usable[:, 1:] & usable[:, :-1]
    sigma = mad_sigma(np.diff(flattened, axis=1)[neighbours]) / np.sqrt(2)
    medians = clipped_row_medians(flattened.T, ~usable.T)
    scatter = mad_sigma(np.diff(medians)[pairs]) / (np.sqrt(2) * sigma)
    noise = np.mean(MEDIAN.median_variance / usable.sum(axis=0)[full])
    chance = COLUMNS.chance / np.sqrt(np.count_nonzero(pairs))
    return bool(scatter**2 > (1 + chance) * noise + COLUMNS.least_scatter**2)
