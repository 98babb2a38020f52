"""Snowballs as CEERS DR0.5 flagged them: jumps filtered by discs and grown by fixed radii."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.discs import dilate, disc_median
from ceers_steps.kernels.dq import JUMP_DET, SATURATED
from ceers_steps.kernels.snowballs.settings import PUBLISHED

__all__ = ["published_flags"]


def published_flags(
    groupdq: NDArray[np.uint8],
    *,
    detection_radii: Sequence[int] = (7, 15),
    growth_radii: Sequence[int] = (7, 35),
) -> NDArray[np.bool_]:
    """Flag snowballs as CEERS DR0.5 did (Bagley et al. 2023, ApJL 946 L12, section 3.1).

    For each pair of radii the jumps of a group are median-filtered with a disc, saturated pixels
    that fall on the result join the jumps, the filter is applied again, and what is left is
    dilated.

    Parameters
    ----------
    groupdq
        Shape ``(nints, ngroups, ny, nx)``, after jump detection.
    detection_radii, growth_radii
        Radii of the discs of the median and of the dilation, pixels; equally many.

    Returns
    -------
    NDArray
        Same shape; True = to be flagged as a jump.

    Raises
    ------
    ValueError
        If the two lists differ in length, or hold a radius that is negative or above 1000.
    """
    radii = (*detection_radii, *growth_radii)
    largest = PUBLISHED.largest_radius
    if len(detection_radii) != len(growth_radii) or not all(0 <= each <= largest for each in radii):
        raise ValueError(
            f"detection_radii = {list(detection_radii)} and growth_radii = {list(growth_radii)} "
            f"must be equally many radii from 0 to {largest:g} pixels, for instance 7, 15 and 7, 35"
        )
    flags = np.zeros(groupdq.shape, dtype=bool)
    planes = groupdq.reshape(-1, *groupdq.shape[-2:])
    for plane, out in zip(planes, flags.reshape(planes.shape), strict=True):
        jumps = (plane & JUMP_DET) != 0
        if not jumps.any():
            continue
        saturated = (plane & SATURATED) != 0
        for detection, growth in zip(detection_radii, growth_radii, strict=True):
            joined = jumps | (saturated & disc_median(jumps, detection))
            out |= dilate(disc_median(joined, detection), growth)
    return flags
