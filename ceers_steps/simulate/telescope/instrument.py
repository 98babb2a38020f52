"""What is fixed about NIRCam: detectors, filters, zero points, subarrays."""

import logging
from dataclasses import dataclass
from functools import cache
from importlib import resources

import requests
from astropy.table import Table

from ceers_steps.errors import CeersError, optional_import

__all__ = [
    "DETECTORS",
    "FILTERS",
    "Band",
    "Detector",
    "SubarrayWindow",
    "find_subarray",
    "get_band",
    "get_detector",
    "import_galsim",
    "load_siaf",
    "zero_point",
]


@dataclass(frozen=True)
class Detector:
    """One of the ten NIRCam detectors.

    Attributes
    ----------
    name
        As in the DETECTOR keyword, e.g. ``NRCB4`` or ``NRCBLONG``.
    siaf_name
        Name in the SIAF, e.g. ``NRCB5``.
    sca_number
        SCA_NUM keyword.
    flipped_x
        Whether the science frame mirrors the detector's x axis (FASTAXIS = -1); the others
        mirror y (SLOWAXIS = -2).
    has_wisps
        Whether stray light makes wisps on it.
    """

    name: str
    siaf_name: str
    sca_number: int
    flipped_x: bool
    has_wisps: bool

    @property
    def module(self) -> str:
        """``A`` or ``B``."""
        return self.name[3]

    @property
    def channel(self) -> str:
        """``SHORT`` or ``LONG``."""
        return "LONG" if self.name.endswith("LONG") else "SHORT"

    @property
    def fast_axis(self) -> int:
        """FASTAXIS keyword: direction of the fast readout along x of the science frame."""
        return -1 if self.flipped_x else 1

    @property
    def slow_axis(self) -> int:
        """SLOWAXIS keyword: direction of the slow readout along y of the science frame."""
        return 2 if self.flipped_x else -2

    @property
    def index(self) -> int:
        """Number of the detector, 0 to 9, in the order of SCA_NUM."""
        return self.sca_number - 481


def _detector(name: str, number: int) -> Detector:
    flipped_x = name in {"NRCA1", "NRCA3", "NRCALONG", "NRCB2", "NRCB4"}
    return Detector(
        name=name,
        siaf_name=name.replace("LONG", "5"),
        sca_number=number,
        flipped_x=flipped_x,
        has_wisps=name in {"NRCA3", "NRCA4", "NRCB3", "NRCB4"},
    )


DETECTORS: dict[str, Detector] = {
    name: _detector(name, 481 + i)
    for i, name in enumerate(f"NRC{m}{n}" for m in "AB" for n in ("1", "2", "3", "4", "LONG"))
}
"""The detectors by name, in the order of their SCA number."""


@dataclass(frozen=True)
class Band:
    """One imaging band: what is in the filter and the pupil wheel.

    Attributes
    ----------
    name
        The element that defines the band, e.g. ``F150W`` or ``F405N``.
    filter, pupil
        FILTER and PUPIL keywords, e.g. ``F444W`` and ``F405N``.
    channel
        ``SHORT`` or ``LONG``.
    pivot, bandwidth
        Pivot wavelength and effective width, um.
    fwhm
        Width of the point spread function, arcsec.
    sky
        Typical sky surface brightness, MJy/sr.
    index
        Row in the table of bands, from 1.
    """

    name: str
    filter: str
    pupil: str
    channel: str
    pivot: float
    bandwidth: float
    fwhm: float
    sky: float
    index: int


def _read_table(name: str) -> Table:
    path = resources.files("ceers_steps.simulate.telescope") / "data" / name
    return Table.read(path.read_text(), format="ascii.ecsv")


def _read_bands() -> dict[str, Band]:
    bands = {}
    for i, row in enumerate(_read_table("filters.ecsv"), start=1):
        text = {key: str(row[key]) for key in ("name", "filter", "pupil", "channel")}
        numbers = {key: float(row[key]) for key in ("pivot", "bandwidth", "fwhm", "sky")}
        bands[text["name"]] = Band(**text, **numbers, index=i)
    return bands


FILTERS: dict[str, Band] = _read_bands()
"""The imaging bands by name, in the order of wavelength within a channel."""


@cache
def _zero_points() -> dict[tuple[str, str, str], tuple[float, float]]:
    return {
        (str(row["detector"]), str(row["filter"]), str(row["pupil"])): (
            float(row["photmjsr"]),
            float(row["pixar_sr"]),
        )
        for row in _read_table("zeropoints.ecsv")
    }


def zero_point(detector: Detector, band: Band) -> tuple[float, float]:
    """Flux calibration of a band on a detector.

    Returns
    -------
    photmjsr : float
        (MJy/sr) per (DN/s).
    pixar_sr : float
        Nominal pixel area, sr.
    """
    try:
        return _zero_points()[detector.name, band.filter, band.pupil]
    except KeyError:
        raise CeersError(
            f"There is no zero point for {band.name} on {detector.name}: {band.name} is a filter "
            f"of the {band.channel.lower()}-wavelength channel."
        ) from None


def get_detector(name: str) -> Detector:
    """Detector by name; ``NRCA5`` and ``NRCB5`` also name the long-wavelength ones."""
    upper = name.upper()
    upper = {"NRCA5": "NRCALONG", "NRCB5": "NRCBLONG"}.get(upper, upper)
    try:
        return DETECTORS[upper]
    except KeyError:
        raise CeersError(
            f"'{name}' is not a NIRCam detector. The detectors are {', '.join(DETECTORS)}."
        ) from None


def get_band(name: str) -> Band:
    """Band by the name of the element that defines it."""
    try:
        return FILTERS[name.upper()]
    except KeyError:
        raise CeersError(
            f"'{name}' is not a NIRCam imaging filter known to the simulator. "
            f"The filters are {', '.join(FILTERS)}."
        ) from None


def _no_request(*args, **kwargs):
    raise ConnectionError("no look-up of the newest SIAF")


@cache
def load_siaf():
    """Return the NIRCam SIAF (`pysiaf.Siaf`) that comes with pysiaf.

    pysiaf asks the network for a newer version when it is imported, without a time limit: behind
    a firewall that would hang, so it is not let out.
    """
    logger = logging.getLogger("pysiaf")
    level, get = logger.level, requests.get
    logger.setLevel(logging.ERROR)
    requests.get = _no_request
    try:
        with optional_import("The simulator needs pysiaf", extra="simulate"):
            import pysiaf
    finally:
        requests.get = get
        logger.setLevel(level)
    return pysiaf.Siaf("NIRCam")


def import_galsim():
    """Import GalSim, or say how to install it."""
    with optional_import("The simulator needs GalSim", extra="simulate"):
        import galsim
    return galsim


@dataclass(frozen=True)
class SubarrayWindow:
    """Part of a detector that is read out, in the science frame.

    Attributes
    ----------
    name
        SUBARRAY keyword.
    aperture
        Name of the SIAF aperture.
    x_start, y_start
        First column and row, from 1 (SUBSTRT1, SUBSTRT2).
    nx, ny
        Size in pixels (SUBSIZE1, SUBSIZE2).
    n_outputs
        Number of amplifiers that read it.
    """

    name: str
    aperture: str
    x_start: int
    y_start: int
    nx: int
    ny: int
    n_outputs: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it lies in a full-frame ``[y, x]`` array."""
        return (
            slice(self.y_start - 1, self.y_start - 1 + self.ny),
            slice(self.x_start - 1, self.x_start - 1 + self.nx),
        )


def find_subarray(detector: Detector, size: str) -> SubarrayWindow:
    """SubarrayWindow of a detector by name (``full``, ``sub640``, ``sub64p`` and so on).

    Raises
    ------
    CeersError
        When the detector has no subarray of that name; the ones it has are listed.
    """
    siaf = load_siaf()
    name = size.upper()
    prefix = f"{detector.siaf_name}_"
    known = [
        n.removeprefix(prefix)
        for n in siaf.apernames
        if n == f"{prefix}FULL" or n.startswith(f"{prefix}SUB")
    ]
    if name not in known:
        raise CeersError(f"{detector.name} has no subarray '{size}'. It has {', '.join(known)}.")
    full, aperture = siaf[f"{prefix}FULL"], siaf[prefix + name]
    # where the reference point of the aperture falls in the full science frame, less where it
    # falls in its own
    x, y = full.det_to_sci(aperture.XDetRef, aperture.YDetRef)
    return SubarrayWindow(
        name=name,
        aperture=prefix + name,
        x_start=round(float(x - aperture.XSciRef)) + 1,
        y_start=round(float(y - aperture.YSciRef)) + 1,
        nx=int(aperture.XSciSize),
        ny=int(aperture.YSciSize),
        n_outputs=4 if name == "FULL" else 1,
    )
