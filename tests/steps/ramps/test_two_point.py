"""Jumps found in less time are those of jwst's step, in every plane and keyword."""

import copy

import numpy as np
import pytest
from jwst.jump import JumpStep
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.kernels.jumps import two_point
from ceers_steps.kernels.jumps.settings import ScreenSettings
from ceers_steps.pipelines.detector1 import CeersDetector1
from ceers_steps.steps.ramps import two_point as step_module
from ceers_steps.steps.ramps.two_point import detect_jumps

SHAPE = (150, 40)
"""Rows of three blocks, the last of them short."""

SATURATED, DO_NOT_USE, JUMP = (
    dqflags.group[name] for name in ("SATURATED", "DO_NOT_USE", "JUMP_DET")
)


def window(model):
    """Say which pixels of the detector these are."""
    model.meta.instrument.name = "NIRCAM"
    model.meta.subarray.xstart = model.meta.subarray.ystart = 1
    model.meta.subarray.ysize, model.meta.subarray.xsize = SHAPE
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = 1, 2


def ramp(n_groups, *, n_ints=1, seed=5):
    """Return ramps with all that matters: hits, several in a pixel, short and equal differences."""
    rng = np.random.default_rng(seed)
    shape = (n_ints, n_groups, *SHAPE)
    change = rng.poisson(rng.choice([0.5, 20, 4000], SHAPE), shape) + rng.normal(0, 4, shape)
    hits = rng.random(shape) < 0.08
    change[hits] += 10 ** rng.uniform(0.5, 5, np.count_nonzero(hits))
    change[..., :4, :] = np.rint(change[..., :4, :] / 10) * 10  # several are the largest
    data = np.cumsum(change, axis=1).astype(np.float32)
    data[..., 10, :5] = 0
    groupdq = np.zeros(shape, np.uint8)
    for group in range(n_groups):
        groupdq[:, group:, 20 + group] |= SATURATED
        groupdq[:, group, 40 + group] |= DO_NOT_USE
    groupdq[rng.random(shape) < 0.01] |= DO_NOT_USE
    groupdq[:, :, 60:62] |= DO_NOT_USE
    data[0, :, 70, 3] = np.nan
    model = datamodels.RampModel(data=data, groupdq=groupdq, pixeldq=np.zeros(SHAPE, np.uint32))
    window(model)
    model.meta.exposure.nframes = 8
    model.meta.exposure.group_time = 107.4
    return model


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    rng = np.random.default_rng(1)
    gain = rng.uniform(1.6, 2.4, SHAPE).astype(np.float32)
    gain[80, :3] = np.nan, 0, -1
    noise = rng.uniform(8, 14, SHAPE).astype(np.float32)
    noise[90, :3] = 0
    folder, paths = tmp_path_factory.mktemp("references"), {}
    for kind, opener, plane in (
        ("gain", datamodels.GainModel, gain),
        ("readnoise", datamodels.ReadnoiseModel, noise),
    ):
        paths[f"override_{kind}"] = str(folder / f"{kind}.fits")
        reference = opener(data=plane)
        window(reference)
        reference.save(paths[f"override_{kind}"])
    return paths


def both(model, references, **parameters):
    """Return what jwst's step makes, and what ours does."""
    step = JumpStep(**references, **parameters)
    with np.errstate(all="ignore"):
        theirs = JumpStep.process(step, model.copy())
    return theirs, detect_jumps(step, model.copy())


def assert_same(theirs, ours):
    for plane in ("data", "groupdq", "pixeldq"):
        np.testing.assert_array_equal(getattr(ours, plane), getattr(theirs, plane))
    assert ours.to_flat_dict(include_arrays=False) == theirs.to_flat_dict(include_arrays=False)


@pytest.mark.parametrize(
    ("n_groups", "parameters"),
    [
        (3, {}),
        (4, {}),
        (5, {"rejection_threshold": 3.0, "four_group_rejection_threshold": 4.0}),
        (8, {"min_jump_to_flag_neighbors": 15.0, "max_jump_to_flag_neighbors": 90.0}),
        (9, {"flag_4_neighbors": False}),
        (10, {}),
    ],
)
def test_same_as_jwst(references, monkeypatch, n_groups, parameters):
    used = []
    find = step_module.find_jumps
    monkeypatch.setattr(step_module, "find_jumps", lambda *args: used.append(1) or find(*args))
    theirs, ours = both(ramp(n_groups), references, **parameters)
    assert used
    assert_same(theirs, ours)
    jumps = ours.groupdq & JUMP != 0
    assert 0.02 < jumps.mean() < 0.3
    several = jumps[0].sum(axis=0)
    assert n_groups < 5 or np.count_nonzero(several > 1) > 100


@pytest.mark.parametrize(
    ("n_groups", "n_ints", "parameters"),
    [
        (2, 1, {}),
        (12, 1, {}),
        (6, 2, {}),
        (6, 1, {"after_jump_flag_time1": 200.0, "after_jump_flag_dn1": 10.0}),
        (6, 1, {"minimum_sigclip_groups": 5, "only_use_ints": False}),
    ],
)
def test_what_else_jwst_does_is_left_to_it(references, monkeypatch, n_groups, n_ints, parameters):
    monkeypatch.setattr(step_module, "find_jumps", None)
    assert_same(*both(ramp(n_groups, n_ints=n_ints), references, **parameters))


def test_jumps_that_are_known_are_left_to_jwst(references, monkeypatch):
    monkeypatch.setattr(step_module, "find_jumps", None)
    model = ramp(6)
    model.groupdq[0, 3, 100, 7] |= JUMP
    assert_same(*both(model, references))


def test_blocks_do_not_show(references, monkeypatch):
    step = JumpStep(**references)
    whole = detect_jumps(step, ramp(9)).groupdq
    monkeypatch.setattr(two_point, "SCREEN", ScreenSettings(rows=7))
    np.testing.assert_array_equal(detect_jumps(step, ramp(9)).groupdq, whole)


def test_pixels_that_are_passed_over_are_most():
    rng = np.random.default_rng(2)
    sizes = np.abs(rng.normal(10, 4, (8, 50, 50))).astype(np.float32)
    assert two_point._may_hold_jumps(sizes, np.full((50, 50), 16.0), 4.0).mean() < 0.1


def test_the_pipeline_takes_it():
    pipeline = CeersDetector1()
    assert pipeline.jump.process.func is detect_jumps
    assert pipeline.jump.process.args == (pipeline.jump,)
    assert type(pipeline.jump) is JumpStep
    assert copy.copy(pipeline.jump).process.func is detect_jumps
