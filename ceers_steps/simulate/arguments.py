"""What `simulate` is asked for: defaults of each instrument, and what fits together."""

from collections.abc import Sequence
from typing import NamedTuple

from ceers_steps.errors import CeersError
from ceers_steps.simulate.telescope.instrument import (
    Band,
    Detector,
    find_subarray,
    get_band,
    get_detector,
)
from ceers_steps.simulate.telescope.patterns import ReadPattern, get_pattern

__all__ = ["DEFAULTS", "check_numbers", "choose_instrument", "default_aperture", "pair"]


class Defaults(NamedTuple):
    """Detectors, filters and read pattern of an instrument when nothing else is said."""

    detectors: tuple[str, ...]
    filters: tuple[str, ...]
    read_pattern: str


DEFAULTS = {
    "NIRCAM": Defaults(("NRCB4", "NRCBLONG"), ("F150W", "F277W"), "MEDIUM8"),
    "MIRI": Defaults(("MIRIMAGE",), ("F770W",), "FASTR1"),
    "NIRISS": Defaults(("NIS",), ("F150W",), "NISRAPID"),
}
"""What is simulated of each instrument when nothing else is said."""


def choose_instrument(
    instrument: str | None, detectors: Sequence[str] | None
) -> tuple[str, Sequence[str]]:
    """Return the instrument and its detectors; all have to be of one."""
    if detectors is None:
        instrument = (instrument or "NIRCAM").upper()
        if instrument not in DEFAULTS:
            raise CeersError(
                f"instrument is '{instrument}': it must be one of {', '.join(DEFAULTS)}."
            )
        return instrument, DEFAULTS[instrument].detectors
    found = {name: get_detector(name).instrument for name in detectors}
    wanted = instrument.upper() if instrument else next(iter(found.values()), "NIRCAM")
    for name, owner in found.items():
        if owner != wanted:
            raise CeersError(
                f"{name} is a detector of {owner}, and the instrument is {wanted}. Simulate one "
                "instrument after the other, into the same folder."
            )
    return wanted, detectors


def check_numbers(
    read_pattern: str, instrument: str, **limits: tuple[float, int, int]
) -> ReadPattern:
    """Return the read pattern when every number is within its limits."""
    for name, (value, lowest, highest) in limits.items():
        if not lowest <= value <= highest:
            raise CeersError(f"{name} is {value}: it must be between {lowest} and {highest}.")
    try:
        return get_pattern(read_pattern, instrument)
    except ValueError as err:
        raise CeersError(str(err)) from err


def pair(
    detectors: Sequence[str], filters: Sequence[str], instrument: str
) -> list[tuple[Detector, Band]]:
    """Detectors with the filters of their channel; every one of either has to find a partner."""
    chosen = list(dict.fromkeys(get_detector(name) for name in detectors))
    bands = list(dict.fromkeys(get_band(name, instrument) for name in filters))
    pairs = [(d, b) for d in chosen for b in bands if d.channel == b.channel]
    for detector in chosen:
        if not any(d == detector for d, _ in pairs):
            raise CeersError(
                f"{detector.name} is a {detector.channel.lower()}-wavelength detector, and none of "
                f"the filters {', '.join(b.name for b in bands)} is of that channel. Add one."
            )
    for band in bands:
        if not any(b == band for _, b in pairs):
            raise CeersError(
                f"{band.name} is a {band.channel.lower()}-wavelength filter, and none of the "
                f"detectors {', '.join(d.name for d in chosen)} is of that channel. Add one."
            )
    return pairs


def default_aperture(pairs: list[tuple[Detector, Band]], size: str) -> str:
    """Return the SIAF aperture that the target is put on when none is given."""
    first = pairs[0][0]
    if first.instrument != "NIRCAM":
        return find_subarray(first, size).aperture
    modules = {detector.name[3] for detector, _ in pairs}
    return "NRCALL_FULL" if len(modules) > 1 else f"NRC{modules.pop()}S_FULL"
