"""Bits of data quality that kernels look at (those of jwst's data models), and what is usable."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DO_NOT_USE",
    "JUMP_DET",
    "REFERENCE_PIXEL",
    "SATURATED",
    "why_no_ramp",
    "why_unusable",
]

DO_NOT_USE = 1
"""Of DQ and GROUPDQ: the value means nothing."""
SATURATED = 2
"""Of DQ: groups were lost to saturation; of GROUPDQ: this one."""
JUMP_DET = 4
"""Of GROUPDQ: a hit in the difference that ends in this group."""
REFERENCE_PIXEL = 1 << 31
"""Of DQ: sees no light."""


def why_unusable(
    data: NDArray,
    dq: NDArray | None,
    variances: Mapping[str, NDArray | None],
    above_zero: Collection[str] = (),
) -> str | None:
    """Return why no pixel of an image can be used.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The image.
    dq : ndarray or None
        Its data quality; None if it has none.
    variances : Mapping
        Planes of variances by name; None where there is none. Values that are not finite, or
        negative, mean nothing.
    above_zero
        Names of those of which 0 means nothing either.

    Returns
    -------
    str or None
        The plane and what is wrong with it; None if some pixel can be used.
    """
    usable = np.isfinite(data)
    if not usable.any():
        return "SCI has no finite value"
    if dq is not None:
        usable &= (dq & (DO_NOT_USE | REFERENCE_PIXEL)) == 0
    if not usable.any():
        return "DQ flags every pixel with a value as DO_NOT_USE"
    for name, variance in variances.items():
        if variance is None:
            continue
        measured = variance > 0 if name in above_zero else variance >= 0
        if not (np.isfinite(variance) & measured)[usable].any():
            return f"{name} has no valid value"
    values = data[usable]
    if values.size > 1 and not values.any():
        return "SCI is 0 in every pixel that DQ does not flag: nothing was measured"
    return None


def why_no_ramp(groups: NDArray) -> str | None:
    """Return why the groups of an integration measured nothing: no read is without noise.

    Parameters
    ----------
    groups : ndarray, shape (n_groups, ny, nx)
        Counts.

    Returns
    -------
    str or None
        What is wrong with them; None if they can be those of an exposure.
    """
    if not groups.size:
        return "no groups" if not len(groups) else "no pixels"
    first = groups[0]
    # of real ones the first two groups differ: the others are not looked at
    if not all(np.array_equal(group, first) for group in groups[1:]):
        return None
    if (first == first.flat[0]).all():
        return f"every group is {first.flat[0]:g} in every pixel"
    return "every group is the same image" if len(groups) > 1 else None
