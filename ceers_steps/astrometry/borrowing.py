"""Pointings of exposures that could be aligned, for those of their visit that could not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ceers_steps.astrometry.exposure import (
    BORROWED,
    COMPLETE,
    FAILED,
    AlignedExposure,
    Correction,
)

__all__ = ["borrow_pointings_inplace"]

SIMULTANEOUS = 1e-4
"""Days between the starts of exposures of two detectors that are one pointing."""


def borrow_pointings_inplace(exposures: Sequence[AlignedExposure], *, referenced: bool) -> None:
    """Give failed exposures the pointing error of others of their visit.

    That of the one that is nearest in time, of the same detector if there are several. Exposures
    that are aligned with each other only are corrected for the jitter of each, and for what the
    visits are off: then that of one taken at the same time, or else the mean of those of one
    detector and filter in the visit, which knows the second and not another's jitter. Shift and
    rotation are taken, not the scale, which belongs to the detector.

    Parameters
    ----------
    exposures : sequence of AlignedExposure
        All of them; those that failed are changed.
    referenced : bool
        Whether there was a reference to align to.
    """
    good = [each for each in exposures if each.status == COMPLETE and each.correction is not None]
    for exposure in exposures:
        donors = [donor for donor in good if donor.visit == exposure.visit]
        if exposure.status != FAILED or not donors:
            continue
        donor = min(
            donors,
            key=lambda d: (abs(d.time - exposure.time), d.detector != exposure.detector, d.name),
        )
        if referenced or abs(donor.time - exposure.time) < SIMULTANEOUS:
            donors, whose = [donor], f"pointing of {donor.name}"
        else:
            key = (donor.detector, donor.filter_name)
            donors = [each for each in donors if (each.detector, each.filter_name) == key]
            whose = f"mean pointing of {len(donors)} exposures of its visit"
        moves = [_rigid(each.correction) for each in donors if each.correction is not None]
        matrix, shift = (np.mean(parts, axis=0) for parts in zip(*moves, strict=True))
        if donor.correction is not None:
            exposure.corrector.set_correction(matrix, shift, ref_tpwcs=donor.correction.plane)
        exposure.reference = donor.reference
        exposure.end(BORROWED, f"{whose} ({exposure.note})")
        exposure.add_row(
            "absolute" if referenced else "relative",
            BORROWED,
            exposure.note,
            reference=donor.reference,
            geometry="rshift",
            xshift=1e3 * shift[0],
            yshift=1e3 * shift[1],
            rotation=3600 * np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])),
            scale=1.0,
        )


def _rigid(correction: Correction) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix and shift (arcsec) of a correction without its scale."""
    matrix, centre = correction.matrix, correction.centre
    rigid = matrix / np.sqrt(np.linalg.det(matrix))
    return rigid, matrix @ centre + correction.shift - rigid @ centre
