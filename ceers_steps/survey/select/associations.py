"""Which exposures become one mosaic, and what the mosaics are called."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.names import name_problem
from ceers_steps.survey.select.exposures import Exposure, plan_exposures
from ceers_steps.survey.select.footprints import overlap_groups
from ceers_steps.survey.select.grids import Grid

__all__ = ["ALL", "Group", "group_exposures", "incomplete", "name_products"]

MIN_OVERLAP = 0.2
"""Dithers that share more than this fraction of their area are of one pointing.

Any value from 0.06 to 0.6 gives the published pointings of CEERS, whose edges overlap by less.
"""

ALL = "allfilters"
"""Stands for the filter in the name of the association of all filters."""

POINTINGS = "dr05/pointings.ecsv"
"""Packaged table of the exposures of CEERS NIRCam DR0.5 with their pointings."""


@dataclass(frozen=True)
class Group:
    """Exposures on the same pixels.

    Attributes
    ----------
    name : str
        ``nircam1``, ``jw01345001``, ...
    exposures : tuple of Exposure
        In the order of their names.
    products : dict
        Name of the product of each filter.
    grid : Grid or None
        The pixels; None leaves them to the pipeline.
    """

    name: str
    exposures: tuple[Exposure, ...]
    products: dict[str, str] = field(default_factory=dict)
    grid: Grid | None = None

    @property
    def filters(self) -> dict[str, list[Exposure]]:
        """The exposures of each filter, in the order of wavelength."""
        names = sorted({exposure.filter for exposure in self.exposures})
        return {
            name: [exposure for exposure in self.exposures if exposure.filter == name]
            for name in names
        }


def group_exposures(exposures: Sequence[Exposure], by: str) -> list[Group]:
    """Find out what belongs together.

    Parameters
    ----------
    exposures
        All exposures.
    by
        ``pointing``, ``visit``, ``observation`` or ``program``. A pointing has the name that the
        exposures bring or that CEERS gave it; other exposures are of one pointing if their
        footprints overlap, or, without footprints, if they are of one observation. Each
        instrument has groups of its own.

    Returns
    -------
    list of Group
        In the order of their names; those of MIRI and NIRISS end in the name of the instrument.
    """
    if by == "pointing":
        names = _pointings(exposures)
    else:
        names = [_stem(exposure, by) for exposure in exposures]
    members: dict[str, list[Exposure]] = {}
    for name, exposure in zip(names, exposures, strict=True):
        if exposure.instrument != "NIRCAM":  # pixels and noise of their own; filters of one name
            name = f"{name}_{exposure.instrument.lower()}"
        members.setdefault(name, []).append(exposure)
    return [
        Group(name, tuple(sorted(members[name], key=lambda exposure: exposure.name)))
        for name in sorted(members)
    ]


def name_products(groups: Iterable[Group], template: str | None) -> list[Group]:
    """Give every group the names of its products.

    Parameters
    ----------
    groups
        Groups of exposures.
    template
        ``{group}`` and ``{filter}`` in it are replaced; ``_{filter}`` is added where it is
        missing. None is ``{group}_{filter}``.

    Returns
    -------
    list of Group
        With ``products``.

    Raises
    ------
    CeersError
        When the template is none, or gives two groups the same names.
    """
    groups = list(groups)
    template = template or "{group}_{filter}"
    if "{filter}" not in template:
        template += "_{filter}"
    if len(groups) > 1 and "{group}" not in template:
        raise CeersError(
            f"--product {template!r} gives all {len(groups)} groups the same names "
            f"({', '.join(group.name for group in groups)}). Put {{group}} into it."
        )
    named = []
    for group in groups:
        try:
            products = {
                name: template.format(group=group.name, filter=name.lower())
                for name in (*group.filters, ALL)
            }
        except (KeyError, IndexError, ValueError) as err:
            raise CeersError(
                f"--product {template!r} is not understood ({type(err).__name__}: {err}). Only "
                "{group} and {filter} can stand in braces."
            ) from err
        bad = [problem for name in products.values() if (problem := name_problem(name))]
        if bad:
            raise CeersError(
                f"--product {template!r}: it becomes part of the names of files, but {bad[0]}. "
                "Give the folder with -o."
            )
        named.append(replace(group, products=products))
    return named


def incomplete(groups: Iterable[Group]) -> list[str]:
    """Say which groups of CEERS lack exposures that were published.

    Parameters
    ----------
    groups
        Groups of exposures.

    Returns
    -------
    list of str
        A line for each filter; none for groups of other names.
    """
    published = Counter((exposure.pointing, exposure.filter) for exposure in _published())
    known = {exposure.name: exposure.pointing for exposure in _published()}
    notes = []
    for group in groups:
        # exposures of that name which are not the published ones, simulated ones say
        if {known.get(exposure.name) for exposure in group.exposures} != {group.name}:
            continue
        for name, exposures in group.filters.items():
            count = published[group.name, name]
            if len(exposures) != count:
                notes.append(f"{group.name} {name}: {len(exposures)} of the {count} of DR0.5")
    return notes


def _pointings(exposures: Sequence[Exposure]) -> list[str]:
    """Return the name of the pointing of each exposure."""
    published = {(exp.program, exp.observation): exp.pointing for exp in _published()}
    names = [
        exposure.pointing or published.get((exposure.program, exposure.observation), "")
        for exposure in exposures
    ]
    # all detectors of a dither are exposed at once: they belong together across the gaps
    dithers: dict[str, list[Exposure]] = {}
    for name, exposure in zip(names, exposures, strict=True):
        if not name and exposure.footprint:
            dithers.setdefault(exposure.dither, []).append(exposure)
    found: dict[str, str] = {}
    if dithers:
        footprints = [
            [polygon for exposure in members for polygon in exposure.footprint]
            for members in dithers.values()
        ]
        labels = overlap_groups(footprints, MIN_OVERLAP)
        found = _name_fields(dict(zip(dithers, labels.tolist(), strict=True)), dithers)
    return [
        name or found.get(exposure.dither) or _stem(exposure, "observation")
        for name, exposure in zip(names, exposures, strict=True)
    ]


def _name_fields(labels: dict[str, int], dithers: dict[str, list[Exposure]]) -> dict[str, str]:
    """Name the fields: by their observation if it has one field only, else with a number."""
    observations: dict[int, set[str]] = {}
    programs: dict[int, set[str]] = {}
    for dither, label in labels.items():
        first = dithers[dither][0]
        observations.setdefault(label, set()).add(_stem(first, "observation"))
        programs.setdefault(label, set()).add(first.program)
    fields = Counter(name for names in observations.values() for name in names)
    named: dict[int, str] = {}
    numbers: Counter[str] = Counter()
    for label in sorted(observations):
        (name, *others) = sorted(observations[label])
        if others or fields[name] > 1:
            stem = "jw" + "-".join(sorted(programs[label]))
            numbers[stem] += 1
            name = f"{stem}-p{numbers[stem]:02d}"
        named[label] = name
    return {dither: named[label] for dither, label in labels.items()}


def _stem(exposure: Exposure, by: str) -> str:
    """Return the beginning of the file names of a visit, observation or program."""
    parts = {"program": 1, "observation": 2, "visit": 3}[by]
    return "jw" + "".join((exposure.program, exposure.observation, exposure.visit)[:parts])


@cache
def _published() -> tuple[Exposure, ...]:
    """Return the exposures of CEERS NIRCam DR0.5."""
    return tuple(plan_exposures(parameter_files_dir() / POINTINGS, ".", "cal"))
