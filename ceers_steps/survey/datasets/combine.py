"""Which calibrated exposures are combined, what the mosaics are called, and a table of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.survey.select.associations import ALL, Group
from ceers_steps.survey.select.exposures import Exposure
from ceers_steps.survey.select.footprints import overlap_groups

__all__ = [
    "COMBINE",
    "check_groups",
    "combine_exposures",
    "list_observations",
    "mosaic_table",
    "observation_list",
]

COMBINE = ("program", "observation", "visit", "filter")
"""What is combined: exposures that share it, and the filter. ``filter`` combines everything."""

MOST = 6
"""Numbers that are listed in a name; of more, the first and the last."""


def combine_exposures(exposures: Sequence[Exposure], by: str) -> list[Group]:
    """Group exposures, and name the groups and their products after what is in them.

    Parameters
    ----------
    exposures
        All of them.
    by
        One of `COMBINE`.

    Returns
    -------
    list of Group
        In the order of their names; products are ``jw01345_obs001+002_NIRCAM_F150W``, with the
        visits after the observation where those are kept apart.
    """
    parts = {"filter": 0, "program": 1, "observation": 2, "visit": 3}[by]
    members: dict[tuple[str, ...], list[Exposure]] = {}
    for exposure in exposures:
        key = (exposure.program, exposure.observation, exposure.visit)[:parts]
        key = (*key, exposure.instrument)
        members.setdefault(key, []).append(exposure)
    groups = []
    for key in sorted(members):
        ordered = tuple(sorted(members[key], key=lambda exposure: exposure.name))
        base, instrument = _name(ordered, by), key[-1]
        group = Group(base if instrument == "NIRCAM" else f"{base}_{instrument}", ordered)
        names = (*group.filters, ALL)
        products = {name: f"{base}_{instrument}_{name}" for name in names}
        groups.append(replace(group, products=products))
    return groups


def check_groups(groups: Iterable[Group], *, single: bool, gaps: bool) -> None:
    """Refuse mosaics that cannot be what is asked for.

    Parameters
    ----------
    groups
        With the names of their products.
    single
        One exposure is enough: outliers are not searched for.
    gaps
        Exposures need not overlap.

    Raises
    ------
    CeersError
        For mosaics of one exposure, in which no outlier can be found, and of exposures that do not
        overlap, which cannot be matched. All detectors of an exposure count as one.
    """
    problems = []
    remedies = {}
    for group in groups:
        for name, exposures in group.filters.items():
            dithers: dict[str, list[Exposure]] = {}
            for exposure in exposures:
                dithers.setdefault(exposure.dither, []).append(exposure)
            if len(dithers) == 1 and not single:
                problems.append(f"{group.products[name]} has one exposure, {exposures[0].name}")
                remedies["outliers are found by comparing exposures: leave that out (--skip"] = (
                    "outlier_detection) or combine more (--combine)"
                )
            parts = _parts(dithers)
            if len(parts) > 1 and not gaps:
                first = " and ".join(sorted(part)[0] for part in parts[:3])
                problems.append(
                    f"{group.products[name]} has {len(parts)} parts that do not overlap, with "
                    f"{first}{' and others' if len(parts) > 3 else ''}"
                )
                remedies["what does not overlap cannot be matched: combine less (--combine),"] = (
                    "give the parts one by one, or take them as they are (--gaps)"
                )
    if problems:
        listed = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise CeersError(
            f"{listed}. No mosaic is made: {'; '.join(map(' '.join, remedies.items()))}."
        )


def _parts(dithers: Mapping[str, Sequence[Exposure]]) -> list[list[str]]:
    """Return the names of the dithers that chains of overlaps connect; without footprint none."""
    footprints = {
        name: [polygon for each in members for polygon in each.footprint]
        for name, members in dithers.items()
    }
    known = {name: polygons for name, polygons in footprints.items() if polygons}
    if len(known) < 2:
        return []
    parts: dict[int, list[str]] = {}
    for name, label in zip(known, overlap_groups(list(known.values()), 0.0), strict=True):
        parts.setdefault(int(label), []).append(name)
    return list(parts.values())


def _name(exposures: Iterable[Exposure], by: str) -> str:
    """Return the name of a group."""
    exposures = list(exposures)
    name = f"jw{_joined(exposure.program for exposure in exposures)}"
    name += f"_obs{_joined(exposure.observation for exposure in exposures)}"
    if by == "visit":
        name += f"_visit{_joined(exposure.visit for exposure in exposures)}"
    return name


def _joined(numbers: Iterable[str]) -> str:
    """Return numbers in a name."""
    unique = sorted(set(numbers))
    return "+".join(unique) if len(unique) <= MOST else f"{unique[0]}to{unique[-1]}"


def observation_list(exposures: Sequence[Exposure]) -> str:
    """Return the observations that went into mosaics, a line each, as text.

    Parameters
    ----------
    exposures
        All of them.

    Returns
    -------
    str
        Program, observation, visit, filter, and the number of exposures.
    """
    return list_observations(
        (each.program, each.observation, each.visit, each.filter) for each in exposures
    )


def list_observations(keys: Iterable[tuple[str, ...]]) -> str:
    """Return observations, a line each, as text.

    Parameters
    ----------
    keys
        Program, observation, visit and filter of each exposure.

    Returns
    -------
    str
        Those, and the number of exposures of each.
    """
    counts = Counter(keys)
    lines = ["# program observation visit filter exposures"]
    lines += [" ".join((*key, str(counts[key]))) for key in sorted(counts)]
    return "\n".join(lines) + "\n"


def mosaic_table(mosaics: Mapping[Path, Sequence[Exposure]]) -> Table:
    """Return the table of mosaics.

    Parameters
    ----------
    mosaics
        The exposures of each mosaic, by its file.

    Returns
    -------
    `~astropy.table.Table`
        Product, number and names of its exposures, filter, pixel scale (arcsec), shape (ny, nx)
        and exposure time (s), as its header has them.
    """
    rows = [_row(path, exposures) for path, exposures in mosaics.items()]
    table = Table(
        rows=rows,
        names=("product", "n_exposures", "filter", "pixel_scale", "ny", "nx", "exposure_time"),
    )
    table["pixel_scale"].unit, table["exposure_time"].unit = "arcsec", "s"
    table["exposures"] = [
        " ".join(exposure.name for exposure in exposures) for exposures in mosaics.values()
    ]
    return table


def _row(path: Path, exposures: Sequence[Exposure]) -> tuple[Any, ...]:
    """Return the row of a mosaic."""
    with fits.open(path) as hdus:
        primary, image = hdus[0].header, hdus["SCI"].header
        ny, nx = image["NAXIS2"], image["NAXIS1"]
        area = image.get("PIXAR_A2") or primary.get("PIXAR_A2")
        time = image.get("XPOSURE") or primary.get("EFFEXPTM")
    scale = np.sqrt(area) if area else np.nan
    return path.stem, len(exposures), exposures[0].filter, scale, ny, nx, time or np.nan
