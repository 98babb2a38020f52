"""Parameters of jwst's steps that are texts and mean numbers, flags or cores.

Their steps look at them when they run: what is none ends in a traceback after hours, and what is
no limit (nan, a negative one) flags every pixel or none without a word.
"""

import math
from collections.abc import Callable

import numpy as np

from ceers_steps.names import whole_number

__all__ = ["FILL_WORDS", "text_parameter_problem"]

FILL_WORDS = ("INDEF", "NAN", "")
"""Values of fillval that stand for NaN."""

_CORES = ("none", "one", "quarter", "half", "all")


def text_parameter_problem(name: str, value: object) -> str:
    """Say what is wrong with the value of a parameter that is a text with a meaning.

    Parameters
    ----------
    name
        Of the parameter: ``snr``, ``good_bits``, ...
    value
        What is given.

    Returns
    -------
    str
        Empty if nothing is, or if the parameter is none of these, or its value no text.
    """
    check = _CHECKS.get(name)
    return check(value.strip()) if check and isinstance(value, str) else ""


def _two_limits(text: str) -> str:
    numbers = [_number(word) for word in text.split()]
    if len(numbers) == 2 and all(math.isfinite(each) and each > 0 for each in numbers):
        return ""
    return "give two numbers above 0 with a space between, '5.0 4.0' for instance"


def _flags(text: str) -> str:
    if not text or text == "None":
        return ""
    from astropy.nddata.bitmask import interpret_bit_flags
    from stdatamodels.jwst.datamodels.dqflags import pixel

    try:
        interpret_bit_flags(text, flag_name_map=pixel)
    except KeyError as err:
        return f"{err} is no flag of JWST; '~DO_NOT_USE+NON_SCIENCE' is an example"
    except (ValueError, TypeError) as err:
        return f"no flags of JWST ({err})"
    return "a negative number is no flag" if "-" in text else ""


def _fill_value(text: str) -> str:
    if text.upper() in FILL_WORDS:
        return ""
    number = _number(text)
    if not math.isfinite(number):
        return "give a number, or NAN"
    fits = abs(number) <= float(np.finfo(np.float32).max)
    return "" if fits else "more than float32 holds"


def _cores(text: str) -> str:
    if text in _CORES or (whole_number(text) or 0) > 0:
        return ""
    return f"give a whole number from 1, or one of {', '.join(_CORES)}"


_CHECKS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("snr", "scale"), _two_limits),
    **dict.fromkeys(("good_bits", "dqbits"), _flags),
    "fillval": _fill_value,
    "maximum_cores": _cores,
}


def _number(word: str) -> float:
    """Return a number; nan for what is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan
