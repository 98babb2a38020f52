"""The parameters in force for an exposure, and where each came from."""

from collections.abc import Mapping
from typing import Any

from ceers_steps.figures.looks import Look

__all__ = ["PARAMETERS", "Parameter", "in_force"]

PARAMETERS = ".ceers/parameters.json"
"""Note of a survey on what was given: ``values`` (text of where, by key of the survey, as
``[value, origin]``), ``steps`` (``[pipeline, step, name, value, origin]`` each), ``overrides``
(file) and ``rows`` (values by exposure)."""

PLACES = {
    "ceers_jump_check": ("detector1", "jump_check"),
    "ceers_trapped_charge": ("detector1", "trapped_charge"),
    "ceers_snowball": ("detector1", "snowball"),
    "ceers_wispsub": ("detector1", "wispsub"),
    "ceers_remstriping": ("detector1", "remstriping"),
    "ceers_image_background": ("image2", "image_background"),
    "ceers_update_wcs": ("image3", "update_wcs"),
    "ceers_align": ("image3", "tweakreg"),
    "ceers_skyvar": ("image3", "skyvar"),
}
"""Pipeline and name in it of the steps of this package."""

FROM_SURVEY = {
    ("tweakreg", "abs_refcat"): "reference_catalog",
    ("wispsub", "templates"): "wisp_templates",
    ("trapped_charge", "earlier_exposures"): "",
    ("update_wcs", "wcs_dir"): "wcs_dir",
    ("skyvar", "source_mask"): "",
}
"""Parameters that a survey sets from a key of its own; where that is empty, from its products."""

FROM_TABLE = {
    ("wispsub", "scale"): "wisp_scale",
    ("remstriping", "mask_threshold"): "mask_threshold",
}
"""Parameters that a table of overrides may give, by its column."""

Parameter = tuple[str, str, str, str]
"""Step, name, value, and where it came from."""


def in_force(looks: Mapping[str, Look], given: Mapping[str, Any], exposure: str) -> list[Parameter]:
    """Return the parameters that an exposure was reduced with.

    Parameters
    ----------
    looks
        What steps have left of it; their records say what they used.
    given
        The note of the survey (`PARAMETERS`); may be empty.
    exposure
        Its name.

    Returns
    -------
    list of (step, name, value, origin)
        Of the steps of this package all that they recorded; of the others what was given.
        Without a note, where they came from is not known.
    """
    origins = {
        (pipeline, step, name): (value, origin)
        for pipeline, step, name, value, origin in _rows(given.get("steps"))
    }
    values = _mapping(given.get("values"))
    row = _mapping(_mapping(given.get("rows")).get(exposure))
    table = f"overrides, {given.get('overrides') or 'table'}"
    found: list[Parameter] = []
    seen: set[tuple[str, str, str]] = set()
    for alias, (pipeline, step) in PLACES.items():
        look = looks.get(f"record_{alias}")
        used = _mapping(look.facts.get("parameters")) if look else {}
        for name, value in used.items():
            key = (pipeline, step, name)
            seen.add(key)
            column = FROM_TABLE.get((step, name))
            of_survey = values.get(FROM_SURVEY.get((step, name), ""))
            if column and column in row:
                origin = table
            elif key in origins:
                origin = origins[key][1]
            elif of_survey:
                origin = of_survey[1]
            elif (step, name) in FROM_SURVEY:
                origin = "found by the survey or the step"
            else:
                origin = "default" if given else ""
            found.append((step, name, _text(value), origin))
    for (pipeline, step, name), (value, origin) in origins.items():
        if (pipeline, step, name) not in seen:
            found.append((step or pipeline, name, _text(value), origin))
    found += [("", name, _text(value), table) for name, value in row.items()]
    return found


def _mapping(value: Any) -> dict[str, Any]:
    """Return an entry of a note that has to be an object; empty where it is none."""
    return value if isinstance(value, dict) else {}


def _rows(rows: Any) -> list[list[Any]]:
    """Return the rows of five cells of a note."""
    return [row for row in rows or [] if isinstance(row, list) and len(row) == 5]


def _text(value: Any) -> str:
    """Return a value as it stands in a table."""
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value == "" else str(value)
