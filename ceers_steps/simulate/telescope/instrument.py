"""What is fixed about the cameras: detectors, filters, zero points, subarrays.

NIRCam in full; of MIRI the imager, of NIRISS its imaging.
"""

import logging
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NoReturn

import requests
from astropy.table import Table

from ceers_steps.errors import CeersError, optional_import

__all__ = [
    "DETECTORS",
    "FILTERS",
    "INSTRUMENTS",
    "Band",
    "Detector",
    "SubarrayWindow",
    "bands_of",
    "find_subarray",
    "get_band",
    "get_detector",
    "import_galsim",
    "load_siaf",
    "subarrays_of",
    "zero_point",
]


@dataclass(frozen=True)
class Detector:
    """One of the ten NIRCam detectors, the MIRI imager or the detector of NIRISS.

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
    instrument
        As in the INSTRUME keyword.
    shape
        ``(ny, nx)`` of the full frame.
    axes
        FASTAXIS and SLOWAXIS of a detector that does not follow `flipped_x`.
    """

    name: str
    siaf_name: str
    sca_number: int
    flipped_x: bool
    has_wisps: bool
    instrument: str = "NIRCAM"
    shape: tuple[int, int] = (2048, 2048)
    axes: tuple[int, int] | None = None

    @property
    def module(self) -> str | None:
        """``A`` or ``B``; None outside NIRCam."""
        return self.name[3] if self.instrument == "NIRCAM" else None

    @property
    def channel(self) -> str:
        """``SHORT`` or ``LONG``; outside NIRCam the name of the instrument."""
        if self.instrument != "NIRCAM":
            return self.instrument
        return "LONG" if self.name.endswith("LONG") else "SHORT"

    @property
    def fast_axis(self) -> int:
        """FASTAXIS keyword: 1 or -1 along x of the science frame, 2 or -2 along y."""
        if self.axes is not None:
            return self.axes[0]
        return -1 if self.flipped_x else 1

    @property
    def slow_axis(self) -> int:
        """SLOWAXIS keyword: direction of the slow readout, along the other axis."""
        if self.axes is not None:
            return self.axes[1]
        return 2 if self.flipped_x else -2

    @property
    def index(self) -> int:
        """Number of the detector in the order of SCA_NUM; 0 to 9 are those of NIRCam."""
        return self.sca_number - 481

    @property
    def full_aperture(self) -> str:
        """Name of the SIAF aperture of the full frame."""
        return "NIS_CEN" if self.instrument == "NIRISS" else f"{self.siaf_name}_FULL"

    @property
    def centre(self) -> tuple[float, float]:
        """``(x, y)``, 0-based, to which the polynomials of the SIAF refer."""
        aperture = load_siaf(self.instrument)[self.full_aperture]
        return float(aperture.XSciRef) - 1, float(aperture.YSciRef) - 1


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
"""The detectors of NIRCam by name, in the order of their SCA number."""

_OTHER_DETECTORS: dict[str, Detector] = {
    "MIRIMAGE": Detector(
        "MIRIMAGE", "MIRIM", 493, False, False, "MIRI", shape=(1024, 1032), axes=(1, 2)
    ),
    "NIS": Detector("NIS", "NIS", 496, False, False, "NIRISS", axes=(-2, -1)),
}

INSTRUMENTS = ("NIRCAM", "MIRI", "NIRISS")
"""The instruments that are simulated, as in the INSTRUME keyword."""


@dataclass(frozen=True)
class Band:
    """One imaging band: what is in the filter and the pupil wheel.

    Attributes
    ----------
    name
        The element that defines the band, e.g. ``F150W`` or ``F405N``.
    filter, pupil
        FILTER and PUPIL keywords, e.g. ``F444W`` and ``F405N``; MIRI has no pupil wheel.
    channel
        ``SHORT`` or ``LONG``; outside NIRCam the name of the instrument.
    pivot, bandwidth
        Pivot wavelength and effective width, um.
    fwhm
        Width of the point spread function, arcsec.
    sky
        Typical sky surface brightness, MJy/sr.
    index
        Row in the table of bands, from 1; other instruments go on behind those of NIRCam.
    cruciform
        Fraction of the light of a point source that the detector scatters into a cross.
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
    cruciform: float = 0.0


def _read_table(name: str) -> Table:
    path = resources.files("ceers_steps.simulate.telescope") / "data" / name
    return Table.read(path.read_text(), format="ascii.ecsv")


def _read_bands(table: str = "filters.ecsv", first: int = 1) -> dict[tuple[str, str], Band]:
    """Bands by channel and name."""
    bands = {}
    rows = _read_table(table)
    for i, row in enumerate(rows, start=first):
        band = Band(
            name=str(row["name"]),
            filter=str(row["filter"]),
            pupil=str(row["pupil"]).replace("none", ""),
            channel=str(row["channel"]),
            pivot=float(row["pivot"]),
            bandwidth=float(row["bandwidth"]),
            fwhm=float(row["fwhm"]),
            sky=float(row["sky"]),
            index=i,
            cruciform=float(row["cruciform"]) if "cruciform" in rows.colnames else 0.0,
        )
        bands[band.channel, band.name] = band
    return bands


FILTERS: dict[str, Band] = {name: band for (_, name), band in _read_bands().items()}
"""The imaging bands of NIRCam by name, in the order of wavelength within a channel."""

_OTHER_BANDS = _read_bands("other_filters.ecsv", first=41)  # more than NIRCam has


def bands_of(channel: str) -> tuple[Band, ...]:
    """Return the bands of a channel: ``SHORT``, ``LONG``, ``MIRI`` or ``NIRISS``."""
    bands = (*FILTERS.values(), *_OTHER_BANDS.values())
    return tuple(band for band in bands if band.channel == channel)


@cache
def _zero_points() -> dict[tuple[str, str, str], tuple[float, float]]:
    return {
        (str(row["detector"]), str(row["filter"]), str(row["pupil"])): (
            float(row["photmjsr"]),
            float(row["pixar_sr"]),
        )
        for name in ("zeropoints.ecsv", "other_zeropoints.ecsv")
        for row in _read_table(name)
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
        return _zero_points()[detector.name, band.filter, band.pupil or "none"]
    except KeyError:
        raise CeersError(
            f"There is no zero point for {band.name} on {detector.name}: {band.name} is a filter "
            f"of the {band.channel.lower()}-wavelength channel."
        ) from None


def get_detector(name: str) -> Detector:
    """Detector by name; ``NRCA5`` and ``NRCB5`` also name the long-wavelength ones."""
    upper = name.upper()
    upper = {"NRCA5": "NRCALONG", "NRCB5": "NRCBLONG"}.get(upper, upper)
    if upper in _OTHER_DETECTORS:
        return _OTHER_DETECTORS[upper]
    try:
        return DETECTORS[upper]
    except KeyError:
        raise CeersError(
            f"'{name}' is not a NIRCam detector, nor MIRIMAGE or NIS. The detectors of NIRCam "
            f"are {', '.join(DETECTORS)}."
        ) from None


def get_band(name: str, instrument: str = "NIRCAM") -> Band:
    """Band of an instrument by the name of the element that defines it."""
    if instrument != "NIRCAM":
        known = {band.name: band for band in bands_of(instrument)}
        called = {"NIRCAM": "NIRCam"}.get(instrument, instrument)
    else:
        known, called = FILTERS, "NIRCam"
    try:
        return known[name.upper()]
    except KeyError:
        raise CeersError(
            f"'{name}' is not a {called} imaging filter known to the simulator. "
            f"The filters are {', '.join(known)}."
        ) from None


def _no_request(*args: Any, **kwargs: Any) -> NoReturn:
    raise ConnectionError("no look-up of the newest SIAF")


@cache
def load_siaf(instrument: str = "NIRCAM") -> Any:
    """Return the SIAF (`pysiaf.Siaf`) of an instrument that comes with pysiaf.

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
    return pysiaf.Siaf({"NIRCAM": "NIRCam"}.get(instrument, instrument))


def import_galsim() -> Any:
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
        Number of amplifiers that read it (NOUTPUTS).
    row_ticks
        Pixel times from one row to the next where they do not follow from the columns (MIRI).
    """

    name: str
    aperture: str
    x_start: int
    y_start: int
    nx: int
    ny: int
    n_outputs: int
    row_ticks: int | None = None

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it lies in a full-frame ``[y, x]`` array."""
        return (
            slice(self.y_start - 1, self.y_start - 1 + self.ny),
            slice(self.x_start - 1, self.x_start - 1 + self.nx),
        )


_MIRI_ROW_TICKS = {"FULL": 271, "BRIGHTSKY": 169, "SUB256": 117, "SUB128": 93, "SUB64": 133}
"""Pixel times from row to row: columns that are skipped take time as well."""


def subarrays_of(instrument: str) -> tuple[str, ...]:
    """Return the subarrays for images of MIRI or NIRISS, the full frame first."""
    return tuple(_MIRI_ROW_TICKS) if instrument == "MIRI" else ("FULL", "SUB256", "SUB128", "SUB64")


def find_subarray(detector: Detector, size: str) -> SubarrayWindow:
    """SubarrayWindow of a detector by name (``full``, ``sub640``, ``sub64p`` and so on).

    Raises
    ------
    CeersError
        When the detector has no subarray of that name; the ones it has are listed.
    """
    siaf = load_siaf(detector.instrument)
    name = size.upper()
    prefix = f"{detector.siaf_name}_"
    if detector.instrument == "NIRCAM":
        known = [
            n.removeprefix(prefix)
            for n in siaf.apernames
            if n == f"{prefix}FULL" or n.startswith(f"{prefix}SUB")
        ]
    else:
        known = list(subarrays_of(detector.instrument))
    if name not in known:
        raise CeersError(f"{detector.name} has no subarray '{size}'. It has {', '.join(known)}.")
    full = siaf[detector.full_aperture]
    aperture = full if name == "FULL" else siaf[prefix + name]
    # where the reference point of the aperture falls in the full science frame, less where it
    # falls in its own
    x, y = full.det_to_sci(aperture.XDetRef, aperture.YDetRef)
    return SubarrayWindow(
        name=name,
        aperture=aperture.AperName,
        x_start=round(float(x - aperture.XSciRef)) + 1,
        y_start=round(float(y - aperture.YSciRef)) + 1,
        nx=int(aperture.XSciSize),
        ny=int(aperture.YSciSize),
        n_outputs=4 if name == "FULL" else 1,
        row_ticks=_MIRI_ROW_TICKS[name] if detector.instrument == "MIRI" else None,
    )
