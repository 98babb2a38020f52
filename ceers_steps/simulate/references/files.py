"""Reference files that describe a simulated detector to the jwst pipeline."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from asdf import AsdfFile
from astropy.table import Table
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.simulate.config.simulation import SimulationConfig
from ceers_steps.simulate.detector.calibration import BadPixel, Calibration
from ceers_steps.simulate.header import IMAGING
from ceers_steps.simulate.models import with_date
from ceers_steps.simulate.references import miri
from ceers_steps.simulate.references.crds_cache import CrdsCache
from ceers_steps.simulate.sky.photometry import ENCIRCLED, aperture_corrections, vega_offset
from ceers_steps.simulate.telescope.geometry import distortion_model, get_distortion
from ceers_steps.simulate.telescope.instrument import (
    Band,
    Detector,
    SubarrayWindow,
    bands_of,
    subarrays_of,
    zero_point,
)
from ceers_steps.simulate.telescope.patterns import ReadPattern
from ceers_steps.simulate.telescope.plan import read_out

__all__ = ["calibration_fingerprint", "write_photometry_references", "write_references"]

_DATE = "2022-06-01T00:00:00.000"
_CALIBRATION_SECTIONS = (
    "flat",
    "gain",
    "dark",
    "bad_pixels",
    "nonlinearity",
    "saturation",
    "superbias",
    "read_noise",
    "reset_anomaly",
)
# these models have no such keywords
_WITHOUT_SUBARRAY = {"area", "photom", "distortion", "filteroffset", "rscd"}
_FLAGS = dqflags.pixel
_APERTURES = {
    "NIRCAM": datamodels.NrcImgApcorrModel,
    "MIRI": datamodels.MirImgApcorrModel,
    "NIRISS": datamodels.NisImgApcorrModel,
}
_PHOTOMETRY = {
    "NIRCAM": datamodels.NrcImgPhotomModel,
    "MIRI": datamodels.MirImgPhotomModel,
    "NIRISS": datamodels.NisImgPhotomModel,
}


def calibration_fingerprint(config: SimulationConfig) -> str:
    """Digest of what the reference files depend on."""
    sections = asdict(config)
    text = repr([(name, sections[name]) for name in _CALIBRATION_SECTIONS])
    return hashlib.sha1(text.encode()).hexdigest()


def write_references(
    cache: CrdsCache,
    detector: Detector,
    window: SubarrayWindow,
    pattern: ReadPattern,
    n_groups: int,
    calibration: Calibration,
    config: SimulationConfig,
) -> None:
    """Write the reference files of a detector that the cache does not have yet.

    Parameters
    ----------
    cache
        Where they go; the caller commits.
    detector, window
        The detector and the part of it that is read out.
    pattern, n_groups
        Read pattern and number of groups that the dark has to cover.
    calibration
        Truth of the full detector.
    config
        Of the simulation: the reset anomaly of MIRI.
    """
    is_miri = detector.instrument == "MIRI"
    key: tuple[str, ...] = (detector.name, window.name)
    part = calibration.cut((window.y_start - 1, window.x_start - 1), (window.ny, window.nx))

    def add(
        kind: str,
        model: Callable[[], datamodels.JwstDataModel],
        key: tuple[str, ...] = key,
        ext: str = "fits",
    ) -> None:
        if cache.get(kind, key, detector.instrument) is None:
            write = _writer(kind, model, detector, window)
            cache.add(kind, key, write, ext, detector.instrument)

    add("mask", lambda: _mask(part))
    add("saturation", lambda: _saturation(part))
    if not is_miri:
        add("superbias", lambda: datamodels.SuperBiasModel(data=part.superbias))
    add("linearity", lambda: miri.linearity_model(part) if is_miri else _linearity(part))
    add("gain", lambda: datamodels.GainModel(data=part.gain))
    # the pipeline expects the noise of a difference of two reads
    add("readnoise", lambda: datamodels.ReadnoiseModel(data=part.read_noise * np.float32(2**0.5)))
    add("flat", lambda: _flat(part, miri.coronagraph_areas(window) if is_miri else None))
    add("area", lambda: _area(detector, window))
    add("photom", lambda: _photom(detector), key=key[:1])
    add("distortion", lambda: _distortion(detector), key=key[:1], ext="asdf")
    key = (*key, pattern.name)
    if _dark_groups(cache.get("dark", key, detector.instrument)) < n_groups:
        times = pattern.group_times(n_groups, read_out(detector, window).frame_time)
        make: dict[str, Callable[[], datamodels.JwstDataModel]] = {
            "dark": lambda: (miri.dark_model if is_miri else _dark)(part, pattern, times)
        }
        if is_miri:
            reset = config.reset_anomaly
            make["reset"] = lambda: miri.reset_model(part, pattern, times, reset)
        for kind, model in make.items():
            write = _writer(kind, model, detector, window)
            cache.add(kind, key, write, instrument=detector.instrument)
    if is_miri:
        add("rscd", lambda: miri.rscd_model(window, pattern), key=key)
        add("filteroffset", miri.filter_offset_model, key=key[:1], ext="asdf")


def write_photometry_references(
    cache: CrdsCache, bands: dict[Band, Detector], subarray: str = "FULL"
) -> None:
    """Write what the source catalogue of stage 3 needs of bands that the cache does not have yet.

    Parameters
    ----------
    cache
        Where the files go, each for all bands; the caller commits.
    bands
        The bands, each with a detector that has its pixel scale.
    subarray
        Part of the detector that is read out, which has apertures of its own in MIRI.
    """
    detector = next(iter(bands.values()))  # all bands are of one instrument
    instrument, key = detector.instrument, (IMAGING[detector.instrument],)
    path = cache.get("apcorr", key, instrument)
    rows = []
    if path is not None:
        with _APERTURES[instrument](path) as model:
            rows = [tuple(row) for row in np.asarray(model.apcorr_table)]
    # what is in FILTER and PUPIL: bytes, or text once it has been read
    known = {(_text(row[0]), _text(row[1])) for row in rows}
    for band, detector in bands.items():
        second = subarray if instrument == "MIRI" else band.pupil
        if (band.filter, second) not in known:
            arcsec = np.sqrt(zero_point(detector, band)[1]) * 180 / np.pi * 3600
            rows += [(band.filter, second, *row) for row in aperture_corrections(band, arcsec)]
    if len(rows) > len(known) * len(ENCIRCLED):
        write = _writer("apcorr", lambda: _apcorr(rows, instrument), instrument=instrument)
        cache.add("apcorr", key, write, instrument=instrument)
    if cache.get("abvegaoffset", key, instrument) is None:
        write = _writer("abvegaoffset", lambda: _vega_offsets(detector), instrument=instrument)
        cache.add("abvegaoffset", key, write, "asdf", instrument)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _apcorr(rows: list[tuple], instrument: str) -> datamodels.JwstDataModel:
    second = ("subarray", "S17") if instrument == "MIRI" else ("pupil", "S15")
    text = [("filter", "S12"), second]
    numbers = [(name, "f4") for name in ("eefraction", "radius", "apcorr", "skyin", "skyout")]
    model = _APERTURES[instrument](apcorr_table=np.array(rows, dtype=text + numbers))
    model.meta.exposure.type = IMAGING[instrument]
    return model


def _all_bands(detector: Detector) -> list[Band]:
    """Bands of the instrument of a detector."""
    names = {"NIRCAM": ("SHORT", "LONG")}.get(detector.instrument, (detector.instrument,))
    return [band for name in names for band in bands_of(name)]


def _vega_offsets(detector: Detector) -> datamodels.ABVegaOffsetModel:
    bands = _all_bands(detector)
    columns: dict[str, list] = {"filter": [band.filter for band in bands]}
    if detector.instrument != "MIRI":
        columns["pupil"] = [band.pupil for band in bands]
    columns["abvega_offset"] = [vega_offset(band) for band in bands]
    table = Table(columns, dtype=["U12"] * (len(columns) - 1) + ["f4"])
    # given as a keyword, the model would wrap the table in a node that its check refuses
    tree = {"meta": {"instrument": {"name": detector.instrument}}, "abvega_offset": table}
    return datamodels.ABVegaOffsetModel(AsdfFile(tree))


def _writer(
    kind: str,
    make_model: Callable[[], datamodels.JwstDataModel],
    detector: Detector | None = None,
    window: SubarrayWindow | None = None,
    instrument: str = "NIRCAM",
) -> Callable[[Path], None]:
    """Return what writes a model with the metadata that every reference file has."""

    def write(path: Path) -> None:
        with make_model() as model:
            meta = model.meta
            meta.author = "ceers_steps"
            meta.pedigree = "SIMULATION"
            meta.description = f"Simulated {kind} reference"
            meta.useafter = "2014-01-01T00:00:00"
            meta.reftype = kind.upper()
            meta.telescope = "JWST"
            meta.instrument.name = instrument if detector is None else detector.instrument
            if detector is not None:
                meta.instrument.detector = detector.name
            if detector is not None and detector.instrument == "NIRCAM":
                meta.instrument.module = detector.module
                meta.instrument.channel = detector.channel
            if window is not None and detector is not None and kind not in _WITHOUT_SUBARRAY:
                meta.subarray.name = window.name
                meta.subarray.xstart = window.x_start
                meta.subarray.ystart = window.y_start
                meta.subarray.xsize = window.nx
                meta.subarray.ysize = window.ny
                meta.subarray.fastaxis = detector.fast_axis
                meta.subarray.slowaxis = detector.slow_axis
            with_date(model, _DATE).save(path)

    return write


def _dq_def(*names: str) -> np.ndarray:
    rows = [(_FLAGS[name].bit_length() - 1, _FLAGS[name], name, "") for name in names]
    return np.array(
        rows, dtype=[("BIT", "u4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    )


def _dq(*conditions: tuple[np.ndarray, tuple[str, ...]]) -> np.ndarray:
    dq = np.zeros(conditions[0][0].shape, np.uint32)
    for where, names in conditions:
        dq[where] |= np.uint32(sum(_FLAGS[name] for name in names))
    return dq


def _mask(part: Calibration) -> datamodels.MaskModel:
    dq = _dq(
        (part.flagged(BadPixel.DEAD), ("DO_NOT_USE", "DEAD")),
        (part.flagged(BadPixel.HOT), ("DO_NOT_USE", "HOT")),
        (part.flagged(BadPixel.LOW_QE), ("LOW_QE",)),
        (part.flagged(BadPixel.REFERENCE_PIXEL), ("REFERENCE_PIXEL",)),
    )
    names = ("DO_NOT_USE", "DEAD", "HOT", "LOW_QE", "REFERENCE_PIXEL")
    return datamodels.MaskModel(dq=dq, dq_def=_dq_def(*names))


def _saturation(part: Calibration) -> datamodels.SaturationModel:
    dq = _dq((part.flagged(BadPixel.REFERENCE_PIXEL), ("NO_SAT_CHECK",)))
    return datamodels.SaturationModel(data=part.saturation, dq=dq, dq_def=_dq_def("NO_SAT_CHECK"))


def _linearity(part: Calibration) -> datamodels.LinearityModel:
    dq = np.zeros(part.shape, np.uint32)  # left out, it would get the shape of the coefficients
    return datamodels.LinearityModel(coeffs=part.linearity, dq=dq)


def _flat(part: Calibration, areas: np.ndarray | None = None) -> datamodels.FlatModel:
    names: tuple[str, ...] = ("DO_NOT_USE", "NO_FLAT_FIELD")
    dq = _dq((part.flagged(BadPixel.REFERENCE_PIXEL, BadPixel.DEAD), names))
    if areas is not None:
        miri.flag_areas(dq, areas)
        names = ("DO_NOT_USE", "NON_SCIENCE", "NO_FLAT_FIELD")
    return datamodels.FlatModel(data=part.flat, dq=dq, dq_def=_dq_def(*names))


def _dark(part: Calibration, pattern: ReadPattern, times: np.ndarray) -> datamodels.DarkModel:
    data = part.dark * times.astype(np.float32)[:, None, None]
    model = datamodels.DarkModel(data=data)
    model.meta.exposure.readpatt = pattern.name
    model.meta.exposure.nframes = pattern.n_frames
    model.meta.exposure.groupgap = pattern.group_gap
    model.meta.exposure.ngroups = len(times)
    return model


def _dark_groups(path: Path | None) -> int:
    if path is None:
        return 0
    with datamodels.open(path) as model:
        return int(model.meta.exposure.ngroups)


def _area(detector: Detector, window: SubarrayWindow) -> datamodels.PixelAreaModel:
    nominal = zero_point(detector, _first_band(detector))[1]
    y, x = np.mgrid[window.slices].astype(float)
    area = get_distortion(detector).pixel_area(x, y) / nominal
    model = datamodels.PixelAreaModel(data=area.astype(np.float32))
    model.meta.photometry.pixelarea_steradians = nominal
    model.meta.photometry.pixelarea_arcsecsq = nominal * (180 / np.pi * 3600) ** 2
    return model


def _first_band(detector: Detector) -> Band:
    return bands_of(detector.channel)[0]


def _photom(detector: Detector) -> datamodels.JwstDataModel:
    is_miri = detector.instrument == "MIRI"
    rows = [
        (band.filter, second, zero_point(detector, band)[0], 0.0)
        for band in bands_of(detector.channel)
        for second in (subarrays_of("MIRI") if is_miri else (band.pupil,))
    ]
    second = ("subarray", "S17") if is_miri else ("pupil", "S12")
    dtype = [("filter", "S12"), second, ("photmjsr", "f4"), ("uncertainty", "f4")]
    model = _PHOTOMETRY[detector.instrument](phot_table=np.array(rows, dtype=dtype))
    nominal = zero_point(detector, _first_band(detector))[1]
    model.meta.photometry.pixelarea_steradians = nominal
    model.meta.photometry.pixelarea_arcsecsq = nominal * (180 / np.pi * 3600) ** 2
    model.meta.exposure.type = IMAGING[detector.instrument]
    return model


def _distortion(detector: Detector) -> datamodels.DistortionModel:
    from astropy import units as u

    model = datamodels.DistortionModel(
        model=distortion_model(detector), input_units=u.pix, output_units=u.arcsec
    )
    model.meta.exposure.type = IMAGING[detector.instrument]
    model.meta.exposure.p_exptype = f"{IMAGING[detector.instrument]}|"
    if detector.instrument == "NIRCAM":
        model.meta.instrument.p_pupil = "CLEAR|"
    return model
