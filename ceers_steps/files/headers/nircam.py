"""What is fixed about NIRCam images and stands in their headers: detectors, patterns, subarrays.

The simulator has its own tables (`ceers_steps.simulate.telescope`): it imports nothing of what it
is to test.
"""

__all__ = [
    "CENTRES",
    "DETECTORS",
    "FLIPPED_X",
    "FRAME_TOLERANCE",
    "HALF_SIDES",
    "KINDS",
    "NAMES",
    "READ_PATTERNS",
    "SUBARRAYS",
    "frame_time",
]

DETECTORS = tuple(f"NRC{module}{chip}" for module in "AB" for chip in ("1", "2", "3", "4", "LONG"))
"""In the order of SCA_NUM, from 481."""

NAMES = {
    "DETECTOR": DETECTORS,
    "FILTER": (
        *("F070W", "F090W", "F115W", "F140M", "F150W", "F150W2", "F182M", "F187N", "F200W"),
        *("F210M", "F212N", "WLP4", "F250M", "F277W", "F300M", "F322W2", "F335M", "F356W"),
        *("F360M", "F410M", "F430M", "F444W", "F460M", "F480M"),
    ),
    "PUPIL": (
        *("CLEAR", "F162M", "F164N", "F323N", "F405N", "F466N", "F470N", "FLAT", "GDHS0"),
        *("GDHS60", "GRISMC", "GRISMR", "GRISMV2", "GRISMV3", "MASKBAR", "MASKIPR", "MASKRND"),
        *("PINHOLES", "WLM8", "WLP8"),
    ),
}
"""Values by keyword, of the wheels of both channels. Of others jwst takes no notice: it uses what
the ASDF extension has.
"""

KINDS = (
    *("NRC_IMAGE", "NRC_CORON", "NRC_TSIMAGE", "NRC_WFSS", "NRC_GRISM", "NRC_TSGRISM", "NRC_TACQ"),
    *("NRC_TACONFIRM", "NRC_FOCUS", "NRC_WFSC", "NRC_DARK", "NRC_FLAT", "NRC_LED"),
)
"""Values of EXP_TYPE."""

FLIPPED_X = frozenset({"NRCA1", "NRCA3", "NRCALONG", "NRCB2", "NRCB4"})
"""Detectors with FASTAXIS -1 and SLOWAXIS 2; the others have 1 and -2."""

CENTRES = {
    "NRCA1": (120.6, -527.5),
    "NRCA2": (119.7, -459.8),
    "NRCA3": (51.9, -527.9),
    "NRCA4": (52.4, -459.9),
    "NRCALONG": (85.9, -493.5),
    "NRCB1": (-122.4, -457.7),
    "NRCB2": (-122.7, -525.4),
    "NRCB3": (-54.6, -457.7),
    "NRCB4": (-54.4, -525.6),
    "NRCBLONG": (-89.4, -491.4),
}
"""V2 and V3 of the middle of each detector, arcsec, of the SIAF; its versions differ by 0.5."""

HALF_SIDES = {"SHORT": 34.0, "LONG": 67.0}
"""Arcsec from there to the edges, with 1.5 arcsec to spare, by CHANNEL."""

READ_PATTERNS = {
    "RAPID": (1, 0),
    "BRIGHT1": (1, 1),
    "BRIGHT2": (2, 0),
    "SHALLOW2": (2, 3),
    "SHALLOW4": (4, 1),
    "MEDIUM2": (2, 8),
    "MEDIUM8": (8, 2),
    "DEEP2": (2, 18),
    "DEEP8": (8, 12),
}
"""NFRAMES and GROUPGAP of each READPATT."""

_CORNERS = {
    # which corner of the short-wavelength detectors the square subarrays touch: high x, high y
    "NRCA1": (True, True),
    "NRCA2": (True, False),
    "NRCA3": (False, True),
    "NRCA4": (False, False),
    "NRCB1": (False, False),
    "NRCB2": (False, True),
    "NRCB3": (True, False),
    "NRCB4": (True, True),
}
_LONG = {
    "NRCALONG": {"SUB640": (705, 705), "SUB320": (865, 865), "SUB160": (945, 945)},
    "NRCBLONG": {"SUB640": (693, 701), "SUB320": (853, 861), "SUB160": (933, 941)},
}
_POINT_SOURCE = {
    "NRCA3": {"SUB400P": (1649, 1), "SUB160P": (1889, 1), "SUB64P": (1, 101)},
    "NRCA4": {"SUB400P": (1644, 1610), "SUB160P": (1764, 1730), "SUB64P": (1812, 1778)},
    "NRCALONG": {"SUB400P": (1647, 1651), "SUB160P": (1887, 1863), "SUB64P": (1935, 1911)},
    "NRCB1": {"SUB400P": (1649, 1649), "SUB160P": (1803, 1769), "SUB64P": (1851, 1817)},
    "NRCBLONG": {"SUB400P": (1649, 1649), "SUB160P": (1889, 1889), "SUB64P": (1944, 1931)},
}


def _windows() -> dict[str, dict[str, tuple[int, int, int]]]:
    """Return first column, first row (from 1) and side of the subarrays of each detector."""
    sides = {"SUB640": 640, "SUB320": 320, "SUB160": 160}
    points = {"SUB400P": 400, "SUB160P": 160, "SUB64P": 64}
    windows: dict[str, dict[str, tuple[int, int, int]]] = {name: {} for name in DETECTORS}
    for detector, corner in _CORNERS.items():
        for name, side in sides.items():
            x, y = (2049 - side if high else 1 for high in corner)
            windows[detector][name] = (x, y, side)
    for table, all_sides in ((_LONG, sides), (_POINT_SOURCE, points)):
        for detector, places in table.items():
            for name, (x, y) in places.items():
                windows[detector][name] = (x, y, all_sides[name])
    return windows


SUBARRAYS = _windows()
"""SUBSTRT1, SUBSTRT2 and side of the square imaging subarrays, by DETECTOR and SUBARRAY.

Of the SIAF; a file's own SUBSTRT1 and SUBSTRT2 count more. All are read by one output.
"""

FRAME_TOLERANCE = 0.01
"""By how much times may differ from what the others give, as a fraction."""


def frame_time(n_rows: int, n_columns: int, n_outputs: int) -> float:
    """Return the time of one frame.

    Parameters
    ----------
    n_rows, n_columns : int
        Of the array.
    n_outputs : int
        That read it at the same time, 1 or 4.

    Returns
    -------
    float
        Seconds: 10 microseconds a pixel, 12 pixels of overhead a row, and one row more (two with
        one output).
    """
    extra = 2 if n_outputs == 1 else 1
    return (n_columns / n_outputs + 12) * (n_rows + extra) * 1e-5
