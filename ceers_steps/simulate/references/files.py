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
from ceers_steps.simulate.models import with_date
from ceers_steps.simulate.references.crds_cache import CrdsCache
from ceers_steps.simulate.sky.photometry import ENCIRCLED, aperture_corrections, vega_offset
from ceers_steps.simulate.telescope.geometry import distortion_model, get_distortion
from ceers_steps.simulate.telescope.instrument import (
    FILTERS,
    Band,
    Detector,
    SubarrayWindow,
    zero_point,
)
from ceers_steps.simulate.telescope.patterns import Readout, ReadPattern

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
)
_WITHOUT_SUBARRAY = {"area", "photom", "distortion"}  # these models have no such keywords
_IMAGING = "NRC_IMAGE"
_FLAGS = dqflags.pixel


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
    """
    key = (detector.name, window.name)
    part = calibration.cut((window.y_start - 1, window.x_start - 1), (window.ny, window.nx))

    def add(kind: str, model: Callable[[], datamodels.JwstDataModel], key=key, ext="fits") -> None:
        if cache.get(kind, key) is None:
            cache.add(kind, key, _writer(kind, model, detector, window), ext)

    add("mask", lambda: _mask(part))
    add("saturation", lambda: _saturation(part))
    add("superbias", lambda: datamodels.SuperBiasModel(data=part.superbias))
    add("linearity", lambda: _linearity(part))
    add("gain", lambda: datamodels.GainModel(data=part.gain))
    # the pipeline expects the noise of a difference of two reads
    add("readnoise", lambda: datamodels.ReadnoiseModel(data=part.read_noise * np.float32(2**0.5)))
    add("flat", lambda: _flat(part))
    add("area", lambda: _area(detector, window))
    add("photom", lambda: _photom(detector), key=key[:1])
    add("distortion", lambda: _distortion(detector), key=key[:1], ext="asdf")
    key = (*key, pattern.name)
    if _dark_groups(cache.get("dark", key)) < n_groups:
        readout = Readout(part.shape, window.n_outputs, detector.fast_axis, detector.slow_axis)
        times = pattern.group_times(n_groups, readout.frame_time)
        model = lambda: _dark(part, pattern, times)  # noqa: E731
        cache.add("dark", key, _writer("dark", model, detector, window))


def write_photometry_references(cache: CrdsCache, bands: dict[Band, Detector]) -> None:
    """Write what the source catalogue of stage 3 needs of bands that the cache does not have yet.

    Parameters
    ----------
    cache
        Where the files go, each for all bands; the caller commits.
    bands
        The bands, each with a detector that has its pixel scale.
    """
    key = (_IMAGING,)
    path = cache.get("apcorr", key)
    rows = []
    if path is not None:
        with datamodels.NrcImgApcorrModel(path) as model:
            rows = [tuple(row) for row in np.asarray(model.apcorr_table)]
    # what is in FILTER and PUPIL: bytes, or text once it has been read
    known = {(_text(row[0]), _text(row[1])) for row in rows}
    for band, detector in bands.items():
        if (band.filter, band.pupil) not in known:
            arcsec = np.sqrt(zero_point(detector, band)[1]) * 180 / np.pi * 3600
            rows += [(band.filter, band.pupil, *row) for row in aperture_corrections(band, arcsec)]
    if len(rows) > len(known) * len(ENCIRCLED):
        cache.add("apcorr", key, _writer("apcorr", lambda: _apcorr(rows)))
    if cache.get("abvegaoffset", key) is None:
        cache.add("abvegaoffset", key, _writer("abvegaoffset", _vega_offsets), "asdf")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _apcorr(rows: list[tuple]) -> datamodels.NrcImgApcorrModel:
    text = [("filter", "S12"), ("pupil", "S15")]
    numbers = [(name, "f4") for name in ("eefraction", "radius", "apcorr", "skyin", "skyout")]
    model = datamodels.NrcImgApcorrModel(apcorr_table=np.array(rows, dtype=text + numbers))
    model.meta.exposure.type = _IMAGING
    return model


def _vega_offsets() -> datamodels.ABVegaOffsetModel:
    table = Table(
        rows=[(band.filter, band.pupil, vega_offset(band)) for band in FILTERS.values()],
        names=["filter", "pupil", "abvega_offset"],
        dtype=["U12", "U12", "f4"],
    )
    # given as a keyword, the model would wrap the table in a node that its check refuses
    tree = {"meta": {"instrument": {"name": "NIRCAM"}}, "abvega_offset": table}
    return datamodels.ABVegaOffsetModel(AsdfFile(tree))


def _writer(
    kind: str,
    make_model: Callable[[], datamodels.JwstDataModel],
    detector: Detector | None = None,
    window: SubarrayWindow | None = None,
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
            meta.instrument.name = "NIRCAM"
            if detector is not None:
                meta.instrument.detector = detector.name
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


def _flat(part: Calibration) -> datamodels.FlatModel:
    names = ("DO_NOT_USE", "NO_FLAT_FIELD")
    dq = _dq((part.flagged(BadPixel.REFERENCE_PIXEL, BadPixel.DEAD), names))
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
    with datamodels.DarkModel(path) as model:
        return int(model.meta.exposure.ngroups)


def _area(detector: Detector, window: SubarrayWindow) -> datamodels.PixelAreaModel:
    nominal = zero_point(detector, _first_band(detector))[1]
    y, x = np.mgrid[window.slices].astype(float)
    area = get_distortion(detector).pixel_area(x, y) / nominal
    model = datamodels.PixelAreaModel(data=area.astype(np.float32))
    model.meta.photometry.pixelarea_steradians = nominal
    model.meta.photometry.pixelarea_arcsecsq = nominal * (180 / np.pi * 3600) ** 2
    return model


def _first_band(detector: Detector):
    return next(band for band in FILTERS.values() if band.channel == detector.channel)


def _photom(detector: Detector) -> datamodels.NrcImgPhotomModel:
    rows = [
        (band.filter, band.pupil, zero_point(detector, band)[0], 0.0)
        for band in FILTERS.values()
        if band.channel == detector.channel
    ]
    dtype = [("filter", "S12"), ("pupil", "S12"), ("photmjsr", "f4"), ("uncertainty", "f4")]
    model = datamodels.NrcImgPhotomModel(phot_table=np.array(rows, dtype=dtype))
    nominal = zero_point(detector, _first_band(detector))[1]
    model.meta.photometry.pixelarea_steradians = nominal
    model.meta.photometry.pixelarea_arcsecsq = nominal * (180 / np.pi * 3600) ** 2
    model.meta.exposure.type = _IMAGING
    return model


def _distortion(detector: Detector) -> datamodels.DistortionModel:
    from astropy import units as u

    model = datamodels.DistortionModel(
        model=distortion_model(detector), input_units=u.pix, output_units=u.arcsec
    )
    model.meta.exposure.type = _IMAGING
    model.meta.exposure.p_exptype = "NRC_IMAGE|"
    model.meta.instrument.p_pupil = "CLEAR|"
    return model
