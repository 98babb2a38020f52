"""What profiles of several groups of pixels have in common."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.additive.settings import ADDITIVE

__all__ = ["common_profile"]

Array = NDArray[np.float64]


def common_profile(total: Array, n: Array, n_scales: int, degree: int | None = None) -> Array:
    """Return what groups have in common: a polynomial, and details that they agree on.

    Details are differences of means over growing numbers of places. The scatter from group to
    group tells their errors: with light of sources in some of them, and with structure that is no
    profile, it is large.

    Parameters
    ----------
    total, n : ndarray of float64, shape (n groups, n places)
        Sums of values, and their numbers.
    n_scales : int
        Of the details, each twice as wide as the one before.
    degree : int, optional
        Of the polynomial. Default: neither it nor what is wider than all details.

    Returns
    -------
    ndarray of float64, shape (n places,)
        About its median if there is a polynomial; 0 where there are too few groups.
    """
    n_places = n.shape[1]
    seen = n.sum(axis=1) > 0.0
    total, n = total[seen], n[seen]
    if len(n) < ADDITIVE.fewest_groups or n_places < 2 * ADDITIVE.fewest_groups:
        return np.zeros(n_places)
    weight = n.sum(axis=0)
    usual = np.median(weight[weight > 0.0])
    known = np.flatnonzero(weight >= ADDITIVE.least_group * usual)
    mean = np.interp(
        np.arange(n_places), known, total.sum(axis=0)[known] / np.maximum(weight[known], 1e-9)
    )
    # a group that does not know a place has there what all have
    few = n < ADDITIVE.least_group * np.median(n[n > 0.0])
    each = np.where(few, 0.0, total / np.maximum(n, 1e-9) - mean)
    off = each.sum(axis=1) / np.maximum(np.count_nonzero(~few, axis=1), 1)
    part = np.where(few, 0.0, n)
    part /= np.maximum(part.sum(axis=0), 1e-9)
    smooth = np.zeros(n_places)
    if degree is not None:
        smooth = _polynomial(mean, weight, known, degree)
    details, wide = _details(mean - smooth + np.where(few, off[:, np.newaxis], each), n_scales)
    n_groups = 1.0 / np.maximum(np.sum(part**2, axis=0), 1.0 / len(n))
    enough = n_groups >= ADDITIVE.fewest_groups - 1
    if degree is not None:
        details.append(
            wide
            - np.sum(part * wide, axis=1, keepdims=True)
            / np.maximum(np.sum(part, axis=1, keepdims=True), 1e-9)
        )
    result = smooth
    for number, detail in enumerate(details):
        common = np.sum(part * detail, axis=0)
        variance = np.sum(part * (detail - common) ** 2, axis=0) / np.maximum(n_groups - 1.0, 1.0)
        variance = ndimage.gaussian_filter1d(variance, 2.0 ** (number + 1), mode="reflect")
        error = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
        result = result + np.clip(np.abs(common) / error - ADDITIVE.surely, 0.0, 1.0) * (
            enough * common
        )
    return result if degree is None else result - np.median(result)


def _polynomial(values: Array, weight: Array, known: NDArray[np.intp], degree: int) -> Array:
    """Return the polynomial that fits known places; beyond the outermost it is constant."""
    place = np.clip(np.arange(len(values)), known[0], known[-1])
    place = 2.0 * (place - known[0]) / max(known[-1] - known[0], 1) - 1.0
    terms = np.polynomial.legendre.legvander(place, degree)
    root = np.sqrt(weight[known])
    solution = np.linalg.lstsq(terms[known] * root[:, np.newaxis], values[known] * root)[0]
    return np.asarray(terms @ solution)


def _details(values: Array, n_scales: int) -> tuple[list[Array], Array]:
    """Return details of growing width along the last axis, and what is wider than all of them."""
    kernel = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
    details, n = [], values.shape[1]
    steps = [2**number for number in range(n_scales)]
    for step in steps:
        if 2 * step >= n:
            break
        edges = ((0, 0), (2 * step, 2 * step))
        around = np.pad(values, edges, mode="reflect", reflect_type="odd")
        shifted = [around[:, k * step : k * step + n] for k in range(len(kernel))]
        smooth = np.tensordot(kernel, np.stack(shifted), 1)
        details.append(values - smooth)
        values = smooth
    return details, values
