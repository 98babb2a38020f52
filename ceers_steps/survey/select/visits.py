"""Exposures whose pointing, or name, is that of something else.

The telescope tracks one guide star in a visit, so its exposures lie within an arcminute or two.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from astropy.coordinates import angular_separation

from ceers_steps.files.membership import NAMES_IN_LINE
from ceers_steps.survey.select.exposures import Exposure
from ceers_steps.survey.select.footprints import sky_center

__all__ = ["FARTHEST", "far_from_visit", "list_contradictions", "list_far"]

FARTHEST = 300.0
"""Arcsec from the middle of the exposures of one detector in a visit; dithers take up to 100."""


def far_from_visit(exposures: Iterable[Exposure]) -> dict[str, float]:
    """Find exposures that are not where the others of their visit and detector are.

    Parameters
    ----------
    exposures : iterable of Exposure
        Those without a footprint say nothing.

    Returns
    -------
    dict of float
        Arcsec from the median position of the others, by exposure, of those beyond `FARTHEST`. Of
        two exposures that are far from each other both are there.
    """
    visits: dict[tuple[str, ...], list[Exposure]] = defaultdict(list)
    for each in exposures:
        if each.footprint:
            visits[each.program, each.observation, each.visit, each.detector].append(each)
    found = {}
    for members in visits.values():
        places = np.deg2rad([sky_center(each.footprint) for each in members])
        separations = angular_separation(*(axis[:, None] for axis in places.T), *places.T)
        for each, row in zip(members, np.rad2deg(separations) * 3600, strict=True):
            # itself is among them, at 0: it must not count as a neighbour
            others = np.sort(row)[1:]
            if others.size and (distance := float(np.median(others))) > FARTHEST:
                found[each.name] = distance
    return found


def list_far(far: Mapping[str, float]) -> list[str]:
    """Say which exposures are far from their visit.

    Parameters
    ----------
    far
        As `far_from_visit` returns it.

    Returns
    -------
    list of str
        One line for people, or none.
    """
    if not far:
        return []
    listed = ", ".join(
        f"{name} by {arcsec:.0f} arcsec" for name, arcsec in list(far.items())[:NAMES_IN_LINE]
    )
    more = ", ..." if len(far) > NAMES_IN_LINE else ""
    return [
        f"warning: {len(far)} exposure(s) lie far from the others of their visit: {listed}{more}. "
        "Is their pointing (S_REGION, RA_REF, DEC_REF) that of another exposure?"
    ]


def list_contradictions(exposures: Iterable[Exposure]) -> list[str]:
    """Say which files are named after other exposures than their headers.

    Parameters
    ----------
    exposures
        All that are used.

    Returns
    -------
    list of str
        One line for people, or none.
    """
    found = [exposure for exposure in exposures if exposure.contradiction]
    if not found:
        return []
    listed = "; ".join(f"{each.path.name} ({each.contradiction})" for each in found[:NAMES_IN_LINE])
    more = "; ..." if len(found) > NAMES_IN_LINE else ""
    return [
        f"warning: {len(found)} file(s) are named after other exposures than their headers: "
        f"{listed}{more}. They are called by the file, and belong to the visit of the header."
    ]
