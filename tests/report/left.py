"""What all steps leave of one exposure whose truth is known, for the tests of its page."""

from types import SimpleNamespace

import numpy as np
from stdatamodels.jwst.datamodels import ImageModel, RampModel

from ceers_steps.astrometry.exposure import Residuals
from ceers_steps.figures.looks import keep_looks, keep_record
from ceers_steps.kernels.snowballs.adaptive import Snowball
from ceers_steps.kernels.snowballs.flagging import SnowballFlags
from ceers_steps.kernels.wisps.fit import WispFit
from ceers_steps.kernels.wisps.subtract import WispSubtraction
from ceers_steps.steps import looks as steps_looks

NAME = "jw01345001001_02105_00001_nrcb4"
NOISE, SCALE = 0.01, 0.4


def image_model(data):
    model = ImageModel(data=data.astype(np.float32))
    model.meta.filename = f"{NAME}_rate.fits"
    model.meta.bunit_data = "MJy/sr"
    return model


def leave_looks(folder):
    """Leave what all steps leave below a folder; return the images that it is made of."""
    random = np.random.default_rng(1)
    shape = (128, 128)
    y, x = np.mgrid[:128, :128]
    noise = random.normal(0.2, NOISE, shape)
    wisp = 0.1 * np.exp(-((x - 90) ** 2 + (y - 40) ** 2) / 800)
    stripes = np.repeat(random.normal(0, 0.02, 128), 128).reshape(shape)
    trials = np.linspace(0, 1, 31)
    fit = WispFit(
        np.array([0.4]), np.array([0.02]), 20.0, 1.0, 999, trials, 3 + (trials - 0.4) ** 2
    )
    flags = np.zeros((1, 4, *shape), bool)
    flags[0, 2] = np.hypot(y - 30, x - 100) < 20
    event = Snowball(0, 2, 30.0, 100.0, 5.0, 20.0, 0.0, 0.0, True)
    ramp = RampModel(data=random.normal(0, 5, (1, 4, *shape)).astype(np.float32))
    ramp.meta.filename = f"{NAME}_jump.fits"
    residuals = Residuals("<b>visit</b>", random.uniform(-30, 30, (9, 2)),
                          random.normal(0, 5, (9, 2)), np.arange(9) < 8)  # fmt: skip
    failed = SimpleNamespace(
        name=NAME, status="FAILED", note="no reference", doubt="", residuals=[residuals],
        rows=[{"alignment": "absolute", "status": "FAILED", "rmse": 21.5, "xshift": np.nan}],
    )  # fmt: skip
    with keep_looks(folder):
        steps_looks.keep_snowballs(ramp, SnowballFlags(flags, (event,), (), {}, {}))
        found = WispSubtraction((fit,), (True,), wisp[None].astype(np.float32))
        steps_looks.keep_wisp(image_model(noise + stripes), found, np.ones((1, *shape)), (0, 0))
        steps_looks.keep_stripes(image_model(noise), stripes.astype(np.float32))
        steps_looks.keep_rate(image_model(noise))
        sky = image_model(noise - 0.2)
        mask = np.zeros(shape, bool)
        steps_looks.keep_sky(sky, mask, "mode", 0.2, 1e-4)
        steps_looks.keep_alignment(failed)
        entry = {"status": "COMPLETE", "parameters": {"scale": None, "method": "lsq"}}
        keep_record(sky, "ceers_wispsub", {**entry, "metrics": {"scale": 1.0}})
    return {"wisp": wisp, "stripes": stripes, "rate": noise}
