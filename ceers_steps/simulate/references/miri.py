"""Reference files that only MIRI has, or has in another form."""

import numpy as np
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.simulate.config.simulation import ResetAnomalyConfig
from ceers_steps.simulate.detector.anomalies import RESET_LIMIT, reset_decay
from ceers_steps.simulate.detector.calibration import Calibration
from ceers_steps.simulate.telescope.instrument import SubarrayWindow, bands_of
from ceers_steps.simulate.telescope.patterns import ReadPattern

__all__ = [
    "coronagraph_areas",
    "dark_model",
    "filter_offset_model",
    "flag_areas",
    "linearity_model",
    "reset_model",
    "rscd_model",
]

_CORONAGRAPHS = (
    (slice(0, 231), slice(0, 229)),  # three four-quadrant phase masks
    (slice(231, 456), slice(0, 229)),
    (slice(456, 696), slice(0, 229)),
    (slice(696, 1024), slice(0, 289)),  # Lyot
)
_GAP = slice(289, 358)  # columns that no light reaches, between them and the imager
_SKIPPED_GROUPS = 1


def coronagraph_areas(window: SubarrayWindow) -> np.ndarray:
    """Say where a frame shows the coronagraphs and not the imager.

    Parameters
    ----------
    window
        Part of the detector that is read out. A subarray that lies on a coronagraph is meant to:
        only the full frame has such areas.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True where there is no imaging.
    """
    areas = np.zeros((window.ny, window.nx), bool)
    if window.name == "FULL":
        for area in _CORONAGRAPHS:
            areas[area] = True
        areas[:, _GAP] = True
        areas[:696, 229:289] = True
    return areas


def linearity_model(part: Calibration) -> datamodels.LinearityModel:
    """Coefficients for raw values: MIRI is linearised with its bias still in.

    Parameters
    ----------
    part
        Truth of the pixels, whose coefficients are for signals above the bias.
    """
    c2, c3 = part.linearity[2].astype(float), part.linearity[3].astype(float)
    b = part.superbias.astype(float)
    coeffs = np.stack(
        [
            c2 * b**2 - c3 * b**3,  # plus the bias, so that the level stays
            1 - 2 * c2 * b + 3 * c3 * b**2,
            c2 - 3 * c3 * b,
            c3,
        ]
    )
    return datamodels.LinearityModel(
        coeffs=coeffs.astype(np.float32), dq=np.zeros(part.shape, np.uint32)
    )


def _exposure(model: datamodels.JwstDataModel, pattern: ReadPattern, n_groups: int) -> None:
    model.meta.exposure.readpatt = pattern.name
    model.meta.exposure.ngroups = n_groups
    model.meta.exposure.nints = 1


def dark_model(
    part: Calibration, pattern: ReadPattern, times: np.ndarray
) -> datamodels.DarkMIRIModel:
    """Dark current, one integration for all.

    Parameters
    ----------
    part, pattern
        Truth of the pixels, read pattern.
    times
        Time of each group since the reset, s.
    """
    data = part.dark * times.astype(np.float32)[None, :, None, None]
    model = datamodels.DarkMIRIModel(data=data, dq=np.zeros((1, 1, *part.shape), np.uint32))
    _exposure(model, pattern, len(times))
    model.meta.exposure.nframes = pattern.n_frames
    model.meta.exposure.groupgap = pattern.group_gap
    return model


def reset_model(
    part: Calibration, pattern: ReadPattern, times: np.ndarray, config: ResetAnomalyConfig
) -> datamodels.ResetModel:
    """Reset anomaly of the groups that have some left, one integration for all.

    Parameters
    ----------
    part, pattern
        Truth of the pixels, read pattern.
    times
        Time of each group since the reset, s.
    config
        Time constant of the anomaly.
    """
    left = np.array([reset_decay(float(time), config) for time in times], np.float32)
    n_groups = max(1, int((left > RESET_LIMIT).sum()))
    reset = np.zeros(part.shape, np.float32) if part.reset is None else part.reset
    data = reset * left[None, :n_groups, None, None]
    model = datamodels.ResetModel(data=data, dq=np.zeros(part.shape, np.uint32))
    _exposure(model, pattern, n_groups)
    return model


def rscd_model(window: SubarrayWindow, pattern: ReadPattern) -> datamodels.RSCDModel:
    """Number of groups at the start of an integration that are left out: the first one.

    Parameters
    ----------
    window, pattern
        What is read out, and how.
    """
    dtype = [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]
    row = (window.name, pattern.name, _SKIPPED_GROUPS, _SKIPPED_GROUPS)
    return datamodels.RSCDModel(rscd_group_skip_table=np.array([row], dtype=dtype))


def filter_offset_model() -> datamodels.FilteroffsetModel:
    """Shift of the image in each filter: none."""
    filters = [
        {"filter": band.filter, "row_offset": 0.0, "column_offset": 0.0}
        for band in bands_of("MIRI")
    ]
    return datamodels.FilteroffsetModel(filters=filters, instrument="MIRI")


def flag_areas(dq: np.ndarray, areas: np.ndarray) -> None:
    """Flag in place the areas of a flat field without imaging.

    Parameters
    ----------
    dq
        Data quality, shape ``(ny, nx)``.
    areas
        True where there is no imaging, shape ``(ny, nx)``.
    """
    names = ("DO_NOT_USE", "NON_SCIENCE", "NO_FLAT_FIELD")
    dq[areas] |= np.uint32(sum(dqflags.pixel[name] for name in names))
