"""Small calibrated exposures, made by hand, for what drizzles them."""

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS
from astropy.modeling.models import (
    AffineTransformation2D,
    Mapping,
    Pix2Sky_TAN,
    Polynomial2D,
    RotateNative2Celestial,
    Scale,
    Shift,
)
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, Frame2D
from stcal.alignment.util import compute_s_region_keyword
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

SHAPE = (140, 150)
SCALE = 0.06  # arcsec
CENTRE = (214.9, 52.87)


def distorted_wcs(ra, dec, angle, shape):
    """A WCS with a distortion as strong as that of a full frame of NIRCam (2 pixels)."""
    ny, nx = shape
    axes = [
        Polynomial2D(2, c1_0=1 if axis == 0 else 0, c0_1=axis, c2_0=2e-4, c0_2=-1e-4, c1_1=1e-4)
        for axis in (0, 1)
    ]
    turn = np.deg2rad(angle)
    matrix = [[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    transform = (
        Shift(-(nx - 1) / 2) & Shift(-(ny - 1) / 2)
        | Mapping((0, 1, 0, 1))
        | axes[0] & axes[1]
        | AffineTransformation2D(matrix)
        | Scale(SCALE / 3600) & Scale(SCALE / 3600)
        | Pix2Sky_TAN()
        | RotateNative2Celestial(ra, dec, 180)
    )
    detector = Frame2D(name="detector", unit=(u.pix, u.pix))
    world = CelestialFrame(name="world", reference_frame=ICRS(), unit=(u.deg, u.deg))
    wcs = WCS([(detector, transform), (world, None)])
    wcs.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    wcs.array_shape = shape
    return wcs


def mosaic_grid(exposures):
    """Return the tangent plane of a mosaic of WCSs, as large as jwst makes it, and its shape."""
    plane = Scale(-SCALE / 3600) & Scale(SCALE / 3600) | Pix2Sky_TAN()
    plane |= RotateNative2Celestial(*CENTRE, 180)
    corners = [plane.inverse(*wcs.footprint(center=True).T) for wcs in exposures]
    corners = np.concatenate(corners, axis=1)
    first, last = np.floor(corners.min(axis=1)), np.floor(corners.max(axis=1))
    nx, ny = (int(side) for side in last - first + 1)
    detector = Frame2D(name="detector", unit=(u.pix, u.pix))
    world = CelestialFrame(name="world", reference_frame=ICRS(), unit=(u.deg, u.deg))
    wcs = WCS([(detector, Shift(first[0]) & Shift(first[1]) | plane), (world, None)])
    wcs.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    return wcs, (ny, nx)


def exposure(number, position=(0, 0), angle=15.0, shape=SHAPE):
    """A calibrated exposure of noise, with all that jwst treats in its own way."""
    rng = np.random.default_rng(number)
    model = datamodels.ImageModel(shape)
    model.data = rng.normal(0.2, 0.02, shape).astype(np.float32)
    model.var_rnoise = rng.uniform(1e-4, 3e-4, shape).astype(np.float32)
    model.var_poisson = rng.uniform(1e-4, 2e-4, shape).astype(np.float32)
    model.var_flat = rng.uniform(0, 1e-5, shape).astype(np.float32)
    model.err = np.sqrt(model.var_rnoise + model.var_poisson + model.var_flat)
    model.dq = np.zeros(shape, np.uint32)
    rows, columns = rng.integers(0, shape[0], 60), rng.integers(0, shape[1], 60)
    model.dq[rows[:30], columns[:30]] = dqflags.pixel["DO_NOT_USE"]
    model.dq[rows[30:40], columns[30:40]] = dqflags.pixel["JUMP_DET"]
    model.data[rows[40:50], columns[40:50]] = np.nan
    model.var_rnoise[rows[50:55], columns[50:55]] = np.inf
    model.var_flat[rows[55:], columns[55:]] = 0
    ra = CENTRE[0] + position[0] / 3600 / np.cos(np.deg2rad(CENTRE[1]))
    dec = CENTRE[1] + position[1] / 3600
    model.meta.wcs = distorted_wcs(ra, dec, angle + number / 2, shape)
    model.meta.wcsinfo.s_region = compute_s_region_keyword(model.meta.wcs.footprint(center=False))
    for key, value in {"ra_ref": ra, "dec_ref": dec, "roll_ref": 130.0, "v2_ref": -54.4}.items():
        setattr(model.meta.wcsinfo, key, value)
    model.meta.wcsinfo.v3_ref, model.meta.wcsinfo.v3yangle = -525.6, 0.0
    model.meta.wcsinfo.vparity = -1
    model.meta.filename = f"jw01345001001_02101_{number:05d}_nrcb4_cal.fits"
    model.meta.instrument.name, model.meta.instrument.detector = "NIRCAM", "NRCB4"
    model.meta.instrument.filter, model.meta.instrument.channel = "F150W", "SHORT"
    model.meta.exposure.type = "NRC_IMAGE"
    model.meta.bunit_data = model.meta.bunit_err = "MJy/sr"
    model.meta.photometry.pixelarea_steradians = (SCALE / 206264.806) ** 2
    model.meta.exposure.exposure_time = 100.0 + number
    model.meta.exposure.measurement_time = 90.0 + number
    model.meta.exposure.duration = 110.0
    model.meta.exposure.start_time, model.meta.exposure.end_time = 59000.0 + number, 59001.0
    keys = ("program_number", "observation_number", "visit_number", "visit_group")
    for key, value in zip(keys, ("01345", "001", "001", "02"), strict=True):
        setattr(model.meta.observation, key, value)
    model.meta.observation.sequence_id, model.meta.observation.activity_id = "1", "01"
    model.meta.observation.exposure_number = f"{number:05d}"
    model.meta.background.level, model.meta.background.subtracted = 0.15, False
    return model
