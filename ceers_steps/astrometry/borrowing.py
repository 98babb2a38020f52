"""Pointings of exposures that could be aligned, for those of their visit that could not."""

from collections.abc import Sequence

import numpy as np

from ceers_steps.astrometry.exposure import BORROWED, COMPLETE, FAILED, AlignedExposure

__all__ = ["borrow_pointings_inplace"]


def borrow_pointings_inplace(exposures: Sequence[AlignedExposure]) -> None:
    """Give failed exposures the pointing error of another one of their visit.

    The one that is nearest in time, of the same detector if there are several. Its shift and
    rotation are taken, not its scale, which belongs to the detector.

    Parameters
    ----------
    exposures : sequence of AlignedExposure
        All of them; those that failed are changed.
    """
    good = [exposure for exposure in exposures if exposure.status == COMPLETE]
    for exposure in exposures:
        donors = [donor for donor in good if donor.visit == exposure.visit]
        if exposure.status != FAILED or not donors:
            continue
        donor = min(
            donors,
            key=lambda d: (abs(d.time - exposure.time), d.detector != exposure.detector, d.name),
        )
        taken = donor.correction
        if taken is None:
            continue
        scale = np.sqrt(np.linalg.det(taken.matrix))
        rigid = taken.matrix / scale
        shift = taken.matrix @ taken.centre + taken.shift - rigid @ taken.centre
        exposure.corrector.set_correction(rigid, shift, ref_tpwcs=taken.plane)
        exposure.reference = donor.reference
        exposure.end(BORROWED, f"pointing of {donor.name} ({exposure.note})")
        exposure.add_row(
            "absolute",
            BORROWED,
            exposure.note,
            reference=donor.reference,
            geometry="rshift",
            xshift=1e3 * shift[0],
            yshift=1e3 * shift[1],
            rotation=3600 * np.rad2deg(np.arctan2(rigid[1, 0], rigid[0, 0])),
            scale=1.0,
        )
