"""Which exposures were made with the same detector shortly before."""

from collections.abc import Sequence

from ceers_steps.survey.select.exposures import Exposure

__all__ = ["earlier_exposures"]

REACH = 3600.0
"""Time between two exposures in which trapped charge matters, s: what is released later is below
the noise (persistence of NIRCam falls by e in some minutes)."""

MOST = 12
"""Exposures that are taken at most: of short ones the last minutes."""

DAY = 86400.0


def earlier_exposures(exposures: Sequence[Exposure]) -> dict[str, list[str]]:
    """Return the files that may have left charge in the pixels of each exposure.

    Parameters
    ----------
    exposures
        Of a survey.

    Returns
    -------
    dict
        Paths by the name of the exposure, the latest first; for NIRCam only. Exposures without
        times have none.
    """
    of_detector: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        if exposure.instrument == "NIRCAM" and exposure.end > exposure.start:
            of_detector.setdefault(exposure.detector, []).append(exposure)
    found = {}
    for members in of_detector.values():
        members.sort(key=lambda each: each.start)
        for k, exposure in enumerate(members):
            recent: list[str] = []
            for other in reversed(members[:k]):
                if (exposure.start - other.end) * DAY > REACH or len(recent) == MOST:
                    break
                if other.end <= exposure.start:
                    recent.append(str(other.path))
            if recent:
                found[exposure.name] = recent
    return found
