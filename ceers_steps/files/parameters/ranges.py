"""Numbers that steps declare without limits, of jwst and in lists, and those that they can use.

A list declares how long it is, not what stands in it, and most numbers of jwst have no limits: a
radius of 10**9 pixels grows flags without end, an infinite time ends in a traceback.
"""

import itertools
import math
import os
from collections.abc import Iterable, Mapping

from ceers_steps.files.limits import why_no_file

__all__ = ["number_problem", "order_problem", "path_problem"]

_SIDES, _ANGLES, _PIXELS = (1, 4096), (-360, 360), (0, 1000)
_TIMES, _STEPS = (0, 1e9), (1, 1e9)

RANGES: dict[str, tuple[float, float]] = {
    "variance_blocks": _SIDES,
    "background_box_size": _SIDES,
    "tilted_angles": _ANGLES,
    **dict.fromkeys(("detection_radii", "growth_radii", "only_tile", "kron_params"), _PIXELS),
    **dict.fromkeys(("n_pix_grow_sat", "sat_expand", "max_extended_radius", "edge_size"), _PIXELS),
    **dict.fromkeys(("after_jump_flag_time1", "after_jump_flag_time2"), _TIMES),
    **dict.fromkeys(("stepsize", "pixmap_stepsize", "npixels", "nlevels"), _STEPS),
    **dict.fromkeys(("aperture_ee1", "aperture_ee2", "aperture_ee3"), (1, 99)),
    "kernel_fwhm": (0.1, 100),
    "bkg_boxsize": (1, 100_000),
    "snr_threshold": (0, 1e6),
    "maskpt": (0, 1),
    **dict.fromkeys(("minsep_fwhm", "localbkg_width"), _PIXELS),
    "contrast": (0, 1),
    **dict.fromkeys(("time_masked_after_shower", "snowball_time_masked_next_int"), _TIMES),
}
"""Smallest and largest value by parameter: pixels, degrees, seconds, percent; choices, far beyond
use."""

_ABOVE_ZERO = {"kron_params": 2}
"""How many numbers of a list, from its first, must be above 0: of a scale 0 nothing is left."""

RISING = (
    ("aperture_ee1", "aperture_ee2", "aperture_ee3"),
    ("sharplo", "sharphi"),
    ("roundlo", "roundhi"),
    ("lower", "upper"),
)
"""Numbers of which each must be larger than the one before."""

_FILES = {
    **dict.fromkeys(("user_supplied_dq", "user_supplied_flat", "user_mask"), (".fits", ".fits.gz")),
    "persistence_array_file": (".asdf",),
    **dict.fromkeys(("skylist", "catfile"), ("",)),
}
"""Texts of jwst's steps that name a file, by parameter, with how its name can end."""


def number_problem(name: str, values: Iterable[object]) -> str:
    """Say what is wrong with the numbers of a parameter.

    Parameters
    ----------
    name
        Of the parameter.
    values
        One, or those of a list.

    Returns
    -------
    str
        Empty if nothing is, or if the parameter has no limits here.
    """
    least, most = RANGES.get(name, (-math.inf, math.inf))
    for place, value in enumerate(values):
        if isinstance(value, (int, float)) and not least <= value <= most:
            return f"{value:g} is not from {least:g} to {most:g}"
        if value == 0 and place < _ABOVE_ZERO.get(name, 0):
            return f"its number {place + 1} is 0, and must be above"
    return ""


def order_problem(values: Mapping[str, object]) -> str:
    """Say which numbers of a step must be larger than others and are not.

    Parameters
    ----------
    values
        All parameters of the step, by name.

    Returns
    -------
    str
        Empty if there are none.
    """
    for names in RISING:
        for low, high in itertools.pairwise(names):
            one, other = values.get(low), values.get(high)
            if isinstance(one, (int, float)) and isinstance(other, (int, float)) and one >= other:
                return f"{low} = {one:g} must be less than {high} = {other:g}"
    return ""


def path_problem(name: str, value: object) -> str:
    """Say what keeps a text that names a file from doing so.

    Parameters
    ----------
    name
        Of the parameter.
    value
        What is given; relative to the working folder, as jwst takes it.

    Returns
    -------
    str
        Empty if nothing does, if nothing is given, or if the parameter names no file.
    """
    ends = _FILES.get(name)
    if ends is None or not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        return ""
    if problem := why_no_file(value):
        return f"it {problem}"
    return "" if str(value).endswith(ends) else f"its name does not end in {' or '.join(ends)}"
